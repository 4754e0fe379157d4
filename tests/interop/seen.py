#!/usr/bin/env python3
"""One connection seen from both ends: millrace-ss and TCP_INFO of ours, Linux's ss of the kernel's.

    seen.py BUILD_DIR [unittest arguments]         needs root
"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from host import run
from wire import NEAR, AllowCubic, Wire

BUILD = os.path.abspath(sys.argv.pop(1))
WORK = tempfile.mkdtemp(prefix="millrace-seen-")
BULK = 3_000_000
EXCHANGES = 24
SIZE = BULK + EXCHANGES
DELAY_MS = 20
# Has so many bytes echoed, then single ones, each on its own: so that both ends have smoothed the
# round trip of the same quiet seconds. Says so, and keeps the connection until it is killed.
CLIENT = """
import os, socket, sys, threading, time
size, exchanges = int(sys.argv[2]), int(sys.argv[3])
said = os.urandom(size)
link = socket.create_connection((sys.argv[1], 7), timeout=60)
link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
threading.Thread(target=link.sendall, args=(said,)).start()
heard = bytearray()
while len(heard) < size and (part := link.recv(65536)):
    heard += part
for i in range(exchanges):
    link.sendall(bytes([i]))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
    said, heard = said + bytes([i]), heard + link.recv(1)
print("same" if heard == said else "different", flush=True)
time.sleep(120)
"""


def fields(line):
    """What Linux's ss -ti prints of a connection: name and value, or its name alone."""
    found = {}
    for word in line.split():
        name, colon, value = word.partition(":")
        found[name] = value if colon else True
    return found


def bits(line):
    """Of "send 8.3Mbps", by iproute2's version with or without a unit."""
    number, unit = re.search(r" send ([0-9.]+)([KMGT]?)bps", line).groups()
    return float(number) * 1000 ** " KMGT".index(unit or " ")


class Seen(unittest.TestCase):
    """Of a connection over which three megabytes went each way, with 20 ms of delay each way."""

    @classmethod
    def setUpClass(cls):
        cls.enterClassContext(AllowCubic())
        cls.wire = Wire(BUILD, WORK, True, ("--rate", "100", "--delay", str(DELAY_MS), "--loss",
                                            "0.2", "--seed", "3"))
        cls.addClassCleanup(cls.wire.close)
        cls.server = cls.wire.serve_echo("near")
        client = cls.wire.start("far", sys.executable, "-c", CLIENT, NEAR, str(BULK),
                                str(EXCHANGES))
        cls.wire.wait(lambda: "same" in cls.wire.output(client), client)
        time.sleep(0.5)  # the last ACKs are on their way
        cls.kernel_line = cls.wire.run("far", "ss", "-tinoH", "dst", f"{NEAR}:7").stdout
        cls.kernel = fields(cls.kernel_line)
        cls.our_line = cls.look("-tinoH", "state", "established").stdout
        cls.shown = fields(cls.our_line)
        cls.ours = json.loads(cls.look("--json", "state", "established").stdout)

    @classmethod
    def look(cls, *arguments):
        return run(os.path.join(BUILD, "apps", "millrace-ss"), "-p", str(cls.server.pid), *arguments)

    def kernel_number(self, name, part=0):
        self.assertIn(name, self.kernel, self.kernel_line)
        return float(re.split("[/,]", self.kernel[name])[part])

    def test_what_was_agreed_on(self):
        self.assertEqual(self.ours["mss"], self.kernel_number("mss"))
        self.assertEqual(self.ours["pmtu"], self.kernel_number("pmtu"))
        self.assertEqual(self.ours["advmss"], self.kernel_number("advmss"))
        self.assertEqual(self.ours["rcvmss"], self.kernel_number("mss"))
        # Each side's shift for what it sends is the other's for what it receives.
        self.assertEqual(self.ours["snd_wscale"], self.kernel_number("wscale", 1))
        self.assertEqual(self.ours["rcv_wscale"], self.kernel_number("wscale", 0))
        for option in ("ts", "sack"):
            self.assertTrue(self.ours[option] and self.kernel[option], option)
        self.assertEqual(self.ours["congestion_control"], "cubic")
        self.assertIn("cubic", self.kernel)

    def test_the_round_trip(self):
        kernel = self.kernel_number("rtt") * 1000
        self.assertAlmostEqual(self.ours["rtt_us"], kernel, delta=0.2 * kernel)
        self.assertGreaterEqual(self.ours["minrtt_us"], 2 * DELAY_MS * 1000)
        least = self.kernel_number("minrtt") * 1000
        self.assertAlmostEqual(self.ours["minrtt_us"], least, delta=0.2 * least)
        # Both take RTO for the smoothed round trip and at least 200 ms of variance.
        kernel = self.kernel_number("rto") * 1000
        self.assertAlmostEqual(self.ours["rto_us"], kernel, delta=0.2 * kernel)

    def test_every_byte_is_accounted_for_on_both_sides(self):
        self.assertEqual(self.ours["bytes_acked"], SIZE)
        self.assertEqual(self.kernel_number("bytes_received"), SIZE)
        # Linux counts its SYN.
        self.assertEqual(self.kernel_number("bytes_acked") - 1, SIZE)
        for name in ("recv_q", "send_q", "unacked", "notsent", "lost", "sacked", "retrans"):
            self.assertEqual(self.ours[name], 0, name)

    def test_the_windows(self):
        self.assertEqual(self.ours["cwnd"] // self.ours["mss"], int(self.shown["cwnd"]))
        # What they are differs, since losses are chance; what they mean does not.
        for line in (self.our_line, self.kernel_line):
            found = fields(line)
            rate = int(found["cwnd"]) * int(found["mss"]) * 8000 / float(found["rtt"].split("/")[0])
            self.assertAlmostEqual(bits(line), rate, delta=0.02 * rate, msg=line)
        self.assertGreaterEqual(self.ours["snd_wnd"], self.ours["mss"])
        if "snd_wnd" in self.kernel:  # what it may send is what we have told it
            self.assertEqual(self.ours["rcv_wnd"] >> self.ours["rcv_wscale"],
                             int(self.kernel["snd_wnd"]) >> self.ours["rcv_wscale"])

    def test_our_line_has_the_fields_that_linux_has(self):
        mine = {name for name in self.shown if re.fullmatch("[a-z_]+", name)}
        missing = {name for name in self.kernel if re.fullmatch("[a-z_]+", name)} - mine
        # Counts of segments and bytes each way, and what paces or limits, are not kept here; the
        # delivery rate may be forgotten at rest.
        self.assertLessEqual(missing, {
            "bytes_sent", "bytes_retrans", "bytes_received", "segs_out", "segs_in", "data_segs_out",
            "data_segs_in", "delivery_rate", "delivered", "app_limited", "busy", "rwnd_limited",
            "sndbuf_limited", "pacing_rate", "reordering", "rcv_ooopack", "reord_seen", "timer",
            "ssthresh", "retrans", "rcv_rtt", "rcv_space", "dsack_dups", "ato", "bps", "lastsnd"})

    def test_an_answer_that_cannot_be_written_is_a_failure(self):
        program = ("-p", str(self.server.pid))
        for tool, *arguments in (("ss", *program, "-tin"), ("ss", *program, "--json"),
                                 ("ss", *program, "-s"), ("nstat", *program, "-z"),
                                 ("nstat", *program, "-d", "0.1"), ("doctor", "--no-frames"),
                                 ("dump", *program, "-D"), ("load", "--dry-run", "--role", "both")):
            with self.subTest(tool=tool, arguments=arguments), open("/dev/full", "w") as full:
                done = subprocess.run([os.path.join(BUILD, "apps", f"millrace-{tool}"), *arguments],
                                      stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
                # What the doctor finds on this machine may be a failure of its own.
                self.assertIn(done.returncode, (1, 2) if tool == "doctor" else (1,), done.stderr)
                self.assertIn("standard output cannot be written", done.stderr)

    def test_a_complaint_that_cannot_be_written_is_still_a_failure(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([os.path.join(BUILD, "apps", "millrace-ss"), "-K"], stderr=full,
                                  stdout=subprocess.PIPE, timeout=60)
        self.assertEqual(done.returncode, 1)


class ByTelemetry(unittest.TestCase):
    """DPDK's own tool asks a program of ours with two cores, beside millrace-nstat."""

    CLIENTS = 20

    def setUp(self):
        self.enterContext(AllowCubic())
        self.wire = Wire(BUILD, WORK, True, ())
        self.addCleanup(self.wire.close)
        self.prefix = f"mrseen{os.getpid()}"
        path = os.path.join(WORK, "telemetry.toml")
        self.device = self.wire.device(0, "near") + ",qpairs=2"
        with open(path, "w") as file:
            file.write(f'[[port]]\ndevice = "{self.device}"\naddresses = ["{NEAR}/24"]\n'
                       + '[[core]]\nidle = "sleep"\n' * 2
                       + f'[eal]\ntelemetry = true\nfile_prefix = "{self.prefix}"\n')
        self.server = self.wire.start("near", os.path.join(BUILD, "apps", "millrace-echo"), "-c",
                                      path)
        self.wire.wait(lambda: "listening" in self.wire.output(self.server), self.server)

    def say_something(self):
        for _ in range(self.CLIENTS):
            client = self.wire.start("far", sys.executable, "-c", CLIENT, NEAR, "5000", "0")
            self.wire.wait(lambda c=client: "same" in self.wire.output(c), client)

    def ask(self, *commands):
        told = run("dpdk-telemetry.py", "-f", self.prefix, said="\n".join(commands) + "\n").stdout
        answers = [json.loads(line)[command.partition(",")[0]]
                   for line, command in zip(told.splitlines(), commands, strict=True)]
        return answers if len(answers) > 1 else answers[0]

    def test_it_says_what_nstat_says(self):
        self.say_something()
        self.assertIn("/millrace/counters", self.ask("/"))
        self.assertEqual(self.ask("/millrace/list"), [0])
        self.assertEqual(self.ask("/millrace/info,0"), {"cores": 2, "ports": [self.device]})
        both, first, second = self.ask("/millrace/levels,0", "/millrace/levels,0,0",
                                       "/millrace/levels,0,1")
        self.assertEqual((both["Connections"], both["Listeners"]), (self.CLIENTS, 2))
        for name in ("Connections", "Listeners", "Buffers"):
            self.assertEqual(both[name], first[name] + second[name], name)
        both, first, second = self.ask("/millrace/counters,0", "/millrace/counters,0,0",
                                       "/millrace/counters,0,1")
        self.assertEqual(both["PayloadBytesReceived"], self.CLIENTS * 5000)
        # The loops go on, the connections rest: what is counted of segments stands still.
        told = dict(re.findall(r"^(Tcp\w+) +(\d+)", self.nstat(), re.M))
        self.assertGreater(len(told), 50)
        for name, number in told.items():
            self.assertEqual(both[name], int(number), name)
            self.assertEqual(both[name], first[name] + second[name], name)
        for core in (first, second):
            self.assertGreater(core["TcpInSegs"], 0)

    def nstat(self):
        return run(os.path.join(BUILD, "apps", "millrace-nstat"), "-p", str(self.server.pid),
                   "-z").stdout

    def test_who_asks_for_what_is_not_there_is_told_nothing(self):
        wrong = ("/millrace/counters", "/millrace/counters,1", "/millrace/counters,0,2",
                 "/millrace/levels,0,", "/millrace/levels,-1", "/millrace/info,x",
                 "/millrace/info,0,0")
        self.assertEqual(self.ask(*wrong), [None] * len(wrong))

    def test_the_program_ends_while_it_is_asked(self):
        """By one client: DPDK's server mixes up what several ask at once."""
        path = os.path.join(WORK, "commands")
        with open(path, "w") as file:
            file.write("/millrace/counters,0\n/millrace/list\n" * 50000)
        with open(path) as commands:
            asker = subprocess.Popen(["dpdk-telemetry.py", "-f", self.prefix], stdin=commands,
                                     stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.addCleanup(asker.wait)
        self.addCleanup(asker.kill)
        self.addCleanup(asker.stdout.close)
        for _ in range(10):
            self.assertIn(b"FramesIn", asker.stdout.readline())
            self.assertIn(b"[0]", asker.stdout.readline())
        self.server.send_signal(signal.SIGTERM)
        while asker.stdout.readline():  # until nobody answers any more
            pass
        self.assertEqual(self.server.wait(30), 0)


if __name__ == "__main__":
    try:
        unittest.main(argv=sys.argv[:1] + sys.argv[1:], verbosity=2)
    finally:
        shutil.rmtree(WORK, ignore_errors=True)
