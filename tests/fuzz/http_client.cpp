// Answers to the load generator's client, whole and cut in pieces: it reads the same answers, and
// the same is wrong. And through a session on a connection: it ends, and leaves nothing behind.
#include <vector>

#include "fuzz/http_host.h"
#include "load/session.h"

namespace millrace::fuzz {
namespace {

using apps::Exchange;
using apps::Exchanges;
using apps::Plan;
using apps::Taken;

constexpr int requests_max = 4;

/// What comes of a stream of answers: each one's status, whether the connection goes on, what went
/// wrong first.
struct Reading {
    std::vector<int> answers;
    bool keep = true, bad = false, ended = false;
    bool operator==(const Reading&) const = default;
};

Reading read(Exchanges& shared, std::span<const std::byte> stream, std::span<const uint8_t> cuts) {
    const auto exchange = shared.make();
    exchange->restart();
    for (int i = 0; i < requests_max; ++i) (void)exchange->next(i + 1 == requests_max);
    Reading reading;
    const auto over = [&] {
        return reading.bad || !reading.keep || reading.answers.size() == requests_max;
    };
    for_pieces(stream, cuts, [&](std::span<const std::byte> piece) {
        while (!piece.empty() && !over()) {
            const Taken taken = exchange->take(piece);
            expect(taken.bytes <= piece.size(), "takes more than there is");
            expect(taken.bytes > 0 || taken.complete || taken.bad, "stands still");
            reading.bad = taken.bad;
            if (taken.complete && !taken.bad) {
                reading.answers.push_back(taken.status);
                reading.keep = taken.keep;
            }
            piece = piece.subspan(taken.bytes);
        }
    });
    if (!over()) reading.ended = exchange->end().complete;
    return reading;
}

/// Says its piece to whoever connects, and ends.
class Server final : public ConnectionHandler, public ListenHandler {
public:
    void on_acceptable(Listener listener) override {
        while (const auto c = listener.accept(*this)) connection = *c;
    }
    void on_readable(Connection c) override {
        const BufferChain data = c.receive();
        (void)c.consumed(data.size());
    }
    void on_closed(Connection, CloseReason) override { connection = {}; }

    Connection connection;
};

class Owner final : public apps::SessionOwner {
public:
    Owner(Stack& stack, const Plan& plan) : stack_(stack), plan_(plan), exchanges_(plan, 1) {}
    Stack& stack() override { return stack_; }
    const Plan& plan() const override { return plan_; }
    apps::Figures& figures() override { return figures_; }
    Exchanges& exchanges() override { return exchanges_; }
    apps::TlsContext* tls() override { return nullptr; }
    SocketAddress next_source() override { return {}; }
    void on_open(apps::Session& session) override { ask(session); }
    void on_room(apps::Session& session) override { ask(session); }
    void on_end(apps::Session&, bool) override { ended = true; }
    void on_problem(const std::string&) override {}

    bool ended = false;
    int asked = 0;

private:
    void ask(apps::Session& session) {
        if (asked == requests_max) return session.finish();
        ++asked;
        session.ask(stack_.now());
    }

    Stack& stack_;
    const Plan& plan_;
    Exchanges exchanges_;
    apps::Figures figures_;
};

struct World : Hosts {
    World() {
        plan.protocol = apps::Protocol::http;
        plan.target = {Address::v4(10, 0, 0, 1), 80};
        expect(server.listen({Address(), 80}, saying).has_value(), "cannot listen");
    }

    void play(std::span<const std::byte> stream, std::span<const uint8_t> cuts) {
        owner.ended = false;
        owner.asked = 0;
        session.open(client.now());
        network.advance(Duration::from_ms(10));
        send_pieces(saying.connection, stream, cuts);
        if (saying.connection) (void)saying.connection.close();
        saying.connection = {};
        network.advance(Duration::from_s(1));
        if (!owner.ended) session.abandon();
        expect_nothing_left();
    }

    Plan plan;
    Server saying;
    Owner owner{client, plan};
    apps::StreamSession session{owner};
};

}  // namespace
}  // namespace millrace::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace millrace::fuzz;
    static World& world = *new World;  // EAL's memory, which it holds, goes first
    Input in(data, size);
    const uint8_t how = in.byte();
    Plan plan;
    plan.method = (how & 1) != 0 ? "HEAD" : "GET";
    Exchanges shared(plan, 1);
    const auto cuts = in.bytes(1 + how / 2 % 4);
    const auto answers = std::as_bytes(in.rest());
    expect(read(shared, answers, {}) == read(shared, answers, cuts),
           "pieces are read otherwise than the whole");
    if ((how & 0xf0) == 0xf0) world.play(answers, cuts);
    return 0;
}
