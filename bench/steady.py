"""That the path allocates nothing, locks nothing and calls the system for nothing, by counting: in
the threads that turn loops, while load goes through them."""
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time

from links import BODY, BULK, KEPT, SHORT, SOURCES, Memif

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests",
                             "interop"))
from host import Programs  # noqa: E402

ROW = struct.Struct("4Q")  # counts.c
BEGINNING = 5  # seconds until pools, tables and connections are there
ECHO = ("-m", "rr", "--protocol", "echo", "-s", 64)


def read_counts(path):
    """What each thread has allocated, freed and locked so far."""
    with open(path, "rb") as file:
        rows = (ROW.unpack(row) for row in iter(lambda: file.read(ROW.size), b""))
        return {row[0]: row[1:] for row in rows if row[0] != 0}


def processor_time(process, thread):
    with open(f"/proc/{process}/task/{thread}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def loops(process, seconds):
    """The threads that were busy all the while."""
    before = {t: processor_time(process, t) for t in map(int, os.listdir(f"/proc/{process}/task"))}
    time.sleep(seconds)
    busy = seconds * os.sysconf("SC_CLK_TCK") / 2
    return [t for t, ticks in before.items() if processor_time(process, t) - ticks > busy]


def system_calls(threads, seconds):
    """By these threads, in so many seconds. As root, or where one may trace one's own programs."""
    if shutil.which("strace") is None:
        raise SystemExit("strace is not there: it is in .ci/packages.txt")
    attached = [word for thread in threads for word in ("-p", str(thread))]
    said = subprocess.run(["timeout", "-s", "INT", str(seconds), "strace", "-c", "-qq", *attached],
                          capture_output=True, text=True)
    if said.returncode not in (0, 124, 130) or "strace:" in said.stderr:
        raise SystemExit(f"strace ended with {said.returncode}: {said.stderr}")
    total = re.search(r"^100\.00\s+\S+\s+\S+\s+(\d+)(?:\s+\d+)?\s+total$", said.stderr,
                      re.MULTILINE)
    return int(total[1]) if total else 0


def count(process, path, seconds):
    """Of the loops of a process: allocations, frees and locks a second, system calls a second."""
    threads = loops(process.pid, seconds / 2)
    if not threads:
        raise SystemExit("no thread had a processor for half of the time: something else runs")
    before = read_counts(path)
    time.sleep(seconds)
    after = read_counts(path)
    if not any(row[0] for row in after.values()):
        raise SystemExit("nothing is counted: libcounts.so was not loaded")
    zero = (0, 0, 0)
    made = [sum(after.get(t, zero)[i] - before.get(t, zero)[i] for t in threads) / seconds
            for i in range(3)]
    return [*made, system_calls(threads, seconds) / seconds]


def check_load(path):
    """There was load, by the generator's report."""
    with open(path) as file:
        report = json.load(file)
    if report["rates"]["requests"] == 0 and report["rates"]["gbps_in"] == 0:
        raise SystemExit("no load came")


class Counted(Programs):
    """Programs whose allocations and locks are counted."""

    def __init__(self, build, folder):
        super().__init__(folder)
        self.build = build
        self.counts = os.path.join(folder, "counts")

    def launch_counted(self, program, *arguments):
        return self.launch("env", f"LD_PRELOAD={self.build}/bench/libcounts.so",
                           f"MILLRACE_COUNTS={self.counts}",
                           os.path.join(self.build, "apps", program), *map(str, arguments))


def counted_under_load(programs, process, generator, report, seconds):
    """What `process` counts while the generator, perhaps itself, keeps it busy."""
    time.sleep(BEGINNING)
    counted = count(process, programs.counts, seconds)
    programs.finished(generator, 3 * seconds + 30)
    check_load(report)
    return counted


def over_ring(build, folder, shape, seconds):
    """Both loops of one process."""
    programs = Counted(build, folder)
    report = os.path.join(folder, "report.json")
    try:
        generator = programs.launch_counted("millrace-load", "--role", "both", "-q", *shape, "-d",
                                            3 * seconds + BEGINNING + 2, "--json", report)
        return counted_under_load(programs, generator, generator, report, seconds)
    finally:
        programs.end_all()


def over_memif(build, folder, server, shape, seconds):
    """The server's loop, in a process of its own."""
    programs = Counted(build, folder)
    report = os.path.join(folder, "report.json")
    link = Memif(build, folder, *server)
    try:
        program, arguments = link.start
        process = programs.launch_counted(program, "-c", link.config("server", 1, 0), *arguments)
        programs.wait(lambda: re.search("^(listening|serving)", programs.output(process),
                                        re.MULTILINE), process)
        generator = programs.launch(os.path.join(build, "apps", "millrace-load"), "-c",
                                    link.config("client", 2, 1), "-q", "-t", "10.80.0.1:80",
                                    *map(str, shape), "-d", str(3 * seconds + BEGINNING + 2),
                                    "--json", report)
        return counted_under_load(programs, process, generator, report, seconds)
    finally:
        programs.end_all()


def steady(build, quick):
    runs_each, seconds = (1, 1) if quick else (5, 2)
    httpd = ("millrace-httpd", "-q", "-b", BODY)
    raw = ("millrace-load", "-q", "--role", "server", "--protocol", "raw", "-t", "10.80.0.1:80")
    runs = {
        "ring_http_rps": (over_ring, (*KEPT, "-b", BODY)),
        "ring_http_cps": (over_ring, (*SHORT, "-b", BODY, "--sources", SOURCES.format("10.77.0"))),
        "ring_echo_rtt": (over_ring, ECHO),
        "ring_bulk_1flow": (over_ring, (*BULK, "-n", 1)),
        "ring_bulk_64flows": (over_ring, (*BULK, "-n", 64)),
        "memif_http_rps": (over_memif, httpd, KEPT),
        "memif_http_cps": (over_memif, httpd, (*SHORT, "--sources", SOURCES.format("10.80.0"))),
        "memif_bulk": (over_memif, raw, (*BULK, "-n", 64)),
    }
    for name, (over, *what) in runs.items():
        counted = []
        for _ in range(runs_each):
            with tempfile.TemporaryDirectory() as folder:
                counted.append(over(build, folder, *what, seconds))
        for kind, values in zip(("allocations", "frees", "locks", "system_calls"), zip(*counted)):
            yield f"steady.{name}_{kind}", "a second", list(values)
