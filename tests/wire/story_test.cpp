// What the flight recorder tells of a connection, in the language of these scripts.
#include "ss/story.h"

#include <algorithm>
#include <cctype>
#include <sstream>

#include "observe/recorder.h"
#include "wire/script.h"

namespace millrace::testing {
namespace {

using wire::TcpFlags;

std::vector<Story> stories_of(Script& s) {
    std::vector<TraceEvent> events;
    s.stack().recorder().copy(events);
    return observe::stories_in(events, {}, {});
}

std::string without_space(std::string text) {
    std::erase_if(text, [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; });
    return text;
}

/// The lines that are no mere comment, without times and space.
std::string script_of(const Story& story) {
    std::istringstream text(apps::story_text(story));
    std::string script, line;
    while (std::getline(text, line)) {
        const size_t behind = line.starts_with("/*") ? line.find("*/") + 3 : 0;
        script += line.substr(behind, line.find("//") - behind);
    }
    return without_space(script);
}

// Plays a script, and keeps its text.
#define PLAYED(...)                                      \
    const std::string played = without_space(#__VA_ARGS__); \
    __VA_ARGS__

TEST(Story, of_a_loss_is_the_script_that_has_made_it) {
    Script s;
    PLAYED(s.listen(80);
           s.inject(S(0).window(65535).mss(1000).sack_permitted());
           s.expect(SA(0, 1));
           s.inject(A(1, 1).window(65535));
           s.accept();
           s.inject(PA(1, 1).window(65535).data(100));
           s.expect(A(1, 101));
           s.send(3500);
           s.expect(A(1, 101).data(1000));
           s.expect(A(1001, 101).data(1000));
           s.expect(A(2001, 101).data(1000));
           s.expect(PA(3001, 101).data(500));
           s.advance(Duration::from_ns(2045440));
           s.expect(PA(2501, 101).data(1000));
           s.advance(Duration::from_ns(7954560));
           s.inject(A(101, 1).window(65535).sack({{1001, 3501}}));
           s.expect(A(1, 101).data(1000));
           s.advance(Duration::from_ns(10000000));
           s.inject(A(101, 3501).window(65535));
           s.close();
           s.expect(FA(3501, 101));
           s.inject(R(101).window(0)););
    const auto stories = stories_of(s);
    ASSERT_EQ(stories.size(), 1U);
    EXPECT_TRUE(stories[0].whole);
    EXPECT_EQ(script_of(stories[0]), played) << apps::story_text(stories[0]);
    // It has ended by a reset: kept beyond the ring.
    Story kept;
    ASSERT_TRUE(s.stack().recorder().copy_kept(0, {}, kept));
    EXPECT_EQ(script_of(kept), played);
}

TEST(Story, of_an_open_of_ours_is_the_script_that_has_made_it) {
    Script s;
    PLAYED(s.connect();
           s.expect(S(0));
           s.inject(SA(0, 1).window(5000).mss(1460));
           s.expect(A(1, 1));
           s.send(10);
           s.expect(PA(1, 1).data(10));
           s.inject(FA(1, 11).window(5000));
           s.expect(A(11, 2));
           s.close();
           s.expect(FA(11, 2)););
    const auto stories = stories_of(s);
    ASSERT_EQ(stories.size(), 1U);
    EXPECT_EQ(script_of(stories[0]), played) << apps::story_text(stories[0]);
}

TEST(Story, of_another_port_with_ecn_and_a_round_trip_is_the_script_that_has_made_it) {
    Script s;
    PLAYED(s.listen(8080);
           s.inject(S(0).flag(TcpFlags::ece).flag(TcpFlags::cwr).window(65535).mss(1000));
           s.expect(SA(0, 1).flag(TcpFlags::ece));
           s.advance(Duration::from_ns(30000000));
           s.inject(A(1, 1).window(65535));
           s.accept();
           s.inject(PA(1, 1).window(65535).data(100));
           s.expect(A(1, 101));
           s.close();
           s.expect(FA(1, 101)););
    const auto stories = stories_of(s);
    ASSERT_EQ(stories.size(), 1U);
    EXPECT_EQ(script_of(stories[0]), played) << apps::story_text(stories[0]);
}

TEST(Story, of_an_abort_is_kept) {
    Script s;
    s.establish();
    s.abort();
    s.expect(RA(1, 1));
    Story kept;
    ASSERT_TRUE(s.stack().recorder().copy_kept(0, {}, kept));
    ASSERT_FALSE(kept.events.empty());
    EXPECT_NE(apps::story_text(kept).find("s.expect(RA(1, 1));"), std::string::npos);
}

TEST(Story, in_time_wait_what_comes_and_its_answer_are_told) {
    Script s;
    s.establish();
    s.close();
    s.expect(FA(1, 1));
    s.inject(FA(1, 2));
    s.expect(A(2, 2));
    s.inject(FA(1, 2));
    s.expect(A(2, 2));
    const auto stories = stories_of(s);
    ASSERT_EQ(stories.size(), 2U);
    const auto rest = std::ranges::find(stories, false, &Story::whole);
    ASSERT_NE(rest, stories.end());
    ASSERT_EQ(rest->events.size(), 2U);
    EXPECT_EQ(rest->events[0].kind, TraceKind::in);
    EXPECT_EQ(rest->events[1].kind, TraceKind::out);
}

}  // namespace
}  // namespace millrace::testing
