#include <millrace/udp.h>

#include <algorithm>
#include <cerrno>

#include "api/context.h"

namespace millrace {

/// 0, or why no call can be made on this handle. What is sent leaves at once, by the present time.
int UdpSocket::check() const {
    if (endpoint_ == nullptr) return EBADF;
    if (const int wrong = context_->check_thread()) return wrong;
    context_->look_at_clock();
    return 0;
}

Result<UdpSocket> UdpSocket::open(Stack& stack, const SocketAddress& local, UdpHandler& handler,
                                  const UdpOptions& options) {
    api::Context& context = api::Context::of(stack);
    if (const int wrong = context.check_thread()) return error(wrong);
    context.look_at_clock();
    const auto endpoint = context.stack().open_datagrams(local.address.family(), &handler);
    if (!endpoint) return std::unexpected(endpoint.error());
    context.stack().set_reuse(**endpoint, {.reuse_address = options.reuse_address,
                                           .reuse_port = options.reuse_port,
                                           .v6_only = options.v6_only});
    if (const auto bound = context.stack().bind(**endpoint, local); !bound) {
        context.stack().close(**endpoint);
        return std::unexpected(bound.error());
    }
    return UdpSocket(&context, *endpoint);
}

Result<void> UdpSocket::connect(const SocketAddress& remote) {
    if (const int wrong = check()) return error(wrong);
    return context_->stack().connect(*endpoint_, remote);
}

Result<void> UdpSocket::disconnect() {
    if (const int wrong = check()) return error(wrong);
    context_->stack().disconnect(*endpoint_);
    return {};
}

std::optional<Datagram> UdpSocket::receive() {
    if (check() != 0 || endpoint_->queue.empty()) return std::nullopt;
    return context_->stack().receive(*endpoint_);
}

size_t UdpSocket::receive(std::span<Datagram> into) {
    if (check() != 0) return 0;
    size_t count = 0;
    while (count < into.size() && !endpoint_->queue.empty())
        into[count++] = context_->stack().receive(*endpoint_);
    return count;
}

Result<void> UdpSocket::send(OutgoingDatagram& datagram) {
    if (const int wrong = check()) return error(wrong);
    return context_->stack().send(*endpoint_, datagram);
}

Result<size_t> UdpSocket::send(std::span<OutgoingDatagram> datagrams) {
    size_t sent = 0;
    for (OutgoingDatagram& datagram : datagrams) {
        const auto answer = send(datagram);
        if (!answer && sent == 0) return std::unexpected(answer.error());
        if (!answer) break;
        ++sent;
    }
    return sent;
}

Result<void> UdpSocket::send(std::span<const std::byte> data,
                             const std::optional<SocketAddress>& destination) {
    if (const int wrong = check()) return error(wrong);
    OutgoingDatagram datagram;
    datagram.destination = destination;
    if (context_->stack().pools().append_copy(datagram.data, data) < data.size())
        return error(ENOBUFS);
    return send(datagram);
}

Result<void> UdpSocket::send(std::string_view data,
                             const std::optional<SocketAddress>& destination) {
    return send(std::as_bytes(std::span(data.data(), data.size())), destination);
}

Result<void> UdpSocket::join(const Address& group, InterfaceIndex interface) {
    if (const int wrong = check()) return error(wrong);
    return context_->stack().join(*endpoint_, group, interface);
}

Result<void> UdpSocket::leave(const Address& group, InterfaceIndex interface) {
    if (const int wrong = check()) return error(wrong);
    return context_->stack().leave(*endpoint_, group, interface);
}

template <typename Set>
Result<void> UdpSocket::configure(Set&& set) {
    if (const int wrong = check()) return error(wrong);
    set(endpoint_->settings);
    return {};
}

Result<void> UdpSocket::set_broadcast(bool on) {
    return configure([&](udp::Settings& settings) { settings.broadcast = on; });
}

Result<void> UdpSocket::set_receive_buffer(uint32_t bytes) {
    return configure([&](udp::Settings& settings) {
        const uint32_t most = context_->stack().ip_tunables().rmem_max;
        settings.receive_buffer = std::clamp(bytes, 1U, most);
    });
}

Result<void> UdpSocket::set_send_buffer(uint32_t bytes) {
    return configure([&](udp::Settings& settings) {
        const uint32_t most = context_->stack().ip_tunables().wmem_max;
        settings.send_buffer = std::clamp(bytes, 1U, most);
    });
}

Result<void> UdpSocket::set_ttl(uint8_t ttl) {
    return configure([&](udp::Settings& settings) { settings.v4.ttl = settings.v6.ttl = ttl; });
}

Result<void> UdpSocket::set_multicast_ttl(uint8_t ttl) {
    return configure([&](udp::Settings& settings) {
        settings.v4.multicast_ttl = settings.v6.multicast_ttl = ttl;
    });
}

Result<void> UdpSocket::set_multicast_loop(bool on) {
    return configure([&](udp::Settings& settings) {
        settings.v4.multicast_loop = settings.v6.multicast_loop = on;
    });
}

Result<void> UdpSocket::set_multicast_interface(InterfaceIndex interface) {
    if (const int wrong = check()) return error(wrong);
    if (interface > context_->stack().interfaces().size()) return error(ENODEV);
    return configure([&](udp::Settings& settings) {
        settings.v4.multicast_interface = settings.v6.multicast_interface = interface;
    });
}

Result<void> UdpSocket::set_tos(uint8_t tos) {
    return configure([&](udp::Settings& settings) { settings.v4.tos = settings.v6.tos = tos; });
}

Result<void> UdpSocket::set_path_mtu_discovery(PathMtuDiscovery how) {
    return configure([&](udp::Settings& settings) {
        settings.v4.path_mtu_discovery = settings.v6.path_mtu_discovery = how;
    });
}

Result<void> UdpSocket::set_receive_errors(bool on) {
    if (const int wrong = check()) return error(wrong);
    if (!on) context_->stack().clear_errors(*endpoint_);
    return configure([&](udp::Settings& settings) {
        settings.v4.receive_errors = settings.v6.receive_errors = on;
    });
}

std::optional<DatagramError> UdpSocket::receive_error() {
    if (check() != 0 || endpoint_->errors.empty()) return std::nullopt;
    return context_->stack().receive_error(*endpoint_);
}

SocketAddress UdpSocket::local() const {
    return endpoint_ != nullptr ? endpoint_->local : SocketAddress();
}

SocketAddress UdpSocket::remote() const {
    return endpoint_ != nullptr ? endpoint_->remote : SocketAddress();
}

int UdpSocket::take_error() { return check() == 0 ? std::exchange(endpoint_->error, 0) : 0; }

Result<void> UdpSocket::close() {
    if (const int wrong = check()) return error(wrong);
    context_->stack().close(*std::exchange(endpoint_, nullptr));
    return {};
}

namespace api {

/// Any call may close the socket; then nothing more is told. Its memory stands until the end of the
/// turn.
void Context::on_datagrams(udp::Endpoint& endpoint, uint8_t events) {
    const UdpSocket handle(this, &endpoint);
    auto* const handler = static_cast<UdpHandler*>(endpoint.owner);
    if ((events & udp::Event::error) != 0 && (endpoint.error != 0 || !endpoint.errors.empty()))
        handler->on_error(handle, endpoint.error != 0 ? endpoint.error
                                                      : endpoint.errors.front().error.error);
    if ((events & udp::Event::readable) != 0 && !endpoint.closed) handler->on_readable(handle);
    if ((events & udp::Event::writable) != 0 && !endpoint.closed) handler->on_writable(handle);
}

}  // namespace api
}  // namespace millrace
