// What a segment costs through a real port and a real loop, without another side: the empty frames
// that net_null makes up become the segments of a peer, and what is transmitted ends there. The peer
// lives in the port's callbacks, on the loop's own thread; its cycles are taken off.
//
//     null_bench --seconds 3
//
// A stream comes in, then one goes out, full segments of 1448 bytes. Prints a JSON object.
#include <rte_cycles.h>
#include <rte_ethdev.h>

#include <memory>
#include <thread>

#include <CLI/CLI.hpp>

#include "frames.h"
#include "load/raw_server.h"
#include "two_ends.h"
#include "wire/arp.h"

namespace millrace::bench {
namespace {

using wire::TcpFlags;

constexpr char device[] = "net_null0";
constexpr wire::MacAddress server_mac{{2, 0, 0, 0, 0, 1}}, peer_mac{{2, 0, 0, 0, 0, 2}};
constexpr uint16_t server_port = 80, first_peer_port = 5000;
constexpr uint32_t full_segment = 1448;
// One frame less than a batch has: a loop that has got less than it could does not ask again.
constexpr uint16_t burst = 63;
// Every second segment is acknowledged, so that a burst of ACKs is what acknowledges all in flight.
constexpr uint8_t window_scale = 3;
constexpr uint16_t window = (2 * burst * full_segment) >> window_scale;

uint32_t now_ms() { return static_cast<uint32_t>(rte_get_tsc_cycles() * 1000 / rte_get_tsc_hz()); }

/// The other side of one connection, as frames of the port. All on the loop's thread.
class Peer {
public:
    struct Counts {
        uint64_t cycles = 0;    ///< that all of this took
        uint64_t sent = 0;      ///< full segments
        uint64_t received = 0;  ///< likewise
        uint64_t used = 0;      ///< frames, of net_null's
        uint64_t bursts = 0;    ///< that had any use
        uint64_t empty = 0;     ///< that had none
        uint64_t errors = 0;    ///< segments that are not next in their order, frames of no use
    };

    /// A connection of its own, for a stream; the one before is left as it is.
    void connect(uint32_t raw_flags) {
        flags_ = raw_flags;
        ++port_;
        seq_ = una_ = Seq(static_cast<uint32_t>(rte_get_tsc_cycles()));
        room_ = 0;
        state_ = State::to_begin;
        acks_.clear();
    }
    /// Makes what is next to be sent of empty frames, frees the others; answers how many are left.
    uint16_t fill(rte_mbuf** frames, uint16_t count) {
        const uint64_t begun = rte_rdtsc();
        frames_ = {frames, count};
        made_ = 0;
        if (to_resolve_) answer_arp();
        say_what_is_next();
        rte_pktmbuf_free_bulk(frames + made_, count - made_);
        if (made_ == 0) {  // such a turn may not count as busy: nothing may be taken off for it
            ++counts_.empty;
            return 0;
        }
        counts_.used += made_;
        ++counts_.bursts;
        counts_.cycles += rte_rdtsc() - begun;
        return made_;
    }
    /// What the server sends.
    void hear(rte_mbuf* const* frames, uint16_t count) {
        const uint64_t begun = rte_rdtsc();
        for (uint16_t i = 0; i < count; ++i) hear(frames[i]);
        counts_.cycles += rte_rdtsc() - begun;
    }
    const Counts& counts() const { return counts_; }

private:
    enum class State { none, to_begin, waits, to_ask, streams };

    bool has_room() const { return made_ < std::min<size_t>(burst, frames_.size()); }

    uint8_t* next_frame(size_t size) {
        rte_mbuf* frame = frames_[made_++];
        frame->data_len = static_cast<uint16_t>(size);
        frame->pkt_len = static_cast<uint32_t>(size);
        return rte_pktmbuf_mtod(frame, uint8_t*);
    }

    void say(uint8_t flags, Seq ack, std::string_view text = {}) {
        wire::Segment header;
        header.source_port = port_;
        header.destination_port = server_port;
        header.seq = seq_;
        header.ack = ack;
        header.flags = flags;
        header.window = window;
        header.options.has_timestamps = true;
        header.options.ts_value = now_ms();
        header.options.ts_echo = ts_echo_;
        if (header.syn()) {
            header.options.mss = 1460;
            header.options.sack_permitted = header.options.has_window_scale = true;
            header.options.window_scale = window_scale;
        }
        const auto bytes =
            frame_of({peer_mac, server_mac, client_address(0), server_address()}, header, text);
        std::memcpy(next_frame(bytes.size()), bytes.data(), bytes.size());
        seq_ += static_cast<uint32_t>(text.size()) + (header.syn() ? 1 : 0);
    }

    void answer_arp() {
        const wire::Arp reply{wire::Arp::Operation::reply, peer_mac, client_address(0), server_mac,
                              server_address()};
        uint8_t* at = next_frame(60);
        wire::Ethernet{server_mac, peer_mac, wire::EtherType::arp}.emit(at);
        reply.emit(at + wire::Ethernet::untagged_size);
        to_resolve_ = false;
    }

    void say_what_is_next() {
        static const std::string payload(full_segment, 'x');
        if (state_ == State::to_begin) {
            say(TcpFlags::syn, Seq());
            state_ = State::waits;
        } else if (state_ == State::to_ask) {
            const auto request =
                apps::RawHeader{apps::RawHeader::size, 0, flags_}.emit();
            say(TcpFlags::ack | TcpFlags::psh, ack_,
                {reinterpret_cast<const char*>(request.data()), request.size()});
            state_ = State::streams;
        } else if (state_ == State::streams) {
            if (odd_) acks_.push_back(ack_);
            odd_ = false;
            size_t said = 0;
            while (said < acks_.size() && has_room()) say(TcpFlags::ack, acks_[said++]);
            acks_.erase(acks_.begin(), acks_.begin() + static_cast<ptrdiff_t>(said));
            while ((flags_ & apps::RawHeader::stream_up) != 0 && has_room() &&
                   static_cast<uint32_t>(seq_ - una_) + full_segment <= room_) {
                say(TcpFlags::ack, ack_, payload);
                ++counts_.sent;
            }
        }
    }

    void hear(const rte_mbuf* frame) {
        const std::span<const uint8_t> bytes(rte_pktmbuf_mtod(frame, const uint8_t*),
                                             frame->data_len);
        const auto ethernet = wire::Ethernet::parse(bytes);
        if (!ethernet || frame->nb_segs != 1) {
            ++counts_.errors;
            return;
        }
        const auto rest = bytes.subspan(ethernet->size);
        if (ethernet->type == wire::EtherType::arp) {
            const auto arp = wire::Arp::parse(rest);
            if (arp && arp->target == client_address(0)) to_resolve_ = true;
            return;
        }
        const auto ip = wire::Ip::parse(rest, rest.size(), true);
        if (!ip || ip->protocol != wire::Protocol::tcp) return;
        const auto segment = wire::Segment::parse(rest.subspan(ip->header_size), ip->payload_size);
        // What is left of the stream before has nobody to listen.
        if (segment && segment->destination_port == port_) hear(*segment);
    }

    void hear(const wire::Segment& segment) {
        ts_echo_ = segment.options.ts_value;
        if (segment.syn()) {
            scale_ = segment.options.window_scale;
            ack_ = segment.seq + 1;
            state_ = State::to_ask;
        }
        una_ = segment.ack;
        room_ = segment.syn() ? segment.window : uint32_t{segment.window} << scale_;
        if (segment.payload_size == 0) return;
        if (segment.seq != ack_) ++counts_.errors;
        ack_ = segment.seq + static_cast<uint32_t>(segment.payload_size);
        if (segment.payload_size == full_segment) ++counts_.received;
        if (odd_) acks_.push_back(ack_);
        odd_ = !odd_;
    }

    State state_ = State::none;
    uint16_t port_ = first_peer_port;
    uint32_t flags_ = 0;
    Seq seq_, una_, ack_;
    uint32_t room_ = 0;  ///< that the server offers behind `una_`, bytes
    uint8_t scale_ = 0;
    uint32_t ts_echo_ = 0;
    bool to_resolve_ = false;
    bool odd_ = false;        ///< a segment waits for a second one before it is acknowledged
    std::vector<Seq> acks_;   ///< that are owed
    std::span<rte_mbuf*> frames_;
    uint16_t made_ = 0;
    Counts counts_;
};

uint16_t on_receive(uint16_t, uint16_t, rte_mbuf** frames, uint16_t count, uint16_t, void* peer) {
    return static_cast<Peer*>(peer)->fill(frames, count);
}
uint16_t on_transmit(uint16_t, uint16_t, rte_mbuf** frames, uint16_t count, void* peer) {
    static_cast<Peer*>(peer)->hear(frames, count);
    return count;
}

/// All that is counted, at one moment.
struct Seen {
    Peer::Counts peer;
    uint64_t busy = 0;
    uint64_t again = 0;     ///< retransmitted segments
    uint64_t bytes_in = 0, bytes_out = 0;
};

class Server {
public:
    /// Why it cannot; empty where it can.
    std::string start() {
        Config config;
        PortConfig port;
        port.device = std::string(device) + ",size=1514";
        port.addresses = {{server_address(), 16}};
        port.mac = server_mac.to_string();
        config.ports.push_back(port);
        config.cores = {{.cpu = usable_cpus().front()}};
        auto made = Runtime::create(config);
        if (!made) return made.error().what;
        runtime_ = std::move(*made);
        uint16_t id = 0;
        if (rte_eth_dev_get_port_by_name(device, &id) != 0 ||
            rte_eth_add_rx_callback(id, 0, on_receive, &peer_) == nullptr ||
            rte_eth_add_tx_callback(id, 0, on_transmit, &peer_) == nullptr)
            return "the port takes no callbacks";
        const auto run = runtime_->run([this](Stack& stack) {
            server_ = std::make_unique<apps::RawServer>(stack);
            listens_ = server_->listen(server_port).has_value();
        });
        if (!run) return run.error().what;
        return on_loop(*runtime_, [this](Stack&) { return listens_; }) ? "" : "cannot listen";
    }
    void connect(uint32_t raw_flags) {
        on_loop(*runtime_, [&](Stack&) {
            peer_.connect(raw_flags);
            return true;
        });
    }
    Seen look() {
        return on_loop(*runtime_, [&](Stack& stack) {
            Seen seen{.peer = peer_.counts(), .bytes_in = server_->served().bytes_in,
                      .bytes_out = server_->served().bytes_out};
            stack.counters([&](std::string_view name, uint64_t value) {
                if (name == "CoreBusyCycles") seen.busy = value;
                if (name == "TcpRetransSegs") seen.again = value;
            });
            return seen;
        });
    }

private:
    Peer peer_;
    std::unique_ptr<apps::RawServer> server_;
    bool listens_ = false;
    std::unique_ptr<Runtime> runtime_;  // its loop ends first
};

struct Figures {
    double cycles = 0, rate = 0;
    std::string wrong;  ///< empty where they hold
};

/// A stream one way for so long, and what a segment of it costs the loop.
Figures measure(Server& server, uint32_t raw_flags, double seconds) {
    const bool up = raw_flags == apps::RawHeader::stream_up;
    server.connect(raw_flags);
    const std::chrono::duration<double> warm(0.5), measured(seconds);
    std::this_thread::sleep_for(warm);
    const Seen a = server.look();
    const auto start = Clock::now();
    std::this_thread::sleep_for(measured);
    const Seen b = server.look();
    const double passed = seconds_since(start);
    const uint64_t segments =
        up ? b.peer.sent - a.peer.sent : b.peer.received - a.peer.received;
    const uint64_t bytes = up ? b.bytes_in - a.bytes_in : b.bytes_out - a.bytes_out;
    const auto count = static_cast<double>(segments);
    Figures figures{static_cast<double>(b.busy - a.busy - (b.peer.cycles - a.peer.cycles)) / count,
                    count / passed, {}};
    const double used = static_cast<double>(b.peer.used - a.peer.used) /
                        static_cast<double>(b.peer.bursts - a.peer.bursts);
    const double delivered = static_cast<double>(bytes) / (count * full_segment);
    if (segments == 0) figures.wrong = "no segment passed";
    else if (b.peer.errors != a.peer.errors) figures.wrong = "segments out of their order";
    else if (b.again != a.again) figures.wrong = "segments sent again";
    else if (delivered < 0.99 || delivered > 1.01)
        figures.wrong = fmt::format("the application saw {:.3f} of the stream", delivered);
    // What net_null makes for nothing would count, too.
    else if (used < 0.9 * burst)
        figures.wrong = fmt::format("bursts of {:.1f} frames in use, not {}", used, burst);
    else if (100 * (b.peer.empty - a.peer.empty) > b.peer.bursts - a.peer.bursts)
        figures.wrong = fmt::format("{} bursts in vain", b.peer.empty - a.peer.empty);
    return figures;
}

int run(double seconds) {
    Server server;
    if (const std::string why = server.start(); !why.empty()) return fail(why);
    const Figures received = measure(server, apps::RawHeader::stream_up, seconds);
    if (!received.wrong.empty()) return fail("receiving: " + received.wrong);
    const Figures sent = measure(server, apps::RawHeader::stream_down, seconds);
    if (!sent.wrong.empty()) return fail("sending: " + sent.wrong);
    fmt::print("{{\"received_cycles\": {:.1f}, \"received_rate\": {:.0f}, "
               "\"sent_cycles\": {:.1f}, \"sent_rate\": {:.0f}}}\n",
               received.cycles, received.rate, sent.cycles, sent.rate);
    return 0;
}

}  // namespace
}  // namespace millrace::bench

int main(int argc, char** argv) {
    CLI::App app("null_bench: what a segment costs through a port and a loop");
    double seconds = 3;
    app.add_option("-s,--seconds", seconds, "of each direction")
        ->capture_default_str()
        ->check(CLI::Range(0.1, 3600.0));
    CLI11_PARSE(app, argc, argv);
    return millrace::bench::run(seconds);
}
