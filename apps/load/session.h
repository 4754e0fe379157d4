// One client of the target: a connection (or socket) at a time, its requests, their times.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include <millrace/millrace.h>
#include <millrace/timer.h>
#include <millrace/udp.h>

#include "common/channel.h"
#include "load/exchange.h"
#include "load/figures.h"

namespace millrace::apps {

class Session;

/// Whom a session tells how it went: the generator of its core.
class SessionOwner {
public:
    virtual Stack& stack() = 0;
    virtual const Plan& plan() const = 0;
    virtual Figures& figures() = 0;
    virtual Exchanges& exchanges() = 0;
    /// Null without TLS.
    virtual TlsContext* tls() = 0;
    /// The source of the next connection.
    virtual SocketAddress next_source() = 0;
    /// It has a connection, and may be asked.
    virtual void on_open(Session& session) = 0;
    /// There is room for another request.
    virtual void on_room(Session& session) = 0;
    /// It has no connection any more; `failed`: not as it should have ended.
    virtual void on_end(Session& session, bool failed) = 0;
    /// Why TLS has failed, in words.
    virtual void on_problem(const std::string& what) = 0;

protected:
    ~SessionOwner() = default;
};

/// Lives on its core's thread. Between `on_end` and `open` it is nothing but memory.
class Session {
public:
    explicit Session(SessionOwner& owner);
    virtual ~Session() = default;
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    /// Connects; what a schedule intended at `intended` counts from then. `on_open` or `on_end`
    /// follows, perhaps at once.
    virtual void open(Instant intended) = 0;
    /// Sends a request, where there is room for one. It was intended at `intended`.
    virtual void ask(Instant intended) = 0;
    /// Another request may go out now.
    virtual bool has_room() const = 0;
    /// No request any more: it ends in good order as soon as it has its answers.
    virtual void finish() = 0;
    /// It ends at once; what has no answer counts as timed out. No `on_end` follows.
    virtual void abandon() = 0;
    /// Asks after the plan's time for thinking.
    void think();

    /// For its owner: it stands in the list of those with room.
    bool listed = false;
    /// For its owner: it has a connection, or tries to.
    bool standing = false;
    /// For its owner: the connection is established.
    bool is_open = false;
    /// For its owner: there has been a first attempt.
    bool tried = false;
    /// Its connection has brought an answer.
    bool useful = false;

protected:
    /// A request that has no answer yet.
    struct Asked {
        Instant intended;  ///< corrected latency counts from here
        Instant begun;     ///< uncorrected latency from here: with the connection, if that is new
        Instant sent;
    };
    /// Requests under way, oldest first.
    size_t outstanding() const { return count_; }
    void push(const Asked& request);
    const Asked& asked(size_t index) const { return asked_[(first_ + index) % asked_.size()]; }
    void pop();
    void forget_all() { first_ = count_ = 0; }
    /// Counts a whole answer to a request under way.
    void answered(size_t index, int status);
    /// Counts each request that has no answer, or the connection itself where nothing was asked.
    void count_failure(LoadError error);
    Instant now() const { return owner_.stack().now(); }
    /// The plan's `timeout` watches over what is under way.
    void watch();
    void watch_no_more() {
        thinking_ = false;
        timer_.cancel();
    }
    /// Since when it has waited; `never` where it waits for nothing.
    virtual Instant waiting_since() const = 0;
    /// It has waited for longer than the plan allows.
    virtual void on_timeout() = 0;

    SessionOwner& owner_;

private:
    void expired();

    std::vector<Asked> asked_;  ///< a ring
    size_t first_ = 0;
    size_t count_ = 0;
    bool thinking_ = false;
    Timer timer_;
};

/// Over TCP: any protocol that `Exchange` knows.
class StreamSession final : public Session, public ConnectionHandler {
public:
    explicit StreamSession(SessionOwner& owner);

    void open(Instant intended) override;
    void ask(Instant intended) override;
    bool has_room() const override;
    void finish() override;
    void abandon() override;

    void on_connected(Connection c) override;
    void on_readable(Connection c) override;
    void on_writable(Connection c) override;
    void on_closed(Connection c, CloseReason reason) override;

private:
    enum class State : uint8_t {
        closed,
        connecting,
        securing,  ///< the handshake of TLS is under way
        open,
        ending,    ///< no request any more; what the peer still sends is taken until its FIN
    };
    /// What this side has to say about an end that it waits for.
    enum class Ending : uint8_t {
        await,   ///< nothing (any more): the server was told by its last request
        notify,  ///< close_notify, on which servers close, though TLS 1.3 leaves them their side
        shut,    ///< that and FIN
    };
    Instant waiting_since() const override;
    void on_timeout() override;
    void send_rest();
    bool take_all(Connection c);
    bool take(Connection c, std::span<const std::byte> piece);
    void secured();
    void ready();
    void whole(const Taken& taken);
    void close_as_planned();
    void end_later(Ending how);
    void say_end();
    void at_end();
    void fail(LoadError error);
    void fail_tls();
    void ended(bool failed);
    void count_bytes() {
        owner_.figures().bytes_in += channel_.take_received();
        owner_.figures().bytes_out += channel_.take_sent();
    }
    bool stands() const { return state_ != State::closed && state_ != State::connecting; }
    /// Within TLS, and waits for the same from here: nothing is missing.
    bool has_said_it_ends() const {
        return state_ == State::ending && channel_.tls() != nullptr && channel_.tls()->at_end();
    }
    bool counts_handshakes() const { return owner_.plan().mode == Mode::handshakes; }
    bool is_stream() const { return owner_.plan().mode == Mode::throughput; }

    std::unique_ptr<Exchange> exchange_;
    Channel channel_;
    State state_ = State::closed;
    Ending how_ = Ending::await;
    bool first_byte_seen_ = false;  ///< of the answer to the oldest request
    bool last_asked_ = false;       ///< no other request follows on this connection
    bool finishing_ = false;
    bool server_ends_ = false;      ///< it has said so in its answer
    Instant intended_;              ///< when the connection was to begin
    Instant opened_;                ///< when it began
    Instant connected_;             ///< when it was established
    Instant ending_;                ///< when its end began
    uint64_t requests_ = 0;         ///< on this connection
    std::string head_rest_;         ///< what there was no room for
    size_t filling_rest_ = 0;       ///< how much of the filling follows
    size_t filling_at_ = 0;         ///< from where on
};

/// Over UDP: datagrams that carry their number, to an echo server.
class DatagramSession final : public Session, public UdpHandler {
public:
    explicit DatagramSession(SessionOwner& owner) : Session(owner) {}

    void open(Instant intended) override;
    void ask(Instant intended) override;
    bool has_room() const override;
    void finish() override;
    void abandon() override;

    void on_readable(UdpSocket socket) override;
    void on_error(UdpSocket socket, int error) override;

private:
    Instant waiting_since() const override;
    void on_timeout() override;
    bool take(const Datagram& datagram);
    void lose(LoadError error);
    void go_on();
    bool is_filled() const;
    void pop_settled();
    void close();

    UdpSocket socket_;
    uint64_t number_ = 0;     ///< of the next
    struct Sent {
        size_t size = 0;
        bool settled = false;  ///< answered out of turn, or given up
    };
    std::deque<Sent> sent_;        ///< each that is under way
    std::vector<std::byte> bytes_; ///< of the datagram in hand
    bool finishing_ = false;
};

}  // namespace millrace::apps
