// Requests into the HTTP server, whole and cut in pieces: it answers the same, ends, and leaves
// nothing behind.
#include <string>

#include "fuzz/http_host.h"
#include "httpd/server.h"

namespace millrace::fuzz {
namespace {

class Client final : public ConnectionHandler {
public:
    void on_connected(Connection c) override { connection = c; }
    void on_readable(Connection c) override {
        BufferChain data = c.receive();
        std::string bytes(data.size(), ' ');
        data.copy_to(std::as_writable_bytes(std::span(bytes)));
        got += bytes;
        (void)c.consumed(bytes.size());
    }
    void on_closed(Connection, CloseReason) override { connection = {}; }

    Connection connection;
    std::string got;
};

struct World : Hosts {
    World() : http(server, {.root = MILLRACE_FUZZ_ROOT, .body_size = 3000,
                            .idle_timeout = Duration::from_s(3)}) {
        expect(http.listen().has_value(), "cannot listen");
    }

    std::string answers(std::span<const std::byte> requests, std::span<const uint8_t> cuts) {
        Client who;
        expect(client.connect({Address::v4(10, 0, 0, 1), 80}, who).has_value(), "cannot connect");
        network.advance(Duration::from_ms(10));
        expect(static_cast<bool>(who.connection), "is not connected");
        (void)who.connection.set_no_delay(true);
        send_pieces(who.connection, requests, cuts);
        if (who.connection) (void)who.connection.shutdown();
        network.advance(Duration::from_s(1));
        if (who.connection) (void)who.connection.close();
        expect_nothing_left();
        return who.got;
    }

    apps::HttpServer http;
};

}  // namespace
}  // namespace millrace::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace millrace::fuzz;
    static World& world = *new World;  // EAL's memory, which it holds, goes first
    Input in(data, size);
    const auto cuts = in.bytes(1 + in.byte() % 4);
    const auto requests = std::as_bytes(in.rest());
    expect(world.answers(requests, {}) == world.answers(requests, cuts),
           "pieces are answered otherwise than the whole");
    return 0;
}
