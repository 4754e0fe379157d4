// The client's side of a protocol: what a request is, and when its answer is whole.
#pragma once

#include <cstddef>
#include <memory>
#include <random>
#include <span>
#include <string>

#include "load/plan.h"

namespace millrace::apps {

/// What a piece of an answer has come to.
struct Taken {
    size_t bytes = 0;       ///< of the piece that were used; the rest is the next answer's
    bool complete = false;  ///< the answer is whole
    bool bad = false;       ///< it is not what the protocol has: nothing more is taken
    int status = 0;         ///< of a whole answer of HTTP
    bool keep = true;       ///< of a whole answer: the connection may go on
};

/// A request: its head, and how much filling follows.
struct Request {
    std::span<const std::byte> head;  ///< good until the next request is made
    size_t filling = 0;
};

/// One connection's; sans-IO. Requests are made one after the other, answers come in their order.
class Exchange {
public:
    virtual ~Exchange() = default;
    /// Begins anew, on a new connection.
    virtual void restart() = 0;
    /// The next request; `last`: no other follows on this connection.
    virtual Request next(bool last) = 0;
    /// A piece of what has come, of the oldest request that has no whole answer.
    virtual Taken take(std::span<const std::byte> piece) = 0;
    /// The stream has ended: whether that makes the answer under way whole.
    virtual Taken end() { return {.bad = true}; }
};

/// What several connections share: the plan's requests, the random numbers that shape them.
class Exchanges {
public:
    Exchanges(const Plan& plan, uint64_t seed);
    std::unique_ptr<Exchange> make();

    const Plan& plan() const { return plan_; }
    uint32_t request_size() { return request_size_.draw(random_); }
    uint32_t response_size() { return response_size_.draw(random_); }
    /// The bytes of HTTP's request up to its body; of a connection's last one, and of the others.
    const std::string& http_head(bool last) const { return http_heads_[last ? 1 : 0]; }

private:
    const Plan& plan_;
    Sizes request_size_;
    Sizes response_size_;
    std::mt19937_64 random_;
    std::string http_heads_[2];
};

}  // namespace millrace::apps
