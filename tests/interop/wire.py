"""Two namespaces and an impaired wire between them.

`far` is always the host's kernel, 10.81.0.2 and fd81::2. `near`, 10.81.0.1 and fd81::1, is either
the kernel too or one of ours, on the same kind of veth pair; a third namespace holds the wire, that
is tests/bridge, between the pairs' other ends.
"""
import os
import re
import sys

from host import Programs, nginx_config, run

NEAR, FAR = "10.81.0.1", "10.81.0.2"
NEAR6, FAR6 = "fd81::1", "fd81::2"
MACS = {"near": "02:81:00:00:00:01", "far": "02:81:00:00:00:02"}
ALLOWED = "net.ipv4.tcp_allowed_congestion_control"
PEER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer.py")
OFFLOADS = ("tx", "rx", "sg", "tso", "gso", "gro")
counter = 0


class AllowCubic:
    """Namespaces may choose CUBIC only where the host's own allows it; put back at the end."""

    def __enter__(self):
        self.before = run("sysctl", "-n", ALLOWED).stdout.strip()
        if "cubic" not in self.before.split():
            run("sysctl", "-qw", f"{ALLOWED}={self.before} cubic")
        return self

    def __exit__(self, *_):
        run("sysctl", "-qw", f"{ALLOWED}={self.before}")


class Wire(Programs):
    """Everything of one transfer; `close` takes it down. `impairments`: options of the bridge."""

    def __init__(self, build, folder, ours, impairments):
        super().__init__(folder)
        global counter
        counter += 1
        self.build = build
        self.ours = ours
        names = {end: f"mrw{os.getpid()}_{counter}{end[0]}" for end in ("near", "far", "wire")}
        self.namespaces = names
        try:
            self.lay(impairments)
        except BaseException:
            self.close()
            raise

    def lay(self, impairments):
        for namespace in self.namespaces.values():
            run("ip", "netns", "add", namespace)
            self.quiet(namespace)
        for end in ("near", "far"):
            run("ip", "-n", self.namespaces[end], "link", "add", end, "address", MACS[end], "type",
                "veth", "peer", "name", f"to-{end}", "netns", self.namespaces["wire"])
            self.bring_up("wire", f"to-{end}")
            self.bring_up(end, end)
        self.kernel_end("far", FAR, FAR6, "near", NEAR, NEAR6)
        if not self.ours:
            self.kernel_end("near", NEAR, NEAR6, "far", FAR, FAR6)
        self.bridge = self.launch(*self.inside("wire"), os.path.join(self.build, "tests", "bridge"),
                                  self.device(0, "to-near"), self.device(1, "to-far"), *impairments)
        self.wait(lambda: "bridging" in self.output(self.bridge), self.bridge)

    @staticmethod
    def device(index, interface):
        return f"net_af_packet{index},iface={interface},framecnt=2048"

    @staticmethod
    def quiet(namespace):
        """Nothing speaks of itself; only the kernel's ends get addresses."""
        Wire.set_sysctls(namespace, ("net.ipv6.conf.default.disable_ipv6=1",
                                     "net.ipv4.tcp_congestion_control=cubic",
                                     "net.ipv4.tcp_no_metrics_save=1"))

    @staticmethod
    def set_sysctls(namespace, settings):
        run("nsenter", f"--net=/run/netns/{namespace}", "sysctl", "-qw", *settings)

    def bring_up(self, end, interface):
        """Frames as they are on a wire: of at most the MTU, with checksums."""
        run(*self.inside(end), "ethtool", "-K", interface,
            *(word for name in OFFLOADS for word in (name, "off")))
        run("ip", "-n", self.namespaces[end], "link", "set", interface, "up")

    def kernel_end(self, end, address, address6, peer, peer_address, peer_address6):
        namespace = self.namespaces[end]
        self.set_sysctls(namespace, (f"net.ipv6.conf.{end}.disable_ipv6=0",))
        run("ip", "-n", namespace, "link", "set", "lo", "up")
        run("ip", "-n", namespace, "addr", "add", f"{address}/24", "dev", end)
        run("ip", "-n", namespace, "addr", "add", f"{address6}/64", "dev", end, "nodad")
        # What is compared is TCP, not who repeats a lost ARP request sooner.
        for neighbour in (peer_address, peer_address6):
            run("ip", "-n", namespace, "neigh", "replace", neighbour, "lladdr", MACS[peer], "dev",
                end, "nud", "permanent")

    def inside(self, end):
        return ("nsenter", f"--net=/run/netns/{self.namespaces[end]}")

    def run(self, end, *command, **options):
        return run(*self.inside(end), *command, **options)

    def start(self, end, *command):
        return self.launch(*self.inside(end), *command)

    def peer(self, end, *arguments):
        """The kernel's end of a measurement, `peer.py`."""
        return self.start(end, sys.executable, PEER, *map(str, arguments))

    def start_ours(self, program, *arguments, extra=""):
        """One of ours, at the near end, with CUBIC."""
        path = os.path.join(self.folder, f"{self.namespaces['near']}.toml")
        with open(path, "w") as file:
            file.write(f'[[port]]\ndevice = "{self.device(0, "near")}"\n'
                       f'addresses = ["{NEAR}/24", "{NEAR6}/64"]\n'
                       '[[core]]\nidle = "sleep"\nidle_turns = 20\nidle_sleep_us = 30\n'
                       '[ip]\nneighbour_retries = 20\nneighbour_retry_ms = 20\n'
                       '[tcp]\ntcp_congestion_control = "cubic"\n' + extra)
        return self.start("near", os.path.join(self.build, "apps", program), "-c", path, *arguments)

    def serve_files(self, end, root):
        """nginx, or ours at the near end where that is ours; GET answers the files of `root`."""
        if end == "near" and self.ours:
            process = self.start_ours("millrace-httpd", "-r", root, "-q")
            self.wait(lambda: "listening" in self.output(process), process)
            return process
        prefix = os.path.join(self.folder, f"nginx-{self.namespaces[end]}")
        os.makedirs(prefix, exist_ok=True)
        process = self.start(end, "nginx", "-p", prefix, "-c", nginx_config(prefix, root))
        self.wait(lambda: self.listens(end, 80), process)
        return process

    def serve_echo(self, end):
        if end == "near" and self.ours:
            process = self.start_ours("millrace-echo")
            self.wait(lambda: "listening" in self.output(process), process)
            return process
        process = self.peer(end, "echo", 7)
        self.wait(lambda: "listening" in self.output(process), process)
        return process

    def listens(self, end, port):
        return f":{port} " in self.run(end, "ss", "-Hltn").stdout

    def capture(self, name):
        """Headers of what ours sends before the bridge, and of all that the far end sees."""
        for end, interface in (("wire", "to-near"), ("far", "far")):
            process = self.start(end, "tcpdump", "-i", interface, "-s", "120", "-B", "8192", "-w",
                                 f"{name}.{interface}.pcap")
            self.wait(lambda p=process: "listening" in self.output(p), process)

    def end_bridge(self):
        """The bridge's counts: of the direction from the near end, and back."""
        output = self.finish(self.bridge)
        return [dict((name, int(number)) for name, number in
                     re.findall(r"([a-z-]+) (\d+)", re.search(f"^{way}: (.*)$", output, re.M)[1]))
                for way in ("forth", "back")]

    def close(self):
        self.end_all()
        for namespace in self.namespaces.values():
            run("ip", "netns", "del", namespace, check=False)
