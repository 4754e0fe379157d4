#!/usr/bin/env python3
"""Millrace against the host's own kernel and programs, both roles.

Each test makes a network namespace of its own, joined to the stack by a TAP device or a veth pair,
and takes everything down again. Needs root. Usage: interop.py BUILD_DIR [unittest arguments].
"""
import collections
import filecmp
import json
import os
import re
import shutil
import sys
import tempfile
import time
import unittest

from host import Programs, nginx_config, run

BUILD = os.path.abspath(sys.argv.pop(1))
WORK = tempfile.mkdtemp(prefix="millrace-interop-")
BIG = 100 * 1024 * 1024
counter = 0


# The same server in callbacks, in coroutines, and on sockets with epoll.
STYLES = {"echo": ("millrace-echo", "echo_coroutines", "epoll_echo_millrace"),
          "proxy": ("proxy_callbacks", "proxy_coroutines", "proxy_epoll")}
# Says more than all buffers hold before it listens, and half closes.
ECHO_CLIENT = """
import os, socket, sys, threading
said = os.urandom(20_000_000)
link = socket.create_connection((sys.argv[1], 7), timeout=50)
def say():
    link.sendall(said)
    link.shutdown(socket.SHUT_WR)
threading.Thread(target=say).start()
heard = b"".join(iter(lambda: link.recv(65536), b""))
sys.exit(heard != said)
"""


# Says something and tells what it hears, in hexadecimal.
RAW_CLIENT = """
import socket, sys
link = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20)
link.sendall(sys.argv[3].encode())
print(b"".join(iter(lambda: link.recv(65536), b"")).hex())
"""


# Datagrams of all sizes there and back, to a group, and to nobody; what the host joins is heard.
UDP_CLIENT = """
import os, socket, struct, sys, time
ours, kernel, group, interface = sys.argv[1:5]
fragments = sys.argv[5] == "fragments"
six = ":" in ours
family = socket.AF_INET6 if six else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM)
s.settimeout(5)
s.bind((kernel, 0))
def ask(said, to=ours):
    for _ in range(3):  # the first may wait for a link address
        s.sendto(said, (to, 7))
        try:
            heard, peer = s.recvfrom(70000)
        except TimeoutError:
            continue
        assert heard == said, (len(heard), len(said))
        assert peer[:2] == (ours, 7), peer
        return
    raise SystemExit(f"no answer to {len(said)} bytes to {to}")
for size in (0, 1, 1452, 1453, 1472, 1473, 4000, 20000, 65507):
    if fragments or size <= 1452:
        ask(os.urandom(size))
for _ in range(500):
    ask(os.urandom(300))
if six:
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex(interface))
else:
    s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(kernel))
ask(b"to the group", group)
if fragments:
    ask(os.urandom(3000), group)
if not six:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    ask(b"to all", "10.79.0.255")
nobody = socket.socket(family, socket.SOCK_DGRAM)
nobody.settimeout(5)
nobody.connect((ours, 9999))
for _ in range(2):
    nobody.send(b"x")
    try:
        nobody.recv(10)
        raise SystemExit("somebody answered")
    except ConnectionRefusedError:
        pass
"""
# The first report of a membership (IGMP or MLD) that comes along, in hexadecimal.
REPORT_LISTENER = """
import socket, struct, sys
if sys.argv[1] == "4":
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP)
    s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                 socket.inet_aton("224.0.0.22") + socket.inet_aton("10.79.0.2"))
else:
    s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP,
                 socket.inet_pton(socket.AF_INET6, "ff02::16")
                 + struct.pack("I", socket.if_nametoindex(sys.argv[2])))
s.settimeout(20)
print("listening", flush=True)
while True:
    heard, peer = s.recvfrom(2000)
    if sys.argv[1] == "4" and peer[0] != "10.79.0.1":
        continue
    message = heard[(heard[0] & 15) * 4:] if sys.argv[1] == "4" else heard
    if message[0] in (0x22, 143) and message.endswith(socket.inet_pton(
            socket.AF_INET if sys.argv[1] == "4" else socket.AF_INET6, sys.argv[3])):
        print(message.hex(), flush=True)
        break
"""


class Link(Programs):
    """A namespace with the kernel's end of a link; the stack has 10.79.0.1 and fd79::1."""

    def __init__(self, kind, queues=1):
        super().__init__(WORK)
        global counter
        counter += 1
        self.kind = kind
        self.namespace = f"mr{os.getpid()}_{counter}"
        self.kernel_end = f"mrk{counter}"
        self.stack_end = f"mrs{counter}"
        self.queues = queues
        run("ip", "netns", "add", self.namespace)
        self.inside("ip", "link", "set", "lo", "up")
        if kind == "tap":
            self.device = f"net_tap{counter},iface={self.stack_end}"
        else:
            run("ip", "link", "add", self.kernel_end, "type", "veth", "peer", "name",
                self.stack_end)
            # The kernel leaves checksums of local frames to a device that is not there.
            for end in (self.kernel_end, self.stack_end):
                run("ethtool", "-K", end, "tx", "off", check=False)
            # The host's own stack must not answer on our end.
            run("sysctl", "-qw", f"net.ipv6.conf.{self.stack_end}.disable_ipv6=1", check=False)
            run("ip", "link", "set", self.stack_end, "up")
            run("ip", "link", "set", self.kernel_end, "netns", self.namespace)
            self.configure(self.kernel_end)
            self.device = f"net_{kind}{counter},iface={self.stack_end}"

    def inside(self, *command, **options):
        return run("ip", "netns", "exec", self.namespace, *command, **options)

    def configure(self, interface):
        self.inside("ip", "addr", "add", "10.79.0.2/24", "dev", interface)
        self.inside("ip", "-6", "addr", "add", "fd79::2/64", "dev", interface, "nodad")
        self.inside("ip", "link", "set", interface, "up")

    def config(self, extra=""):
        path = os.path.join(WORK, f"{self.stack_end}.toml")
        core = '[[core]]\nidle = "yield"\nidle_turns = 50\n'
        with open(path, "w") as file:
            file.write(f'[[port]]\ndevice = "{self.device}"\n'
                       'addresses = ["10.79.0.1/24", "fd79::1/64"]\n' + core * self.queues + extra)
        return path

    def start(self, program, *arguments):
        """Starts one of ours; a TAP device it has made moves into the namespace."""
        process = self.launch(os.path.join(BUILD, "apps", program), *arguments)
        if self.kind == "tap":
            # Only when the driver is done with it: it works on the device by its name.
            self.wait(lambda: f"port {self.device}" in self.output(process), process)
            run("ip", "link", "set", self.stack_end, "netns", self.namespace)
            self.configure(self.stack_end)
        return process

    def serve(self, *arguments, extra=""):
        process = self.start("millrace-httpd", "-c", self.config(extra), *arguments)
        self.wait(lambda: "listening" in self.output(process), process)
        # The kernel may still be joining the link.
        self.wait(lambda: self.inside("ping", "-c", "1", "-W", "1", "10.79.0.1",
                                      check=False).returncode == 0, process)
        return process

    def serve_example(self, program, port):
        """One of apps/examples, or a program that is told the same way."""
        config = self.config()
        told = ("-c", config, "-p", port) if program.startswith("millrace-") else (config, port)
        process = self.start(program, *told)
        self.wait(lambda: self.inside("ping", "-c", "1", "-W", "1", "10.79.0.1",
                                      check=False).returncode == 0, process)
        return process

    def close(self):
        self.end_all()
        run("ip", "link", "del", self.stack_end, check=False)
        run("ip", "netns", "del", self.namespace, check=False)


def counters(output):
    """The last access counters that httpd printed."""
    line = [l for l in output.splitlines() if l.startswith("connections ")][-1]
    match = re.match(r"connections (\d+) requests (\d+) bytes (\d+) status(.*)", line)
    return {"connections": int(match[1]), "requests": int(match[2]), "status": match[4].strip()}


class Interop(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = os.path.join(WORK, "www")
        os.makedirs(cls.root, exist_ok=True)
        cls.big = os.path.join(cls.root, "big.bin")
        if not os.path.exists(cls.big):
            with open(cls.big, "wb") as file:
                file.write(os.urandom(BIG))
            for size in (0, 1, 1023, 1025, 5000, 65537, 8388608):
                with open(os.path.join(cls.root, f"f{size}.txt"), "wb") as file:
                    file.write(os.urandom(size))

    def link(self, kind, queues=1):
        link = Link(kind, queues)
        self.addCleanup(link.close)
        return link

    def test_styles_of_an_echo(self):
        for program in STYLES["echo"]:
            with self.subTest(program):
                link = Link("af_packet")
                try:
                    process = link.serve_example(program, "7")
                    for address in ("10.79.0.1", "fd79::1"):
                        link.inside("python3", "-c", ECHO_CLIENT, address)
                    self.assertIsNone(process.poll(), link.output(process))
                finally:
                    link.close()

    def test_styles_of_a_proxy(self):
        for program in STYLES["proxy"]:
            with self.subTest(program):
                link = Link("af_packet")
                try:
                    process = link.serve_example(program, "3128")
                    link.launch("ip", "netns", "exec", link.namespace, "nginx", "-c",
                                nginx_config(WORK, self.root))
                    self.use_proxy(link)
                    self.assertIsNone(process.poll(), link.output(process))
                finally:
                    link.close()

    def use_proxy(self, link):
        def curl(*arguments, proxy="10.79.0.1"):
            return link.inside("curl", "-sS", "-g", "--max-time", "60", "--retry", "5",
                               "--retry-connrefused", "-x", f"http://{proxy}:3128", *arguments,
                               check=False)
        got = os.path.join(WORK, "proxied")
        for url in ("http://10.79.0.2/", "http://[fd79::2]/"):
            for proxy in ("10.79.0.1", "[fd79::1]"):
                for name, tunnel in (("f0.txt", ()), ("f1025.txt", ()), ("f65537.txt", ("-p",)),
                                     ("f8388608.txt", ()), ("f8388608.txt", ("-p",))):
                    done = curl("-f", "-o", got, *tunnel, url + name, proxy=proxy)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertTrue(filecmp.cmp(got, os.path.join(self.root, name), shallow=False))
        # A head that ends before it begins must neither crash it nor get through.
        self.assertIn(b"400", bytes.fromhex(
            link.inside("python3", "-c", RAW_CLIENT, "10.79.0.1", "3128",
                        "\r\n\r\nGET http://10.79.0.2/ HTTP/1.1").stdout))
        status = ("-o", got, "-w", "%{http_code}")
        # So little that nginx has read all of it: it would reset, and curl might hear that first.
        posted = "@" + os.path.join(self.root, "f1025.txt")
        self.assertEqual(curl(*status, "--data-binary", posted, "http://10.79.0.2/f0.txt").stdout,
                         "405")  # nginx's answer to what it only serves
        self.assertEqual(curl(*status, "http://10.79.0.2:80/f0.txt?t=1:2]").stdout, "200")
        self.assertEqual(curl(*status, "http://10.79.0.2:81/").stdout, "502")
        self.assertEqual(curl(*status, "http://no.such.name/").stdout, "400")
        self.assertEqual(curl(*status, "--request-target", "/", "http://10.79.0.2/").stdout, "400")

    def fetch_and_compare(self, link, url, path):
        got = os.path.join(WORK, "got")
        link.inside("curl", "-sS", "-g", "-f", "--max-time", "100", "-o", got, url)
        self.assertTrue(filecmp.cmp(got, path, shallow=False), url)

    def nginx(self, link, identity=None):
        prefix = os.path.join(WORK, f"nginx-{link.namespace}")
        os.makedirs(prefix, exist_ok=True)
        os.chmod(WORK, 0o755)
        link.launch("ip", "netns", "exec", link.namespace, "nginx", "-p", prefix, "-c",
                    nginx_config(prefix, self.root, identity))
        return prefix

    # --- our server, the host's clients

    def server_basics(self, kind, big=BIG):
        link = self.link(kind)
        process = link.serve("-r", self.root, "-q")
        for host in ("10.79.0.1", "[fd79::1]"):
            self.fetch_and_compare(link, f"http://{host}/big.bin", self.big)
            for size in (0, 1, 1023, 1025, 5000, 65537, 8388608):
                self.fetch_and_compare(link, f"http://{host}/f{size}.txt",
                                       os.path.join(self.root, f"f{size}.txt"))
        link.inside("ping", "-c", "3", "-i", "0.2", "10.79.0.1")
        link.inside("ping", "-c", "3", "-i", "0.2", "-s", "1400", "fd79::1")
        link.inside("ping", "-c", "2", "-i", "0.2", "-s", "4000", "10.79.0.1", check=False)
        link.finish(process)

    def datagrams(self, kind):
        link = self.link(kind)
        groups = ("239.79.0.1", "ff15::79")
        interface = link.stack_end if kind == "tap" else link.kernel_end
        process = link.start("millrace-echo", "-c", link.config(), "-p", "7",
                             *(part for group in groups for part in ("-g", group)))
        link.wait(lambda: link.inside("ping", "-c", "1", "-W", "1", "10.79.0.1",
                                      check=False).returncode == 0, process)
        before = self.udp_errors(link)
        for ours, kernel, group in (("10.79.0.1", "10.79.0.2", groups[0]),
                                    ("fd79::1", "fd79::2", groups[1])):
            # Behind this driver the kernel puts fragments together, and then cuts them short.
            fragments = "whole" if kind == "af_packet" else "fragments"
            link.inside("python3", "-c", UDP_CLIENT, ours, kernel, group, interface, fragments,
                        timeout=60)
        self.assertEqual(self.udp_errors(link), before)
        link.finish(process)

    @staticmethod
    def udp_errors(link):
        """Checksums and fragments that the kernel did not like."""
        rows = link.inside("nstat", "-asz").stdout.split("\n")
        names = ("UdpInCsumErrors", "Udp6InCsumErrors", "IpReasmFails", "Ip6ReasmFails",
                 "IcmpInCsumErrors", "Icmp6InCsumErrors", "IpInHdrErrors", "Ip6InHdrErrors")
        return {row.split()[0]: row.split()[1] for row in rows if row.split()[:1] and
                row.split()[0] in names}

    def test_tap_datagrams_both_families(self):
        self.datagrams("tap")

    def test_af_packet_datagrams_both_families(self):
        self.datagrams("af_packet")

    def test_memberships_are_reported(self):
        for version, group in (("4", "239.79.0.1"), ("6", "ff15::79")):
            link = self.link("af_packet")
            listener = link.launch("ip", "netns", "exec", link.namespace, "python3", "-c",
                                   REPORT_LISTENER, version, link.kernel_end, group)
            link.wait(lambda: "listening" in link.output(listener), listener)
            process = link.start("millrace-echo", "-c", link.config(), "-p", "7", "-g", group)
            message = link.finished(listener, 30).split()[-1]
            self.assertTrue(message.startswith("22" if version == "4" else "8f"), message)
            link.finish(process)

    def test_tap_curl_and_ping_both_families(self):
        self.server_basics("tap")

    def test_af_packet_curl_and_ping_both_families(self):
        self.server_basics("af_packet")

    def test_af_xdp_curl_and_ping_both_families(self):
        link = self.link("af_xdp")
        try:
            process = link.serve("-r", self.root, "-q")
        except AssertionError as error:
            self.skipTest(f"the kernel gives no AF_XDP socket here: {str(error)[-200:]}")
        for host in ("10.79.0.1", "[fd79::1]"):
            self.fetch_and_compare(link, f"http://{host}/big.bin", self.big)
        link.finish(process)

    def wrk(self, link, *arguments):
        output = link.inside("wrk", *arguments).stdout
        self.assertNotIn("Socket errors", output, output)
        self.assertNotIn("Non-2xx", output, output)
        return int(re.search(r"(\d+) requests in", output)[1])

    def wrk_and_counters(self, kind, seconds):
        link = self.link(kind)
        process = link.serve("-q")
        requests = self.wrk(link, "-c", "100", "-d", seconds, "-t", "1",
                            "http://10.79.0.1/body")
        self.assertGreater(requests, 5000)
        after = counters(link.finish(process))
        self.assertEqual(after["status"], f"200:{after['requests']}")
        self.assertGreaterEqual(after["requests"], requests)
        self.assertLessEqual(after["requests"], requests + 100)

    def test_tap_wrk_100_connections_10_seconds(self):
        self.wrk_and_counters("tap", "10")

    def test_af_packet_wrk_100_connections_10_seconds(self):
        self.wrk_and_counters("af_packet", "10")

    def test_af_xdp_wrk_100_connections(self):
        try:
            self.wrk_and_counters("af_xdp", "5")
        except AssertionError as error:
            if "did not start" not in str(error):
                raise
            self.skipTest("the kernel gives no AF_XDP socket here")

    def connection_close(self, kind):
        link = self.link(kind)
        process = link.serve("-q")
        requests = self.wrk(link, "-c", "20", "-d", "3", "-t", "1", "-H", "Connection: close",
                            "http://10.79.0.1/body")
        self.assertGreater(requests, 1000)
        output = link.inside("ab", "-q", "-n", "2000", "-c", "10", "http://10.79.0.1/body").stdout
        self.assertIn("Failed requests:        0", output)
        output = link.inside("ab", "-q", "-k", "-n", "2000", "-c", "10",
                             "http://10.79.0.1/body").stdout
        self.assertIn("Failed requests:        0", output)
        self.assertIn("Keep-Alive requests:    2000", output)
        link.finish(process)

    def test_tap_connection_close(self):
        self.connection_close("tap")

    def test_af_packet_connection_close(self):
        self.connection_close("af_packet")

    def a_thousand_curls(self, kind):
        link = self.link(kind)
        process = link.serve("-q")
        script = ("for i in $(seq 1000); do curl -sS -f --max-time 5 -o /dev/null "
                  "http://10.79.0.1/body || exit 1; done")
        link.inside("sh", "-c", script)
        self.assertEqual(counters(link.finish(process))["requests"], 1000)

    def test_tap_a_thousand_sequential_curls(self):
        self.a_thousand_curls("tap")

    def test_af_packet_a_thousand_sequential_curls(self):
        self.a_thousand_curls("af_packet")

    def test_tap_http_answers(self):
        link = self.link("tap")
        process = link.serve("-r", self.root, "-q")

        def status(*arguments):
            return link.inside("curl", "-sS", "--max-time", "10", "-o", "/dev/null", "-w",
                               "%{http_code}", *arguments).stdout
        base = "http://10.79.0.1"
        self.assertEqual(status(f"{base}/f1.txt"), "200")
        self.assertEqual(status("-I", f"{base}/f5000.txt"), "200")
        self.assertEqual(status(f"{base}/missing"), "404")
        self.assertEqual(status("--path-as-is", f"{base}/../etc/passwd"), "404")
        self.assertEqual(status("--path-as-is", f"{base}/%2e%2e/%2e%2e/etc/passwd"), "404")
        self.assertEqual(status("-X", "DELETE", f"{base}/f1.txt"), "405")
        self.assertEqual(status("-H", "X: " + "a" * 20000, f"{base}/f1.txt"), "431")
        self.assertEqual(status(f"{base}/" + "a" * 10000), "414")
        self.assertEqual(status("-X", "POST", "-H", "Expect:", "-T", self.big, f"{base}/"), "413")
        bad = link.inside("sh", "-c", "printf 'NONSENSE\\r\\n\\r\\n' | timeout 5 bash -c "
                          "'exec 3<>/dev/tcp/10.79.0.1/80; cat >&3; head -1 <&3'").stdout
        self.assertIn("400", bad)
        pipelined = link.inside("sh", "-c", "printf 'GET /f1.txt HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"
                                "GET /f65537.txt HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"
                                "GET /none HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n'"
                                " | timeout 5 bash -c 'exec 3<>/dev/tcp/10.79.0.1/80; cat >&3;"
                                " cat <&3' | grep -a -o 'HTTP/1.1 [0-9]*'").stdout.split("\n")
        self.assertEqual(pipelined[:3], ["HTTP/1.1 200", "HTTP/1.1 200", "HTTP/1.1 404"])
        link.finish(process)

    def test_tap_many_downloads_at_once_share_the_pools(self):
        link = self.link("tap")
        process = link.serve("-r", self.root, "-q")
        small = os.path.join(self.root, "eight.bin")
        with open(small, "wb") as file:
            file.write(os.urandom(8 * 1024 * 1024))
        script = ("for i in $(seq 80); do (curl -sS -f --max-time 100 "
                  "http://10.79.0.1/eight.bin | cmp - %s || echo bad) & done; wait" % small)
        done = link.inside("bash", "-c", script)
        self.assertEqual(done.stdout + done.stderr, "")
        link.finish(process)

    def test_tap_two_queues_two_cores_both_serve(self):
        link = self.link("tap", queues=2)
        process = link.serve("-r", self.root, "-q")
        requests = self.wrk(link, "-c", "64", "-d", "4", "-t", "1", "http://10.79.0.1/body")
        for host in ("10.79.0.1", "[fd79::1]"):
            self.fetch_and_compare(link, f"http://{host}/big.bin", self.big)
        output = link.finish(process)
        spread = [int(n) for n in re.findall(r"core \d+: connections (\d+)", output)]
        self.assertEqual(len(spread), 2, output)
        self.assertGreater(min(spread), 8, output)
        # That no socket met an error says that none was served by the wrong core. A reset or two
        # may answer what one queue delivers after the other has brought the end of a connection.
        strays = [int(n) for n in re.findall(r"resets sent (\d+)", output)]
        self.assertLess(sum(strays), 10, output)
        self.assertGreater(requests, 1000)

    # --- our client, the host's server

    def test_tap_our_load_and_nginx_count_the_same(self):
        link = self.link("tap")
        folder = self.nginx(link)
        report_path = os.path.join(WORK, "load.json")
        patient = ("--lag-limit", "1000000")
        shapes = (("/f1023.txt", "200", ("-m", "closed", "-n", "32", "--pipeline", "2")),
                  ("/f1023.txt", "200", ("-m", "cps", "--rate", "300", *patient)),
                  ("/missing", "404", ("-m", "rps", "--rate", "1000", "--status", "404",
                                             *patient)))
        for path, status, mode in shapes:
            with open(os.path.join(folder, "statuses"), "w"):
                pass  # a new count; nginx appends
            process = link.start("millrace-load", "-c", link.config(), "-t", "10.79.0.2:80", "-p",
                                 path, *mode, "-d", "3", "--json", report_path)
            self.assertEqual(process.wait(timeout=60), 0, link.output(process))
            link.processes.remove(process)
            time.sleep(0.5)  # the log's buffer is written
            with open(report_path) as file:
                whole = json.load(file)["whole"]
            with open(os.path.join(folder, "statuses")) as file:
                counted = collections.Counter(file.read().split())
            self.assertEqual(whole["statuses"], dict(counted), mode)
            self.assertEqual(counted[status], whole["asked"])
            self.assertGreater(counted[status], 500)

    # --- TLS

    def certificate(self, host):
        """A certificate of the host, signed by itself; the paths of it and of its key."""
        chain, key = os.path.join(WORK, f"{host}.pem"), os.path.join(WORK, f"{host}.key")
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-keyout", key, "-out", chain, "-days", "2", "-subj", f"/CN={host}",
            "-addext", f"subjectAltName=IP:{host}")
        return chain, key

    def test_tap_https_of_ours_for_curl_and_openssl(self):
        link = self.link("tap")
        chain, key = self.certificate("10.79.0.1")
        options = os.path.join(WORK, "httpd.toml")
        with open(options, "w") as file:
            file.write(f'root = "{self.root}"\nquiet = true\ncertificate = "{chain}"\n'
                       f'key = "{key}"\n')
        process = link.serve("--options", options)
        got = os.path.join(WORK, "got-by-tls")
        for version in ("--tlsv1.3", "--tls-max 1.2"):
            for name in ("f0.txt", "f1023.txt", "f65537.txt", "f8388608.txt"):
                link.inside("curl", "-sSf", "--cacert", chain, *version.split(), "-o", got,
                            f"https://10.79.0.1/{name}")
                self.assertTrue(filecmp.cmp(got, os.path.join(self.root, name), shallow=False))
        answer = link.inside("sh", "-c", "printf 'HEAD /f1.txt HTTP/1.0\r\n\r\n' | openssl s_client "
                             f"-connect 10.79.0.1:443 -CAfile {chain} -verify_return_error "
                             "-verify_ip 10.79.0.1 -quiet -ign_eof").stdout
        self.assertIn("HTTP/1.1 200 OK", answer)
        # Not encrypted, and not by whom it should be.
        self.assertNotEqual(link.inside("curl", "-sSf", "-m", "5", "http://10.79.0.1:443/f1.txt",
                                        check=False).returncode, 0)
        self.assertEqual(link.inside("curl", "-sSf", "-m", "5", "https://10.79.0.1/f1.txt",
                                     check=False).returncode, 60)
        # Resumed by a real client.
        link.inside("sh", "-c", f"openssl s_client -connect 10.79.0.1:443 -CAfile {chain} -sess_out "
                    f"{WORK}/tls-session -ign_eof <<E\nHEAD /f1.txt HTTP/1.0\n\nE")
        again = link.inside("sh", "-c", f"openssl s_client -connect 10.79.0.1:443 -CAfile {chain} "
                            f"-sess_in {WORK}/tls-session -ign_eof <<E\nHEAD /f1.txt HTTP/1.0\n\nE").stdout
        self.assertIn("Reused, TLSv1.3", again)
        self.assertRegex(link.finish(process), r"handshakes \d+ resumed 1\n")

    def test_options_of_the_server_that_are_wrong_are_named(self):
        options = os.path.join(WORK, "wrong.toml")
        with open(options, "w") as file:
            file.write("nosuch = 1\n")
        for arguments, word in ((("--options", options), "nosuch"),
                                (("--certificate", options), "--key"),
                                (("--https-port", "8443"), "--https-port"),
                                (("-p", "0"), "--port"),
                                (("--certificate", options, "--key", options), options),
                                (("--idle-timeout", "-1"), "--idle-timeout")):
            done = run(os.path.join(BUILD, "apps", "millrace-httpd"), "-c", "/dev/null", *arguments,
                       check=False)
            self.assertNotEqual(done.returncode, 0, arguments)
            self.assertIn(word, done.stdout + done.stderr, arguments)

    def test_tap_our_load_and_nginx_count_the_same_through_tls(self):
        link = self.link("tap")
        chain, key = self.certificate("10.79.0.2")
        folder = self.nginx(link, (chain, key))
        report_path = os.path.join(WORK, "load.json")
        for mode in (("-m", "closed", "-n", "16"),
                     ("-m", "cps", "--rate", "100", "-r", "2", "--lag-limit", "1000000")):
            with open(os.path.join(folder, "statuses"), "w"):
                pass
            process = link.start("millrace-load", "-c", link.config(), "-t", "10.79.0.2:443", "-p",
                                 "/f65537.txt", "--protocol", "https", "--authority", chain, *mode,
                                 "-d", "3", "--json", report_path)
            self.assertEqual(process.wait(timeout=60), 0, link.output(process))
            link.processes.remove(process)
            time.sleep(0.5)
            with open(report_path) as file:
                whole = json.load(file)["whole"]
            with open(os.path.join(folder, "statuses")) as file:
                counted = collections.Counter(file.read().split())
            self.assertEqual(whole["statuses"], dict(counted), mode)
            self.assertEqual(whole["handshakes"], whole["established"])
            self.assertGreater(counted["200"], 200)
        got = os.path.join(WORK, "got-by-us")
        process = link.start("millrace-load", "-c", link.config(), "-t", "10.79.0.2:443", "-p",
                             "/big.bin", "-o", got, "-d", "60", "--protocol", "https",
                             "--authority", chain)
        self.assertEqual(process.wait(timeout=90), 0, link.output(process))
        self.assertTrue(filecmp.cmp(got, self.big, shallow=False))
        # Of another than the certificate names.
        wrong, _ = self.certificate("10.79.0.9")
        process = link.start("millrace-load", "-c", link.config(), "-t", "10.79.0.2:443",
                             "--protocol", "https", "--authority", wrong, "-d", "2", "-n", "2")
        self.assertEqual(process.wait(timeout=60), 1)
        self.assertIn("bad-tls:", link.output(process))
        self.assertIn("TLS failed   self-signed certificate", link.output(process))
        process = link.start("millrace-load", "-c", link.config(), "-t", "10.79.0.2:443", "-H",
                             "Host: other.example", "--protocol", "https", "--authority", chain,
                             "-d", "2", "-n", "2")
        self.assertEqual(process.wait(timeout=60), 1)
        self.assertIn("TLS failed   hostname mismatch", link.output(process))
        # Of TLS 1.2, whose sessions serve many.
        process = link.start("millrace-load", "-c", link.config(), "-t", "10.79.0.2:443", "-m",
                             "handshakes", "--protocol", "https", "--tls", "1.2", "-d", "2", "-n",
                             "4", "--json", report_path)
        self.assertEqual(process.wait(timeout=60), 0, link.output(process))
        with open(report_path) as file:
            whole = json.load(file)["whole"]
        self.assertGreater(whole["resumed"], whole["handshakes"] * 0.9)
        self.assertGreater(whole["handshakes"], 50)

    def client_fetches(self, kind):
        link = self.link(kind)
        self.nginx(link)
        for target in ("10.79.0.2:80", "[fd79::2]:80"):
            got = os.path.join(WORK, "got-by-us")
            process = link.start("millrace-load", "-c", link.config(), "-t", target, "-p",
                                 "/big.bin", "-o", got, "-d", "60")
            self.assertEqual(process.wait(timeout=90), 0, link.output(process))
            self.assertTrue(filecmp.cmp(got, self.big, shallow=False), target)
            link.processes.remove(process)
            time.sleep(0.3)

    def test_tap_our_client_fetches_from_nginx(self):
        self.client_fetches("tap")

    def test_af_packet_our_client_fetches_from_nginx(self):
        self.client_fetches("af_packet")

    def test_tap_refused_port_is_refused(self):
        link = self.link("tap")
        process = link.start("millrace-load", "-c", link.config(), "-t", "10.79.0.2:81", "-n", "1",
                             "-d", "2")
        self.assertEqual(process.wait(timeout=20), 1)
        self.assertIn("refused:", link.output(process))

    # --- start-up: each failure names its cause and its remedy

    def refused_start(self, config, *words):
        path = os.path.join(WORK, "refused.toml")
        with open(path, "w") as file:
            file.write(config)
        done = run(os.path.join(BUILD, "apps", "millrace-httpd"), "-c", path, check=False,
                   timeout=30)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_start_names_cause_and_remedy(self):
        port = '[[port]]\ndevice = "%s"\naddresses = ["10.79.0.1/24"]\n'
        self.refused_start(port % "net_af_packet0,iface=nosuch0", "no interface nosuch0")
        self.refused_start(port % "net_af_packet0", "iface= is missing")
        self.refused_start(port % "net_tap0,iface=lo", "lo exists already")
        self.refused_start(port % "wat0", "unknown kind of device", "ring:")
        self.refused_start(port % "ring:x", "ring:NAME:0")
        self.refused_start(port % "net_null0" + "[[core]]\ncpu = 777\n", "CPU 777", "nproc")
        self.refused_start(port % "net_null0" + "[pools]\nreceive = 16000000\n",
                           "memory")
        self.refused_start(port % "net_null0" + "[tcp]\nnonsense = 1\n", "refused.toml:5",
                           "tcp.nonsense", "unknown key")


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("interop tests need root: network namespaces and TAP devices")
        sys.exit(77)
    try:
        unittest.main(verbosity=2)
    finally:
        shutil.rmtree(WORK, ignore_errors=True)
