#!/usr/bin/env python3
"""Runs benchmarks by name and says what they measured; see bench/README.md.

    run.py BUILD_DIR [--json FILE] [--history WHAT] [--quick] [--list] [--ports A B] [NAME...]
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys

from connections import by_connections, idle_10m, syn_flood, time_wait_3m
from kernel import kernel_http_cps, kernel_http_rps, tap_http_cps, tap_http_rps, wrk_ratio
from links import (memif_bulk, memif_http_cps, memif_http_rps, nic, ring_bulk_1flow,
                   ring_bulk_64flows, ring_echo_rtt, ring_http_cps, ring_http_rps)
from listing import listing
from load import load_capacity, ring_http_latency
from micro import instructions, micro
from null import null
from over_raw import memif_over_raw, ring_over_raw
from raw import raw_memif, raw_ring
from steady import steady

# Each is called with the build directory and whether a quick look will do; it yields
# (figure, unit, values), the figure named after its benchmark.
BENCHMARKS = {
    "micro": (micro, "Google Benchmark: nanoseconds of single operations"),
    "instructions": (instructions, "the same operations under callgrind: instructions"),
    "by_connections": (by_connections, "a request among 1 to 10 M connections, listeners, timers"),
    "idle_10m": (idle_10m, "ten million idle connections: memory, and requests among them"),
    "kernel_http_cps": (kernel_http_cps, "short connections to nginx on the kernel's TCP"),
    "kernel_http_rps": (kernel_http_rps, "requests to nginx on the kernel's TCP, beside ours"),
    "listing": (listing, "requests over memif while a million connections are listed"),
    "load_capacity": (load_capacity, "what the load generator can do: requests, connections"),
    "memif_bulk": (memif_bulk, "bytes over memif, one flow and 64, MTU 1500"),
    "memif_http_cps": (memif_http_cps, "connections with a request each, over memif"),
    "memif_http_rps": (memif_http_rps, "requests on a thousand kept connections, over memif"),
    "memif_over_raw": (memif_over_raw, "what the stack adds to memif: cycles, a share of bulk"),
    "nic": (nic, "requests, connections and bulk over two ports of one's own: --ports"),
    "null": (null, "a segment received and one sent, through a port that makes frames up"),
    "raw_memif": (raw_memif, "memif with no stack: pairs of frames, and bytes one way"),
    "raw_ring": (raw_ring, "the embedded link with no stack, likewise"),
    "ring_bulk_1flow": (ring_bulk_1flow, "bytes of one flow over the embedded link, two MTUs"),
    "ring_bulk_64flows": (ring_bulk_64flows, "bytes of 64 flows over the embedded link"),
    "ring_echo_rtt": (ring_echo_rtt, "the round trip of 64 bytes, one at a time"),
    "ring_http_cps": (ring_http_cps, "connections with a request each, over the embedded link"),
    "ring_http_rps": (ring_http_rps, "requests on a thousand kept connections, likewise"),
    "ring_over_raw": (ring_over_raw, "what the stack adds to the embedded link: cycles"),
    "ring_http_latency": (ring_http_latency,
                          "latency of requests at 10, 50 and 90 % of the capacity"),
    "steady": (steady, "what the path allocates, locks and asks the system for: nothing"),
    "syn_flood": (syn_flood, "floods of SYNs and ACKs, honest connections and flows among them"),
    "tap_http_cps": (tap_http_cps, "connections of wrk's on the kernel's TCP, to ours over TAP"),
    "tap_http_rps": (tap_http_rps, "requests on a thousand kept connections, likewise"),
    "time_wait_3m": (time_wait_3m, "three million TIME-WAIT entries, and connections among them"),
    "wrk_ratio": (wrk_ratio, "our generator and wrk against the same nginx"),
}


def machine():
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")),
                     platform.machine())
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) >> 20
    with open("/proc/cpuinfo") as file:
        processors = sum(line.startswith("processor") for line in file)
    return f"{processors} x {model}, {memory} GiB, {platform.system()} {platform.release()}"


def commit():
    answer = subprocess.run(["git", "-C", __file__.rsplit("/", 1)[0], "describe", "--always",
                             "--dirty"], capture_output=True, text=True)
    return answer.stdout.strip() or "unknown"


def kind(build):
    """How it was built: what changes figures and is no change of the tree."""
    answer = subprocess.run(["meson", "introspect", "--buildoptions", build], capture_output=True,
                            text=True, check=True)
    options = {o["name"]: o["value"] for o in json.loads(answer.stdout)}
    told = [options["buildtype"], f"cpu={options['cpu']}"]
    told += [f"{name[2:]}={options[name]}" for name in ("b_pgo", "b_lto", "b_sanitize")
             if options[name] not in ("off", "none", False)]
    return " ".join(told)


def remember(what, figures):
    """A line of history.jsonl for each benchmark: what was landed, and what it measured then."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "history.jsonl")
    benchmarks = {}
    for figure in figures:
        name, _, part = figure["name"].partition(".")
        benchmarks.setdefault(name, {})[part] = round(figure["median"], 3)
    with open(path, "a") as file:
        for name, medians in benchmarks.items():
            line = {"commit": figures[0]["commit"], "what": what, "name": name,
                    "build": figures[0]["build"], "machine": figures[0]["machine"],
                    "medians": medians}
            file.write(json.dumps(line) + "\n")


def measure(build, chosen, figures):
    where, what, how = machine(), commit(), kind(build)
    print(f"{where}; {what}; {how}")
    for name in chosen.names or [n for n in BENCHMARKS if n != "nic" or chosen.ports]:
        arguments = (build, chosen.quick) + ((chosen.ports,) if name == "nic" else ())
        for figure, unit, values in BENCHMARKS[name][0](*arguments):
            low, middle, high = min(values), statistics.median(values), max(values)
            print(f"{figure:<52}{middle:>14,.2f} {unit:<14}"
                  f"{low:>14,.2f} to {high:,.2f} in {len(values)}", flush=True)
            figures.append({"name": figure, "unit": unit, "min": low, "median": middle,
                            "max": high, "runs": len(values), "machine": where, "commit": what,
                            "build": how})


def main():
    build = sys.argv.pop(1)
    parser = argparse.ArgumentParser(prog="bench/run.sh")
    parser.add_argument("--json", metavar="FILE", help="the figures, as a list of objects")
    parser.add_argument("--history", metavar="WHAT", help="a line for each benchmark to "
                        "history.jsonl, which says so")
    parser.add_argument("--quick", action="store_true", help="a first look: fewer, shorter runs")
    parser.add_argument("--list", action="store_true", help="names the benchmarks")
    parser.add_argument("--ports", nargs=2, metavar="DEVICE", help="for nic: the server's and the "
                        "generator's, with a cable or another link between them")
    parser.add_argument("--check", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*", metavar="NAME")
    chosen = parser.parse_args()
    if chosen.list:
        for name, (_, what) in BENCHMARKS.items():
            print(f"{name:<18}{what}")
        return 0
    unknown = [name for name in chosen.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark is called {', '.join(unknown)}; --list names them")
    if "nic" in chosen.names and not chosen.ports:
        parser.error("nic wants --ports")
    if chosen.history and chosen.quick:
        parser.error("a first look is nothing for the history: leave out --quick")
    if chosen.check:  # before anything is built for it
        return 0
    figures = []
    try:
        measure(build, chosen, figures)
    finally:  # what has been measured is kept, whatever comes behind it
        if chosen.json:
            with open(chosen.json, "w") as file:
                json.dump(figures, file, indent=1)
                file.write("\n")
        if chosen.history and figures:
            remember(chosen.history, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
