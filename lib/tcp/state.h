// The states of RFC 9293 section 3.3.2 and the moves between them.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace millrace::tcp {

/// In the order of Linux's enum, so that tables line up. LISTEN is a listener's, not a
/// connection's; passive SYN-RECEIVED lives in the half-open table, TIME-WAIT in its own entries,
/// and a connection is in either only in passing. FIN-WAIT-1, CLOSING and LAST-ACK begin when the
/// application closes, as in Linux: our FIN may still wait behind data.
enum class State : uint8_t {
    closed,
    syn_sent,
    syn_received,
    established,
    fin_wait_1,
    fin_wait_2,
    close_wait,
    closing,
    last_ack,
    time_wait,
};
constexpr size_t state_count = 10;

/// As `ss` prints them.
constexpr std::string_view name(State state) {
    constexpr std::array<std::string_view, state_count> names{
        "UNCONN",     "SYN-SENT",   "SYN-RECV", "ESTAB",    "FIN-WAIT-1",
        "FIN-WAIT-2", "CLOSE-WAIT", "CLOSING",  "LAST-ACK", "TIME-WAIT"};
    return names[static_cast<size_t>(state)];
}

/// RFC 9293 figure 5, with the moves to CLOSED that a reset, a timeout or an abort makes.
constexpr bool is_legal(State from, State to) {
    using enum State;
    if (to == closed) return from != closed;
    switch (from) {
        case closed: return to == syn_sent || to == syn_received || to == established;
        case syn_sent: return to == established || to == syn_received;
        case syn_received: return to == established;  // a FIN waits for that
        case established: return to == fin_wait_1 || to == close_wait;
        case fin_wait_1: return to == fin_wait_2 || to == closing || to == time_wait;
        case fin_wait_2: return to == time_wait;
        case close_wait: return to == last_ack;
        case closing: return to == time_wait;
        case last_ack:
        case time_wait: return false;
    }
    return false;
}

/// The SYN of either side has been acknowledged (RFC 9293 section 3.4).
constexpr bool is_synchronised(State state) { return state >= State::established; }
/// Data of the peer may still come.
constexpr bool may_receive(State state) {
    return state == State::established || state == State::fin_wait_1 || state == State::fin_wait_2;
}
/// The application may still send.
constexpr bool may_send(State state) {
    return state == State::established || state == State::close_wait;
}

}  // namespace millrace::tcp
