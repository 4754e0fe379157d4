// Every test program: EAL first, since buffers come from its memory; then GoogleTest.
#include <cstdio>

#include <gtest/gtest.h>

#include "runtime/eal.h"

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    millrace::EalConfig eal;
    eal.huge_pages = false;  // the same memory on every machine
    if (auto started = millrace::runtime::start_eal(eal, 1024); !started) {
        std::fprintf(stderr, "%s\n", started.error().what.c_str());
        return 2;
    }
    return RUN_ALL_TESTS();
}
