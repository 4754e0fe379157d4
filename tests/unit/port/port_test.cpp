#include "port/port.h"

#include <unistd.h>

#include <cstdio>

#include <gtest/gtest.h>

namespace millrace::port {
namespace {

std::string unique_name() {
    static int n = 0;
    return "port" + std::to_string(n++);
}

buf::Pools make_pools(uint32_t frames = 2048) {
    return std::move(*buf::Pools::create(
        unique_name(), {.receive = 2048, .header = frames, .attach = 512, .payload = 512}));
}

PortConfig named(const std::string& device) {
    PortConfig config;
    config.device = device;
    return config;
}

std::unique_ptr<Port> open(const PortConfig& config, const std::vector<buf::Pools*>& pools) {
    auto port = Port::open(config, pools, {});
    EXPECT_TRUE(port) << port.error().what;
    return port ? std::move(*port) : nullptr;
}

void expect_refused(const PortConfig& config, const std::vector<buf::Pools*>& pools,
                    const std::string& why, int code) {
    const auto port = Port::open(config, pools, {});
    ASSERT_FALSE(port) << config.device;
    EXPECT_EQ(port.error().what, why);
    EXPECT_EQ(port.error().code, code);
}

/// Frames of 60 bytes that carry their number.
void fill(buf::FrameBatch& batch, buf::Pools& pools, size_t count, uint32_t first = 0) {
    for (uint32_t i = 0; i < count; ++i) {
        buf::Frame frame = pools.frame();
        const uint32_t number = first + i;
        std::memcpy(frame.put(60), &number, sizeof(number));
        batch.push(std::move(frame));
    }
}
uint32_t number_of(const buf::Frame& frame) {
    uint32_t number = 0;
    std::memcpy(&number, frame.head().data(), sizeof(number));
    return number;
}

/// Both ends of a link, each with pools of its own.
class Link : public ::testing::Test {
protected:
    const std::string name_ = unique_name();
    buf::Pools near_pools_ = make_pools();
    buf::Pools far_pools_ = make_pools();
    std::unique_ptr<Port> near_ = open(named("ring:" + name_ + ":0"), {&near_pools_});
    std::unique_ptr<Port> far_ = open(named("ring:" + name_ + ":1"), {&far_pools_});
};

TEST_F(Link, what_one_end_sends_the_other_receives_in_order) {
    buf::FrameBatch batch;
    EXPECT_FALSE(far_->receive(0, batch));
    EXPECT_TRUE(batch.empty());
    fill(batch, near_pools_, 3);
    near_->transmit(0, batch, near_pools_);
    EXPECT_TRUE(batch.empty()) << "the port owns them now";
    EXPECT_FALSE(near_->receive(0, batch)) << "not its own";
    EXPECT_TRUE(far_->receive(0, batch));
    ASSERT_EQ(batch.size(), 3U);
    for (uint32_t i = 0; i < 3; ++i) {
        const buf::Frame frame = batch.take(i);
        EXPECT_EQ(number_of(frame), i);
        EXPECT_EQ(frame.size(), 60U);
    }
    batch.shrink(0);
    EXPECT_FALSE(far_->receive(0, batch));
    EXPECT_EQ(near_pools_.available(), near_pools_.capacity());
}

TEST_F(Link, a_burst_is_at_most_a_batch) {
    for (uint32_t first = 0; first < 100; first += 50) {
        buf::FrameBatch batch;
        fill(batch, near_pools_, 50, first);
        near_->transmit(0, batch, near_pools_);
    }
    uint32_t expected = 0;
    for (const size_t size : {64, 36}) {
        buf::FrameBatch batch;
        EXPECT_TRUE(far_->receive(0, batch));
        ASSERT_EQ(batch.size(), size);
        for (size_t i = 0; i < size; ++i) EXPECT_EQ(number_of(batch.take(i)), expected++);
        batch.shrink(0);
    }
}

TEST_F(Link, what_a_full_ring_does_not_take_stays_in_the_batch_in_order) {
    uint32_t sent = 0;
    buf::FrameBatch batch;
    for (; sent < 15 * 64; sent += 64) {  // 1024 places, one of which a ring keeps free
        fill(batch, near_pools_, 64, sent);
        near_->transmit(0, batch, near_pools_);
        ASSERT_TRUE(batch.empty());
    }
    fill(batch, near_pools_, 64, sent);
    near_->transmit(0, batch, near_pools_);
    ASSERT_EQ(batch.size(), 1U) << "63 of these fit";
    near_->transmit(0, batch, near_pools_);
    ASSERT_EQ(batch.size(), 1U) << "full is full";
    buf::FrameBatch arrived;
    EXPECT_TRUE(far_->receive(0, arrived));
    arrived.clear();
    fill(batch, near_pools_, 10, sent + 64);
    near_->transmit(0, batch, near_pools_);
    EXPECT_TRUE(batch.empty());
    for (uint32_t expected = 64; far_->receive(0, arrived);) {
        for (size_t i = 0; i < arrived.size(); ++i)
            ASSERT_EQ(number_of(arrived.take(i)), expected++);
        EXPECT_LE(expected, sent + 74);
        arrived.shrink(0);
    }
    EXPECT_EQ(far_->counters().received, 1034U);
    EXPECT_EQ(near_->counters().transmitted, 1034U);
}

TEST_F(Link, counts_what_went_each_way) {
    buf::FrameBatch batch;
    fill(batch, near_pools_, 5);
    near_->transmit(0, batch, near_pools_);
    far_->receive(0, batch);
    far_->transmit(0, batch, far_pools_);
    near_->receive(0, batch);
    EXPECT_EQ(batch.size(), 5U);
    for (const Port* port : {near_.get(), far_.get()}) {
        EXPECT_EQ(port->counters().received, 5U);
        EXPECT_EQ(port->counters().transmitted, 5U);
        EXPECT_EQ(port->counters().missed, 0U);
        EXPECT_EQ(port->counters().no_buffer, 0U);
    }
}

TEST_F(Link, frees_what_is_under_way_when_its_second_end_closes) {
    buf::FrameBatch batch;
    fill(batch, near_pools_, 40);
    near_->transmit(0, batch, near_pools_);
    near_.reset();
    EXPECT_EQ(near_pools_.available(), near_pools_.capacity() - 40) << "the far end may read them";
    far_.reset();
    EXPECT_EQ(near_pools_.available(), near_pools_.capacity());
}

TEST_F(Link, does_in_software_what_a_ring_cannot) {
    EXPECT_EQ(near_->description(),
              "ring:" + name_ + ":0: mac " + near_->mac().to_string() +
                  " mtu 1500 queues 1/1; receive checksums ip software tcp software; transmit "
                  "checksums ip software tcp software; frames in pieces port; steering not needed");
    EXPECT_FALSE(near_->offloads().ipv4_checksum);
    EXPECT_FALSE(near_->offloads().tcp_checksum);
    EXPECT_FALSE(near_->offloads().udp_checksum);
    EXPECT_EQ(near_->mtu(), 1500);
    // Without an address of its own a port gets one: local (bit 1), no group (bit 0).
    EXPECT_EQ(near_->mac().bytes[0] & 3, 2);
    EXPECT_NE(near_->mac(), far_->mac());
}

TEST(Port, a_link_of_several_queues_keeps_them_apart) {
    const std::string name = unique_name();
    buf::Pools a = make_pools();
    buf::Pools b = make_pools();
    const auto near = open(named("ring:" + name + ":0,queues=2"), {&a, &b});
    const auto far = open(named("ring:" + name + ":1,queues=2"), {&a});  // one core polls both
    EXPECT_EQ(near->receive_queues(), 2);
    EXPECT_EQ(far->transmit_queues(), 2);
    buf::FrameBatch batch;
    fill(batch, b, 4);
    near->transmit(1, batch, b);
    EXPECT_FALSE(far->receive(0, batch));
    EXPECT_TRUE(far->receive(1, batch));
    EXPECT_EQ(batch.size(), 4U);
    EXPECT_NE(near->description().find("queues 2/2"), std::string::npos);
    EXPECT_NE(near->description().find("steering software"), std::string::npos);
}

TEST(Port, a_mac_that_is_given_is_used) {
    buf::Pools pools = make_pools();
    PortConfig config = named("ring:" + unique_name() + ":0");
    config.mac = "02:00:00:00:00:ab";
    const auto port = open(config, {&pools});
    EXPECT_EQ(port->mac(), (wire::MacAddress{{2, 0, 0, 0, 0, 0xab}}));
}

TEST(Port, a_mac_that_is_none_is_refused_and_the_device_is_free_again) {
    buf::Pools pools = make_pools();
    for (const std::string& device : {"ring:" + unique_name() + ":0", std::string("net_null8")}) {
        for (const std::string mac : {"x", "02:00:00:00:00", "01:00:5e:00:00:01",
                                      "ff:ff:ff:ff:ff:ff"}) {
            PortConfig config = named(device);
            config.mac = mac;
            expect_refused(config, {&pools},
                           "port " + device + ": mac: \"" + mac +
                               "\" is no unicast address like 02:00:00:00:00:01",
                           EINVAL);
        }
        EXPECT_TRUE(open(named(device), {&pools}));
    }
}

TEST(Port, what_cannot_be_attached_is_told_in_attachs_words) {
    buf::Pools pools = make_pools();
    const auto port = Port::open(named("net_af_packet0,iface=nosuch0"), {&pools}, {});
    ASSERT_FALSE(port);
    EXPECT_EQ(port.error().what, "cannot open the port net_af_packet0,iface=nosuch0: there is no "
                                 "interface nosuch0 in this network namespace");
}

TEST(Port, fewer_transmit_queues_than_cores_are_refused_with_a_remedy) {
    buf::Pools a = make_pools();
    buf::Pools b = make_pools();
    const std::string file = "/tmp/millrace_port_test." + std::to_string(getpid()) + ".pcap";
    const std::string device = "net_pcap8,tx_pcap=" + file;
    expect_refused(named(device), {&a, &b},
                   "port " + device + " has 1 transmit queues, but 2 cores use it: name fewer in "
                                      "port.cores",
                   EINVAL);
    EXPECT_TRUE(open(named(device), {&a})) << "one core is enough of them";
    std::remove(file.c_str());
}

/// The null device: receives a full burst each time, sends everything to nowhere.
TEST(Port, receives_a_full_batch_from_the_pool_of_the_core_that_polls) {
    buf::Pools a = make_pools();
    buf::Pools b = make_pools();
    const auto port = open(named("net_null9,size=80"), {&a, &b});
    ASSERT_TRUE(port);
    EXPECT_EQ(port->receive_queues(), 2);
    // No key was given: a device whose key has no size either is still not asked to steer.
    EXPECT_NE(port->description().find("steering software"), std::string::npos);
    const size_t before = a.available();
    buf::FrameBatch batch;
    EXPECT_TRUE(port->receive(1, batch));
    EXPECT_TRUE(batch.full());
    EXPECT_EQ(b.available(), b.capacity() - 64);
    EXPECT_EQ(a.available(), before);
    EXPECT_EQ(batch.take(0).size(), 80U);
    batch.clear();
    EXPECT_EQ(b.available(), b.capacity());
    EXPECT_EQ(port->counters().received, 64U);
}

TEST(Port, a_dry_pool_receives_nothing) {
    buf::Pools pools = make_pools();
    const auto port = open(named("net_null9"), {&pools});
    ASSERT_TRUE(port);
    std::vector<std::unique_ptr<buf::FrameBatch>> held;
    for (;;) {
        auto batch = std::make_unique<buf::FrameBatch>();
        if (!port->receive(0, *batch)) break;
        held.push_back(std::move(batch));
        ASSERT_LE(held.size(), 2048U / 64);
    }
    EXPECT_EQ(held.size(), 2048U / 64);
    held.clear();
    buf::FrameBatch batch;
    EXPECT_TRUE(port->receive(0, batch)) << "and goes on when there are buffers again";
}

TEST(Port, frames_that_were_sent_give_their_buffers_back) {
    buf::Pools pools = make_pools();
    const auto port = open(named("net_null9"), {&pools});
    ASSERT_TRUE(port);
    for (int i = 0; i < 100; ++i) {
        buf::FrameBatch batch;
        fill(batch, pools, 64);
        port->transmit(0, batch, pools);
        ASSERT_TRUE(batch.empty());
    }
    EXPECT_EQ(pools.available(), pools.capacity());
    EXPECT_EQ(port->counters().transmitted, 6400U);
}

/// A vhost-user server offers TCP checksums both ways before anybody has connected.
TEST(Port, checksums_are_the_ports_unless_software_is_asked_for) {
    buf::Pools pools = make_pools();
    const std::string socket = "/tmp/millrace_port_test." + std::to_string(getpid()) + ".vhost";
    PortConfig config = named("net_vhost9,iface=" + socket + ",legacy-ol-flags=0");
    {
        const auto port = open(config, {&pools});
        ASSERT_TRUE(port);
        EXPECT_NE(port->description().find("receive checksums ip software tcp port; transmit "
                                           "checksums ip software tcp port"),
                  std::string::npos)
            << port->description();
        EXPECT_FALSE(port->offloads().ipv4_checksum);
        EXPECT_TRUE(port->offloads().tcp_checksum);
        EXPECT_TRUE(port->offloads().udp_checksum);
    }
    config.software_checksums = true;
    const auto port = open(config, {&pools});
    ASSERT_TRUE(port);
    EXPECT_NE(port->description().find("receive checksums ip software tcp software; transmit "
                                       "checksums ip software tcp software"),
              std::string::npos)
        << port->description();
    EXPECT_FALSE(port->offloads().tcp_checksum);
    EXPECT_FALSE(port->offloads().udp_checksum);
}

}  // namespace
}  // namespace millrace::port
