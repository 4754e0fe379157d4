// ACKs that must go out one for each segment, as they stood when the segment came.
#pragma once

#include <array>
#include <cstdint>

#include <boost/intrusive/slist.hpp>

#include "base/pool.h"
#include "base/seq.h"
#include "wire/tcp.h"

namespace millrace::tcp {

/// RCV.NXT and the SACK blocks as one segment left them. ACKs of in-order data coalesce over a
/// burst; those of disorder do not, since the peer counts them and reads each one's first block
/// (RFC 5681 section 4.2, RFC 2883 section 4). From the core's pool; lives until egress.
struct AckSnapshot : boost::intrusive::slist_base_hook<
                         boost::intrusive::link_mode<boost::intrusive::normal_link>> {
    Seq ack;
    uint8_t sack_count = 0;
    bool ece = false;
    std::array<wire::SackBlock, wire::TcpOptions::sack_blocks_max> sack{};
};

/// Of one connection, the oldest first.
using AckSnapshots = boost::intrusive::slist<AckSnapshot, boost::intrusive::cache_last<true>,
                                             boost::intrusive::constant_time_size<false>>;

}  // namespace millrace::tcp
