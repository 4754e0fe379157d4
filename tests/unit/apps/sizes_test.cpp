// Sizes of requests and answers, as text and as they are drawn.
#include "load/sizes.h"

#include <map>

#include <gtest/gtest.h>

namespace millrace::apps {
namespace {

Sizes sizes(std::string_view text) {
    const auto parsed = Sizes::parse(text, 1, 1 << 20);
    EXPECT_TRUE(parsed) << parsed.error().what;
    return parsed ? *parsed : Sizes();
}

TEST(Sizes, one_size_is_each) {
    std::mt19937_64 random(1);
    Sizes one = sizes("1500");
    for (int i = 0; i < 3; ++i) EXPECT_EQ(one.draw(random), 1500U);
    EXPECT_EQ(one.least(), 1500U);
    EXPECT_EQ(one.most(), 1500U);
}

TEST(Sizes, a_list_is_taken_in_turn) {
    std::mt19937_64 random(1);
    Sizes list = sizes("1,20,300");
    for (const uint32_t wanted : {1, 20, 300, 1, 20, 300, 1}) EXPECT_EQ(list.draw(random), wanted);
    EXPECT_EQ(list.least(), 1U);
    EXPECT_EQ(list.most(), 300U);
}

TEST(Sizes, weights_say_how_often) {
    std::mt19937_64 random(1);
    Sizes mix = sizes("64*90,1500*9,100000*1");
    std::map<uint32_t, int> drawn;
    for (int i = 0; i < 100'000; ++i) ++drawn[mix.draw(random)];
    EXPECT_EQ(drawn.size(), 3U);
    EXPECT_NEAR(drawn[64], 90'000, 500);
    EXPECT_NEAR(drawn[1500], 9'000, 500);
    EXPECT_NEAR(drawn[100000], 1'000, 200);
}

TEST(Sizes, a_uniform_distribution_has_all_between) {
    std::mt19937_64 random(1);
    Sizes uniform = sizes("uniform:10:19");
    std::map<uint32_t, int> drawn;
    for (int i = 0; i < 100'000; ++i) ++drawn[uniform.draw(random)];
    EXPECT_EQ(drawn.size(), 10U);
    EXPECT_EQ(drawn.begin()->first, 10U);
    EXPECT_EQ(drawn.rbegin()->first, 19U);
    for (const auto& [size, count] : drawn) EXPECT_NEAR(count, 10'000, 500) << size;
}

TEST(Sizes, an_exponential_distribution_has_its_mean_and_its_end) {
    std::mt19937_64 random(1);
    Sizes exponential = sizes("exponential:1000:1000000");
    double sum = 0;
    for (int i = 0; i < 100'000; ++i) sum += exponential.draw(random);
    EXPECT_NEAR(sum / 100'000, 1000, 20);
    Sizes cut = sizes("exponential:1000:1001");
    for (int i = 0; i < 1000; ++i) {
        const uint32_t size = cut.draw(random);
        EXPECT_GE(size, cut.least());
        EXPECT_LE(size, 1001U);
    }
    EXPECT_EQ(cut.least(), 1U);
}

TEST(Sizes, what_is_none_is_refused_with_the_reason) {
    for (const auto& [text, why] : {std::pair{"", "is no size"},
                                    {"12x", "is no size"},
                                    {"1,,2", "is no size"},
                                    {"-5", "is no size"},
                                    {"0", "is out of range"},
                                    {"1048577", "is out of range"},
                                    {"uniform:10:9", "is no distribution"},
                                    {"uniform:10", "is no size"},
                                    {"uniform:1*2:9", "is no distribution"},
                                    {"normal:1:2", "is no size"},
                                    {"1*0", "has a weight that is none"},
                                    {"1*2,3", "has weights for some only"},
                                    {"1*2*3", "is no size"}}) {
        const auto parsed = Sizes::parse(text, 1, 1 << 20);
        ASSERT_FALSE(parsed) << text;
        EXPECT_NE(parsed.error().what.find(why), std::string::npos) << parsed.error().what;
        EXPECT_NE(parsed.error().what.find("from 1 to 1048576"), std::string::npos);
    }
}

}  // namespace
}  // namespace millrace::apps
