// The behaviour tables: what each congestion control makes of a grid of paths, committed as text in
// tests/sim/behaviour and compared for equality, so that a change of behaviour shows in the diff.
//
//     MILLRACE_SIM_REWRITE=1   writes the tables anew instead: read the diff before it is committed
//
// Under a sanitizer every eighth row is played.
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "harness.h"
#include "sim/behaviour.h"

namespace millrace::testing {
namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr size_t play_every = 8;
#else
constexpr size_t play_every = 1;
#endif

/// `value` / 10^`digits`, exactly.
std::string decimal(uint64_t value, unsigned digits) {
    uint64_t unit = 1;
    for (unsigned i = 0; i < digits; ++i) unit *= 10;
    return fmt::format("{}.{:0{}}", value / unit, value % unit, digits);
}
/// `part` of `whole` in percent, to a hundredth.
std::string percent(uint64_t part, uint64_t whole) {
    return decimal(whole == 0 ? 0 : (part * 10'000 + whole / 2) / whole, 2);
}
std::string milliseconds(uint64_t us) { return decimal((us + 50) / 100, 1); }

bool rewriting() { return std::getenv("MILLRACE_SIM_REWRITE") != nullptr; }

/// A table: comment lines, then rows. A row's inputs stand before a bar, what came of them behind.
class Table {
public:
    Table(std::string name, std::string_view introduction)
        : path_(fmt::format("{}/{}.txt", MILLRACE_BEHAVIOUR, name)) {
        std::istringstream lines{std::string(introduction)};
        for (std::string line; std::getline(lines, line);)
            text_ += line.empty() ? "#\n" : "# " + line + "\n";
        text_ += "#\n# To write it anew on purpose:\n"
                 "#     MILLRACE_SIM_REWRITE=1 build/tests/sim_tests --gtest_filter='Behaviour.*'\n"
                 "#\n";
        std::ifstream file(path_);
        for (std::string line; std::getline(file, line);)
            (line.starts_with("#") ? committed_text_ : committed_).emplace_back(line);
    }

    void columns(const std::string& names) { text_ += "# " + names + "\n"; }

    /// The next row: `play` says what came of `inputs`.
    template <typename Play>
    void row(const std::string& inputs, Play&& play) {
        const size_t index = rows_++;
        if (!rewriting() && index % play_every != 0) return;
        const std::string got = "  " + inputs + " | " + play();
        if (rewriting())
            text_ += got + "\n";
        else if (index >= committed_.size() || committed_[index] != got)
            differences_ += fmt::format("expected {}\n     got {}\n",
                                        index < committed_.size() ? committed_[index] : "", got);
    }

    void finish() {
        if (rewriting()) {
            std::ofstream(path_) << text_;
            return;
        }
        EXPECT_EQ(differences_, "") << path_;
        EXPECT_EQ(committed_.size(), rows_) << path_;
        std::string heading;
        for (const std::string& line : committed_text_) heading += line + "\n";
        EXPECT_EQ(heading, text_) << path_;
    }

private:
    std::string path_;
    std::string text_;
    std::string differences_;
    std::vector<std::string> committed_text_;
    std::vector<std::string> committed_;
    size_t rows_ = 0;
};

/// Long enough for a few cycles of congestion avoidance, short enough for a test.
Duration time_at(uint32_t mbit) { return mbit <= 2 ? 20_s : mbit <= 10 ? 10_s : 4_s; }

/// Each buffer without loss; each loss with a buffer as large as the path.
std::vector<Path> grid() {
    std::vector<Path> paths;
    for (const uint32_t mbit : {2U, 10U, 50U})
        for (const uint32_t rtt : {10U, 40U, 100U}) {
            for (const uint32_t buffer : {25U, 100U, 400U}) paths.push_back({mbit, rtt, buffer, 0});
            for (const uint32_t ppm : {1'000U, 10'000U, 30'000U})
                paths.push_back({mbit, rtt, 100, ppm});
        }
    return paths;
}

constexpr std::string_view grid_introduction =
    R"({}: one bulk transfer through a bottleneck, its handshake over.

rate      of the line, Mbit/s of frames: 20 s at 2, 10 s at 10, 4 s at 50
rtt       with empty queues, ms
buffer    before the line, percent of rate times rtt, three frames at least; drop-tail{}
loss      percent of all frames, by chance, beside what the buffer drops
goodput   payload that the application got, kbit/s from the first byte on, slow start included
use       the same, percent of what the line can carry
again     frames with data that were sent again, percent of all with data
lost      frames that the line dropped, percent of the same
spurious  segments that the receiver had already
rto       timeouts
queue     what frames with data wait for the line, ms in the mean
p95       the same, of 19 frames in 20 at most
ce        frames marked
)";

void play_grid(CongestionControl algorithm, std::string_view title, std::string_view marking = "") {
    Table table(std::string(title), fmt::format(grid_introduction, title, marking));
    table.columns(fmt::format("{:>4} {:>4} {:>6} {:>4} | {:>7} {:>5} {:>6} {:>6} {:>8} {:>4} {:>6} "
                              "{:>6} {:>6}",
                              "rate", "rtt", "buffer", "loss", "goodput", "use", "again", "lost",
                              "spurious", "rto", "queue", "p95", "ce"));
    for (const Path& path : grid())
        table.row(
            fmt::format("{:>4} {:>4} {:>6} {:>4}", path.mbit, path.rtt_ms, path.buffer,
                        decimal(path.loss_ppm / 1000, 1)),
            [&] {
                const Outcome o = run(path, {algorithm, {}}, {}, time_at(path.mbit));
                EXPECT_TRUE(o.intact);
                return fmt::format("{:>7} {:>5} {:>6} {:>6} {:>8} {:>4} {:>6} {:>6} {:>6}",
                                   o.kbit_per_second[0], decimal(o.use_permille, 1),
                                   percent(o.retransmitted, o.data_frames),
                                   percent(o.lost, o.data_frames), o.spurious, o.timeouts,
                                   milliseconds(o.queue_mean_us), milliseconds(o.queue_p95_us),
                                   o.marked);
            });
    table.finish();
}

TEST(Behaviour, of_reno) { play_grid(CongestionControl::reno, "reno"); }
TEST(Behaviour, of_cubic) { play_grid(CongestionControl::cubic, "cubic"); }
TEST(Behaviour, of_dctcp) {
    play_grid(CongestionControl::dctcp, "dctcp", ",\n          and marks with CE above a sixth of "
                                                 "rate times rtt");
}
TEST(Behaviour, of_bbr) { play_grid(CongestionControl::bbr, "bbr"); }

constexpr std::string_view fairness_introduction =
    R"(fairness: two bulk transfers through one bottleneck; the second begins 2 s after the first (1 s at
50 Mbit/s). Measured over the last two thirds of 24 s at 10 Mbit/s, of 6 s at 50.

first     begins alone, second joins it
rate, rtt, buffer, use, again, lost, queue: as in the other tables
kbit/s    goodput of each
share     of the first, percent of both
jain      Jain's index: 1 where both have half, 0.5 where one has all
)";

constexpr auto names = std::to_array<std::string_view>({"reno", "cubic", "dctcp", "bbr"});

TEST(Behaviour, of_two_flows) {
    using enum CongestionControl;
    Table table("fairness", fairness_introduction);
    table.columns(fmt::format("{:>5} {:>6} {:>4} {:>4} {:>6} | {:>6} {:>6} {:>5} {:>5} {:>5} "
                              "{:>6} {:>6} {:>6}",
                              "first", "second", "rate", "rtt", "buffer", "kbit/s", "kbit/s",
                              "share", "jain", "use", "again", "lost", "queue"));
    for (const auto& [first, second] :
         {std::pair{reno, reno}, {cubic, cubic}, {dctcp, dctcp}, {bbr, bbr}, {cubic, reno},
          {reno, cubic}, {cubic, bbr}, {bbr, cubic}})
        for (const Path& path : {Path{10, 40, 25}, {10, 40, 100}, {10, 40, 400}, {50, 20, 100}})
            table.row(
                fmt::format("{:>5} {:>6} {:>4} {:>4} {:>6}", names[static_cast<size_t>(first)],
                            names[static_cast<size_t>(second)], path.mbit, path.rtt_ms,
                            path.buffer),
                [&] {
                    const bool slow = path.mbit == 10;
                    const Duration time = slow ? 24_s : 6_s;
                    const Outcome o = run(path, {first, {}}, Flow{second, slow ? 2_s : 1_s}, time,
                                          time / 3);
                    EXPECT_TRUE(o.intact);
                    const uint64_t a = o.kbit_per_second[0];
                    const uint64_t b = o.kbit_per_second[1];
                    return fmt::format(
                        "{:>6} {:>6} {:>5} {:>5} {:>5} {:>6} {:>6} {:>6}", a, b,
                        decimal(a + b == 0 ? 0 : a * 1000 / (a + b), 1),
                        decimal(jain_permille(a, b), 3), decimal(o.use_permille, 1),
                        percent(o.retransmitted, o.data_frames), percent(o.lost, o.data_frames),
                        milliseconds(o.queue_mean_us));
                });
    table.finish();
}

}  // namespace
}  // namespace millrace::testing
