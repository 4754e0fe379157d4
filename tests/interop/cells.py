"""What is measured on the impaired wire: cells, transfers, and what the figures say."""
import json
import os
import random
import re
import statistics
import sys
import time

from wire import FAR, NEAR, Wire

LOSSES = (0, 0.1, 1, 3, 10)
ROUND_TRIPS_MS = (0, 20)
ECHO_SIZE = 1000
ECHO_CONNECTIONS = 8
SEEDS_FOR_A_VERDICT = 5
# Headers of a full frame with timestamps: what is left of the rate for payload.
PAYLOAD_SHARE = 1448 / 1514


class Cell:
    """One kind of transfer over one kind of wire."""

    def __init__(self, kind, loss, round_trip_ms, disorder):
        self.kind = kind
        self.loss = loss
        self.round_trip_ms = round_trip_ms
        self.disorder = disorder
        self.name = f"{kind}-{loss}%-{round_trip_ms}ms" + ("-disorder" if disorder else "")

    def impairments(self, rate, seed):
        options = ["--rate", rate, "--delay", self.round_trip_ms / 2, "--loss", self.loss,
                   "--seed", seed]
        if self.disorder:  # held back by far more than a frame's time, by less than a round trip
            options += ["--reorder", 2, "--reorder-by", 2 if self.round_trip_ms else 0.5,
                        "--duplicate", 1]
        return [str(option) for option in options]

    def roles(self):
        """Kernel to kernel first: what the others are compared with."""
        return ("kernel", "ours-sends", "ours-receives") if self.kind == "bulk" else \
               ("kernel", "ours-serves", "ours-asks")


def all_cells():
    return [Cell(kind, loss, round_trip, disorder) for kind in ("bulk", "ask")
            for disorder in (False, True) for round_trip in ROUND_TRIPS_MS for loss in LOSSES]


def same_start(path, wanted):
    """How many bytes a file has, if it is a prefix of another; else None."""
    size = 0
    with open(path, "rb") as got, open(wanted, "rb") as expected:
        while piece := got.read(1 << 20):
            if piece != expected.read(len(piece)):
                return None
            size += len(piece)
    return size


class Machine:
    """How much of the processors nobody wanted, since the last question."""

    def __init__(self):
        self.last = self.read()

    @staticmethod
    def read():
        with open("/proc/stat") as file:
            return [int(word) for word in file.readline().split()[1:9]]

    def wait_until_quiet(self, share, patience=120):
        """Until so much of the processors is idle for a second; or in the end all the same."""
        end = time.monotonic() + patience
        self.idle()
        while share > 0 and time.monotonic() < end:
            time.sleep(1)
            if self.idle() >= share:
                return

    def idle(self):
        now = self.read()
        spent = [a - b for a, b in zip(now, self.last)]
        self.last = now
        return (spent[3] + spent[4]) / max(1, sum(spent))


class Measurement:
    """Runs transfers of a few seconds; `big` is the file that bulk transfers carry."""

    def __init__(self, build, folder, big, rate, seconds, captures=None):
        self.build = build
        self.folder = folder
        self.big = big
        self.rate = rate
        self.seconds = seconds
        self.captures = captures

    def transfer(self, cell, role, seed):
        """One transfer on a new wire. `figure` is Mbit/s of goodput, or answers a second."""
        wire = Wire(self.build, self.folder, role != "kernel", cell.impairments(self.rate, seed))
        try:
            if self.captures:
                wire.capture(os.path.join(self.captures, f"{cell.name}.{role}.{seed}"))
            machine = Machine()
            if cell.kind == "bulk":
                figure = self.bulk(wire, role)
            else:
                figure = self.ask(wire, role)
            idle = machine.idle()
            counts = wire.end_bridge()
        finally:
            wire.close()
        late = sum(way["late"] for way in counts) / max(1, sum(way["delivered"] for way in counts))
        return {"cell": cell.name, "role": role, "seed": seed, "figure": figure, "late": late,
                "idle": idle, "rate": self.rate, "counts": counts}

    def bulk(self, wire, role):
        if role == "ours-receives":
            return self.bulk_to_ours(wire)
        wire.serve_files("near", os.path.dirname(self.big))
        client = wire.peer("far", "fetch", NEAR, f"/{os.path.basename(self.big)}", self.big,
                           self.seconds)
        answer = json.loads(wire.finished(client, self.seconds + 20))
        if not answer["exact"]:
            raise AssertionError("bytes were changed")
        return answer["bytes"] * 8 / 1e6 / answer["seconds"]

    def bulk_to_ours(self, wire):
        wire.serve_files("far", os.path.dirname(self.big))
        got = os.path.join(self.folder, "got")
        if os.path.exists(got):
            os.remove(got)
        client = wire.start_ours("millrace-load", "-t", f"{FAR}:80", "-o", got, "-d",
                                 str(self.seconds), "--drain", "0", "-p",
                                 f"/{os.path.basename(self.big)}")
        # It answers 1 where the answer was not complete in time.
        client.wait(timeout=self.seconds + 20)
        output = wire.output(client)
        lasted = re.search(r", ([\d.]+) s$", output, re.M)
        if not lasted or not re.search(r"^  errors +(none|timed-out:1)$", output, re.M):
            raise AssertionError(output)
        size = same_start(got, self.big) if os.path.exists(got) else 0
        if size is None:
            raise AssertionError("bytes were changed")
        return size * 8 / 1e6 / float(lasted[1])

    def ask(self, wire, role):
        if role == "ours-asks":
            wire.serve_echo("far")
            client = wire.start_ours("millrace-load", "-t", f"{FAR}:7", "--protocol", "echo", "-s",
                                     str(ECHO_SIZE), "-n", str(ECHO_CONNECTIONS), "-d",
                                     str(self.seconds))
            output = wire.finished(client, self.seconds + 20)
            return int(re.search(r"^  requests +(\d+) ", output, re.M)[1]) / self.seconds
        wire.serve_echo("near")
        client = wire.peer("far", "ask", NEAR, 7, ECHO_SIZE, ECHO_CONNECTIONS, self.seconds)
        answer = json.loads(wire.finished(client, self.seconds + 20))
        return answer["answers"] / answer["seconds"]

    def interleaved(self, cells, seeds, quiet):
        """Every role in turn, seed by seed, so that whatever else the machine does meets all."""
        for seed in seeds:
            for cell in cells:
                Machine().wait_until_quiet(quiet)
                for role in cell.roles():
                    yield self.transfer(cell, role, seed)


def ratio_interval(ours, theirs, rounds=2000):
    """The ratio of the medians, and its 90 % bootstrap interval; runs of one seed stay together."""
    def ratio(indices):
        return statistics.median(ours[i] for i in indices) / \
            max(1e-9, statistics.median(theirs[i] for i in indices))
    everything = range(len(ours))
    chance = random.Random(1)
    drawn = sorted(ratio([chance.choice(everything) for _ in everything]) for _ in range(rounds))
    return ratio(everything), drawn[rounds // 20], drawn[-(rounds // 20) - 1]


def processor_was_the_limit(cell, kernel, ours):
    """Whether a cell says more of the machine than of the protocols."""
    if statistics.median(run["late"] for run in kernel + ours) > 0.01:
        return True
    if cell.kind == "bulk":
        best = kernel[0]["rate"] * PAYLOAD_SHARE
        return cell.loss == 0 and not cell.disorder and \
            statistics.median(run["figure"] for run in kernel) < 0.9 * best
    return statistics.median(run["idle"] for run in kernel) < 0.05


def report(cells, runs, out=sys.stdout):
    """The table. Answers the ratios of all cells, and the cells that lie wholly below 0.90."""
    print(f"{'cell':<28}{'role':<15}{'seeds':>5}{'kernel':>10}{'ours':>10}{'ratio':>8}"
          f"  90 % interval", file=out)
    ratios, below = [], []
    for cell in cells:
        by_role = {role: {r["seed"]: r for r in runs if (r["cell"], r["role"]) == (cell.name, role)}
                   for role in cell.roles()}
        for role in cell.roles()[1:]:
            seeds = sorted(by_role["kernel"].keys() & by_role[role].keys())
            if not seeds:
                continue
            kernel, ours = ([by_role[r][s] for s in seeds] for r in ("kernel", role))
            theirs, figures = ([run["figure"] for run in some] for some in (kernel, ours))
            ratio, low, high = ratio_interval(figures, theirs)
            ratios.append(ratio)
            marks = " processor" if processor_was_the_limit(cell, kernel, ours) else ""
            if high < 0.9 and len(seeds) >= SEEDS_FOR_A_VERDICT:
                below.append(f"{cell.name} {role}")
                marks += " below"
            print(f"{cell.name:<28}{role:<15}{len(seeds):>5}{statistics.median(theirs):>10.1f}"
                  f"{statistics.median(figures):>10.1f}{ratio:>8.2f}  {low:.2f} to {high:.2f}"
                  f"{marks}", file=out)
    if ratios:
        print(f"median over {len(ratios)} cells and roles: {statistics.median(ratios):.3f}; "
              f"wholly below 0.90: {', '.join(below) or 'none'}", file=out)
    return ratios, below
