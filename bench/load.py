"""The load generator itself: what it can do, and the latency of the embedded link under it."""
import json
import os
import subprocess
import sys
import tempfile

PLOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "apps", "load", "plot")


def load(build, *arguments, valid=True):
    """The report of one run of server and generator in this machine's first two processors."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "report.json")
        done = subprocess.run([os.path.join(build, "apps", "millrace-load"), "--role", "both", "-q",
                               "--json", path, *map(str, arguments)], capture_output=True, text=True)
        if done.returncode != 0 and valid:
            raise SystemExit(f"millrace-load {arguments}:\n{done.stdout}{done.stderr}")
        with open(path) as file:
            return json.load(file)


def cycles(report):
    return report["cores"][0]["busy_cycles"] / report["counted"]["completed"]


def load_capacity(build, quick):
    """Of one core, against the most trivial responder: what it can saturate."""
    runs, seconds = (2, 1) if quick else (5, 3)
    shapes = {"requests": ("-m", "closed", "--protocol", "raw", "-n", "64"),
              "connections": ("-m", "closed", "--protocol", "raw", "-n", "256", "--close")}
    reports = {name: [] for name in shapes}
    for _ in range(runs):
        for name, shape in shapes.items():
            reports[name].append(load(build, *shape, "-d", seconds))
    for name, of in reports.items():
        yield f"load_capacity.{name}", "a second", [r["rates"]["requests"] for r in of]
        yield f"load_capacity.{name[:-1]}_cycles", "cycles", [cycles(r) for r in of]
        yield (f"load_capacity.{name}_at_full_load", "a second",
               [r["rates"]["requests"] / r["cores"][0]["busy"] for r in of])


def ring_http_latency(build, quick):
    """Of whole requests, at shares of what 64 connections can do in the same call."""
    runs, seconds = (1, 2) if quick else (5, 5)
    figures = {}
    kept = {}
    for _ in range(runs):
        capacity = load(build, "-m", "closed", "-d", seconds)["rates"]["requests"]
        figures.setdefault(("capacity", "a second"), []).append(capacity)
        for percent in (10, 50, 90):
            report = load(build, "-m", "rps", "--rate", int(capacity * percent / 100),
                          "--warm-up", 0.5, "-d", seconds, valid=False)
            kept[percent] = report
            latency = report["latency"]
            for kind, of in (("", "request"), ("_uncorrected", "uncorrected"), ("_lag", "lag")):
                for name in ("p50_us", "p99_us", "p99_9_us"):
                    figures.setdefault((f"at_{percent}{kind}_{name}", "us"), []).append(
                        latency[of][name])
            figures.setdefault((f"at_{percent}_valid", "runs"), []).append(
                int(report["health"]["valid"]))
    for (name, unit), values in figures.items():
        yield f"ring_http_latency.{name}", unit, values
    draw(kept)


def draw(reports):
    """The last run of each share, where a picture is asked for."""
    picture = os.environ.get("MILLRACE_BENCH_PLOT")
    if not picture:
        return
    with tempfile.TemporaryDirectory() as folder:
        runs = []
        for percent, report in reports.items():
            path = os.path.join(folder, f"{percent}.json")
            with open(path, "w") as file:
                json.dump(report, file)
            runs.append(f"{percent} %={path}")
        subprocess.run([sys.executable, PLOT, "-o", picture, *runs], check=True)
