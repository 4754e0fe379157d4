// What HdrHistogram's own tools would read from our log.
#include "load/hdr_log.h"

#include <zlib.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>
#include <sodium.h>

namespace millrace::apps {
namespace {

using namespace literals;

uint64_t number(const std::vector<uint8_t>& bytes, size_t at, size_t size) {
    uint64_t value = 0;
    for (size_t i = 0; i < size; ++i) value = value << 8 | bytes[at + i];
    return value;
}

/// The values (their buckets' least) and counts of an encoded histogram.
std::vector<std::pair<uint64_t, uint64_t>> decoded(const std::string& text) {
    std::vector<uint8_t> packed(text.size());
    size_t size = 0;
    EXPECT_EQ(sodium_base642bin(packed.data(), packed.size(), text.data(), text.size(), nullptr,
                                &size, nullptr, sodium_base64_VARIANT_ORIGINAL),
              0);
    EXPECT_EQ(number(packed, 0, 4), 0x1c849314U);
    EXPECT_EQ(number(packed, 4, 4), size - 8);
    std::vector<uint8_t> plain(1 << 20);
    uLongf plain_size = plain.size();
    EXPECT_EQ(uncompress(plain.data(), &plain_size, &packed[8], size - 8), Z_OK);
    EXPECT_EQ(number(plain, 0, 4), 0x1c849313U);
    EXPECT_EQ(number(plain, 4, 4), plain_size - 40);
    EXPECT_EQ(number(plain, 12, 4), 3U) << "digits";
    EXPECT_EQ(number(plain, 16, 8), 1U) << "lowest discernible value";
    EXPECT_EQ(number(plain, 24, 8), 3'600'000'000'000U);
    std::vector<std::pair<uint64_t, uint64_t>> found;
    uint64_t index = 0;
    for (size_t at = 40; at < plain_size;) {
        uint64_t raw = 0;
        for (unsigned shift = 0;; shift += 7) {
            const uint8_t byte = plain[at++];
            raw |= uint64_t{shift < 56 ? byte & 0x7fU : byte} << shift;
            if (shift == 56 || (byte & 0x80) == 0) break;
        }
        const auto value = static_cast<int64_t>(raw >> 1) ^ -static_cast<int64_t>(raw & 1);
        if (value < 0) {
            index += static_cast<uint64_t>(-value);
            continue;
        }
        // HdrHistogram's own arithmetic, by sub-buckets of 2048.
        uint64_t bucket = (index >> 10) > 0 ? (index >> 10) - 1 : 0;
        const uint64_t sub = index >= 2048 ? (index & 1023) + 1024 : index;
        found.emplace_back(sub << bucket, static_cast<uint64_t>(value));
        ++index;
    }
    return found;
}

TEST(HdrLog, an_encoded_histogram_decodes_to_its_counts) {
    Histogram histogram;
    for (int i = 0; i < 300; ++i) histogram.add(1_us);
    histogram.add(2047_ns);
    histogram.add(2048_ns);
    histogram.add(4099_ns);
    for (int i = 0; i < 70000; ++i) histogram.add(60_s);
    histogram.add(Duration());
    const auto found = decoded(hdr_encoded(histogram));
    const std::vector<std::pair<uint64_t, uint64_t>> wanted{
        {0, 1}, {1000, 300}, {2047, 1}, {2048, 1}, {4096, 1}, {59'995'324'416, 70000}};
    ASSERT_EQ(found.size(), wanted.size());
    for (size_t i = 0; i + 1 < wanted.size(); ++i) EXPECT_EQ(found[i], wanted[i]) << i;
    EXPECT_EQ(found.back().second, 70000U);
    EXPECT_LE(found.back().first, 60'000'000'000U);
    EXPECT_GT(found.back().first, 59'940'000'000U);
    EXPECT_TRUE(decoded(hdr_encoded(Histogram())).empty());
}

TEST(HdrLog, has_a_line_for_each_interval_and_tag) {
    const std::string path = ::testing::TempDir() + "millrace_hdr_test.log";
    auto log = HdrLog::create(path);
    ASSERT_TRUE(log);
    Histogram histogram;
    histogram.add(1500_us);
    (*log)->add("request", 0, 1.0004, histogram);
    (*log)->add("connect", 1.0004, 1, Histogram());
    (*log)->add("connect", 1.0004, 1, histogram);
    EXPECT_TRUE((*log)->close());
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    EXPECT_TRUE(text.str().starts_with("#[Histogram log format version 1.3]\n#[StartTime: "));
    EXPECT_NE(text.str().find("\nTag=request,0.000,1.000,1.500,HIST"), std::string::npos)
        << text.str();
    EXPECT_NE(text.str().find("\nTag=connect,1.000,1.000,1.500,HIST"), std::string::npos);
    EXPECT_EQ(std::ranges::count(text.str(), '\n'), 5) << "of nothing there is no line";
    std::remove(path.c_str());
    EXPECT_EQ(HdrLog::create("/nowhere/at/all").error(), ENOENT);
}

}  // namespace
}  // namespace millrace::apps
