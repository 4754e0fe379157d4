#include "load/report.h"

#include <cmath>

#include <fmt/format.h>

#include "common/say.h"

namespace millrace::apps {

namespace {

/// A number in at most six characters: 123456, 1234k, 12.3M.
std::string brief(double value) {
    if (value < 1e6) return fmt::format("{:.0f}", value);
    if (value < 1e7) return fmt::format("{:.0f}k", value / 1e3);
    if (value < 1e9) return fmt::format("{:.1f}M", value / 1e6);
    return fmt::format("{:.1f}G", value / 1e9);
}

/// A time in at most six characters and its unit: 12.3us, 456us, 7.89ms.
std::string brief(Duration duration) {
    const auto us = static_cast<double>(duration.ns()) / 1000;
    if (us < 100) return fmt::format("{:.1f}us", us);
    if (us < 10000) return fmt::format("{:.0f}us", us);
    if (us < 1e6) return fmt::format("{:.1f}ms", us / 1000);
    return fmt::format("{:.2f}s", us / 1e6);
}

/// "12.3", in microseconds.
std::string in_us(Duration duration) {
    return fmt::format("{:.1f}", static_cast<double>(duration.ns()) / 1000);
}

/// Each error that occurred with its count: "reset:3 lost:1"; "none".
std::string errors_of(const Figures& figures) {
    std::string text;
    for (size_t i = 0; i < load_error_count; ++i)
        if (figures.errors[i] != 0)
            text += fmt::format("{}{}:{}", text.empty() ? "" : " ",
                                name_of(static_cast<LoadError>(i)), figures.errors[i]);
    return text.empty() ? "none" : text;
}

std::string statuses_of(const Figures& figures) {
    std::string text;
    for (size_t i = 0; i < figures.statuses.size(); ++i)
        if (figures.statuses[i] != 0) text += fmt::format(" {}:{}", i, figures.statuses[i]);
    return text;
}

void print_latency(std::string_view label, const Histogram& histogram) {
    if (histogram.count() == 0) return;
    say("  {:<12}", label);
    for (const double fraction : {0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 1.0})
        say(" {:>9}",
            in_us(fraction == 0 ? histogram.min() : histogram.percentile(fraction)));
    say("\n");
}

void print_latencies(const Plan& plan, const Figures& counted) {
    if (counted.request.count() + counted.connect.count() == 0) return;
    say("  {:<12} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}\n", "latency, us", "min",
        "p50", "p90", "p99", "p99.9", "p99.99", "p99.999", "max");
    print_latency("connect", counted.connect);
    print_latency("TLS", counted.handshake);
    print_latency("first byte", counted.first_byte);
    print_latency("request", counted.request);
    print_latency("uncorrected", counted.uncorrected);
    if (plan.is_open_loop()) print_latency("schedule lag", counted.lag);
}

void print_machine(const Plan& plan, const Results& results) {
    uint64_t cycles = 0;
    for (const CoreShare& core : results.cores) {
        say("  core {:<7} {:.1f} % busy\n", core.core, core.busy * 100);
        cycles += core.busy_cycles;
    }
    if (results.counted.completed > 0)
        say("  cycles       {:.0f} a {}, of all cores\n",
            static_cast<double>(cycles) / static_cast<double>(results.counted.completed),
            plan.mode == Mode::handshakes ? "handshake" : "request");
    say("  sent again   SYN {} data {} FIN {}\n", results.retransmitted_syns(),
        results.retransmitted_data(), results.retransmitted_fins());
    say("  port drops   missed {} no buffer {} errors {} transmit ring full {}\n",
        results.port_missed, results.port_no_buffer, results.port_errors,
        results.port_transmit_full);
}

}  // namespace

void LiveTable::print(const Interval& interval, const Figures& figures) {
    // What is over at once needs no line: a rate of so short a time says nothing.
    const bool is_brief = interval.phase != Phase::counting && interval.seconds < 0.5;
    if (is_brief && figures.errors_total() == 0) return;
    if (lines_++ % 20 == 0)
        say("{:>5} {:>5} {:>7} {:>7} {:>7} {:>7} {:>8} {:>8} {:>4}  {}\n", "s", "phase",
            "open", "conns/s", "reqs/s", "MB/s", "p50", "p99", "busy", "errors");
    const double end = interval.start + interval.seconds;
    const double whole = plan_.uncounted_seconds() + plan_.counted_seconds();
    const auto a_second = [&](uint64_t n) {
        return interval.seconds > 0 ? static_cast<double>(n) / interval.seconds : 0;
    };
    say("{:>5} {:>5} {:>7} {:>7} {:>7} {:>7.1f} {:>8} {:>8} {:>3.0f}%  {}\n",
        interval.phase == Phase::opening ? "" : fmt::format("{:.0f}", end),
        interval.phase == Phase::counting && std::isfinite(whole)
            ? fmt::format("-{:.0f}", std::max(0.0, whole - end))
            : std::string(name_of(interval.phase)),
        brief(static_cast<double>(interval.open)), brief(a_second(interval.established)),
        brief(a_second(interval.completed)),
        a_second(interval.bytes_in + interval.bytes_out) / 1e6, brief(interval.p50),
        brief(interval.p99), interval.busy * 100, errors_of(figures));
    std::fflush(stdout);
}

void print_report(const Plan& plan, const Results& results,
                  const std::vector<AssertionResult>& assertions) {
    const Figures& counted = results.counted;
    const std::string path =
        plan.speaks_http() && plan.mode != Mode::handshakes ? " " + plan.path : "";
    say("\n{} {}{} to {}, {} connections, {:.1f} s{}\n", name_of(plan.mode),
        name_of(plan.protocol), path, plan.target.to_string(), plan.connections,
        results.seconds, results.interrupted ? ", interrupted" : "");
    if (plan.mode != Mode::throughput)
        say("  {:<12} {} ({:.0f}/s){}\n",
            plan.mode == Mode::handshakes ? "handshakes" : "requests", counted.completed,
            results.per_second(counted.completed), statuses_of(counted));
    say("  connections  {} attempted, {} established ({:.0f}/s)\n", results.whole.attempted,
        results.whole.established, results.per_second(counted.established));
    if (results.whole.handshakes > 0)
        say("  TLS          {} handshakes ({:.0f}/s), {} resumed\n",
            results.whole.handshakes, results.per_second(counted.handshakes),
            results.whole.resumed);
    say("  bytes        {} in ({:.3f} Gbit/s), {} out ({:.3f} Gbit/s)\n", counted.bytes_in,
        results.per_second(counted.bytes_in) * 8 / 1e9, counted.bytes_out,
        results.per_second(counted.bytes_out) * 8 / 1e9);
    say("  errors       {}\n", errors_of(results.whole));
    if (!results.tls_problem.empty()) say("  TLS failed   {}\n", results.tls_problem);
    if (results.whole.unsent > 0) say("  never begun  {}\n", results.whole.unsent);
    print_latencies(plan, counted);
    print_machine(plan, results);
    if (results.served) {
        const Served& served = *results.served;
        const std::string handshakes =
            served.handshakes > 0 ? fmt::format(" {} handshakes,", served.handshakes) : "";
        say("  server       {} connections,{} {} requests, {} bytes in, {} out",
            served.connections, handshakes, served.requests, served.bytes_in,
            served.bytes_out);
        // Of a stream, or of what is mostly held, that would say nothing.
        const bool says_something = plan.mode != Mode::throughput && plan.mode != Mode::concurrent;
        if (served.requests > 0 && says_something)
            say(", {:.0f} cycles a request",
                static_cast<double>(served.busy_cycles) / static_cast<double>(served.requests));
        say("\n");
    }
    for (const Invariant& invariant : results.invariants)
        if (!invariant.holds)
            say("BROKEN: {}: {}\n", invariant.name, invariant.detail);
    for (const std::string& why : results.invalid) say("INVALID: {}\n", why);
    for (const AssertionResult& assertion : assertions)
        say("{}: {} (is {})\n", assertion.holds ? "holds" : "FAILED", assertion.text,
            assertion.value);
    std::fflush(stdout);
}

}  // namespace millrace::apps
