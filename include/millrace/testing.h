// Tests of programs that use Millrace: stacks over a virtual clock and a virtual wire.
//
// Purpose: what takes minutes on a network, or happens there once a year, in microseconds and every
// time. A network has hosts, each with a stack of its own; what it takes as input is its seed,
// these calls and theirs: the same again gives the same again, to the last bit. Link addresses are
// its own business: ARP and neighbour discovery never meet the wire. Packets to an address that no
// host has can be taken out, and packets from anywhere pushed in.
//
// Owner: the thread that made the network moves its time (the driver); nothing happens but in its
// calls. In C++ everything is for that thread. In C a context may be another thread's, whose calls
// wait while the driver moves the time: it goes on in the driver's call that brings what they wait
// for, which returns when all such threads wait again or have left (by mr_context_enter of another
// context or of none, or by their end). The driver's own calls that wait move the time themselves.
// Lifetime: a network outlives what was made in it.
// Time: begins at 1 s; a stack's timers fire up to 65.5 us after they are due (their wheel's tick).
//
//     mr_test_network *net = mr_test_network_create(1);
//     mr_context *a = mr_test_context_create(net, toml, why, sizeof why);
//     ... mr_connect(...) to 10.0.0.2 on a non-blocking socket ...
//     mr_test_advance_to(net, mr_test_now(net) + 3000000000);
//     while ((size = mr_test_take(a, packet, sizeof packet, &at)) > 0) ... the SYN, and again ...
#pragma once

#include <millrace/socket.h>

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <millrace/config.h>
#include <millrace/impairments.h>
#include <millrace/stack.h>

namespace millrace::api {
class TestNetwork;
}

namespace millrace::testing {

/// An IP packet that a host has sent.
struct Packet {
    Instant at;
    std::vector<std::byte> bytes;  ///< from the IP header on
};

class Network {
public:
    explicit Network(uint64_t seed);
    ~Network();
    Network(const Network&) = delete;
    Network& operator=(const Network&) = delete;

    /// A host of the configuration that a runtime would take, so that a program's own serves: the
    /// wire stands in for the device of its port; what counts of it are addresses, routes and MTU.
    /// Refused are several ports or cores, VLANs, and what a runtime would refuse. Cost: the pools'
    /// memory; by default some 50 MiB.
    Started<Stack*> add(const Config& config);
    /// It is gone without a word, with all its handles.
    void remove(Stack& host);

    Instant now() const;
    /// When something happens next: a packet arrives, a timer fires, a call has waited long enough.
    /// `Instant::never()` where nothing will.
    Instant next_event() const;
    /// To the present or a later instant: what is due by then has happened when this returns.
    void advance_to(Instant at);
    void advance(Duration time) { advance_to(now() + time); }
    /// False where nothing will ever happen.
    bool advance_to_next_event();

    /// Of what a host sends from now on. At first packets take 50 us and nothing happens to them.
    void impair(const Stack& from, const Impairments& impairments);
    /// Asked about each packet that a host sends, before impairments: false loses it.
    using Filter = std::function<bool(const Stack& from, std::span<const std::byte> packet)>;
    void set_filter(Filter filter);

    /// The oldest packet that a host has sent and nobody has taken, lost or not: the latest 1024
    /// are kept.
    std::optional<Packet> take(const Stack& from);
    /// A packet that reaches a host now. It is checked by its receiver alone. EINVAL where it has
    /// no IP version or more bytes than IPv4 can say.
    Result<void> push(Stack& to, std::span<const std::byte> packet);

private:
    const std::unique_ptr<api::TestNetwork> network_;
};

}  // namespace millrace::testing

extern "C" {
#endif

/** A network. Owned by the thread that made it; where another calls what answers an int, that is
    EPERM. No network or context here may be null. */
typedef struct mr_test_network mr_test_network;

mr_test_network *mr_test_network_create(uint64_t seed);
/** EBUSY while one of its contexts is left. */
int mr_test_network_destroy(mr_test_network *network);
/** A host's context, and enters it: of a configuration as for mr_context_create, with one port; the
    wire stands in for its device. It is its first caller's: another thread that enters it before
    this one has made a call. Null where that cannot be; then `why` says cause and remedy. Ended by
    mr_context_destroy. */
mr_context *mr_test_context_create(mr_test_network *network, const char *toml, char *why,
                                   size_t why_size);

/** In nanoseconds, as all times here. */
int64_t mr_test_now(const mr_test_network *network);
/** When something happens next; -1 where nothing will. */
int64_t mr_test_next_event(mr_test_network *network);
/** What is due by then has happened when this returns. EINVAL for the past, EDEADLK within a
    turn. */
int mr_test_advance_to(mr_test_network *network, int64_t at);
/** 1, or 0 where nothing will ever happen. EDEADLK. */
int mr_test_advance_to_next_event(mr_test_network *network);
/** Waits until another thread waits in a call of this context. ETIMEDOUT after ten seconds of real
    time. */
int mr_test_await_caller(mr_context *context);

/** The oldest IP packet that this context's host has sent and nobody has taken (the latest 1024 are
    kept), lost or not, cut to `size`; and when it was sent (or null). Answers its whole size; 0:
    there is none. */
ssize_t mr_test_take(mr_context *from, void *packet, size_t size, int64_t *at);
/** An IP packet that reaches this context's host now. EINVAL. */
int mr_test_push(mr_context *to, const void *packet, size_t size);
/** Asked about each IP packet that is sent: false loses it. Null: none is. */
typedef bool mr_test_filter(void *argument, const mr_context *from, const void *packet,
                            size_t size);
int mr_test_set_filter(mr_test_network *network, mr_test_filter *filter, void *argument);

/** What happens to what a host sends. Chances in parts per million of packets; the rest as in
    `impairments.h`, which explains each. All zero: nothing, not even a delay. */
struct mr_test_impairments {
    int64_t delay_ns;
    int64_t jitter_ns;
    uint32_t loss_ppm;
    uint32_t ack_loss_ppm;
    uint32_t lose_every;
    uint32_t burst_enter_ppm;
    uint32_t burst_leave_ppm;
    uint32_t burst_loss_ppm;
    uint32_t reorder_ppm;
    int64_t reorder_by_ns;
    uint32_t duplicate_ppm;
    uint32_t corrupt_ppm;
    uint32_t truncate_ppm;
    uint64_t bits_per_second;
    int64_t queue_max_ns;
    uint32_t queue_bytes;
    uint32_t mark_bytes;
    uint32_t mtu;
};
int mr_test_impair(mr_context *from, const struct mr_test_impairments *impairments);

#ifdef __cplusplus
}
#endif
