// A generator on one wire with whatever a test has to answer it, under a virtual clock.
#pragma once

#include <millrace/testing.h>

#include <gtest/gtest.h>

#include "load/generator.h"
#include "unit/apps/wire_host.h"

namespace millrace::apps {

using namespace literals;
using testing::Network;

constexpr Duration one_way = 50_us;  // of a test's network
constexpr Duration turn = 20_us;     // how often the generator is asked

class GeneratorTest : public ::testing::Test {
protected:
    GeneratorTest()
        : server_(**network_.add(wire_host("10.0.0.1/24"))),
          client_(**network_.add(wire_host("10.0.0.2/24"))) {
        plan_.target = {Address::v4(10, 0, 0, 1), 80};
        plan_.protocol = Protocol::echo;
        plan_.request_size = Sizes(100);
        plan_.connections = 16;
        plan_.timeout = 0.5;
    }
    ~GeneratorTest() override { network_.remove(client_); }

    void listen(ListenHandler& handler) {
        ASSERT_TRUE(server_.listen({Address(), plan_.target.port}, handler));
    }
    void make() {
        const auto whole = complete(plan_);
        ASSERT_TRUE(whole) << whole.error().what;
        std::unique_ptr<TlsContext> tls;
        if (plan_.protocol == Protocol::https)
            tls = std::move(*TlsContext::client(plan_.tls));
        generator_ = std::make_unique<Generator>(client_, plan_, 0, 1, std::move(tls));
    }
    /// Opens what is to stand, and begins.
    void begin() {
        make();
        generator_->open();
        for (int i = 0; i < 100'000 && !generator_->is_open(); ++i) run(turn);
        ASSERT_TRUE(generator_->is_open());
        generator_->begin();
    }
    void run(Duration time) { run(time, turn); }
    void run(Duration time, Duration step) {
        const Instant end = network_.now() + time;
        while (network_.now() < end) {
            generator_->on_turn(client_, network_.now());
            network_.advance(step);
        }
    }
    /// No new load; all that is under way comes to its end. The figures of everything.
    const Figures& stop() {
        generator_->stop();
        run(3_s, 1_ms);
        EXPECT_TRUE(generator_->is_finished());
        generator_->abandon();
        all_ = generator_->exchange(std::make_unique<Figures>());
        EXPECT_EQ(client_.population().connections, 0U);
        EXPECT_EQ(all_->established, all_->closed);
        return *all_;
    }
    void expect_errors(const Figures& figures, LoadError error, uint64_t count) {
        for (size_t i = 0; i < load_error_count; ++i) {
            const auto kind = static_cast<LoadError>(i);
            EXPECT_EQ(figures.errors[i], kind == error ? count : 0) << name_of(kind);
        }
    }

    Network network_{1};
    Stack& server_;
    Stack& client_;
    Plan plan_;
    std::unique_ptr<Generator> generator_;
    std::unique_ptr<Figures> all_;
};

}  // namespace millrace::apps
