// The bare link, with no stack: frames back and forth, or one way, as fast as drivers take them.
// What a link costs before any TCP.
//
//     raw_bench --seconds 3 --end answer=ring:raw:0@0 --end ask=ring:raw:1@1
//
// Each end is ROLE=DEVICE@CPU and has a thread of its own; several processes may share a link, if
// the device is one. `ask` keeps frames under way and counts what comes back, `answer` sends one of
// its own for each that it receives, `flood` sends what there is room for, `drain` only receives.
#include <rte_cycles.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <list>
#include <memory>
#include <thread>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "buf/storage.h"
#include "port/port.h"
#include "runtime/clock.h"
#include "runtime/eal.h"
#include "two_ends.h"

namespace millrace::bench {
namespace {

struct Options {
    double seconds = 3;
    uint32_t size = 206;       ///< bytes of a frame that asks, or of one that floods
    uint32_t answer = 266;     ///< bytes of one that answers
    uint32_t in_flight = 256;
    bool huge_pages = true;
    std::vector<std::string> ends;
};

std::atomic<bool> over{false};

/// One end of a link, turned by its own thread.
class End {
public:
    End(const Options& options, std::string role, std::string device, uint16_t cpu)
        : options_(options), role_(std::move(role)), device_(std::move(device)), cpus_{cpu} {}

    /// Why it cannot; empty where it can.
    std::string open(size_t index) {
        auto pools = buf::Pools::create(fmt::format("raw{}", index),
                                        {.receive = 16384, .header = 256, .attach = 256,
                                         .payload = 256, .region = 256});
        if (!pools) return pools.error().what;
        pools_ = std::make_unique<buf::Pools>(std::move(*pools));
        PortConfig config;
        config.device = device_;
        auto port = port::Port::open(config, {pools_.get()}, {});
        if (!port) return port.error().what;
        port_ = std::move(*port);
        return {};
    }

    void run() {
        pin(cpus_, 0);
        const auto identity = runtime::ThreadIdentity::take();
        if (!identity) return;
        while (!over.load(std::memory_order_relaxed)) {
            const uint64_t begin = rte_rdtsc();
            waited_ = 0;
            if (!turn()) continue;
            last_ = rte_rdtsc();
            busy_ += last_ - begin - waited_;
            if (first_ == 0) first_ = begin;
        }
        batch_.clear();
        outgoing_.clear();
    }

    /// In one line of JSON.
    std::string report() const {
        const double seconds = static_cast<double>(last_ - first_) /
                               static_cast<double>(runtime::tsc_hz());
        return fmt::format(
            R"({{"role": "{}", "in": {}, "out": {}, "bytes_in": {}, "busy_cycles": {}, )"
            R"("seconds": {:.3f}}})",
            role_, in_, out_, bytes_in_, busy_, seconds);
    }

private:
    bool turn() {
        size_t received = 0;
        if (role_ != "flood" && port_->receive(0, batch_)) {
            received = batch_.size();
            for (size_t i = 0; i < received; ++i) {
                const buf::Frame frame = batch_.take(i);
                bytes_in_ += frame.size();
            }
            batch_.shrink(0);
            in_ += received;
        }
        return (send(wanted(received)) || received > 0);
    }

    /// How many frames are to be sent now.
    size_t wanted(size_t received) {
        if (role_ == "answer") return received;
        if (role_ == "flood") return buf::FrameBatch::capacity;
        if (role_ == "drain") return 0;
        const auto now = Clock::now();
        if (received > 0) heard_ = now;
        // What has been lost, at the start say, does not come back.
        if (now - heard_ > std::chrono::milliseconds(100)) {
            heard_ = now;
            lost_ += under_way();
        }
        return std::min<size_t>(options_.in_flight - under_way(), buf::FrameBatch::capacity);
    }
    size_t under_way() const { return static_cast<size_t>(out_ - in_ - lost_); }

    /// True where any went out.
    bool send(size_t count) {
        const uint32_t size = role_ == "answer" ? options_.answer : options_.size;
        while (outgoing_.size() < count && !outgoing_.full()) {
            buf::Frame frame(buf::allocate(pools_->receive_pool()));
            if (!frame || frame.put(size) == nullptr) break;
            outgoing_.push(std::move(frame));
        }
        const size_t offered = outgoing_.size();
        if (offered == 0) return false;
        port_->transmit(0, outgoing_, *pools_);
        // Who answers owes each: a full ring is waited for.
        const uint64_t full = rte_rdtsc();
        while (role_ == "answer" && !outgoing_.empty() && !over.load(std::memory_order_relaxed))
            port_->transmit(0, outgoing_, *pools_);
        if (role_ == "answer") waited_ += rte_rdtsc() - full;
        const size_t sent = offered - outgoing_.size();
        out_ += sent;
        return sent > 0;
    }

    const Options& options_;
    const std::string role_;
    const std::string device_;
    const std::vector<uint16_t> cpus_;
    std::unique_ptr<buf::Pools> pools_;
    std::unique_ptr<port::Port> port_;
    buf::FrameBatch batch_, outgoing_;
    Clock::time_point heard_ = Clock::now();
    uint64_t first_ = 0, last_ = 0;  ///< when the first and the last busy turn were, cycles
    uint64_t waited_ = 0;            ///< in this turn, for a full ring, cycles
    uint64_t in_ = 0, out_ = 0, lost_ = 0, bytes_in_ = 0, busy_ = 0;
};

/// Of "ROLE=DEVICE@CPU"; null where it is none.
std::unique_ptr<End> parse_end(const Options& options, const std::string& text) {
    const size_t equals = text.find('='), at = text.rfind('@');
    if (equals == std::string::npos || at == std::string::npos || at < equals) return nullptr;
    const std::string role = text.substr(0, equals), cpu = text.substr(at + 1);
    const bool known = role == "ask" || role == "answer" || role == "flood" || role == "drain";
    const bool number = !cpu.empty() && cpu.size() < 5 &&
                        std::ranges::all_of(cpu, [](char c) { return c >= '0' && c <= '9'; });
    if (!known || !number) return nullptr;
    return std::make_unique<End>(options, role, text.substr(equals + 1, at - equals - 1),
                                 static_cast<uint16_t>(std::stoul(cpu)));
}

int run(const Options& options) {
    EalConfig eal;
    eal.huge_pages = options.huge_pages;
    if (const auto started = runtime::start_eal(eal, 256 * options.ends.size()); !started)
        return fail(started.error().what);
    std::list<std::unique_ptr<End>> ends;
    for (const std::string& text : options.ends) {
        ends.push_back(parse_end(options, text));
        if (ends.back() == nullptr) return fail("an end is ROLE=DEVICE@CPU: " + text);
        if (const std::string why = ends.back()->open(ends.size()); !why.empty()) return fail(why);
    }
    fmt::print("ready\n");
    std::fflush(stdout);
    std::list<std::thread> threads;
    for (const auto& end : ends) threads.emplace_back([&end] { end->run(); });
    std::signal(SIGINT, [](int) { over = true; });
    const auto begin = Clock::now();
    while (!over && seconds_since(begin) < options.seconds)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    over = true;
    for (std::thread& thread : threads) thread.join();
    for (const auto& end : ends) fmt::print("{}\n", end->report());
    return 0;
}

}  // namespace
}  // namespace millrace::bench

int main(int argc, char** argv) {
    using millrace::bench::Options;
    Options options;
    CLI::App app("The bare link.");
    app.add_option("--seconds", options.seconds)->check(CLI::Range(0.1, 3600.0));
    app.add_option("--size", options.size, "of a frame, bytes")->check(CLI::Range(60, 2048));
    app.add_option("--answer", options.answer, "of one that answers")->check(CLI::Range(60, 2048));
    app.add_option("--in-flight", options.in_flight)->check(CLI::Range(1, 4096));
    app.add_flag("!--no-huge-pages", options.huge_pages);
    app.add_option("--end", options.ends, "ROLE=DEVICE@CPU")->required();
    CLI11_PARSE(app, argc, argv);
    return millrace::bench::run(options);
}
