#include "api/capture_session.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <climits>
#include <span>

#include <fmt/format.h>
#include <rte_cycles.h>

namespace millrace::api {

namespace {

using runtime::CapturedFrame;
using runtime::Tap;
using Steady = std::chrono::steady_clock;

// How long the writer sleeps where nothing is to be written: cores wake nobody.
constexpr int nap_ms = 1;
// So often the other side hears of us.
constexpr auto silence_max = std::chrono::milliseconds(200);
// What is left goes to a client that takes it within so long, once the program ends.
constexpr int last_words_ms = 1000;
// A receive buffer: what a frame has at least, however small the MTU.
constexpr uint32_t room_min = 2048;
// Above the MTU: tags, trailers.
constexpr uint32_t room_around = 64;
// A power of two between these: `CaptureOptions::waiting`.
constexpr uint32_t waiting_lowest = 64;
constexpr uint32_t waiting_highest = 65536;

/// Copies of one core in a round.
struct Burst {
    std::array<const CapturedFrame*, Tap::burst_max> copies;
    size_t size = 0;
    size_t used = 0;

    const CapturedFrame* front() const { return used < size ? copies[used] : nullptr; }
};

/// Whose oldest copy is the oldest of all; null where none has any.
Burst* oldest(std::vector<Burst>& bursts) {
    Burst* found = nullptr;
    for (Burst& burst : bursts)
        if (burst.front() != nullptr &&
            (found == nullptr || burst.front()->tsc < found->front()->tsc))
            found = &burst;
    return found;
}

}  // namespace

void CaptureSession::run() {
    if (const auto ready = prepare(); !ready) {
        send(InspectReply::Kind::failure, ready.error().what.data(), ready.error().what.size());
    } else if (follow() && finish()) {
        send(InspectReply::Kind::end, nullptr, 0);
    }
    // Those that are attached still: their core forgets them when it can.
    for (const auto& tap : taps_) tap->close();
}

Started<void> CaptureSession::prepare() {
    const CaptureRequest& wanted = request_.capture;
    if (wanted.snaplen < 1 || wanted.snaplen > UINT16_MAX)
        return failure(fmt::format("capture: snaplen {} is not from 1 to 65535", wanted.snaplen),
                       EINVAL);
    if (!std::has_single_bit(wanted.waiting) || wanted.waiting < waiting_lowest ||
        wanted.waiting > waiting_highest)
        return failure(fmt::format("capture: {} waiting copies are not a power of two from {} to "
                                   "{}",
                                   wanted.waiting, waiting_lowest, waiting_highest),
                       EINVAL);
    if (!wanted.received && !wanted.sent)
        return failure("capture: neither what is received nor what is sent is wanted", EINVAL);
    if (auto chosen = choose_ports(); !chosen) return chosen;
    options_.filter = runtime::FrameFilter(request_.filter);
    options_.received = wanted.received;
    options_.sent = wanted.sent;
    options_.waiting = wanted.waiting;
    auto file = runtime::Pcapng::create(options_.snaplen, runtime::WallClock::now());
    if (!file) return std::unexpected(file.error());
    file_ = std::move(*file);
    return attach();
}

/// Which of the world's ports, and how large a copy of theirs may be.
Started<void> CaptureSession::choose_ports() {
    const auto& text = request_.capture.port;
    const std::string_view name(text.data(), std::ranges::find(text, '\0') - text.begin());
    unsigned number = UINT_MAX;
    if (std::from_chars(name.data(), name.data() + name.size(), number).ptr !=
        name.data() + name.size())
        number = UINT_MAX;
    options_.ports = 0;
    uint32_t room = room_min;
    std::string known;
    for (size_t i = 0; i < inspected_.ports.size(); ++i) {
        const InspectedPort& port = inspected_.ports[i];
        known += fmt::format("{}{} ({})", i == 0 ? "" : ", ", i, port.device);
        if (!name.empty() && number != i && !port.is_called(name)) continue;
        options_.ports |= 1U << i;
        room = std::max(room, port.mtu + room_around);
    }
    if (options_.ports == 0)
        return failure(fmt::format("no port is {}; there are: {}", name, known), ENODEV);
    options_.snaplen = static_cast<uint16_t>(std::min(request_.capture.snaplen, room));
    return {};
}

Started<void> CaptureSession::attach() {
    for (uint16_t core = 0; core < inspected_.cores; ++core) {
        auto tap = Tap::create(options_);
        if (!tap)
            return failure(fmt::format("no memory for a capture: {}", tap.error().message()),
                           tap.error().value);
        // With its memory here: a core allocates nothing, and frees nothing.
        std::vector<std::shared_ptr<Tap>> gone;
        gone.reserve(runtime::Core::taps_max);
        bool attached = false;
        const auto step = [&, mine = *tap](runtime::Core& asked) mutable {
            attached = asked.attach(std::move(mine), gone);
            return true;
        };
        if (inspected_.on_core(core, step, stop_) != Inspected::Outcome::answered)
            return failure(fmt::format("core {} does not turn", core), ETIMEDOUT);
        if (!attached)
            return failure(fmt::format("{} captures run already: end one of them",
                                       runtime::Core::taps_max),
                           EBUSY);
        taps_.push_back(std::move(*tap));
    }
    return {};
}

/// No core takes anything any more for this capture. Where one does not turn, the tap is closed.
void CaptureSession::detach() {
    for (uint16_t core = 0; core < taps_.size(); ++core) {
        std::vector<std::shared_ptr<Tap>> gone;
        gone.reserve(runtime::Core::taps_max);
        const auto step = [&](runtime::Core& asked) {
            asked.detach(*taps_[core], gone);
            return true;
        };
        if (inspected_.on_core(core, step, stop_) != Inspected::Outcome::answered)
            taps_[core]->close();
    }
}

/// False where nobody is there any more for whom to finish.
bool CaptureSession::follow() {
    auto heard = Steady::now();
    size_t frames = 1;
    while (goes_on(frames == 0 ? nap_ms : 0)) {
        if (!write_round(frames)) return false;
        if (request_.capture.count != 0 && captured_ >= request_.capture.count) return true;
        const auto now = Steady::now();
        if (frames != 0) {
            heard = now;
        } else if (now - heard >= silence_max) {
            heard = now;
            if (!send(InspectReply::Kind::capture, nullptr, 0)) return false;
        }
    }
    return true;
}

/// How many frames the next round may write.
size_t CaptureSession::wanted() const {
    constexpr size_t most = runtime::Pcapng::waiting_max;
    if (request_.capture.count == 0) return most;
    return std::min<uint64_t>(most, request_.capture.count - captured_);
}

/// The oldest copies of all cores, in the order of their times as far as they are there.
bool CaptureSession::write_round(size_t& frames) {
    std::vector<Burst> bursts(taps_.size());
    for (size_t i = 0; i < taps_.size(); ++i) bursts[i].size = taps_[i]->read(bursts[i].copies);
    const size_t most = wanted();
    frames = 0;
    for (Burst* next = oldest(bursts); next != nullptr && frames < most; next = oldest(bursts)) {
        const CapturedFrame& frame = *next->copies[next->used++];
        if (file_->add(frame, inspected_.ports[frame.port].id)) ++captured_;
        ++frames;
    }
    for (size_t i = 0; i < taps_.size(); ++i)
        taps_[i]->done(std::span(bursts[i].copies).first(bursts[i].used));
    if (!file_->write()) return false;
    const auto bytes = file_->take();
    return bytes.empty() || send(InspectReply::Kind::capture, bytes.data(), bytes.size());
}

/// The other side has not said that it is enough, nor has the program.
bool CaptureSession::goes_on(int timeout_ms) {
    std::array<pollfd, 2> waiting{{{.fd = stop_, .events = POLLIN, .revents = 0},
                                   {.fd = client_, .events = POLLIN | POLLRDHUP, .revents = 0}}};
    return poll(waiting.data(), waiting.size(), timeout_ms) <= 0;
}

/// What is left, and what was lost.
bool CaptureSession::finish() {
    detach();
    size_t frames = 1;
    while (frames > 0 && wanted() > 0)
        if (!write_round(frames)) return false;
    CaptureCounts counts{.captured = captured_};
    const uint64_t now = rte_rdtsc();
    for (size_t port = 0; port < inspected_.ports.size(); ++port) {
        if ((options_.ports >> port & 1) == 0) continue;
        Tap::Counts all;
        for (const auto& tap : taps_) {
            all.seen += tap->counts(port).seen;
            all.dropped += tap->counts(port).dropped;
        }
        counts.seen += all.seen;
        counts.dropped += all.dropped;
        if (!file_->statistics(inspected_.ports[port].id, all.seen, all.dropped, now))
            return false;
    }
    const auto bytes = file_->take();
    return send(InspectReply::Kind::capture, bytes.data(), bytes.size()) &&
           send(InspectReply::Kind::counts, &counts, sizeof(counts));
}

bool CaptureSession::send(InspectReply::Kind kind, const void* data, size_t size) {
    const InspectReply reply{kind, static_cast<uint32_t>(size)};
    return send_some(&reply, sizeof(reply)) && send_some(data, size);
}

/// Waits for a slow reader as long as it is there and the program runs.
bool CaptureSession::send_some(const void* data, size_t size) {
    const auto* at = static_cast<const char*>(data);
    while (size > 0) {
        const ssize_t n = ::send(client_, at, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            at += n;
            size -= static_cast<size_t>(n);
            continue;
        }
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno != EAGAIN) return false;
        std::array<pollfd, 2> waiting{{{.fd = client_, .events = POLLOUT, .revents = 0},
                                       {.fd = stop_, .events = POLLIN, .revents = 0}}};
        poll(waiting.data(), waiting.size(), -1);
        if (waiting[1].revents != 0 && poll(waiting.data(), 1, last_words_ms) <= 0) return false;
        if ((waiting[0].revents & (POLLERR | POLLHUP)) != 0) return false;
    }
    return true;
}

}  // namespace millrace::api
