// How large requests and answers are: one size, a list, or a distribution.
#pragma once

#include <cstdint>
#include <random>
#include <string_view>
#include <vector>

#include <millrace/error.h>

namespace millrace::apps {

/// Sizes in bytes, drawn one after the other. As text:
///     64                     each
///     64,512,1500            in turn
///     64*90,1500*9,1048576*1 at random, by weight
///     uniform:64:1500        at random between the two
///     exponential:500:65536  at random with this mean, at most the second
class Sizes {
public:
    explicit Sizes(uint32_t constant = 64) : list_{{constant, 1}} {}
    /// An error says what is wrong with the text. Sizes are from `least` to `most`.
    static Started<Sizes> parse(std::string_view text, uint32_t least, uint32_t most);

    uint32_t draw(std::mt19937_64& random);
    uint32_t least() const;
    uint32_t most() const;

private:
    enum class Kind : uint8_t { in_turn, weighted, uniform, exponential };
    struct Entry {
        uint32_t size = 0;
        uint32_t weight = 1;
        bool operator==(const Entry&) const = default;
    };
    Kind kind_ = Kind::in_turn;
    std::vector<Entry> list_;  ///< of a distribution: its two numbers
    uint32_t floor_ = 1;       ///< no exponential size is less
    uint64_t weights_ = 0;     ///< of all
    size_t next_ = 0;
};

}  // namespace millrace::apps
