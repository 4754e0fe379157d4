// Options of IPPROTO_TCP.
#include <netinet/tcp.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <string>

#include "api/option_value.h"
#include "api/stream_socket.h"
#include "tcp/calls.h"

namespace millrace::api {

namespace {

constexpr int name_max = 16;  // TCP_CA_NAME_MAX
constexpr int syn_ack_timeout_s = 1;   // TCP_TIMEOUT_INIT
constexpr int syn_ack_ceiling_s = 120;  // TCP_RTO_MAX

/// Linux's secs_to_retrans: how many timeouts, each twice as long as the one before, take so long.
uint8_t timeouts_of(int seconds) {
    uint8_t count = 0;
    int timeout = syn_ack_timeout_s;
    for (int64_t period = 0; seconds > period && count < UINT8_MAX; ++count) {
        period += timeout;
        timeout = std::min(timeout * 2, syn_ack_ceiling_s);
    }
    return count;
}

int seconds_of(uint8_t timeouts) {
    int period = 0;
    int timeout = syn_ack_timeout_s;
    for (; timeouts > 0; --timeouts) {
        period += timeout;
        timeout = std::min(timeout * 2, syn_ack_ceiling_s);
    }
    return period;
}

constexpr int window_clamp_least = receive_buffer_least / 2;

}  // namespace

/// Once; EINVAL where there is too little room, and then says how much there must be.
Result<void> StreamSocket::get_saved_syn(std::span<std::byte> value, socklen_t& size) {
    const auto saved = connection_ ? stack().saved_syn(*tcb()) : std::span<const uint8_t>();
    const bool fits = value.size() >= saved.size();
    size = static_cast<socklen_t>(saved.size());
    if (!fits) return error(EINVAL);
    if (saved.empty()) return {};
    std::memcpy(value.data(), saved.data(), saved.size());
    stack().drop_saved_syn(*tcb());
    return {};
}

void StreamSocket::apply_linger2() {
    if (connection_)
        static_cast<void>(connection_.set_linger2(Duration::from_s(options_.linger2_s)));
}

/// Linux's TCP_CONGESTION: up to 15 characters, with or without a zero behind them.
Result<void> StreamSocket::set_congestion(std::span<const std::byte> value) {
    if (value.empty()) return error(EINVAL);
    std::string name(reinterpret_cast<const char*>(value.data()),
                     std::min<size_t>(value.size(), name_max - 1));
    name.resize(std::char_traits<char>::length(name.c_str()));
    const auto algorithm = congestion::algorithm_named(name);
    if (!algorithm) return error(ENOENT);
    if (connection_)
        if (const auto set = connection_.set_congestion_control(name); !set) return set;
    options_.congestion_control = congestion::name(*algorithm);
    return {};
}

Result<void> StreamSocket::set_tcp_option(int name, std::span<const std::byte> value) {
    if (name == TCP_CONGESTION) return set_congestion(value);
    const auto number = read_option<int>(value);
    if (!number) return std::unexpected(number.error());
    const int is = *number;
    const auto within = [&](int least, int most) { return is >= least && is <= most; };
    switch (name) {
        case TCP_NODELAY:
            options_.no_delay = is != 0;
            return connection_ ? connection_.set_no_delay(is != 0) : Result<void>();
        case TCP_CORK:
            options_.cork = is != 0;
            more_ = false;
            return connection_ ? connection_.set_cork(is != 0) : Result<void>();
        case TCP_QUICKACK:
            options_.quick_ack = is != 0;
            return connection_ ? connection_.set_quick_ack(is != 0) : Result<void>();
        case TCP_MAXSEG:
            if (is != 0 && !within(88, 32767)) return error(EINVAL);
            options_.max_segment = static_cast<uint16_t>(is);
            if (listener_ != nullptr) apply_to_listener();
            return {};
        case TCP_KEEPIDLE:
            if (!within(1, 32767)) return error(EINVAL);
            options_.keepalive_times.idle = Duration::from_s(is);
            apply_keepalive();
            return {};
        case TCP_KEEPINTVL:
            if (!within(1, 32767)) return error(EINVAL);
            options_.keepalive_times.interval = Duration::from_s(is);
            apply_keepalive();
            return {};
        case TCP_KEEPCNT:
            if (!within(1, 127)) return error(EINVAL);
            options_.keepalive_times.probes = static_cast<uint32_t>(is);
            apply_keepalive();
            return {};
        case TCP_SYNCNT:
            if (!within(1, 127)) return error(EINVAL);
            options_.syn_retries = static_cast<uint8_t>(is);
            return connection_ ? connection_.set_syn_retries(options_.syn_retries)
                               : Result<void>();
        case TCP_LINGER2:
            options_.linger2_s = static_cast<int16_t>(std::clamp(is, -1, 120));
            apply_linger2();
            return {};
        case TCP_USER_TIMEOUT:
            if (is < 0) return error(EINVAL);
            options_.user_timeout_ms = static_cast<uint32_t>(is);
            return connection_ ? connection_.set_user_timeout(Duration::from_ms(is))
                               : Result<void>();
        case TCP_NOTSENT_LOWAT:
            options_.not_sent_low_water = static_cast<uint32_t>(is);
            return connection_ ? connection_.set_not_sent_low_water_mark(
                                     options_.not_sent_low_water)
                               : Result<void>();
        default: return set_listening_option(name, is);
    }
}

/// What matters before anyone accepts, and how large a window may become.
Result<void> StreamSocket::set_listening_option(int name, int is) {
    switch (name) {
        case TCP_WINDOW_CLAMP: {
            // Linux: none only while there is no connection, and none smaller than half of its
            // smallest buffer.
            if (is == 0 && (connection_ || listener_ != nullptr)) return error(EINVAL);
            options_.window_clamp =
                is == 0 ? 0 : static_cast<uint32_t>(std::max(is, window_clamp_least));
            if (connection_)
                tcp::set_window_clamp(stack().env(), *tcb(), options_.window_clamp);
            return {};
        }
        case TCP_DEFER_ACCEPT:
            options_.defer_accept = timeouts_of(is);
            if (listener_ != nullptr) apply_to_listener();
            return {};
        case TCP_SAVE_SYN:
            if (is < 0 || is > 2) return error(EINVAL);
            options_.save_syn = static_cast<uint8_t>(is);
            if (listener_ != nullptr) apply_to_listener();
            return {};
        case TCP_SAVED_SYN: return error(ENOPROTOOPT);
        case TCP_TIMESTAMP: return error(EPERM);  // only a repaired connection's may be set
        default: return error(ENOPROTOOPT);
    }
}

Result<void> StreamSocket::get_tcp_option(int name, std::span<std::byte> value, socklen_t& size) {
    const auto number = [&](int64_t is) {
        return write_option(static_cast<int>(is), value, size);
    };
    const auto seconds = [&](Duration own, uint32_t tunable) {
        return number(own == Duration() ? tunable : own.ns() / 1'000'000'000);
    };
    const TcpTunables& tunables = stack().env().tunables;
    const tcp::Connection* c = tcb();
    switch (name) {
        case TCP_NODELAY: return number(options_.no_delay);
        case TCP_CORK: return number(options_.cork);
        case TCP_QUICKACK: return number(c == nullptr ? options_.quick_ack : !c->interactive);
        case TCP_MAXSEG:
            if (c == nullptr && options_.max_segment != 0) return number(options_.max_segment);
            return number(c == nullptr || is_opening() ? 536 : c->snd_mss);
        case TCP_KEEPIDLE:
            return seconds(options_.keepalive_times.idle, tunables.tcp_keepalive_time);
        case TCP_KEEPINTVL:
            return seconds(options_.keepalive_times.interval, tunables.tcp_keepalive_intvl);
        case TCP_KEEPCNT:
            return number(options_.keepalive_times.probes != 0 ? options_.keepalive_times.probes
                                                               : tunables.tcp_keepalive_probes);
        case TCP_SYNCNT:
            return number(options_.syn_retries != 0 ? options_.syn_retries
                                                    : tunables.tcp_syn_retries);
        case TCP_LINGER2:
            return number(options_.linger2_s != 0 ? options_.linger2_s
                                                  : static_cast<int>(tunables.tcp_fin_timeout));
        case TCP_USER_TIMEOUT: return number(options_.user_timeout_ms);
        case TCP_WINDOW_CLAMP: return number(options_.window_clamp);
        case TCP_TIMESTAMP:
            return number(stack().env().ms() + (c == nullptr ? 0 : c->ts_offset));
        case TCP_NOTSENT_LOWAT: return number(options_.not_sent_low_water);
        case TCP_CONGESTION: {
            std::string_view is = options_.congestion_control;
            if (c != nullptr)
                is = congestion::name(c->algorithm);
            else if (is.empty())
                is = congestion::name(
                    static_cast<congestion::Algorithm>(tunables.tcp_congestion_control));
            std::array<char, name_max> text{};
            is.copy(text.data(), text.size() - 1);
            return write_option(text, value, size);
        }
        case TCP_DEFER_ACCEPT: return number(seconds_of(options_.defer_accept));
        case TCP_SAVE_SYN: return number(options_.save_syn);
        case TCP_SAVED_SYN: return get_saved_syn(value, size);
        case TCP_INFO: return get_tcp_info(value, size);
        default: return error(ENOPROTOOPT);
    }
}

}  // namespace millrace::api
