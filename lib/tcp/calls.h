// What the application asks of a connection: RFC 9293 section 3.9.1's calls.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "tcp/env.h"

namespace millrace::tcp {

/// Limits that do not depend on the peer; before the first segment, of either side.
void initialise(Env& env, Connection& c, uint16_t link_mss);
/// Active OPEN: the SYN goes out in this turn's egress. `floor`: our ISN must lie beyond it, where
/// the tuple was in TIME-WAIT.
void open(Env& env, Connection& c, const Address& local, uint16_t link_mss,
          std::optional<Seq> floor);

/// SEND without a copy, unless receive buffers are short: appends whole buffers while the send
/// buffer is not full (it may be exceeded by less than one chain; buffers that hold little count
/// for half of what they pin). EPIPE after shutdown, the connection's error after its end, EAGAIN
/// when the buffer is full, the handshake not over or buffers are short (a `writable` event
/// follows) — `data` is left untouched then.
Result<size_t> send(Env& env, Connection& c, BufferChain& data);
/// What poll calls writable (Linux's sk_stream_is_writeable): a third of the send buffer is free,
/// and less than half of TCP_NOTSENT_LOWAT unsent. Where it is not, a `writable` event will follow.
bool is_writable(const Env& env, Connection& c);
/// SEND with a copy. Answers how many bytes were taken.
Result<size_t> send_copy(Env& env, Connection& c, std::span<const std::byte> data);
/// RECEIVE: all that is there, by ownership. Empty where there is nothing (yet, or any more).
BufferChain receive(Env& env, Connection& c);
/// The application has used `bytes` of what it received: the window may open.
void consumed(Env& env, Connection& c, uint32_t bytes);
/// Everything before the peer's FIN has been received by the application.
bool at_end(const Connection& c);

/// CLOSE of our side: a FIN follows the queued data. ENOTCONN where there is no open stream.
Result<void> shutdown_send(Env& env, Connection& c);
/// Neither will be read what comes after our FIN (shutdown both ways): a reset answers it, as in
/// Linux.
void stop_reading(Connection& c);
/// TCP_NODELAY; what Nagle held back goes out when it is turned on.
void set_no_delay(Env& env, Connection& c, bool on);
/// SO_KEEPALIVE with TCP_KEEPIDLE, TCP_KEEPINTVL (in whole seconds) and TCP_KEEPCNT; 0 stands for
/// the tunable. EINVAL.
Result<void> set_keepalive(Env& env, Connection& c, bool on, Duration idle, Duration interval,
                           uint32_t probes);
/// TCP_USER_TIMEOUT: R2 of this connection. 0: as the tunables say, `Duration::max()`: never.
/// EINVAL.
Result<void> set_user_timeout(Env& env, Connection& c, Duration timeout);
/// TCP_SYNCNT; 0: `tcp_syn_retries`. EINVAL.
Result<void> set_syn_retries(Env& env, Connection& c, uint32_t retries);
/// TCP_LINGER2: time in FIN-WAIT-2 after CLOSE; 0: `tcp_fin_timeout`, negative: a reset. EINVAL.
Result<void> set_linger2(Env& env, Connection& c, Duration time);
/// TCP_CONGESTION: the window is kept. ENOENT for an unknown name, ENOBUFS where its pool is dry.
Result<void> set_congestion_control(Env& env, Connection& c, std::string_view name);
/// SO_MAX_PACING_RATE, bytes per second: turns pacing on and caps it; ~0: no cap. EINVAL for 0.
Result<void> set_max_pacing_rate(Env& env, Connection& c, uint64_t rate);
/// DSCP of all that is sent from now on, the SYN included before it has left. EINVAL above 63.
Result<void> set_dscp(Connection& c, uint32_t dscp);
/// TTL or hop limit likewise. EINVAL outside 1..255.
Result<void> set_ttl(Connection& c, uint32_t ttl);
/// IP_MINTTL, IPV6_MINHOPCOUNT: what comes with less is not heard. EINVAL above 255.
Result<void> set_min_ttl(Env& env, Connection& c, uint32_t ttl);
/// TCP_WINDOW_CLAMP, bytes: no window larger than that is offered from now on, nor one taken back
/// that was.
void set_window_clamp(Env& env, Connection& c, uint32_t bytes);
/// TCP_MAXSEG: neither side sends larger segments. Before the SYN has left; no effect after.
void set_max_segment(Connection& c, uint16_t bytes);
/// TCP_CORK: a partial segment waits for more, at most 200 ms; what was held goes when it is turned
/// off, as far as Nagle lets it.
void set_cork(Env& env, Connection& c, bool on);
/// SO_SNDBUF: from 4096 to `tcp_wmem_max` bytes; answers what was set.
uint32_t set_send_buffer(Env& env, Connection& c, uint32_t bytes);
/// TCP_NOTSENT_LOWAT: with so much unsent, nothing more is taken; below half of it, a `writable`
/// event follows. 0: what the tunable says.
void set_not_sent_low_water_mark(Env& env, Connection& c, uint32_t bytes);
/// CLOSE: the application lets go. What is queued is still sent; unread data makes it a reset.
void close(Env& env, Connection& c);
/// ABORT: RST, at once.
void abort(Env& env, Connection& c);
/// There is room again for an application that met a full send buffer, or too much unsent.
void wake_writer(Env& env, Connection& c);

}  // namespace millrace::tcp
