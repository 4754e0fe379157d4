#include "load/assertion.h"

#include <array>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "common/text.h"

namespace millrace::apps {

namespace {

/// The kinds of latencies, by their names.
constexpr std::array<std::pair<std::string_view, Histogram Figures::*>, 6> kinds{
    {{"request", &Figures::request},
     {"connect", &Figures::connect},
     {"handshake", &Figures::handshake},
     {"first_byte", &Figures::first_byte},
     {"uncorrected", &Figures::uncorrected},
     {"lag", &Figures::lag}}};

/// What a unit multiplies by; nothing where there is no such unit.
std::optional<double> factor(std::string_view unit, bool is_time) {
    if (is_time) {
        if (unit == "ns") return 1;
        if (unit == "us") return 1e3;
        if (unit == "ms") return 1e6;
        if (unit == "s") return 1e9;
        return std::nullopt;
    }
    if (unit.empty()) return 1;
    if (unit == "k") return 1e3;
    if (unit == "M") return 1e6;
    if (unit == "G") return 1e9;
    if (unit == "%") return 0.01;
    return std::nullopt;
}

double share(uint64_t part, uint64_t whole) {
    return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
}

}  // namespace

/// Empty where there is none of that name.
Assertion::Metric Assertion::metric(std::string_view name, bool& is_time) {
    using R = const Results&;
    const auto count = [](uint64_t n) { return static_cast<double>(n); };
    if (name == "errors") return [=](R r) { return count(r.whole.errors_total()); };
    if (name == "error_rate")
        return [](R r) { return share(r.whole.errors_total(), r.whole.asked); };
    if (name == "requests") return [=](R r) { return count(r.counted.completed); };
    if (name == "connections") return [=](R r) { return count(r.whole.established); };
    if (name == "handshakes") return [=](R r) { return count(r.whole.handshakes); };
    if (name == "resumed") return [=](R r) { return count(r.whole.resumed); };
    if (name == "unsent") return [=](R r) { return count(r.whole.unsent); };
    if (name == "drops") return [=](R r) { return count(r.drops()); };
    if (name == "retransmissions") return [=](R r) { return count(r.counter("TcpRetransSegs")); };
    if (name == "rps") return [](R r) { return r.per_second(r.counted.completed); };
    if (name == "cps") return [](R r) { return r.per_second(r.counted.established); };
    if (name == "gbps_in") return [](R r) { return r.per_second(r.counted.bytes_in) * 8e-9; };
    if (name == "gbps_out") return [](R r) { return r.per_second(r.counted.bytes_out) * 8e-9; };
    for (size_t i = 0; i < load_error_count; ++i)
        if (name == name_of(static_cast<LoadError>(i)))
            return [=](R r) { return count(r.whole.errors[i]); };

    is_time = true;
    Histogram Figures::* of = &Figures::request;
    for (const auto& [kind, histogram] : kinds) {
        if (!name.starts_with(kind) || name.substr(kind.size(), 1) != ".") continue;
        of = histogram;
        name.remove_prefix(kind.size() + 1);
        break;
    }
    // Of nothing there is no latency, neither a long nor a short one.
    const auto from = [of](auto&& value) {
        return [of, value](R r) {
            const Histogram& histogram = r.counted.*of;
            return histogram.count() > 0 ? static_cast<double>(value(histogram).ns()) : NAN;
        };
    };
    if (name == "min") return from([](const Histogram& h) { return h.min(); });
    if (name == "max") return from([](const Histogram& h) { return h.max(); });
    if (name == "mean") return from([](const Histogram& h) { return h.mean(); });
    if (!name.starts_with('p')) return {};
    const auto percent = parse_number<double>(name.substr(1));
    if (!percent || *percent < 0 || *percent > 100) return {};
    return from([percent](const Histogram& h) { return h.percentile(*percent / 100); });
}

Started<Assertion> Assertion::parse(std::string_view text) {
    const auto wrong = [&](std::string_view why) {
        return failure(fmt::format("--assert \"{}\": {}", text, why));
    };
    constexpr std::array<std::pair<std::string_view, Comparison>, 6> comparisons{
        {{"<=", Comparison::at_most},
         {">=", Comparison::at_least},
         {"==", Comparison::equal},
         {"!=", Comparison::unequal},
         {"<", Comparison::less},
         {">", Comparison::greater}}};
    const size_t at = text.find_first_of("<>=!");
    if (at == std::string_view::npos) return wrong("no comparison: <, <=, >, >=, == or !=");
    Assertion assertion;
    assertion.text_ = text;
    std::string_view rest = text.substr(at);
    bool found = false;
    for (const auto& [sign, comparison] : comparisons) {
        if (!rest.starts_with(sign)) continue;
        assertion.comparison_ = comparison;
        rest.remove_prefix(sign.size());
        found = true;
        break;
    }
    if (!found) return wrong("no comparison: <, <=, >, >=, == or !=");
    assertion.metric_ = metric(trimmed(text.substr(0, at)), assertion.is_time_);
    if (!assertion.metric_)
        return wrong("no such metric: pNN, min, max or mean, perhaps behind connect., handshake., "
                     "first_byte., uncorrected. or lag.; rps, cps, gbps_in, gbps_out, requests, "
                     "connections, handshakes, resumed, unsent, retransmissions, drops, errors, "
                     "error_rate, or one kind of error");
    rest = trimmed(rest);
    const size_t digits = rest.find_first_not_of("0123456789.");
    const auto limit = parse_number<double>(rest.substr(0, digits));
    if (!limit) return wrong("no number behind the comparison");
    const std::string_view unit =
        digits == std::string_view::npos ? std::string_view() : trimmed(rest.substr(digits));
    const auto times = factor(unit, assertion.is_time_);
    if (!times) return wrong(assertion.is_time_ ? "a time is in ns, us, ms or s"
                                                : "a number is followed by k, M, G, % or nothing");
    assertion.limit_ = *limit * *times;
    return assertion;
}

AssertionResult Assertion::check(const Results& results) const {
    const double value = metric_(results);
    const auto holds = [&] {
        if (std::isnan(value)) return false;
        switch (comparison_) {
            case Comparison::less: return value < limit_;
            case Comparison::at_most: return value <= limit_;
            case Comparison::greater: return value > limit_;
            case Comparison::at_least: return value >= limit_;
            case Comparison::equal: return value == limit_;
            case Comparison::unequal: return value != limit_;
        }
        return false;
    };
    return {.text = text_,
            .value = std::isnan(value) ? "unknown"
                     : is_time_        ? fmt::format("{:.1f} us", value / 1000)
                                       : fmt::format("{:g}", value),
            .holds = holds()};
}

}  // namespace millrace::apps
