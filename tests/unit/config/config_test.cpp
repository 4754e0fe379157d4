#include <array>
#include <fstream>

#include <gtest/gtest.h>

#include <millrace/config.h>

#include "config/tunables.h"

namespace millrace {
namespace {

/// Expects a refusal that names all of these.
void expect_refused(std::string_view text, std::initializer_list<const char*> words) {
    const auto config = parse_config(text, "t.toml");
    ASSERT_FALSE(config) << text;
    for (const char* word : words)
        EXPECT_NE(config.error().what.find(word), std::string::npos)
            << config.error().what << " lacks " << word;
}

TEST(Config, reads_everything_that_it_documents) {
    const auto config = parse_config(R"(
[[port]]
device = "net_tap0,iface=x"
addresses = ["10.0.0.1/24", "fd00::1/64"]
routes = ["default via 10.0.0.254", "2001:db8::/32 via fd00::2"]
neighbours = ["10.0.0.254 at 02:00:00:00:00:fe"]
mac = "02:00:00:00:00:01"
mtu = 9000
vlan = 5
receive_descriptors = 256
transmit_descriptors = 512
cores = [1]
software_checksums = true
[[port]]
device = "net_null0"
[[core]]
cpu = 1
[[core]]
idle = "yield"
idle_turns = 7
[[core]]
idle = "sleep"
idle_sleep_us = 20
[pools]
receive = 2048
header = 2048
attach = 4096
payload = 512
[tcp]
tcp_syn_retries = 3
tcp_rmem = 65536
[ip]
ip_default_ttl = 9
[eal]
memory_mb = 128
huge_pages = false
file_prefix = "web-1"
arguments = ["--log-level=debug"]
)",
                                     "t.toml");
    ASSERT_TRUE(config) << config.error().what;
    const PortConfig& port = config->ports.at(0);
    EXPECT_EQ(port.addresses.at(1).to_string(), "fd00::1/64");
    EXPECT_EQ(port.routes.at(0).destination.to_string(), "0.0.0.0/0");
    EXPECT_EQ(port.routes.at(1).gateway.to_string(), "fd00::2");
    ASSERT_EQ(port.neighbours.size(), 1U);
    EXPECT_EQ(port.neighbours[0].address.to_string(), "10.0.0.254");
    EXPECT_EQ(port.neighbours[0].mac, (std::array<uint8_t, 6>{2, 0, 0, 0, 0, 0xfe}));
    EXPECT_TRUE(port.neighbours[0].permanent);
    EXPECT_EQ(port.mtu, 9000);
    EXPECT_EQ(port.vlan, 5);
    EXPECT_EQ(port.receive_descriptors, 256);
    EXPECT_EQ(port.transmit_descriptors, 512);
    EXPECT_EQ(port.cores, std::vector<uint16_t>{1});
    EXPECT_TRUE(port.software_checksums);
    EXPECT_EQ(config->ports.size(), 2U);
    EXPECT_EQ(config->cores.at(0).cpu, 1);
    EXPECT_EQ(config->cores.at(1).idle, IdlePolicy::yield);
    EXPECT_EQ(config->cores.at(1).idle_turns, 7U);
    EXPECT_EQ(config->cores.at(2).idle, IdlePolicy::sleep);
    EXPECT_EQ(config->cores.at(2).idle_sleep_us, 20U);
    EXPECT_EQ(config->pools.attach, 4096U);
    EXPECT_EQ(config->tcp.tcp_syn_retries, 3U);
    EXPECT_EQ(config->tcp.tcp_synack_retries, 5U) << "what is not named keeps its default";
    EXPECT_EQ(config->ip.ip_default_ttl, 9U);
    EXPECT_EQ(config->eal.memory_mb, 128U);
    EXPECT_FALSE(config->eal.huge_pages);
    EXPECT_FALSE(config->eal.shared || config->eal.telemetry);
    EXPECT_EQ(config->eal.file_prefix, "web-1");
    EXPECT_EQ(config->eal.arguments.size(), 1U);
}

TEST(Config, unknown_keys_are_refused_with_file_line_and_path) {
    expect_refused("[tcp]\n\ntcp_sin_retries = 1\n", {"t.toml:3", "tcp.tcp_sin_retries", "unknown"});
    expect_refused("ports = 1\n", {"t.toml:1", "ports", "unknown"});
    expect_refused("[[port]]\ndevice = \"x\"\nadress = 1\n", {"t.toml:3", "port[0].adress"});
    expect_refused("[tcp]\ntcp_fastopen = 1\n", {"tcp.tcp_fastopen", "unknown"});
}

TEST(Config, every_tunable_refuses_what_lies_outside_its_range) {
    const auto check = [](std::string_view table, const auto& fields) {
        for (const auto& field : fields) {
            const std::string name(field.name);
            const auto text = [&](int64_t value) {
                return "[" + std::string(table) + "]\n" + name + " = " + std::to_string(value) + "\n";
            };
            const std::string min = std::to_string(field.min);
            const std::string max = std::to_string(field.max);
            expect_refused(text(int64_t{field.min} - 1),
                           {"t.toml:2", name.c_str(), min.c_str(), max.c_str()});
            expect_refused(text(int64_t{field.max} + 1),
                           {"t.toml:2", name.c_str(), min.c_str(), max.c_str()});
            expect_refused("[" + std::string(table) + "]\n" + name + " = \"x\"\n", {name.c_str()});
        }
    };
    check("tcp", config::tcp_fields());
    check("ip", config::ip_fields());
    check("pools", config::pool_fields());
}

TEST(Config, a_table_whose_name_is_none_is_refused) {  // found by tests/fuzz
    expect_refused("[\x02", {"t.toml:1"});
    expect_refused("\n[=]\n", {"t.toml:2", "key"});
    expect_refused("[[ ,]]", {"t.toml:1", "key"});
    expect_refused("[tcp.]", {"t.toml:1", "key"});
}

TEST(Config, characters_that_are_neither_space_nor_key_are_refused) {  // found by tests/fuzz
    for (const char* character : {"\ufdff", "\u00a1", "\u2070", "\ud7ff", "\uffff"})
        expect_refused(character, {"t.toml:1"});
}

TEST(Config, wrong_types_and_texts_are_refused) {
    expect_refused("[[port]]\ndevice = 1\n", {"port[0].device", "1", "string"});
    expect_refused("[[port]]\ndevice = \"x\"\naddresses = [\"10.0.0.300/24\"]\n",
                   {"t.toml:3", "port[0].addresses"});
    expect_refused("[[port]]\ndevice = \"x\"\nroutes = [\"10.0.0.0/8\"]\n", {"port[0].routes"});
    expect_refused("[[port]]\ndevice = \"x\"\nsoftware_checksums = 1\n", {"true", "false"});
    expect_refused("[[core]]\nidle = \"doze\"\n", {"core[0].idle", "spin"});
    expect_refused("[tcp\n", {"t.toml:1"});
    expect_refused("tcp = 1\n", {"tcp", "table"});
}

TEST(Config, fields_are_held_against_each_other) {
    expect_refused("[[port]]\nmtu = 1500\n", {"port[0].device", "missing"});
    expect_refused("[[port]]\ndevice = \"x\"\naddresses = [\"224.0.0.1/24\"]\n", {"addresses"});
    expect_refused("[[port]]\ndevice = \"x\"\naddresses = [\"10.0.0.1/24\"]\n"
                   "routes = [\"default via 10.1.0.1\"]\n",
                   {"gateway", "10.1.0.1"});
    expect_refused("[[port]]\ndevice = \"x\"\ncores = [1]\n", {"cores", "1"});
    expect_refused("[[port]]\ndevice = \"x\"\nmtu = 600\naddresses = [\"fd00::1/64\"]\n",
                   {"mtu", "1280"});
    expect_refused("[tcp]\nip_local_port_range_min = 2000\nip_local_port_range_max = 1999\n",
                   {"ip_local_port_range_min"});
}

TEST(Config, memory_is_shared_where_it_can_be) {
    EXPECT_TRUE(parse_config("[eal]\nshared = true\n", "t.toml")->eal.shared);
    expect_refused("[eal]\nshared = 1\n", {"eal.shared", "neither true nor false"});
    EXPECT_TRUE(parse_config("[eal]\ntelemetry = true\n", "t.toml")->eal.telemetry);
    expect_refused("[eal]\ntelemetry = true\narguments = [\"--no-telemetry\"]\n",
                   {"eal.telemetry", "--no-telemetry"});
    expect_refused("[eal]\nshared = true\nhuge_pages = false\n", {"eal.shared", "huge_pages"});
    for (const char* argument : {"--in-memory", "--no-huge", "--no-shconf", "--huge-unlink=always"})
        expect_refused("[eal]\nshared = true\narguments = [\"" + std::string(argument) + "\"]\n",
                       {"eal.shared", argument, "nothing is shared"});
    expect_refused("[eal]\nfile_prefix = \"a/b\"\n", {"eal.file_prefix", "a/b", "letters"});
    expect_refused("[eal]\nfile_prefix = \"..\"\n", {"eal.file_prefix"});
    expect_refused("[eal]\nfile_prefix = \"" + std::string(33, 'a') + "\"\n", {"eal.file_prefix"});
}

TEST(Config, what_is_adopted_must_not_be_given_as_well) {
    const std::string port = "[[port]]\ndevice = \"x\"\nadopt = \"eth0\"\n";
    EXPECT_EQ(parse_config(port, "t.toml")->ports.at(0).adopt, "eth0");
    EXPECT_TRUE(parse_config(port + "vlan = 5\n", "t.toml"));
    expect_refused(port + "addresses = [\"10.0.0.1/24\"]\n", {"port[0].addresses", "adopt"});
    expect_refused(port + "mac = \"02:00:00:00:00:01\"\n", {"port[0].mac", "adopt"});
    expect_refused(port + "mtu = 1500\n", {"t.toml", "port[0].mtu", "adopt"});
    expect_refused(port + "mtu = 9000\n", {"port[0].mtu", "adopt"});
    expect_refused("[[port]]\ndevice = \"x\"\nadopt = \"sixteen_and_more\"\n", {"15 bytes"});
}

TEST(Config, neighbours_are_of_the_link_and_of_one_station) {
    const auto with = [](const std::string& neighbour) {
        return "[[port]]\ndevice = \"x\"\naddresses = [\"10.0.0.1/24\"]\nneighbours = [\"" +
               neighbour + "\"]\n";
    };
    EXPECT_TRUE(parse_config(with("10.0.0.9 at 02:00:00:00:00:09"), "t.toml"));
    for (const char* wrong : {"10.0.0.9", "10.0.0.9 at 02:00:00:00:00", "x at 02:00:00:00:00:09",
                              "10.0.0.9 at 02:00:00:00:00:0g", "10.0.0.9 at 02:00:00:00:00:09:0a",
                              "10.0.0.9 at 02-00-00-00-00-09", "10.0.0.9 at "})
        expect_refused(with(wrong), {"t.toml:4", "port[0].neighbours", "is written"});
    expect_refused(with("10.0.1.9 at 02:00:00:00:00:09"), {"neighbours", "10.0.1.9", "no subnet"});
    expect_refused(with("10.0.0.9 at 01:00:00:00:00:09"), {"neighbours", "no unicast"});
    expect_refused(with("10.0.0.9 at 00:00:00:00:00:00"), {"neighbours", "no unicast"});
    expect_refused("[[port]]\ndevice = \"x\"\naddresses = [\"10.0.0.1/24\"]\n"
                   "routes = [\"10.1.0.0/16 via 0.0.0.0\"]\n",
                   {"routes", "is written"});
}

TEST(Config, a_missing_file_is_named) {
    const auto config = load_config("/nonexistent/x.toml");
    ASSERT_FALSE(config);
    EXPECT_NE(config.error().what.find("/nonexistent/x.toml"), std::string::npos);
    EXPECT_EQ(config.error().code, ENOENT);
}

TEST(Config, defaults_are_linux) {
    const TcpTunables tcp;
    EXPECT_EQ(tcp.tcp_syn_retries, 6U);
    EXPECT_EQ(tcp.tcp_synack_retries, 5U);
    EXPECT_EQ(tcp.tcp_retries1, 3U);
    EXPECT_EQ(tcp.tcp_retries2, 15U);
    EXPECT_EQ(tcp.tcp_keepalive_time, 7200U);
    EXPECT_EQ(tcp.tcp_keepalive_intvl, 75U);
    EXPECT_EQ(tcp.tcp_keepalive_probes, 9U);
    EXPECT_EQ(tcp.tcp_fin_timeout, 60U);
    EXPECT_EQ(tcp.somaxconn, 4096U);
    EXPECT_EQ(tcp.tcp_rto_min_us, 200'000U);
    EXPECT_EQ(tcp.tcp_rto_max_ms, 120'000U);
    EXPECT_EQ(tcp.initial_cwnd, 10U);
    EXPECT_EQ(IpTunables().ip_default_ttl, 64U);
    EXPECT_TRUE(validate(Config()));
}

}  // namespace
}  // namespace millrace
