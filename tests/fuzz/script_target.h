// A wire script (tests/wire) as a fuzz target: one stack, and the input as its peer. What a script
// expects ends the process where it is not so.
#pragma once

#include <algorithm>
#include <vector>

#include "fuzz/fuzz.h"
#include "sim/leftovers.h"
#include "tcp/urgent.h"
#include "wire/script.h"

namespace millrace::fuzz {

/// A script of an input; begins with the choice of family and tunables.
class ScriptTarget {
public:
    explicit ScriptTarget(Input& in);

protected:
    /// What the peer sends next: a segment near the numbers of the connection, with options.
    testing::Packet segment();
    /// Options that make sense, or bytes that need not.
    testing::Packet with_options(const testing::Packet& packet);
    /// The frame of a packet, perhaps with other options, perhaps with some bytes changed, its
    /// checksums perhaps right again.
    std::vector<uint8_t> frame(const testing::Packet& packet);
    /// All that the stack has said is well-formed.
    void hear();
    void advance();
    /// The application accepts whoever waits.
    void accept();
    /// Everybody goes. Nothing may be left.
    void end();

    Input& in_;
    testing::Script script_;
    std::vector<testing::Endpoint*> ends_;  ///< whom the application holds

private:
    static testing::Script::Options options(Input& in);
    uint32_t near(uint32_t base);
};

}  // namespace millrace::fuzz
