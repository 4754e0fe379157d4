#!/usr/bin/env bash
# Installs what is missing, builds optimised, and runs benchmarks:
#   bench/run.sh [--profiled] [--json FILE] [--history WHAT] [--quick] [--list] [NAME...]
# Without names: all. Each figure is printed with its unit and its least, middle and greatest value
# over the runs. --profiled builds twice, the second time by what the first one's programs counted.
# For nic, --ports A B names the two ports.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../.ci/setup.sh"

# profiled DIR: a profile-guided build. A compiler cache would answer without looking at the profile.
profiled() {
    local dir=$1
    export CCACHE_DISABLE=1
    configure "$dir" --buildtype=release -Dtests=false -Db_pgo=generate
    # Once made, it is kept as long as nothing it was made of has changed.
    local made_of
    made_of=$(cd "$MILLRACE_TOP/bench" && { cat train.py links.py load.py; c++ --version; } | sha256sum)
    if [ "$(cat "$dir/made-of" 2> /dev/null)" = "$made_of" ] &&
        ninja -C "$dir" -n | grep -q "no work to do"; then return 0; fi
    rm -f "$dir/made-of"
    say "building what counts"
    meson configure "$dir" -Db_pgo=generate > /dev/null
    find "$dir" -name '*.gcda' -delete
    ninja -C "$dir" apps/millrace-load bench/micro_bench > /dev/null
    say "running it"
    python3 "$MILLRACE_TOP/bench/train.py" "$dir"
    meson configure "$dir" -Db_pgo=use > /dev/null
    echo "$made_of" > "$dir/made-of"
}

guided=0
arguments=()
for argument in "$@"; do
    if [ "$argument" = --profiled ]; then guided=1; else arguments+=("$argument"); fi
done
install_packages
case " $* " in
    *" --list "* | *" -h "* | *" --help "*) exec python3 "$MILLRACE_TOP/bench/run.py" . "$@" ;;
esac
python3 "$MILLRACE_TOP/bench/run.py" . --check ${arguments[@]+"${arguments[@]}"}
build=$MILLRACE_TOP/build
if [ $guided = 1 ]; then
    build=$MILLRACE_TOP/build-profiled
    profiled "$build"
else
    configure "$build" --buildtype=release
fi
say "building"
ninja -C "$build" > /dev/null
exec python3 "$MILLRACE_TOP/bench/run.py" "$build" ${arguments[@]+"${arguments[@]}"}
