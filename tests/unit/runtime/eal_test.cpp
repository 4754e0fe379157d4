// A program of its own: what happens before EAL runs cannot be seen where it runs already. Each
// test whose EAL starts does so in a process of its own.
#include "runtime/eal.h"

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <utility>

#include <gtest/gtest.h>
#include <rte_eal.h>
#include <rte_lcore.h>

namespace millrace::runtime {
namespace {

EalConfig ordinary_memory() {
    EalConfig config;
    config.huge_pages = false;
    return config;
}

/// For the child of an EXPECT_EXIT: ends it, with what went wrong on standard error.
void end(const Started<void>& started) {
    if (!started) std::fprintf(stderr, "%d %s", started.error().code, started.error().what.c_str());
    std::exit(started ? 0 : 1);
}

void start(const EalConfig& config = ordinary_memory()) {
    if (const auto started = start_eal(config, 64); !started) end(started);
}

/// `what` is these two with the machine's memory, a number, between them.
void expect_around_a_number(const std::string& what, const std::string& before,
                            const std::string& after) {
    ASSERT_TRUE(what.starts_with(before)) << what;
    ASSERT_TRUE(what.ends_with(after)) << what;
    const size_t size = what.size() - before.size() - after.size();
    const std::string number = what.substr(before.size(), size);
    EXPECT_FALSE(number.empty()) << what;
    EXPECT_EQ(number.find_first_not_of("0123456789"), std::string::npos) << what;
    EXPECT_NE(number, "0") << what;
}

TEST(Eal, pools_that_want_too_much_memory_are_refused_with_both_numbers_and_a_remedy) {
    const uint64_t wanted = uint64_t{1} << 30;  // MiB: a PiB
    const auto started = start_eal(ordinary_memory(), wanted);
    ASSERT_FALSE(started);
    EXPECT_EQ(started.error().code, ENOMEM);
    expect_around_a_number(started.error().what, "the pools want 1073741824 MiB of memory, ",
                           " MiB are available: lower [pools] in the configuration, or free some");
}

TEST(Eal, an_eal_memory_mb_that_is_too_much_is_named_itself) {
    EalConfig config = ordinary_memory();
    config.memory_mb = 1U << 30;
    const auto started = start_eal(config, 64);
    ASSERT_FALSE(started);
    EXPECT_EQ(started.error().code, ENOMEM);
    expect_around_a_number(started.error().what, "eal.memory_mb is 1073741824 MiB, ",
                           " MiB are available: lower it, or free some");
}

TEST(EalDeathTest, arguments_that_eal_refuses_are_shown_with_a_remedy) {
    EalConfig config = ordinary_memory();
    config.arguments = {"--no-such-argument"};
    EXPECT_EXIT(end(start_eal(config, 64)), ::testing::ExitedWithCode(1),
                "EAL did not start: .* .arguments: millrace .*--no-such-argument .*Check "
                "eal.arguments, or lower .pools. if memory .64 MiB wanted. is short");
}

TEST(EalDeathTest, starts_once_and_serves_whoever_comes_later) {
    EXPECT_EXIT(
        {
            start();
            // What the second one wants is not looked at: EAL's memory is there already.
            end(start_eal(ordinary_memory(), uint64_t{1} << 30));
        },
        ::testing::ExitedWithCode(0), "^$");
}

TEST(EalDeathTest, a_refusal_leaves_the_process_able_to_start) {
    EXPECT_EXIT(
        {
            if (start_eal(ordinary_memory(), uint64_t{1} << 30)) std::exit(2);
            end(start_eal(ordinary_memory(), 64));
        },
        ::testing::ExitedWithCode(0), "^$");
}

TEST(EalDeathTest, a_child_that_exits_leaves_its_parent_what_it_needs) {
    EXPECT_EXIT(
        {
            start();
            const std::string folder = rte_eal_get_runtime_dir();
            const pid_t child = fork();
            if (child == 0) std::exit(0);
            int status = -1;
            waitpid(child, &status, 0);
            std::exit(status == 0 && std::filesystem::exists(folder) ? 0 : 1);
        },
        ::testing::ExitedWithCode(0), "^$");
}

/// The main thread keeps the CPUs that it had: EAL pins nothing by itself.
TEST(EalDeathTest, starting_leaves_the_callers_affinity_alone) {
    EXPECT_EXIT(
        {
            const auto before = usable_cpus();
            start();
            std::exit(usable_cpus() == before ? 0 : 1);
        },
        ::testing::ExitedWithCode(0), "^$");
}

/// Of a thread of this process: /proc's mask of blocked signals, the first in bit 0.
uint64_t blocked_signals(const std::string& thread) {
    std::ifstream status("/proc/self/task/" + thread + "/status");
    std::string line;
    while (std::getline(status, line))
        if (line.starts_with("SigBlk:")) return std::stoull(line.substr(7), nullptr, 16);
    return 0;
}

/// What EAL starts takes none of the program's signals, but those that tell of its own faults and
/// those by which drivers speak; who starts it takes what he took.
TEST(EalDeathTest, the_programs_signals_are_left_to_the_program) {
    EXPECT_EXIT(
        {
            const auto bit = [](int signal) { return uint64_t{1} << (signal - 1); };
            const uint64_t programs = bit(SIGTERM) | bit(SIGINT) | bit(SIGUSR1) | bit(SIGPIPE);
            const uint64_t others = bit(SIGBUS) | bit(SIGSEGV) | bit(SIGRTMIN);
            const std::string own = std::to_string(getpid());
            const uint64_t before = blocked_signals(own);
            start();
            bool right = blocked_signals(own) == before;
            int eals = 0;
            for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
                const std::string thread = entry.path().filename();
                if (thread == own) continue;
                ++eals;
                right &= (blocked_signals(thread) & (programs | others)) == programs;
            }
            std::exit(right && eals > 0 ? 0 : 1);
        },
        ::testing::ExitedWithCode(0), "^$");
}

TEST(EalDeathTest, a_threads_identity_is_its_own_while_it_is_held_and_then_free_again) {
    EXPECT_EXIT(
        {
            start();
            bool right = true;
            std::thread([&] {
                right &= rte_lcore_id() == LCORE_ID_ANY;
                {
                    auto identity = ThreadIdentity::take();
                    right &= identity.has_value() && rte_lcore_id() != LCORE_ID_ANY;
                    // Who has one keeps it: a second one is not given back early.
                    { const auto again = ThreadIdentity::take(); }
                    right &= rte_lcore_id() != LCORE_ID_ANY;
                    const ThreadIdentity moved = std::move(*identity);
                }
                right &= rte_lcore_id() == LCORE_ID_ANY;
            }).join();
            std::exit(right ? 0 : 1);
        },
        ::testing::ExitedWithCode(0), "^$");
}

TEST(EalDeathTest, more_threads_than_eal_has_identities_for_are_refused_with_the_bound) {
    EXPECT_EXIT(
        {
            start();
            std::string what;
            // One thread each: they hold their identity until the last has been refused.
            std::function<void(int)> next = [&](int depth) {
                std::thread([&] {
                    const auto identity = ThreadIdentity::take();
                    if (!identity)
                        what = identity.error().what;
                    else if (depth < 200)
                        next(depth + 1);
                }).join();
            };
            next(0);
            std::fprintf(stderr, "%s", what.c_str());
            std::exit(0);
        },
        ::testing::ExitedWithCode(0),
        "^no EAL identity is left for another thread .Cannot allocate memory.: at most 128 loops "
        "can run in a process$");
}

/// A process whose EAL runs until it is told to end.
class Neighbour {
public:
    explicit Neighbour(const EalConfig& config) {
        int told[2], says[2];
        EXPECT_EQ(pipe(told), 0);
        EXPECT_EQ(pipe(says), 0);
        pid_ = fork();
        if (pid_ == 0) {
            close(told[1]);
            start(config);
            const std::string folder = rte_eal_get_runtime_dir();
            (void)!write(says[1], folder.data(), folder.size());
            close(says[1]);
            char nothing = 0;
            std::exit(read(told[0], &nothing, 1) == 0 ? 0 : 1);
        }
        close(told[0]);
        close(says[1]);
        std::array<char, 4096> buffer{};
        const ssize_t size = read(says[0], buffer.data(), buffer.size());
        close(says[0]);
        folder_.assign(buffer.data(), size > 0 ? static_cast<size_t>(size) : 0);
        may_live_ = told[1];
    }
    ~Neighbour() { EXPECT_EQ(end(), 0); }
    Neighbour(const Neighbour&) = delete;
    Neighbour& operator=(const Neighbour&) = delete;

    const std::string& folder() const { return folder_; }
    /// Its status, as of wait().
    int end() {
        if (may_live_ >= 0) {
            close(std::exchange(may_live_, -1));
            waitpid(pid_, &status_, 0);
        }
        return status_;
    }

private:
    pid_t pid_ = -1;
    int may_live_ = -1;
    int status_ = -1;
    std::string folder_;
};

TEST(EalDeathTest, the_folder_of_a_prefix_goes_with_the_last_program_of_that_prefix) {
    EalConfig config = ordinary_memory();
    config.file_prefix = "millrace-shared-" + std::to_string(getpid());
    Neighbour first(config);
    ASSERT_NE(first.folder().find(config.file_prefix), std::string::npos);
    {
        Neighbour second(config);
        EXPECT_EQ(second.folder(), first.folder());
    }
    EXPECT_TRUE(std::filesystem::exists(first.folder()));
    EXPECT_EQ(first.end(), 0);
    EXPECT_FALSE(std::filesystem::exists(first.folder()));
}

TEST(UsableCpus, are_those_of_the_threads_affinity_in_order) {
    const auto all = usable_cpus();
    ASSERT_FALSE(all.empty());
    EXPECT_TRUE(std::ranges::is_sorted(all));
    cpu_set_t set;
    ASSERT_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
    EXPECT_EQ(all.size(), static_cast<size_t>(CPU_COUNT(&set)));
    std::thread([&] {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(all.back(), &one);
        ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
        EXPECT_EQ(usable_cpus(), std::vector<uint16_t>{all.back()});
    }).join();
    EXPECT_EQ(usable_cpus(), all);
}

}  // namespace
}  // namespace millrace::runtime
