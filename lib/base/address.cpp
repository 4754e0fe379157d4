#include <millrace/address.h>

#include <arpa/inet.h>

#include <bit>
#include <charconv>

#include <fmt/format.h>

namespace millrace {

namespace {

template <typename Number>
Result<Number> parse_number(std::string_view text, Number max) {
    Number value = 0;
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (status != std::errc() || end != text.data() + text.size() || value > max)
        return error(EINVAL);
    return value;
}

}  // namespace

Result<Address> Address::parse(std::string_view text) {
    std::array<char, INET6_ADDRSTRLEN> buffer{};
    if (text.size() >= buffer.size()) return error(EINVAL);
    text.copy(buffer.data(), text.size());
    std::array<uint8_t, 16> raw{};
    if (inet_pton(AF_INET, buffer.data(), raw.data()) == 1) return v4(raw.data());
    if (inet_pton(AF_INET6, buffer.data(), raw.data()) == 1) return v6(raw.data());
    return error(EINVAL);
}

bool Address::is_loopback() const {
    if (is_v4()) return bytes_[12] == 127;
    std::array<uint8_t, 16> one{};
    one[15] = 1;
    return bytes_ == one;
}

bool Address::is_link_local() const {
    if (is_v4()) return bytes_[12] == 169 && bytes_[13] == 254;
    return bytes_[0] == 0xfe && (bytes_[1] & 0xc0) == 0x80;
}

std::string Address::to_string() const {
    std::array<char, INET6_ADDRSTRLEN> buffer{};
    inet_ntop(is_v4() ? AF_INET : AF_INET6, wire(), buffer.data(), buffer.size());
    return buffer.data();
}

Result<Prefix> Prefix::parse(std::string_view text) {
    const size_t slash = text.find('/');
    const auto address = Address::parse(text.substr(0, slash));
    if (!address) return std::unexpected(address.error());
    const auto bits = static_cast<uint8_t>(address->wire_size() * 8);
    if (slash == std::string_view::npos) return Prefix{*address, bits};
    const auto length = parse_number<uint8_t>(text.substr(slash + 1), bits);
    if (!length) return std::unexpected(length.error());
    return Prefix{*address, *length};
}

bool Prefix::contains(const Address& other) const {
    const bool v4 = address.is_v4();
    if (v4 != other.is_v4()) return false;
    using Halves = std::array<uint64_t, 2>;
    const auto a = std::bit_cast<Halves>(address.bytes());
    const auto b = std::bit_cast<Halves>(other.bytes());
    // What differs, the network's first bit highest.
    const uint64_t high = std::byteswap(a[0] ^ b[0]);
    const uint64_t low = std::byteswap(a[1] ^ b[1]);
    const unsigned bits = v4 ? 96U + length : length;
    if (bits == 0) return true;
    if (bits <= 64) return high >> (64 - bits) == 0;
    return high == 0 && low >> (128 - bits) == 0;
}

Address Prefix::broadcast() const {
    if (!address.is_v4() || length > 30) return {};
    std::array<uint8_t, 4> bytes{};
    std::memcpy(bytes.data(), address.wire(), 4);
    for (unsigned bit = length; bit < 32; ++bit)
        bytes[bit / 8] = static_cast<uint8_t>(bytes[bit / 8] | (0x80U >> (bit % 8)));
    return Address::v4(bytes.data());
}

std::string Prefix::to_string() const { return fmt::format("{}/{}", address.to_string(), length); }

Result<SocketAddress> SocketAddress::parse(std::string_view text) {
    const size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return error(EINVAL);
    std::string_view host = text.substr(0, colon);
    const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
    if (bracketed) host = host.substr(1, host.size() - 2);
    const auto address = Address::parse(host);
    if (!address || address->is_v4() == bracketed) return error(EINVAL);
    const auto port = parse_number<uint16_t>(text.substr(colon + 1), 65535);
    if (!port) return std::unexpected(port.error());
    return SocketAddress{*address, *port};
}

std::string SocketAddress::to_string() const {
    return address.is_v4() ? fmt::format("{}:{}", address.to_string(), port)
                           : fmt::format("[{}]:{}", address.to_string(), port);
}

}  // namespace millrace
