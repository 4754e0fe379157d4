#!/usr/bin/env python3
"""Captures of running programs: by millrace-dump from without, by DPDK's own dpdk-dumpcap of a program
in shared memory; tshark reads what they write.

Each test makes a network namespace of its own, in which the kernel is the peer. Needs root.
Usage: capture.py BUILD_DIR [unittest arguments].
"""
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from host import Programs, run

BUILD = os.path.abspath(sys.argv.pop(1))
WORK = tempfile.mkdtemp(prefix="millrace-capture-")
NAMESPACE = f"mrc{os.getpid()}"
TAP = "net_tap0,iface=mr0"
VETH = "net_af_packet0,iface=va"
OURS, KERNELS = "10.84.0.1", "10.84.0.2"
HUGE = "/proc/sys/vm/nr_hugepages"
BODY = 100_000
# What tshark says to root in any case.
AS_ROOT = re.compile(r"Running as user \"root\" and group \"root\"\. This could be dangerous\.\n?")


def program(name):
    return os.path.join(BUILD, "apps", name)


def config(device, more=""):
    path = os.path.join(WORK, f"{time.monotonic_ns()}.toml")
    with open(path, "w") as file:
        file.write(f'[[port]]\ndevice = "{device}"\naddresses = ["{OURS}/24", "fd84::1/64"]\n'
                   f'[[core]]\nidle = "sleep"\n{more}')
    return path


class Place(unittest.TestCase):
    """A namespace, programs in it, and what is made of their captures."""

    def setUp(self):
        self.programs = Programs(WORK)
        run("ip", "netns", "add", NAMESPACE)
        self.addCleanup(run, "ip", "netns", "del", NAMESPACE, check=False)
        self.addCleanup(self.programs.end_all)
        self.inside("ip", "link", "set", "lo", "up")

    def inside(self, *command, **options):
        return run("ip", "netns", "exec", NAMESPACE, *command, **options)

    def launch(self, *command):
        # `ip` becomes the program: the process is its own.
        return self.programs.launch("ip", "netns", "exec", NAMESPACE, *command)

    def serve(self, device=VETH, more=""):
        """millrace-httpd, with the kernel at the other end of its port."""
        if device == VETH:
            self.inside("ip", "link", "add", "va", "type", "veth", "peer", "name", "vb")
            for end in ("va", "vb"):
                self.inside("ethtool", "-K", end, "tx", "off", check=False)
                self.inside("ip", "link", "set", end, "up")
            self.inside("sysctl", "-qw", "net.ipv6.conf.va.disable_ipv6=1", check=False)
        server = self.launch(program("millrace-httpd"), "-c", config(device, more), "-b",
                             str(BODY), "-q")
        self.programs.wait(lambda: "serving" in self.programs.output(server) or
                           "port " in self.programs.output(server), server)
        end = "vb" if device == VETH else "mr0"
        self.programs.wait(lambda: self.inside("ip", "link", "show", end, check=False).returncode
                           == 0, server)
        self.inside("ip", "link", "set", end, "up")
        self.inside("ip", "addr", "add", f"{KERNELS}/24", "dev", end)
        self.fetch()
        return server

    def fetch(self):
        """curl, of one connection; retried until it is the link's first that gets through."""
        done = self.inside("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{size_download}",
                           "--retry", "20", "--retry-connrefused", "--retry-delay", "1", "-m", "20",
                           f"http://{OURS}/body")
        self.assertEqual(done.stdout, f"200 {BODY}")

    def dump(self, server, *arguments):
        """millrace-dump to a file, once it captures."""
        path = os.path.join(WORK, f"{time.monotonic_ns()}.pcapng")
        dump = self.launch(program("millrace-dump"), "-p", str(server.pid), "-w", path, *arguments)
        self.programs.wait(lambda: os.path.exists(path) and os.path.getsize(path) > 0, dump)
        return dump, path

    def ended(self, dump, by=signal.SIGINT):
        """Captured, dropped and seen, as it says in the end."""
        if by:
            dump.send_signal(by)
        said = self.programs.finished(dump, 30)
        match = re.search(r"(\d+) frames captured, (\d+) dropped, of (\d+) seen", said)
        self.assertIsNotNone(match, said)
        return [int(number) for number in match.groups()]

    def read(self, path, *fields, only=""):
        """tshark's words on each frame; it must find nothing to complain about."""
        arguments = ["tshark", "-r", path, "-T", "fields", "-E", "separator=,"]
        for field in fields:
            arguments += ["-e", field]
        done = run(*arguments, *(["-Y", only] if only else []))
        self.assertEqual(AS_ROOT.sub("", done.stderr), "")
        return [line.split(",") for line in done.stdout.splitlines()]

    def sound(self, path):
        """Whole, as Wireshark sees it; nobody finds malformed frames; times are of today."""
        done = run("capinfos", "-M", "-a", "-e", path)
        self.assertEqual(AS_ROOT.sub("", done.stderr), "")
        self.assertEqual(self.read(path, "frame.number", only="_ws.malformed"), [])
        times = [float(row[0]) for row in self.read(path, "frame.time_epoch")]
        for at in times:
            self.assertLess(abs(at - time.time()), 600)
        return times

    def handshake_request_and_close(self, path):
        """Of one connection of curl's, in its order, both directions."""
        rows = self.read(path, "tcp.flags", "tcp.srcport", "http.request.uri", "http.response.code",
                         "tcp.stream")
        flags = [(int(row[0], 16) & 0x17, row[1] == "80") for row in rows]
        self.assertEqual(flags[:3], [(0x02, False), (0x12, True), (0x10, False)])
        self.assertEqual([row[2] for row in rows if row[2]], ["/body"])
        self.assertEqual([row[3] for row in rows if row[3]], ["200"])
        fins = {ours for bits, ours in flags if bits & 1}
        self.assertEqual(fins, {True, False})
        self.assertEqual({row[4] for row in rows}, {"0"})
        sizes = self.read(path, "tcp.len", only="tcp.srcport == 80")
        self.assertGreater(sum(int(row[0]) for row in sizes), BODY)


class Capture(Place):
    """By millrace-dump."""

    def a_filtered_request(self, device):
        server = self.serve(device)
        dump, path = self.dump(server, "-t", "sport", "80")
        self.inside("ping", "-c", "2", "-i", "0.2", OURS)
        self.fetch()
        time.sleep(0.3)
        captured, dropped, seen = self.ended(dump)
        self.assertEqual(dropped, 0)
        self.assertGreater(seen, captured + 3, "the pings were seen and not wanted")
        self.assertEqual(len(self.sound(path)), captured)
        self.handshake_request_and_close(path)
        # Losses stand in the file, too, and so do directions.
        directions = self.read(path, "frame.packet_flags_direction", "tcp.srcport")
        self.assertEqual({(int(row[0], 0), row[1] == "80") for row in directions},
                         {(1, False), (2, True)})

    def test_tap_a_request_alone_is_captured(self):
        self.a_filtered_request(TAP)

    def test_af_packet_a_request_alone_is_captured(self):
        self.a_filtered_request(VETH)

    def test_all_frames_of_a_port_and_short_copies(self):
        server = self.serve()
        dump, path = self.dump(server, "-i", "va", "-s", "60")
        self.inside("ping", "-c", "2", "-i", "0.2", OURS)
        self.fetch()
        time.sleep(0.3)
        captured, dropped, seen = self.ended(dump)
        self.assertEqual((captured, dropped), (seen, 0))
        self.sound(path)
        rows = self.read(path, "frame.cap_len", "frame.len", "frame.protocols")
        self.assertEqual(len(rows), captured)
        self.assertEqual(max(int(row[0]) for row in rows), 60)
        self.assertGreater(max(int(row[1]) for row in rows), 1000)
        self.assertEqual(len([row for row in rows if "icmp" in row[2].split(":")]), 4)

    def test_a_pipe_to_tshark(self):
        server = self.serve()
        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as shown:
            dump = subprocess.Popen(
                ["ip", "netns", "exec", NAMESPACE, program("millrace-dump"), "-p",
                 str(server.pid), "-w", "-", "-c", "6", "sport", "80"],
                stdout=subprocess.PIPE, stderr=said)
            shark = subprocess.Popen(["tshark", "-r", "-"], stdin=dump.stdout, stdout=shown,
                                     stderr=subprocess.STDOUT)
            dump.stdout.close()
            time.sleep(1)
            self.fetch()
            self.assertEqual((dump.wait(30), shark.wait(30)), (0, 0))
            said.seek(0)
            self.assertRegex(said.read().decode(), r"^6 frames captured, 0 dropped, of \d+ seen")
            shown.seek(0)
            lines = AS_ROOT.sub("", shown.read().decode()).splitlines()
        self.assertEqual(len(lines), 6, lines)
        self.assertIn("[SYN]", lines[0])
        self.assertIn("[SYN, ACK]", lines[1])
        self.assertIn("GET /body", lines[3])

    def test_a_reader_that_goes_ends_it(self):
        server = self.serve()
        dump = subprocess.Popen(
            ["ip", "netns", "exec", NAMESPACE, program("millrace-dump"), "-p", str(server.pid),
             "-w", "-"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.assertGreater(len(dump.stdout.read(100)), 0)
        dump.stdout.close()
        self.fetch()
        self.assertEqual(dump.wait(30), 0)
        self.fetch()

    def test_the_file_is_whole_when_the_program_ends(self):
        server = self.serve()
        dump, path = self.dump(server)
        self.fetch()
        self.programs.finish(server)
        captured, dropped, _ = self.ended(dump, by=None)
        self.assertEqual(dropped, 0)
        self.assertEqual(len(self.sound(path)), captured)

    def load(self, seconds):
        return self.launch("wrk", "-c", "50", "-t", "1", "-d", f"{seconds}s",
                           f"http://{OURS}/body")

    def served(self, wrk):
        said = self.programs.finished(wrk, 60)
        self.assertNotIn("Socket errors", said)
        self.assertNotIn("Non-2xx", said)
        self.assertGreater(int(re.search(r"(\d+) requests in", said)[1]), 100, said)

    def test_coming_and_going_under_load(self):
        server = self.serve()
        wrk = self.load(12)
        time.sleep(1)
        for i in range(8):
            dump, path = self.dump(server, *(["sport", "80"] if i % 2 else []))
            second, other = self.dump(server, "-Q", "in", "-s", "100")
            time.sleep(0.3)
            for each, file in ((second, other), (dump, path)):
                captured, dropped, seen = self.ended(each)
                self.assertGreater(captured, 0)
                self.assertGreaterEqual(seen, captured + dropped)
                if i == 7:
                    self.assertEqual(len(self.read(file, "frame.number")), captured)
        self.served(wrk)

    def test_what_a_slow_reader_misses_is_counted_and_nobody_waits(self):
        server = self.serve()
        wrk = self.load(6)
        dump = subprocess.Popen(
            ["ip", "netns", "exec", NAMESPACE, program("millrace-dump"), "-p", str(server.pid),
             "-w", "-", "--waiting", "64"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(3)  # nobody reads
        dump.send_signal(signal.SIGINT)
        path = os.path.join(WORK, "slow.pcapng")
        with open(path, "wb") as file:
            file.write(dump.stdout.read())
        said = dump.stderr.read().decode()
        self.assertEqual(dump.wait(30), 0)
        dump.stdout.close()
        dump.stderr.close()
        captured, dropped, seen = [int(n) for n in re.findall(r"\d+", said)]
        self.assertGreater(dropped, 1000)
        self.assertEqual(seen, captured + dropped)
        self.assertEqual(len(self.read(path, "frame.number")), captured)
        statistics = run("capinfos", "-M", "-d", path)  # reads the file's end
        self.assertEqual(AS_ROOT.sub("", statistics.stderr), "")
        self.served(wrk)

    def refused(self, *arguments):
        done = self.inside(program("millrace-dump"), *arguments, check=False)
        self.assertNotEqual(done.returncode, 0)
        return done.stderr

    def test_what_is_wrong_is_said(self):
        server = self.serve()
        of = ("-p", str(server.pid), "-w", "/dev/null")
        self.assertIn("no port is nope; there are: 0 (net_af_packet0,iface=va)",
                      self.refused(*of, "-i", "nope"))
        self.assertIn("a frame has no state", self.refused(*of, "state", "established"))
        self.assertIn("unknown word bogus", self.refused(*of, "bogus", "1"))
        self.assertIn("no such program", self.refused("-p", "1", "-w", "/dev/null"))
        self.assertIn("-w FILE is wanted", self.refused("-p", str(server.pid)))
        self.assertIn("cannot write /nope/file",
                      self.refused("-p", str(server.pid), "-w", "/nope/file"))
        listed = self.inside(program("millrace-dump"), "-p", str(server.pid), "-D").stdout
        self.assertIn("port net_af_packet0,iface=va: mac", listed)


@contextlib.contextmanager
def huge_pages(count):
    """So many more than are taken; afterwards as many as before. hugetlbfs is mounted meanwhile."""
    with open(HUGE) as file:
        before = file.read()
    with open(HUGE, "w") as file:
        file.write(str(int(before) + count))
    mounted = "hugetlbfs" in run("cat", "/proc/mounts").stdout
    if not mounted:
        os.makedirs("/dev/hugepages", exist_ok=True)
        run("mount", "-t", "hugetlbfs", "none", "/dev/hugepages")
    try:
        yield "/dev/hugepages"
    finally:
        if not mounted:
            run("umount", "/dev/hugepages", check=False)
        with open(HUGE, "w") as file:
            file.write(before)


def free_pages():
    with open("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages") as file:
        return int(file.read())


class Shared(Place):
    """[eal] shared = true: other processes of DPDK attach."""

    PAGES = 300
    EAL = '[eal]\nshared = true\nfile_prefix = "mrshared"\n'

    def setUp(self):
        super().setUp()
        pages = huge_pages(self.PAGES)
        self.folder = pages.__enter__()
        # Behind the end of the programs: cleanups run in the reverse order.
        self._cleanups.insert(0, (pages.__exit__, (None, None, None), {}))
        if free_pages() < self.PAGES:
            self.skipTest("this machine has no memory for huge pages")

    def dumpcap(self, device):
        server = self.serve(device, self.EAL)
        path = os.path.join(WORK, f"{time.monotonic_ns()}.pcapng")
        dump = self.launch("dpdk-dumpcap", "--file-prefix", "mrshared", "-p", "-i", "0", "-q",
                           "-s", "2000", "-w", path)
        self.programs.wait(lambda: os.path.exists(path) and os.path.getsize(path) > 0, dump)
        time.sleep(0.5)
        self.fetch()
        time.sleep(0.5)
        dump.send_signal(signal.SIGINT)
        said = self.programs.finished(dump, 30)
        self.assertRegex(said, r"Packets received/dropped on interface '[^']*': \d+/0 ")
        self.sound(path)
        run("tshark", "-r", path, "-Y", "tcp", "-w", path + ".tcp")
        self.handshake_request_and_close(path + ".tcp")
        # The program goes on, and ends without leaving memory behind.
        self.fetch()
        self.programs.finish(server)
        self.assertEqual([name for name in os.listdir(self.folder) if "mrshared" in name], [])
        self.assertFalse(os.path.exists("/var/run/dpdk/mrshared"))

    def test_tap_dumpcap_of_dpdk(self):
        self.dumpcap(TAP)

    def test_af_packet_dumpcap_of_dpdk(self):
        self.dumpcap(VETH)

    def test_proc_info_and_our_own_dump(self):
        server = self.serve(VETH, self.EAL)
        said = self.inside("dpdk-proc-info", "--file-prefix=mrshared", "--", "--stats").stdout
        self.assertRegex(said, r"RX-packets: *[1-9]")
        dump, path = self.dump(server, "sport", "80")
        self.fetch()
        time.sleep(0.3)
        self.ended(dump)
        self.sound(path)
        self.handshake_request_and_close(path)

    def test_a_second_program_of_the_same_name_is_refused(self):
        self.serve(VETH, self.EAL)
        done = self.inside(program("millrace-httpd"), "-c", config("net_null0", self.EAL), "-b", "1",
                           check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("EAL did not start", done.stderr)
        self.fetch()


class NotShared(unittest.TestCase):
    """What this machine does not have is said before EAL stumbles over it."""

    def refused(self, more, prepare=""):
        script = f"{prepare}\nexec {program('millrace-httpd')} -c {config('net_null0', more)} -b 1"
        done = run("unshare", "-m", "sh", "-c", script, check=False)
        self.assertNotEqual(done.returncode, 0)
        return done.stderr

    def test_without_huge_pages(self):
        self.assertRegex(self.refused("[eal]\nshared = true\nmemory_mb = 20000\n"),
                         r"eal.shared needs 20000 MiB of huge pages, \d+ MiB are free: echo 10000 > "
                         "/proc/sys/vm/nr_hugepages, or lower \\[pools\\]")

    def test_without_hugetlbfs(self):
        with huge_pages(Shared.PAGES):
            self.assertIn("eal.shared needs hugetlbfs, which is not mounted: mount -t hugetlbfs",
                          self.refused(Shared.EAL, "umount -a -t hugetlbfs"))

    def test_what_rules_it_out_in_the_configuration(self):
        self.assertIn("only huge pages can be shared",
                      self.refused("[eal]\nshared = true\nhuge_pages = false\n"))
        self.assertIn("eal.arguments has --in-memory, with which nothing is shared",
                      self.refused('[eal]\nshared = true\narguments = ["--in-memory"]\n'))


if __name__ == "__main__":
    try:
        unittest.main(verbosity=2)
    finally:
        run("rm", "-rf", WORK, check=False)
