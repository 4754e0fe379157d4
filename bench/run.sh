#!/usr/bin/env bash
# Installs what is missing, builds optimised, and runs benchmarks:
#   bench/run.sh [--json FILE] [--history WHAT] [--quick] [--list] [NAME...]    without names: all
# Each figure is printed with its unit and its least, middle and greatest value over the runs.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../.ci/setup.sh"

install_packages
build=$MILLRACE_TOP/build
configure "$build" --buildtype=release
say "building"
ninja -C "$build" > /dev/null
exec python3 "$MILLRACE_TOP/bench/run.py" "$build" "$@"
