#include "script.h"

#include "sim/link_message.h"
#include "wire/checksum.h"
#include "wire/icmp.h"

namespace millrace::testing {

namespace {
constexpr wire::MacAddress peer_mac{{0x02, 0, 0, 0, 0, 0x99}};
constexpr uint8_t salt_out = 2;  // of what the stack's application sends; the script's is 1
}

Script::Script(Options options) : network(1), options_(options) {
    sim::NodeOptions node;
    node.config = options.config;
    node.addresses = options.addresses;
    node.mtu = options.mtu;
    if (options.pools != nullptr) node.lent_pools = {options.pools};
    node_ = &network.add_node(Pair::named(std::move(node), "stack", 1));
    application_ = std::make_unique<Recorder>(*node_);
    application_->hold_accepts = true;
    network.set_filter([this](const sim::Node&, std::span<const uint8_t> bytes) {
        const auto ethernet = wire::Ethernet::parse(bytes);
        const auto ip = wire::Ip::parse(bytes.subspan(ethernet->size),
                                        bytes.size() - ethernet->size, true);
        if (ip && ip->protocol == wire::Protocol::tcp)
            sent_.emplace_back(bytes.begin(), bytes.end());
        else
            answer_neighbour();  // a question for the peer's link address, nothing else
        return false;  // the script is the wire's other end
    });
    network.inject(*node_, neighbour_message(false));
}

void Script::answer_neighbour() { network.put_on_wire(*node_, neighbour_message(true)); }

/// What the peer says of its link address: a question of its own, or an answer.
std::vector<uint8_t> Script::neighbour_message(bool answer) const {
    return sim::link_message({peer(), peer_mac}, {local(), node_->mac()}, answer);
}

tcp::Listener* Script::listen(uint16_t port, uint32_t backlog) {
    options_.local_port = port;
    listener_ = application_->listen(Address::any(options_.family), port, backlog);
    return listener_;
}

Endpoint& Script::accept() {
    tcp::Connection* c = stack().accept(*listener_);
    EXPECT_NE(c, nullptr) << "nobody waits to be accepted";
    application_->prototype = {.salt_out = salt_out, .salt_in = 1};
    if (c != nullptr) end_ = &application_->adopt(stack(), *c);
    network.run_for({});
    return *end_;
}

Endpoint& Script::connect() {
    options_.local_port = 50000;
    options_.peer_port = 80;
    end_ = &application_->connect({peer(), 80}, {.salt_out = salt_out, .salt_in = 1},
                                  {Address::any(options_.family), options_.local_port});
    network.run_for({});
    return *end_;
}

void Script::send(uint32_t bytes) {
    end_->to_send += bytes;
    end_->pump();
    network.run_for({});
}

void Script::shutdown() {
    EXPECT_TRUE(tcp::shutdown_send(stack().env(), tcb()));
    network.run_for({});
}

void Script::close() {
    end_->close();
    network.run_for({});
}

void Script::abort() {
    end_->abort();
    network.run_for({});
}

void Script::establish(Packet syn, Duration round_trip) {
    listen(options_.local_port);
    inject(syn);
    const wire::Segment answer = next();
    EXPECT_TRUE(answer.syn() && answer.has_ack());
    if (round_trip > Duration()) advance(round_trip);
    Packet ack = A(1, 1).window(syn.win.value_or(65535));
    if (answer.options.has_timestamps) ack = ack.timestamps(syn.opts->ts_value, answer.options.ts_value);
    inject(ack);
    accept();
    expect_silence();
}

uint32_t Script::isn(uint16_t peer_port, uint32_t otherwise) const {
    const auto seen = isns_.find(peer_port);
    return seen == isns_.end() ? otherwise : seen->second;
}

wire::Segment Script::absolute(const Packet& p) const {
    wire::Segment segment;
    segment.source_port = p.peer_port.value_or(options_.peer_port);
    const uint32_t our_isn = isn(segment.source_port);
    segment.destination_port = p.local_port.value_or(options_.local_port);
    segment.seq = Seq(options_.peer_isn + p.seq);
    if (p.ack) segment.ack = Seq(our_isn + *p.ack);
    segment.flags = p.flags;
    segment.window = p.win.value_or(65535);
    if (p.opts) segment.options = *p.opts;
    segment.urgent = p.urg.value_or(0);
    segment.ecn = p.ecn.value_or(0);
    if (p.sacks) {
        for (const auto& [begin, end] : *p.sacks)
            segment.options.sack[segment.options.sack_count++] = {
                Seq(our_isn + begin), Seq(our_isn + end)};
    }
    return segment;
}

std::vector<uint8_t> Script::frame(const Packet& p) const {
    const wire::Segment segment = absolute(p);
    std::array<uint8_t, 60> header{};
    const size_t header_size = segment.emit(header.data());
    const uint32_t size = p.size.value_or(0);
    wire::Ip ip;
    ip.source = peer();
    ip.destination = local();
    ip.protocol = wire::Protocol::tcp;
    ip.tos = static_cast<uint8_t>(segment.ecn | p.ds << 2);
    ip.payload_size = static_cast<uint32_t>(header_size + size);
    const size_t ip_size = ip_header_size();
    std::vector<uint8_t> bytes(14 + ip_size + header_size + size);
    wire::Ethernet ethernet;
    ethernet.destination = node_->mac();
    ethernet.source = peer_mac;
    ethernet.type = ip.source.is_v4() ? wire::EtherType::ipv4 : wire::EtherType::ipv6;
    ethernet.emit(bytes.data());
    ip.emit(&bytes[14], true);
    std::memcpy(&bytes[14 + ip_size], header.data(), header_size);
    for (uint32_t i = 0; i < size; ++i)
        bytes[14 + ip_size + header_size + i] = pattern(p.fill_from + i, p.salt);
    repair_checksums(bytes);
    return bytes;
}

void Script::repair_checksums(std::vector<uint8_t>& bytes) {
    uint8_t* ip_at = &bytes[14];
    const size_t room = bytes.size() - 14;
    const size_t header = (ip_at[0] & 0xf) * 4U;
    if (ip_at[0] >> 4 == 4 && header <= room && header >= wire::Ip::v4_size) {
        std::memset(ip_at + 10, 0, 2);
        const uint16_t checksum = wire::Checksum().add(ip_at, header).finish();
        std::memcpy(ip_at + 10, &checksum, 2);
    }
    const auto ip = wire::Ip::parse({ip_at, room}, room, false);
    if (!ip) return;
    size_t field = 0;
    switch (ip->protocol) {
        using enum wire::Protocol;
        case tcp: field = wire::tcp_checksum_offset; break;
        case udp: field = 6; break;
        case icmp:
        case igmp:
        case icmpv6: field = wire::Icmp::checksum_offset; break;
        default: return;
    }
    if (ip->payload_size < field + 2) return;
    uint8_t* at = ip_at + ip->header_size;
    std::memset(at + field, 0, 2);
    wire::Checksum sum;
    if (ip->protocol != wire::Protocol::icmp && ip->protocol != wire::Protocol::igmp)
        sum.add_pseudo_header(ip->source, ip->destination, static_cast<uint8_t>(ip->protocol),
                              ip->payload_size);
    const uint16_t checksum = sum.add(at, ip->payload_size).finish();
    std::memcpy(at + field, &checksum, 2);
}

std::vector<uint8_t> Script::frame_with_options(const Packet& p,
                                                std::vector<uint8_t> options) const {
    std::vector<uint8_t> bytes = frame(p);
    while (options.size() % 4 != 0) options.push_back(1);
    const auto begin = bytes.begin() + static_cast<ptrdiff_t>(tcp_at() + 20);
    const auto old = static_cast<ptrdiff_t>((bytes[tcp_at() + 12] >> 4) * 4 - 20);
    bytes.erase(begin, begin + old);
    bytes.insert(bytes.begin() + static_cast<ptrdiff_t>(tcp_at() + 20), options.begin(),
                 options.end());
    bytes[tcp_at() + 12] = static_cast<uint8_t>((20 + options.size()) / 4 << 4);
    if (options_.family == Family::ipv4)
        wire::store16(&bytes[16], static_cast<uint16_t>(bytes.size() - 14));
    else
        wire::store16(&bytes[18], static_cast<uint16_t>(bytes.size() - 14 - 40));
    repair_checksums(bytes);
    return bytes;
}

std::span<const uint8_t> Script::last_options() const {
    const std::span<const uint8_t> tcp = std::span(last_frame_).subspan(tcp_at());
    return tcp.subspan(20, (tcp[12] >> 4) * 4U - 20);
}

void Script::inject_icmp_error(uint8_t type, uint8_t code, const Packet& quoted, uint32_t rest) {
    const bool v4 = options_.family == Family::ipv4;
    wire::Segment segment;
    segment.source_port = options_.local_port;
    segment.destination_port = options_.peer_port;
    segment.seq = Seq(isn() + quoted.seq);
    segment.flags = quoted.flags;
    wire::Ip inner;
    inner.source = local();
    inner.destination = peer();
    inner.protocol = wire::Protocol::tcp;
    inner.payload_size = 20 + quoted.size.value_or(0);
    wire::Ip outer;
    outer.source = peer();
    outer.destination = local();
    outer.protocol = v4 ? wire::Protocol::icmp : wire::Protocol::icmpv6;
    const size_t ip_size = ip_header_size();
    outer.payload_size = static_cast<uint32_t>(wire::Icmp::size + ip_size + 20);
    std::vector<uint8_t> bytes(14 + ip_size + outer.payload_size);
    wire::Ethernet ethernet;
    ethernet.destination = node_->mac();
    ethernet.source = peer_mac;
    ethernet.type = v4 ? wire::EtherType::ipv4 : wire::EtherType::ipv6;
    ethernet.emit(bytes.data());
    outer.emit(&bytes[14], true);
    uint8_t* icmp_at = &bytes[14 + ip_size];
    wire::Icmp{type, code, rest}.emit(icmp_at);
    inner.emit(icmp_at + wire::Icmp::size, true);
    segment.emit(icmp_at + wire::Icmp::size + ip_size);
    wire::Checksum sum;
    if (!v4) sum.add_pseudo_header(outer.source, outer.destination, 58, outer.payload_size);
    const uint16_t checksum = sum.add(icmp_at, outer.payload_size).finish();
    std::memcpy(icmp_at + wire::Icmp::checksum_offset, &checksum, 2);
    inject_raw(bytes);
}

void Script::inject(const Packet& p) { inject_raw(frame(p)); }

void Script::inject_burst(const std::vector<Packet>& packets) {
    std::vector<std::vector<uint8_t>> frames;
    for (const Packet& p : packets) frames.push_back(frame(p));
    network.inject_burst(*node_, frames);
    network.run_for({});
}

void Script::inject_raw(const std::vector<uint8_t>& bytes) {
    network.inject(*node_, bytes);
    network.run_for({});
}

wire::Segment Script::next() {
    EXPECT_FALSE(sent_.empty()) << "the stack has sent nothing";
    if (sent_.empty()) return {};
    last_frame_ = std::move(sent_.front());
    const std::vector<uint8_t>& bytes = last_frame_;
    sent_.pop_front();
    const std::span<const uint8_t> all(bytes);
    const auto ip = wire::Ip::parse(all.subspan(14), all.size() - 14, true);
    const auto upper = all.subspan(14 + ip->header_size, ip->payload_size);
    wire::Checksum sum;
    sum.add_pseudo_header(ip->source, ip->destination, 6, ip->payload_size)
        .add(upper.data(), upper.size());
    EXPECT_TRUE(sum.is_valid()) << "bad checksum in " << sim::describe(bytes);
    const auto segment = wire::Segment::parse(upper, upper.size());
    EXPECT_TRUE(segment.has_value());
    if (segment->syn()) isns_[segment->destination_port] = segment->seq.value();
    wire::Segment answer = *segment;
    answer.ecn = ip->tos & 3;
    ip_ = *ip;
    return answer;
}

void Script::expect(const Packet& p, const std::string& note) {
    SCOPED_TRACE(note);
    ASSERT_FALSE(sent_.empty()) << "the stack has sent nothing";
    const std::string line = sim::describe(sent_.front());
    const wire::Segment got = next();
    // PSH is the sender's affair unless the script asks for it.
    constexpr uint8_t psh = wire::TcpFlags::psh;
    EXPECT_EQ(got.flags & ~psh, p.flags & ~psh) << line;
    if ((p.flags & psh) != 0) {
        EXPECT_NE(got.flags & psh, 0) << line;
    }
    EXPECT_EQ(got.destination_port, p.peer_port.value_or(options_.peer_port)) << line;
    EXPECT_EQ(got.seq.value() - isn(got.destination_port, got.seq.value()), p.seq) << line;
    if (p.ack) {
        EXPECT_EQ(got.ack.value() - options_.peer_isn, *p.ack) << line;
    }
    EXPECT_EQ(got.payload_size, p.size.value_or(0)) << line;
    const size_t payload_at = last_frame_.size() - got.payload_size;
    for (uint32_t i = 0; i < got.payload_size; ++i)
        ASSERT_EQ(last_frame_[payload_at + i], pattern(p.fill_from + i, salt_out)) << line;
    if (p.win) {
        EXPECT_EQ(got.window, *p.win) << line;
    }
    if (p.urg) {
        EXPECT_EQ(got.urgent, *p.urg) << line;
    }
    if (p.ecn) {
        EXPECT_EQ(got.ecn, *p.ecn) << line;
    }
    if (p.sacks) expect_sack(got, *p.sacks, line);
    if (!p.opts) return;
    EXPECT_EQ(got.options.sack_permitted, p.opts->sack_permitted) << line;
    EXPECT_EQ(got.options.mss, p.opts->mss) << line;
    EXPECT_EQ(got.options.has_window_scale, p.opts->has_window_scale) << line;
    EXPECT_EQ(got.options.has_timestamps, p.opts->has_timestamps) << line;
    if (p.opts->has_timestamps) {
        EXPECT_EQ(got.options.ts_echo, p.opts->ts_echo) << line;
    }
}

void Script::expect_sack(const wire::Segment& got,
                         const std::vector<std::pair<uint32_t, uint32_t>>& blocks,
                         const std::string& line) const {
    ASSERT_EQ(got.options.sack_count, blocks.size()) << line;
    for (size_t i = 0; i < blocks.size(); ++i) {
        EXPECT_EQ(got.options.sack[i].begin.value() - options_.peer_isn, blocks[i].first) << line;
        EXPECT_EQ(got.options.sack[i].end.value() - options_.peer_isn, blocks[i].second) << line;
    }
}

void Script::expect_silence() {
    EXPECT_TRUE(sent_.empty()) << "unexpected: " << sim::describe(sent_.front());
}

Duration Script::advance_to_next_segment(Duration limit) {
    const Instant start = network.now();
    EXPECT_TRUE(network.run_while(limit, [&] { return !sent_.empty(); }))
        << "nothing was sent in time";
    return network.now() - start;
}

}  // namespace millrace::testing
