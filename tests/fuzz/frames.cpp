// Frames into a stack with a listener, a datagram socket in a group, and a connection in whatever
// state: segments near its numbers, ICMP errors about it, packets of other protocols, bytes; with
// calls of the application and time in between.
#include "fuzz/script_target.h"
#include "tcp/describe.h"
#include "tcp/urgent.h"

namespace millrace::fuzz {
namespace {

using testing::A;
using testing::Endpoint;
using testing::FA;
using testing::Packet;
using testing::S;

constexpr int steps_max = 60;

class Frames : ScriptTarget {
public:
    explicit Frames(Input& in) : ScriptTarget(in) {}

    void play() {
        open_datagrams();
        reach_state();
        for (int i = 0; i < steps_max && !in_.empty(); ++i) {
            step();
            hear();
            look();
        }
        script_.stack().close(*datagrams_);
        end();
    }

private:
    stack::Stack& stack() { return script_.stack(); }
    tcp::Env& env() { return stack().env(); }

    void open_datagrams() {
        const Family family = script_.peer().is_v4() ? Family::ipv4 : Family::ipv6;
        datagrams_ = *stack().open_datagrams(family, nullptr);
        expect(stack().bind(*datagrams_, {Address::any(family), 53}).has_value(), "cannot bind");
        const Address group = family == Family::ipv4 ? Address::v4(239, 1, 2, 3)
                                                     : *Address::parse("ff02::1234");
        (void)stack().join(*datagrams_, group, 0);
    }

    /// RFC 9293 figure 5, by as few segments as can be.
    void reach_state() {
        const uint8_t what = in_.byte();
        if (what % 12 == 1 || what % 12 == 2) {  // SYN-SENT, SYN-RECEIVED by opening both
            ends_.push_back(&script_.connect());
            hear();
            if (what % 12 == 2) script_.inject(S(0).window(65535).mss(1460));
            return;
        }
        Packet syn = S(0).window(65535).mss(1460);
        if ((what & 0x80) != 0) syn = syn.scale(7).sack_permitted();
        if ((what & 0x40) != 0) syn = syn.timestamps(1000, 0);
        if (what % 12 == 0) {  // half-open
            script_.listen();
            return script_.inject(syn);
        }
        script_.establish(syn);
        ends_.push_back(&script_.end());
        switch (what % 12) {
            case 4: script_.send(5000); break;                              // data in flight
            case 5: script_.shutdown(); break;                              // FIN-WAIT-1
            case 6: script_.shutdown(), say(A(1, 2)); break;                // FIN-WAIT-2
            case 7: script_.shutdown(), say(FA(1, 1)); break;               // CLOSING
            case 8: script_.shutdown(), say(FA(1, 2)); break;               // TIME-WAIT
            case 9: say(FA(1, 1)); break;                                   // CLOSE-WAIT
            case 10: say(FA(1, 1)), script_.shutdown(); break;              // LAST-ACK
            case 11: say(A(1, 1).window(0)), script_.send(3000); break;     // a closed window
            default: break;                                                 // ESTABLISHED
        }
    }
    /// With timestamps, where they were agreed on: else it would not count.
    void say(Packet packet) {
        hear();
        if (Endpoint& end = *ends_.back();
            end.connection != nullptr && end.connection->timestamps)
            packet = packet.timestamps(1001, 0);
        script_.inject(packet);
    }

    void step() {
        const uint8_t what = in_.byte();
        switch (what % 16) {
            case 0:
            case 1:
            case 2:
            case 3: return script_.inject_raw(frame(segment()));
            case 4: return script_.inject_raw(frame(in_order()));
            case 5: return burst();
            case 6: return script_.inject_raw(packet());
            case 7: return script_.inject_raw(raw());
            case 8: return script_.inject_icmp_error(in_.byte(), in_.byte(), segment(), in_.word());
            case 9: return advance();
            case 10: return accept();
            case 11: return option();
            default: return call();
        }
    }

    /// What is told of a connection adds up, whatever has befallen it.
    void look() {
        if (ends_.empty() || ends_.back()->connection == nullptr) return;
        SocketRecord record;
        tcp::describe(env(), *ends_.back()->connection, record);
        if (record.state == SocketState::closed) return;
        expect(record.send_queue - record.unsent == record.outstanding,
               "what is queued is neither sent nor unsent");
        expect(uint64_t{record.sacked} + record.lost <= record.outstanding,
               "more has arrived or is lost than was sent");
        expect(record.retrans <= record.outstanding, "more was sent again than was sent");
    }

    /// The next segment of an honest peer.
    Packet in_order() {
        Packet next = A(1, 1);
        if (!ends_.empty() && ends_.back()->connection != nullptr) {
            const tcp::Connection& c = *ends_.back()->connection;
            next.seq = c.rcv_nxt.value() - peer_isn;
            next.ack = c.snd_nxt.value() - script_.isn();
            if (c.timestamps) next = next.timestamps(1001, env().ms() + c.ts_offset);
        }
        next.size = in_.magnitude() % 1400;
        return next;
    }

    void burst() {
        std::vector<Packet> packets;
        for (int i = 2 + in_.byte() % 6; i > 0; --i)
            packets.push_back(in_.flag() ? in_order() : segment());
        script_.inject_burst(packets);
    }

    /// An IP packet between the two, or to a group, of any protocol; its checksums are right.
    std::vector<uint8_t> packet() {
        const uint8_t how = in_.byte();
        wire::Ip ip;
        ip.source = script_.peer();
        ip.destination = script_.local();
        const bool v4 = ip.source.is_v4();
        if ((how & 3) == 3)
            ip.destination = v4 ? Address::v4(224, 0, 0, 1) : *Address::parse("ff02::1");
        const auto icmp = v4 ? wire::Protocol::icmp : wire::Protocol::icmpv6;
        ip.protocol = in_.pick({icmp, icmp, wire::Protocol::udp, wire::Protocol::igmp,
                                wire::Protocol::tcp, wire::Protocol::hop_by_hop,
                                static_cast<wire::Protocol>(43), static_cast<wire::Protocol>(60)});
        ip.ttl = (how & 4) != 0 ? 1 : 255;
        ip.dont_fragment = false;
        if ((how & 0x18) == 0x18) {
            ip.more_fragments = (how & 0x20) != 0;
            ip.fragment_offset = in_.byte() % 8 * 8U;
            ip.identification = in_.byte() % 4;
        }
        const bool fragment = ip.is_fragment() && !v4;
        const auto payload = in_.bytes(in_.byte());
        ip.payload_size = static_cast<uint32_t>(
            payload.size() + (fragment ? wire::Ip::fragment_header_size : 0));
        std::vector<uint8_t> bytes = link_header(v4);
        bytes.resize(14 + script_.ip_header_size() + ip.payload_size);
        ip.emit(&bytes[14], true);
        uint8_t* at = bytes.data() + 14 + script_.ip_header_size();
        if (fragment) {
            ip.emit_fragment_header(at);
            at += wire::Ip::fragment_header_size;
        }
        std::ranges::copy(payload, at);
        // Datagrams find their socket, mostly.
        if (ip.protocol == wire::Protocol::udp && payload.size() >= 8 && (how & 0x40) == 0) {
            wire::store16(at + 2, 53);
            wire::store16(at + 4, static_cast<uint16_t>(payload.size()));
        }
        if ((how & 0x80) == 0) testing::Script::repair_checksums(bytes);
        return bytes;
    }

    /// Whatever it is: ARP, VLAN tags, half of a header.
    std::vector<uint8_t> raw() {
        const uint8_t how = in_.byte();
        std::vector<uint8_t> bytes = link_header(true);
        if ((how & 3) == 1) wire::store16(&bytes[12], 0x0806);
        if ((how & 3) == 2) wire::store16(&bytes[12], 0x86dd);
        if ((how & 3) == 3) wire::store16(&bytes[12], in_.word());
        const auto rest = in_.bytes(in_.byte());
        bytes.insert(bytes.end(), rest.begin(), rest.end());
        if ((how & 0x80) != 0) bytes.resize(1 + in_.below(bytes.size()));
        return bytes;
    }

    std::vector<uint8_t> link_header(bool v4) {
        std::vector<uint8_t> bytes(14);
        wire::Ethernet ethernet;
        ethernet.destination = script_.node().mac();
        ethernet.source = {{0x02, 0, 0, 0, 0, 0x99}};
        ethernet.type = v4 ? wire::EtherType::ipv4 : wire::EtherType::ipv6;
        ethernet.emit(bytes.data());
        return bytes;
    }

    /// What an application asks of its connection.
    void call() {
        if (ends_.empty() || ends_.back()->connection == nullptr) return;
        Endpoint& end = *ends_.back();
        tcp::Connection& c = *end.connection;
        switch (in_.below(8)) {
            case 0: end.close(); break;
            case 1: end.abort(); break;
            case 2: (void)tcp::shutdown_send(env(), c); break;
            case 3: end.consume = !end.consume; break;
            case 4: tcp::stop_reading(c); break;
            case 5: {
                constexpr std::array<std::byte, 3> urgent{};
                (void)tcp::send_urgent(env(), c, urgent);
                break;
            }
            case 6:
                tcp::consumed(env(), c, static_cast<uint32_t>(end.unconsumed));
                end.unconsumed = 0;
                break;
            default: {
                const std::vector<std::byte> bytes(1 + in_.magnitude());
                (void)tcp::send_copy(env(), c, bytes);
                break;
            }
        }
        script_.advance({});
    }

    void option() {
        if (ends_.empty() || ends_.back()->connection == nullptr) return;
        tcp::Connection& c = *ends_.back()->connection;
        const uint8_t which = in_.byte();
        const uint32_t value = in_.magnitude();
        switch (which % 12) {
            case 0: tcp::set_no_delay(env(), c, (value & 1) != 0); break;
            case 1: tcp::set_cork(env(), c, (value & 1) != 0); break;
            case 2:
                (void)tcp::set_keepalive(env(), c, true, Duration::from_s(1 + value % 100),
                                         Duration::from_s(1 + value % 7), 1 + value % 5);
                break;
            case 3: (void)tcp::set_user_timeout(env(), c, Duration::from_ms(value)); break;
            case 4: tcp::set_window_clamp(env(), c, value); break;
            case 5: (void)tcp::set_send_buffer(env(), c, value); break;
            case 6: tcp::set_not_sent_low_water_mark(env(), c, value); break;
            case 7:
                // At least 4 KiB a second: what is in flight at the end has to go again some times
                // before the end's patience is over.
                (void)tcp::set_max_pacing_rate(env(), c, uint64_t{value} << 12);
                break;
            case 8: {
                constexpr std::array<std::string_view, 4> names{"reno", "cubic", "dctcp", "bbr"};
                (void)tcp::set_congestion_control(env(), c, names[value % 4]);
                break;
            }
            case 9: (void)tcp::set_linger2(env(), c, Duration::from_s(int64_t{value} - 10)); break;
            case 10: (void)tcp::set_min_ttl(env(), c, value); break;
            default: (void)tcp::set_dscp(c, value); break;
        }
        script_.advance({});
    }

    static constexpr uint32_t peer_isn = 0xfffff000;
    udp::Endpoint* datagrams_ = nullptr;
};

}  // namespace
}  // namespace millrace::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace millrace::fuzz;
    Input in(data, size);
    Frames(in).play();
    expect_all_buffers_back();
    return 0;
}
