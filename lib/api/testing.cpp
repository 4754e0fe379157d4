// `millrace/testing.h` in C++.
#include <millrace/testing.h>

#include <cerrno>

#include "api/test_network.h"

namespace millrace::testing {

using api::Turnstile;

Network::Network(uint64_t seed) : network_(std::make_unique<api::TestNetwork>(seed)) {}
Network::~Network() = default;

Started<Stack*> Network::add(const Config& config) {
    const Turnstile::Visit visit(&network_->turnstile());
    const auto host = network_->add(config);
    if (!host) return std::unexpected(host.error());
    return &(*host)->context().facade();
}

Result<void> Network::remove(Stack& host) {
    const Turnstile::Visit visit(&network_->turnstile());
    if (network_->is_turning()) return error(EDEADLK);
    network_->remove(network_->host(host));
    return {};
}

Instant Network::now() const { return network_->wire().now(); }

Instant Network::next_event() const {
    const Turnstile::Visit visit(&network_->turnstile());
    return network_->next_event();
}

void Network::advance_to(Instant at) {
    const Turnstile::Visit visit(&network_->turnstile());
    if (!network_->is_turning()) network_->advance_to(at);
}

bool Network::advance_to_next_event() {
    const Turnstile::Visit visit(&network_->turnstile());
    return !network_->is_turning() && network_->advance_to_next_event();
}

void Network::impair(const Stack& from, const Impairments& impairments) {
    const Turnstile::Visit visit(&network_->turnstile());
    network_->wire().set_impairments(network_->host(from).node(), impairments);
}

void Network::set_filter(Filter filter) {
    const Turnstile::Visit visit(&network_->turnstile());
    network_->set_filter(std::move(filter));
}

std::optional<Packet> Network::take(const Stack& from) {
    const Turnstile::Visit visit(&network_->turnstile());
    return network_->host(from).take();
}

Result<void> Network::push(Stack& to, std::span<const std::byte> packet) {
    const Turnstile::Visit visit(&network_->turnstile());
    return network_->push(network_->host(to), packet);
}

}  // namespace millrace::testing
