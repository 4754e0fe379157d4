"""A look into a server that is busy: its connections are listed, a million of them, meanwhile."""
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

from links import BODY, KEPT

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests",
                             "interop"))
from cells import ratio_interval  # noqa: E402
from host import Programs  # noqa: E402

LISTENING = "10.80.0.1:80"
LONGEST = 300  # Pairs of seconds, until one listing has come to its end beside the load.
SECOND = re.compile(r" *\d+ +-\d+ ")  # A line of the generator's, at the end of each.


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
        self.server = self.start("millrace-httpd", "server", (0, 1), 0, room, "-q", "-b", BODY,
                                 "--idle-timeout", 0)
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

    def counting(self, command, out):
        """A shell that lists all that there is and counts it, in this process's session: in one of
        its own Linux may give it a share for the session, whatever its niceness is."""
        return subprocess.Popen(["sh", "-c", command, "sh", *self.ss("-H", "-t", "-n")], stdout=out,
                                text=True, process_group=0)

    def list_once(self):
        """How many are listed while nobody asks for anything, and the seconds it takes."""
        before = time.monotonic()
        said, _ = self.counting('"$@" | wc -l', subprocess.PIPE).communicate()
        return int(said), time.monotonic() - before

    def rates(self, rounds):
        """Requests a second on a thousand connections, of seconds alone and of those in turn with
        them in which all that there is is listed; and how many each listing had that came to its
        end."""
        report, listed = os.path.join(self.folder, "asker.json"), os.path.join(self.folder, "listed")
        command = (os.path.join(self.build, "apps", "millrace-load"), "-c",
                   self.config("asker", (0,), 1), "--json", report, *map(str, KEPT),
                   "-t", LISTENING, "-d", str(2 * LONGEST))
        turns = 0
        with open(listed, "w") as out, \
                subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as asker:
            listing = self.counting('while "$@" | wc -l; do :; done', out)
            try:
                for _ in filter(SECOND.match, asker.stdout):  # each is over as its line comes
                    os.killpg(listing.pid, signal.SIGSTOP if turns % 2 == 0 else signal.SIGCONT)
                    turns += 1
                    if turns > 2 * rounds and os.path.getsize(listed) > 0:
                        break
                asker.send_signal(signal.SIGINT)
                asker.stdout.read()
            finally:
                asker.kill()
                os.killpg(listing.pid, signal.SIGKILL)
                listing.wait()
        with open(report) as file:
            said = json.load(file)
        if not said["health"]["valid"]:
            raise SystemExit(f"listing: {said['health']['invalid']}")
        with open(listed) as file:
            lines = [int(line) for line in file]
        # Neither the first second, which is the start's, nor the last, which was cut short.
        seconds = [second["completed"] / second["seconds"] for second in said["series"]
                   if second["phase"] == "load"][1:turns]
        pairs = len(seconds) // 2
        return seconds[0:2 * pairs:2], seconds[1:2 * pairs:2], lines


def listing(build, quick):
    """`memif_http_rps` beside a million connections (quick: ten thousand) that are listed meanwhile,
    a second of each in turn with one in which nobody looks, until a listing has come to its end:
    the ratio of the rates with its 90 % interval."""
    held, rounds = (10_000, 5) if quick else (1_000_000, 60)
    with tempfile.TemporaryDirectory() as folder, Held(build, folder, held) as server:
        counted, seconds = server.list_once()
        alone, beside, lines = server.rates(rounds)
        if not lines:
            raise SystemExit(f"listing: none came to its end in {LONGEST} seconds of its own")
        if min([counted, server.established(), *lines]) < held:
            raise SystemExit(f"listing: of {held} connections {counted} were listed before the load, "
                             f"{lines} beside it; {server.established()} are left")
    yield "listing.rate_alone", "a second", alone
    yield "listing.rate_beside", "a second", beside
    ratio, low, high = ratio_interval(beside, alone)
    yield "listing.ratio", "times", [low, ratio, high]
    yield "listing.seconds_idle", "s", [seconds]
    yield "listing.listings_ended", "", [len(lines)]
