#include "tcp/urgent.h"

#include <algorithm>

#include "tcp/calls.h"

namespace millrace::tcp {

using wire::Segment;
using wire::TcpFlags;

namespace {

/// Sequence number of the next byte that the application will receive.
Seq read_next(const Connection& c) {
    return c.rcv_nxt - c.unread() - (c.fin_received ? 1 : 0);
}

}  // namespace

Result<size_t> send_urgent(Env& env, Connection& c, std::span<const std::byte> data) {
    const auto taken = send_copy(env, c, data);
    if (!taken || *taken == 0) return taken;
    // MUST-62: the octet behind the urgent data (RFC 6093 section 4).
    c.sending->urgent = true;
    c.sending->snd_up = c.data_end();
    // The peer must learn of it even where its window takes no data now: an ACK says so.
    if (c.snd_una + c.snd_wnd <= c.snd_nxt) c.ack_now = true;
    return taken;
}

void mark_urgent(const Connection& c, Segment& header) {
    header.urgent = 0;
    if (c.sending == nullptr || !c.sending->urgent || !header.has_ack() ||
        header.has(TcpFlags::syn | TcpFlags::rst))
        return;
    const int32_t ahead = c.sending->snd_up - header.seq;
    if (ahead <= 0 || ahead > UINT16_MAX) return;
    header.flags |= TcpFlags::urg;
    header.urgent = static_cast<uint16_t>(ahead);
}

void check_urgent(Env& env, Connection& c, const Segment& segment, Seq first) {
    // A pointer of 0 names nothing that is urgent (attack case 13). How far ahead of the data or
    // the window it is does not matter: nothing is looked for there (attack case 14).
    if (!segment.has(TcpFlags::urg) || !may_receive(c.state)) return;
    const Seq up = first + segment.urgent;
    const Seq known = c.urgent_pending ? max(c.receiving->up, read_next(c)) : read_next(c);
    if (up <= known) return;
    borrow_receiving(env, c).up = up;
    c.urgent_pending = true;
    if (!c.reading_stopped) env.notify(c, Event::urgent);  // MUST-32
}

void urgent_read(Connection& c) {
    if (c.urgent_pending && c.receiving->up <= read_next(c)) c.urgent_pending = false;
}

uint32_t urgent_remaining(const Connection& c) {
    const Seq next = read_next(c);
    if (!c.urgent_pending || c.receiving->up <= next) return 0;
    // A pointer beyond the end of the stream names what will never come.
    const uint32_t ahead = distance(next, c.receiving->up);
    return c.fin_received ? std::min(ahead, c.unread()) : ahead;
}

}  // namespace millrace::tcp
