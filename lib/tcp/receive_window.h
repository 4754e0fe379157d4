// The window that we offer, and how the receive buffer behind it finds its size.
#pragma once

#include "tcp/env.h"
#include "wire/tcp.h"

namespace millrace::tcp {

/// What a connection begins with: `tcp_rmem`, and at most an eighth of the core's receive buffers.
uint32_t initial_receive_buffer(const Env& env);
/// The window field of a SYN, which is not scaled (RFC 7323 section 2.2).
uint16_t syn_window(const Connection& c);
/// The window field that goes out now; moves RCV.ADV (RFC 9293 section 3.8.6.2.2).
uint16_t advertise_window(Env& env, Connection& c);
/// The application has consumed data: is an update of the window worth a segment?
void maybe_update_window(Env& env, Connection& c);

/// In-order data has come: what it tells of the round trip from here, for autotuning.
void measure_receive_rtt(Env& env, Connection& c, const wire::Segment& segment);
/// The application has consumed data. Dynamic right-sizing, after Linux's tcp_rcv_space_adjust: the
/// buffer becomes twice of what was consumed in one round trip, and more while that grows. At most
/// `tcp_rmem_max` and an eighth of the core's receive buffers; not while these are short.
void tune_receive_buffer(Env& env, Connection& c);
/// For SO_RCVLOWAT: at least so many bytes, at most `tcp_rmem_max`, where the application has not
/// set the buffer itself.
void grow_receive_buffer(Env& env, Connection& c, uint32_t bytes);
/// SO_RCVBUF: from 4096 to `tcp_rmem_max` bytes; answers what was set. Autotuning ends. The window
/// that has been offered is not taken back (SHLD-14).
uint32_t set_receive_buffer(Env& env, Connection& c, uint32_t bytes);

}  // namespace millrace::tcp
