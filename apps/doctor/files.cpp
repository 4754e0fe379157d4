#include "doctor/files.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "common/text.h"

namespace millrace::apps {

std::string read_text(const std::string& path) {
    std::ifstream file(path);
    std::string text(1 << 20, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<size_t>(std::max<std::streamsize>(file.gcount(), 0)));
    return text;
}

std::string read_word(const std::string& path) {
    std::istringstream words(read_text(path));
    std::string word;
    words >> word;
    return word;
}

int64_t read_integer(const std::string& path, int64_t otherwise) {
    return parse_number<int64_t>(read_word(path)).value_or(otherwise);
}

std::vector<uint16_t> parse_list(const std::string& text) {
    std::vector<uint16_t> numbers;
    std::istringstream parts(text.substr(0, text.find('\n')));
    for (std::string part; std::getline(parts, part, ',');) {
        const size_t dash = part.find('-');
        const auto first = parse_number<uint16_t>(std::string_view(part).substr(0, dash));
        const auto last = dash == std::string::npos
                              ? first
                              : parse_number<uint16_t>(std::string_view(part).substr(dash + 1));
        if (!first || !last) continue;
        for (uint32_t i = *first; i <= *last; ++i) numbers.push_back(static_cast<uint16_t>(i));
    }
    return numbers;
}

std::string words_of(const std::string& text, const std::string& key) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);)
        if (line.starts_with(key)) {
            const std::string_view rest = std::string_view(line).substr(key.size());
            return std::string(trimmed(rest));
        }
    return {};
}

uint64_t value_of(const std::string& text, const std::string& key, uint64_t otherwise) {
    std::istringstream words(words_of(text, key));
    std::string word;
    words >> word;
    return parse_number<uint64_t>(word).value_or(otherwise);
}

std::vector<std::string> entries(const std::string& folder) {
    std::vector<std::string> names;
    std::error_code failed;
    for (std::filesystem::directory_iterator at(folder, failed), end; !failed && at != end;
         at.increment(failed))
        names.push_back(at->path().filename());
    std::ranges::sort(names);
    return names;
}

std::string link_name(const std::string& path) {
    std::error_code failed;
    return std::filesystem::read_symlink(path, failed).filename();
}

}  // namespace millrace::apps
