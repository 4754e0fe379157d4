#include "ip/fragments.h"

#include <algorithm>

#include "wire/checksum.h"

namespace millrace::ip {

using observe::Drop;
using wire::Ip;

namespace {

constexpr uint32_t datagram_max = 65535;
// How far from its home slot a datagram may lie: bounds the work for a flood of fragments.
constexpr size_t probe_max = 8;

}  // namespace

FragmentTable::FragmentTable(const IpTunables& tunables, observe::Counters& counters,
                             uint64_t seed, size_t receive_buffers)
    : tunables_(tunables),
      counters_(counters),
      hash_(seed),
      datagrams_(tunables.ipfrag_max),
      buffers_limit_(std::min(buffers_max, receive_buffers / pool_share)) {}

FragmentTable::Datagram* FragmentTable::find_or_make(const Ip& ip, Instant now) {
    if (datagrams_.empty()) return nullptr;
    struct {
        std::array<uint8_t, 16> source, destination;
        uint32_t identification;
    } const key{ip.source.bytes(), ip.destination.bytes(), ip.identification};
    const size_t home = hash_(key);
    Datagram* free = nullptr;
    for (size_t i = 0; i < std::min(probe_max, datagrams_.size()); ++i) {
        Datagram& at = datagrams_[(home + i) % datagrams_.size()];
        if (at.in_use && at.expires <= now) {
            counters_.drop(Drop::fragment_timeout);
            release(at);
        }
        if (!at.in_use) {
            if (free == nullptr) free = &at;
            continue;
        }
        // IPv4 counts identifications by protocol (RFC 791); in IPv6 the Next Header of later
        // fragments means nothing (RFC 8200 section 4.5).
        if (at.identification == ip.identification && at.source == ip.source &&
            at.destination == ip.destination &&
            (!ip.source.is_v4() || at.protocol == ip.protocol))
            return &at;
    }
    if (free == nullptr) return nullptr;
    ++used_;
    free->in_use = true;
    free->source = ip.source;
    free->destination = ip.destination;
    free->identification = ip.identification;
    free->protocol = ip.protocol;
    free->expires = now + Duration::from_s(tunables_.ipfrag_time);
    return free;
}

buf::Frame FragmentTable::add(const Ip& ip, buf::Frame frame, Instant now) {
    ++counters_.ip_reasm_reqds;
    // All but the last carry a multiple of 8 bytes; an empty or over-long one is an attack.
    const uint32_t size = ip.fragmented_headers_size() + ip.payload_size;
    // IPv4's length counts its header, IPv6's does not.
    const uint32_t counted = ip.source.is_v4() ? ip.header_size : 0;
    if ((ip.more_fragments && size % 8 != 0) || ip.payload_size == 0 ||
        ip.fragment_offset + size + counted > datagram_max) {
        counters_.drop(Drop::fragment_bad);
        return {};
    }
    Datagram* datagram = find_or_make(ip, now);
    if (datagram == nullptr) {
        counters_.drop(Drop::fragment_no_room);
        return {};
    }
    if (!insert(*datagram, ip, std::move(frame))) {
        counters_.drop(Drop::fragment_bad);
        release(*datagram);
        return {};
    }
    if (datagram->total == 0 || datagram->received != datagram->total) return {};
    if (!settle_ecn(*datagram)) {
        counters_.drop(Drop::fragment_bad);
        release(*datagram);
        return {};
    }
    ++counters_.ip_reasm_oks;
    buf::Frame whole = join(*datagram);
    release(*datagram);
    return whole;
}

/// False if the datagram is to be condemned.
bool FragmentTable::insert(Datagram& datagram, const Ip& ip, buf::Frame frame) {
    const uint32_t begin = ip.fragment_offset;
    const uint32_t end = begin + ip.fragmented_headers_size() + ip.payload_size;
    auto& pieces = datagram.pieces;
    const auto at = std::ranges::lower_bound(pieces, begin, {}, &Piece::begin);
    if (at != pieces.end() && at->begin == begin && at->end == end) return true;  // a duplicate
    if ((at != pieces.end() && at->begin < end) ||
        (at != pieces.begin() && std::prev(at)->end > begin) || pieces.size() == fragments_max)
        return false;
    if (!ip.more_fragments) {
        if (datagram.total != 0 || (!pieces.empty() && pieces.back().end > end)) return false;
        datagram.total = end;
    } else if (datagram.total != 0 && end > datagram.total) {
        return false;
    }
    frame.trim_to(ip.header_size + ip.payload_size);
    if (buffers_ + frame.buffers() > buffers_limit_) return false;
    buffers_ += frame.buffers();
    datagram.buffers += frame.buffers();
    datagram.ttl = std::min(datagram.ttl, ip.ttl);
    datagram.ecn_seen |= static_cast<uint8_t>(1 << (ip.tos & 3));
    if (begin == 0) {
        datagram.header_size = ip.header_size;
        datagram.inner_headers = ip.fragmented_headers_size();
        datagram.protocol = ip.protocol;
        datagram.tos = ip.tos;
    } else {
        frame.trim_front(ip.header_size);
    }
    datagram.received += end - begin;
    pieces.insert(at, Piece{begin, end, std::move(frame)});
    return true;
}

/// RFC 3168 section 5.3: congestion that one fragment met is the datagram's. False where another
/// was not of an ECN-capable transport: somebody tampered with them.
bool FragmentTable::settle_ecn(Datagram& datagram) {
    constexpr uint8_t not_ect = 0, ce = 3;
    if ((datagram.ecn_seen & 1 << ce) == 0) return true;
    if ((datagram.ecn_seen & 1 << not_ect) != 0) return false;
    datagram.tos |= ce;
    return true;
}

/// Puts the pieces behind the first one's header and rewrites that as of a whole datagram.
buf::Frame FragmentTable::join(Datagram& datagram) {
    buf::Frame whole = std::move(datagram.pieces.front().frame);
    for (size_t i = 1; i < datagram.pieces.size(); ++i)
        whole.append(std::move(datagram.pieces[i].frame));
    // Options and extension headers have been read and have nothing more to say: a plain header
    // takes their place. It may not fit in front of a buffer that a peer in this process has cut.
    whole.trim_front(datagram.header_size);
    uint8_t* at = whole.push(Ip::size_for(datagram.source.family()));
    if (at == nullptr) return {};
    Ip header;
    header.source = datagram.source;
    header.destination = datagram.destination;
    header.tos = datagram.tos;
    header.ttl = datagram.ttl;
    header.protocol = datagram.protocol;
    header.payload_size = datagram.total - datagram.inner_headers;
    header.emit(at, true);
    return whole;
}

void FragmentTable::release(Datagram& datagram) {
    buffers_ -= datagram.buffers;
    datagram = Datagram{};
    --used_;
}

void FragmentTable::expire(Instant now) {
    if (used_ == 0) return;
    for (Datagram& datagram : datagrams_)
        if (datagram.in_use && datagram.expires <= now) {
            counters_.drop(Drop::fragment_timeout);
            release(datagram);
        }
}

}  // namespace millrace::ip
