#include "api/datagram_socket.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <utility>

#include "wire/ip.h"

namespace millrace::api {

namespace {

constexpr size_t payload_max = 65535 - udp::header_size;

/// All of `data`, or nothing. ENOBUFS.
Result<void> append_copy(buf::Pools& pools, BufferChain& chain, Pieces data) {
    const size_t before = chain.size();
    const size_t wanted = data.size();
    while (!data.empty()) {
        const size_t copied = pools.append_copy(chain, data.front());
        if (copied == 0) break;
        data.advance(copied);
    }
    if (chain.size() == before + wanted) return {};
    chain.trim_back(chain.size() - before);
    return error(ENOBUFS);
}

/// As much as there is room for. EFAULT.
Result<void> copy_out(const BufferChain& data, Pieces into) {
    const size_t wanted = std::min(data.size(), into.size());
    if (wanted > 0 && into.has_null()) return error(EFAULT);
    for (size_t done = 0; done < wanted;) {
        const size_t here = std::min(into.front().size(), wanted - done);
        data.copy_to(into.front().first(here), done);
        into.advance(here);
        done += here;
    }
    return {};
}

}  // namespace

Result<std::unique_ptr<DatagramSocket>> DatagramSocket::open(Context& context, int family) {
    const auto endpoint = context.stack().open_datagrams(
        family == AF_INET ? Family::ipv4 : Family::ipv6, nullptr);
    if (!endpoint) return std::unexpected(endpoint.error());
    return std::unique_ptr<DatagramSocket>(new DatagramSocket(context, family, **endpoint));
}

DatagramSocket::DatagramSocket(Context& context, int family, udp::Endpoint& endpoint)
    : Socket(context, family), endpoint_(endpoint) {
    endpoint_.owner = static_cast<UdpHandler*>(this);
}

DatagramSocket::~DatagramSocket() { stack().close(endpoint_); }

Result<void> DatagramSocket::bind(const SocketAddress& address) {
    if (family_ == AF_INET6 && options_.bind.v6_only && address.address.is_v4())
        return error(EINVAL);
    return stack().bind(endpoint_, address);
}

Result<void> DatagramSocket::connect(const SocketAddress& address) {
    return stack().connect(endpoint_, address);
}

Result<void> DatagramSocket::disconnect() {
    stack().disconnect(endpoint_);
    return {};
}

/// As inet_shutdown: what is not connected is shut all the same, and told that it is not.
Result<void> DatagramSocket::shutdown(int how) {
    if (how < SHUT_RD || how > SHUT_RDWR) return error(EINVAL);
    shut_read_ |= how != SHUT_WR;
    shut_write_ |= how != SHUT_RD;
    wake(0);
    return endpoint_.connected ? Result<void>() : error(ENOTCONN);
}

/// Linux's datagram_poll.
uint32_t DatagramSocket::poll_events() {
    uint32_t events = 0;
    if (endpoint_.error != 0 || !endpoint_.errors.empty()) events |= POLLERR;
    if (shut_read_) events |= POLLRDHUP | POLLIN | POLLRDNORM;
    if (shut_read_ && shut_write_) events |= POLLHUP;
    if (!endpoint_.queue.empty()) events |= POLLIN | POLLRDNORM;
    if (stack().may_send(endpoint_)) events |= POLLOUT | POLLWRNORM | POLLWRBAND;
    return events;
}

void DatagramSocket::on_readable(UdpSocket) { wake(POLLIN | POLLPRI | POLLRDNORM | POLLRDBAND); }
void DatagramSocket::on_writable(UdpSocket) { wake(POLLOUT | POLLWRNORM | POLLWRBAND); }
void DatagramSocket::on_error(UdpSocket, int) { wake(POLLERR); }

Result<SocketAddress> DatagramSocket::local() const { return endpoint_.local; }

Result<SocketAddress> DatagramSocket::peer() const {
    if (!endpoint_.connected || endpoint_.remote.port == 0) return error(ENOTCONN);
    return endpoint_.remote;
}

Result<size_t> DatagramSocket::send(Pieces data, OutgoingDatagram& out, bool more) {
    const size_t size = data.size();
    const size_t gathered = corked_ ? corked_->data.size() : 0;
    if (const auto bound = stack().autobind(endpoint_); !bound)
        return std::unexpected(bound.error());
    const auto to = corked_ ? corked_->destination : out.destination;
    const bool v4 = to.value_or(endpoint_.remote).address.is_v4();
    const size_t most = payload_max - (v4 ? wire::Ip::v4_size : 0);
    if (size > most - gathered) {
        corked_.reset();  // as Linux: what was gathered is lost with what does not fit
        return error(EMSGSIZE);
    }
    if (!out.destination && !endpoint_.connected && !corked_) return error(EDESTADDRREQ);
    if (shut_write_) return error(EPIPE);
    const bool gathers = more || options_.cork;
    if (!gathers && endpoint_.error == 0 && !stack().may_send(endpoint_)) return error(EAGAIN);
    if (gathers || corked_) {
        if (!corked_) corked_.emplace(std::move(out));  // the first says where it goes
        if (const auto copied = append_copy(stack().pools(), corked_->data, data); !copied) {
            corked_.reset();
            return std::unexpected(copied.error());
        }
        if (gathers) return size;
        const auto sent = send_corked();
        return sent ? Result<size_t>(size) : std::unexpected(sent.error());
    }
    if (const auto copied = append_copy(stack().pools(), out.data, data); !copied)
        return std::unexpected(copied.error());
    const auto sent = stack().send(endpoint_, out);
    out.data.clear();
    if (!sent) return std::unexpected(sent.error());
    return size;
}

/// Where it cannot go, it is dropped, as Linux's udp_flush_pending_frames does.
Result<void> DatagramSocket::send_corked() {
    const auto sent = stack().send(endpoint_, *corked_);
    corked_.reset();
    return sent;
}

Result<size_t> DatagramSocket::receive(Pieces into, bool peek, Datagram& what) {
    if (endpoint_.error != 0) return error(std::exchange(endpoint_.error, 0));
    if (endpoint_.queue.empty()) return error(EAGAIN);
    const Datagram& first = endpoint_.queue.front().datagram;
    const size_t size = first.data.size();
    if (const auto copied = copy_out(first.data, into); !copied)
        return std::unexpected(copied.error());
    what.source = first.source;
    what.destination = first.destination;
    what.interface = first.interface;
    what.ttl = first.ttl;
    what.tos = first.tos;
    if (!peek) static_cast<void>(stack().receive(endpoint_));
    return size;
}

Result<size_t> DatagramSocket::receive_error(Pieces into, DatagramError& what) {
    if (endpoint_.errors.empty()) return error(EAGAIN);
    what = stack().receive_error(endpoint_);
    if (const auto copied = copy_out(what.data, into); !copied)
        return std::unexpected(copied.error());
    return what.data.size();
}

Address DatagramSocket::answers_from(const Datagram& datagram) const {
    if (stack().interface_of(datagram.destination) != 0) return datagram.destination;
    const auto own = stack().address_on(static_cast<uint16_t>(datagram.interface - 1),
                                        datagram.destination);
    return own.value_or(Address::any(datagram.destination.family()));
}

/// Of the next datagram; 0 says that it is empty, or that there is none.
Result<int> DatagramSocket::unread_bytes() const {
    if (endpoint_.queue.empty()) return 0;
    return static_cast<int>(endpoint_.queue.front().datagram.data.size());
}

}  // namespace millrace::api
