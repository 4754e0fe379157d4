#!/usr/bin/env python3
"""Runs the fuzz targets that lie in a build directory; builds nothing itself.

    fuzz.py BUILD                       each target for 60 seconds, two at a time; a test case each
    fuzz.py BUILD --seconds N           the same for N seconds
    fuzz.py BUILD --long N              N seconds each, at low priority, from what BUILD/corpus has
                                        kept of earlier runs; a table of what was done
    fuzz.py BUILD --minimise            what BUILD/corpus has found goes into tests/fuzz/corpus: the
                                        inputs that cover most, a bounded number of them
    fuzz.py BUILD --coverage            replays the corpora in targets that were built to count
                                        (README.md) and tells the coverage of wire, ip and tcp
    --only NAME                         that target alone; may be repeated

Each run begins by replaying tests/fuzz/corpus/TARGET, which covers most, and tests/fuzz/found/TARGET,
which once ended it. What ends a target is left in BUILD/crashes,
and played again by naming it behind the program: BUILD/tests/fuzz_TARGET FILE."""
import argparse
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
CORPUS = os.path.join(HERE, "corpus")
FOUND = os.path.join(HERE, "found")
AT_ONCE = 2
# What these find is being looked into: the gate replays their corpora alone, --long goes on.
REPLAYED = {"conversation"}
# What libFuzzer keeps of rare features takes a third of a large program's time.
FLAGS = {"conversation": ["-entropic=0"]}
# Bytes of an input: what is longer says nothing that a shorter one does not.
LENGTHS = {"config": 2048, "conversation": 512, "fragments": 512, "frames": 1024, "handshake": 512,
           "http_client": 2048, "http_server": 2048, "options": 64, "reassembly": 512}
# Of a committed corpus.
FILES_MAX = 60
BYTES_MAX = 60_000
ROOMS = ("wire", "ip", "tcp")


def environment(**more):
    return dict(os.environ, **more,
                # EAL keeps memory to its end; the targets count buffers themselves.
                ASAN_OPTIONS="detect_leaks=0:detect_stack_use_after_return=1",
                UBSAN_OPTIONS="print_stacktrace=1",
                ASAN_SYMBOLIZER_PATH=shutil.which("llvm-symbolizer-19") or "")


def targets(build):
    names = [f[len("fuzz_"):] for f in os.listdir(os.path.join(build, "tests"))
             if re.fullmatch(r"fuzz_[a-z_]+", f)]
    return sorted(names)


def program(build, name):
    return os.path.join(build, "tests", "fuzz_" + name)


def dictionary(folder):
    """Every key that the configuration may have, as the public header names them."""
    path = os.path.join(folder, "config.dict")
    with open(os.path.join(TOP, "include/millrace/config.h")) as header:
        words = set(re.findall(r"\b([a-z_0-9]{3,}) ?[={;]", header.read()))
    words |= {"[[port]]", "[[core]]", "[pools]", "[tcp]", "[ip]", "[eal]", "[inspect]", "default via ",
              "= true", "= [\"", "\"cubic\"", "\"bbr\"", "\"sleep\"", "= 1", "net_tap0,iface=x"}
    with open(path, "w") as file:
        for word in sorted(words):
            text = word.replace("\\", "\\\\").replace('"', '\\"')
            file.write(f'"{text}"\n')
    return path


class Run:
    """One target for some seconds, or less where it ends before."""

    def __init__(self, build, name, seconds, folder, keep, nice):
        self.name = name
        crashes = os.path.join(build, "crashes")
        os.makedirs(crashes, exist_ok=True)
        found = os.path.join(build, "corpus", name) if keep else os.path.join(folder, name)
        committed = os.path.join(CORPUS, name)
        for path in (found, committed):
            os.makedirs(path, exist_ok=True)
        command = [program(build, name), f"-max_total_time={seconds}", "-print_final_stats=1",
                   f"-max_len={LENGTHS.get(name, 1024)}", "-timeout=300",
                   "-report_slow_units=300", "-rss_limit_mb=4096",
                   f"-artifact_prefix={crashes}/{name}-", "-verbosity=0"]
        command += FLAGS.get(name, [])
        if name == "config":
            command.append(f"-dict={dictionary(folder)}")
        if not keep:  # a gate does the same twice; what is new is found by --long
            command.append("-seed=1")
            if name in REPLAYED:
                command.append("-runs=0")
        ended = os.path.join(FOUND, name)
        inputs = [found, committed, *([ended] if os.path.isdir(ended) else [])]
        done = subprocess.run(["nice", "-n", str(nice), *command, *inputs], capture_output=True,
                              text=True, errors="replace", cwd=folder, env=environment(),
                              timeout=seconds + 600)
        self.output = done.stderr
        self.ok = done.returncode == 0
        self.executions = self.number("number_of_executed_units")
        self.rate = self.number("average_exec_per_sec")
        self.inputs = len(os.listdir(found))

    def number(self, what):
        match = re.search(rf"stat::{what}: +(\d+)", self.output)
        return int(match[1]) if match else 0

    def line(self):
        return (f"{self.name:14} {self.executions:12} executions {self.rate:8}/s "
                f"{self.inputs:6} inputs  {'' if self.ok else 'FAILED'}")


def run_all(build, names, seconds, keep=False, nice=0):
    with tempfile.TemporaryDirectory() as folder, \
            concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = [pool.submit(Run, build, name, seconds, folder, keep, nice) for name in names]
        for job in concurrent.futures.as_completed(jobs):
            print(job.result().line(), file=sys.stderr, flush=True)
        return [job.result() for job in jobs]


class Fuzz(unittest.TestCase):
    """Filled by `main`: a case for each target."""


def add_case(run):
    def case(self):
        self.assertTrue(run.ok, "\n" + run.output[-6000:])
        self.assertGreater(run.executions, 0)
    setattr(Fuzz, "test_" + run.name, case)


def covered(control, files):
    """By a merge's control file: what each of the inputs covers, as sets of numbers."""
    numbers, features = [], {}
    with open(control) as file:
        lines = file.read().split("\n")
    for line in lines:
        words = line.split()
        if len(words) >= 2 and words[0] == "FT":
            features[int(words[1])] = set(map(int, words[2:]))
    count = int(lines[0])
    numbers = lines[2:2 + count]
    return {path: features[i] for i, path in enumerate(numbers) if i in features and path in files}


def minimise(build, name):
    """The committed corpus anew: one input after the other, whichever adds most for its size."""
    folders = [os.path.join(CORPUS, name), os.path.join(build, "corpus", name)]
    files = [os.path.join(f, n) for f in folders if os.path.isdir(f) for n in os.listdir(f)]
    with tempfile.TemporaryDirectory() as folder:
        control = os.path.join(folder, "control")
        merged = os.path.join(folder, "merged")
        os.mkdir(merged)
        # Asked to merge so, libFuzzer notes all that each input covers.
        subprocess.run([program(build, name), "-set_cover_merge=1", f"-merge_control_file={control}",
                        "-timeout=60", merged, *[f for f in folders if os.path.isdir(f)]],
                       capture_output=True, env=environment(), cwd=folder, check=True)
        left = covered(control, set(files))
        chosen, seen, size = [], set(), 0
        while left and len(chosen) < FILES_MAX:
            best = max(left, key=lambda p: (len(left[p] - seen), -os.path.getsize(p)))
            adds = left.pop(best) - seen
            if not adds:
                break
            if size + os.path.getsize(best) > BYTES_MAX:
                continue
            chosen.append(best)
            seen |= adds
            size += os.path.getsize(best)
        kept = {os.path.basename(path): open(path, "rb").read() for path in chosen}
    shutil.rmtree(folders[0], ignore_errors=True)
    os.makedirs(folders[0])
    for file, content in kept.items():
        with open(os.path.join(folders[0], file), "wb") as out:
            out.write(content)
    print(f"{name}: {len(kept)} of {len(files)} inputs, {size} bytes", file=sys.stderr)


def coverage(build, names):
    with tempfile.TemporaryDirectory() as folder:
        raw = []
        for name in names:
            profile = os.path.join(folder, name + ".profraw")
            inputs = [os.path.join(c, name) for c in (CORPUS, os.path.join(build, "corpus"))]
            subprocess.run([program(build, name), "-runs=0", *[i for i in inputs if os.path.isdir(i)]],
                           capture_output=True, check=True, cwd=folder,
                           env=environment(LLVM_PROFILE_FILE=profile))
            raw.append(profile)
        data = os.path.join(folder, "all.profdata")
        subprocess.run(["llvm-profdata-19", "merge", "-o", data, *raw], check=True)
        objects = [word for name in names[1:] for word in ("-object", program(build, name))]
        for room in ROOMS:
            said = subprocess.run(["llvm-cov-19", "report", program(build, names[0]), *objects,
                                   f"-instr-profile={data}", os.path.join(TOP, "lib", room)],
                                  capture_output=True, text=True, check=True).stdout
            print(f"lib/{room}\n{said}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=os.path.abspath)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--long", type=int)
    parser.add_argument("--minimise", action="store_true")
    parser.add_argument("--coverage", action="store_true")
    parser.add_argument("--only", action="append")
    asked = parser.parse_args()
    names = asked.only or targets(asked.build)
    if not names:
        sys.exit(f"no fuzz target in {asked.build}/tests: README.md says how they are built")
    if asked.minimise:
        for name in names:
            minimise(asked.build, name)
    elif asked.coverage:
        coverage(asked.build, names)
    elif asked.long:
        runs = run_all(asked.build, names, asked.long, keep=True, nice=19)
        print(f"{sum(run.executions for run in runs)} executions in all")
        for run in runs:
            if not run.ok:
                print(f"{run.name} ended:\n{run.output[-6000:]}")
        sys.exit(0 if all(run.ok for run in runs) else 1)
    else:
        for run in run_all(asked.build, names, asked.seconds):
            add_case(run)
        unittest.main(argv=sys.argv[:1], verbosity=2)


if __name__ == "__main__":
    main()
