// The timing wheel with few and with very many timers armed.
#include <array>
#include <memory>
#include <vector>

#include "base/random.h"
#include "measured.h"
#include "time/wheel.h"

namespace millrace {
namespace {

using bench::batch;
using bench::in_batches;
using bench::with_argument;

/// `range` timers, armed over the next two hours as keep-alive would have it, and a batch beside.
class Armed {
public:
    explicit Armed(const benchmark::State& state) : timers_(static_cast<size_t>(state.range(0))) {
        for (time::WheelEntry& timer : timers_) wheel.arm(timer, later(two_hours_us));
    }

    Instant later(int64_t within_us) {
        const auto draw = random_.below(static_cast<uint64_t>(within_us));
        return now + Duration::from_us(static_cast<int64_t>(draw) + 1);
    }
    void draw_deadlines(int64_t within_us) {
        for (Instant& deadline : deadlines) deadline = later(within_us);
    }
    void draw_timers() {
        for (time::WheelEntry*& timer : drawn) timer = &timers_[random_.below(timers_.size())];
    }
    void arm() {
        for (size_t i = 0; i < batch; ++i) wheel.arm(beside[i], deadlines[i]);
    }
    void cancel() {
        for (time::WheelEntry& timer : beside) time::Wheel::cancel(timer);
    }

    static constexpr int64_t two_hours_us = 7'200'000'000;
    static constexpr int64_t a_second_us = 1'000'000;
    Instant now;
    time::Wheel wheel{Instant()};
    std::array<time::WheelEntry, batch> beside;
    std::array<time::WheelEntry*, batch> drawn{};
    std::array<Instant, batch> deadlines;

private:
    std::vector<time::WheelEntry> timers_;
    Random random_{3};
};

void wheel_arm(benchmark::State& state) {
    const auto armed = std::make_unique<Armed>(state);
    in_batches(state, with_argument("wheel_arm", state), [&] {
        armed->cancel();
        armed->draw_deadlines(Armed::a_second_us);
    }, [&] { armed->arm(); });
}
BENCHMARK(wheel_arm)->Apply(bench::populations);

void wheel_cancel(benchmark::State& state) {
    const auto armed = std::make_unique<Armed>(state);
    in_batches(state, with_argument("wheel_cancel", state), [&] {
        armed->draw_deadlines(Armed::a_second_us);
        armed->arm();
    }, [&] { armed->cancel(); });
}
BENCHMARK(wheel_cancel)->Apply(bench::populations);

/// Any of those that are armed is moved: the entry and its neighbours in the slot are cold.
void wheel_rearm(benchmark::State& state) {
    const auto armed = std::make_unique<Armed>(state);
    in_batches(state, with_argument("wheel_rearm", state), [&] {
        armed->draw_timers();
        armed->draw_deadlines(Armed::two_hours_us);
    }, [&] {
        for (size_t i = 0; i < batch; ++i) armed->wheel.arm(*armed->drawn[i], armed->deadlines[i]);
    });
}
BENCHMARK(wheel_rearm)->Apply(bench::populations);

/// A batch falls due within a second that the wheel is turned through, millisecond by millisecond;
/// the others are armed for much later, and what they cost on the way down counts, too.
void wheel_expire(benchmark::State& state) {
    const auto armed = std::make_unique<Armed>(state);
    in_batches(state, with_argument("wheel_expire", state), [&] {
        armed->draw_deadlines(Armed::a_second_us);
        armed->arm();
    }, [&] {
        for (int ms = 0; ms <= 1000; ++ms) {
            armed->now = armed->now + Duration::from_ms(1);
            armed->wheel.advance(armed->now, batch * 16, [&](time::WheelEntry& timer) {
                // Those that stay in number.
                if (&timer < armed->beside.data() || &timer >= armed->beside.data() + batch)
                    armed->wheel.arm(timer, armed->now + Duration::from_s(7200));
            });
        }
    });
}
BENCHMARK(wheel_expire)->Apply(bench::populations);

}  // namespace
}  // namespace millrace
