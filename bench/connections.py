"""Connections by the million, between two cores of one process."""
import json
import os
import subprocess

# What idle_bench prints, and the unit of each.
FIGURES = {"bytes_per_connection": "bytes", "rate_empty": "conn/s", "rate_full": "conn/s",
           "requests_few": "req/s", "requests_many": "req/s", "cycles_few": "cycles/req",
           "cycles_many": "cycles/req"}


def idle_10m(build, quick):
    """Ten million idle connections (a hundredth of that for a quick look): memory of one side,
    connections a second while the table is empty and after, and the server's busy cycles for a
    request among a thousand and among all of them."""
    values = {}
    for _ in range(1 if quick else 3):
        answer = subprocess.run([os.path.join(build, "bench", "idle_bench"), "--connections",
                                 str(100_000 if quick else 10_000_000)],
                                stdout=subprocess.PIPE, text=True, check=True)
        run = json.loads(answer.stdout)
        run["cycles_ratio"] = run["cycles_many"] / run["cycles_few"]
        for name, value in run.items():
            values.setdefault(name, []).append(value)
    for name, unit in (FIGURES | {"cycles_ratio": "times"}).items():
        yield f"idle_10m.{name}", unit, values[name]
