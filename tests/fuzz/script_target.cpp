#include "fuzz/script_target.h"

#include <string>

namespace millrace::fuzz {

using testing::Endpoint;
using testing::Packet;
using testing::Script;
using wire::TcpFlags;

namespace {

/// What fails in a script ends the process.
void prepare_expectations() {
    static const bool once = [] {
        ::testing::InitGoogleTest();
        GTEST_FLAG_SET(throw_on_failure, true);
        return true;
    }();
    (void)once;
}

}  // namespace

Script::Options ScriptTarget::options(Input& in) {
    prepare_expectations();
    Script::Options o;
    o.pools = &pools();
    const uint8_t how = in.byte();
    o.family = (how & 1) != 0 ? Family::ipv6 : Family::ipv4;
    o.mtu = (how & 2) != 0 ? 9000 : 1500;
    TcpTunables& t = o.config.tcp;
    t.tcp_timestamps = (how >> 2) & 1;
    t.tcp_sack = ((how >> 3) & 1) ^ 1U;
    t.tcp_syncookies = (how >> 4) % 3;
    t.tcp_ecn = how >> 6 == 3 ? 1 : 2;
    using enum CongestionControl;
    const uint8_t more = in.byte();
    constexpr std::array algorithms{cubic, reno, dctcp, bbr};
    t.tcp_congestion_control = algorithms[more & 3];
    t.tcp_rmem = (more & 4) != 0 ? 4096 : 65536;
    t.tcp_pacing = (more >> 3) & 1;
    t.tcp_mtu_probing = (more & 0x10) != 0 ? 2 : 0;
    t.tcp_abort_on_overflow = (more >> 5) & 1;
    t.tcp_window_scaling = ((more >> 6) & 1) ^ 1U;
    t.tcp_max_tw_buckets = (more & 0x80) != 0 ? 0 : 100;
    t.max_connections = 64;
    t.max_half_open = 16;
    t.tcp_max_syn_backlog = 8;
    o.config.ip.ipfrag_max = 16;
    o.config.ip.neighbour_max = 16;
    o.config.ip.path_mtu_max = 16;
    o.config.ip.max_udp_sockets = 16;
    o.peer_isn = 0xfffff000;  // wraps soon
    return o;
}

ScriptTarget::ScriptTarget(Input& in) : in_(in), script_(options(in)) {}

uint32_t ScriptTarget::near(uint32_t base) {
    const uint8_t how = in_.byte();
    if (how < 64) return base;
    if (how < 128) return base + (how - 64U);
    if (how < 160) return base - (how - 127U);
    if (how < 224) return base + in_.word();
    if (how < 240) return base - in_.word();
    return in_.dword();
}

Packet ScriptTarget::segment() {
    constexpr std::array usual{TcpFlags::ack, TcpFlags::psh, TcpFlags::fin, TcpFlags::rst,
                               TcpFlags::syn, TcpFlags::urg, TcpFlags::ece, TcpFlags::cwr};
    Packet packet;
    const uint8_t flags = in_.byte();
    packet.flags = flags < 0xe0 ? static_cast<uint8_t>(TcpFlags::ack | usual[flags % 8])
                                : in_.byte();
    uint32_t seq = 1, ack = 1;
    if (!ends_.empty() && ends_.back()->connection != nullptr) {
        const tcp::Connection& c = *ends_.back()->connection;
        seq = c.rcv_nxt.value() - 0xfffff000;
        ack = c.snd_nxt.value() - script_.isn();
    }
    packet.seq = near(seq);
    packet.ack = near(ack);
    packet.size = in_.flag() ? in_.magnitude() % 1400 : 0;
    const uint8_t beside = in_.byte();
    packet.win = (beside & 1) != 0 ? in_.word() : uint16_t{65535};
    if ((beside & 2) != 0) packet.urg = in_.word();
    packet.ecn = static_cast<uint8_t>(beside >> 2 & 3);
    if ((beside & 0x10) != 0) packet.peer_port = static_cast<uint16_t>(40000 + in_.byte() % 8);
    if ((beside & 0x20) != 0) packet.local_port = in_.pick<uint16_t>({80, 81, 50000});
    packet.ds = (beside & 0xc0) == 0xc0 ? 63 : 0;
    return packet;
}

Packet ScriptTarget::with_options(const Packet& packet) {
    Packet made = packet;
    const uint8_t which = in_.byte();
    if ((which & 1) != 0) made = made.mss(in_.word());
    if ((which & 2) != 0) made = made.scale(in_.byte());
    if ((which & 4) != 0) made = made.sack_permitted();
    if ((which & 8) != 0) made = made.timestamps(near(1), near(script_.stack().env().ms()));
    if ((which & 0x30) != 0) {
        std::vector<std::pair<uint32_t, uint32_t>> blocks;
        for (int i = 0; i < (which >> 4 & 3); ++i) {
            const uint32_t begin = near(packet.ack.value_or(1));
            blocks.emplace_back(begin, near(begin));
        }
        made = made.sack(blocks);
    }
    return made;
}

std::vector<uint8_t> ScriptTarget::frame(const Packet& packet) {
    const uint8_t how = in_.byte();
    std::vector<uint8_t> bytes;
    if ((how & 3) == 3) {
        const auto options = in_.bytes(in_.byte() % 41);
        bytes = script_.frame_with_options(packet, {options.begin(), options.end()});
    } else {
        bytes = script_.frame((how & 3) == 0 ? packet : with_options(packet));
    }
    if ((how & 0x0c) == 0x0c) {
        for (int changes = 1 + (how >> 4 & 3); changes > 0; --changes)
            bytes[14 + in_.below(std::min<size_t>(bytes.size() - 14, 256))] = in_.byte();
        if ((how & 0xc0) != 0xc0) Script::repair_checksums(bytes);
    }
    return bytes;
}

void ScriptTarget::hear() {
    while (script_.anything_sent()) script_.next();
}

void ScriptTarget::advance() {
    // From a microsecond to some minutes.
    script_.advance(Duration::from_us(int64_t{1 + in_.byte()} << in_.byte() % 20));
}

void ScriptTarget::accept() {
    if (script_.listener() == nullptr || script_.listener()->accept_queue.empty()) return;
    ends_.push_back(&script_.accept());
}

void ScriptTarget::end() {
    hear();
    for (Endpoint* end : ends_) end->abort();
    stack::Stack& stack = script_.stack();
    if (script_.listener() != nullptr) {
        while (tcp::Connection* c = stack.accept(*script_.listener())) tcp::abort(stack.env(), *c);
        stack.close_listener(*script_.listener());
    }
    script_.advance(Duration::from_s(2000));
    hear();
    testing::for_each_leftover(script_.node(), [](uint16_t, std::string_view what, size_t count) {
        fail(std::to_string(count) + " " + std::string(what) + " are left");
    });
}

}  // namespace millrace::fuzz
