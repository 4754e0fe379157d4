// Through one core's stack with no port, what TCP, the API and the application cost, without a link
// and without another side: a segment received, a segment sent, a request and a connection of an
// HTTP server.
#include <cstdlib>
#include <vector>

#include "api/context.h"
#include "frames.h"
#include "httpd/server.h"
#include "measured.h"

namespace millrace {
namespace {

using wire::TcpFlags;

constexpr size_t burst = 64;
constexpr uint16_t first_port = 1024, ports = 60000;
constexpr uint16_t server_port = 80, bulk_port = 81;
constexpr size_t full_segment = 1448;
// Of connections of one request; those that ask again and again have the ones before.
constexpr uint32_t tuples_from = 10'000, tuples = 500'000;
constexpr uint32_t bulk_client = 9'000;
constexpr wire::MacAddress server_mac{{2, 0, 0, 0, 0, 1}}, peer_mac{{2, 0, 0, 0, 0, 2}};

/// 140 bytes of request; the answer has 200. Those of one connection say that it is the only one.
constexpr std::string_view kept_request =
    "GET /body HTTP/1.1\r\nHost: 10.0.0.1\r\nUser-Agent: millrace-load\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9\r\n\r\n";
constexpr std::string_view only_request =
    "GET /body HTTP/1.1\r\nHost: 10.0.0.1\r\nUser-Agent: millrace-load\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9\r\nConnection: close\r\n\r\n";

/// Keeps what leaves, for the clients to look at.
struct Sink final : stack::Host {
    void transmit(uint16_t, buf::FrameBatch& frames) override {
        for (size_t i = 0; i < frames.size(); ++i) sent.push_back(frames.take(i));
        frames.shrink(0);
    }
    bool congested() const override { return false; }
    bool hand_over(uint16_t, uint16_t, buf::Frame, bool) override { return false; }
    void tell(uint16_t, const stack::Message&) override {}
    std::vector<buf::Frame> sent;
};

/// The benchmark turns the stack itself; the server only asks for the time.
struct TurnedByHand final : api::Loop {
    explicit TurnedByHand(Instant begin) : at(begin) {}
    bool turn(stack::Application&, uint32_t) override { return false; }
    Result<bool> wait(stack::Application&, Duration, const std::function<bool()>&) override {
        return error(EDEADLK);
    }
    bool is_turning() const override { return true; }
    Instant now() const override { return at; }
    Instant next_deadline() override { return at; }
    int wakeup_fd() const override { return -1; }
    bool prepare_sleep() override { return false; }
    Instant at;
};

/// What accepts connections and drops what they bring, until it is told to send.
class Bulk final : public ConnectionHandler, public ListenHandler {
public:
    void on_acceptable(Listener listener) override {
        while (const auto accepted = listener.accept(*this)) connection = *accepted;
    }
    void on_readable(Connection c) override {
        const size_t size = c.receive().size();
        (void)c.consumed(size);
        received += size;
    }
    Connection connection;
    uint64_t received = 0;
};

/// The other side of one connection, which speaks just enough of TCP.
struct Client {
    uint16_t server = server_port;
    Seq seq, ack;
    uint32_t ts_echo = 0;
    bool open = false;
};

/// A server with one interface, and clients whose link address it knows.
class World {
public:
    static World& instance() {
        static World& made = *new World;  // left to the end of the process, with the pools' memory
        return made;
    }

    /// A client sends: its frame waits for `turn`.
    void say(uint32_t client, uint8_t flags, std::string_view text = {}) {
        Client& c = clients_[client];
        wire::Segment header;
        header.source_port = static_cast<uint16_t>(first_port + client % ports);
        header.destination_port = c.server;
        header.seq = c.seq;
        header.ack = (flags & TcpFlags::ack) != 0 ? c.ack : Seq();
        header.flags = flags;
        header.window = 65535;
        header.options.has_timestamps = true;
        header.options.ts_value = now_ms();
        header.options.ts_echo = c.ts_echo;
        if (header.syn()) {
            header.options.mss = 1460;
            header.options.sack_permitted = header.options.has_window_scale = true;
            header.options.window_scale = 7;
        }
        const auto bytes =
            bench::frame_of({peer_mac, server_mac, address_of(client), own}, header, text);
        c.seq += static_cast<uint32_t>(text.size()) + (header.syn() || header.fin() ? 1 : 0);
        buf::Frame frame = buffers_.received(bytes);
        if (!frame) std::abort();
        arriving_.push_back(std::move(frame));
    }

    /// What is measured: what waits arrives, in bursts, and one turn is made.
    [[gnu::noinline]] void turn() {
        stack_.set_time(loop_.at);
        for (size_t done = 0; done < arriving_.size();) {
            while (!batch_.full() && done < arriving_.size())
                batch_.push(std::move(arriving_[done++]));
            stack_.receive(0, batch_);
        }
        arriving_.clear();
        stack_.run_timers();
        stack_.run_application(context_);
        stack_.egress();
        stack_.end_turn();
    }

    /// What the server has sent, by client: `heard(client, segment)`, behind what it acknowledges.
    template <typename Heard>
    void listen(Heard&& heard) {
        for (const buf::Frame& frame : sink_.sent) {
            const auto bytes = frame.head().subspan(wire::Ethernet::untagged_size);
            const auto ip = wire::Ip::parse(bytes, frame.size() - wire::Ethernet::untagged_size,
                                            true);
            if (!ip) std::abort();
            const auto segment =
                wire::Segment::parse(bytes.subspan(ip->header_size), ip->payload_size);
            if (!segment) std::abort();
            const uint32_t client = client_of(ip->destination, segment->destination_port);
            Client& c = clients_[client];
            c.ts_echo = segment->options.ts_value;
            if (segment->syn()) c.ack = segment->seq;
            if (segment->seq != c.ack) std::abort();
            c.ack += segment->length();
            heard(client, *segment);
        }
        sink_.sent.clear();
    }
    void pass(Duration time) { loop_.at = loop_.at + time; }

    /// So many connections are open behind this.
    void open(uint32_t count) {
        if (clients_.size() < count) clients_.resize(count);
        for (uint32_t first = 0; first < count; first += burst) {
            for (uint32_t i = first; i < std::min<size_t>(first + burst, count); ++i)
                if (!clients_[i].open) say(i, TcpFlags::syn);
            turn();
            listen([&](uint32_t client, const wire::Segment&) {
                say(client, TcpFlags::ack);
                clients_[client].open = true;
            });
            turn();
            listen([](uint32_t, const wire::Segment&) {});
            pass(Duration::from_us(10));
        }
    }
    /// One more, to the server of bulk.
    Bulk& open_bulk(uint32_t index) {
        if (client(index).open) return bulk_;
        clients_[index].server = bulk_port;
        say(index, TcpFlags::syn);
        turn();
        listen([&](uint32_t client, const wire::Segment&) { say(client, TcpFlags::ack, "x"); });
        turn();
        listen([](uint32_t, const wire::Segment&) {});  // the window is that of a SYN no more
        clients_[index].open = true;
        return bulk_;
    }
    Stack& facade() { return context_.facade(); }
    Client& client(uint32_t index) {
        if (clients_.size() <= index) clients_.resize(index + 1);
        return clients_[index];
    }
    uint64_t requests() const { return server_.counters().requests; }

private:
    World() {
        stack_.receive_message(stack::NeighbourNews{0, peer, peer_mac, true, true, true});
        if (!context_.own() || !server_.listen() ||
            !context_.facade().listen({own, bulk_port}, bulk_, 16))
            std::abort();
        loop_.at = loop_.at + Duration::from_s(1);
    }
    uint32_t now_ms() const { return static_cast<uint32_t>(loop_.at.ns() / 1'000'000); }
    /// Behind one gateway: 10.1.0.1 and on.
    static Address address_of(uint32_t client) {
        return Address::v4(10, 1, 0, static_cast<uint8_t>(1 + client / ports));
    }
    static uint32_t client_of(const Address& address, uint16_t port) {
        return (address.wire()[3] - 1U) * ports + port - first_port;
    }
    static ip::Interface interface() {
        ip::Interface is;
        is.name = "bench";
        is.mac = server_mac;
        is.addresses = {{own, 24}};
        is.routes = {{{Address::any(Family::ipv4), 0}, peer}};
        return is;
    }
    static Config configuration() {
        Config config;
        config.tcp.tcp_max_tw_buckets = 1 << 20;
        return config;
    }

    inline static const Address own = Address::v4(10, 0, 0, 1), peer = Address::v4(10, 0, 0, 2);
    const Config config_ = configuration();
    buf::Pools buffers_ = bench::make_pools(
        "whole",
        {.receive = 8192, .header = 8192, .attach = 4096, .payload = 8192, .region = 256});
    Sink sink_;
    TurnedByHand loop_{Instant::from_ns(1'000'000'000)};
    stack::Stack stack_{{.config = config_,
                         .interfaces = stack::with_loopback({interface()}),
                         .secrets = tcp::Secrets::from_system(),
                         .now = loop_.at},
                        buffers_, sink_};
    api::Context context_{stack_, loop_};
    apps::HttpServer server_{context_.facade(), {.body_size = 116}};
    Bulk bulk_;
    std::vector<Client> clients_;
    std::vector<buf::Frame> arriving_;
    buf::FrameBatch batch_;
};

/// Time stands still for the benchmark, but in a turn.
class Measured {
public:
    Measured(benchmark::State& state, World& world) : state_(state), world_(world) {}
    void turn() {
        world_.pass(Duration::from_us(50));
        state_.ResumeTiming();
        instructions_.begin();
        world_.turn();
        instructions_.end();
        state_.PauseTiming();
    }
    void dump(const std::string& label) { instructions_.dump(label, state_); }

private:
    benchmark::State& state_;
    World& world_;
    bench::Instructions instructions_;
};

/// Full segments in order on one connection, 64 a turn; the application drops them at once.
void received_segment(benchmark::State& state) {
    World& w = World::instance();
    Bulk& bulk = w.open_bulk(bulk_client);
    const std::string payload(full_segment, 'x');
    const uint64_t before = bulk.received;
    Measured measured(state, w);
    while (state.KeepRunningBatch(bench::batch)) {
        state.PauseTiming();
        for (size_t done = 0; done < bench::batch; done += burst) {
            for (size_t i = 0; i < burst; ++i) w.say(bulk_client, TcpFlags::ack, payload);
            measured.turn();
            w.listen([](uint32_t, const wire::Segment&) {});
        }
        state.ResumeTiming();
    }
    if (bulk.received - before != static_cast<uint64_t>(state.iterations()) * full_segment)
        state.SkipWithError("bytes are lost");
    measured.dump("received_segment");
}
BENCHMARK(received_segment);

/// The application hands over 64 segments' worth of a region, by reference; the peer acknowledges
/// every second one of the turn before: counted by segment, with its half of an ACK.
void sent_segment(benchmark::State& state) {
    World& w = World::instance();
    Bulk& bulk = w.open_bulk(bulk_client);
    static const std::vector<std::byte> memory(burst * full_segment);
    static const Region region(memory, {});
    size_t sent = 0, in_turn = 0;
    Measured measured(state, w);
    while (state.KeepRunningBatch(bench::batch)) {
        state.PauseTiming();
        for (size_t done = 0; done < bench::batch; done += burst) {
            BufferChain chain;
            for (size_t at = 0; at < memory.size();) {
                const size_t size = std::min(Buffer::max_size, memory.size() - at);
                auto buffer = w.facade().buffer_from(region, at, size);
                if (!buffer) std::abort();
                chain.append(std::move(*buffer));
                at += size;
            }
            if (!bulk.connection.send(chain)) std::abort();
            // The window opens in the first turns: what it holds back goes with the next ACKs.
            do {
                measured.turn();
                in_turn = 0;
                w.listen([&](uint32_t client, const wire::Segment& segment) {
                    sent += segment.payload_size;
                    if (++in_turn % 2 == 0) w.say(client, TcpFlags::ack);
                });
                if (in_turn % 2 != 0) w.say(bulk_client, TcpFlags::ack);
            } while (in_turn > 0 && sent % memory.size() != 0);
        }
        state.ResumeTiming();
    }
    if (sent != static_cast<uint64_t>(state.iterations()) * full_segment)
        state.SkipWithError("bytes are lost");
    measured.dump("sent_segment");
}
BENCHMARK(sent_segment);

/// One after the other of so many connections asks, 64 a turn; the ACK of an answer comes with the
/// next request.
void whole_request(benchmark::State& state) {
    World& w = World::instance();
    const auto connections = static_cast<uint32_t>(state.range(0));
    w.open(connections);
    const uint64_t before = w.requests();
    uint32_t next = 0;
    Measured measured(state, w);
    while (state.KeepRunningBatch(bench::batch)) {
        state.PauseTiming();
        for (size_t done = 0; done < bench::batch; done += burst) {
            for (size_t i = 0; i < burst; ++i, next = (next + 1) % connections)
                w.say(next, TcpFlags::ack | TcpFlags::psh, kept_request);
            measured.turn();
            w.listen([](uint32_t, const wire::Segment&) {});
        }
        state.ResumeTiming();
    }
    for (uint32_t i = 0; i < connections; ++i) w.say(i, TcpFlags::ack);
    w.turn();
    if (w.requests() - before != static_cast<uint64_t>(state.iterations()))
        state.SkipWithError("requests are lost");
    measured.dump(bench::with_argument("whole_request", state));
}
BENCHMARK(whole_request)->Arg(64)->Arg(1000);

/// From the SYN to TIME-WAIT: a request comes with the third ACK, the server closes first.
void whole_connection(benchmark::State& state) {
    World& w = World::instance();
    const uint64_t before = w.requests();
    static uint32_t next = 0;
    Measured measured(state, w);
    while (state.KeepRunningBatch(bench::batch)) {
        state.PauseTiming();
        for (size_t done = 0; done < bench::batch; done += burst) {
            for (size_t i = 0; i < burst; ++i) {
                next = (next + 1) % tuples;
                Client& c = w.client(tuples_from + next);
                c = {.server = server_port, .seq = c.seq + 100'000};
                w.say(tuples_from + next, TcpFlags::syn);
            }
            measured.turn();
            w.listen([&](uint32_t client, const wire::Segment&) {
                w.say(client, TcpFlags::ack | TcpFlags::psh, only_request);
            });
            measured.turn();
            w.listen([&](uint32_t client, const wire::Segment& segment) {
                if (!segment.fin()) state.SkipWithError("an answer without an end");
                w.say(client, TcpFlags::fin | TcpFlags::ack);
            });
            measured.turn();
            w.listen([](uint32_t, const wire::Segment&) {});
        }
        state.ResumeTiming();
    }
    if (w.requests() - before != static_cast<uint64_t>(state.iterations()))
        state.SkipWithError("connections are lost");
    measured.dump("whole_connection");
}
BENCHMARK(whole_connection);

}  // namespace
}  // namespace millrace
