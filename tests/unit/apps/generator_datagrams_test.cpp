// The generator over UDP: what is lost, late, out of turn, or refused.
#include "echo/echo.h"
#include "unit/apps/generator_fixture.h"

namespace millrace::apps {
namespace {

TEST_F(GeneratorTest, datagrams_that_are_lost_are_counted_one_by_one) {
    EchoServer server(server_, true);
    ASSERT_TRUE(server.listen(80));
    plan_.protocol = Protocol::udp;
    plan_.mode = Mode::rps;
    plan_.rate = 2000;
    plan_.duration = 1;
    plan_.timeout = 0.05;
    begin();
    int sent = 0;
    network_.set_filter([&](const Stack& from, std::span<const std::byte>) {
        return &from == &server_ || ++sent % 100 != 0;
    });
    run(2_s);
    const Figures& figures = stop();
    EXPECT_EQ(figures.asked, 2000U);
    EXPECT_EQ(figures.completed, 1980U);
    expect_errors(figures, LoadError::lost, 20);
    EXPECT_EQ(server.served().requests, 1980U);
    EXPECT_EQ(figures.bytes_in, 1980 * 100U);
}

TEST_F(GeneratorTest, datagrams_on_their_way_together_are_lost_each_in_its_time) {
    plan_.protocol = Protocol::udp;
    plan_.connections = 1;
    plan_.pipeline = 8;
    network_.set_filter([](const Stack&, std::span<const std::byte>) { return false; });
    begin();
    run(490_ms);
    auto figures = generator_->exchange(std::make_unique<Figures>());
    EXPECT_EQ(figures->asked, 8U);
    run(20_ms);
    figures = generator_->exchange(std::make_unique<Figures>());
    expect_errors(*figures, LoadError::lost, 8);
    EXPECT_EQ(figures->asked, 8U) << "others in their place";
    generator_->stop();
    run(600_ms, 1_ms);
    EXPECT_TRUE(generator_->is_finished());
}

TEST_F(GeneratorTest, an_echo_of_another_size_is_a_bad_answer) {
    struct Cutter final : UdpHandler {
        void on_readable(UdpSocket socket) override {
            while (auto datagram = socket.receive()) {
                datagram->data.trim_back(1);
                OutgoingDatagram back;
                back.destination = datagram->source;
                back.data = std::move(datagram->data);
                (void)socket.send(back);
            }
        }
    } cutter;
    ASSERT_TRUE(UdpSocket::open(server_, {Address(), 80}, cutter));
    plan_.protocol = Protocol::udp;
    plan_.connections = 1;
    begin();
    run(10_ms);
    const auto figures = generator_->exchange(std::make_unique<Figures>());
    expect_errors(*figures, LoadError::bad_answer, 1);
    generator_->abandon();
}

TEST_F(GeneratorTest, datagrams_in_any_order_and_number_are_each_counted_once) {
    EchoServer server(server_, true);
    ASSERT_TRUE(server.listen(80));
    plan_.protocol = Protocol::udp;
    plan_.connections = 1;
    plan_.pipeline = 16;
    network_.impair(server_, {.delay = 50_us, .reorder_ppm = 200'000, .reorder_by = 300_us,
                              .duplicate_ppm = 200'000});
    begin();
    run(200_ms);
    const Figures& figures = stop();
    expect_errors(figures, LoadError::lost, 0);
    EXPECT_EQ(figures.asked, figures.completed);
    EXPECT_GT(figures.completed, 5000U);
    EXPECT_GT(figures.bytes_in, figures.completed * 100) << "duplicates came, too";
}

TEST_F(GeneratorTest, a_datagram_that_nobody_listens_for_is_refused_once) {
    plan_.protocol = Protocol::udp;
    plan_.mode = Mode::rps;
    plan_.rate = 100;
    plan_.duration = 1;
    begin();
    run(2_s);
    const Figures& figures = stop();
    EXPECT_EQ(figures.asked, 100U);
    expect_errors(figures, LoadError::refused, 100);
}

}  // namespace
}  // namespace millrace::apps
