"""Connections by the million, between two cores of one process."""
import json
import os
import statistics
import subprocess

# What the programs print, and the unit of each.
IDLE_FIGURES = {"bytes_per_connection": "bytes", "rate_empty": "conn/s", "rate_full": "conn/s",
                "requests_few": "req/s", "requests_many": "req/s", "cycles_few": "cycles/req",
                "cycles_many": "cycles/req"}


TIME_WAIT_FIGURES = {"bytes_per_entry": "bytes", "rate_empty": "conn/s", "rate_full": "conn/s",
                     "overflow": "entries", "reopened": "entries", "drained_s": "s"}


def runs(program, arguments, count):
    """What the program prints, as a list of values for each name."""
    values = {}
    for _ in range(count):
        answer = subprocess.run([program, *arguments], stdout=subprocess.PIPE, text=True,
                                check=True)
        for name, value in json.loads(answer.stdout).items():
            values.setdefault(name, []).append(value)
    return values


def ratios(above, below):
    return [a / b for a, b in zip(above, below)]


def time_wait_3m(build, quick):
    """Three million TIME-WAIT entries (a fifteenth of that for a quick look) at the side that closes
    first: connections a second with next to none and with all of them, what an entry costs, what
    did not fit or was opened again, and how long the drain takes."""
    size = ["--entries", "200000", "--timewait", "10"] if quick else []
    values = runs(os.path.join(build, "bench", "time_wait_bench"), size, 1 if quick else 3)
    values["rate_ratio"] = ratios(values["rate_full"], values["rate_empty"])
    for name, unit in (TIME_WAIT_FIGURES | {"rate_ratio": "times"}).items():
        yield f"time_wait_3m.{name}", unit, values[name]


FLOOD_FIGURES = {"syn_rate": "segments/s", "syn_ack_rate": "segments/s", "syn_cycles": "cycles",
                 "syn_half_open_max": "entries", "syn_honest_share": "share",
                 "flows_unloaded": "req/s", "flows_flooded": "req/s", "cycles_left": "share",
                 "flows_kept": "times", "ack_rate": "segments/s", "ack_cycles": "cycles",
                 "ack_honest_share": "share", "ack_accepted": "connections"}


def syn_flood(build, quick):
    """Floods of SYNs, then of made-up ACKs, as fast as the link takes them, with a thousand honest
    connections a second on the same queue; and what established flows keep beside half of that,
    as a share of their unloaded rate times the cycles that the flood leaves."""
    values = runs(os.path.join(build, "bench", "flood_bench"),
                  ["--seconds", "1" if quick else "5"], 1 if quick else 5)
    for name, unit in FLOOD_FIGURES.items():
        yield f"syn_flood.{name}", unit, values[name]


def idle_10m(build, quick):
    """Ten million idle connections (a hundredth of that for a quick look): memory of one side,
    connections a second while the table is empty and after, and the server's busy cycles for a
    request among a thousand and among all of them."""
    size = ["--connections", str(100_000 if quick else 10_000_000)]
    values = runs(os.path.join(build, "bench", "idle_bench"), size, 1 if quick else 3)
    values["cycles_ratio"] = ratios(values["cycles_many"], values["cycles_few"])
    values["rate_ratio"] = ratios(values["rate_full"], values["rate_empty"])
    for name, unit in (IDLE_FIGURES | {"cycles_ratio": "times", "rate_ratio": "times"}).items():
        yield f"idle_10m.{name}", unit, values[name]


def by_connections(build, quick):
    """The server's busy cycles for a request among 1, 1 k, 100 k, 1 M and 10 M connections (quick: to
    100 k): each on a random one out of a random 1 % redrawn each second, up to 1 k out of all. With
    one connection there is one request at a time, else 64. Among a thousand of them, in turn, also
    with a thousand more listeners and a million armed timers. With all of them there, in turn:
    over a thousand (hot) and over a random 1 % (cold)."""
    points = [1, 1000, 100_000] + ([] if quick else [1_000_000, 10_000_000])
    size = ["--connections", str(points[-1]), "--seconds", "1" if quick else "5", "--others"]
    for point in points:
        size += ["--ask-at", str(point)]
    values = runs(os.path.join(build, "bench", "idle_bench"), size, 1 if quick else 5)
    cycles = {point: values[f"cycles_at_{point}"] for point in points}
    for point in points:
        yield f"by_connections.cycles_at_{point}", "cycles/req", cycles[point]
    for point in points:
        if point != 1000:
            yield (f"by_connections.ratio_{point}_to_1000", "times",
                   ratios(cycles[point], cycles[1000]))
    for name, base in (("cycles_listeners", "cycles"), ("cycles_timers", "cycles"),
                       ("open_cycles_listeners", "open_cycles")):
        yield f"by_connections.{name}_ratio", "times", ratios(values[name], values[base])
    yield "by_connections.cycles_hot", "cycles/req", values["cycles_hot"]
    yield "by_connections.cycles_cold", "cycles/req", values["cycles_cold"]
    yield ("by_connections.cold_to_hot", "times",
           ratios(values["cycles_cold"], values["cycles_hot"]))
    draw(cycles)


def draw(cycles):
    """Medians with the least and the greatest, where a picture is asked for."""
    picture = os.environ.get("MILLRACE_BENCH_PLOT")
    if not picture:
        return
    rows = "".join(f"{point} {statistics.median(values)} {min(values)} {max(values)}\n"
                   for point, values in cycles.items())
    script = f"""set terminal svg size 800,500 dynamic font 'sans,13' background '#ffffff'
set output '{picture}'
set logscale x
set format x '10^{{%T}}'
set xrange [0.5:{2 * max(cycles)}]
set yrange [0:*]
set grid
set xlabel 'connections'
set ylabel "the server's busy cycles for a request"
$data << EOD
{rows}EOD
plot $data using 1:2:3:4 with yerrorlines lw 2 pt 7 lc rgb '#1b6ca8' notitle
"""
    subprocess.run(["gnuplot"], input=script, text=True, check=True)
