// What receive-buffer autotuning remembers of a connection that receives in bulk.
#pragma once

#include <cstdint>

#include "base/seq.h"

namespace millrace::tcp {

/// Borrowed from the core's pool with the first full-size segment, given back with the connection
/// or when the application sets a receive buffer of its own. Times are the clock's low 32 bits, in
/// microseconds. Changed by `receive_window.cpp` alone.
struct ReceiveTuning {
    uint32_t rtt_us = 0;       ///< round trip as the receiver sees it; 0 before the first sample
    uint32_t space = 0;        ///< most that was consumed in one round trip, bytes
    Seq space_from;            ///< where the present measurement began
    uint32_t space_at = 0;     ///< when
    uint32_t last_echo = 0;    ///< with timestamps: each echo is one sample
    Seq window_end;            ///< without: the right edge that is being waited for
    uint32_t window_at = 0;    ///< since when
    bool window_timed = false;
};

}  // namespace millrace::tcp
