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
// context or of none, or by their end); one that waits for the driver in another way waits for
// ever. Several are let go in the order in which they began to wait, which mr_test_await_caller
// makes certain. The driver's own calls that wait move the time themselves; where nothing will ever
// happen, they answer EDEADLK. A thread ends its own context, and the 100 ms that this may take
// pass when the driver lets them.
// A filter is asked in the midst of a turn: of these calls, it may make set_filter and those that
// only tell. The loops of hosts (poll_once) turn all that is due in the network; next_deadline
// tells of a host's own timers, next_event of everything; no descriptor wakes them.
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
    Instant at;                    ///< when it was sent
    std::vector<std::byte> bytes;  ///< from the IP header on
};

/// Hosts on one wire.
class Network {
public:
    /// All that is random follows from the seed.
    explicit Network(uint64_t seed);
    ~Network();
    Network(const Network&) = delete;
    Network& operator=(const Network&) = delete;

    /// A host of the configuration that a runtime would take, so that a program's own serves: the
    /// wire stands in for the device of its port; what counts of it are addresses, routes and MTU.
    /// Refused are several ports or cores, VLANs, and what a runtime would refuse. Cost: the pools'
    /// memory; by default some 50 MiB.
    Started<Stack*> add(const Config& config);
    /// It is gone without a word, with all its handles; coroutines of its own end before. EDEADLK
    /// within a turn.
    Result<void> remove(Stack& host);

    /// The wire's clock.
    Instant now() const;
    /// When something happens next: a packet arrives, a timer fires, a call has waited long enough.
    /// `Instant::never()` where nothing will.
    Instant next_event() const;
    /// To the present or a later instant: what is due by then has happened when this returns.
    /// `Instant::never()`: until nothing more will happen. Within a turn, nothing.
    void advance_to(Instant at);
    /// The same, so much later.
    void advance(Duration time) {
        advance_to(time < Instant::never() - now() ? now() + time : Instant::never());
    }
    /// False where nothing will ever happen.
    bool advance_to_next_event();

    /// Of what a host sends from now on. At first packets take 50 us and nothing happens to them.
    void impair(const Stack& from, const Impairments& impairments);
    /// Asked about each packet that a host sends, before impairments: false loses it.
    using Filter = std::function<bool(const Stack& from, std::span<const std::byte> packet)>;
    /// In the place of the one before; none: nothing is lost.
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
    this one has made a call. Null where that cannot be, as on another thread than the network's;
    then `why` says cause and remedy. Ended by mr_context_destroy. */
mr_context *mr_test_context_create(mr_test_network *network, const char *toml, char *why,
                                   size_t why_size);

/** In nanoseconds, as all times here. */
int64_t mr_test_now(const mr_test_network *network);
/** When something happens next; -1 where nothing will. Any thread, as mr_test_now. */
int64_t mr_test_next_event(mr_test_network *network);
/** What is due by then has happened when this returns; INT64_MAX: until nothing more will happen.
    EINVAL for the past, EDEADLK within a turn. */
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

/** What happens to what a host sends: see `impairments.h`. Chances in parts per million of packets.
    All zero: nothing, not even a delay. */
struct mr_test_impairments {
    int64_t delay_ns;         /**< each way takes so long */
    int64_t jitter_ns;        /**< and up to so much more, at random */
    uint32_t loss_ppm;        /**< each for itself */
    uint32_t ack_loss_ppm;    /**< of segments without payload only */
    uint32_t lose_every;      /**< every n-th; 0: none */
    uint32_t burst_enter_ppm; /**< a burst of loss begins */
    uint32_t burst_leave_ppm; /**< and ends */
    uint32_t burst_loss_ppm;  /**< while it lasts */
    uint32_t reorder_ppm;     /**< held back */
    int64_t reorder_by_ns;    /**< by so much */
    uint32_t duplicate_ppm;   /**< arrives twice */
    uint32_t corrupt_ppm;     /**< one bit is flipped */
    uint32_t truncate_ppm;    /**< cut somewhere */
    uint64_t bits_per_second; /**< 0: no limit */
    int64_t queue_max_ns;     /**< the longest wait behind that */
    uint32_t queue_bytes;     /**< or the most that waits; 0: no such bound */
    uint32_t mark_bytes;      /**< CE behind so many; 0: never */
    uint32_t mtu;             /**< longer IP packets vanish; 0: none does */
};
/** From the next packet on. EFAULT, EINVAL. */
int mr_test_impair(mr_context *from, const struct mr_test_impairments *impairments);

#ifdef __cplusplus
}
#endif
