#include "api/control_data.h"

#include <linux/errqueue.h>
#include <netinet/in.h>

#include <cerrno>
#include <cstring>

namespace millrace::api {

namespace {

template <typename T>
Result<T> value_of(const cmsghdr& header) {
    if (header.cmsg_len < CMSG_LEN(sizeof(T))) return error(EINVAL);
    T value;
    std::memcpy(&value, CMSG_DATA(&header), sizeof(T));
    return value;
}

/// IP_TOS may come as one byte.
Result<int> number_of(const cmsghdr& header) {
    if (header.cmsg_len == CMSG_LEN(1)) return *CMSG_DATA(&header);
    return value_of<int>(header);
}

Result<void> read_v4(const cmsghdr& header, OutgoingDatagram& out) {
    if (header.cmsg_type == IP_PKTINFO) {
        const auto info = value_of<in_pktinfo>(header);
        if (!info) return std::unexpected(info.error());
        out.interface = static_cast<InterfaceIndex>(info->ipi_ifindex);
        if (info->ipi_spec_dst.s_addr != 0) out.source = Address::v4(&info->ipi_spec_dst);
        return {};
    }
    const auto number = number_of(header);
    if (!number) return std::unexpected(number.error());
    switch (header.cmsg_type) {
        case IP_TTL:
            if (*number < 1 || *number > 255) return error(EINVAL);
            out.ttl = static_cast<uint8_t>(*number);
            return {};
        case IP_TOS:
            if (*number < 0 || *number > 255) return error(EINVAL);
            out.tos = static_cast<uint8_t>(*number);
            return {};
        default: return error(EINVAL);
    }
}

Result<void> read_v6(const cmsghdr& header, OutgoingDatagram& out) {
    if (header.cmsg_type == IPV6_PKTINFO) {
        const auto info = value_of<in6_pktinfo>(header);
        if (!info) return std::unexpected(info.error());
        out.interface = info->ipi6_ifindex;
        const Address source = Address::v6(&info->ipi6_addr);
        if (!source.is_unspecified()) out.source = source;
        return {};
    }
    const auto number = value_of<int>(header);
    if (!number) return std::unexpected(number.error());
    if (*number < -1 || *number > 255) return error(EINVAL);
    switch (header.cmsg_type) {
        case IPV6_HOPLIMIT:
            if (*number == 0) return error(EINVAL);
            if (*number > 0) out.ttl = static_cast<uint8_t>(*number);
            return {};
        case IPV6_TCLASS:
            if (*number >= 0) out.tos = static_cast<uint8_t>(*number);
            return {};
        default: return error(EINVAL);
    }
}

/// Puts one after the other while there is room.
class Writer {
public:
    explicit Writer(msghdr& message) : message_(message), room_(message.msg_controllen) {
        message_.msg_controllen = 0;
    }

    template <typename T>
    void put(int level, int type, const T& value) {
        const size_t used = message_.msg_controllen;
        // As put_cmsg: what does not fit is cut, where at least its header does.
        if (message_.msg_control == nullptr || room_ - used < sizeof(cmsghdr)) {
            message_.msg_flags |= MSG_CTRUNC;
            return;
        }
        cmsghdr header{};
        header.cmsg_len = CMSG_LEN(sizeof(T));
        header.cmsg_level = level;
        header.cmsg_type = type;
        if (room_ - used < header.cmsg_len) {
            message_.msg_flags |= MSG_CTRUNC;
            header.cmsg_len = room_ - used;
        }
        auto* const at = static_cast<char*>(message_.msg_control) + used;
        std::memcpy(at, &header, sizeof(header));
        std::memcpy(at + CMSG_LEN(0), &value, header.cmsg_len - CMSG_LEN(0));
        message_.msg_controllen = std::min(used + CMSG_SPACE(sizeof(T)), room_);
    }

private:
    msghdr& message_;
    const size_t room_;
};

}  // namespace

Result<void> read_control(const msghdr& message, OutgoingDatagram& out) {
    if (message.msg_controllen == 0) return {};
    if (message.msg_control == nullptr) return error(EFAULT);
    const auto* const all = static_cast<const char*>(message.msg_control);
    for (size_t at = 0; message.msg_controllen - at >= sizeof(cmsghdr);) {
        cmsghdr header;
        std::memcpy(&header, all + at, sizeof(header));
        if (header.cmsg_len < CMSG_LEN(0) || header.cmsg_len > message.msg_controllen - at)
            return error(EINVAL);
        const auto& whole = *reinterpret_cast<const cmsghdr*>(all + at);
        Result<void> read;
        if (header.cmsg_level == IPPROTO_IP)
            read = read_v4(whole, out);
        else if (header.cmsg_level == IPPROTO_IPV6)
            read = read_v6(whole, out);
        else
            return error(EINVAL);
        if (!read) return read;
        at += std::min(CMSG_ALIGN(header.cmsg_len), message.msg_controllen - at);
    }
    return {};
}

void write_control(const DatagramSocket& socket, const Datagram& datagram, msghdr& message) {
    Writer writer(message);
    const DatagramOptions& options = socket.options();
    const bool v4 = datagram.destination.is_v4();
    const Address& destination = datagram.destination;
    if (v4) {
        if (options.packet_info) {
            in_pktinfo info{};
            info.ipi_ifindex = static_cast<int>(datagram.interface);
            std::memcpy(&info.ipi_addr, destination.wire(), sizeof(info.ipi_addr));
            const Address spec = socket.answers_from(datagram);
            std::memcpy(&info.ipi_spec_dst, spec.wire(), sizeof(info.ipi_spec_dst));
            writer.put(IPPROTO_IP, IP_PKTINFO, info);
        }
        if (options.receive_ttl) writer.put(IPPROTO_IP, IP_TTL, int{datagram.ttl});
        if (options.receive_tos) writer.put(IPPROTO_IP, IP_TOS, datagram.tos);
    }
    if (socket.family() != AF_INET6) return;
    if (options.packet_info_v6) {
        in6_pktinfo info{};
        info.ipi6_ifindex = datagram.interface;
        std::memcpy(&info.ipi6_addr, destination.bytes().data(), sizeof(info.ipi6_addr));
        writer.put(IPPROTO_IPV6, IPV6_PKTINFO, info);
    }
    if (v4) return;
    if (options.receive_hops) writer.put(IPPROTO_IPV6, IPV6_HOPLIMIT, int{datagram.ttl});
    if (options.receive_class) writer.put(IPPROTO_IPV6, IPV6_TCLASS, int{datagram.tos});
}

void write_error(int family, const DatagramError& error, msghdr& message) {
    Writer writer(message);
    sock_extended_err told{};
    told.ee_errno = static_cast<uint32_t>(error.error);
    told.ee_origin = static_cast<uint8_t>(error.origin);
    told.ee_type = error.type;
    told.ee_code = error.code;
    told.ee_info = error.info;
    const bool named = error.origin != DatagramError::Origin::local;
    if (family == AF_INET) {
        struct {
            sock_extended_err told;
            sockaddr_in offender;
        } all{told, {}};
        if (named) {
            all.offender.sin_family = AF_INET;
            std::memcpy(&all.offender.sin_addr, error.offender.wire(), 4);
        }
        writer.put(IPPROTO_IP, IP_RECVERR, all);
        return;
    }
    struct {
        sock_extended_err told;
        sockaddr_in6 offender;
    } all{told, {}};
    if (named) {
        all.offender.sin6_family = AF_INET6;
        std::memcpy(&all.offender.sin6_addr, error.offender.bytes().data(), 16);
    }
    writer.put(IPPROTO_IPV6, IPV6_RECVERR, all);
}

}  // namespace millrace::api
