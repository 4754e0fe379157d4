#!/usr/bin/env python3
"""Tests the random simulation: plants one bug after the other and sees it found.

    plant.py [--only NAME]... [--seeds N] [--first N] [--jobs N] [--keep DIR] [--list]

Copies the sources to a temporary directory, sees that the copy passes as it is, then for each bug
of `planted.py` applies it, builds `tests/sim_tests` and plays seeds until one fails. Says by which
seed and by which oracle each was found. Fails where a bug is not found within N seeds, where its
text does not stand in the sources exactly once, and where it does not compile.

--keep DIR works in DIR and leaves it there: the next run builds only what has changed.
"""
import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

from planted import BUGS

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
MESON = ["--buildtype=plain", "-Doptimization=1", "-Ddebug=false", "-Ddefault_library=static",
         "-Dbench=false"]
BLOCK = 100  # seeds that one process plays at a time
LONGEST_BLOCK = 900  # seconds; a bug may make every seed run on to its limit of steps


def put(path, content):
    """Writes only what differs, so that only that is built again."""
    if os.path.exists(path):
        with open(path, "rb") as file:
            if file.read() == content:
                return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


def copy_sources(to):
    names = subprocess.run(["git", "-C", TOP, "ls-files", "-co", "--exclude-standard"],
                           capture_output=True, text=True, check=True).stdout.split("\n")
    for name in filter(None, names):
        path = os.path.join(TOP, name)
        if os.path.isfile(path):
            with open(path, "rb") as file:
                put(os.path.join(to, name), file.read())


def build(directory, log):
    """None where it builds, else the first error."""
    done = subprocess.run(["ninja", "-C", directory, "tests/sim_tests"], capture_output=True,
                          text=True)
    log.write(done.stdout + done.stderr)
    if done.returncode == 0:
        return None
    errors = [l for l in done.stdout.split("\n") if "error" in l]
    return errors[0] if errors else done.stdout[-500:]


def start_block(program, first, count):
    environment = dict(os.environ, MILLRACE_SIM_FIRST=str(first), MILLRACE_SIM_COUNT=str(count))
    output = tempfile.TemporaryFile("w+")
    process = subprocess.Popen(
        [program, "--gtest_brief=1", "--gtest_fail_fast", "--gtest_filter=Simulation/*"],
        stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True)
    return process, output


def oracle_of(text):
    """What the failing seed complained of first: the assertion, or the failure's first line."""
    asserted = re.search(r"^.*(?:assert|terminate called|ERROR: \w+Sanitizer).*$", text,
                         re.M | re.I)
    failure = re.search(r"Failure\n(?:Failed\n)?(.*)", text)
    if failure:
        return failure[1][:160]
    return asserted[0][:160] if asserted else "ends with a signal"


def finish_block(process, output):
    """None where all seeds passed, else (seed, oracle)."""
    try:
        status = process.wait(LONGEST_BLOCK)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
    output.seek(0)
    text = output.read()
    if status == 0:
        return None
    seed = re.search(r"replay: (?:MILLRACE_SIM_STORM=1 )?MILLRACE_SIM_SEED=(\d+)", text)
    return (int(seed[1]) if seed else -1), oracle_of(text)


def play(program, first, seeds, jobs):
    """Blocks side by side, in order: the answer is the same with any number of jobs."""
    starts = list(range(first, first + seeds, BLOCK))
    running = []
    try:
        while starts or running:
            while starts and len(running) < jobs:
                start = starts.pop(0)
                running.append(start_block(program, start, min(BLOCK, first + seeds - start)))
            found = finish_block(*running.pop(0))
            if found:
                return found
    finally:
        for process, _ in running:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return None


def apply(bug, directory):
    """The file's text before. An error names the bug whose text has gone."""
    path = os.path.join(directory, bug.file)
    with open(path) as file:
        before = file.read()
    if before.count(bug.old) != 1:
        sys.exit(f"{bug.name}: its text stands {before.count(bug.old)} times in {bug.file}")
    put(path, before.replace(bug.old, bug.new).encode())
    return before


def try_bug(bug, directory, target, options, log):
    """Whether it was found; says how."""
    before = apply(bug, directory)
    began = time.monotonic()
    try:
        broken = build(target, log)
        if broken:
            print(f"{bug.name}: does not compile: {broken}", flush=True)
            return False
        found = play(os.path.join(target, "tests", "sim_tests"), options.first, options.seeds,
                     options.jobs)
    finally:
        put(os.path.join(directory, bug.file), before.encode())
    took = f"{time.monotonic() - began:.0f} s"
    if not found:
        print(f"{bug.name}: NOT FOUND in {options.seeds} seeds ({took}): {bug.what}", flush=True)
        return False
    seed, oracle = found
    print(f"{bug.name}: found after {seed - options.first + 1} seeds ({took}): {oracle}",
          flush=True)
    return True


def run(options, bugs, place):
    # Side by side under the name of the original, so that a compiler cache that knows relative
    # paths remembers.
    directory = os.path.join(place, os.path.basename(TOP))
    target = directory + "-b"
    copy_sources(directory)
    for bug in bugs:  # whether it still applies, before the long run begins
        put(os.path.join(directory, bug.file), apply(bug, directory).encode())
    if not os.path.exists(os.path.join(target, "build.ninja")):
        subprocess.run(["meson", "setup", target, directory, *MESON], check=True,
                       stdout=subprocess.DEVNULL)
    with open(os.path.join(place, "plant.log"), "w") as log:
        broken = build(target, log)
        if broken:
            sys.exit(f"the sources do not compile: {broken}")
        found = play(os.path.join(target, "tests", "sim_tests"), options.first, options.seeds,
                     options.jobs)
        if found:
            sys.exit(f"the sources fail as they are: seed {found[0]}: {found[1]}")
        print(f"unmodified: {options.seeds} seeds pass", flush=True)
        results = [try_bug(bug, directory, target, options, log) for bug in bugs]
    print(f"{sum(results)} of {len(results)} found", flush=True)
    return all(results)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="NAME", default=[])
    parser.add_argument("--seeds", type=int, default=2000)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--keep", metavar="DIR")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    unknown = set(options.only) - {bug.name for bug in BUGS}
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    bugs = [bug for bug in BUGS if not options.only or bug.name in options.only]
    if options.list:
        print("\n".join(f"{bug.name}: {bug.what}" for bug in bugs))
        return 0
    if options.keep:
        return 0 if run(options, bugs, os.path.abspath(options.keep)) else 1
    with tempfile.TemporaryDirectory(prefix="millrace-plant-") as directory:
        return 0 if run(options, bugs, directory) else 1


if __name__ == "__main__":
    sys.exit(main())
