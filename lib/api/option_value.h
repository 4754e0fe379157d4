// Socket options on their way in and out of the caller's memory.
#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <span>

#include <millrace/error.h>

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

}  // namespace millrace::api
