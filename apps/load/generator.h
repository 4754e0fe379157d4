// One core's share of the load.
#pragma once

#include <deque>
#include <memory>
#include <random>
#include <vector>

#include "load/session.h"

namespace millrace::apps {

/// Lives on its core's thread, asked once in each turn of its loop. Must outlive the stack's last
/// turn. In this order: `open`, `begin`, `stop`, `abandon`.
class Generator final : public TurnHandler, private SessionOwner {
public:
    /// Its share is that of core `index` of `count`; `tls` is null without TLS.
    Generator(Stack& stack, const Plan& plan, uint16_t index, uint16_t count,
              std::unique_ptr<TlsContext> tls = nullptr);

    /// The connections that are to stand before anything is asked are opened.
    void open();
    /// All of these stand, or have failed for the first time.
    bool is_open() const;
    /// The load begins.
    void begin();
    /// The schedule is over, nobody asks any more: what is under way comes to its end, and so does
    /// what the schedule intended and had to wait.
    void stop();
    /// Everything that the schedule intended has been intended.
    bool is_schedule_over() const {
        return connects_.next() == Instant::never() && requests_.next() == Instant::never();
    }
    /// How much of the schedule had to wait when it was over.
    uint64_t behind() const { return behind_; }
    bool is_finished() const {
        return standing_ == 0 && (backlog_.empty() || plan_.mode != Mode::cps);
    }
    /// What has not come to its end is reset, what has not been begun counts as unsent.
    void abandon();

    /// The figures since the last time; `empty` takes their place.
    std::unique_ptr<Figures> exchange(std::unique_ptr<Figures> empty);
    /// Connections (or sockets) that there are now.
    uint64_t open_now() const { return established_; }
    uint16_t core() const { return stack_.core(); }
    /// With a plan's `output`: what was asked for is there.
    bool has_output() const { return has_output_; }
    /// Why TLS failed first; empty where it did not.
    const std::string& problem() const { return problem_; }

    bool on_turn(Stack& stack, Instant now) override;

private:
    // SessionOwner
    Stack& stack() override { return stack_; }
    const Plan& plan() const override { return plan_; }
    Figures& figures() override { return *figures_; }
    Exchanges& exchanges() override { return exchanges_; }
    TlsContext* tls() override { return tls_.get(); }
    SocketAddress next_source() override;
    void on_open(Session& session) override;
    void on_room(Session& session) override;
    void on_end(Session& session, bool failed) override;
    void on_problem(const std::string& what) override {
        if (problem_.empty()) problem_ = what;
    }

    bool is_scheduled() const { return plan_.mode == Mode::rps || plan_.mode == Mode::concurrent; }
    bool open_missing(Instant now);
    bool open_waiting();
    void open_one(Instant intended);
    void tried(Session& session);
    void ask_next(Session& session);
    bool run_connects(Instant now);
    bool run_requests(Instant now);
    void late(Instant intended, Instant now) { figures_->lag.add(now - intended); }
    void keep_for_later(Instant intended);
    Session* take_listed();
    Session* any_with_room();
    void list(Session& session);

    /// Connections that have been begun and have no answer yet.
    static constexpr uint32_t opening_max = 256;
    /// Of a schedule in one turn, so that the turn has an end.
    static constexpr uint32_t due_max = 256;
    /// Of a schedule that the target does not keep up with; more count as unsent at once.
    static constexpr size_t backlog_max = 1 << 24;
    static constexpr Duration pause = Duration::from_ms(10);

    Stack& stack_;
    const Plan& plan_;
    Exchanges exchanges_;
    const std::unique_ptr<TlsContext> tls_;
    std::mt19937_64 random_;
    std::unique_ptr<Figures> figures_ = std::make_unique<Figures>();
    std::vector<std::unique_ptr<Session>> sessions_;
    std::vector<Session*> closed_;   ///< without a connection
    std::deque<Session*> listed_;    ///< with room for a request; some have lost it since
    std::deque<Instant> backlog_;    ///< intended, and no session had room
    Schedule connects_;
    Schedule requests_;
    uint32_t wanted_ = 0;            ///< connections that should stand
    uint32_t standing_ = 0;          ///< sessions that have a connection, or try to
    uint32_t opening_ = 0;           ///< of these, how many try to
    size_t tried_ = 0;               ///< sessions that have had a first attempt
    uint64_t established_ = 0;
    Instant opening_again_;          ///< after a failure, not before
    uint64_t behind_ = 0;
    bool begun_ = false;
    bool stopping_ = false;
    bool has_output_ = false;
    size_t next_source_ = 0;
    std::string problem_;
};

}  // namespace millrace::apps
