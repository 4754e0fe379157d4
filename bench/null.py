"""A segment through a real port and a real loop, with nobody at the other side."""
import os

from connections import runs

FIGURES = {"received_cycles": "cycles", "received_rate": "segments/s", "sent_cycles": "cycles",
           "sent_rate": "segments/s"}


def null(build, quick):
    """net_null's empty frames, made into a stream that comes in, then into the ACKs of one that goes
    out: the loop's busy cycles for each full segment, without those that make the frames."""
    values = runs(os.path.join(build, "bench", "null_bench"), ["--seconds", "1" if quick else "3"],
                  1 if quick else 5)
    for name, unit in FIGURES.items():
        yield f"null.{name}", unit, values[name]
