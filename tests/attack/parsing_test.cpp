// Attack cases 1 to 10: what a hostile or broken sender puts into a frame. Each dies in `wire` or
// `classify` under a counter of its own, touches no state, and is answered by nothing.
#include <algorithm>

#include "wire/script.h"

namespace millrace::testing {
namespace {

using observe::Drop;
using wire::TcpFlags;

class Parsing : public ::testing::TestWithParam<Family> {
protected:
    Parsing() : script({.family = GetParam(), .config = {}}) {}

    size_t tcp_at() const { return script.tcp_at(); }
    void set_ip_length(std::vector<uint8_t>& frame, size_t total) const {
        if (GetParam() == Family::ipv4)
            wire::store16(&frame[16], static_cast<uint16_t>(total));
        else
            wire::store16(&frame[18], static_cast<uint16_t>(total - 40));
    }
    /// Injects; expects exactly one drop, for this reason, no answer and no state.
    void expect_dropped(std::vector<uint8_t> frame, Drop reason, bool repair = true) {
        if (repair) Script::repair_checksums(frame);
        const uint64_t before = script.drops(reason);
        const uint64_t all = script.counters().drops_total();
        const auto population = script.stack().population();
        script.inject_raw(frame);
        EXPECT_EQ(script.drops(reason), before + 1)
            << observe::drop_reasons[static_cast<size_t>(reason)].name;
        EXPECT_EQ(script.counters().drops_total(), all + 1);
        EXPECT_EQ(script.stack().population().half_open, population.half_open);
        EXPECT_EQ(script.stack().population().connections, population.connections);
        script.expect_silence();
    }

    Script script;
};
INSTANTIATE_TEST_SUITE_P(Attack, Parsing, ::testing::Values(Family::ipv4, Family::ipv6),
                         [](const auto& family) {
                             return family.param == Family::ipv4 ? "ipv4" : "ipv6";
                         });

TEST_P(Parsing, case_1_unknown_option_of_length_zero) {
    script.listen();
    expect_dropped(script.frame_with_options(S(0), {99, 0, 1, 1}), Drop::tcp_bad_option);
}

TEST_P(Parsing, case_2_option_of_length_one_or_past_the_data_offset) {
    script.listen();
    expect_dropped(script.frame_with_options(S(0), {99, 1, 1, 1}), Drop::tcp_bad_option);
    expect_dropped(script.frame_with_options(S(0), {1, 1, 2, 40}), Drop::tcp_bad_option);
    expect_dropped(script.frame_with_options(S(0), {1, 1, 1, 2}), Drop::tcp_bad_option);
}

TEST_P(Parsing, case_3_data_offset_under_five_or_past_the_segment) {
    script.listen();
    for (const int words : {0, 1, 4, 6, 15}) {
        auto frame = script.frame(S(0));
        frame[tcp_at() + 12] = static_cast<uint8_t>(words << 4);
        expect_dropped(frame, Drop::tcp_bad_data_offset);
    }
}

TEST_P(Parsing, case_4_ip_length_shorter_than_the_headers) {
    script.listen();
    auto frame = script.frame(S(0));
    set_ip_length(frame, script.ip_header_size() + 19);
    expect_dropped(frame, Drop::tcp_truncated);
    if (GetParam() == Family::ipv4) {
        set_ip_length(frame, 19);
        expect_dropped(frame, Drop::ip_bad_length);
    }
    set_ip_length(frame, frame.size());  // longer than what arrived
    expect_dropped(frame, Drop::ip_bad_length);
}

TEST_P(Parsing, case_5_sack_of_a_wrong_length_is_ignored) {
    script.establish();
    const uint64_t drops = script.counters().drops_total();
    script.inject_raw(
        script.frame_with_options(A(1, 1), {1, 5, 9, 0, 0, 0, 1, 0, 0, 0, 1, 1}));
    EXPECT_EQ(script.counters().drops_total(), drops);
    EXPECT_NE(script.end().connection, nullptr);
}

TEST_P(Parsing, case_6_window_scale_above_14_is_14_and_outside_a_syn_nothing) {
    for (const int shift : {15, 16, 255}) {
        Script s({.family = GetParam(), .config = {}});
        s.establish(S(0).window(65535).mss(1460).scale(static_cast<uint8_t>(shift)));
        EXPECT_EQ(s.tcb().snd_wind_shift, 14);
        s.inject_raw(s.frame_with_options(A(1, 1).window(100), {3, 3, 2, 4, 2, 1}));
        EXPECT_EQ(s.tcb().snd_wind_shift, 14);
        EXPECT_EQ(s.tcb().snd_wnd, 100U << 14);
    }
}

TEST_P(Parsing, case_7_tiny_mss_is_clamped_to_48) {
    for (const int mss : {0, 1, 8, 47}) {
        Script s({.family = GetParam(), .config = {}});
        s.listen();
        auto frame = s.frame(S(0).window(65535).mss(1460));
        wire::store16(&frame[tcp_at() + 22], static_cast<uint16_t>(mss));
        Script::repair_checksums(frame);
        s.inject_raw(frame);
        s.next();
        s.inject(A(1, 1));
        s.accept();
        EXPECT_EQ(s.tcb().snd_mss, 48);
        s.send(100);
        s.expect(A(1, 1).data(48));
    }
}

TEST_P(Parsing, case_8_bad_checksum) {
    script.establish();
    auto frame = script.frame(PA(1, 1).data(10));
    frame.back() ^= 1;
    expect_dropped(frame, Drop::tcp_bad_checksum, false);
    EXPECT_EQ(script.end().received, 0U);
    if (GetParam() == Family::ipv4) {
        frame = script.frame(PA(1, 1).data(10));
        frame[14 + 10] ^= 1;
        expect_dropped(frame, Drop::ip_bad_checksum, false);
    }
}

TEST_P(Parsing, case_9_impossible_flags_create_no_state) {
    script.listen();
    using F = TcpFlags;
    for (const int flags : {F::syn | F::fin, F::syn | F::rst, F::syn | F::fin | F::ack,
                                F::fin + 0, F::fin | F::psh | F::urg,
                                F::fin | F::syn | F::rst | F::psh | F::ack | F::urg})
        expect_dropped(script.frame(packet(static_cast<uint8_t>(flags), 0, 0)),
                       Drop::tcp_bad_flags);
    expect_dropped(script.frame(packet(0, 0)), Drop::tcp_state);  // RFC 9293 section 3.10.7.2
}

TEST_P(Parsing, case_9_impossible_flags_on_a_connection) {
    script.establish();
    using F = TcpFlags;
    for (const int flags : {F::syn | F::fin, F::syn | F::rst, F::fin + 0})
        expect_dropped(script.frame(packet(static_cast<uint8_t>(flags), 1, 1)),
                       Drop::tcp_bad_flags);
    expect_dropped(script.frame(packet(0, 1)), Drop::tcp_no_ack);
    EXPECT_NE(script.end().connection, nullptr);
}

/// A frame in two or three buffers, cut at every byte, is the same frame.
TEST_P(Parsing, case_10_header_split_over_a_chain_at_every_byte) {
    const Packet data = PA(1, 1).data(64).timestamps(7, 0);
    Script whole({.family = GetParam(), .config = {}});
    whole.establish(S(0).window(65535).mss(1460).timestamps(5, 0));
    const size_t size = whole.frame(data).size();
    for (size_t cut = 1; cut < size; ++cut) {
        Script s({.family = GetParam(), .config = {}});
        s.establish(S(0).window(65535).mss(1460).timestamps(5, 0));
        const auto bytes = s.frame(data);
        const std::span<const uint8_t> all(bytes);
        auto& pools = s.stack().pools();
        buf::Frame frame = pools.received(all.first(cut));
        const size_t second = cut + (size - cut) / 2;
        if (second > cut) frame.append(pools.received(all.subspan(cut, second - cut)));
        frame.append(pools.received(all.subspan(second)));
        buf::FrameBatch batch;
        batch.push(std::move(frame));
        s.stack().set_time(s.now());
        s.stack().receive(0, batch);
        s.advance({});
        EXPECT_EQ(s.counters().drops_total(), 0U) << "cut at " << cut;
        EXPECT_EQ(s.end().received, 64U) << "cut at " << cut;
        EXPECT_TRUE(s.end().intact) << "cut at " << cut;
    }
}

TEST_P(Parsing, frames_cut_short_anywhere_are_dropped_under_a_named_counter) {
    script.establish();
    const auto bytes = script.frame(PA(1, 1).data(64));
    for (size_t size = 0; size < bytes.size(); ++size) {
        const uint64_t before = script.counters().drops_total();
        script.inject_raw({bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size)});
        EXPECT_EQ(script.counters().drops_total(), before + 1) << size;
    }
    EXPECT_EQ(script.end().received, 0U);
}

TEST_P(Parsing, any_single_byte_flipped_never_reaches_the_application) {
    script.establish();
    const auto bytes = script.frame(PA(1, 1).data(64));
    for (size_t i = 14; i < bytes.size(); ++i) {  // Ethernet's own check is the link's
        auto frame = bytes;
        frame[i] ^= 0x40;
        script.inject_raw(frame);
        // IPv6 has no header checksum: hop limit, traffic class and flow label may change.
        if (script.end().received != 0) {
            EXPECT_EQ(GetParam(), Family::ipv6);
            EXPECT_TRUE(i == 14 || i == 15 || i == 16 || i == 17 || i == 21) << i;
            break;
        }
    }
    EXPECT_TRUE(script.end().intact);
}

TEST_P(Parsing, link_layer_refuses_what_is_not_ours) {
    script.listen();
    auto frame = script.frame(S(0));
    frame[5] ^= 0x55;
    expect_dropped(frame, Drop::ethernet_other_destination);
    frame = script.frame(S(0));
    wire::store16(&frame[12], 0x1234);
    expect_dropped(frame, Drop::ethernet_unknown_type, false);
    frame = script.frame(S(0));
    frame.insert(frame.begin() + 12, {0x81, 0x00, 0x00, 0x05});
    expect_dropped(frame, Drop::vlan_mismatch, false);
}

/// RFC 1122 section 3.3.6: a broadcast frame with a unicast datagram in it is a trick or a fault.
TEST_P(Parsing, case_24_tcp_in_a_frame_to_a_group_is_dropped_silently) {
    for (const wire::MacAddress& group :
         {wire::MacAddress::broadcast(), wire::multicast_mac(Address::v4(224, 0, 0, 1))}) {
        auto frame = script.frame(S(0));
        std::ranges::copy(group.bytes, frame.begin());
        expect_dropped(frame, Drop::tcp_broadcast);
    }
    script.establish();
    auto frame = script.frame(PA(1, 1).data(10));
    std::ranges::fill_n(frame.begin(), 6, uint8_t{0xff});
    expect_dropped(frame, Drop::tcp_broadcast);
    EXPECT_EQ(script.end().received, 0U);
}

TEST_P(Parsing, case_24_land_and_group_addresses_are_dropped_silently) {
    script.listen();
    const size_t size = GetParam() == Family::ipv4 ? 4 : 16;
    const size_t source = GetParam() == Family::ipv4 ? 26 : 22;
    auto frame = script.frame(S(0));
    std::copy_n(frame.begin() + static_cast<ptrdiff_t>(source + size), size,
                frame.begin() + static_cast<ptrdiff_t>(source));  // LAND: source is destination
    expect_dropped(frame, Drop::ip_bad_source);
    frame = script.frame(S(0));
    frame[source] = GetParam() == Family::ipv4 ? 0xe0 : 0xff;
    expect_dropped(frame, Drop::ip_bad_source);
    frame = script.frame(S(0));
    frame[source + size] = GetParam() == Family::ipv4 ? 0xe0 : 0xff;
    expect_dropped(frame, Drop::tcp_broadcast);
    if (GetParam() == Family::ipv4) {
        frame = script.frame(S(0));
        frame[source + size + 3] = 255;  // 10.0.0.255, the subnet's broadcast
        expect_dropped(frame, Drop::tcp_broadcast);
    }
}

}  // namespace
}  // namespace millrace::testing
