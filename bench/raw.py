"""The bare links: what a pair of frames costs, and how much goes one way, with no stack at all."""
import json
import os
import sys
import tempfile

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests",
                             "interop"))
from host import Programs, run  # noqa: E402

# A request and a response as `*_http_rps` have them, with their headers.
SIZES = ("--size", "206", "--answer", "266")
SMALL = ("--size", "74", "--answer", "74")  # SYN and SYN-ACK
FULL = ("--size", "1514")


def ends(output):
    """What each end of a run has counted."""
    return {end["role"]: end for end in map(json.loads, output.strip().split("\n")[1:])}


def over_ring(build, seconds, sizes, far, near):
    return ends(run(os.path.join(build, "bench", "raw_bench"), "--seconds", str(seconds), *sizes,
                    "--end", f"{far}=ring:raw:0@0", "--end", f"{near}=ring:raw:1@1").stdout)


def over_memif(build, seconds, sizes, far, near):
    """The far end is there before and after the near one."""
    with tempfile.TemporaryDirectory() as folder:
        programs = Programs(folder)
        program = os.path.join(build, "bench", "raw_bench")

        def end(role, side, cpu):
            return (f"{role}=net_memif0,role={side},id=0,socket={folder}/sock,socket-abstract=no,"
                    f"rsize=10@{cpu}")
        try:
            server = programs.launch(program, "--seconds", str(seconds + 10), *sizes, "--end",
                                     end(far, "server", 0))
            programs.wait(lambda: "ready" in programs.output(server), server)
            said = run(program, "--seconds", str(seconds), *sizes, "--end",
                       end(near, "client", 1)).stdout
            return {**ends(said), **ends(programs.finish(server))}
        finally:
            programs.end_all()


def pairs(over, build, seconds, sizes=SIZES):
    """Pairs of frames a second, and the cycles of one at the end that answers."""
    seen = over(build, seconds, sizes, "answer", "ask")
    return (seen["ask"]["in"] / seen["ask"]["seconds"],
            seen["answer"]["busy_cycles"] / seen["answer"]["in"])


def one_way(over, build, seconds):
    """Gbit/s of full frames."""
    seen = over(build, seconds, FULL, "drain", "flood")
    return seen["drain"]["bytes_in"] * 8 / seen["drain"]["seconds"] / 1e9


def raw(name, over, build, quick):
    seconds = 1 if quick else 2
    runs = [(*pairs(over, build, seconds), one_way(over, build, seconds))
            for _ in range(1 if quick else 5)]
    for part, unit, values in zip(("pairs", "cycles_a_pair", "gbps"),
                                  ("a second", "cycles", "Gbit/s"), zip(*runs)):
        yield f"{name}.{part}", unit, list(values)


def raw_ring(build, quick):
    yield from raw("raw_ring", over_ring, build, quick)


def raw_memif(build, quick):
    yield from raw("raw_memif", over_memif, build, quick)
