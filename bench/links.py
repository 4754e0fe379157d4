"""Requests, connections and bulk over the embedded link and over memif between two processes: one
core of the server, one of the generator."""
import functools
import json
import os
import re
import sys
import tempfile

from load import load

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests",
                             "interop"))
from host import Programs, run  # noqa: E402

# 140 bytes of request, 200 of response on kept connections; 19 more of each on others.
REQUEST = ("-H", "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/*")
BODY = 116
KEPT = ("-m", "closed", "-n", 1000, *REQUEST)
# Sixteen clients, so that there are tuples for a million entries in TIME-WAIT.
SOURCES = "{0}.10-{0}.25"
SHORT = ("-m", "closed", "-n", 512, "--close", *REQUEST, "--source-ports", "1024-65535")
PCI = re.compile(r"([0-9a-f]{4}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]", re.IGNORECASE)
BULK = ("-m", "throughput", "--protocol", "raw", "--direction", "down")
ECHO = ("-m", "rr", "--protocol", "echo", "-s", 64)


def http_over_ring(_, shape, build, seconds):
    """Requests a second, and the server's busy cycles for each, from its start to its end."""
    report = load(build, *shape, "-b", BODY, "-d", seconds)
    return report["rates"]["requests"], (report["server"]["busy_cycles"] /
                                         report["server"]["requests"])


def http(name, over, shape, build, quick):
    runs = [over(name, shape, build, 1 if quick else 3) for _ in range(1 if quick else 5)]
    yield f"{name}.rate", "a second", [rate for rate, _ in runs]
    yield f"{name}.cycles", "cycles", [cycles for _, cycles in runs]


def ring_http_rps(build, quick):
    yield from http("ring_http_rps", http_over_ring, KEPT, build, quick)


def ring_http_cps(build, quick):
    shape = (*SHORT, "--sources", SOURCES.format("10.77.0"))
    yield from http("ring_http_cps", http_over_ring, shape, build, quick)


def ring_bulk(flows, build, quick):
    for mtu in (1500, 9000):
        reports = [load(build, *BULK, "-n", flows, "--mtu", mtu, "-d", 1 if quick else 3)
                   for _ in range(1 if quick else 5)]
        name = f"ring_bulk_{flows}flow{'s' if flows > 1 else ''}"
        yield f"{name}.mtu{mtu}_gbps", "Gbit/s", [r["rates"]["gbps_in"] for r in reports]


def ring_bulk_1flow(build, quick):
    yield from ring_bulk(1, build, quick)


def ring_bulk_64flows(build, quick):
    yield from ring_bulk(64, build, quick)


def ring_echo_rtt(build, quick):
    reports = [load(build, *ECHO, "-d", 1 if quick else 3)
               for _ in range(1 if quick else 5)]
    for name in ("p50_us", "p99_us", "p99_9_us"):
        yield f"ring_echo_rtt.{name}", "us", [r["latency"]["request"][name] for r in reports]


class Pair(Programs):
    """A server of ours on one port and the first processor; generators come to it from another port
    and the second one. `devices`: of "server" and "client"."""

    def __init__(self, build, folder, devices, program, *arguments):
        super().__init__(folder)
        self.build = build
        self.devices = devices
        self.start = (program, arguments)

    def __enter__(self):
        program, arguments = self.start
        self.server = self.launch(os.path.join(self.build, "apps", program), "-c",
                                  self.config("server", 1, 0), *map(str, arguments))
        self.wait(lambda: re.search("^(listening|serving)", self.output(self.server), re.MULTILINE),
                  self.server)
        return self

    def __exit__(self, *_):
        self.end_all()

    def config(self, role, host, cpu):
        path = os.path.join(self.folder, role + ".toml")
        device = self.devices[role]
        # A PCI device must be named to EAL, too.
        eal = f'[eal]\narguments = ["-a", "{device}"]\n' if PCI.match(device) else ""
        with open(path, "w") as file:
            file.write(f'[[port]]\ndevice = "{device}"\naddresses = ["10.80.0.{host}/24"]\n'
                       f'[[core]]\ncpu = {cpu}\n{eal}')
        return path

    def load(self, *arguments):
        """The report of a generator's run."""
        path = os.path.join(self.folder, "report.json")
        run(os.path.join(self.build, "apps", "millrace-load"), "-c", self.config("client", 2, 1),
            "-q", "--json", path, *map(str, arguments))
        with open(path) as file:
            return json.load(file)


class Memif(Pair):
    """Over shared memory between the two."""

    def __init__(self, build, folder, program, *arguments):
        devices = {role: f"net_memif0,role={role},id=0,socket={folder}/sock,socket-abstract=no,"
                         "rsize=10" for role in ("server", "client")}
        super().__init__(build, folder, devices, program, *arguments)


def http_between(name, link_of, shape, seconds):
    """Likewise of two processes, by the server's own count, which must be the generator's.
    `link_of(folder, program, *arguments)` is a `Pair`."""
    with tempfile.TemporaryDirectory() as folder, \
            link_of(folder, "millrace-httpd", "-q", "-b", BODY) as link:
        report = link.load(*shape, "-t", "10.80.0.1:80", "-d", seconds)
        said = link.finish(link.server)
    requests = int(re.findall(r"^connections \d+ requests (\d+)", said, re.MULTILINE)[-1])
    if requests != report["whole"]["asked"]:
        raise SystemExit(f"{name}: {report['whole']['asked']} requests, the server: {requests}")
    return report["rates"]["requests"], int(re.search(r"busy cycles (\d+)", said)[1]) / requests


def bulk_between(link_of, flows, seconds):
    """Gbit/s."""
    with tempfile.TemporaryDirectory() as folder, \
            link_of(folder, "millrace-load", "-q", "--role", "server", "--protocol", "raw", "-t",
                    "10.80.0.1:80") as link:
        report = link.load(*BULK, "-n", flows, "-t", "10.80.0.1:80", "-d", seconds)
        link.finish(link.server)  # in good order, so that it leaves nothing at its port behind
    return report["rates"]["gbps_in"]


def http_over_memif(name, shape, build, seconds):
    return http_between(name, functools.partial(Memif, build), shape, seconds)


def memif_http_rps(build, quick):
    yield from http("memif_http_rps", http_over_memif, KEPT, build, quick)


def memif_http_cps(build, quick):
    shape = (*SHORT, "--sources", SOURCES.format("10.80.0"))
    yield from http("memif_http_cps", http_over_memif, shape, build, quick)


def bulk_over_memif(flows, build, seconds):
    return bulk_between(functools.partial(Memif, build), flows, seconds)


def memif_bulk(build, quick):
    for flows in (1, 64):
        rates = [bulk_over_memif(flows, build, 1 if quick else 3)
                 for _ in range(1 if quick else 5)]
        yield f"memif_bulk.{flows}flow{'s' if flows > 1 else ''}_gbps", "Gbit/s", rates


def nic(build, quick, ports):
    """The same over two ports of this machine, whatever they are: real ones with a cable between
    them, say."""
    runs, seconds = (1, 1) if quick else (5, 3)
    devices = dict(zip(("server", "client"), ports))

    def between(folder, program, *arguments):
        return Pair(build, folder, devices, program, *arguments)

    for part, shape in (("http_rps", KEPT), ("http_cps", (*SHORT, "--sources",
                                                          SOURCES.format("10.80.0")))):
        measured = [http_between(f"nic, {part}", between, shape, seconds) for _ in range(runs)]
        yield f"nic.{part}_rate", "a second", [rate for rate, _ in measured]
        yield f"nic.{part}_cycles", "cycles", [cycles for _, cycles in measured]
    for flows in (1, 64):
        yield (f"nic.bulk_{flows}flow{'s' if flows > 1 else ''}_gbps", "Gbit/s",
               [bulk_between(between, flows, seconds) for _ in range(runs)])
