"""The bugs that `plant.py` plants, one at a time: what the random simulation must find.

Each is the smallest slip of its kind that a reviewer could overlook: a file, the text that stands
in it exactly once, the text in its place. Where the library's text changes, so must this.
"""
from typing import NamedTuple


class Bug(NamedTuple):
    name: str
    what: str
    file: str
    old: str
    new: str


BUGS = [
    Bug("window_off_by_one", "the sender's view of the peer's window is one octet too wide",
        "lib/tcp/output.cpp",
        "Seq from) {\n    const Seq edge = c.snd_una + c.snd_wnd;\n",
        "Seq from) {\n    const Seq edge = c.snd_una + c.snd_wnd + 1;\n"),
    Bug("probe_beyond_window", "a tail loss probe of new data does not look at the peer's window",
        "lib/tcp/output.cpp",
        "window_left(c, c.snd_nxt), uint32_t{c.snd_mss}});",
        "uint32_t{c.snd_mss}});"),
    Bug("old_window_kept", "an ACK that moves on in an old segment leaves the window as wide",
        "lib/tcp/ack.cpp",
        "    if (c.snd_wl1 > segment.seq && segment.ack <= c.snd_una) return;\n",
        "    if (c.snd_wl1 > segment.seq) return;\n"),
    Bug("cwnd_ignored", "what is in flight does not count against the congestion window",
        "lib/tcp/output.cpp",
        "    return c.window.cwnd > in_flight ? c.window.cwnd - in_flight : 0;\n",
        "    return c.window.cwnd > in_flight ? c.window.cwnd : 0;\n"),
    Bug("cwnd_overgrown", "each ACK counts for the whole window that it acknowledges",
        "lib/tcp/recovery.cpp",
        "    ack.acked = raises_window(c, work) ? work.delivered : 0;\n",
        "    ack.acked = raises_window(c, work) ? work.prior_in_flight : 0;\n"),
    Bug("timer_lost", "a timer that finds its deadline moved back is not armed again",
        "lib/tcp/timers.cpp",
        "    if (c.state != State::closed) arm_timer(env, c);\n",
        ""),
    Bug("rto_not_rearmed", "what goes out sets the retransmission's deadline, and no timer",
        "lib/tcp/timers.cpp",
        "rto(env, c));\n    arm_timer(env, c);\n}\n\nvoid on_timer",
        "rto(env, c));\n}\n\nvoid on_timer"),
    Bug("window_never_probed", "a closed window's timer sends nothing",
        "lib/tcp/timers.cpp",
        "    c.probe_due = true;\n",
        ""),
    Bug("delayed_ack_lost", "the delayed ACK's timer sends nothing",
        "lib/tcp/delayed_ack.cpp",
        "        c.ato_ms = static_cast<uint16_t>(std::min<uint32_t>(c.ato_ms * 2U, most));\n"
        "    }\n"
        "    acknowledge_now(env, c);\n",
        "        c.ato_ms = static_cast<uint16_t>(std::min<uint32_t>(c.ato_ms * 2U, most));\n"
        "    }\n"),
    Bug("one_syn_too_many", "one retransmission of a SYN more than tcp_syn_retries says",
        "lib/tcp/timers.cpp",
        "    const bool over = c.backoffs >= retries + linear || user_timed_out(env, c);\n",
        "    const bool over = c.backoffs > retries + linear || user_timed_out(env, c);\n"),
    Bug("sack_edge_wrong", "the right edge of a SACK block is one octet too far",
        "lib/tcp/reassembly.cpp",
        "        options.sack[options.sack_count++] = {range->begin, range->end};\n",
        "        options.sack[options.sack_count++] = {range->begin, range->end + 1};\n"),
    Bug("overlap_misplaced", "what overlaps an earlier arrival is kept whole, behind it",
        "lib/tcp/reassembly.cpp",
        "            data.trim_front(static_cast<size_t>(covered));\n",
        ""),
    Bug("wrong_bytes_again", "the back of a split range is sent again from the front's bytes",
        "lib/tcp/sent.cpp",
        "        buf::advance(cursor, distance(range.begin, at));\n",
        ""),
    Bug("comparison_without_wrap", "an acknowledgment is compared as a plain number",
        "lib/tcp/ack.cpp",
        "    if (segment.ack > c.snd_una) take_ack(env, c, work, segment.ack);\n",
        "    if (segment.ack.value() > c.snd_una.value()) take_ack(env, c, work, segment.ack);\n"),
    Bug("fin_acknowledged_wrongly", "a FIN counts for two octets",
        "lib/tcp/text.cpp",
        "    c.rcv_nxt += 1;\n    acknowledge_fin(env, c);\n",
        "    c.rcv_nxt += 2;\n    acknowledge_fin(env, c);\n"),
    Bug("transition_missed", "in FIN-WAIT-1 the peer's FIN changes nothing",
        "lib/tcp/text.cpp",
        "            set_state(env, c, State::closing);\n",
        ""),
    Bug("time_wait_skipped", "who closes first forgets the connection at once",
        "lib/stack/open.cpp",
        "    if (entry != nullptr) {\n        ++time_wait_count_;\n",
        "    if (false) {\n        ++time_wait_count_;\n"),
    Bug("stale_timestamp", "an older timestamp replaces a newer one",
        "lib/tcp/ingress.cpp",
        "    if (static_cast<int32_t>(segment.options.ts_value - c.ts_recent) < 0 &&\n"
        "        ts_recent_age(env, c) < paws_idle_max)\n"
        "        return;\n",
        ""),
    Bug("old_duplicate_accepted", "no segment is too old by its timestamp",
        "lib/tcp/ingress.cpp",
        "    if (older && !segment.rst() && ts_recent_age(env, c) < paws_idle_max &&\n",
        "    if (older && !segment.rst() && ts_recent_age(env, c) > paws_idle_max &&\n"),
    Bug("checksum_unverified", "a segment with a wrong checksum is taken",
        "lib/stack/classify.cpp",
        "    if (!transport_checksum_ok(out)) return drop(out, Drop::tcp_bad_checksum);\n",
        ""),
    Bug("buffer_leaked", "the end of a connection keeps what its send queue held",
        "lib/tcp/connection.cpp",
        "    env.sendings.give_back(c.sending);\n",
        ""),
    Bug("record_leaked", "the end of a connection keeps what measured its receive buffer",
        "lib/tcp/connection.cpp",
        "    if (r.tuning != nullptr) env.tunings.give_back(r.tuning);\n",
        ""),
    Bug("starved_leaked", "a connection that was short of buffers at its end is forgotten",
        "lib/stack/stack.cpp",
        "        c->starved = false;\n        env_.mark_dirty(*c);\n",
        "        c->starved = false;\n"
        "        if (c->state != tcp::State::closed) env_.mark_dirty(*c);\n"),
    Bug("list_of_the_dead", "a connection is freed while it still waits for packet buffers",
        "lib/stack/open.cpp",
        "c.tcp::ReadyHook::is_linked() || c.starved) return;\n",
        "c.tcp::ReadyHook::is_linked()) return;\n"),
]
