// Who has which local port: sockets by bind() and listen(), connections by being there.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>

#include <millrace/address.h>
#include <millrace/error.h>

#include "base/hash_table.h"
#include "base/keyed_hash.h"
#include "base/pool.h"
#include "ip/addresses.h"
#include "tcp/flow.h"

namespace millrace::stack {

/// What decides whether two may have one port: SO_REUSEADDR, SO_REUSEPORT, IPV6_V6ONLY.
struct BindOptions {
    bool reuse_address = false;
    bool reuse_port = false;
    bool v6_only = false;
};

/// A socket's own claim on a port, from bind() (or listen()) until it is closed.
struct Binding : HashNode {
    Binding(const SocketAddress& to, const BindOptions& with) : local(to), options(with) {}
    SocketAddress local;   ///< the unspecified address: all of its family (IPv6's: of both)
    BindOptions options;   ///< may be changed while it lives, as socket options may
    bool listening = false;
};

/// Linux's rules of bind() (`inet_csk_get_port`), for one network namespace and one user. Where two
/// want one port on addresses that overlap, both must have set SO_REUSEADDR, and neither listens
/// yet; or both SO_REUSEPORT. A connection counts as a socket on its own local address, from
/// connect() or the third ACK to the end of TIME-WAIT, with what its socket or listener had set.
///
/// Owned by one core's stack. A connection costs an increment when it comes and one when it goes:
/// 4 bytes for each of our addresses and ports that was ever used.
class Bindings {
public:
    /// `seed` spreads the table; `secret` makes ports that nobody can foresee, others for each
    /// `series`.
    Bindings(uint64_t seed, const SecretHash::Key& secret, uint32_t series,
             const ip::LocalAddresses& addresses, size_t limit);

    /// EADDRINUSE; ENOBUFS. The port is not 0, the address one of ours or unspecified.
    Result<Binding*> bind(const SocketAddress& local, const BindOptions& options);
    /// The same for any port in [first, last] that nobody has on an address that overlaps: the
    /// first of at most `tries_max` in an order that nobody can guess (RFC 6056 section 3.3.1). A
    /// few, but where nearly all are taken.
    /// Only such as `suits` says.
    Result<Binding*> bind_to_any_port(const Address& address, const BindOptions& options,
                                      uint16_t first, uint16_t last,
                                      const std::function<bool(uint16_t)>& suits);
    /// It listens from now on: EADDRINUSE where others do, whatever bind() allowed.
    Result<void> listen(Binding& binding);
    void release(Binding& binding);
    /// Somebody has asked for this port by number: none that connect() would choose.
    bool is_bound(uint16_t port) const;

    void came(const tcp::Flow& flow) { ++count(flow); }
    void went(const tcp::Flow& flow) { --count(flow); }

private:
    /// What connections may have set: neither, SO_REUSEADDR, SO_REUSEPORT, both.
    static constexpr size_t classes = 4;
    static constexpr size_t ports = 65536;
    uint32_t& count(size_t local, size_t reuse_class, uint16_t port) const {
        return reinterpret_cast<uint32_t*>(counts_.data())[(local * classes + reuse_class) * ports +
                                                           port];
    }
    uint32_t& count(const tcp::Flow& flow) const {
        const size_t reuse_class = (flow.reuse_address ? 1U : 0U) + (flow.reuse_port ? 2U : 0U);
        return count(flow.key.local, reuse_class, flow.key.local_port);
    }
    bool is_taken(const Binding& wanted) const;
    bool is_used(const Binding& wanted) const;

    static constexpr uint32_t tries_max = 4096;
    TableHash hash_;
    SecretHash secret_;
    uint64_t drawn_;  ///< orders that `secret_` has given, behind the series
    const ip::LocalAddresses& addresses_;
    Pool<Binding> memory_;
    HashTable<Binding> table_;  // by port
    Reservation counts_;
};

}  // namespace millrace::stack
