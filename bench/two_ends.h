// Two ends of an embedded link in one process: what the benchmarks of many connections share.
#pragma once

#include <pthread.h>
#include <sched.h>
#include <x86intrin.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include <millrace/runtime.h>

namespace millrace::bench {

using Clock = std::chrono::steady_clock;

constexpr uint8_t client_addresses = 16;
constexpr uint16_t first_server_port = 8000;

inline double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

inline Address server_address() { return Address::v4(10, 77, 0, 1); }
inline Address client_address(uint8_t index) {
    return Address::v4(10, 77, 1, static_cast<uint8_t>(1 + index));
}

/// End 0 of the link has the server's address, end 1 those of the client; all ports may be used.
inline Config end_of_link(const std::string& link, unsigned end) {
    Config config;
    PortConfig port;
    port.device = fmt::format("ring:{}:{}", link, end);
    if (end == 0) {
        port.addresses.push_back({server_address(), 16});
    } else {
        for (uint8_t i = 0; i < client_addresses; ++i)
            port.addresses.push_back({client_address(i), 16});
    }
    config.ports.push_back(port);
    config.tcp.ip_local_port_range_min = 1024;
    config.tcp.ip_local_port_range_max = 65535;
    return config;
}

/// Resident memory and huge pages of this process, bytes.
inline uint64_t memory_in_use() {
    std::ifstream status("/proc/self/status");
    uint64_t kib = 0;
    for (std::string word; status >> word;) {
        uint64_t value = 0;
        if ((word == "VmRSS:" || word == "HugetlbPages:") && status >> value) kib += value;
    }
    return kib * 1024;
}

/// Takes what has come, to be dropped; answers how much.
inline size_t take_all(Connection c) {
    const size_t size = c.receive().size();
    (void)c.consumed(size);
    return size;
}

/// A handler of all connections that it listens for.
class ServerBase : public ConnectionHandler, public ListenHandler {
public:
    void on_acceptable(Listener listener) override {
        while (listener.accept(*this)) continue;
    }
};

/// Calls `ask(Stack&)` on the thread that turns the runtime's only loop, and waits for the answer.
template <typename Ask>
auto on_loop(Runtime& runtime, Ask&& ask) {
    std::promise<decltype(ask(std::declval<Stack&>()))> answer;
    runtime.submit(0, [&](Stack& stack) { answer.set_value(ask(stack)); });
    return answer.get_future().get();
}

/// Listens on `ports` ports from `first_server_port` on.
inline bool listen_on(Runtime& runtime, ListenHandler& handler, uint16_t ports, uint32_t backlog) {
    return on_loop(runtime, [&](Stack& stack) {
        for (uint16_t i = 0; i < ports; ++i) {
            const auto port = static_cast<uint16_t>(first_server_port + i);
            if (!stack.listen({server_address(), port}, handler, backlog)) return false;
        }
        return true;
    });
}

inline void pin(const std::vector<uint16_t>& cpus, size_t index) {
    if (index >= cpus.size()) return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpus[index], &set);
    pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

/// Turns a loop until told to stop; busy cycles are those of turns that had something to do.
class Loop {
public:
    Loop(Stack& stack, const std::vector<uint16_t>& cpus, size_t index)
        : thread_([this, &stack, &cpus, index] {
              pin(cpus, index);
              while (!stopping_.load(std::memory_order_relaxed)) {
                  const uint64_t start = __rdtsc();
                  if (!stack.poll_once()) continue;
                  busy_.store(busy_.load(std::memory_order_relaxed) + __rdtsc() - start,
                              std::memory_order_relaxed);
              }
          }) {}
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;
    ~Loop() {
        stopping_ = true;
        thread_.join();
    }
    uint64_t busy() const { return busy_.load(std::memory_order_relaxed); }

private:
    std::atomic<bool> stopping_{false};
    std::atomic<uint64_t> busy_{0};
    std::thread thread_;
};

inline int fail(const std::string& what) {
    fmt::print(stderr, "{}\n", what);
    return 1;
}

}  // namespace millrace::bench
