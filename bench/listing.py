"""A look into a server that is busy: its connections are listed, a million of them, meanwhile."""
import json
import os
import re
import subprocess
import sys
import tempfile
import time

from links import BODY, KEPT

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests",
                             "interop"))
from cells import ratio_interval  # noqa: E402
from host import Programs, run  # noqa: E402

LISTENING = "10.80.0.1:80"


class Held(Programs):
    """A server with two memif ports: connections that nobody uses hang on one of them, requests come
    over the other. Server and generator have a processor each; who holds connections sleeps."""

    def __init__(self, build, folder, held):
        super().__init__(folder)
        self.build = build
        self.held = held

    def __enter__(self):
        try:
            return self.begin()
        except BaseException:
            self.end_all()
            raise

    def begin(self):
        room = f"[tcp]\nmax_connections = {self.held + 4096}\n"
        self.server = self.start("millrace-httpd", "server", (0, 1), 0, room, "-q", "-b", BODY)
        self.wait(lambda: "listening" in self.output(self.server), self.server)
        self.holder = self.start(
            "millrace-load", "holder", (1,), 1, room + '[[core]]\ncpu = 1\nidle = "sleep"\n',
            "-m", "concurrent", "-n", self.held, "-t", "10.81.0.1:80", "--sources",
            "10.81.0.10-10.81.0.33", "--source-ports", "1024-65535", "--rate", 100_000, "--trickle", 1, "-d", 0)
        self.wait(lambda: self.established() >= self.held, self.holder, 300)
        return self

    def __exit__(self, *_):
        self.end_all()

    def start(self, program, role, ports, cpu, rest, *arguments):
        return self.launch(os.path.join(self.build, "apps", program), "-c",
                           self.config(role, ports, cpu, rest), *map(str, arguments))

    def config(self, role, ports, cpu, rest=""):
        path = os.path.join(self.folder, role + ".toml")
        side, host = ("server", 1) if role == "server" else ("client", 2)
        with open(path, "w") as file:
            for place, port in enumerate(ports):
                file.write(f'[[port]]\ndevice = "net_memif{place},role={side},id={port},socket='
                           f'{self.folder}/sock{port},socket-abstract=no,rsize=10"\n'
                           f'addresses = ["10.8{port}.0.{host}/24"]\n')
            file.write(rest if "[[core]]" in rest else f"[[core]]\ncpu = {cpu}\n{rest}")
        return path

    def ss(self, *arguments):
        """millrace-ss as an operator would run it beside loops that spin: it takes what is left."""
        return ["nice", "-n", "19", os.path.join(self.build, "apps", "millrace-ss"), "-p",
                str(self.server.pid), *arguments]

    def established(self):
        said = subprocess.run(self.ss("-s"), capture_output=True, text=True, check=True).stdout
        return int(re.search(r"estab (\d+)", said)[1])

    def rate(self, seconds):
        """Requests a second on a thousand connections."""
        path = os.path.join(self.folder, "asker.json")
        run(os.path.join(self.build, "apps", "millrace-load"), "-c",
            self.config("asker", (0,), 1), "-q", "--json", path, *map(str, KEPT), "-t", LISTENING,
            "-d", str(seconds))
        with open(path) as file:
            return json.load(file)["rates"]["requests"]

    def rate_beside(self, seconds):
        """Likewise while all that there is is listed, over and over: the rate, what was listed, and
        how long each took."""
        took, lines = [], []
        out = os.path.join(self.folder, "listed")
        listing = subprocess.Popen(
            ["sh", "-c", 'while date +%s.%N; do "$@" | wc -l || exit; done', "sh",
             *self.ss("-H", "-t", "-n")], stdout=open(out, "w"), start_new_session=True)
        try:
            rate = self.rate(seconds)
        finally:
            os.killpg(listing.pid, 15)
            listing.wait()
        with open(out) as file:
            words = [float(word) for word in file.read().split()]
        for begun, counted, ended in zip(words[::2], words[1::2], words[2::2]):
            took.append(ended - begun)
            lines.append(counted)
        return rate, took, lines


def listing(build, quick):
    """`memif_http_rps` beside a million connections (quick: ten thousand) that are listed meanwhile,
    in turn with the same and nobody who looks: the ratio of the rates with its 90 % interval."""
    held, seconds, rounds = (10_000, 2, 2) if quick else (1_000_000, 8, 9)
    alone, beside, took, lines = [], [], [], []
    with tempfile.TemporaryDirectory() as folder, Held(build, folder, held) as server:
        for _ in range(rounds):
            alone.append(server.rate(seconds))
            rate, times, counts = server.rate_beside(seconds)
            beside.append(rate)
            took += times
            lines += counts
        before = time.monotonic()
        if server.established() < held:
            raise SystemExit("listing: connections were lost meanwhile")
        idle = time.monotonic() - before
    yield "listing.rate_alone", "a second", alone
    yield "listing.rate_beside", "a second", beside
    ratio, low, high = ratio_interval(beside, alone)
    yield "listing.ratio", "times", [low, ratio, high]
    yield "listing.seconds_idle", "s", [idle]
    if took:
        yield "listing.seconds", "s", took
        yield "listing.listed", "sockets", lines
