"""Against the kernel's own programs, in namespaces of this machine."""
import json
import os
import re
import sys
import tempfile
import time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests",
                             "interop"))
from host import Programs, nginx_config, run  # noqa: E402
from links import BODY, memif_http_cps, memif_http_rps  # noqa: E402

SERVER, CLIENT = 0, 1  # processors
CONNECTIONS = 64
SMALL, SQUEEZED = "/small", "/squeezed"


def wrk(namespace, url, seconds, connections, header):
    """What wrk's one thread says it got: requests a second, and in all."""
    said = run("ip", "netns", "exec", namespace, "taskset", "-c", str(CLIENT), "wrk", "-t1",
               f"-c{connections}", f"-d{seconds}s", "-H", header, url).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"wrk: {said}")
    return (float(re.search(r"Requests/sec: +([\d.]+)", said)[1]),
            int(re.search(r"(\d+) requests in", said)[1]))


class Nginx(Programs):
    """An nginx of one process, alone on its processor, in a namespace with two veth links: to wrk's
    namespace, and to our generator. Its small file costs next to nothing but the kernel's path; the
    one that it squeezes with gzip each time costs next to nothing but nginx."""

    def __init__(self, folder):
        super().__init__(folder)
        self.name = f"mrb{os.getpid()}"
        self.clients = self.name + "c"
        self.ours_end = f"mrv{os.getpid()}"

    def __enter__(self):
        try:
            self.begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def connect(self, end, address, peer, peer_namespace):
        """What arrives at the peer is received on the client's processor, as from a wire; else it
        were nginx's that did it. Checksums and segments are nginx's, on either link."""
        run("ip", "-n", self.name, "link", "add", end, "type", "veth", "peer", "name", peer,
            *(["netns", peer_namespace] if peer_namespace else ["netns", "1"]))
        at_peer = ["ip", "netns", "exec", peer_namespace] if peer_namespace else []
        run(*at_peer, "sh", "-c",
            f"echo {1 << CLIENT:x} > /sys/class/net/{peer}/queues/rx-0/rps_cpus")
        run(*at_peer, "sysctl", "-qw", f"net.ipv6.conf.{peer}.disable_ipv6=1", check=False)
        run("ip", "netns", "exec", self.name, "ethtool", "-K", end, "tx", "off")
        run(*at_peer, "ethtool", "-K", peer, "tx", "off")
        run("ip", "-n", self.name, "addr", "add", address, "dev", end)
        run("ip", "-n", self.name, "link", "set", end, "up")
        run(*at_peer, "ip", "link", "set", peer, "up")

    def begin(self):
        for namespace in (self.name, self.clients):
            run("ip", "netns", "add", namespace)
        self.connect("mrb0", "10.80.0.1/24", "mrb1", self.clients)
        run("ip", "-n", self.clients, "addr", "add", "10.80.0.2/24", "dev", "mrb1")
        self.connect("mrb2", "10.81.0.1/24", self.ours_end, None)
        root = os.path.join(self.folder, "www")
        os.makedirs(root)
        os.chmod(self.folder, 0o755)
        with open(root + SMALL, "w") as file:
            file.write("x" * 128)
        with open(root + SQUEEZED, "w") as file:
            file.write("".join(f"{n * n} " for n in range(2500)))
        config = nginx_config(self.folder, root, log=False,
                              http=" gzip_comp_level 6; gzip_types *;",
                              server=f" location = {SQUEEZED} {{ gzip on; }}")
        self.launch("ip", "netns", "exec", self.name, "taskset", "-c", str(SERVER), "nginx", "-p",
                    self.folder, "-c", config)
        self.wait(lambda: run("ip", "netns", "exec", self.clients, "curl", "-sf", "-o", "/dev/null",
                              f"http://10.80.0.1{SMALL}", check=False).returncode == 0,
                  self.processes[0])

    def __exit__(self, *_):
        self.end_all()
        for namespace in (self.name, self.clients):
            run("ip", "netns", "del", namespace, check=False)
        run("ip", "link", "del", self.ours_end, check=False)

    def wrk(self, path, seconds, connections=CONNECTIONS, header="Accept-Encoding: gzip"):
        return wrk(self.clients, f"http://10.80.0.1{path}", seconds, connections, header)

    def receive_on_its_own_processor(self):
        """What comes from wrk costs the server's processor, not wrk's."""
        run("ip", "netns", "exec", self.name, "sh", "-c",
            f"echo {1 << SERVER:x} > /sys/class/net/mrb0/queues/rx-0/rps_cpus")

    @staticmethod
    def seconds_used():
        """Of its processor, on which nothing else runs: by nginx, and by the kernel's interrupts
        for what arrives. Not from the process's own times: they may count interrupts, too."""
        with open("/proc/stat") as file:
            row = next(r for r in file.read().split("\n") if r.startswith(f"cpu{SERVER} "))
        user, nice, system, _, _, hard, soft = map(int, row.split()[1:8])
        return (user + nice + system + hard + soft) / os.sysconf("SC_CLK_TCK")

    def ours(self, build, path, seconds):
        """Requests a second of our generator's one core, by the kernel's packet sockets."""
        config = os.path.join(self.folder, "load.toml")
        report = os.path.join(self.folder, "load.json")
        with open(config, "w") as file:
            file.write(f'[[port]]\ndevice = "net_af_packet0,iface={self.ours_end}"\n'
                       f'addresses = ["10.81.0.2/24"]\n[[core]]\ncpu = {CLIENT}\n'
                       'idle = "yield"\nidle_turns = 1\n')
        process = self.launch("taskset", "-c", str(CLIENT),
                              os.path.join(build, "apps", "millrace-load"), "-c", config, "-t",
                              "10.81.0.1:80", "-p", path, "-n", str(CONNECTIONS), "-d",
                              str(seconds), "-q", "-H", "Accept-Encoding: gzip", "--json", report)
        self.finished(process, seconds + 60)
        with open(report) as file:
            return json.load(file)["rates"]["requests"]


def wrk_ratio(build, quick):
    """Our generator and wrk, in turn, against the same nginx with as many connections."""
    runs, seconds = (1, 2) if quick else (5, 5)
    with tempfile.TemporaryDirectory() as folder, Nginx(folder) as nginx:
        for path in (SQUEEZED, SMALL):
            rates = [(nginx.wrk(path, seconds)[0], nginx.ours(build, path, seconds))
                     for _ in range(runs)]
            name = "wrk_ratio." + path[1:]
            yield f"{name}_wrk", "req/s", [theirs for theirs, _ in rates]
            yield f"{name}_ours", "req/s", [ours for _, ours in rates]
            yield f"{name}_ours_to_wrk", "ratio", [ours / theirs for theirs, ours in rates]


def cycles_a_second():
    with open("/proc/cpuinfo") as file:
        return float(re.search(r"^cpu MHz\s*: ([\d.]+)", file.read(), re.MULTILINE)[1]) * 1e6


def kernel_http(name, connections, header, ours, build, quick):
    """nginx and the kernel's TCP, wrk on the other processor; and ours over memif, in turn. What is
    compared is what a request costs the server's processor, whatever the clients can do."""
    theirs, rates, mine, clock = [], [], [], cycles_a_second()
    with tempfile.TemporaryDirectory() as folder, Nginx(folder) as nginx:
        nginx.receive_on_its_own_processor()
        idle = nginx.seconds_used()
        time.sleep(2)
        if nginx.seconds_used() - idle > 0.1:
            raise SystemExit(f"processor {SERVER} is not idle: what runs there would count, too")
        for _ in range(1 if quick else 5):
            before = nginx.seconds_used()
            rate, requests = nginx.wrk(SMALL, 2 if quick else 3, connections, header)
            theirs.append((nginx.seconds_used() - before) * clock / requests)
            rates.append(rate)
            figures = {figure: values for figure, _, values in ours(build, True)}
            mine.append(next(v[0] for figure, v in figures.items() if figure.endswith(".cycles")))
    yield f"{name}.rate", "a second", rates
    yield f"{name}.cycles", "cycles", theirs
    yield f"{name}.cycles_of_ours", "cycles", mine
    yield f"{name}.ratio", "times", [k / o for k, o in zip(theirs, mine)]


def kernel_http_rps(build, quick):
    yield from kernel_http("kernel_http_rps", 1000, "Accept: text/html", memif_http_rps, build,
                           quick)


def kernel_http_cps(build, quick):
    yield from kernel_http("kernel_http_cps", 512, "Connection: close", memif_http_cps, build,
                           quick)


class Tap(Programs):
    """`millrace-httpd` alone on its processor, on a TAP device that is moved into a namespace: wrk
    and the kernel's TCP are at its other end."""

    def __init__(self, build, folder):
        super().__init__(folder)
        self.build = build
        self.name = f"mrt{os.getpid()}"

    def __enter__(self):
        try:
            self.begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def begin(self):
        run("ip", "netns", "add", self.name)
        config = os.path.join(self.folder, "tap.toml")
        device = f"net_tap0,iface={self.name}"
        with open(config, "w") as file:
            file.write(f'[[port]]\ndevice = "{device}"\naddresses = ["10.82.0.1/24"]\n'
                       f'[[core]]\ncpu = {SERVER}\n')
        self.server = self.launch(os.path.join(self.build, "apps", "millrace-httpd"), "-c", config,
                                  "-q", "-b", str(BODY))
        # Only when the driver is done with it: it works on the device by its name.
        self.wait(lambda: "listening" in self.output(self.server), self.server)
        run("ip", "link", "set", self.name, "netns", self.name)
        run("ip", "-n", self.name, "addr", "add", "10.82.0.2/24", "dev", self.name)
        # What the client's kernel does with a frame is not to happen in the server's system call.
        run("ip", "netns", "exec", self.name, "sh", "-c",
            f"echo {1 << CLIENT:x} > /sys/class/net/{self.name}/queues/rx-0/rps_cpus")
        run("ip", "-n", self.name, "link", "set", self.name, "up")
        self.wait(lambda: run("ip", "netns", "exec", self.name, "ping", "-c", "1", "-W", "1",
                              "10.82.0.1", check=False).returncode == 0, self.server)

    def __exit__(self, *_):
        self.end_all()
        run("ip", "netns", "del", self.name, check=False)


def tap_http(name, connections, header, build, quick):
    """Our server's busy cycles for each request; system calls for each frame count, since the
    driver makes them on the loop's thread."""
    rates, cycles = [], []
    for _ in range(1 if quick else 5):
        with tempfile.TemporaryDirectory() as folder, Tap(build, folder) as tap:
            rate, answered = wrk(tap.name, "http://10.82.0.1/body", 2 if quick else 3, connections,
                                 header)
            said = tap.finish(tap.server)
        requests = int(re.findall(r"^connections \d+ requests (\d+)", said, re.MULTILINE)[-1])
        # wrk does not count what is under way when it ends.
        if not answered <= requests <= answered + connections:
            raise SystemExit(f"{name}: {answered} answers, the server: {requests} requests")
        rates.append(rate)
        cycles.append(int(re.search(r"busy cycles (\d+)", said)[1]) / requests)
    yield f"{name}.rate", "a second", rates
    yield f"{name}.cycles", "cycles", cycles


def tap_http_rps(build, quick):
    yield from tap_http("tap_http_rps", 1000, "Accept: text/html", build, quick)


def tap_http_cps(build, quick):
    yield from tap_http("tap_http_cps", 512, "Connection: close", build, quick)
