// What must not be guessed: initial sequence numbers, timestamp offsets, ports.
#pragma once

#include <optional>

#include "base/keyed_hash.h"
#include "base/random.h"
#include "base/seq.h"
#include "tcp/flow.h"

#include <millrace/time.h>

namespace millrace::tcp {

/// The keys of one runtime, shared by its cores so that a tuple means the same on each. From the
/// system's random source, or from a seed where a test must replay.
struct Secrets {
    SecretHash::Key isn{};
    SecretHash::Key timestamp{};
    SecretHash::Key port{};
    SecretHash::Key flow_label{};
    SecretHash::Key cookie{};
    uint64_t table = 0;

    static Secrets from_system();
    static Secrets from_seed(uint64_t seed);
};

/// ISN = M + F(tuple, secret) (RFC 9293 section 3.4.1, RFC 6528): M counts 4 microseconds, F cannot
/// be computed from outside.
class IsnGenerator {
public:
    explicit IsnGenerator(const Secrets& secrets)
        : isn_(secrets.isn),
          timestamp_(secrets.timestamp),
          port_(secrets.port),
          flow_label_(secrets.flow_label),
          cookie_(secrets.cookie) {}
    Seq isn(const FlowKey& key, const Address& local, Instant now) const;
    /// Likewise, but beyond what an old connection of the tuple may have sent, if there is one.
    Seq isn_beyond(std::optional<Seq> floor, const FlowKey& key, const Address& local,
                   Instant now) const;
    /// Added to the millisecond clock: per tuple, so that no uptime can be read (RFC 7323
    /// section 5.4, attack case 37).
    uint32_t timestamp_offset(const FlowKey& key, const Address& local) const;
    /// Where the search for an ephemeral port starts (RFC 6056 section 3.3.3).
    uint32_t port_offset(const Address& local, const Address& remote, uint16_t remote_port) const;
    /// Which counter a destination's ports go on from; another hash than the start's.
    uint32_t port_group(const Address& local, const Address& remote, uint16_t remote_port) const;
    /// 20 bits of IPv6, never 0: the network tells flows apart by them, and nobody guesses them
    /// (RFC 6437 section 3).
    uint32_t flow_label(const FlowKey& key, const Address& local) const;
    /// The part of a SYN cookie that nobody else can compute: of the tuple, the peer's ISN and the
    /// period in which it was made, so that each period has a function of its own.
    uint32_t cookie(const FlowKey& key, const Address& local, Seq irs, uint64_t period) const;

private:
    SecretHash isn_;
    SecretHash timestamp_;
    SecretHash port_;
    SecretHash flow_label_;
    SecretHash cookie_;
};

}  // namespace millrace::tcp
