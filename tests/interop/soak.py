#!/usr/bin/env python3
"""An hour of everything that goes wrong, with a program of ours in the middle of it. Needs root.

    soak.py BUILD_DIR [--seconds S] [--seed N] [--report FILE]

An echo server of two cores serves the host's kernel over an impaired wire and a generator of ours
over memif; another generator of ours asks the kernel over a second impaired wire. Every byte that
comes back is compared. One fault after the other befalls them, in an order that the seed gives;
after each, everybody has to get on again. Now and then the load rests, and what is counted has to
agree with what the other ends have counted, and every buffer has to be back.

Exit status 0: all held. A report at the end, also as JSON."""
import argparse
import ctypes
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from host import run
from wire import FAR, MACS, NEAR, NEAR6, AllowCubic, Wire

HERE = os.path.dirname(os.path.abspath(__file__))
BAD = ("--rate", "200", "--delay", "2", "--jitter", "1", "--loss", "1", "--reorder", "1",
       "--reorder-by", "2", "--duplicate", "0.5", "--corrupt", "0.1")
PATIENCE = 100      # seconds for everybody to get on again: a backed-off timeout or two
CALM = 12           # seconds between one fault and the next
REST_EVERY = 6      # faults between one rest and the next
HOGS = 60
GROWTH_KIB = 24 * 1024
SERVER = ("[pools]\nreceive = 4096\nheader = 4096\nattach = 4096\npayload = 2048\n"
          "[recorder]\nevents = 4096\n")


class Failure(Exception):
    pass


class Said:
    """The last line of JSON that a program has printed, and one to talk to it."""

    def __init__(self, wire, *command):
        self.process = subprocess.Popen([*wire.inside("far"), *map(str, command)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.last = {}
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.last = json.loads(line)

    def say(self, words):
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(100)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join()
        self.process.stdout.close()


class PausedThread:
    """One thread of another process stands still, the others go on."""
    SEIZE, INTERRUPT, DETACH, ALL = 0x4206, 0x4207, 17, 0x40000000

    def __init__(self, task):
        self.task = task
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]

    def ptrace(self, what):
        if self.libc.ptrace(what, self.task, None, None) != 0:
            raise OSError(ctypes.get_errno(), "ptrace")

    def __enter__(self):
        self.ptrace(self.SEIZE)
        self.ptrace(self.INTERRUPT)
        os.waitpid(self.task, self.ALL)
        return self

    def __exit__(self, *_):
        self.ptrace(self.DETACH)


def core_threads(pid):
    """Those of a program's threads that have worked most: its loops."""
    def worked(task):
        with open(f"/proc/{pid}/task/{task}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])
    return sorted(map(int, os.listdir(f"/proc/{pid}/task")), key=worked)[-2:]


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1])


class Generator:
    """millrace-load, again and again; what all its runs have counted."""

    def __init__(self, soak, name, start, seconds):
        self.soak, self.name, self.start, self.seconds = soak, name, start, seconds
        self.totals = {"completed": 0, "established": 0, "runs": 0, "killed": 0}
        self.began = 0.0
        self.last_good = 0.0  # when the last run began that had a thousand answers
        self.errors = {}
        self.report = os.path.join(soak.folder, f"{name}.json")
        self.process = None
        self.may_run = True

    def turn(self):
        """Looks after it; a run that has ended is counted, and the next begun."""
        if self.process is not None and self.process.poll() is not None:
            self.take()
        if self.process is None and self.may_run:
            if os.path.exists(self.report):
                os.unlink(self.report)
            self.began = time.monotonic()
            self.process = self.start("--json", self.report, "-d", str(self.seconds), "-q")

    def take(self):
        if self.process.returncode == -signal.SIGKILL:
            self.totals["killed"] += 1
        elif not os.path.exists(self.report):
            raise Failure(f"{self.name} ended with {self.process.returncode}: "
                          + self.soak.echo.output(self.process)[-3000:])
        else:
            with open(self.report) as file:
                report = json.load(file)
            whole = report["whole"]
            for name in ("completed", "established"):
                self.totals[name] += whole[name]
            for name, number in whole["errors"].items():
                self.errors[name] = self.errors.get(name, 0) + number
            if whole["errors"].get("bad-answer"):
                raise Failure(f"{self.name}: wrong bytes in an answer: {whole['errors']}")
            # Where the other side stood still, frames may wait for it at the end.
            waits = any(whole["errors"].values())
            for invariant in report["health"]["invariants"]:
                if not invariant["holds"] and not (waits and "buffer" in invariant["name"]):
                    raise Failure(f"{self.name}: {invariant}")
            self.totals["runs"] += 1
            if whole["completed"] >= 1000:
                self.last_good = self.began
        wire = self.soak.wire_of(self)
        wire.processes.remove(self.process)
        self.process.log.close()
        self.process = None

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def rest(self):
        self.may_run = False
        end = time.monotonic() + self.seconds + 60
        while self.process is not None:
            if time.monotonic() > end:
                raise Failure(f"{self.name} does not end")
            time.sleep(0.2)
            self.turn()


class Soak:
    def __init__(self, build, folder, seed):
        self.build, self.folder = build, folder
        self.dice = random.Random(seed)
        impairments = (*BAD, "--seed", str(seed))
        self.echo = self.ask = self.peer = None
        self.faults = {}
        self.recoveries = {}
        self.resident = []
        self.listings = 0
        self.looks = []
        self.aborted = 0
        self.free = []
        self.dry = {}
        self.last_counters = {}
        self.echo = Wire(build, folder, True, impairments)
        self.ask = Wire(build, folder, True, impairments)

    # --- who takes part

    def begin(self):
        self.server = self.start_server()
        self.pid = self.pid_of(self.server, "millrace-echo")
        self.ask.serve_echo("far")
        self.memif = Generator(self, "over-memif", self.start_memif, 20)
        self.asker = Generator(self, "asks-the-kernel", self.start_asker, 20)
        self.generators = (self.memif, self.asker)
        self.peer = Said(self.echo, sys.executable, os.path.join(HERE, "soak_peer.py"), NEAR, NEAR6,
                         "--clients", 48, "--seed", self.dice.randrange(1 << 30))
        for generator in self.generators:
            generator.turn()

    def wire_of(self, generator):
        return self.ask if generator is self.asker else self.echo

    def start_server(self):
        path = os.path.join(self.folder, "server.toml")
        with open(path, "w") as file:
            file.write(f'[[port]]\ndevice = "{self.echo.device(0, "near")},qpairs=2"\n'
                       f'addresses = ["{NEAR}/24", "{NEAR6}/64"]\n'
                       f'[[port]]\ndevice = "{self.memif_device("server")}"\ncores = [1]\n'
                       'addresses = ["10.80.0.1/24"]\n'
                       + '[[core]]\nidle = "sleep"\nidle_turns = 20\nidle_sleep_us = 50\n' * 2
                       + '[ip]\nneighbour_retries = 20\nneighbour_retry_ms = 100\n'
                       '[tcp]\ntcp_fin_timeout = 20\ntcp_timewait_len = 20\ntcp_max_tw_buckets = 20000\n'
                       # Peers give up in silence, and their resets get lost.
                       'tcp_keepalive_time = 20\ntcp_keepalive_intvl = 5\ntcp_keepalive_probes = 4\n'
                       'max_connections = 4096\n' + SERVER)
        server = self.echo.start("near", os.path.join(self.build, "apps", "millrace-echo"), "-c",
                                 path)
        self.echo.wait(lambda: "listening" in self.echo.output(server), server)
        return server

    @staticmethod
    def pid_of(process, name):
        """nsenter becomes the program itself."""
        with open(f"/proc/{process.pid}/comm") as file:
            if file.read().strip() != name[:15]:
                raise Failure("which process is the server?")
        return process.pid

    def memif_device(self, role):
        return (f"net_memif0,role={role},id=0,socket={self.folder}/memif.sock,socket-abstract=no,"
                "rsize=8")

    def start_memif(self, *arguments):
        path = os.path.join(self.folder, "memif.toml")
        with open(path, "w") as file:
            file.write(f'[[port]]\ndevice = "{self.memif_device("client")}"\n'
                       'addresses = ["10.80.0.2/24"]\n[[core]]\nidle = "sleep"\nidle_turns = 20\n'
                       'idle_sleep_us = 200\n')
        return self.echo.start("near", os.path.join(self.build, "apps", "millrace-load"), "-c", path,
                               "-t", "10.80.0.1:7", "--protocol", "echo", "-n", "40", "-r", "20",
                               "-s", "exponential:3000:60000", "--think", "5", *arguments)

    def start_asker(self, *arguments):
        return self.ask.start_ours("millrace-load", "-t", f"{FAR}:7", "--protocol", "echo", "-n",
                                   "16", "-r", "50", "-s", "uniform:1:4000", *arguments)

    # --- faults

    def link_down(self):
        seconds = self.dice.choice((0.5, 3, 8))
        wire, end = self.dice.choice(((self.echo, "near"), (self.echo, "far"), (self.ask, "near")))
        run("ip", "-n", wire.namespaces[end], "link", "set", end, "down")
        self.turn_for(seconds)
        run("ip", "-n", wire.namespaces[end], "link", "set", end, "up")
        if end == "far":  # it has forgotten what it was told
            run("ip", "-n", wire.namespaces[end], "addr", "replace", "fd81::2/64", "dev", end,
                "nodad")
            for address in (NEAR, NEAR6):
                run("ip", "-n", wire.namespaces[end], "neigh", "replace", address, "lladdr",
                    MACS["near"], "dev", end, "nud", "permanent")

    def memif_peer_killed(self):
        for _ in range(self.dice.choice((1, 3))):
            self.memif.kill()
            self.turn_for(self.dice.choice((0.1, 2)))

    def wire_dead(self):
        """Nothing arrives in either direction; what is on the wire comes later."""
        self.stopped(self.dice.choice((self.echo, self.ask)).bridge.pid,
                     self.dice.choice((2, 6, 15)))

    def clock_stalled(self):
        self.stopped(self.pid, 30)

    def generator_stalled(self):
        if self.asker.process is not None and self.asker.process.poll() is None:
            self.stopped(self.asker.process.pid, self.dice.choice((1, 10)))

    def stopped(self, pid, seconds):
        os.kill(pid, signal.SIGSTOP)
        try:
            self.turn_for(seconds)
        finally:
            os.kill(pid, signal.SIGCONT)

    def core_paused(self):
        with PausedThread(self.dice.choice(core_threads(self.pid))):
            self.turn_for(self.dice.choice((1, 10)))

    def pools_dry(self):
        before = self.counters()
        self.peer.say(f"hog {HOGS}")
        self.turn_for(15)
        now = self.counters()
        self.peer.say("free")
        counted = {name: now[name] - before.get(name, 0) for name in now
                   if name.startswith("Pool") and now[name] > before.get(name, 0)}
        if not counted:
            raise Failure("no pool has run low")
        self.dry.update(counted)

    def aborted_by_tool(self):
        """Some connections of those that there are, from outside."""
        text = self.ss("--json", "state", "established").splitlines()
        peers = [json.loads(line)["peer"].rsplit(":", 1)[1]
                 for line in self.dice.sample(text, min(len(text), 20))]
        killed = sum(int(self.ss("-K", "dport", port).split()[0]) for port in peers)
        if killed == 0:
            raise Failure("of the connections that were to be aborted there was none")
        self.aborted += killed

    def flood(self):
        self.memif.rest()
        done = self.echo.run("near", os.path.join(self.build, "apps", "millrace-load"), "-c",
                             os.path.join(self.folder, "memif.toml"), "-m", "flood", "--flood",
                             self.dice.choice(("syn", "ack")), "-t", "10.80.0.1:7",
                             "--flood-sources", "10.80.0.128/25", "--rate", "5000", "-d", "5",
                             check=False)
        if done.returncode != 0:
            raise Failure(f"the flood: {done.stdout[-1000:]}{done.stderr[-1000:]}")
        self.memif.may_run = True

    # --- looking

    def tool(self, name, *arguments):
        return run(os.path.join(self.build, "apps", name), "-p", str(self.pid), *arguments).stdout

    def ss(self, *arguments):
        return self.tool("millrace-ss", *arguments)

    def counters(self):
        counted = {}
        for line in self.tool("millrace-nstat", "-z").splitlines():
            name, number, *port = line.split(None, 2)
            counted[f"{name} {port[0]}" if port else name] = int(number)
        return counted

    def look(self):
        """The tools answer, and no connection says what cannot be."""
        begun = time.monotonic()
        for line in self.ss("--json", "-tan").splitlines():
            record = json.loads(line)
            self.listings += 1
            if record["state"] in ("LISTEN", "TIME-WAIT") or "unacked" not in record:
                continue
            out = record["unacked"]
            # In flight is what was sent and is neither acknowledged nor waiting to be sent.
            if record["send_q"] - record["notsent"] != out:
                raise Failure(f"under way, and not: {line}")
            if max(record["sacked"], record["lost"]) > out:
                raise Failure(f"more lost or delivered than is under way: {line}")
        self.looks.append(time.monotonic() - begun)

    def alive(self):
        for process, name in ((self.server, "the server"), (self.echo.bridge, "a wire"),
                              (self.ask.bridge, "a wire"), (self.peer.process, "the clients")):
            if process.poll() is not None:
                said = self.echo.output(process)[-3000:] if hasattr(process, "log") else ""
                raise Failure(f"{name} has ended with {process.returncode}: {said}")
        if self.peer.last.get("wrong"):
            raise Failure(f"wrong bytes: {self.peer.last}")

    def turn_for(self, seconds):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.alive()
            for generator in self.generators:
                generator.turn()
            time.sleep(min(left, 0.3))

    def got_on(self):
        return self.peer.last.get("exchanges", 0)

    def wait_until_all_get_on(self, fault):
        """The kernel's clients by a hundred exchanges more; of the generators each by a run that
        began after this, and had its answers."""
        before = self.got_on()
        begun = time.monotonic()
        while True:
            self.turn_for(1)
            late = [g.name for g in self.generators if g.last_good < begun]
            if self.got_on() < before + 100:
                late.append("the kernel's clients")
            if not late:
                break
            if time.monotonic() - begun > PATIENCE:
                raise Failure(f"{PATIENCE} s after {fault}, these stand still: {late}")
        self.recoveries.setdefault(fault, []).append(time.monotonic() - begun)

    def rest(self):
        """Nobody asks; then what was sent is acknowledged, and every buffer is back."""
        for generator in self.generators:
            generator.rest()
        self.peer.say("quiet")
        self.peer.say("free")
        end = time.monotonic() + 150
        while True:
            time.sleep(1)
            self.alive()
            now = self.counters()
            left = {name: now[name] for name in ("Connections", "HalfOpens", "TimeWaits",
                                                 "ReassemblyRanges", "SentRanges", "Fragments")}
            if not any(left.values()) and not self.frames_differ(now):
                break
            if time.monotonic() > end:
                raise Failure(f"nobody asks, and these are left: {left}, {self.frames_differ(now)}"
                              f"\n{self.ss('-tanoi')}")
        self.resident.append(resident_kib(self.pid))
        self.free.append(now["BuffersFree"])
        if now["BuffersFree"] != now["Buffers"]:
            raise Failure(f"buffers are missing: {self.free} of {now['Buffers']}")
        for generator in self.generators:
            generator.may_run = True
        self.peer.say("go on")
        self.turn_for(1)

    def frames_differ(self, now):
        """What does not agree, in words. Frames that came in are those of the ports; of those that
        went out the ports know no more than were sent; and no more came back than had come."""
        def by_ports(what):
            return sum(number for name, number in now.items() if name.startswith(f"{what} "))
        came, went = by_ports("PortFramesIn"), by_ports("PortFramesOut")
        if now["FramesIn"] != came:
            return f"{came} frames came in, {now['FramesIn']} were counted"
        if now["FramesOut"] < went:
            return f"{went} frames went out, {now['FramesOut']} were counted"
        if now["PayloadBytesReceived"] < self.peer.last["bytes"]:
            return (f"the clients had {self.peer.last['bytes']} bytes back, "
                    f"{now['PayloadBytesReceived']} had come")
        return ""

    # --- the whole

    def play(self, seconds):
        end = time.monotonic() + seconds
        self.turn_for(10)
        self.wait_until_all_get_on("the start")
        self.rest()
        played = 0
        while time.monotonic() < end:
            order = [self.link_down, self.memif_peer_killed, self.wire_dead, self.clock_stalled,
                     self.generator_stalled, self.core_paused, self.pools_dry,
                     self.aborted_by_tool, self.flood]
            self.dice.shuffle(order)
            for fault in order:
                if time.monotonic() >= end:
                    break
                name = fault.__name__
                fault()
                self.faults[name] = self.faults.get(name, 0) + 1
                self.wait_until_all_get_on(name)
                self.look()
                self.turn_for(CALM)
                played += 1
                if played % REST_EVERY == 0:
                    self.rest()
                print(f"{name}: all get on; {self.peer.last}, memif {self.memif.totals}, "
                      f"asker {self.asker.totals}, {resident_kib(self.pid)} KiB", flush=True)
        self.rest()

    def end(self):
        """The memory has kept its level, and the server ends in order."""
        level = self.resident[len(self.resident) // 3]
        if self.resident[-1] > level + GROWTH_KIB:
            raise Failure(f"memory grows: {self.resident} KiB")
        for generator in self.generators:
            generator.rest()
        self.last_counters = self.counters()
        self.peer.close()
        if self.peer.last["wrong"]:
            raise Failure(f"wrong bytes: {self.peer.last}")
        self.server.send_signal(signal.SIGTERM)
        said = self.echo.finished(self.server, 60)
        if "ERROR" in said or "runtime error" in said:
            raise Failure(f"the server has complained: {said[-5000:]}")

    def report(self):
        counters = self.last_counters
        return {
            "faults": self.faults,
            "seconds_until_all_got_on": {name: [round(statistics.median(s), 1), round(max(s), 1)]
                                         for name, s in self.recoveries.items()},
            "clients_of_the_kernel": self.peer.last if self.peer else None,
            "over_memif": [self.memif.totals, self.memif.errors],
            "asks_the_kernel": [self.asker.totals, self.asker.errors],
            "aborted_by_tool": self.aborted, "records_listed": self.listings,
            "seconds_of_a_listing": round(max(self.looks, default=0), 2),
            "resident_kib": self.resident, "buffers_free": self.free,
            "pools": self.dry,
            "counters": {name: counters[name] for name in (
                "FramesIn", "FramesOut", "TcpInSegs", "TcpOutSegs", "TcpRetransSegs",
                "TcpPassiveOpens", "TcpEstabResets", "PayloadBytesReceived", "FramesHandedOver",
                "TcpExtSyncookiesSent", "TcpExtTCPKeepAlive", "TcpExtTCPAbortOnTimeout")
                if name in counters}}

    def close(self):
        if self.peer:
            self.peer.process.kill()
            self.peer.close()
        for wire in (self.echo, self.ask):
            if wire:
                wire.close()


def main():
    options = argparse.ArgumentParser(prog="soak.py")
    options.add_argument("build")
    options.add_argument("--seconds", type=float, default=3600)
    options.add_argument("--seed", type=int, default=int(time.time()))
    options.add_argument("--report", help="a file for the report as JSON")
    chosen = options.parse_args()
    if os.geteuid() != 0:
        sys.exit("the soak needs root: network namespaces and veth pairs")
    folder = tempfile.mkdtemp(prefix="millrace-soak-")
    os.environ["ASAN_OPTIONS"] = ("detect_leaks=0:allow_user_poisoning=0:quarantine_size_mb=8:"
                                  "malloc_context_size=8")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    print(f"seed {chosen.seed}", flush=True)
    status, soak = 1, None
    try:
        with AllowCubic():
            soak = Soak(os.path.abspath(chosen.build), folder, chosen.seed)
            soak.begin()
            soak.play(chosen.seconds)
            soak.end()
            status = 0
    # The others are how a tool ends that does not answer.
    except (Failure, AssertionError, subprocess.TimeoutExpired) as failure:
        print(f"FAILED: {failure}")
    finally:
        if soak and soak.peer:
            report = soak.report()
            print(json.dumps(report, indent=1))
            if chosen.report:
                with open(chosen.report, "w") as file:
                    json.dump(report, file, indent=1)
            soak.close()
        shutil.rmtree(folder, ignore_errors=True)
    print("all held" if status == 0 else f"replay: --seed {chosen.seed}")
    return status


if __name__ == "__main__":
    sys.exit(main())
