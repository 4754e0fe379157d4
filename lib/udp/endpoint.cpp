#include "udp/endpoint.h"

namespace millrace::udp {

using observe::Drop;

namespace {

uint32_t charge_of(const BufferChain& data) {
    return static_cast<uint32_t>(data.size()) + overhead;
}

/// As Linux has it, the last one may exceed the buffer.
bool has_room(const Env& env, const Endpoint& endpoint, uint32_t buffers) {
    return endpoint.queued < endpoint.settings.receive_buffer &&
           env.buffers + buffers <= env.buffers_max &&
           endpoint.buffers + buffers <= env.socket_buffers_max;
}

void charge(Env& env, Endpoint& endpoint, uint32_t bytes, uint32_t buffers) {
    endpoint.queued += bytes;
    endpoint.buffers += buffers;
    env.buffers += buffers;
}

void discharge(Env& env, Endpoint& endpoint, uint32_t bytes, uint32_t buffers) {
    endpoint.queued -= bytes;
    endpoint.buffers -= buffers;
    env.buffers -= buffers;
}

}  // namespace

void deliver(Env& env, Endpoint& endpoint, Datagram datagram, uint32_t buffers) {
    const uint32_t bytes = charge_of(datagram.data);
    const bool room = has_room(env, endpoint, buffers);
    Queued* queued = room ? env.queued.take(std::move(datagram), buffers) : nullptr;
    if (queued == nullptr) {
        if (room || env.buffers + buffers > env.buffers_max) ++env.counters.pool_dry_datagrams;
        ++env.counters.udp_rcvbuf_errors;
        ++env.counters.udp_in_errors;
        return env.counters.drop(Drop::udp_receive_full);
    }
    endpoint.queue.push_back(*queued);
    charge(env, endpoint, bytes, buffers);
    ++env.counters.udp_in_datagrams;
    env.notify(endpoint, Event::readable);
}

Datagram take(Env& env, Endpoint& endpoint) {
    Queued& queued = endpoint.queue.front();
    endpoint.queue.pop_front();
    Datagram datagram = std::move(queued.datagram);
    discharge(env, endpoint, charge_of(datagram.data), queued.buffers);
    env.queued.give_back(&queued);
    return datagram;
}

void report(Env& env, Endpoint& endpoint, int error) {
    endpoint.error = error;
    env.notify(endpoint, Event::error);
}

/// What this side finds out itself, the call has answered: it is no SO_ERROR.
void report(Env& env, Endpoint& endpoint, DatagramError error, uint32_t buffers) {
    const uint32_t bytes = charge_of(error.data);
    const int number = error.error;
    const bool told = error.origin == DatagramError::Origin::local;
    QueuedError* queued = has_room(env, endpoint, buffers)
                              ? env.errors.take(std::move(error), buffers)
                              : nullptr;
    if (queued != nullptr) {
        endpoint.errors.push_back(*queued);
        charge(env, endpoint, bytes, buffers);
    }
    if (!told) endpoint.error = number;
    env.notify(endpoint, Event::error);
}

namespace {

DatagramError pop_error(Env& env, Endpoint& endpoint) {
    QueuedError& queued = endpoint.errors.front();
    endpoint.errors.pop_front();
    DatagramError error = std::move(queued.error);
    discharge(env, endpoint, charge_of(error.data), queued.buffers);
    env.errors.give_back(&queued);
    return error;
}

}  // namespace

/// As sock_dequeue_err_skb.
DatagramError take_error(Env& env, Endpoint& endpoint) {
    DatagramError error = pop_error(env, endpoint);
    using Origin = DatagramError::Origin;
    const bool more = !endpoint.errors.empty() &&
                      endpoint.errors.front().error.origin != Origin::local;
    if (more)
        endpoint.error = endpoint.errors.front().error.error;
    else if (error.origin != Origin::local)
        endpoint.error = 0;
    return error;
}

void clear_errors(Env& env, Endpoint& endpoint) {
    while (!endpoint.errors.empty()) pop_error(env, endpoint);
}

void clear(Env& env, Endpoint& endpoint) {
    while (!endpoint.queue.empty()) take(env, endpoint);
    clear_errors(env, endpoint);
}

}  // namespace millrace::udp
