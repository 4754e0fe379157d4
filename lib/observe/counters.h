// What one core counts. Plain integers, written by their owner alone; others ask for a copy.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "observe/drop_reasons.h"

namespace millrace::observe {

// Linux's SNMP and TcpExt names where Linux has the counter. X(member, name)
#define MILLRACE_COUNTERS(X)                                        \
    X(frames_in, "FramesIn")                                        \
    X(frames_out, "FramesOut")                                      \
    X(frames_handed_over, "FramesHandedOver")                       \
    X(icmp_in_echos, "IcmpInEchos")                                 \
    X(icmp_in_errors, "IcmpInDestUnreachs")                         \
    X(icmp_out_dest_unreachs, "IcmpOutDestUnreachs")                \
    X(icmp_out_rate_limited, "IcmpOutRateLimitGlobal")              \
    X(ip_frag_oks, "IpFragOKs")                                     \
    X(ip_frag_fails, "IpFragFails")                                 \
    X(ip_frag_creates, "IpFragCreates")                             \
    X(udp_in_datagrams, "UdpInDatagrams")                           \
    X(udp_no_ports, "UdpNoPorts")                                   \
    X(udp_in_errors, "UdpInErrors")                                 \
    X(udp_in_csum_errors, "UdpInCsumErrors")                        \
    X(udp_rcvbuf_errors, "UdpRcvbufErrors")                         \
    X(udp_sndbuf_errors, "UdpSndbufErrors")                         \
    X(udp_out_datagrams, "UdpOutDatagrams")                         \
    X(ip_reasm_oks, "IpReasmOKs")                                   \
    X(ip_reasm_reqds, "IpReasmReqds")                               \
    X(ip_in_no_ect_pkts, "IpExtInNoECTPkts")                        \
    X(ip_in_ect1_pkts, "IpExtInECT1Pkts")                           \
    X(ip_in_ect0_pkts, "IpExtInECT0Pkts")                           \
    X(ip_in_ce_pkts, "IpExtInCEPkts")                               \
    X(tcp_active_opens, "TcpActiveOpens")                           \
    X(tcp_passive_opens, "TcpPassiveOpens")                         \
    X(tcp_attempt_fails, "TcpAttemptFails")                         \
    X(tcp_estab_resets, "TcpEstabResets")                           \
    X(tcp_in_segs, "TcpInSegs")                                     \
    X(tcp_out_segs, "TcpOutSegs")                                   \
    X(tcp_retrans_segs, "TcpRetransSegs")                           \
    X(tcp_syn_retrans, "TcpExtTCPSynRetrans")                       \
    X(tcp_fin_retrans, "FinRetrans")                                \
    X(tcp_out_rsts, "TcpOutRsts")                                   \
    X(tcp_rsts_limited, "RstsLimited")                              \
    X(tcp_listen_overflows, "TcpExtListenOverflows")                \
    X(tcp_listen_drops, "TcpExtListenDrops")                        \
    X(syncookies_sent, "TcpExtSyncookiesSent")                      \
    X(syncookies_received, "TcpExtSyncookiesRecv")                  \
    X(syncookies_failed, "TcpExtSyncookiesFailed")                  \
    X(tcp_req_q_full_do_cookies, "TcpExtTCPReqQFullDoCookies")      \
    X(tcp_req_q_full_drop, "TcpExtTCPReqQFullDrop")                 \
    X(tcp_timeouts, "TcpExtTCPTimeouts")                            \
    X(tcp_fast_retrans, "TcpExtTCPFastRetrans")                     \
    X(tcp_sack_recovery, "TcpExtTCPSackRecovery")                   \
    X(tcp_reno_recovery, "TcpExtTCPRenoRecovery")                   \
    X(tcp_sack_reneging, "TcpExtTCPSACKReneging")                   \
    X(tcp_sack_reorder, "TcpExtTCPSACKReorder")                     \
    X(tcp_sack_discard, "TcpExtTCPSACKDiscard")                     \
    X(tcp_lost_retransmit, "TcpExtTCPLostRetransmit")               \
    X(tcp_loss_probes, "TcpExtTCPLossProbes")                       \
    X(tcp_loss_probe_recovery, "TcpExtTCPLossProbeRecovery")        \
    X(tcp_spurious_rtos, "TcpExtTCPSpuriousRTOs")                   \
    X(tcp_full_undo, "TcpExtTCPFullUndo")                           \
    X(tcp_partial_undo, "TcpExtTCPPartialUndo")                     \
    X(tcp_dsack_undo, "TcpExtTCPDSACKUndo")                         \
    X(tcp_loss_undo, "TcpExtTCPLossUndo")                           \
    X(tcp_dsack_recv, "TcpExtTCPDSACKRecv")                         \
    X(tcp_dsack_old_sent, "TcpExtTCPDSACKOldSent")                  \
    X(tcp_dsack_ofo_sent, "TcpExtTCPDSACKOfoSent")                  \
    X(tcp_mtup_fail, "TcpExtTCPMTUPFail")                           \
    X(tcp_mtup_success, "TcpExtTCPMTUPSuccess")                     \
    X(tcp_ofo_queue, "TcpExtTCPOFOQueue")                           \
    X(tcp_ofo_drop, "TcpExtTCPOFODrop")                             \
    X(tcp_ofo_pruned, "TcpExtOfoPruned")                            \
    X(tcp_rcv_collapsed, "TcpExtTCPRcvCollapsed")                   \
    X(tcp_rcv_pruned, "TcpExtRcvPruned")                            \
    X(tcp_rcv_q_drop, "TcpExtTCPRcvQDrop")                          \
    X(tcp_challenge_acks, "TcpExtTCPChallengeACK")                  \
    X(tcp_syn_challenge, "TcpExtTCPSYNChallenge")                   \
    X(tcp_paws_estab_rejected, "TcpExtPAWSEstab")                   \
    X(tcp_tsecr_rejected, "TcpExtTSEcrRejected")                    \
    X(tcp_delayed_acks, "TcpExtDelayedACKs")                        \
    X(tcp_time_waits, "TcpExtTW")                                   \
    X(tcp_time_wait_recycled, "TcpExtTWRecycled")                   \
    X(tcp_time_wait_reopened, "TimeWaitReopened")                   \
    X(tcp_time_wait_overflow, "TcpExtTCPTimeWaitOverflow")          \
    X(tcp_abort_on_data, "TcpExtTCPAbortOnData")                    \
    X(tcp_abort_on_close, "TcpExtTCPAbortOnClose")                  \
    X(tcp_abort_on_timeout, "TcpExtTCPAbortOnTimeout")              \
    X(tcp_abort_on_memory, "TcpExtTCPAbortOnMemory")                \
    X(tcp_abort_on_linger, "TcpExtTCPAbortOnLinger")                \
    X(tcp_keepalives, "TcpExtTCPKeepAlive")                         \
    X(tcp_zero_window_probes, "TcpExtTCPWinProbe")                  \
    X(tcp_skipped_acks, "TcpExtTCPACKSkipped")                      \
    X(tcp_defer_accept_drop, "TcpExtTCPDeferAcceptDrop")            \
    X(tcp_min_ttl_drop, "TcpExtTCPMinTTLDrop")                      \
    X(tcp_delivered_ce, "TcpExtTCPDeliveredCE")                     \
    X(ecn_fallbacks, "EcnFallbacks")                                \
    X(payload_copied, "PayloadBytesCopied")                         \
    X(payload_received, "PayloadBytesReceived")                     \
    X(payload_sent, "PayloadBytesSent")                             \
    X(turns, "CoreTurns")                                           \
    X(busy_cycles, "CoreBusyCycles")                                \
    X(empty_cycles, "CoreEmptyCycles")                              \
    X(receive_cycles, "CoreReceiveCycles")                          \
    X(ingress_cycles, "CoreIngressCycles")                          \
    X(timer_cycles, "CoreTimerCycles")                              \
    X(application_cycles, "CoreApplicationCycles")                  \
    X(egress_cycles, "CoreEgressCycles")                            \
    X(transmit_cycles, "CoreTransmitCycles")                        \
    X(neighbour_solicitations, "NeighbourSolicitations")            \
    X(neighbour_failures, "NeighbourFailures")                      \
    X(pool_low_receive, "PoolLowReceive")                           \
    X(pool_dry_header, "PoolDryHeader")                             \
    X(pool_dry_attach, "PoolDryAttach")                             \
    X(pool_dry_payload, "PoolDryPayload")                           \
    X(pool_dry_region, "PoolDryRegion")                             \
    X(control_reserve_used, "ControlReserveUsed")                   \
    X(pool_dry_control, "PoolDryControl")                           \
    X(pool_dry_connections, "PoolDryConnections")                   \
    X(pool_dry_half_open, "PoolDryHalfOpen")                        \
    X(pool_dry_reassembly, "PoolDryReassembly")                     \
    X(pool_dry_sent_ranges, "PoolDrySentRanges")                    \
    X(pool_dry_snapshots, "PoolDrySnapshots")                       \
    X(pool_dry_datagrams, "PoolDryDatagrams")                       \
    X(pool_dry_sockets, "PoolDrySockets")                           \
    X(pool_dry_neighbours, "PoolDryNeighbours")                     \
    X(letters_lost, "LettersLost")

struct Counters {
#define X(member, name) uint64_t member = 0;
    MILLRACE_COUNTERS(X)
#undef X
    std::array<uint64_t, drop_count> dropped{};

    /// Cold: what leads here is laid out beside the way of what is taken.
    [[gnu::cold]] void drop(Drop reason) { ++dropped[static_cast<size_t>(reason)]; }
    uint64_t drops(Drop reason) const { return dropped[static_cast<size_t>(reason)]; }
    uint64_t drops_total() const {
        uint64_t sum = 0;
        for (const uint64_t n : dropped) sum += n;
        return sum;
    }
    Counters& operator+=(const Counters& other);

    static constexpr size_t size = drop_count + std::to_array<std::string_view>({
#define X(member, name) std::string_view(name),
        MILLRACE_COUNTERS(X)
#undef X
    }).size();  ///< of what `for_each` visits
    /// Calls `visit(name, value)` for each counter, then for each drop reason under its name.
    template <typename Visit>
    void for_each(Visit&& visit) const {
#define X(member, name) visit(std::string_view(name), member);
        MILLRACE_COUNTERS(X)
#undef X
        for (size_t i = 0; i < drop_count; ++i) visit(drop_reasons[i].name, dropped[i]);
    }
};

inline Counters& Counters::operator+=(const Counters& other) {
#define X(member, name) member += other.member;
    MILLRACE_COUNTERS(X)
#undef X
    for (size_t i = 0; i < drop_count; ++i) dropped[i] += other.dropped[i];
    return *this;
}

}  // namespace millrace::observe
