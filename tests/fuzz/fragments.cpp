// Reassembly of IP datagrams, against a model that follows RFC 8200 section 4.5 and RFC 5722 by the
// letter: the same datagrams come out, of the same octets.
#include <map>
#include <optional>
#include <vector>

#include "fuzz/fuzz.h"
#include "ip/fragments.h"

namespace millrace::fuzz {
namespace {

using ip::FragmentTable;
using wire::Ip;
using wire::Protocol;

constexpr int steps_max = 100;
/// Both families, as many identifications: no more at once than the table surely has places for.
constexpr uint8_t identifications = 4;
constexpr uint32_t size_max = 1400;

struct Piece {
    uint32_t begin, end;
    uint8_t salt;
};

struct Datagram {
    std::vector<Piece> pieces;
    std::optional<uint32_t> total;
    uint32_t received = 0;
    size_t buffers = 0;
    Instant expires;
    uint8_t ecn = 0, ttl = 255, tos = 0;
};

class Model {
public:
    explicit Model(Input& in) : in_(in) {
        tunables_.ipfrag_max = 64;
        tunables_.ipfrag_time = 10;
        table_.emplace(tunables_, counters_, 1, pools().receive_buffers());
    }

    void play() {
        for (int i = 0; i < steps_max && !in_.empty(); ++i) {
            switch (in_.below(8)) {
                case 0: now_ = now_ + Duration::from_ms(in_.magnitude()); break;
                case 1: expire(); break;
                default: add(static_cast<uint8_t>(i)); break;
            }
            expect(table_->size() == datagrams_.size(), "another number of datagrams");
        }
        now_ = now_ + Duration::from_s(11);
        table_->expire(now_);
        expect(table_->size() == 0, "waits longer than it may");
    }

private:
    using Key = std::pair<bool, uint8_t>;

    void expire() {
        table_->expire(now_);
        std::erase_if(datagrams_, [&](const auto& at) { return at.second.expires <= now_; });
    }

    /// Its octets differ from those of every other fragment at the same place.
    static uint8_t octet(uint32_t at, uint8_t salt) {
        return static_cast<uint8_t>(at * 3 + at / 256 + salt * 41);
    }

    void add(uint8_t salt) {
        const uint8_t who = in_.byte();
        const Key key{(who & 1) != 0, static_cast<uint8_t>(who / 2 % identifications)};
        Ip ip;
        ip.source = key.first ? Address::v4(10, 0, 0, 2) : *Address::parse("fd00::2");
        ip.destination = key.first ? Address::v4(10, 0, 0, 1) : *Address::parse("fd00::1");
        ip.protocol = Protocol::udp;
        ip.identification = 1000U + key.second;
        ip.dont_fragment = false;
        ip.more_fragments = (who & 0x10) != 0;
        ip.tos = who >> 5 == 0 ? in_.byte() : 2;
        ip.ttl = static_cast<uint8_t>(1 + in_.byte() % 64);
        // Mostly the pieces of a small datagram, eight of eight octets; sometimes anywhere.
        const uint8_t where = in_.byte();
        const bool anywhere = where >= 0xc0;
        ip.fragment_offset = anywhere ? in_.word() & 0xfff8U : where % 16 * 8U;
        const uint32_t size = anywhere ? in_.magnitude() % size_max : (1 + where / 16 % 4) * 8U;
        // The last may end anywhere.
        ip.payload_size = ip.more_fragments || anywhere ? size : size - where / 64;
        std::vector<uint8_t> bytes = packet(ip, salt);
        const auto parsed = Ip::parse(bytes, bytes.size(), true);
        expect(parsed.has_value(), "its own header is malformed");
        if (!parsed->is_fragment()) return;
        // Others may end on the way to its place, or not: there shall be none that could.
        for (const auto& [other, datagram] : datagrams_)
            if (other != key && datagram.expires <= now_) return expire();
        buf::Frame frame = pools().received(bytes);
        expect(static_cast<bool>(frame), "the pool is dry");
        const size_t buffers = frame.buffers();
        const buf::Frame whole = table_->add(*parsed, std::move(frame), now_);
        const auto expected = model(key, *parsed, salt, buffers);
        expect(static_cast<bool>(whole) == expected.has_value(),
               "a datagram is whole to one of two alone");
        if (whole) compare(whole, *expected);
    }

    std::vector<uint8_t> packet(Ip ip, uint8_t salt) {
        const uint32_t size = ip.payload_size;
        const bool v4 = ip.source.is_v4();
        std::vector<uint8_t> bytes(v4 ? Ip::v4_size : Ip::v6_size + Ip::fragment_header_size);
        if (!v4) {
            ip.payload_size += Ip::fragment_header_size;
            ip.emit_fragment_header(&bytes[Ip::v6_size]);
        }
        ip.emit(bytes.data(), true);
        for (uint32_t i = 0; i < size; ++i)
            bytes.push_back(octet(ip.fragment_offset + i, salt));
        return bytes;
    }

    /// What has become whole, if anything has.
    std::optional<Datagram> model(const Key& key, const Ip& ip, uint8_t salt, size_t buffers) {
        const uint32_t begin = ip.fragment_offset, end = begin + ip.payload_size;
        if (ip.payload_size == 0 || (ip.more_fragments && ip.payload_size % 8 != 0) ||
            end + (ip.source.is_v4() ? ip.header_size : 0U) > 65535)
            return std::nullopt;
        // It ends when it is looked at.
        if (const auto old = datagrams_.find(key);
            old != datagrams_.end() && old->second.expires <= now_)
            datagrams_.erase(old);
        Datagram& datagram = datagrams_[key];
        if (datagram.pieces.empty()) datagram.expires = now_ + Duration::from_s(10);
        for (const Piece& piece : datagram.pieces)
            if (piece.begin == begin && piece.end == end) return std::nullopt;
        if (!fits(datagram, ip, begin, end, buffers)) {
            datagrams_.erase(key);
            return std::nullopt;
        }
        if (!ip.more_fragments) datagram.total = end;
        datagram.pieces.push_back({begin, end, salt});
        datagram.received += end - begin;
        datagram.buffers += buffers;
        datagram.ecn |= static_cast<uint8_t>(1 << (ip.tos & 3));
        datagram.ttl = std::min(datagram.ttl, ip.ttl);
        if (begin == 0) datagram.tos = ip.tos;
        if (datagram.received != datagram.total) return std::nullopt;
        const Datagram done = std::move(datagram);
        datagrams_.erase(key);
        // RFC 3168 section 5.3: a mark beside one who cannot be marked is forged.
        if ((done.ecn & 9) == 9) return std::nullopt;
        return done;
    }

    bool fits(const Datagram& datagram, const Ip& ip, uint32_t begin, uint32_t end,
              size_t buffers) const {
        for (const Piece& piece : datagram.pieces)
            if (begin < piece.end && piece.begin < end) return false;
        if (datagram.pieces.size() == FragmentTable::fragments_max) return false;
        if (!ip.more_fragments) {
            if (datagram.total) return false;
            for (const Piece& piece : datagram.pieces)
                if (piece.end > end) return false;
        } else if (datagram.total && end > *datagram.total) {
            return false;
        }
        for (const auto& [key, other] : datagrams_) buffers += other.buffers;
        return buffers <= std::min(FragmentTable::buffers_max,
                                   pools().receive_buffers() / FragmentTable::pool_share);
    }

    static void compare(const buf::Frame& whole, const Datagram& datagram) {
        std::vector<uint8_t> bytes(whole.size());
        whole.copy_out(0, bytes);
        const auto ip = Ip::parse(bytes, bytes.size(), true);
        expect(ip.has_value() && !ip->is_fragment(), "what is whole is malformed");
        expect(ip->payload_size == *datagram.total &&
                   bytes.size() == ip->header_size + *datagram.total,
               "a whole datagram of another size");
        expect(ip->protocol == Protocol::udp && ip->ttl == datagram.ttl, "another header");
        const uint8_t ecn = (datagram.ecn & 8) != 0 ? 3 : datagram.tos & 3;
        expect(ip->tos == (datagram.tos | ecn), "another traffic class");
        for (const Piece& piece : datagram.pieces)
            for (uint32_t at = piece.begin; at < piece.end; ++at)
                expect(bytes[ip->header_size + at] == octet(at, piece.salt), "a wrong octet");
    }

    Input& in_;
    IpTunables tunables_;
    observe::Counters counters_{};
    std::optional<FragmentTable> table_;
    std::map<Key, Datagram> datagrams_;
    Instant now_ = Instant::from_ns(1'000'000'000);
};

}  // namespace
}  // namespace millrace::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace millrace::fuzz;
    Input in(data, size);
    {
        Model model(in);
        model.play();
    }
    expect_all_buffers_back();
    return 0;
}
