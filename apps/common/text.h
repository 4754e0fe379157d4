// Numbers in text that a user has given.
#pragma once

#include <charconv>
#include <optional>
#include <string_view>

namespace millrace::apps {

/// The whole text as a number; nothing where it is none, or out of range.
template <typename Number>
std::optional<Number> parse_number(std::string_view text) {
    Number value{};
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (status != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

}  // namespace millrace::apps
