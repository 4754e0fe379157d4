#include "port/port.h"

#include <algorithm>
#include <thread>

#include <fmt/format.h>
#include <rte_errno.h>
#include <rte_ethdev.h>

#include "base/random.h"
#include "port/attach.h"

namespace millrace::port {

namespace {


Failure refused(const PortConfig& config, std::string_view step, int status) {
    return {fmt::format("port {}: the driver refuses {}: {}", config.device, step,
                        rte_strerror(-status)),
            -status};
}

Result<wire::MacAddress> parse_mac(const std::string& text) {
    rte_ether_addr address{};
    if (rte_ether_unformat_addr(text.c_str(), &address) != 0) return error(EINVAL);
    wire::MacAddress mac;
    std::copy(std::begin(address.addr_bytes), std::end(address.addr_bytes), mac.bytes.begin());
    return mac;
}

}  // namespace

Started<std::unique_ptr<Port>> Port::open(const PortConfig& config,
                                          const std::vector<buf::Pools*>& pools, const Rss& rss) {
    const auto id = attach(config.device);
    if (!id) return std::unexpected(id.error());
    std::unique_ptr<Port> port(new Port());
    port->id_ = *id;
    port->device_ = config.device;
    if (auto configured = port->configure(config, pools, rss); !configured)
        return std::unexpected(configured.error());
    return port;
}

Port::~Port() {
    if (id_ == UINT16_MAX) return;
    // Nor may a handler run while the driver takes down by itself what it takes down there.
    while (gate_ != nullptr && !gate_->enter(places_[0])) std::this_thread::yield();
    if (started_) rte_eth_dev_stop(id_);
    detach(device_, id_);
    if (gate_ == nullptr) return;
    gate_->leave(places_[0]);
    for (size_t i = 0; i < places(); ++i) gate_->remove(places_[i]);
}

Started<void> Port::configure(const PortConfig& config, const std::vector<buf::Pools*>& pools,
                              const Rss& rss) {
    rte_eth_dev_info info{};
    if (const int status = rte_eth_dev_info_get(id_, &info); status != 0)
        return std::unexpected(refused(config, "to describe itself", status));
    const auto cores = static_cast<uint16_t>(pools.size());
    const uint16_t rings = ring_queues(config.device);
    receive_queues_ = rings != 0 ? rings : std::min(cores, info.max_rx_queues);
    transmit_queues_ = rings != 0 ? rings : std::min(cores, info.max_tx_queues);
    if (receive_queues_ == 0 || transmit_queues_ == 0)
        return failure(fmt::format("port {} has no queues", config.device), ENODEV);
    if (transmit_queues_ < cores && rings == 0)
        return failure(fmt::format("port {} has {} transmit queues, but {} cores use it: name "
                                   "fewer in port.cores",
                                   config.device, transmit_queues_, cores),
                       EINVAL);

    counts_ = std::make_unique<Count[]>(places());
    uint64_t receive_wanted = 0;
    uint64_t transmit_wanted = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
    // net_tap adds up frames in pieces wrongly where a piece in the middle has an odd length (DPDK
    // 22.11): its transmit checksums are done here.
    const bool bad_sums = std::string_view(info.driver_name) == "net_tap";
    if (!config.software_checksums) {
        receive_wanted |= RTE_ETH_RX_OFFLOAD_CHECKSUM;
        transmit_wanted |= RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
        if (!bad_sums)
            transmit_wanted |= RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
    }
    const uint64_t frame_max = config.mtu + uint64_t{RTE_ETHER_HDR_LEN} + 4 + RTE_ETHER_CRC_LEN;
    if (frame_max > 2048) receive_wanted |= RTE_ETH_RX_OFFLOAD_SCATTER;
    rte_eth_conf conf{};
    conf.rxmode.offloads = receive_wanted & info.rx_offload_capa;
    conf.txmode.offloads = transmit_wanted & info.tx_offload_capa;
    conf.rxmode.mtu = config.mtu;
    // A table that we can write is what makes the port steer as we do. Without a key it is not to:
    // drivers that keep silent about their key's size (net_null) must not take that for a match.
    const bool can_steer = receive_queues_ > 1 && info.reta_size != 0 && !rss.key.empty() &&
                           info.hash_key_size == rss.key.size() &&
                           (info.flow_type_rss_offloads & RTE_ETH_RSS_TCP) == RTE_ETH_RSS_TCP;
    std::vector<uint8_t> key(rss.key.begin(), rss.key.end());
    if (can_steer) {
        conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        conf.rx_adv_conf.rss_conf.rss_key = key.data();
        conf.rx_adv_conf.rss_conf.rss_key_len = static_cast<uint8_t>(key.size());
        conf.rx_adv_conf.rss_conf.rss_hf =
            (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP) & info.flow_type_rss_offloads;
    }
    if (const int status =
            rte_eth_dev_configure(id_, receive_queues_, transmit_queues_, &conf);
        status != 0)
        return std::unexpected(refused(config, "its configuration", status));
    if (std::string_view(info.driver_name) == "net_memif") keep_interrupts_out();
    if (auto set_up = set_up_queues(config, pools); !set_up) return set_up;
    if (auto chosen = choose_mac(config); !chosen) return chosen;

    // Foreign memory is not known to a device that reads by DMA: there it is copied.
    reads_by_dma_ = !config.device.starts_with("net_") && rings == 0;
    multi_segment_ = (conf.txmode.offloads & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) != 0;
    offloads_.ipv4_checksum = (conf.txmode.offloads & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM) != 0;
    offloads_.tcp_checksum = (conf.txmode.offloads & RTE_ETH_TX_OFFLOAD_TCP_CKSUM) != 0;
    offloads_.udp_checksum = (conf.txmode.offloads & RTE_ETH_TX_OFFLOAD_UDP_CKSUM) != 0;
    steered_ = can_steer && program_rss(rss, info.reta_size);
    describe(config, conf.rxmode.offloads, conf.txmode.offloads);
    return {};
}

/// MTU and queues of a configured device; then it runs.
Started<void> Port::set_up_queues(const PortConfig& config,
                                  const std::vector<buf::Pools*>& pools) {
    int status = 0;
    mtu_ = config.mtu;
    if (uint16_t now = 0; rte_eth_dev_get_mtu(id_, &now) == 0 && now != config.mtu) {
        status = rte_eth_dev_set_mtu(id_, config.mtu);
        if (status != 0 && status != -ENOTSUP)
            return std::unexpected(
                refused(config, fmt::format("an MTU of {}", config.mtu), status));
    }
    uint16_t receive_descriptors = config.receive_descriptors;
    uint16_t transmit_descriptors = config.transmit_descriptors;
    rte_eth_dev_adjust_nb_rx_tx_desc(id_, &receive_descriptors, &transmit_descriptors);
    const int socket = rte_eth_dev_socket_id(id_);
    const auto node = static_cast<unsigned>(socket < 0 ? SOCKET_ID_ANY : socket);
    for (uint16_t q = 0; q < receive_queues_; ++q) {
        status = rte_eth_rx_queue_setup(id_, q, receive_descriptors, node, nullptr,
                                        pools[q % pools.size()]->receive_pool());
        if (status != 0) return std::unexpected(refused(config, "a receive queue", status));
    }
    for (uint16_t q = 0; q < transmit_queues_; ++q) {
        status = rte_eth_tx_queue_setup(id_, q, transmit_descriptors, node, nullptr);
        if (status != 0) return std::unexpected(refused(config, "a transmit queue", status));
    }
    status = rte_eth_dev_start(id_);
    if (status != 0) return std::unexpected(refused(config, "to start", status));
    started_ = true;
    // Multicast carries Neighbour Discovery; where it cannot be asked for, everything is.
    if (rte_eth_allmulticast_enable(id_) != 0) rte_eth_promiscuous_enable(id_);
    return {};
}

Started<void> Port::choose_mac(const PortConfig& config) {
    if (!config.mac.empty()) {
        const auto mac = parse_mac(config.mac);
        if (!mac || mac->is_multicast())
            return failure(fmt::format("port {}: mac: \"{}\" is no unicast address like "
                                       "02:00:00:00:00:01",
                                       config.device, config.mac),
                           EINVAL);
        mac_ = *mac;
        rte_ether_addr address{};
        // Some interfaces refuse even their own address while they are up.
        if (rte_eth_macaddr_get(id_, &address) == 0 &&
            std::ranges::equal(mac_.bytes, address.addr_bytes))
            return {};
        std::ranges::copy(mac_.bytes, address.addr_bytes);
        // A port that cannot take it receives for it all the same.
        if (rte_eth_dev_default_mac_addr_set(id_, &address) != 0) rte_eth_promiscuous_enable(id_);
        return {};
    }
    rte_ether_addr address{};
    if (rte_eth_macaddr_get(id_, &address) == 0)
        std::copy(std::begin(address.addr_bytes), std::end(address.addr_bytes),
                  mac_.bytes.begin());
    if (mac_.is_zero()) {  // a ring has none: a local, unicast one
        fill_random(mac_.bytes);
        mac_.bytes[0] = static_cast<uint8_t>((mac_.bytes[0] & 0xfc) | 0x02);
    }
    return {};
}

/// True if the port's indirection table says what software steering says.
bool Port::program_rss(const Rss& rss, uint16_t table_size) {
    if (table_size % rss.table.size() != 0) return false;
    std::vector<rte_eth_rss_reta_entry64> entries(
        (table_size + RTE_ETH_RETA_GROUP_SIZE - 1) / RTE_ETH_RETA_GROUP_SIZE);
    for (size_t i = 0; i < table_size; ++i) {
        auto& group = entries[i / RTE_ETH_RETA_GROUP_SIZE];
        group.mask |= uint64_t{1} << (i % RTE_ETH_RETA_GROUP_SIZE);
        group.reta[i % RTE_ETH_RETA_GROUP_SIZE] = rss.table[i % rss.table.size()];
    }
    return rte_eth_dev_rss_reta_update(id_, entries.data(), table_size) == 0;
}

void Port::describe(const PortConfig& config, uint64_t receive_offloads,
                    uint64_t transmit_offloads) {
    const auto who = [](uint64_t offloads, uint64_t bit) {
        return (offloads & bit) != 0 ? "port" : "software";
    };
    description_ = fmt::format(
        "{}: mac {} mtu {} queues {}/{}; receive checksums ip {} tcp {}; transmit checksums ip {} "
        "tcp {}; frames in pieces {}; steering {}",
        config.device, mac_.to_string(), mtu_, receive_queues_, transmit_queues_,
        who(receive_offloads, RTE_ETH_RX_OFFLOAD_IPV4_CKSUM),
        who(receive_offloads, RTE_ETH_RX_OFFLOAD_TCP_CKSUM),
        who(transmit_offloads, RTE_ETH_TX_OFFLOAD_IPV4_CKSUM),
        who(transmit_offloads, RTE_ETH_TX_OFFLOAD_TCP_CKSUM), multi_segment_ ? "port" : "software",
        receive_queues_ == 1 ? "not needed" : steered_ ? "port" : "software");
    if (gate_ != nullptr && !gate_->works())
        description_ += "; a peer that leaves may end this process";
}

void Port::keep_interrupts_out() {
    places_ = std::make_unique<InterruptGate::Place[]>(places());
    gate_ = &InterruptGate::instance();
    for (size_t i = 0; i < places(); ++i) gate_->add(places_[i]);
}

bool Port::receive(uint16_t queue, buf::FrameBatch& batch) const {
    if (gate_ != nullptr && !gate_->enter(places_[queue])) return false;
    const uint16_t n =
        rte_eth_rx_burst(id_, queue, batch.raw(), static_cast<uint16_t>(batch.capacity));
    if (gate_ != nullptr) gate_->leave(places_[queue]);
    if (n == 0) return false;
    counts_[queue].add(n);
    batch.filled(n);
    return true;
}

void Port::transmit(uint16_t queue, buf::FrameBatch& batch, buf::Pools& pools) const {
    if (!multi_segment_ || reads_by_dma_) linearise(batch, pools);
    if (gate_ != nullptr && !gate_->enter(places_[receive_queues_ + queue])) return;
    const auto size = static_cast<uint16_t>(batch.size());
    batch.to_be_sent();
    const uint16_t n = rte_eth_tx_burst(id_, queue, batch.raw(), size);
    counts_[receive_queues_ + queue].add(n);
    batch.sent(n);
    if (gate_ != nullptr) gate_->leave(places_[receive_queues_ + queue]);
}

bool Port::needs_copy(const buf::Frame& frame) const {
    if (!multi_segment_ && frame.buffers() > 1) return true;
    if (!reads_by_dma_) return false;
    for (const rte_mbuf* m = frame.get(); m != nullptr; m = m->next)
        if (RTE_MBUF_HAS_EXTBUF(m)) return true;
    return false;
}

/// Frames in pieces become frames in one, for ports that take only those.
void Port::linearise(buf::FrameBatch& batch, buf::Pools& pools) const {
    size_t kept = 0;
    for (size_t i = 0; i < batch.size(); ++i) {
        buf::Frame frame = batch.take(i);
        if (needs_copy(frame)) {
            rte_mbuf* copy =
                rte_pktmbuf_copy(frame.get(), pools.receive_pool(), 0, UINT32_MAX);
            buf::unpoison_received(copy);
            if (copy == nullptr || (copy->nb_segs > 1 && !multi_segment_)) {
                buf::free_chain(copy);
                continue;  // lost, as on a wire; TCP sends it again
            }
            copy->ol_flags = frame.get()->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK;
            copy->tx_offload = frame.get()->tx_offload;
            frame = buf::Frame(copy);
        }
        batch.raw()[kept++] = frame.release();
    }
    batch.shrink(kept);
}

PortCounters Port::counters() const {
    rte_eth_stats stats{};
    if (rte_eth_stats_get(id_, &stats) != 0) stats = {};
    uint64_t received = 0, transmitted = 0;
    for (size_t i = 0; i < places(); ++i)
        (i < receive_queues_ ? received : transmitted) +=
            counts_[i].frames.load(std::memory_order_relaxed);
    return {received, transmitted, stats.imissed, stats.ierrors + stats.oerrors, stats.rx_nombuf};
}

}  // namespace millrace::port
