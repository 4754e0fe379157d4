#include "tcp/secrets.h"

#include <cstring>

namespace millrace::tcp {

namespace {

/// The whole tuple as bytes: the key's local index would mean another address after a restart.
struct Tuple {
    std::array<uint8_t, 16> local;
    std::array<uint8_t, 16> remote;
    uint16_t local_port;
    uint16_t remote_port;
};
static_assert(sizeof(Tuple) == 36);

struct CookieInput {
    Tuple tuple;
    uint32_t irs;
    uint64_t period;
};
static_assert(sizeof(CookieInput) == 48);

Tuple tuple_of(const FlowKey& key, const Address& local) {
    return {local.bytes(), key.remote.bytes(), key.local_port, key.remote_port};
}

template <typename Input>
uint64_t hash_of(const SecretHash& hash, const Input& input) {
    return hash({reinterpret_cast<const uint8_t*>(&input), sizeof(input)});
}

uint64_t hash_tuple(const SecretHash& hash, const FlowKey& key, const Address& local) {
    return hash_of(hash, tuple_of(key, local));
}

}  // namespace

Secrets Secrets::from_system() {
    Secrets secrets;
    fill_random(secrets.isn);
    fill_random(secrets.timestamp);
    fill_random(secrets.port);
    fill_random(secrets.flow_label);
    fill_random(secrets.cookie);
    secrets.table = Random::from_system().next();
    return secrets;
}

Secrets Secrets::from_seed(uint64_t seed) {
    Random random(seed);
    Secrets secrets;
    random.fill(secrets.isn);
    random.fill(secrets.timestamp);
    random.fill(secrets.port);
    secrets.table = random.next();
    random.fill(secrets.flow_label);
    random.fill(secrets.cookie);
    return secrets;
}

Seq IsnGenerator::isn(const FlowKey& key, const Address& local, Instant now) const {
    const auto clock = static_cast<uint32_t>(now.ns() / 4000);
    return Seq(clock + static_cast<uint32_t>(hash_tuple(isn_, key, local)));
}

Seq IsnGenerator::isn_beyond(std::optional<Seq> floor, const FlowKey& key, const Address& local,
                             Instant now) const {
    const Seq usual = isn(key, local, now);
    return floor && usual <= *floor ? *floor + 1 : usual;
}

uint32_t IsnGenerator::timestamp_offset(const FlowKey& key, const Address& local) const {
    return static_cast<uint32_t>(hash_tuple(timestamp_, key, local));
}

uint32_t IsnGenerator::flow_label(const FlowKey& key, const Address& local) const {
    const auto label = static_cast<uint32_t>(hash_tuple(flow_label_, key, local) & 0xfffff);
    return label != 0 ? label : 1;
}

uint32_t IsnGenerator::cookie(const FlowKey& key, const Address& local, Seq irs,
                              uint64_t period) const {
    const CookieInput input{tuple_of(key, local), irs.value(), period};
    return static_cast<uint32_t>(hash_of(cookie_, input));
}

uint32_t IsnGenerator::port_offset(const Address& local, const Address& remote,
                                   uint16_t remote_port) const {
    FlowKey key;
    key.remote = remote;
    key.remote_port = remote_port;
    return static_cast<uint32_t>(hash_tuple(port_, key, local));
}

uint32_t IsnGenerator::port_group(const Address& local, const Address& remote,
                                  uint16_t remote_port) const {
    FlowKey key;
    key.remote = remote;
    key.remote_port = remote_port;
    key.local_port = 1;  // sets this hash apart from the start's
    return static_cast<uint32_t>(hash_tuple(port_, key, local));
}

}  // namespace millrace::tcp
