// Options of SOL_SOCKET, and the way to the others. What is not here answers ENOPROTOOPT.
#include <netinet/in.h>
#include <poll.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "api/option_value.h"
#include "api/stream_socket.h"
#include "tcp/calls.h"
#include "tcp/receive_window.h"

namespace millrace::api {

namespace {

linger linger_of(const std::optional<Duration>& time) {
    if (!time) return {.l_onoff = 0, .l_linger = 0};
    const int64_t seconds = time->ns() / 1'000'000'000;
    return {.l_onoff = 1, .l_linger = static_cast<int>(std::min<int64_t>(seconds, INT_MAX))};
}

}  // namespace

/// What was set before there was a connection.
void StreamSocket::apply_options() {
    if (options_.keepalive) apply_keepalive();
    if (options_.no_delay) static_cast<void>(connection_.set_no_delay(true));
    if (!options_.quick_ack) static_cast<void>(connection_.set_quick_ack(false));
    if (options_.cork) static_cast<void>(connection_.set_cork(true));
    if (options_.send_buffer) connection_.set_send_buffer(*options_.send_buffer);
    if (options_.receive_buffer) connection_.set_receive_buffer(*options_.receive_buffer);
    if (options_.receive_low_water > 1) make_room_for_low_water();
    if (options_.max_pacing_rate != ~uint64_t{0})
        static_cast<void>(connection_.set_max_pacing_rate(options_.max_pacing_rate));
    if (!options_.congestion_control.empty())
        static_cast<void>(connection_.set_congestion_control(options_.congestion_control));
    if (options_.user_timeout_ms != 0)
        static_cast<void>(
            connection_.set_user_timeout(Duration::from_ms(options_.user_timeout_ms)));
    if (options_.syn_retries != 0)
        static_cast<void>(connection_.set_syn_retries(options_.syn_retries));
    if (options_.linger2_s != 0) apply_linger2();
    if (options_.not_sent_low_water != 0)
        static_cast<void>(connection_.set_not_sent_low_water_mark(options_.not_sent_low_water));
    if (options_.max_segment != 0)
        tcp::set_max_segment(*tcb(), options_.max_segment);
    if (options_.window_clamp != 0)
        tcp::set_window_clamp(stack().env(), *tcb(), options_.window_clamp);
    if ((options_.tos | options_.ttl | options_.traffic_class | options_.hops | options_.min_ttl |
         options_.min_hops) != 0)
        apply_ip_options();
}

/// What a listener's connections begin with before anyone accepts them.
void StreamSocket::apply_to_listener() {
    listener_->max_segment = options_.max_segment;
    listener_->defer_accept = options_.defer_accept;
    listener_->save_syn = options_.save_syn;
    listener_->min_ttl_v4 = options_.min_ttl;
    listener_->min_ttl_v6 = options_.min_hops;
    listener_->marks_v4 = {.dscp = static_cast<uint8_t>(options_.tos >> 2), .ttl = options_.ttl};
    listener_->marks_v6 = {.dscp = static_cast<uint8_t>(options_.traffic_class >> 2),
                           .ttl = options_.hops};
}

/// All that stands for this socket where others want its port.
void StreamSocket::set_reuse() {
    if (binding_ != nullptr) binding_->options = options_.bind;
    if (listener_ != nullptr) {
        listener_->reuse_address = options_.bind.reuse_address;
        listener_->reuse_port = options_.bind.reuse_port;
    }
    if (connection_) stack().set_reuse(*tcb(), options_.bind);
}

/// As tcp_set_rcvlowat: what is waited for fits into the buffer, or into half of one that was set.
void StreamSocket::make_room_for_low_water() {
    uint32_t& mark = options_.receive_low_water;
    if (options_.receive_buffer)
        mark = std::min(mark, static_cast<uint32_t>(told_buffer(*options_.receive_buffer,
                                                                receive_buffer_least)) / 2);
    if (!connection_) return;
    tcp::grow_receive_buffer(stack().env(), *tcb(), mark);
    if (is_readable()) wake(POLLIN | POLLRDNORM);
}

void StreamSocket::apply_keepalive() {
    if (connection_)
        static_cast<void>(
            connection_.set_keepalive(options_.keepalive, options_.keepalive_times));
}

Result<void> StreamSocket::set_option(int level, int name, std::span<const std::byte> value) {
    switch (level) {
        case SOL_SOCKET: return set_socket_option(name, value);
        case IPPROTO_TCP: return set_tcp_option(name, value);
        case IPPROTO_IP: return set_ip_option(name, value);
        case IPPROTO_IPV6:
            return family_ == AF_INET6 ? set_ipv6_option(name, value) : error(ENOPROTOOPT);
        default: return error(ENOPROTOOPT);
    }
}

Result<void> StreamSocket::get_option(int level, int name, std::span<std::byte> value,
                                      socklen_t& size) {
    switch (level) {
        case SOL_SOCKET: return get_socket_option(name, value, size);
        case IPPROTO_TCP: return get_tcp_option(name, value, size);
        case IPPROTO_IP: return get_ip_option(name, value, size);
        case IPPROTO_IPV6:
            if (family_ == AF_INET6) return get_ipv6_option(name, value, size);
            [[fallthrough]];
        default: return error(family_ == AF_INET6 ? ENOPROTOOPT : EOPNOTSUPP);  // as Linux
    }
}

Result<void> StreamSocket::set_socket_option(int name, std::span<const std::byte> value) {
    if (name == SO_RCVTIMEO || name == SO_SNDTIMEO) {
        const auto time = timeout_of(value);
        if (!time) return std::unexpected(time.error());
        (name == SO_RCVTIMEO ? options_.receive_timeout : options_.send_timeout) = *time;
        return {};
    }
    if (name == SO_LINGER) {
        const auto how = read_option<linger>(value);
        if (!how) return std::unexpected(how.error());
        options_.linger.reset();
        // Linux takes a negative time for one without end.
        if (how->l_onoff != 0)
            options_.linger = how->l_linger < 0 ? Duration::max() : Duration::from_s(how->l_linger);
        return {};
    }
    const auto number = read_option<int>(value);
    if (!number) return std::unexpected(number.error());
    const TcpTunables& tunables = stack().env().tunables;
    switch (name) {
        case SO_REUSEADDR:
            options_.bind.reuse_address = *number != 0;
            set_reuse();
            return {};
        case SO_REUSEPORT:
            options_.bind.reuse_port = *number != 0;
            set_reuse();
            return {};
        case SO_KEEPALIVE:
            options_.keepalive = *number != 0;
            apply_keepalive();
            return {};
        case SO_OOBINLINE: options_.urgent_inline = *number != 0; return {};
        case SO_SNDBUF:
            options_.send_buffer = buffer_of(*number, tunables.tcp_wmem_max);
            if (connection_) connection_.set_send_buffer(*options_.send_buffer);
            return {};
        case SO_RCVBUF:
            options_.receive_buffer = buffer_of(*number, tunables.tcp_rmem_max);
            if (connection_) connection_.set_receive_buffer(*options_.receive_buffer);
            return {};
        case SO_RCVLOWAT:
            options_.receive_low_water =
                std::max(1U, buffer_of(*number, tunables.tcp_rmem_max / 2));
            make_room_for_low_water();
            return {};
        case SO_MAX_PACING_RATE: {
            // An int or a long; the largest of either lifts the cap.
            const auto wide = read_option<uint64_t>(value);
            const bool all = !wide && *number == -1;
            const uint64_t rate =
                all ? ~uint64_t{0} : wide ? *wide : static_cast<uint32_t>(*number);
            if (rate == 0) return error(EINVAL);  // nothing would ever be sent
            options_.max_pacing_rate = rate;
            if (connection_) return connection_.set_max_pacing_rate(options_.max_pacing_rate);
            return {};
        }
        default: return error(ENOPROTOOPT);
    }
}

Result<void> StreamSocket::get_socket_option(int name, std::span<std::byte> value,
                                             socklen_t& size) {
    const auto number = [&](int is) { return write_option(is, value, size); };
    const TcpTunables& tunables = stack().env().tunables;
    const tcp::Connection* c = tcb();
    switch (name) {
        case SO_REUSEADDR: return number(options_.bind.reuse_address);
        case SO_REUSEPORT: return number(options_.bind.reuse_port);
        case SO_KEEPALIVE: return number(options_.keepalive);
        case SO_OOBINLINE: return number(options_.urgent_inline);
        case SO_LINGER: return write_option(linger_of(options_.linger), value, size);
        case SO_RCVTIMEO: return write_option(timeval_of(options_.receive_timeout), value, size);
        case SO_SNDTIMEO: return write_option(timeval_of(options_.send_timeout), value, size);
        case SO_SNDBUF:
            return number(told_buffer(
                options_.send_buffer.value_or(c != nullptr ? c->snd_buf : tunables.tcp_wmem),
                send_buffer_least));
        case SO_RCVBUF:
            return number(told_buffer(
                options_.receive_buffer.value_or(c != nullptr ? c->rcv_buf : tunables.tcp_rmem),
                receive_buffer_least));
        case SO_RCVLOWAT: return number(static_cast<int>(options_.receive_low_water));
        case SO_SNDLOWAT: return number(1);
        case SO_MAX_PACING_RATE:
            if (value.size() >= sizeof(uint64_t))
                return write_option(options_.max_pacing_rate, value, size);
            return number(static_cast<int>(
                std::min<uint64_t>(options_.max_pacing_rate, UINT32_MAX)));
        case SO_ERROR: return number(take_error());
        case SO_TYPE: return number(SOCK_STREAM);
        case SO_DOMAIN: return number(family_);
        case SO_PROTOCOL: return number(IPPROTO_TCP);
        case SO_ACCEPTCONN: return number(listener_ != nullptr);
        case SO_INCOMING_CPU: return number(context_.facade().core());
        default: return error(ENOPROTOOPT);
    }
}

}  // namespace millrace::api
