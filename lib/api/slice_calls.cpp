// C functions of `millrace/socket.h` that move data without a copy: slices, regions, files.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

#include "api/c_calls.h"
#include "buf/storage.h"

using namespace millrace;
using namespace millrace::api;

struct mr_region {
    Region region;
};

namespace {

BufferStorage* owner_of(const mr_slice& slice) { return static_cast<BufferStorage*>(slice.owner); }

void give(Buffer&& buffer, mr_slice& slice) {
    slice.data = buffer.data();
    slice.size = buffer.size();
    slice.owner = BufferAccess::detach(std::move(buffer));
}

/// Out of the caller's hands; an empty slice is left there.
Buffer take(mr_slice& slice) {
    const mr_slice was = std::exchange(slice, {});
    return BufferAccess::attach(owner_of(was), static_cast<const std::byte*>(was.data),
                                static_cast<uint32_t>(was.size));
}

/// Empty, or within what it owns.
bool is_sound(const mr_slice& slice) {
    if (slice.owner == nullptr) return slice.size == 0;
    return BufferAccess::holds(owner_of(slice), slice.data, slice.size);
}

/// The caller's slices, one after the other. Those of no bytes are dropped on the way.
class SliceArray final : public SliceSource {
public:
    explicit SliceArray(std::span<mr_slice> slices) : rest_(slices) {}

    Result<Buffer> next() override {
        while (!rest_.empty() && rest_.front().size == 0) {
            take(rest_.front());
            rest_ = rest_.subspan(1);
        }
        return rest_.empty() ? Buffer() : take(rest_.front());
    }
    void taken(size_t) override {
        if (!rest_.empty()) rest_ = rest_.subspan(1);
    }
    void refused(Buffer slice) override {
        if (!slice.empty()) give(std::move(slice), rest_.front());
    }

private:
    std::span<mr_slice> rest_;
};

/// A file, mapped window by window; each stays mapped until its last byte is acknowledged.
class MappedFile final : public SliceSource {
public:
    MappedFile(Stack& stack, int file, off_t begin, off_t end)
        : stack_(stack), file_(file), at_(begin), end_(end) {}

    Result<Buffer> next() override {
        if (at_ == end_) return Buffer();
        if (!region_ || at_ >= window_end_)
            if (const auto mapped = map(); !mapped) return std::unexpected(mapped.error());
        const auto size = std::min<off_t>(window_end_ - at_, Buffer::max_size);
        return stack_.buffer_from(*region_, static_cast<size_t>(at_ - window_),
                                  static_cast<size_t>(size));
    }
    void taken(size_t bytes) override { at_ += static_cast<off_t>(bytes); }
    void refused(Buffer) override {}
    off_t at() const { return at_; }

private:
    static constexpr off_t window_max = 4 << 20;

    Result<void> map() {
        const off_t page = sysconf(_SC_PAGESIZE);
        window_ = at_ / page * page;
        window_end_ = std::min(end_, window_ + window_max);
        const auto size = static_cast<size_t>(window_end_ - window_);
        void* const memory = mmap(nullptr, size, PROT_READ, MAP_SHARED, file_, window_);
        if (memory == MAP_FAILED) return error(errno == ENODEV ? EINVAL : errno);
        region_.emplace(std::span(static_cast<const std::byte*>(memory), size),
                        [memory, size] { munmap(memory, size); });
        return {};
    }

    Stack& stack_;
    const int file_;
    off_t at_;
    const off_t end_;
    std::optional<Region> region_;
    off_t window_ = 0, window_end_ = 0;
};

/// Where in the file to begin, and its size; errors as Linux's sendfile.
Result<std::pair<off_t, off_t>> look_at_file(int file, const off_t* offset) {
    if (file >= MR_DESCRIPTOR_MIN) return error(EINVAL);
    const int mode = ::fcntl(file, F_GETFL);
    if (mode < 0 || (mode & O_ACCMODE) == O_WRONLY) return error(EBADF);
    const off_t at = offset != nullptr ? *offset : ::lseek(file, 0, SEEK_CUR);
    if (at < 0) return error(offset != nullptr ? EINVAL : errno);
    struct stat is {};
    if (::fstat(file, &is) < 0) return error(errno);
    if (!S_ISREG(is.st_mode)) return error(EINVAL);
    return std::pair(at, is.st_size);
}

}  // namespace

extern "C" {

ssize_t mr_recv_slices(int socket, mr_slice* slices, size_t* count, int flags) {
    return on_stream(socket, [&](StreamSocket& s, Sockets& sockets) -> Result<size_t> {
        if ((flags & ~(MSG_DONTWAIT | MSG_NOSIGNAL)) != 0) return error(EOPNOTSUPP);
        if (count == nullptr || (slices == nullptr && *count > 0)) return error(EFAULT);
        std::array<Buffer, MR_SLICES_MAX> buffers;
        const std::span<Buffer> room(buffers.data(), std::min(*count, buffers.size()));
        if (room.empty()) return error(EINVAL);
        *count = 0;
        const auto received = sockets.receive_slices(s, room, *count, flags);
        for (size_t i = 0; i < *count; ++i) give(std::move(room[i]), slices[i]);
        return received;
    });
}

int mr_consumed(int socket, size_t size) {
    return on_stream(socket, [&](StreamSocket& s, Sockets&) { return s.consumed(size); });
}

void mr_slice_release(mr_slice* slice) {
    if (slice != nullptr) take(*slice);
}

ssize_t mr_send_slices(int socket, mr_slice* slices, size_t count, int flags) {
    return on_stream(socket, [&](StreamSocket& s, Sockets& sockets) -> Result<size_t> {
        if ((flags & ~(MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE)) != 0) return error(EOPNOTSUPP);
        if (slices == nullptr && count > 0) return error(EFAULT);
        const std::span all(slices, count);
        if (!std::ranges::all_of(all, is_sound)) return error(EINVAL);
        SliceArray source(all);
        return sockets.send_slices(s, source, flags);
    });
}

mr_region* mr_region_create(const void* memory, size_t size, void (*released)(void*),
                            void* argument) {
    return new mr_region{Region({static_cast<const std::byte*>(memory), size},
                                [=] {
                                    if (released != nullptr) released(argument);
                                })};
}

void mr_region_destroy(mr_region* region) { delete region; }

int mr_region_slice(const mr_region* region, size_t offset, size_t size, mr_slice* slice) {
    return on_context([&](Sockets& sockets) -> Result<void> {
        if (region == nullptr || slice == nullptr) return error(EFAULT);
        auto buffer = sockets.stack().buffer_from(region->region, offset, size);
        if (!buffer) return std::unexpected(buffer.error());
        give(std::move(*buffer), *slice);
        return {};
    });
}

ssize_t mr_sendfile(int socket, int file, off_t* offset, size_t count) {
    const auto found = current_context == nullptr ? error(ENXIO) : look_at_file(file, offset);
    if (!found) return fail(found.error().value);
    if (count > SSIZE_MAX) return fail(EINVAL);
    const off_t begin = found->first;
    const off_t size = found->second;
    constexpr size_t count_max = 0x7ffff000;  // Linux's MAX_RW_COUNT
    const auto most = static_cast<off_t>(std::min(count, count_max));
    const off_t end = begin >= size ? begin : begin + std::min(size - begin, most);
    return on_stream(socket, [&](StreamSocket& s, Sockets& sockets) -> Result<size_t> {
        if (begin == end) return 0;  // whatever the socket is
        MappedFile source(sockets.stack(), file, begin, end);
        const auto sent = sockets.send_slices(s, source, 0);
        if (!sent) return sent;
        if (offset != nullptr)
            *offset = source.at();
        else
            ::lseek(file, source.at(), SEEK_SET);
        return sent;
    });
}

}  // extern "C"
