#include "stack/bindings.h"

#include <algorithm>
#include <cerrno>
#include <numeric>

namespace millrace::stack {

namespace {

/// One segment could be meant for both. IPv6's unspecified address stands for IPv4's, too, unless
/// its socket has said IPV6_V6ONLY.
bool overlap(const Address& a, bool a_v6_only, const Address& b, bool b_v6_only) {
    if (a == b) return true;
    const auto covers = [](const Address& any, bool v6_only, const Address& other) {
        if (!any.is_unspecified()) return false;
        return any.is_v4() ? other.is_v4() : !(v6_only && other.is_v4());
    };
    return covers(a, a_v6_only, b) || covers(b, b_v6_only, a);
}

bool may_share(const BindOptions& a, bool b_reuse_address, bool b_reuse_port) {
    return (a.reuse_address && b_reuse_address) || (a.reuse_port && b_reuse_port);
}

/// Another claim on the port that `wanted` cannot stand beside.
struct Rival {
    const Binding& wanted;
    bool matches(const Binding& other) const {
        if (&other == &wanted || other.local.port != wanted.local.port) return false;
        if (!overlap(wanted.local.address, wanted.options.v6_only, other.local.address,
                     other.options.v6_only))
            return false;
        return !may_share(wanted.options, other.options.reuse_address && !other.listening,
                          other.options.reuse_port);
    }
};

struct AnyOn {
    uint16_t port;
    bool matches(const Binding& binding) const { return binding.local.port == port; }
};

}  // namespace

Bindings::Bindings(uint64_t seed, const SecretHash::Key& secret, uint32_t series,
                   const ip::LocalAddresses& addresses, size_t limit)
    : hash_(seed),
      secret_(secret),
      drawn_(uint64_t{series} << 32),
      addresses_(addresses),
      memory_(limit),
      table_(limit),
      counts_(addresses.size() * classes * ports * sizeof(uint32_t)) {}

/// A connection has it with which `wanted` cannot share.
bool Bindings::is_used(const Binding& wanted) const {
    for (size_t i = 0; i < addresses_.size(); ++i) {
        const Address& local = addresses_[static_cast<ip::LocalIndex>(i)].address;
        if (!overlap(wanted.local.address, wanted.options.v6_only, local, false)) continue;
        for (size_t c = 0; c < classes; ++c)
            if (!may_share(wanted.options, (c & 1) != 0, (c & 2) != 0) &&
                count(i, c, wanted.local.port) != 0)
                return true;
    }
    return false;
}

bool Bindings::is_taken(const Binding& wanted) const {
    return table_.find(Rival{wanted}, hash_(wanted.local.port)) != nullptr || is_used(wanted);
}

Result<Binding*> Bindings::bind(const SocketAddress& local, const BindOptions& options) {
    if (is_taken(Binding(local, options))) return error(EADDRINUSE);
    Binding* binding = memory_.take(local, options);
    if (binding == nullptr) return error(ENOBUFS);
    table_.insert(*binding, hash_(local.port));
    return binding;
}

Result<Binding*> Bindings::bind_to_any_port(const Address& address, const BindOptions& options,
                                            uint16_t first, uint16_t last,
                                            const std::function<bool(uint16_t)>& suits) {
    const uint32_t count = uint32_t{last} - first + 1;
    // Nobody shares a port that he has not asked for.
    const BindOptions alone{.v6_only = options.v6_only};
    const auto is_free = [&](uint16_t port) { return !is_taken(Binding({address, port}, alone)); };
    const uint64_t drawn =
        secret_({reinterpret_cast<const uint8_t*>(&++drawn_), sizeof(drawn_)});
    const auto start = static_cast<uint32_t>(drawn % count);
    auto step = static_cast<uint32_t>((drawn >> 32) % count) + 1;
    while (std::gcd(step, count) != 1) ++step;  // each port once
    uint64_t at = start;
    uint32_t tries = 0;
    for (uint32_t i = 0; i < count && tries < tries_max; ++i, at += step) {
        const auto port = static_cast<uint16_t>(first + at % count);
        if (!suits(port)) continue;
        if (is_free(port)) return bind({address, port}, options);
        ++tries;
    }
    return error(EADDRINUSE);
}

Result<void> Bindings::listen(Binding& binding) {
    if (binding.listening) return {};
    if (is_taken(binding)) return error(EADDRINUSE);
    binding.listening = true;
    return {};
}

void Bindings::release(Binding& binding) {
    table_.erase(binding);
    memory_.give_back(&binding);
}

bool Bindings::is_bound(uint16_t port) const {
    return table_.find(AnyOn{port}, hash_(port)) != nullptr;
}

}  // namespace millrace::stack
