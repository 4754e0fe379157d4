#include "ss/story.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include <millrace/inspect.h>

namespace millrace::apps {

namespace {

/// Control bits, as they stand in the header (RFC 9293 section 3.1).
struct Bit {
    static constexpr uint8_t fin = 1, syn = 2, rst = 4, psh = 8, ack = 16, urg = 32, ece = 64,
                             cwr = 128;
};

constexpr std::array timer_names{"retransmission", "loss probe", "reordering", "persist",
                            "delayed ACK",    "cork",       "keep-alive"};
constexpr std::array recovery_names{"open", "disorder", "cwr", "recovery", "loss"};

template <typename Names>
std::string_view name_in(const Names& names, size_t number) {
    return number < names.size() ? std::string_view(names[number]) : "?";
}

class Teller {
public:
    explicit Teller(const Story& story) : story_(story) { find_beginning(); }

    std::string text() {
        head();
        for (at_ = 0; at_ < story_.events.size(); ++at_) tell(story_.events[at_]);
        if (story_.left_out != 0)
            text_ += fmt::format("// {} more events, for which there was no room\n",
                                 story_.left_out);
        return std::move(text_);
    }

private:
    bool is_active() const {
        return std::ranges::any_of(story_.events, [](const TraceEvent& event) {
            return event.kind == TraceKind::call &&
                   event.what == static_cast<uint8_t>(TraceCall::connect);
        });
    }

    /// Each side's ISN, or what stands in for it: the number before the first that is seen.
    void find_beginning() {
        bool ours = false, theirs = false;
        for (const TraceEvent& event : story_.events) {
            if (opened_ != nullptr) break;
            if (event.kind == TraceKind::opened) {
                isn_ = event.seq();
                peer_isn_ = event.ack();
                opened_ = &event;
            } else if (event.kind == TraceKind::out || event.kind == TraceKind::out_again) {
                if (!ours) isn_ = event.seq() - ((event.what & Bit::syn) != 0 ? 0 : 1);
                if (!theirs && (event.what & Bit::ack) != 0) peer_isn_ = event.ack() - 1;
                ours = true;
                theirs = theirs || (event.what & Bit::ack) != 0;
            } else if (event.kind == TraceKind::in) {
                if (!theirs) peer_isn_ = event.seq() - ((event.what & Bit::syn) != 0 ? 0 : 1);
                if (!ours && (event.what & Bit::ack) != 0) isn_ = event.ack() - 1;
                theirs = true;
                ours = ours || (event.what & Bit::ack) != 0;
            }
        }
    }

    void head() {
        text_ = fmt::format("// {} <-> {}, core {}; {} events, {}\n", story_.local.to_string(),
                            story_.remote.to_string(), story_.core, story_.events.size(),
                            story_.whole ? "from the beginning" : "the beginning is gone");
        if (!story_.events.empty()) last_ns_ = story_.events.front().time_ns;
    }

    void line(const TraceEvent& event, const std::string& what) {
        if (const int64_t passed = event.time_ns - last_ns_; passed > 0)
            text_ += fmt::format("s.advance(Duration::from_ns({}));\n", passed);
        last_ns_ = event.time_ns;
        const int64_t since = event.time_ns - story_.events.front().time_ns;
        text_ += fmt::format("/* {:>4}.{:06} */ {}\n", since / 1'000'000'000,
                             since / 1000 % 1'000'000, what);
    }

    void tell(const TraceEvent& event) {
        switch (event.kind) {
            case TraceKind::opened: opened(event); return;
            case TraceKind::in: in(event); return;
            case TraceKind::out:
            case TraceKind::out_again: out(event); return;
            case TraceKind::call: called(event); return;
            case TraceKind::state:
                line(event, fmt::format("// {} -> {}", to_string(SocketState{event.what}),
                                        to_string(static_cast<SocketState>(event.detail))));
                return;
            case TraceKind::recovery:
                line(event,
                     fmt::format("// recovery: {} -> {}", name_in(recovery_names, event.what),
                                 name_in(recovery_names, event.detail)));
                return;
            case TraceKind::timer:
                line(event, fmt::format("// timer: {}", name_in(timer_names, event.what)));
                return;
            case TraceKind::ended:
                line(event, event.what == 0
                                ? std::string("// ended")
                                : fmt::format("// ended: {}", Errno{event.what}.message()));
                return;
            default: return;  // SACK blocks have been told with their segment
        }
    }

    /// Of an open by the peer, its SYN and our answer; the ACK of it follows as an event.
    void opened(const TraceEvent& event) {
        const bool timestamps = has(event, TraceOption::timestamps);
        line(event, fmt::format("// ISN {}, the peer's {}{}{}", event.seq(), event.ack(),
                                timestamps ? ", timestamps (left out here)" : "",
                                has(event, TraceOption::ecn) ? ", ECN" : ""));
        if (is_active()) return;
        line(event, fmt::format("s.listen({});", story_.local.port));
        const bool ecn = has(event, TraceOption::ecn);
        line(event, fmt::format("s.inject(S(0){}.window({}){});",
                                ecn ? further_flags(Bit::ece | Bit::cwr) : "", event.window(),
                                options_of(event)));
        line(event, fmt::format("s.expect(SA(0, 1){});", ecn ? further_flags(Bit::ece) : ""));
        accept_due_ = true;
    }

    static bool has(const TraceEvent& opened, TraceOption option) {
        return (opened.what & static_cast<uint8_t>(option)) != 0;
    }

    /// What the peer's SYN carried, as far as it was agreed on.
    static std::string options_of(const TraceEvent& opened) {
        std::string text = fmt::format(".mss({})", opened.length());
        if (has(opened, TraceOption::window_scaling))
            text += fmt::format(".scale({})", opened.detail >> 4);
        if (has(opened, TraceOption::sack)) text += ".sack_permitted()";
        return text;
    }

    std::string numbers(uint8_t flags, uint32_t seq, uint32_t acknowledged) const {
        const uint8_t rest = flags & static_cast<uint8_t>(~(Bit::ece | Bit::cwr | Bit::urg));
        const auto with_ack = [&](std::string_view name) {
            return fmt::format("{}({}, {})", name, seq, acknowledged);
        };
        switch (rest) {
            case Bit::syn: return fmt::format("S({})", seq);
            case Bit::syn | Bit::ack: return with_ack("SA");
            case Bit::ack: return with_ack("A");
            case Bit::psh | Bit::ack: return with_ack("PA");
            case Bit::fin | Bit::ack: return with_ack("FA");
            case Bit::fin | Bit::psh | Bit::ack: return with_ack("FA") + ".flag(TcpFlags::psh)";
            case Bit::rst: return fmt::format("R({})", seq);
            case Bit::rst | Bit::ack: return with_ack("RA");
            default: break;
        }
        const std::string peer = (rest & Bit::ack) != 0 ? fmt::format(", {}", acknowledged) : "";
        return fmt::format("packet({:#x}, {}{})", rest, seq, peer);
    }

    static std::string further_flags(uint8_t flags) {
        std::string text;
        if ((flags & Bit::urg) != 0) text += ".flag(TcpFlags::urg)";
        if ((flags & Bit::ece) != 0) text += ".flag(TcpFlags::ece)";
        if ((flags & Bit::cwr) != 0) text += ".flag(TcpFlags::cwr)";
        return text;
    }

    /// The events behind this one that carry its SACK blocks, relative to `isn`.
    std::string sacks(TraceKind kind, uint32_t isn) const {
        std::string blocks;
        for (size_t i = at_ + 1; i < story_.events.size() && story_.events[i].kind == kind; ++i)
            for (size_t word = 0; word < 4; word += 2) {
                const auto& words = story_.events[i].words;
                if (words[word] == words[word + 1]) continue;
                blocks += fmt::format("{}{{{}, {}}}", blocks.empty() ? "" : ", ", words[word] - isn,
                                      words[word + 1] - isn);
            }
        return blocks.empty() ? "" : fmt::format(".sack({{{}}})", blocks);
    }

    void in(const TraceEvent& event) {
        const uint32_t acknowledged = event.ack() - isn_;
        std::string text = numbers(event.what, event.seq() - peer_isn_, acknowledged) +
                           further_flags(event.what) + fmt::format(".window({})", event.window());
        if ((event.what & Bit::syn) != 0 && opened_ != nullptr) text += options_of(*opened_);
        if (event.length() != 0) text += fmt::format(".data({})", event.length());
        line(event, fmt::format("s.inject({}{});", text, sacks(TraceKind::sack_in, isn_)));
        if (!std::exchange(accept_due_, false)) return;
        line(event, "s.accept();");
    }

    /// One event, as many segments as its bytes make.
    void out(const TraceEvent& event) {
        const uint32_t mss = std::max<uint32_t>(event.detail, 1);
        uint32_t done = 0;
        do {
            const uint32_t size = std::min(event.length() - done, mss);
            const bool last = done + size == event.length();
            uint8_t flags = event.what;
            if (!last) flags &= static_cast<uint8_t>(~(Bit::fin | Bit::psh));
            if (done > 0) flags &= static_cast<uint8_t>(~Bit::cwr);
            std::string text = numbers(flags, event.seq() + done - isn_, event.ack() - peer_isn_) +
                               further_flags(flags);
            if (size != 0) text += fmt::format(".data({})", size);
            line(event, fmt::format("s.expect({}{});{}", text,
                                    sacks(TraceKind::sack_out, peer_isn_),
                                    event.kind == TraceKind::out_again ? "  // again" : ""));
            done += size;
        } while (done < event.length());
    }

    void called(const TraceEvent& event) {
        switch (TraceCall{event.what}) {
            case TraceCall::connect: return line(event, "s.connect();");
            case TraceCall::send: return line(event, fmt::format("s.send({});", event.length()));
            case TraceCall::receive:
                return line(event, fmt::format("// received {}", event.length()));
            case TraceCall::shutdown: return line(event, "s.shutdown();");
            case TraceCall::close: return line(event, "s.close();");
            case TraceCall::abort: return line(event, "s.abort();");
        }
    }

    const Story& story_;
    const TraceEvent* opened_ = nullptr;
    uint32_t isn_ = 0;
    uint32_t peer_isn_ = 0;
    size_t at_ = 0;
    int64_t last_ns_ = 0;
    bool accept_due_ = false;
    std::string text_;
};

}  // namespace

std::string story_text(const Story& story) { return Teller(story).text(); }

}  // namespace millrace::apps
