#!/usr/bin/env python3
"""The embedded link: server and generator in one process. Usage: demo.py BUILD_DIR [--soak S]"""
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

BUILD = os.path.abspath(sys.argv.pop(1))
SOAK = 0
if len(sys.argv) > 2 and sys.argv[1] == "--soak":
    SOAK = int(sys.argv[2])
    del sys.argv[1:3]
LOAD = os.path.join(BUILD, "apps", "millrace-load")
DEMO = (LOAD, "--role", "both")


def demo(*arguments):
    done = subprocess.run([*DEMO, *arguments], capture_output=True, text=True, timeout=120)
    output = done.stdout + done.stderr
    if done.returncode != 0:
        raise AssertionError(output)
    report = dict(re.findall(r"^  (requests|errors|connections|bytes) +(.*)$", output, re.MULTILINE))
    report["text"] = output
    report["count"] = int(report["requests"].split()[0])
    report["bytes"] = int(report["bytes"].split()[0])
    return report


def connect_when_up(port):
    for _ in range(100):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=10)
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise AssertionError(f"nobody listens on {port}")


class Memif:
    """Two programs on one shared-memory link: a server, and configurations for its clients."""

    def __init__(self, program, *arguments):
        """`CONFIG` among the arguments stands for the configuration; else `-c` comes first."""
        self.folder = tempfile.TemporaryDirectory(prefix="millrace-memif-")
        self.log = open(os.path.join(self.folder.name, "log"), "w")
        arguments = arguments if "CONFIG" in arguments else ("-c", "CONFIG", *arguments)
        config = self.config("server", 1)
        self.process = subprocess.Popen([os.path.join(BUILD, "apps", program),
                                         *(config if a == "CONFIG" else a for a in arguments)],
                                        stdout=self.log, stderr=subprocess.STDOUT)
        time.sleep(1.5)

    def config(self, role, host):
        path = os.path.join(self.folder.name, role + ".toml")
        with open(path, "w") as file:
            file.write(f'[[port]]\ndevice = "net_memif0,role={role},id=0,socket={self.folder.name}'
                       '/sock,socket-abstract=no,rsize=10"\n'
                       f'addresses = ["10.80.0.{host}/24", "fd80::{host}/64"]\n'
                       '[[core]]\nidle = "yield"\n')
        return path

    def load(self, *arguments):
        done = subprocess.run([LOAD, "-c",
                               self.config("client", 2), *arguments], capture_output=True,
                              text=True, timeout=60)
        if done.returncode != 0:
            raise AssertionError(done.stdout + done.stderr)
        return done.stdout

    def close(self):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(timeout=10)
        finally:
            self.process.kill()
            self.log.close()
            self.folder.cleanup()


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1])


class Demo(unittest.TestCase):
    def test_keeps_connections_over_ipv4_and_ipv6(self):
        for family in ([], ["--ipv6"]):
            report = demo("-d", "2", *family)
            self.assertEqual(report["errors"], "none", report["text"])
            self.assertIn("64 attempted, 64 established", report["text"])
            self.assertGreater(report["count"], 1000)

    def test_a_connection_per_request(self):
        report = demo("-d", "2", "--close")
        self.assertEqual(report["errors"], "none", report["text"])
        self.assertGreater(report["count"], 1000)

    def test_large_answers_share_the_pools(self):
        # More kept payload than there are buffers to refer to it with: it must flow all the same.
        report = demo("-d", "4", "-n", "200", "-b", "8388608")
        self.assertEqual(report["errors"], "none", report["text"])
        self.assertGreater(report["bytes"], 100_000_000, report["text"])

    def test_ten_thousand_connections_at_once(self):
        report = demo("-d", "8", "-n", "10000")
        self.assertEqual(report["errors"], "none", report["text"])
        self.assertIn("10000 attempted, 10000 established", report["text"])

    def test_memory_stays_level_while_connections_open_and_close(self):
        seconds = SOAK or 12
        process = subprocess.Popen([*DEMO, "-d", str(seconds), "--close"], stdout=subprocess.PIPE,
                                   text=True)
        # TIME-WAIT fills up to its bound first; what counts is growth after that.
        time.sleep(seconds / 2)
        half = resident_kib(process.pid)
        time.sleep(seconds / 2 - 1)
        end = resident_kib(process.pid)
        output = process.communicate(timeout=60)[0]
        self.assertEqual(process.returncode, 0, output)
        print(f"resident: {half} KiB at half time, {end} KiB at the end")
        self.assertLess(end, half + 16 * 1024, "memory grows")

    def test_memif_between_two_processes(self):
        link = Memif("millrace-httpd", "-q")
        self.addCleanup(link.close)
        # A client goes, another comes: the server's end survives both.
        for target in ("10.80.0.1:80", "[fd80::1]:80"):
            self.assertIn("errors       none", link.load("-t", target, "-d", "2"))
        self.assertIn("errors       none", link.load("-t", "10.80.0.1:80", "-d", "1", "--close"))

    def test_a_memif_peer_that_is_killed_takes_nobody_with_it(self):
        # In the middle of bursts, the server's threads all on one processor: where the driver may
        # unmap the rings during one, this ended the server once in some fifteen times.
        program = os.path.join(BUILD, "bench", "raw_bench")
        if not os.path.exists(program):
            self.skipTest("bench/raw_bench is not built: -Dbench=true")
        with tempfile.TemporaryDirectory() as folder:
            def start(role, side, *before):
                process = subprocess.Popen(
                    [*before, program, "--no-huge-pages", "--seconds", "300", "--size", "1514",
                     "--answer", "1514", "--end", f"{role}=net_memif0,role={side},id=0,"
                     f"socket={folder}/sock,socket-abstract=no@{0 if side == 'server' else 1}"],
                    stdout=subprocess.PIPE, text=True)
                self.addCleanup(process.stdout.close)
                self.addCleanup(process.wait)
                self.addCleanup(process.kill)
                self.assertEqual(process.stdout.readline(), "ready\n")
                return process

            server = start("answer", "server", "taskset", "-c", "0")
            for n in range(30):
                client = start("ask", "client")
                time.sleep(0.1 + 0.002 * n)
                client.kill()
                client.wait()
                time.sleep(0.03)
                self.assertIsNone(server.poll(), f"the server ended with client {n}")
            server.send_signal(signal.SIGINT)
            answered = json.loads(server.stdout.read())["in"]
            self.assertGreater(answered, 30_000, "no load worth the name")

    def test_echo_over_memif_is_byte_exact(self):
        link = Memif("millrace-echo")
        self.addCleanup(link.close)
        for size in ("1", "1000", "30000"):
            self.assertIn("errors       none",
                          link.load("--protocol", "echo", "-t", "10.80.0.1:7", "-s", size, "-d", "1"))

    def test_a_server_ported_from_the_kernels_epoll(self):
        link = Memif("epoll_echo_millrace", "CONFIG", "7")
        self.addCleanup(link.close)
        for target in ("10.80.0.1:7", "[fd80::1]:7"):
            for size in ("1", "1000", "30000"):
                self.assertIn("errors       none",
                              link.load("--protocol", "echo", "-t", target, "-s", size, "-d", "1"))
        # As it was before, on the kernel.
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        server = subprocess.Popen([os.path.join(BUILD, "apps", "epoll_echo"), str(port)])
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        message = os.urandom(300000)
        with connect_when_up(port) as client:
            writer = threading.Thread(target=client.sendall, args=(message,))
            writer.start()
            answer = b""
            while len(answer) < len(message):
                answer += client.recv(65536) or self.fail("closed too early")
            writer.join()
        self.assertEqual(answer, message)

    def test_a_flood_leaves_the_honest_their_connections(self):
        link = Memif("millrace-httpd", "-q")
        self.addCleanup(link.close)
        v4 = ("-t", "10.80.0.1:80", "--flood-sources", "10.80.0.128/25")
        v6 = ("-t", "[fd80::1]:80", "--flood-sources", "fd80::8000/113")
        for kind, where in (("syn", v4), ("ack", v4), ("syn", v6)):
            report = link.load("-m", "flood", "--flood", kind, *where, "--rate", "20000",
                               "--honest", "100", "-d", "3")
            segments, attempts, established, late, failed = map(
                int, re.search(r"^(\d+) segments; (\d+) honest attempts: (\d+) established within "
                               r"3 s, (\d+) later or not yet, (\d+) failed", report, re.M).groups())
            self.assertGreater(segments, 20000)
            self.assertGreater(attempts, 250)
            self.assertEqual((established, late, failed), (attempts, 0, 0))

    def test_a_capture_file_is_a_port(self):
        """An ARP request read from one pcap file is answered into another."""
        peer = bytes.fromhex("020000000099")
        request = (b"\xff" * 6 + peer + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) +
                   peer + bytes([10, 81, 0, 2]) + b"\0" * 6 + bytes([10, 81, 0, 1]))
        request = request.ljust(60, b"\0")
        with tempfile.TemporaryDirectory() as folder:
            with open(f"{folder}/in.pcap", "wb") as file:
                file.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
                file.write(struct.pack("<IIII", 0, 0, len(request), len(request)) + request)
            with open(f"{folder}/p.toml", "w") as file:
                file.write(f'[[port]]\ndevice = "net_pcap0,rx_pcap={folder}/in.pcap,'
                           f'tx_pcap={folder}/out.pcap"\naddresses = ["10.81.0.1/24"]\n'
                           '[[core]]\nidle = "yield"\n')
            subprocess.run(["timeout", "-s", "INT", "2",
                            os.path.join(BUILD, "apps", "millrace-httpd"), "-q", "-c",
                            f"{folder}/p.toml"], capture_output=True, timeout=30)
            with open(f"{folder}/out.pcap", "rb") as file:
                answer = file.read()[40:]
        self.assertEqual(answer[:6], peer)
        self.assertEqual(answer[12:14] + answer[20:22], b"\x08\x06\x00\x02")
        self.assertEqual(answer[28:32], bytes([10, 81, 0, 1]))

    def test_nothing_is_left_under_the_runtime_path(self):
        folder = "/var/run/dpdk" if os.geteuid() == 0 else os.environ.get("XDG_RUNTIME_DIR", "/tmp")

        def entries():
            return set(os.listdir(folder)) if os.path.isdir(folder) else set()
        before = entries()
        demo("-d", "1")
        self.assertEqual(entries() - before, set())


if __name__ == "__main__":
    unittest.main(verbosity=2)
