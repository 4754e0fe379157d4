#include "tcp/syn_cookies.h"

#include <array>

#include "tcp/ecn.h"
#include "tcp/limits.h"

namespace millrace::tcp {

using wire::Segment;

namespace {

/// A cookie is valid in the period of its SYN and in the next one: Linux's MAX_SYNCOOKIE_AGE.
constexpr Duration cookie_period = Duration::from_s(64);

/// What paths have: IPv6's least and DSL are in it, tunnels, Ethernet with and without timestamps
/// counted, jumbo frames. A peer gets the largest that it can take.
constexpr std::array<uint16_t, 8> mss_table{216, 536, 1220, 1300, 1440, 1460, 4312, 8940};

/// The lowest bits of the SYN-ACK's timestamp: the peer's window scale, SACK and ECN.
constexpr uint32_t option_mask = 0x3f;
constexpr uint32_t scale_mask = 0xf;
constexpr uint32_t no_scale = 0xf;  // 15 is no scale (RFC 7323 section 2.3)
constexpr uint32_t sack_bit = 0x10;
constexpr uint32_t ecn_bit = 0x20;

uint64_t period(const Env& env) {
    return static_cast<uint64_t>(env.now.ns() / cookie_period.ns());
}

std::optional<uint32_t> mss_index(uint16_t mss) {
    for (uint32_t i = mss_table.size(); i-- > 0;)
        if (mss_table[i] <= mss) return i;
    return std::nullopt;
}

uint32_t option_bits(const HalfOpen& entry) {
    return (entry.window_scaling ? entry.peer_shift : no_scale) | (entry.sack ? sack_bit : 0) |
           (entry.ecn ? ecn_bit : 0);
}

/// The latest time that ends in these bits: no timestamp of ours may run ahead of the clock.
uint32_t marked_time(const Env& env, uint32_t bits) {
    const uint32_t time = (env.ms() & ~option_mask) | bits;
    return static_cast<int32_t>(time - env.ms()) > 0 ? time - (option_mask + 1) : time;
}

/// False where the bits name what we do not do (any more): they are not ours.
bool restore_options(const Env& env, HalfOpen& entry, uint32_t bits) {
    const TcpTunables& tunables = env.tunables;
    if (tunables.tcp_timestamps == 0) return false;
    entry.timestamps = true;
    entry.sack = (bits & sack_bit) != 0;
    if (entry.sack && tunables.tcp_sack == 0) return false;
    entry.ecn = (bits & ecn_bit) != 0;
    const auto shift = static_cast<uint8_t>(bits & scale_mask);
    entry.window_scaling = shift != no_scale;
    entry.peer_shift = entry.window_scaling ? shift : 0;
    return !entry.window_scaling || tunables.tcp_window_scaling != 0;
}

}  // namespace

std::optional<Segment> cookie_syn_ack(Env& env, HalfOpen& entry, const Segment& syn,
                                      const Address& local, uint16_t link_mss) {
    begin(env, entry, syn, local, std::nullopt);
    const uint16_t offered = syn.options.mss != 0 ? syn.options.mss : default_mss(local.family());
    const auto index = mss_index(offered);
    if (!index) return std::nullopt;
    // Without timestamps nothing could bring these back: they are not offered (attack case 20).
    if (!entry.timestamps) entry.window_scaling = entry.sack = entry.ecn = false;
    entry.iss = Seq(env.isn.cookie(entry.key, local, syn.seq, period(env)) + *index);
    entry.listener->cookies_until = env.now + cookie_period * 2;
    ++env.counters.syncookies_sent;
    Segment answer = syn_ack(env, entry, link_mss);
    if (entry.timestamps)
        answer.options.ts_value = marked_time(env, option_bits(entry)) + entry.ts_offset;
    return answer;
}

bool takes_cookies(const Env& env, const Listener& listener) {
    return env.tunables.tcp_syncookies != 0 && env.now < listener.cookies_until;
}

bool restore_from_cookie(Env& env, HalfOpen& entry, const Segment& ack, const Address& local) {
    entry.irs = ack.seq - 1;
    entry.iss = ack.ack - 1;
    const uint64_t now = period(env);
    std::optional<uint32_t> index;
    for (const uint64_t then : {now, now - 1}) {
        const uint32_t found =
            entry.iss.value() - env.isn.cookie(entry.key, local, entry.irs, then);
        if (found < mss_table.size()) index = found;
    }
    const wire::TcpOptions& options = ack.options;
    if (index && options.has_timestamps)
        entry.ts_offset = env.isn.timestamp_offset(entry.key, local);
    const uint32_t bits = (options.ts_echo - entry.ts_offset) & option_mask;
    if (!index || (options.has_timestamps && !restore_options(env, entry, bits))) {
        ++env.counters.syncookies_failed;
        return false;
    }
    ++env.counters.syncookies_received;
    entry.peer_mss = mss_table[*index];
    entry.peer_window = ack.window;
    entry.ts_recent = options.ts_value;
    entry.answered = true;
    return true;
}

}  // namespace millrace::tcp
