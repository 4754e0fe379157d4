// What must hold at the end of a run, and what makes its figures worth nothing.
#include <algorithm>

#include <fmt/format.h>

#include "load/run.h"

namespace millrace::apps {

std::string_view name_of(Phase phase) {
    switch (phase) {
        case Phase::opening: return "open";
        case Phase::warming_up: return "warm";
        case Phase::counting: return "load";
        case Phase::draining: return "drain";
    }
    return "";
}

uint64_t Results::retransmitted_data() const {
    const uint64_t all = counter("TcpRetransSegs");
    const uint64_t others = retransmitted_syns() + retransmitted_fins();
    return all > others ? all - others : 0;
}

namespace {

void check(Results& results, std::string name, bool holds, std::string detail) {
    results.invariants.push_back({std::move(name), holds, std::move(detail)});
}

/// What a server of ours has seen is what we have done. Resets and failures may lose some of it.
void check_server(Results& results, const Plan& plan) {
    const Served& served = *results.served;
    const Figures& whole = results.whole;
    // Another status than was expected is an answer all the same.
    const uint64_t statuses = whole.errors[static_cast<size_t>(LoadError::status)];
    const bool exact = whole.errors_total() == statuses && plan.closing != Closing::reset;
    const auto compare = [&](std::string name, uint64_t ours, uint64_t theirs) {
        check(results, std::move(name), exact ? ours == theirs : ours >= theirs,
              fmt::format("{} here, {} at the server", ours, theirs));
    };
    if (plan.protocol != Protocol::udp) {
        compare("connections", whole.established, served.connections);
        if (plan.protocol == Protocol::https)
            compare("handshakes", whole.handshakes, served.handshakes);
        if (plan.mode != Mode::throughput && plan.mode != Mode::handshakes &&
            plan.protocol != Protocol::echo)
            compare("requests", whole.asked, served.requests);
    }
    compare("bytes sent are those received", whole.bytes_out, served.bytes_in);
    check(results, "bytes received are those sent",
          exact ? whole.bytes_in == served.bytes_out : whole.bytes_in <= served.bytes_out,
          fmt::format("{} here, {} at the server", whole.bytes_in, served.bytes_out));
}

}  // namespace

/// The generator itself must not have been what was measured.
void judge_schedule(Results& results, const Plan& plan) {
    const Figures& counted = results.counted;
    if (!plan.is_open_loop() || results.seconds <= 0) return;
    const Duration lag = counted.lag.percentile(0.99);
    if (static_cast<double>(lag.ns()) > plan.lag_limit_us * 1000)
        results.invalid.push_back(fmt::format(
            "the generator could not keep up: its schedule lagged by {:.0f} us at p99 (limit "
            "{:.0f})",
            static_cast<double>(lag.ns()) / 1000, plan.lag_limit_us));
    // A piece of a second may be waiting at the end.
    const uint64_t behind = std::max(results.behind, results.whole.unsent);
    const uint64_t intended = std::max<uint64_t>(counted.lag.count(), 1);
    if (behind * 100 > intended)
        results.invalid.push_back(fmt::format(
            "the target could not keep up: when the schedule was over, {} of {} had not been "
            "begun, for want of an idle connection ({} there are)",
            behind, intended, plan.connections));
    if (results.whole.skipped * 100 > intended)
        results.invalid.push_back(
            fmt::format("the generator could not keep up: {} of {} it never came to",
                        results.whole.skipped, intended));
}

namespace {

/// Something has been measured at all.
void check_answers(Results& results, const Plan& plan) {
    const Figures& counted = results.counted;
    if (results.seconds <= 0) {
        // Why it never began has been said, or the user did not let it.
        if (results.invalid.empty())
            results.invalid.emplace_back("it ended before anything counted");
    } else if (plan.mode == Mode::throughput) {
        const bool in = plan.direction == Direction::up || counted.bytes_in > 0;
        const bool out = plan.direction == Direction::down || counted.bytes_out > 0;
        if (!in || !out) results.invalid.emplace_back("nothing was transferred");
    } else if (counted.completed == 0 && (plan.mode != Mode::concurrent || plan.trickle > 0)) {
        results.invalid.emplace_back("nothing was answered");
    }
}

}  // namespace

void LoadRun::judge(const Reading& before, const Reading& after) {
    for (const auto& [name, value] : after.counters) {
        const auto old = before.counters.find(name);
        const uint64_t since = value - (old == before.counters.end() ? 0 : old->second);
        if (since != 0) results_.counters[name] = since;
    }
    results_.port_missed = after.losses.missed - before.losses.missed;
    results_.port_no_buffer = after.losses.no_buffer - before.losses.no_buffer;
    results_.port_errors = after.losses.errors - before.losses.errors;
    results_.port_transmit_full = after.losses.transmit_full - before.losses.transmit_full;

    const Figures& whole = results_.whole;
    // A target that does not answer a FIN is not our doing; and what it has not acknowledged, and
    // fragments whose others were lost, rest in buffers for longer than anybody waits here.
    const bool fragments = plan_.protocol == Protocol::udp && whole.unanswered > 0;
    if (after.connections > 0)
        results_.invalid.push_back(
            fmt::format("the target did not let {} connections end", after.connections));
    else if (!fragments)
        check(results_, "every buffer is back", after.buffers + slack_ >= before.buffers,
              fmt::format("{} before, {} after", before.buffers, after.buffers));
    if (plan_.protocol != Protocol::udp)
        check(results_, "connections established are those closed",
              whole.established == whole.closed,
              fmt::format("{} established, {} closed", whole.established, whole.closed));
    if (plan_.mode != Mode::throughput)
        check(results_, "requests asked are answered or have failed",
              whole.asked == whole.completed + whole.unanswered,
              fmt::format("{} asked, {} answered, {} not", whole.asked, whole.completed,
                          whole.unanswered));
    if (results_.served) check_server(results_, plan_);
    judge_schedule(results_, plan_);
    check_answers(results_, plan_);
}

}  // namespace millrace::apps
