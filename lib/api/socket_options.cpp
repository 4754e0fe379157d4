// Socket options: each is honoured, or answered ENOPROTOOPT.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include "api/socket.h"

namespace millrace::api {

namespace {

/// The option's value; EINVAL where it is shorter than its type, as in Linux.
template <typename T>
Result<T> read(std::span<const std::byte> value) {
    if (value.size() < sizeof(T)) return error(EINVAL);
    T result;
    std::memcpy(&result, value.data(), sizeof(T));
    return result;
}

/// As much of it as the caller has room for.
template <typename T>
Result<void> write(const T& result, std::span<std::byte> value, socklen_t& size) {
    size = static_cast<socklen_t>(std::min(value.size(), sizeof(T)));
    std::memcpy(value.data(), &result, size);
    return {};
}

Result<Duration> timeout_of(std::span<const std::byte> value) {
    const auto time = read<timeval>(value);
    if (!time) return std::unexpected(time.error());
    if (time->tv_usec < 0 || time->tv_usec >= 1'000'000) return error(EDOM);
    if (time->tv_sec < 0) return Duration::from_ns(-1);
    const int64_t seconds = std::min<int64_t>(time->tv_sec, INT_MAX);
    return Duration::from_s(seconds) + Duration::from_us(time->tv_usec);
}

timeval timeval_of(Duration time) {
    return {.tv_sec = time.ns() / 1'000'000'000, .tv_usec = time.us() % 1'000'000};  // negative: 0
}

}  // namespace

/// What was set before there was a connection.
void Socket::apply_options() {
    if (keepalive_) static_cast<void>(connection_.set_keepalive(true));
    if (no_delay_) static_cast<void>(connection_.set_no_delay(true));
}

/// All that stands for this socket where others want its port.
void Socket::set_reuse() {
    if (binding_ != nullptr) binding_->options = bind_options_;
    if (listener_ != nullptr) {
        listener_->reuse_address = bind_options_.reuse_address;
        listener_->reuse_port = bind_options_.reuse_port;
    }
    if (connection_) stack().set_reuse(*tcb(), bind_options_);
}

Result<void> Socket::set_option(int level, int name, std::span<const std::byte> value) {
    if (level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO)) {
        const auto time = timeout_of(value);
        if (!time) return std::unexpected(time.error());
        (name == SO_RCVTIMEO ? receive_timeout : send_timeout) = *time;
        return {};
    }
    if (level == SOL_SOCKET && name == SO_LINGER) {
        const auto how = read<linger>(value);
        if (!how) return std::unexpected(how.error());
        linger_.reset();
        // Linux takes a negative time for one without end.
        if (how->l_onoff != 0)
            linger_ = how->l_linger < 0 ? Duration::max() : Duration::from_s(how->l_linger);
        return {};
    }
    const auto number = read<int>(value);
    const bool on = number && *number != 0;
    const auto known = [&](auto&& set) -> Result<void> {
        if (!number) return std::unexpected(number.error());
        set();
        return {};
    };
    if (level == SOL_SOCKET && name == SO_REUSEADDR)
        return known([&] {
            bind_options_.reuse_address = on;
            set_reuse();
        });
    if (level == SOL_SOCKET && name == SO_REUSEPORT)
        return known([&] {
            bind_options_.reuse_port = on;
            set_reuse();
        });
    if (level == SOL_SOCKET && name == SO_KEEPALIVE)
        return known([&] {
            keepalive_ = on;
            if (connection_) static_cast<void>(connection_.set_keepalive(on));
        });
    if (level == IPPROTO_TCP && name == TCP_NODELAY)
        return known([&] {
            no_delay_ = on;
            if (connection_) static_cast<void>(connection_.set_no_delay(on));
        });
    if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY && family_ == AF_INET6) {
        if (!number || binding_ != nullptr || connection_) return error(EINVAL);
        bind_options_.v6_only = on;
        return {};
    }
    return error(ENOPROTOOPT);
}

Result<void> Socket::get_option(int level, int name, std::span<std::byte> value,
                                socklen_t& size) {
    const auto number = [&](int is) { return write(is, value, size); };
    if (level == SOL_SOCKET) {
        switch (name) {
            case SO_REUSEADDR: return number(bind_options_.reuse_address);
            case SO_REUSEPORT: return number(bind_options_.reuse_port);
            case SO_KEEPALIVE: return number(keepalive_);
            case SO_LINGER:
                return write(linger{.l_onoff = linger_ ? 1 : 0,
                                    .l_linger = linger_ ? static_cast<int>(std::min<int64_t>(
                                                              linger_->ns() / 1'000'000'000,
                                                              INT_MAX))
                                                        : 0},
                             value, size);
            case SO_RCVTIMEO: return write(timeval_of(receive_timeout), value, size);
            case SO_SNDTIMEO: return write(timeval_of(send_timeout), value, size);
            case SO_ERROR: return number(take_error());
            case SO_TYPE: return number(SOCK_STREAM);
            case SO_DOMAIN: return number(family_);
            case SO_PROTOCOL: return number(IPPROTO_TCP);
            case SO_ACCEPTCONN: return number(listener_ != nullptr);
            default: return error(ENOPROTOOPT);
        }
    }
    if (level == IPPROTO_TCP && name == TCP_NODELAY) return number(no_delay_);
    if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY && family_ == AF_INET6)
        return number(bind_options_.v6_only);
    return error(ENOPROTOOPT);
}

}  // namespace millrace::api
