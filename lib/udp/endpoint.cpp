#include "udp/endpoint.h"

namespace millrace::udp {

using observe::Drop;

namespace {

uint32_t charge_of(const Datagram& datagram) {
    return static_cast<uint32_t>(datagram.data.size()) + overhead;
}

}  // namespace

/// As Linux has it, the last one may exceed the buffer.
void deliver(Env& env, Endpoint& endpoint, Datagram datagram, uint32_t buffers) {
    const bool full = endpoint.queued >= endpoint.settings.receive_buffer ||
                      env.buffers + buffers > env.buffers_max ||
                      endpoint.buffers + buffers > env.socket_buffers_max;
    const uint32_t charge = charge_of(datagram);
    Queued* queued = full ? nullptr : env.queued.take(std::move(datagram), buffers);
    if (queued == nullptr) {
        ++env.counters.udp_rcvbuf_errors;
        ++env.counters.udp_in_errors;
        return env.counters.drop(Drop::udp_receive_full);
    }
    endpoint.queue.push_back(*queued);
    endpoint.queued += charge;
    endpoint.buffers += buffers;
    env.buffers += buffers;
    ++env.counters.udp_in_datagrams;
    env.notify(endpoint, Event::readable);
}

Datagram take(Env& env, Endpoint& endpoint) {
    Queued& queued = endpoint.queue.front();
    endpoint.queue.pop_front();
    Datagram datagram = std::move(queued.datagram);
    endpoint.queued -= charge_of(datagram);
    endpoint.buffers -= queued.buffers;
    env.buffers -= queued.buffers;
    env.queued.give_back(&queued);
    return datagram;
}

void report(Env& env, Endpoint& endpoint, int error) {
    endpoint.error = error;
    env.notify(endpoint, Event::error);
}

void clear(Env& env, Endpoint& endpoint) {
    while (!endpoint.queue.empty()) take(env, endpoint);
}

}  // namespace millrace::udp
