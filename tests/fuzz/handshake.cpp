// The half-open table and SYN cookies: SYNs, third ACKs, resets and errors of eight clients, in any
// order. Who is accepted has said so: he acknowledges a SYN-ACK that went to him, and has what his
// SYN asked for.
#include <algorithm>
#include <map>
#include <set>

#include "fuzz/script_target.h"

namespace millrace::fuzz {
namespace {

using testing::Packet;
using wire::TcpFlags;

constexpr int steps_max = 100;
constexpr uint16_t first_client = 40000;

class Handshake : ScriptTarget {
public:
    explicit Handshake(Input& in) : ScriptTarget(in) {}

    void play() {
        script_.listen(80, 1 + in_.byte() % 4U);
        for (int i = 0; i < steps_max && !in_.empty(); ++i) {
            step();
            note_answers();
        }
        end();
    }

private:
    struct Client {
        std::map<uint32_t, std::vector<wire::TcpOptions>> syns;  ///< by sequence number
        std::set<uint32_t> answers;                              ///< the stack's ISNs towards it
        uint32_t last_syn = 0;                                   ///< relative, as the next two
        uint32_t last_timestamp = 0;                             ///< of a SYN-ACK
        bool timestamps = false;
    };

    void step() {
        const uint8_t what = in_.byte();
        const auto client = static_cast<uint16_t>(first_client + what / 32);
        switch (what % 16) {
            case 0:
            case 1:
            case 2:
            case 3: return syn(client);
            case 4:
            case 5:
            case 6: return third_ack(client);
            case 7: return wild(client);
            case 8: return advance();
            case 9: return take();
            case 10: return script_.inject(testing::R(clients_[client].last_syn + 1).client(client));
            case 11: return script_.inject_icmp_error(in_.byte(), in_.byte(),
                                                      testing::SA(0, 1), in_.word());
            case 12: return burst(client);
            case 13: return listen_again();
            case 14: return third_ack(client, TcpFlags::fin);
            default: return third_ack(client, TcpFlags::rst);
        }
    }

    Packet make_syn(uint16_t client) {
        const uint8_t how = in_.byte();
        Client& of = clients_[client];
        // Mostly the same again, as a retransmission is.
        if (how >= 0xc0 || of.syns.empty()) of.last_syn = how == 0xff ? in_.dword() : how * 1000U;
        Packet packet = testing::S(of.last_syn).client(client).window(in_.word());
        if (how < 0x80) packet = with_options(packet);
        if ((how & 7) == 7) packet.flags |= in_.byte();
        packet.ack = 0;
        if (packet.opts) packet.opts->sack_count = 0;
        packet.sacks.reset();
        if ((packet.flags & (TcpFlags::ack | TcpFlags::rst)) == 0)
            of.syns[0xfffff000 + of.last_syn].push_back(packet.opts.value_or(wire::TcpOptions()));
        return packet;
    }
    void syn(uint16_t client) { script_.inject(make_syn(client)); }

    void third_ack(uint16_t client, uint8_t flags = 0) {
        const Client& of = clients_[client];
        const uint8_t how = in_.byte();
        Packet packet = testing::A(of.last_syn + 1, 1).client(client).window(in_.word());
        packet.flags |= flags;
        if ((how & 1) != 0) packet.size = in_.magnitude() % 1000;
        if ((how & 6) == 6) packet.seq += in_.byte() - 128U;
        if ((how & 0x18) == 0x18) *packet.ack += in_.byte() - 128U;
        if (of.timestamps != ((how & 0x60) == 0x60)) {
            const uint32_t off = (how >> 7) * in_.byte();
            packet = packet.timestamps(in_.word(), of.last_timestamp + off);
            // Beside a cookie it is the echo that says what the SYN asked for.
            wild_ = wild_ || off != 0 || !of.timestamps;
        }
        script_.inject(packet);
    }

    /// Anything.
    void wild(uint16_t client) {
        wild_ = true;
        script_.inject_raw(frame(segment().client(client)));
    }

    /// The stack sees them as one.
    void burst(uint16_t client) {
        std::vector<Packet> packets;
        for (int i = 1 + in_.byte() % 4; i > 0; --i)
            packets.push_back(in_.flag() ? make_syn(client) : segment().client(client));
        wild_ = true;
        script_.inject_burst(packets);
    }

    void listen_again() {
        script_.stack().close_listener(*script_.listener());
        script_.advance(Duration::from_us(1));
        note_answers();
        script_.listen(80, 1 + in_.byte() % 4U);
    }

    void note_answers() {
        while (script_.anything_sent()) {
            const wire::Segment segment = script_.next();
            if (!segment.syn()) continue;
            expect(segment.has_ack(), "a SYN of its own");
            Client& client = clients_[segment.destination_port];
            client.answers.insert(segment.seq.value());
            client.timestamps = segment.options.has_timestamps;
            client.last_timestamp = segment.options.ts_value;
        }
    }

    void take() {
        note_answers();
        if (script_.listener()->accept_queue.empty()) return;
        check(script_.listener()->accept_queue.front());
        accept();
    }

    /// Whoever waits to be accepted.
    void check(const tcp::Connection& c) {
        const auto found = clients_.find(c.key.remote_port);
        expect(found != clients_.end(), "accepts who never came");
        const Client& client = found->second;
        const uint32_t acknowledged = c.snd_una.value() - 1;
        const bool exact = client.answers.contains(acknowledged);
        // A cookie carries the index of an MSS on top of its hash: who has one may claim another of
        // the eight, as towards Linux.
        const bool near = std::ranges::any_of(client.answers, [&](uint32_t answer) {
            return acknowledged - answer + 7 <= 14;
        });
        expect(exact || near, "accepts who was never answered");
        if (wild_ || !exact) return;
        bool scaled = false, permitted = false;
        uint16_t mss = 0;
        for (const auto& [seq, syns] : client.syns)
            for (const wire::TcpOptions& syn : syns) {
                scaled |= syn.has_window_scale &&
                          c.snd_wind_shift == std::min<uint8_t>(syn.window_scale, 14);
                permitted |= syn.sack_permitted;
                mss = std::max(mss, syn.mss);
            }
        expect(!c.window_scaling || scaled, "scales windows that nobody scales");
        expect(!c.sack || permitted, "sends SACK to who knows none");
        expect(c.peer_mss <= std::max<uint16_t>(mss, 1220), "has an MSS that nobody offered");
    }

    std::map<uint16_t, Client> clients_;
    bool wild_ = false;  ///< there may have been SYNs that nobody has noted
};

}  // namespace
}  // namespace millrace::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace millrace::fuzz;
    Input in(data, size);
    Handshake(in).play();
    expect_all_buffers_back();
    return 0;
}
