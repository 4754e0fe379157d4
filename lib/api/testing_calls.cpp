// `millrace/testing.h` in C.
#include <millrace/testing.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>

#include "api/c_calls.h"
#include "api/test_network.h"

using namespace millrace;
using namespace millrace::api;

struct mr_test_network {
    explicit mr_test_network(uint64_t seed) : network(seed) {}
    TestNetwork network;
    std::map<const Stack*, const mr_context*> contexts;
};

namespace {

/// Calls `with()` on the driver's thread; another is answered EPERM.
template <typename Call>
auto as_driver(Turnstile& turnstile, Call&& with) -> decltype(answer(with())) {
    if (!turnstile.is_driver()) return fail(EPERM);
    const Turnstile::Visit visit(&turnstile);
    return answer(with());
}

/// Calls `with(TestHost&)`. EINVAL for a context of another kind.
template <typename Call>
auto on_host(mr_context* context, Call&& with)
    -> decltype(answer(with(std::declval<TestHost&>()))) {
    if (context == nullptr) return fail(EFAULT);
    Loop& loop = context->sockets.loop();
    if (loop.turnstile() == nullptr) return fail(EINVAL);
    return as_driver(*loop.turnstile(), [&] { return with(static_cast<TestHost&>(loop)); });
}

bool is_possible(const mr_test_impairments& in) {
    const auto is_chance = [](uint32_t ppm) { return ppm <= 1'000'000; };
    const auto is_time = [](int64_t ns) { return ns >= 0; };
    return std::ranges::all_of(std::array{in.loss_ppm, in.ack_loss_ppm, in.burst_enter_ppm,
                                          in.burst_leave_ppm, in.burst_loss_ppm, in.reorder_ppm,
                                          in.duplicate_ppm, in.corrupt_ppm, in.truncate_ppm},
                               is_chance) &&
           std::ranges::all_of(
               std::array{in.delay_ns, in.jitter_ns, in.reorder_by_ns, in.queue_max_ns}, is_time);
}

Impairments impairments_of(const mr_test_impairments& in) {
    Impairments out;
    out.delay = Duration::from_ns(in.delay_ns);
    out.jitter = Duration::from_ns(in.jitter_ns);
    out.loss_ppm = in.loss_ppm;
    out.ack_loss_ppm = in.ack_loss_ppm;
    out.lose_every = in.lose_every;
    out.burst_enter_ppm = in.burst_enter_ppm;
    out.burst_leave_ppm = in.burst_leave_ppm;
    out.burst_loss_ppm = in.burst_loss_ppm;
    out.reorder_ppm = in.reorder_ppm;
    out.reorder_by = Duration::from_ns(in.reorder_by_ns);
    out.duplicate_ppm = in.duplicate_ppm;
    out.corrupt_ppm = in.corrupt_ppm;
    out.truncate_ppm = in.truncate_ppm;
    out.bits_per_second = in.bits_per_second;
    out.queue_max = Duration::from_ns(in.queue_max_ns);
    out.queue_bytes = in.queue_bytes;
    out.mark_bytes = in.mark_bytes;
    out.mtu = in.mtu;
    return out;
}

}  // namespace

extern "C" {

mr_test_network* mr_test_network_create(uint64_t seed) { return new mr_test_network(seed); }

int mr_test_network_destroy(mr_test_network* network) {
    if (network == nullptr) return 0;
    const int done = as_driver(network->network.turnstile(), [&]() -> Result<void> {
        if (!network->contexts.empty()) return error(EBUSY);
        return {};
    });
    if (done == 0) delete network;
    return done;
}

mr_context* mr_test_context_create(mr_test_network* network, const char* toml, char* why,
                                   size_t why_size) {
    using Hosted = std::pair<std::shared_ptr<void>, Stack&>;
    Turnstile& turnstile = network->network.turnstile();
    Turnstile::leave();
    mr_context* const context = make_context(
        parse_config(toml, "mr_test_context_create"), why, why_size,
        [&](const Config& config) -> Started<Hosted> {
            if (!turnstile.is_driver())
                return failure("hosts are added by the thread that made the network", EPERM);
            const Turnstile::Visit visit(&turnstile);
            const auto host = network->network.add(config);
            if (!host) return std::unexpected(host.error());
            const auto remove = [network](TestHost* gone) {
                network->contexts.erase(&gone->context().facade());
                network->network.remove(*gone);
            };
            return Hosted(std::shared_ptr<TestHost>(*host, remove),
                          (*host)->context().facade());
        });
    if (context != nullptr) network->contexts[&context->stack] = context;
    return context;
}

int64_t mr_test_now(const mr_test_network* network) {
    auto& known = const_cast<mr_test_network*>(network)->network;
    const Turnstile::Visit visit(&known.turnstile());
    return known.wire().now().ns();
}

int64_t mr_test_next_event(mr_test_network* network) {
    const Turnstile::Visit visit(&network->network.turnstile());
    const Instant next = network->network.next_event();
    return next == Instant::never() ? -1 : next.ns();
}

int mr_test_advance_to(mr_test_network* network, int64_t at) {
    TestNetwork& known = network->network;
    return as_driver(known.turnstile(), [&]() -> Result<void> {
        if (known.is_turning()) return error(EDEADLK);
        if (at < known.wire().now().ns()) return error(EINVAL);
        known.advance_to(Instant::from_ns(at));
        return {};
    });
}

int mr_test_advance_to_next_event(mr_test_network* network) {
    TestNetwork& known = network->network;
    return as_driver(known.turnstile(), [&]() -> Result<int> {
        if (known.is_turning()) return error(EDEADLK);
        return known.advance_to_next_event() ? 1 : 0;
    });
}

int mr_test_await_caller(mr_context* context) {
    return on_host(context, [](TestHost& host) -> Result<void> {
        if (!host.turnstile()->await_waiter(host.context())) return error(ETIMEDOUT);
        return {};
    });
}

ssize_t mr_test_take(mr_context* from, void* packet, size_t size, int64_t* at) {
    return on_host(from, [&](TestHost& host) -> Result<size_t> {
        const auto taken = host.take();
        if (!taken) return 0;
        std::memcpy(packet, taken->bytes.data(), std::min(size, taken->bytes.size()));
        if (at != nullptr) *at = taken->at.ns();
        return taken->bytes.size();
    });
}

int mr_test_push(mr_context* to, const void* packet, size_t size) {
    return on_host(to, [&](TestHost& host) {
        return host.network().push(host, {static_cast<const std::byte*>(packet), size});
    });
}

int mr_test_set_filter(mr_test_network* network, mr_test_filter* filter, void* argument) {
    TestNetwork& known = network->network;
    return as_driver(known.turnstile(), [&]() -> Result<void> {
        if (filter == nullptr) {
            known.set_filter({});
            return {};
        }
        known.set_filter([=](const Stack& from, std::span<const std::byte> packet) {
            return filter(argument, network->contexts.at(&from), packet.data(), packet.size());
        });
        return {};
    });
}

int mr_test_impair(mr_context* from, const mr_test_impairments* impairments) {
    return on_host(from, [&](TestHost& host) -> Result<void> {
        if (impairments == nullptr) return error(EFAULT);
        if (!is_possible(*impairments)) return error(EINVAL);
        host.network().wire().set_impairments(host.node(), impairments_of(*impairments));
        return {};
    });
}

}  // extern "C"
