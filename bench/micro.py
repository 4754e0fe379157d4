"""The micro-benchmarks: time of single operations, and how many instructions they are."""
import glob
import json
import os
import re
import subprocess
import tempfile

RUNS = 5


def micro(build, quick):
    """Nanoseconds of processor time per operation."""
    options = ["--benchmark_format=json", f"--benchmark_repetitions={2 if quick else RUNS}",
               "--benchmark_min_time=" + ("0.01" if quick else "0.1")]
    answer = subprocess.run([os.path.join(build, "bench", "micro_bench"), *options],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                            check=True)
    values = {}
    for run in json.loads(answer.stdout)["benchmarks"]:
        if run.get("error_occurred"):
            raise SystemExit(f"{run['name']}: {run['error_message']}")
        if run["run_type"] == "iteration":
            values.setdefault(run["run_name"], []).append(run["cpu_time"])
    for name, times in values.items():
        yield f"micro.{name}", "ns", times


def instructions(build, quick):
    """Instructions per operation. They do not depend on what else the machine does: one run.
    Callgrind may not know this processor's every instruction: a build without them is needed."""
    portable = os.path.join(build, "portable")
    source = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if not os.path.exists(os.path.join(portable, "build.ninja")):
        subprocess.run(["meson", "setup", portable, source, "--buildtype=release",
                        "-Dcpu=x86-64-v2", "-Dtests=false", "-Ddefault_library=static"],
                       stdout=subprocess.DEVNULL, check=True)
    subprocess.run(["ninja", "-C", portable, "bench/micro_bench"], stdout=subprocess.DEVNULL,
                   check=True)
    pattern = "/1000$|^[a-z_]*$|true|checksum" if quick else "."
    with tempfile.TemporaryDirectory() as folder:
        said = subprocess.run(["valgrind", "--tool=callgrind", "--collect-atstart=no",
                               f"--callgrind-out-file={folder}/out",
                               os.path.join(portable, "bench", "micro_bench"),
                               f"--benchmark_filter={pattern}", "--benchmark_min_time=0.001"],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                              check=True).stdout
        if "ERROR OCCURRED" in said:
            raise SystemExit(said)
        counted = {}
        for dump in glob.glob(f"{folder}/out*"):
            with open(dump) as file:
                text = file.read()
            label = re.search(r"^desc: Trigger: Client Request: (.+):(\d+)$", text, re.M)
            total = re.search(r"^(?:totals|summary): (\d+)", text, re.M)
            if label and total:
                # Google Benchmark runs each a few times, longer and longer: the longest counts.
                counted[label[1]] = max(counted.get(label[1], (0, 0)),
                                        (int(label[2]), int(total[1])))
    for name in sorted(counted):
        operations, executed = counted[name]
        yield f"instructions.{name}", "instructions", [executed / operations]
