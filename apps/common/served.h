// What a server has done, for whoever checks that it is what its clients have done.
#pragma once

#include <cstdint>

namespace millrace::apps {

struct Served {
    uint64_t connections = 0;  ///< accepted
    uint64_t handshakes = 0;   ///< of TLS
    uint64_t requests = 0;     ///< whole ones
    uint64_t bytes_in = 0;     ///< of TCP or UDP payload, taken from the stack
    uint64_t bytes_out = 0;    ///< likewise, given to it
    uint64_t busy_cycles = 0;  ///< of its cores, in turns with something to do

    Served& operator+=(const Served& other) {
        connections += other.connections;
        handshakes += other.handshakes;
        requests += other.requests;
        bytes_in += other.bytes_in;
        bytes_out += other.bytes_out;
        busy_cycles += other.busy_cycles;
        return *this;
    }
};

}  // namespace millrace::apps
