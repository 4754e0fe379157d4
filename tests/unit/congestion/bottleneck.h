// A sender with a `Control` before one bottleneck: rate, delay, buffer, and a threshold for marks.
//
// Segments are numbered as they are sent and never sent again: what is lost is made up by later
// numbers, so that the model needs no retransmission. Each segment is acknowledged by itself; three
// that arrive past a hole show that it is lost. Recovery sets cwnd at once where PRR would take a
// round trip. Virtual time, no randomness: every run is the same.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>

#include "congestion/control.h"

namespace millrace::congestion {

struct Path {
    uint64_t rate = 5'000'000;  ///< bytes per second
    Duration rtt = Duration::from_ms(40);
    uint32_t buffer = 200'000;  ///< bytes
    uint32_t mark_above = Window::unlimited;
    uint32_t lose_one_in = 0;  ///< besides what the buffer drops; zero: none
};

class Bottleneck {
public:
    Bottleneck(Algorithm algorithm, Path path, uint16_t mss = 1000) : path_(path), bbrs_(1) {
        window_.mss = mss;
        window_.cwnd = 10U * mss;
        control_.begin(algorithm, window_, now_, bbrs_);
    }
    ~Bottleneck() { control_.release(bbrs_); }

    /// Called after each ACK.
    std::function<void(const Ack&)> watch;
    /// Whether the application has something to send; always, unless set.
    std::function<bool()> may_send = [] { return true; };
    /// Pacing for those that do not ask for it.
    bool paced = false;

    void run_until(Instant end) {
        while (now_ < end) step(end);
    }
    void run_for(Duration d) { run_until(now_ + d); }
    /// No sending: what is in flight arrives, then the clock moves.
    void idle_for(Duration d) {
        idle_ = true;
        const Instant end = now_ + d;
        while (!flying_.empty()) step(end + d);
        now_ = std::max(now_, end);
        idle_ = false;
        control_.on_idle(window_, d, Duration::from_ms(200), now_);
    }

    Path& path() { return path_; }
    Control& control() { return control_; }
    const Bbr& bbr() const { return *control_.bbr(); }
    const Window& window() const { return window_; }
    Instant now() const { return now_; }
    uint64_t delivered() const { return delivered_; }
    uint64_t lost() const { return lost_; }
    uint32_t in_flight() const { return in_flight_; }
    uint32_t queue() const { return queue_at(now_); }
    uint32_t reductions() const { return reductions_; }
    uint32_t bdp() const {
        return static_cast<uint32_t>(path_.rate * static_cast<uint64_t>(path_.rtt.us()) /
                                     1'000'000);
    }
    /// The share of the bottleneck's rate, in percent, that is delivered from now on in `d`.
    uint64_t share_over(Duration d) {
        const uint64_t before = delivered_;
        run_for(d);
        return (delivered_ - before) * 100'000'000 / (path_.rate * static_cast<uint64_t>(d.us()));
    }

private:
    struct Segment {
        uint32_t number;
        Instant sent, arrives;  // `arrives`: when its ACK does
        Instant first_sent, delivered_at;
        uint64_t delivered, lost;
        uint32_t tx_in_flight;
        bool marked = false, dropped = false, limited = false;
    };

    uint32_t queue_at(Instant t) const {
        if (busy_until_ <= t) return 0;
        return static_cast<uint32_t>(path_.rate * static_cast<uint64_t>((busy_until_ - t).ns()) /
                                     1'000'000'000);
    }
    bool cwnd_allows() const { return in_flight_ + window_.mss <= window_.cwnd; }

    void step(Instant end) {
        const bool wants = !idle_ && cwnd_allows() && may_send();
        const Instant send_at = wants ? std::max(now_, next_send_) : Instant::never();
        const auto next = std::find_if(flying_.begin(), flying_.end(),
                                       [](const Segment& s) { return !s.dropped; });
        const Instant ack_at = next == flying_.end() ? Instant::never() : next->arrives;
        if (std::min(send_at, ack_at) >= end) {
            now_ = end;
        } else if (send_at < ack_at) {
            now_ = send_at;
            send();
        } else if (ack_at != Instant::never()) {
            now_ = ack_at;
            const Segment acked = *next;
            flying_.erase(next);  // what lies before it was dropped, and is little
            receive(acked);
        }
        if (ack_at == Instant::never() && !flying_.empty() && !wants) time_out();
    }

    void send() {
        if (in_flight_ == 0) first_sent_ = delivered_at_ = now_;
        in_flight_ += window_.mss;
        max_in_flight_ = std::max(max_in_flight_, in_flight_);
        Segment s{.number = next_number_++,
                  .sent = now_,
                  .first_sent = first_sent_,
                  .delivered_at = delivered_at_,
                  .delivered = delivered_,
                  .lost = lost_,
                  .tx_in_flight = in_flight_};
        const uint32_t queue = queue_at(now_);
        s.dropped = queue + window_.mss > path_.buffer ||
                    (path_.lose_one_in != 0 && s.number % path_.lose_one_in == 1);
        if (!s.dropped) {
            s.marked = queue > path_.mark_above;
            busy_until_ = std::max(busy_until_, now_) +
                          Duration::from_ns(
                              static_cast<int64_t>(window_.mss * 1'000'000'000ULL / path_.rate));
            s.arrives = busy_until_ + path_.rtt;
        }
        flying_.push_back(s);
        const uint64_t rate = control_.pacing_rate(window_, srtt_, paced);
        if (rate != 0)
            next_send_ = std::max(now_, next_send_) +
                         Duration::from_ns(static_cast<int64_t>(std::min<uint64_t>(
                             window_.mss * 1'000'000'000ULL / rate, 1ULL << 40)));
    }

    void receive(const Segment& s) {
        Ack ack;
        ack.now = now_;
        ack.prior_in_flight = in_flight_;
        sample(s, ack);
        ack.window_limited =
            !cwnd_allows() || (window_.in_slow_start() && window_.cwnd < 2 * max_in_flight_);
        max_in_flight_ = in_flight_;
        in_flight_ -= window_.mss;
        detect_losses(s, ack);
        ack.in_flight = in_flight_;
        ack.delivered = delivered_;
        ack.lost = lost_;
        ack.snd_nxt = Seq(next_number_ * window_.mss);
        ack.snd_una = flying_.empty() ? ack.snd_nxt : Seq(flying_.front().number * window_.mss);
        ack.ece = s.marked;
        control_.on_ecn(window_, ack);
        recover(ack);
        ack.in_recovery = in_recovery_;
        if (!in_recovery_ || control_.controls_recovery()) control_.on_ack(window_, ack);
        if (watch) watch(ack);
    }

    /// draft-cheng-iccrg-delivery-rate-estimation section 3.3.
    void sample(const Segment& s, Ack& ack) {
        delivered_ += window_.mss;
        ack.acked = ack.newly_delivered = window_.mss;
        ack.rtt = now_ - s.sent;
        srtt_ = srtt_ == Duration() ? ack.rtt : (srtt_ * 7 + ack.rtt) / 8;
        min_rtt_ = min_rtt_ == Duration() ? ack.rtt : std::min(min_rtt_, ack.rtt);
        ack.srtt = srtt_;
        ack.min_rtt = min_rtt_;
        ack.rate.prior_delivered = s.delivered;
        ack.rate.delivered = static_cast<uint32_t>(delivered_ - s.delivered);
        ack.rate.tx_in_flight = s.tx_in_flight;
        ack.rate.interval = std::max(s.sent - s.first_sent, now_ - s.delivered_at);
        ack.rate.app_limited = s.limited;
        first_sent_ = s.sent;
        delivered_at_ = now_;
        sampled_lost_ = s.lost;
    }

    void detect_losses(const Segment& s, Ack& ack) {
        while (!flying_.empty() && flying_.front().number + 3 <= s.number) {
            const Segment& f = flying_.front();
            in_flight_ -= window_.mss;
            lost_ += window_.mss;
            ack.newly_lost += window_.mss;
            ack.loss = {.tx_in_flight = f.tx_in_flight,
                        .lost = static_cast<uint32_t>(lost_ - f.lost),
                        .size = window_.mss,
                        .app_limited = f.limited};
            flying_.pop_front();
        }
        ack.rate.lost = static_cast<uint32_t>(lost_ - sampled_lost_);
    }

    void recover(Ack& ack) {
        if (in_recovery_ && ack.snd_una >= recovery_point_) {
            in_recovery_ = false;
            control_.on_recovery_exit(window_, ack);
        }
        const bool congested = ack.newly_lost > 0 || ack.ece;
        if (in_recovery_ || !congested) return;
        in_recovery_ = true;
        ++reductions_;
        recovery_point_ = ack.snd_nxt;
        window_.ssthresh = control_.ssthresh(window_, ack);
        if (!control_.controls_recovery()) window_.set(window_.ssthresh);
    }

    void time_out() {
        now_ = now_ + Duration::from_ms(200);
        Ack ack;
        ack.now = now_;
        ack.delivered = delivered_;
        ack.snd_una = Seq(flying_.front().number * window_.mss);
        ack.snd_nxt = Seq(next_number_ * window_.mss);
        window_.ssthresh = control_.ssthresh(window_, ack);
        lost_ += in_flight_;
        in_flight_ = 0;
        flying_.clear();
        window_.set(window_.mss);
        in_recovery_ = true;
        recovery_point_ = ack.snd_nxt;
        control_.on_timeout(window_, ack);
        control_.on_recovery_exit(window_, ack);
        in_recovery_ = false;
    }

    Path path_;
    Pool<Bbr> bbrs_;
    Control control_;
    Window window_;
    Instant now_ = Instant::from_ns(1'000'000'000);
    Instant next_send_, busy_until_, first_sent_, delivered_at_;
    std::deque<Segment> flying_;
    Duration srtt_, min_rtt_;
    uint64_t delivered_ = 0, lost_ = 0, sampled_lost_ = 0;
    uint32_t next_number_ = 4'000'000;  // times the segment size: crosses the wrap early
    uint32_t in_flight_ = 0, max_in_flight_ = 0, reductions_ = 0;
    bool in_recovery_ = false, idle_ = false;
    Seq recovery_point_;
};

}  // namespace millrace::congestion
