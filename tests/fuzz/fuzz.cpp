#include "fuzz/fuzz.h"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include <sys/prctl.h>

#include "runtime/eal.h"

namespace millrace::fuzz {

namespace {

using Key = std::pair<size_t, uint32_t>;

/// Never destroyed: EAL's memory, from which they come, goes first.
std::map<Key, std::unique_ptr<buf::Pools>>& all_pools() {
    static auto& all = *new std::map<Key, std::unique_ptr<buf::Pools>>;
    return all;
}

void start_eal() {
    // Each pool of each stack would begin with two megabytes to be cleared.
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    EalConfig config;
    config.huge_pages = false;  // the same memory on every machine
    if (const auto started = runtime::start_eal(config, 256); !started)
        fail(started.error().what);
}

}  // namespace

void fail(std::string_view what) {
    std::fprintf(stderr, "fuzz: %.*s\n", static_cast<int>(what.size()), what.data());
    std::abort();
}

buf::Pools& pools(size_t which, uint32_t size) {
    auto& made = all_pools()[{which, size}];
    if (made == nullptr) {
        auto created = buf::Pools::create(
            "fuzz" + std::to_string(which) + "." + std::to_string(size),
            {.receive = size, .header = size, .attach = size, .payload = size, .region = 64});
        if (!created) fail(created.error().what);
        made = std::make_unique<buf::Pools>(std::move(*created));
    }
    return *made;
}

void expect_all_buffers_back() {
    for (const auto& [key, made] : all_pools())
        expect(made->available() == made->capacity(), "buffers are missing");
}

}  // namespace millrace::fuzz

extern "C" int LLVMFuzzerInitialize(int*, char***) {
    millrace::fuzz::start_eal();
    return 0;
}
