// One end of a connection: an application with habits.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "sim/world.h"
#include "tcp/timers.h"

namespace millrace::testing {

using namespace millrace::literals;

namespace {

// What a window may have beyond slow start's growth, segments: BBR's least window, PRR's first.
constexpr uint32_t cwnd_slack = 6;

std::vector<std::byte> random_bytes(size_t size, uint64_t seed) {
    std::vector<uint8_t> bytes(size);
    Random(seed).fill(bytes);
    const auto* at = reinterpret_cast<const std::byte*>(bytes.data());
    return {at, at + size};
}

}  // namespace

End::End(World& world, size_t number, bool is_client, const EndPlan& plan)
    : world_(world),
      number_(number),
      is_client_(is_client),
      plan_(plan),
      random_(world.scenario_.seed * 64 + number * 2 + (is_client ? 1 : 0)),
      out_(random_bytes(plan.bytes, random_.next())),
      region_(out_, {}),
      pauses_left_(plan.pauses),
      reneges_left_(plan.reneges) {}

Instant End::now() const { return world_.network_.now(); }

void End::begin(stack::Stack& stack, sim::Node& node, tcp::Connection& c, bool connected) {
    begun_ = true;
    stack_ = &stack;
    node_ = &node;
    connection_ = &c;
    c.owner = this;
    local_ = stack.local_address(c.key);
    remote_ = {c.key.remote, c.key.remote_port};
    began_ = now();
    connected_ = connected;
    tcp::set_no_delay(env(), c, plan_.no_delay);
    if (plan_.violence != EndPlan::Violence::none) wake(plan_.violence_after);
    wake({});
}

/// A segment is about to reach us. Until now a closed window had to be probed (RFC 9293 MUST-36 and
/// SHLD-29); what armed another timer first may have cost an RTO more.
void End::note_arrival() {
    const tcp::Connection& c = *connection_;
    const bool waits = tcp::is_synchronised(c.state) && c.snd_wnd == 0 &&
                       (c.outstanding() > 0 || c.has_unsent());
    const Duration silence = now() - last_active_;
    if (waits && silence > tcp::rto(env(), c) * 2 + 10_ms &&
        !world_.wire_.had_no_next_hop(local_.address, last_active_) &&
        !world_.has_dropped(observe::Drop::no_buffer))
        world_.fail(fmt::format("{} has not probed a closed window for {:.3f} s", state(),
                                silence.seconds()));
    last_active_ = now();
}

/// A segment of ours is on the wire.
void End::watch(const WireOracle::Sent& sent) {
    last_active_ = now();
    check_state();
    if (sent.payload > 0) check_congestion_window(sent);
    if (sent.has_sack && reneges_left_ > 0 && random_.chance(1, 8)) renege();
}

/// RFC 9293 figure 5: each state says what has been sent, acknowledged and received.
void End::check_state() const {
    const tcp::Connection& c = *connection_;
    bool right = true;
    switch (c.state) {
        using enum tcp::State;
        case closed: return;  // from wherever it was
        case syn_sent:
        case syn_received: right = !c.fin_received; break;
        case established: right = !c.fin_queued && !c.fin_received; break;
        case fin_wait_1: right = c.fin_queued && !c.fin_acked && !c.fin_received; break;
        case fin_wait_2: right = c.fin_acked && !c.fin_received; break;
        case close_wait: right = !c.fin_queued && c.fin_received; break;
        case closing:
        case last_ack: right = c.fin_queued && !c.fin_acked && c.fin_received; break;
        case time_wait: right = c.fin_acked && c.fin_received; break;
    }
    if (!right) world_.fail(state() + " is in a state that its FINs do not fit");
}

/// Nothing goes out beyond the congestion window but a tail loss probe (RFC 8985 section 7.3), and
/// the window itself has grown by no more than was delivered (RFC 5681 section 3.1: slow start).
void End::check_congestion_window(const WireOracle::Sent& sent) const {
    const tcp::Connection& c = *connection_;
    const bool probing = c.sending != nullptr && c.sending->tlp_out;
    const bool is_probe = probing && c.sending->tlp_end < sent.end + c.snd_mss;
    // The FIN rides on the last segment, which the window has let go.
    const uint32_t beside = (probing ? c.snd_mss : 0) + (c.fin_sent() ? 1 : 0);
    // What has waited for its neighbour went out by the window of another day.
    const bool fresh = c.last_sent_ms == env().stamp() &&
                       !world_.may_have_found_next_hop(*node_);
    if (fresh && !is_probe && c.in_flight() > c.window.cwnd + beside)
        world_.fail(fmt::format("{} has {} in flight, cwnd {}", state(), c.in_flight(),
                                c.window.cwnd));
    const TcpTunables& t = world_.tunables_of(local_.address);
    // Segments may have become smaller since, the window not.
    const uint64_t start = uint64_t{t.initial_cwnd + cwnd_slack} * c.link_mss;
    if (c.window.cwnd > start + c.delivered)
        world_.fail(fmt::format("{} has delivered {}, cwnd {}", state(), c.delivered,
                                c.window.cwnd));
}

/// What was selectively acknowledged is dropped again, as a receiver may (RFC 2018 section 8).
void End::renege() {
    --reneges_left_;
    world_.network_.schedule(*node_, stack_->core(), now(), [this] {
        if (connection_ != nullptr) tcp::release_reassembly(env(), *connection_);
    });
}

void End::wake(Duration after) {
    world_.network_.schedule(*node_, stack_->core(), now() + after, [this] { step(); });
}

void End::on_events(uint8_t events) {
    if (connection_ == nullptr) return;
    if ((events & tcp::Event::connected) != 0) connected_ = true;
    if ((events & tcp::Event::closed) != 0) return on_closed();
    step();
}

void End::step() {
    last_active_ = now();
    if (connection_ == nullptr || act_violently() || !connected_) return;
    consume();
    write();
    read();
    write();
    end_in_order();
}

bool End::act_violently() {
    if (close_unread_at_ <= now()) {
        tcp::close(env(), *connection_);
        let_go();
        return true;
    }
    if (plan_.violence == EndPlan::Violence::none || violent_) return violent_;
    if (sent_ + received_ < plan_.violence_at && now() - began_ < plan_.violence_after)
        return false;
    violent_ = true;
    switch (plan_.violence) {
        case EndPlan::Violence::none: break;
        case EndPlan::Violence::abort: tcp::abort(env(), *connection_); break;
        case EndPlan::Violence::close: tcp::close(env(), *connection_); break;
        case EndPlan::Violence::close_unread: {
            const Duration wait = Duration::from_us(static_cast<int64_t>(random_.below(300'000)));
            close_unread_at_ = now() + wait;
            wake(wait);
            return true;
        }
    }
    let_go();
    return true;
}

void End::consume() {
    if (now() < consume_at_) return;
    held_.clear();
    tcp::consumed(env(), *connection_, unconsumed_);
    unconsumed_ = 0;
    consume_at_ = Instant::never();
}

void End::read() {
    if (plan_.stall_at && received_ >= *plan_.stall_at && !stalled_until_) {
        stalled_until_ = now() + plan_.stall_for;
        wake(plan_.stall_for);
    }
    if (stalled_until_ && now() < *stalled_until_) return;
    if (!echo_.empty()) return;  // what was read has to go out first
    BufferChain data = tcp::receive(env(), *connection_);
    check(data);
    const auto size = static_cast<uint32_t>(data.size());
    if (plan_.echo) {
        echo_ = std::move(data);
    } else if (plan_.consume_after > Duration() && size > 0) {
        held_.append(std::move(data));
        unconsumed_ += size;
        if (consume_at_ == Instant::never()) {
            consume_at_ = now() + plan_.consume_after;
            wake(plan_.consume_after);
        }
    } else {
        tcp::consumed(env(), *connection_, size);
    }
    note_end();
}

/// Whether everything before the peer's FIN has been read. After a reset there is no such end.
void End::note_end() {
    const tcp::Connection& c = *connection_;
    if (tcp::at_end(c) && c.fin_received && c.error == 0) saw_end_ = true;
}

/// Byte for byte what the peer has written; an echo of ours, if the peer is one.
void End::check(const BufferChain& data) {
    if (data.empty()) return;
    const std::vector<std::byte>& stream = peer_->plan_.echo ? out_ : peer_->out_;
    std::vector<std::byte> bytes(data.size());
    data.copy_to(bytes);
    const uint64_t from = received_;
    received_ += bytes.size();
    if (received_ > stream.size())
        return world_.fail(fmt::format("{} received {} bytes of {}", state(), received_,
                                       stream.size()));
    const auto expected = stream.begin() + static_cast<ptrdiff_t>(from);
    const auto [wrong, right] = std::ranges::mismatch(
        bytes, std::ranges::subrange(expected, expected + static_cast<ptrdiff_t>(bytes.size())));
    if (wrong != bytes.end())
        world_.fail(fmt::format("{} received a wrong byte at {}", state(),
                                from + static_cast<uint64_t>(wrong - bytes.begin())));
}

void End::write() {
    if (shut_ || now() < write_from_) return;
    if (plan_.echo) return write_echo();
    const uint64_t pieces = plan_.bytes / (plan_.piece_max / 2 + 1) + 1;
    while (sent_ < plan_.bytes) {
        if (pauses_left_ > 0 && random_.chance(plan_.pauses, pieces + plan_.pauses)) {
            --pauses_left_;
            const auto span = static_cast<uint64_t>(plan_.pause_max.ns());
            const auto pause = Duration::from_ns(static_cast<int64_t>(random_.below(span)) + 1);
            write_from_ = now() + pause;
            return wake(pause);
        }
        const uint64_t piece = 1 + random_.below(plan_.piece_max);
        if (!write_piece(std::min<uint64_t>(piece, plan_.bytes - sent_))) return;
    }
}

/// False where the stack takes no more for now.
bool End::write_piece(size_t size) {
    const auto bytes = std::span(out_).subspan(sent_, size);
    if (!plan_.zero_copy) {
        const auto taken = tcp::send_copy(env(), *connection_, bytes);
        if (taken) sent_ += *taken;
        return taken && *taken == size;
    }
    BufferChain chain;
    while (chain.size() < size) {
        const size_t part = std::min(size - chain.size(), Buffer::max_size);
        auto buffer = stack_->pools().region_buffer(region_, sent_ + chain.size(), part);
        if (!buffer) {  // the pool is dry: nobody tells when it is not any more
            write_from_ = now() + dry_wait_;
            wake(dry_wait_);
            dry_wait_ = std::min(dry_wait_ * 2, Duration(1_s));
            return false;
        }
        chain.append(std::move(*buffer));
    }
    dry_wait_ = 5_ms;
    const auto taken = tcp::send(env(), *connection_, chain);
    if (taken) sent_ += *taken;
    return taken.has_value();
}

void End::write_echo() {
    if (echo_.empty()) return;
    const auto size = static_cast<uint32_t>(echo_.size());
    if (!tcp::send(env(), *connection_, echo_)) return;  // an event follows
    sent_ += size;
    tcp::consumed(env(), *connection_, size);
}

void End::end_in_order() {
    using enum EndPlan::Ending;
    const bool written = plan_.echo ? saw_end_ && echo_.empty() : sent_ == plan_.bytes;
    if (!written) return;
    if (plan_.ending == shutdown && !shut_ && tcp::may_send(connection_->state)) {
        if (!tcp::shutdown_send(env(), *connection_))
            world_.fail(state() + " could not shut its sending side");
        shut_ = true;
    }
    const bool now_or_never = plan_.ending == close_when_sent;
    if (!now_or_never && (!saw_end_ || (plan_.wait_for_closed && shut_))) return;
    in_order_ = true;
    tcp::close(env(), *connection_);
    let_go();
}

void End::on_closed() {
    error_ = connection_->error;
    in_order_ = error_ == 0;
    note_end();
    if (error_ == ETIMEDOUT || error_ == EHOSTUNREACH)
        quiet_ = now() - world_.wire_.last_progress(local_, remote_);
    let_go();
}

void End::let_go() {
    connection_ = nullptr;
    held_.clear();
    echo_.clear();
}

void End::give_up() {
    if (connection_ == nullptr) return;
    // Without keepalives who has nothing to say never learns that his peer is gone.
    const bool silent = connection_->queued() == 0 && connection_->outstanding() == 0;
    const bool alone = world_.scenario_.cut || !peer_->begun_ || peer_->is_over();
    vain_ = silent && alone && world_.may_fail(number_);
    if (!vain_) world_.fail(state() + " hangs");
    tcp::abort(env(), *connection_);
    let_go();
}

std::string End::state() const {
    std::string text = fmt::format("connection {} {}: sent {} of {}, received {}{}{}", number_,
                                   is_client_ ? "client" : "server", sent_, plan_.bytes, received_,
                                   saw_end_ ? ", saw the end" : "",
                                   in_order_ ? ", closed in order" : "");
    if (violent_) text += ", was violent";
    if (error_ != 0) text += fmt::format(", error {}", Errno{error_}.message());
    if (connection_ == nullptr) return text + (begun_ ? "" : ", never begun");
    const tcp::Connection& c = *connection_;
    return text + fmt::format(", {} queued {} in flight {} snd_wnd {} rcv_wnd {} rcv_used {}",
                              tcp::name(c.state), c.queued(), c.outstanding(), c.snd_wnd,
                              c.rcv_window(), c.rcv_used);
}

}  // namespace millrace::testing
