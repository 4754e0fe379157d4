// The machine's files: small texts under a root, read with patience for what is not there.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace millrace::apps {

/// The whole file; empty where it cannot be read. At most a mebibyte.
std::string read_text(const std::string& path);
/// Its first word; likewise.
std::string read_word(const std::string& path);
/// Its first number; `otherwise` where there is none.
int64_t read_integer(const std::string& path, int64_t otherwise);
/// A list as the kernel writes it: "0-3,8".
std::vector<uint16_t> parse_list(const std::string& text);
/// The number behind a key at the beginning of a line; `otherwise` where there is none.
uint64_t value_of(const std::string& text, const std::string& key, uint64_t otherwise);
/// The words behind it.
std::string words_of(const std::string& text, const std::string& key);
/// What is in a folder, in order; nothing where it is none.
std::vector<std::string> entries(const std::string& folder);
/// The last part of what a link names; empty where it is none.
std::string link_name(const std::string& path);

}  // namespace millrace::apps
