// Two runtimes of this process on one link, of which the first is looked into.
#pragma once

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include <millrace/millrace.h>

namespace millrace {

inline Config end_of_link(const std::string& name, unsigned end) {
    Config config;
    PortConfig port;
    port.device = "ring:" + name + ":" + std::to_string(end);
    port.addresses = {{Address::v4(10, 6, 0, static_cast<uint8_t>(end + 1)), 24}};
    port.receive_descriptors = 256;
    config.ports.push_back(port);
    config.pools = {.receive = 2048, .header = 1024, .attach = 1024, .payload = 1024};
    config.ip.arp_notify = 0;  // frames are counted
    config.tcp.max_connections = 1024;
    config.tcp.tcp_max_tw_buckets = 1024;
    config.recorder.events = 1024;
    config.eal.huge_pages = false;
    return config;
}

/// Both turn on the test's thread.
class LookedInto : public ::testing::Test {
protected:
    void SetUp() override {
        static int next = 0;
        const std::string name = "looked" + std::to_string(next++);
        server_ = std::move(*Runtime::create(end_of_link(name, 0)));
        client_ = std::move(*Runtime::create(end_of_link(name, 1)));
    }
    template <typename Done>
    bool turn_until(Done&& done) {
        const Instant end = client_->core(0).now() + Duration::from_s(20);
        while (!done()) {
            server_->core(0).poll_once();
            client_->core(0).poll_once();
            if (client_->core(0).now() > end) return false;
        }
        return true;
    }
    /// `look` on a thread of its own, while the loops turn.
    template <typename Look>
    void meanwhile(Look&& look) {
        std::atomic<bool> done{false};
        std::thread looking([&] {
            look();
            done = true;
        });
        EXPECT_TRUE(turn_until([&] { return done.load(); }));
        looking.join();
    }
    /// Where the server answers: it was made before the client.
    static std::string server_path() {
        const std::string ours = "/" + std::to_string(getpid()) + ".";
        std::vector<std::string> paths = Inspection::running();
        std::erase_if(paths, [&](const auto& path) { return !path.contains(ours); });
        std::ranges::sort(paths, {}, [](const auto& path) {
            return std::stoi(path.substr(path.rfind('.') + 1));
        });
        EXPECT_EQ(paths.size(), 2U);
        return paths.front();
    }
    static Started<Inspection> inspection() { return Inspection::open(server_path()); }

    const Address server_address_ = Address::v4(10, 6, 0, 1);
    std::unique_ptr<Runtime> server_, client_;
};

}  // namespace millrace
