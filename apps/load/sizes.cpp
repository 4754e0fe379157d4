#include "load/sizes.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "common/text.h"

namespace millrace::apps {

namespace {

std::vector<std::string_view> split(std::string_view text, char separator) {
    std::vector<std::string_view> parts;
    while (true) {
        const size_t at = text.find(separator);
        parts.push_back(text.substr(0, at));
        if (at == std::string_view::npos) return parts;
        text.remove_prefix(at + 1);
    }
}

}  // namespace

Started<Sizes> Sizes::parse(std::string_view text, uint32_t least, uint32_t most) {
    const auto wrong = [&](std::string_view why) {
        return failure(fmt::format("\"{}\" {}: a size, sizes with commas between, SIZE*WEIGHT with "
                                   "commas between, uniform:LEAST:MOST or exponential:MEAN:MOST; "
                                   "each from {} to {}",
                                   text, why, least, most));
    };
    Sizes sizes;
    sizes.list_.clear();
    sizes.floor_ = least;
    std::vector<std::string_view> parts = split(text, ':');
    const std::string_view kind = parts.front();
    if (parts.size() == 3 && (kind == "uniform" || kind == "exponential")) {
        sizes.kind_ = kind == "uniform" ? Kind::uniform : Kind::exponential;
        parts.erase(parts.begin());
    } else {
        parts = split(text, ',');
    }
    size_t weighted = 0;
    for (const std::string_view part : parts) {
        const std::vector<std::string_view> halves = split(part, '*');
        const auto size = parse_number<uint32_t>(halves.front());
        if (!size || halves.size() > 2) return wrong("is no size");
        if (*size < least || *size > most) return wrong("is out of range");
        Entry entry{.size = *size, .weight = 1};
        if (halves.size() == 2) {
            const auto weight = parse_number<uint32_t>(halves[1]);
            if (!weight || *weight == 0) return wrong("has a weight that is none");
            entry.weight = *weight;
            ++weighted;
        }
        sizes.weights_ += entry.weight;
        sizes.list_.push_back(entry);
    }
    const bool is_distribution = sizes.kind_ != Kind::in_turn;
    if (is_distribution && (weighted != 0 || sizes.list_[0].size > sizes.list_[1].size))
        return wrong("is no distribution");
    if (weighted != 0 && weighted != sizes.list_.size()) return wrong("has weights for some only");
    if (weighted != 0) sizes.kind_ = Kind::weighted;
    return sizes;
}

uint32_t Sizes::draw(std::mt19937_64& random) {
    switch (kind_) {
        case Kind::in_turn:
            if (list_.size() == 1) return list_[0].size;
            next_ = next_ + 1 < list_.size() ? next_ + 1 : 0;
            return list_[next_ != 0 ? next_ - 1 : list_.size() - 1].size;
        case Kind::weighted: {
            uint64_t at = std::uniform_int_distribution<uint64_t>(0, weights_ - 1)(random);
            for (const Entry& entry : list_) {
                if (at < entry.weight) return entry.size;
                at -= entry.weight;
            }
            return list_.back().size;
        }
        case Kind::uniform:
            return std::uniform_int_distribution<uint32_t>(list_[0].size, list_[1].size)(random);
        case Kind::exponential: {
            const double value = std::exponential_distribution<double>(1.0 / list_[0].size)(random);
            return static_cast<uint32_t>(std::clamp(std::round(value), static_cast<double>(floor_),
                                                    static_cast<double>(list_[1].size)));
        }
    }
    return list_[0].size;
}

uint32_t Sizes::least() const {
    if (kind_ == Kind::exponential) return floor_;
    return std::ranges::min(list_, {}, &Entry::size).size;
}
uint32_t Sizes::most() const { return std::ranges::max(list_, {}, &Entry::size).size; }

}  // namespace millrace::apps
