// The layout that nearly all frames of established connections have, read in one pass.
#pragma once

#include <span>

#include "wire/ip.h"
#include "wire/tcp.h"

namespace millrace::wire {

/// An untagged Ethernet frame of IPv4, whole and without options, with a TCP segment that has no
/// option but timestamps and neither SYN, RST nor URG. False: something else, or something wrong,
/// which the parsers of each header tell apart; `ip` and `segment` hold anything then.
/// `head` is the frame's beginning, `frame_size` the size of all of it; with `verify_checksum`,
/// IPv4's must be right.
bool parse_common(std::span<const uint8_t> head, size_t frame_size, bool verify_checksum, Ip& ip,
                  Segment& segment);

}  // namespace millrace::wire
