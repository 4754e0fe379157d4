#include "load/filling.h"

#include <algorithm>
#include <random>
#include <vector>

namespace millrace::apps {

namespace {

// Filling from so much on goes by reference, less is copied into its segment.
constexpr size_t copied_max = 2048;

/// The filling as memory that buffers can refer to; it lives as long as the program.
const Region& filling_region() {
    static const Region region(filling(), {});
    return region;
}

}  // namespace

std::span<const std::byte> filling() {
    static const auto bytes = [] {
        std::vector<std::byte> made(filling_size);
        std::mt19937 random(1);  // any numbers, the same everywhere (ISO C++ fixes the generator)
        for (std::byte& byte : made) byte = static_cast<std::byte>(random() >> 24);
        return made;
    }();
    return bytes;
}

Result<size_t> send_filling(Stack& stack, Channel& channel, size_t offset, size_t size) {
    const size_t place = offset % filling_size;
    const size_t most = std::min({size, filling_size - place, Buffer::max_size});
    if (channel.tls() != nullptr) return channel.send(filling().subspan(place, most));
    if (most > copied_max)
        if (auto buffer = stack.buffer_from(filling_region(), place, most))
            return channel.send(std::move(*buffer));
    // Also where there was no buffer to refer to it with: a copy moves things on.
    return channel.send(filling().subspan(place, std::min(most, copied_max)));
}

size_t send_stream(Stack& stack, Channel& channel, size_t offset) {
    size_t sent = 0;
    while (const auto more = send_filling(stack, channel, offset + sent, Buffer::max_size))
        sent += *more;
    return sent;
}

}  // namespace millrace::apps
