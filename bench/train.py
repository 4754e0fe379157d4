#!/usr/bin/env python3
"""Runs what a profile-guided build is to be good at, with programs that count what they execute:

    train.py BUILD_DIR

The stack with no port, then requests, connections, bulk and echoes over the embedded link."""
import os
import subprocess
import sys

import links
from load import load


def main():
    build = sys.argv[1]
    subprocess.run([os.path.join(build, "bench", "micro_bench"),
                    "--benchmark_filter=whole_|received_|sent_", "--benchmark_min_time=1"],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    body = ("-b", links.BODY)
    short = (*links.SHORT, "--sources", links.SOURCES.format("10.77.0"))
    for shape in ((*links.KEPT, *body), (*short, *body), (*links.BULK, "-n", 64), links.ECHO):
        load(build, *shape, "-d", 2)


main()
