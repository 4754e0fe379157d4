// millrace-bridge: a wire between two DPDK ports that impairs frames as the simulation's links do.
//
// Whatever comes in at one port leaves at the other when `sim::Line` says so, as far as it does.
// One loop, which sleeps between frames: on a small machine the peers need the processor.

#include <algorithm>
#include <array>
#include <atomic>
#include <thread>

#include <fmt/format.h>

#include "buf/pools.h"
#include "common/program.h"
#include "port/port.h"
#include "runtime/clock.h"
#include "runtime/eal.h"
#include "runtime/sleep.h"
#include "sim/impairments.h"

using namespace millrace;

namespace {

// A frame that leaves later than this after its time was late for want of processor.
constexpr Duration late_after = Duration::from_ms(1);

struct Options {
    std::array<std::string, 2> devices;
    double seconds = 0;
    uint64_t seed = 1;
    uint32_t sleep_us = 30;
    double rate_mbit = 0;
    double delay_ms = 0;
    double jitter_ms = 0;
    uint32_t queue_bytes = 256 * 1024;
    double loss = 0;
    double burst_frames = 0;
    double reorder = 0;
    double reorder_ms = 1;
    double duplicate = 0;
    double corrupt = 0;
    bool verbose = false;

    void add_to(CLI::App& app);
    sim::Impairments impairments() const;
};

void Options::add_to(CLI::App& app) {
    const auto percent = CLI::Range(0.0, 100.0);
    app.add_option("port", devices, "the two DPDK devices, as in a configuration's port.device")
        ->required();
    app.add_option("--seconds", seconds, "0: until SIGINT or SIGTERM")->capture_default_str();
    app.add_option("--seed", seed, "of both directions' fates")->capture_default_str();
    app.add_option("--sleep", sleep_us, "microseconds of sleep when there is nothing to do")
        ->capture_default_str();
    app.add_option("--rate", rate_mbit, "Mbit/s each way, of whole frames; 0: no limit")
        ->capture_default_str();
    app.add_option("--delay", delay_ms, "milliseconds, each way")->capture_default_str();
    app.add_option("--jitter", jitter_ms, "milliseconds at most, on top of it")
        ->capture_default_str();
    app.add_option("--queue", queue_bytes, "bytes before the rate limit, drop-tail; 0: no bound")
        ->capture_default_str();
    app.add_option("--loss", loss, "percent of frames")->check(percent)->capture_default_str();
    app.add_option("--burst", burst_frames, "mean frames of a burst of loss; 0: each for itself")
        ->check(CLI::Range(0.0, 1000.0));
    app.add_option("--reorder", reorder, "percent of frames that are held back")->check(percent);
    app.add_option("--reorder-by", reorder_ms, "milliseconds for which they are")
        ->capture_default_str();
    app.add_option("--duplicate", duplicate, "percent of frames that arrive twice")->check(percent);
    app.add_option("--corrupt", corrupt, "percent of frames with a bit flipped")->check(percent);
    app.add_flag("-v,--verbose", verbose, "messages of DPDK and its drivers");
}

Duration from_ms(double ms) { return Duration::from_ns(static_cast<int64_t>(ms * 1e6)); }
uint32_t ppm(double percent) { return static_cast<uint32_t>(percent * 1e4); }

sim::Impairments Options::impairments() const {
    sim::Impairments line;
    line.delay = from_ms(delay_ms);
    line.jitter = from_ms(jitter_ms);
    if (burst_frames < 1) {
        line.loss_ppm = ppm(loss);
    } else {
        // The share of frames in bursts of that mean length is to be the loss.
        line.burst_leave_ppm = static_cast<uint32_t>(1e6 / burst_frames);
        const double share = std::min(loss / 100, 0.99);
        line.burst_enter_ppm =
            static_cast<uint32_t>(line.burst_leave_ppm * share / (1 - share));
    }
    line.reorder_ppm = ppm(reorder);
    line.reorder_by = from_ms(reorder_ms);
    line.duplicate_ppm = ppm(duplicate);
    line.corrupt_ppm = ppm(corrupt);
    line.bits_per_second = static_cast<uint64_t>(rate_mbit * 1e6);
    line.queue_bytes = queue_bytes;
    line.queue_max = Duration::from_ms(10'000);
    return line;
}

/// One way across: from a port through a line to another port.
class Direction {
public:
    Direction(const port::Port& from, const port::Port& to, buf::Pools& pools, uint64_t seed,
              const sim::Impairments& impairments)
        : from_(from), to_(to), pools_(pools), line_(seed, impairments) {}

    /// Takes what has come and sends what is due. False where there was neither.
    bool turn(const runtime::Clock& clock) {
        const bool received = receive(clock);
        const bool sent = send(clock.now());
        return received || sent;
    }
    Instant next_arrival() const { return line_.next_arrival(); }

    std::string report() const {
        std::string text = fmt::format("received {}", received_);
        for (size_t i = 0; i < sim::fate_count; ++i) {
            const auto fate = static_cast<sim::Fate>(i);
            text += fmt::format(" {} {}", sim::name(fate), line_.count(fate));
        }
        return text + fmt::format(" delivered {} undelivered {} late {} latest-us {}", delivered_,
                                  undelivered_, late_, latest_.ns() / 1000);
    }

private:
    bool receive(const runtime::Clock& clock) {
        if (!from_.receive(0, batch_)) return false;
        // Not before: one that came while this loop was kept from running would leave too early.
        const Instant now = clock.now();
        for (size_t i = 0; i < batch_.size(); ++i) {
            const buf::Frame frame = batch_.take(i);
            std::vector<uint8_t> bytes(frame.size());
            frame.copy_out(0, bytes);
            line_.send(now, std::move(bytes));
            ++received_;
        }
        batch_.shrink(0);
        return true;
    }

    bool send(Instant now) {
        while (!batch_.full()) {
            const Instant due = line_.next_arrival();
            const auto bytes = line_.receive(now);
            if (!bytes) break;
            const Duration lateness = now - due;
            latest_ = std::max(latest_, lateness);
            if (lateness > late_after) ++late_;
            if (buf::Frame frame = pools_.received(*bytes))
                batch_.push(std::move(frame));
            else
                ++undelivered_;
        }
        if (batch_.empty()) return false;
        const size_t offered = batch_.size();
        to_.transmit(0, batch_, pools_);
        delivered_ += offered - batch_.size();
        undelivered_ += batch_.size();
        batch_.clear();
        return true;
    }

    const port::Port& from_;
    const port::Port& to_;
    buf::Pools& pools_;
    sim::Line line_;
    buf::FrameBatch batch_;
    uint64_t received_ = 0;
    uint64_t delivered_ = 0;
    uint64_t undelivered_ = 0;  // by our own fault: a pool or a transmit ring that was full
    uint64_t late_ = 0;
    Duration latest_;
};

void forward(std::array<Direction, 2>& directions, Duration sleep, const std::atomic<bool>& stop) {
    runtime::sleep_precisely();
    const runtime::Clock clock;
    while (!stop.load(std::memory_order_relaxed)) {
        bool busy = false;
        for (Direction& direction : directions) busy |= direction.turn(clock);
        if (busy) continue;
        const Instant next = std::min(directions[0].next_arrival(), directions[1].next_arrival());
        runtime::sleep_for(std::min(sleep, next - clock.now()));
    }
}

Started<void> run(const Options& options, const apps::Signals& signals) {
    const buf::PoolSizes sizes{.receive = 16384, .header = 1024, .attach = 1024, .payload = 1024,
                               .region = 1024};
    runtime::set_eal_log(options.verbose);
    if (auto eal = runtime::start_eal({}, sizes.memory() / (1 << 20) * 5 / 4 + 96); !eal)
        return eal;
    auto pools = buf::Pools::create("bridge", sizes);
    if (!pools) return std::unexpected(pools.error());
    std::array<std::unique_ptr<port::Port>, 2> ports;
    for (size_t i = 0; i < ports.size(); ++i) {
        PortConfig config;
        config.device = options.devices[i];
        auto port = port::Port::open(config, {&*pools}, {});
        if (!port) return std::unexpected(port.error());
        ports[i] = std::move(*port);
    }
    const sim::Impairments impairments = options.impairments();
    std::array<Direction, 2> directions{
        Direction(*ports[0], *ports[1], *pools, options.seed * 2, impairments),
        Direction(*ports[1], *ports[0], *pools, options.seed * 2 + 1, impairments)};
    fmt::print("bridging {} and {}\n", options.devices[0], options.devices[1]);
    std::fflush(stdout);
    std::atomic<bool> stop{false};
    std::thread loop([&] {
        const auto identity = runtime::ThreadIdentity::take();
        forward(directions, Duration::from_us(options.sleep_us), stop);
    });
    while (!signals.wait(options.seconds > 0 ? options.seconds : 3600) && options.seconds == 0) {
    }
    stop = true;
    loop.join();
    fmt::print("forth: {}\nback: {}\n", directions[0].report(), directions[1].report());
    return {};
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app("millrace-bridge: an impaired wire between two ports");
    Options options;
    options.add_to(app);
    CLI11_PARSE(app, argc, argv);
    const apps::Signals signals;
    const auto ended = run(options, signals);
    return ended ? 0 : apps::fail(ended.error());
}
