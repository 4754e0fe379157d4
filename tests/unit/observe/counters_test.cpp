#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "observe/counters.h"

namespace millrace::observe {
namespace {

using Entry = std::pair<std::string, uint64_t>;

std::vector<Entry> entries(const Counters& counters) {
    std::vector<Entry> all;
    counters.for_each(
        [&](std::string_view name, uint64_t value) { all.emplace_back(name, value); });
    return all;
}

/// Every counter and every drop reason has a value of its own: 1, 2, 3 ...
Counters numbered() {
    Counters counters;
    uint64_t n = 0;
#define X(member, name) counters.member = ++n;
    MILLRACE_COUNTERS(X)
#undef X
    for (uint64_t& dropped : counters.dropped) dropped = ++n;
    return counters;
}

TEST(DropReasons, each_has_a_name_of_its_own_and_a_sentence_of_its_own) {
    std::set<std::string_view> names;
    std::set<std::string_view> sentences;
    for (const DropReason& reason : drop_reasons) {
        EXPECT_TRUE(names.insert(reason.name).second) << reason.name;
        EXPECT_TRUE(sentences.insert(reason.sentence).second) << reason.name;
        // A sentence says more than its name: several words, and no full stop in a list.
        EXPECT_GE(std::ranges::count(reason.sentence, ' '), 3) << reason.name;
        EXPECT_NE(reason.sentence.back(), '.') << reason.name;
        EXPECT_EQ(reason.sentence.find("  "), std::string_view::npos) << reason.name;
    }
    EXPECT_EQ(names.size(), drop_count);
}

TEST(DropReasons, the_enumerator_is_the_place_of_its_name) {
    const auto name = [](Drop reason) { return drop_reasons[static_cast<size_t>(reason)].name; };
    EXPECT_EQ(name(Drop::ethernet_truncated), "ethernet_truncated");
    EXPECT_EQ(name(Drop::fragment_timeout), "fragment_timeout");
    EXPECT_EQ(name(Drop::tcp_accept_queue_full), "tcp_accept_queue_full");
    EXPECT_EQ(name(Drop::transmit_full), "transmit_full");
    EXPECT_EQ(static_cast<size_t>(Drop::ethernet_truncated), 0U);
    EXPECT_EQ(static_cast<size_t>(Drop::transmit_full), drop_count - 1);
}

TEST(Counters, each_has_a_name_that_no_drop_reason_has) {
    std::set<std::string> names;
    for (const auto& [name, value] : entries(Counters())) {
        EXPECT_TRUE(names.insert(name).second) << name;
        EXPECT_EQ(value, 0U) << name;
    }
    // Linux's name for what Linux counts too: a reader of nstat knows these.
    for (const char* name : {"TcpActiveOpens", "TcpPassiveOpens", "TcpRetransSegs",
                             "TcpExtListenOverflows", "TcpExtListenDrops", "TcpExtTCPTimeouts"})
        EXPECT_TRUE(names.contains(name)) << name;
}

TEST(Counters, for_each_visits_every_field_once_and_in_order) {
    const auto all = entries(numbered());
    // A member beside the list would be counted and never told.
    EXPECT_EQ(all.size(), sizeof(Counters) / sizeof(uint64_t));
    for (size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i].second, i + 1) << all[i].first;
    EXPECT_EQ(all.front().first, "FramesIn");
    EXPECT_EQ(all[all.size() - drop_count].first, "ethernet_truncated");
    EXPECT_EQ(all.back().first, "transmit_full");
}

TEST(Counters, a_drop_counts_under_its_reason_and_nowhere_else) {
    for (size_t i = 0; i < drop_count; ++i) {
        Counters counters;
        const auto reason = static_cast<Drop>(i);
        counters.drop(reason);
        counters.drop(reason);
        EXPECT_EQ(counters.drops(reason), 2U);
        EXPECT_EQ(counters.drops_total(), 2U);
        for (const auto& [name, value] : entries(counters))
            EXPECT_EQ(value, name == drop_reasons[i].name ? 2U : 0U) << name;
    }
}

TEST(Counters, adding_adds_every_field_and_leaves_the_other_as_it_was) {
    Counters sum = numbered();
    const Counters other = numbered();
    EXPECT_EQ(&(sum += other), &sum);
    const auto all = entries(sum);
    for (size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i].second, 2 * (i + 1)) << all[i].first;
    EXPECT_EQ(entries(other), entries(numbered()));
    uint64_t drops = 0;
    for (size_t i = all.size() - drop_count; i < all.size(); ++i) drops += all[i].second;
    EXPECT_EQ(sum.drops_total(), drops);
}

}  // namespace
}  // namespace millrace::observe
