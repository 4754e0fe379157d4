// Socket options on their way in and out of the caller's memory.
#pragma once

#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstring>
#include <span>

#include <millrace/error.h>
#include <millrace/time.h>

namespace millrace::api {

/// The option's value; EINVAL where it is shorter than its type, as in Linux.
template <typename T>
Result<T> read_option(std::span<const std::byte> value) {
    if (value.size() < sizeof(T)) return error(EINVAL);
    T result;
    std::memcpy(&result, value.data(), sizeof(T));
    return result;
}

/// As much of it as the caller has room for.
template <typename T>
Result<void> write_option(const T& result, std::span<std::byte> value, socklen_t& size) {
    size = static_cast<socklen_t>(std::min(value.size(), sizeof(T)));
    std::memcpy(value.data(), &result, size);
    return {};
}

/// Those of IPPROTO_IP may come as one byte.
inline Result<int> read_number(std::span<const std::byte> value) {
    if (value.size() >= sizeof(int)) return read_option<int>(value);
    return value.empty() ? 0 : std::to_integer<int>(value.front());
}

/// And go as one where there is room for no more.
inline Result<void> write_number(int is, std::span<std::byte> value, socklen_t& size) {
    const bool byte = !value.empty() && value.size() < sizeof(int) && is >= 0 && is <= 255;
    if (byte) return write_option(static_cast<uint8_t>(is), value, size);
    return write_option(is, value, size);
}

inline Result<Duration> timeout_of(std::span<const std::byte> value) {
    const auto time = read_option<timeval>(value);
    if (!time) return std::unexpected(time.error());
    if (time->tv_usec < 0 || time->tv_usec >= 1'000'000) return error(EDOM);
    if (time->tv_sec < 0) return Duration::from_ns(-1);
    const int64_t seconds = std::min<int64_t>(time->tv_sec, INT_MAX);
    return Duration::from_s(seconds) + Duration::from_us(time->tv_usec);
}

inline timeval timeval_of(Duration time) {
    return {.tv_sec = time.ns() / 1'000'000'000, .tv_usec = time.us() % 1'000'000};  // negative: 0
}

/// Linux takes a negative one for the largest.
inline uint32_t buffer_of(int asked, uint32_t most) {
    return asked < 0 ? most : std::min(static_cast<uint32_t>(asked), most);
}

/// Linux doubles what is asked for, to have room for its own structures, and tells that.
inline int told_buffer(uint32_t bytes, int least) {
    return static_cast<int>(std::clamp<int64_t>(int64_t{2} * bytes, least, INT_MAX));
}
constexpr int send_buffer_least = 4608;     // SOCK_MIN_SNDBUF
constexpr int receive_buffer_least = 2304;  // SOCK_MIN_RCVBUF

}  // namespace millrace::api
