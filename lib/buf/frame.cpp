#include "buf/frame.h"

#include <cstring>

#include <rte_mbuf_core.h>

namespace millrace::buf {

void Frame::trim_front(size_t bytes) {
    size_t left = bytes;
    rte_mbuf* head = mbuf_;
    const uint64_t flags = head->ol_flags;
    const uint32_t pkt_len = head->pkt_len;
    uint16_t segments = head->nb_segs;
    while (left >= head->data_len && head->next != nullptr) {
        left -= head->data_len;
        rte_mbuf* next = head->next;
        free_segment(head);
        head = next;
        --segments;
        // The first buffer speaks for the frame; how this one holds its memory stays its own.
        constexpr uint64_t own = RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
        head->ol_flags = (head->ol_flags & own) | (flags & ~own);
    }
    head->data_off = static_cast<uint16_t>(head->data_off + left);
    head->data_len = static_cast<uint16_t>(head->data_len - left);
    head->pkt_len = static_cast<uint32_t>(pkt_len - bytes);
    head->nb_segs = segments;
    mbuf_ = head;
}

void Frame::trim_to(size_t size) {
    if (size >= mbuf_->pkt_len) return;
    size_t left = size;
    rte_mbuf* m = mbuf_;
    uint16_t segments = 1;
    while (m->data_len < left) {
        left -= m->data_len;
        m = m->next;
        ++segments;
    }
    m->data_len = static_cast<uint16_t>(left);
    free_chain(std::exchange(m->next, nullptr));
    mbuf_->nb_segs = segments;
    mbuf_->pkt_len = static_cast<uint32_t>(size);
}

BufferChain Frame::into_chain() && {
    BufferChain chain;
    rte_mbuf* m = release();
    while (m != nullptr) {
        rte_mbuf* next = m->next;
        if (m->data_len == 0)
            free_segment(m);
        else
            BufferAccess::append_segment(chain, m);
        m = next;
    }
    return chain;
}

void Frame::append(Frame other) {
    rte_mbuf* tail = rte_pktmbuf_lastseg(mbuf_);
    rte_mbuf* more = other.release();
    mbuf_->nb_segs = static_cast<uint16_t>(mbuf_->nb_segs + more->nb_segs);
    mbuf_->pkt_len += more->pkt_len;
    tail->next = more;
}

bool Frame::recycle() {
    if (!RTE_MBUF_DIRECT(mbuf_) || rte_mbuf_refcnt_read(mbuf_) != 1) return false;
    free_chain(std::exchange(mbuf_->next, nullptr));
    const uint16_t port = mbuf_->port;
    rte_pktmbuf_reset(mbuf_);
    mbuf_->port = port;
    return true;
}

void Frame::copy_out(size_t offset, std::span<uint8_t> out) const {
    for_each_piece(offset, out.size(), [&](size_t at, const uint8_t* data, size_t size) {
        std::memcpy(out.data() + at, data, size);
    });
}

HardwareChecksum Frame::ip_checksum() const {
    switch (mbuf_->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) {
        case RTE_MBUF_F_RX_IP_CKSUM_GOOD: return HardwareChecksum::good;
        case RTE_MBUF_F_RX_IP_CKSUM_BAD: return HardwareChecksum::bad;
        default: return HardwareChecksum::unknown;
    }
}

HardwareChecksum Frame::transport_checksum() const {
    switch (mbuf_->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) {
        case RTE_MBUF_F_RX_L4_CKSUM_GOOD: return HardwareChecksum::good;
        case RTE_MBUF_F_RX_L4_CKSUM_BAD: return HardwareChecksum::bad;
        default: return HardwareChecksum::unknown;
    }
}

void Frame::mark_checksums_good() {
    mbuf_->ol_flags |= RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
}

void Frame::offload_checksums(const ChecksumOffload& what) {
    mbuf_->l2_len = what.link_size & 0x7f;
    mbuf_->l3_len = what.network_size & 0x1ff;
    uint64_t flags = what.ipv6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4;
    if (what.ipv4_header) flags |= RTE_MBUF_F_TX_IP_CKSUM;
    if (what.tcp) flags |= RTE_MBUF_F_TX_TCP_CKSUM;
    if (what.udp) flags |= RTE_MBUF_F_TX_UDP_CKSUM;
    mbuf_->ol_flags |= flags;
}

}  // namespace millrace::buf
