// Numbers and words in text that a user has given.
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

/// Without the spaces and tabs around it.
inline std::string_view trimmed(std::string_view text) {
    const size_t first = text.find_first_not_of(" \t");
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(" \t") + 1 - first);
}

}  // namespace millrace::apps
