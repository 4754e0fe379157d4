#!/usr/bin/env python3
"""Millrace and the host's kernel on the same impaired wire. Needs root.

    impaired.py BUILD_DIR [unittest arguments]     a few transfers, byte for byte
    impaired.py BUILD_DIR --measure [options]      goodput against kernel-to-kernel; --help
"""
import argparse
import filecmp
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import unittest

from cells import Cell, Measurement, all_cells, ratio_interval, report
from wire import FAR, NEAR, NEAR6, AllowCubic, Wire

BUILD = os.path.abspath(sys.argv.pop(1))
WORK = tempfile.mkdtemp(prefix="millrace-impaired-")
ROOT = os.path.join(WORK, "www")
BAD = ("--rate", "100", "--delay", "5", "--loss", "3", "--reorder", "2", "--reorder-by", "2",
       "--duplicate", "1", "--corrupt", "0.1")
LOSSY = ("--rate", "100", "--delay", "1", "--loss", "3")


def make_file(name, size):
    os.makedirs(ROOT, exist_ok=True)
    os.chmod(WORK, 0o755)
    path = os.path.join(ROOT, name)
    with open(path, "wb") as file:
        while size > 0:
            size -= file.write(os.urandom(min(size, 1 << 20)))
    return path


class Impaired(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.enterClassContext(AllowCubic())
        cls.file = make_file("file.bin", 3 * 1024 * 1024)

    def wire(self, ours, impairments):
        wire = Wire(BUILD, WORK, ours, (*impairments, "--seed", "7"))
        self.addCleanup(wire.close)
        return wire

    def curl_and_compare(self, wire, end, host):
        got = os.path.join(WORK, "got-by-curl")
        wire.run(end, "curl", "-sS", "-g", "-f", "--max-time", "60", "-o", got,
                 f"http://{host}/file.bin")
        self.assertTrue(filecmp.cmp(got, self.file, shallow=False), host)

    def assert_impaired(self, wire):
        for way in wire.end_bridge():
            self.assertEqual(way["received"],
                             way["sent"] + way["lost"] + way["overflowed"] + way["too-big"])
            self.assertGreater(way["lost"], 0)

    def test_bridge_loses_what_it_is_told_to_lose(self):
        wire = self.wire(False, ("--loss", "10"))
        wire.run("near", "ping", "-q", "-i", "0.002", "-c", "1000", "-W", "1", FAR)
        forth, back = wire.end_bridge()
        self.assertGreaterEqual(forth["received"], 1000)
        for way in (forth, back):
            self.assertEqual(way["sent"] + way["lost"], way["received"])
            self.assertEqual(way["delivered"], way["sent"])
            self.assertAlmostEqual(way["lost"] / way["received"], 0.1, delta=0.04)
        # What was lost forth never came back.
        self.assertLessEqual(back["received"], forth["sent"] + 20)

    def test_bridge_keeps_rate_and_delay(self):
        wire = self.wire(False, ("--rate", "50", "--delay", "5"))
        answer = wire.run("near", "ping", "-q", "-i", "0.01", "-c", "100", FAR).stdout
        shortest = float(re.search(r"= ([\d.]+)/", answer)[1])
        self.assertGreaterEqual(shortest, 10)
        self.assertLess(shortest, 15)
        cell = Cell("bulk", 0, 10, False)
        big = make_file("bridge.bin", 32 * 1024 * 1024)
        figure = Measurement(BUILD, WORK, big, 50, 3).transfer(cell, "kernel", 1)["figure"]
        self.assertLess(figure, 50)
        self.assertGreater(figure, 30)

    def test_kernel_to_kernel_crosses_it(self):
        """What fails here is the wire's fault, or the kernel's. iperf3 speaks only to iperf3."""
        wire = self.wire(False, LOSSY)
        server = wire.start("near", "iperf3", "-s", "-1", "-V")
        self.wait_for_port(wire, server, "near", 5201)
        answer = json.loads(wire.run("far", "iperf3", "-c", NEAR, "-t", "2", "-J").stdout)
        self.assertGreater(answer["end"]["sum_received"]["bytes"], 1 << 20)
        self.assertEqual(answer["end"]["sender_tcp_congestion"], "cubic")
        self.assert_impaired(wire)

    def wait_for_port(self, wire, process, end, port):
        wire.wait(lambda: wire.listens(end, port), process)

    def test_ours_sends_and_curl_receives(self):
        wire = self.wire(True, BAD)
        server = wire.serve_files("near", ROOT)
        for host in (NEAR, f"[{NEAR6}]"):
            self.curl_and_compare(wire, "far", host)
        wire.finish(server)
        self.assert_impaired(wire)

    def test_ours_receives_from_nginx(self):
        wire = self.wire(True, BAD)
        wire.serve_files("far", ROOT)
        got = os.path.join(WORK, "got-by-us")
        client = wire.start_ours("millrace-load", "-t", f"{FAR}:80", "-p", "/file.bin", "-o", got,
                                 "-d", "60")
        wire.finished(client, 90)
        self.assertTrue(filecmp.cmp(got, self.file, shallow=False))
        self.assert_impaired(wire)

    def test_bursts_of_loss(self):
        bursts = ("--rate", "100", "--delay", "5", "--loss", "2", "--burst", "4")
        wire = self.wire(True, bursts)
        server = wire.serve_files("near", ROOT)
        self.curl_and_compare(wire, "far", NEAR)
        wire.finish(server)
        self.assert_impaired(wire)

    def test_wrk_asks_ours(self):
        wire = self.wire(True, LOSSY)
        make_file("page.txt", 5000)
        server = wire.serve_files("near", ROOT)
        output = wire.run("far", "wrk", "-c", "16", "-d", "4", "-t", "1",
                          f"http://{NEAR}/page.txt").stdout
        self.assertNotIn("Socket errors", output)
        self.assertNotIn("Non-2xx", output)
        self.assertGreater(int(re.search(r"(\d+) requests in", output)[1]), 200)
        wire.finish(server)
        self.assert_impaired(wire)

    def test_echo_both_roles(self):
        cell = Cell("ask", 3, 2, True)
        for role in cell.roles():
            # Each answer is compared with what was asked, byte for byte.
            run = Measurement(BUILD, WORK, self.file, 100, 3).transfer(cell, role, 1)
            self.assertGreater(run["figure"], 50, role)

    def test_interval_of_a_ratio(self):
        ratio, low, high = ratio_interval([8.0] * 9, [10.0] * 9)
        self.assertEqual((ratio, low, high), (0.8, 0.8, 0.8))
        ratio, low, high = ratio_interval([1, 2, 3, 4, 5], [3, 3, 3, 3, 3])
        self.assertEqual(ratio, 1)
        self.assertLess(low, 1)
        self.assertGreater(high, 1)


def measure(arguments):
    options = argparse.ArgumentParser(prog="impaired.py BUILD_DIR --measure")
    options.add_argument("--seeds", type=int, default=15, help="transfers of each cell and role")
    options.add_argument("--first-seed", type=int, default=1)
    options.add_argument("--cells", default=".*", help="pattern of cells' names; see --list")
    options.add_argument("--list", action="store_true", help="the names of all cells")
    options.add_argument("--rate", type=float, default=100, help="Mbit/s each way")
    options.add_argument("--seconds", type=float, default=3, help="of each transfer")
    options.add_argument("--save", help="a file to which each run is added; what is there counts")
    options.add_argument("--quiet", type=float, default=0, help="start each cell only once this "
                         "share of the processors is idle, or after two minutes")
    options.add_argument("--captures", help="a folder for tcpdump's files of each run")
    chosen = options.parse_args(arguments)
    cells = [cell for cell in all_cells() if re.search(chosen.cells, cell.name)]
    if chosen.list:
        print("\n".join(cell.name for cell in cells))
        return
    runs = []
    if chosen.save and os.path.exists(chosen.save):
        with open(chosen.save) as file:
            runs = [json.loads(line) for line in file]
    big = make_file("big.bin", int(chosen.rate * 1e6 / 8 * (chosen.seconds + 1)))
    measurement = Measurement(BUILD, WORK, big, chosen.rate, chosen.seconds,
                              chosen.captures)
    seeds = range(chosen.first_seed, chosen.first_seed + chosen.seeds)
    with AllowCubic():
        for result in measurement.interleaved(cells, seeds, chosen.quiet):
            runs.append(result)
            print(f"{result['cell']} {result['role']} seed {result['seed']}: "
                  f"{result['figure']:.1f}", file=sys.stderr, flush=True)
            if chosen.save:
                with open(chosen.save, "a") as file:
                    print(json.dumps(result), file=file)
    report(cells, runs)


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("these tests need root: network namespaces and veth pairs")
        sys.exit(77)
    # However it ends, it takes down what it has laid.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    try:
        if "--measure" in sys.argv:
            sys.argv.remove("--measure")
            measure(sys.argv[1:])
        else:
            unittest.main(verbosity=2)
    finally:
        shutil.rmtree(WORK, ignore_errors=True)
