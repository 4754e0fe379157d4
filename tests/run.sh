#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test: optimised, and under ASan and UBSan.
#   tests/run.sh            everything
#   tests/run.sh --quick    the optimised build's deterministic tests only
#   tests/run.sh --fuzz S   everything, with S seconds for each fuzz target instead of 60
#   tests/run.sh --soak S   everything, S seconds of opening and closing with the memory watched, and
#                           S seconds of faults
#   tests/run.sh --sim N    N seeds of the random simulation alone, optimised, from a new base seed
#                           (MILLRACE_SIM_FIRST names one), in as many processes as there are cores
# The last line counts test cases: "N passed, N failed", with ", N skipped" if there were any.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../.ci/setup.sh"

quick=0 soak=0 sim=0 fuzzing=60
while [ $# -gt 0 ]; do
    case $1 in
        --quick) quick=1 ;;
        --sim) sim=${2:?--sim wants a number of seeds}; shift ;;
        --fuzz) fuzzing=${2:?--fuzz wants seconds}; shift ;;
        --soak) soak=${2:?--soak wants seconds}; shift ;;
        *) sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
    esac
    shift
done

[ "$(id -u)" = 0 ] || [ $quick = 1 ] || [ "$sim" != 0 ] || die "the tests against the host's kernel need root (TAP devices, network namespaces); --quick does without"
install_packages
passed=0 failed=0 skipped=0
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

# play NAME COMMAND...: a GoogleTest program, which may run beside others; `count` looks at it.
play() {
    local name=$1 status=0
    shift
    timeout 1500 "$@" --gtest_brief=1 > "$results/$name" 2>&1 || status=$?
    echo $status > "$results/$name.status"
}

# count NAME: the cases of one that was played.
count() {
    local log=$results/$1 status ok bad
    say "$1"
    status=$(cat "$log.status" 2> /dev/null || echo 1)
    grep '^simulation: ' "$log" || true
    ok=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) tests\{0,1\}\.$/\1/p' "$log" | tail -1)
    bad=$(sed -n 's/^\[  FAILED  \] \([0-9]*\) tests\{0,1\}, listed below:$/\1/p' "$log" | tail -1)
    passed=$((passed + ${ok:-0}))
    if [ "$status" -ne 0 ]; then
        failed=$((failed + ${bad:-1}))
        tail -60 "$log"
    fi
}

# suite NAME COMMAND...: one by itself.
suite() {
    play "$@"
    count "$1"
}

# all_suites KIND DIR: all of them, two at a time: the one that waits for real clocks beside the others.
all_suites() {
    local kind=$1 dir=$2 name
    play "unit ($kind)" "$dir/tests/unit_tests" &
    for name in eal coroutine wire attack sim; do play "$name ($kind)" "$dir/tests/${name}_tests"; done
    wait
    for name in unit eal coroutine wire attack sim; do count "$name ($kind)"; done
}

# python NAME COMMAND...: a unittest program; counts its cases.
python() {
    local name=$1 log=$results/log
    shift
    say "$name"
    timeout 1800 "$@" > "$log" 2>&1 || true
    grep -E '^(test_|.*skipped)|^(FAIL|ERROR):' "$log" || true
    local all bad skip
    all=$(sed -n 's/^Ran \([0-9]*\) tests\{0,1\} in.*/\1/p' "$log" | tail -1)
    if [ -z "$all" ]; then
        tail -30 "$log"
        failed=$((failed + 1))
        return
    fi
    bad=$(grep -cE '^(FAIL|ERROR): ' "$log" || true)
    skip=$(sed -n 's/.*skipped=\([0-9]*\).*/\1/p' "$log" | tail -1)
    [ "$bad" = 0 ] || tail -80 "$log"
    failed=$((failed + bad)) skipped=$((skipped + ${skip:-0}))
    passed=$((passed + all - bad - ${skip:-0}))
}

# build DIR TARGETS -- OPTIONS
build() {
    local dir=$1 targets=$2
    shift 2
    say "building $(basename "$dir")"
    configure "$dir" -Dwerror=true "$@"
    ninja -C "$dir" $targets > "$results/build" 2>&1 || { grep -E 'error|FAILED' "$results/build" | head -40; die "the build in $dir failed"; }
}

# simulate SEEDS: in shards, one process each. A failure prints the seed that replays it.
simulate() {
    local seeds=$1 shards first each i status=0
    shards=$(nproc)
    first=${MILLRACE_SIM_FIRST:-$(($(date +%s) * 1000))}
    each=$(((seeds + shards - 1) / shards))
    say "simulating $seeds seeds from $first in $shards processes"
    for ((i = 0; i < shards; ++i)); do
        MILLRACE_SIM_FIRST=$((first + i * each)) MILLRACE_SIM_COUNT=$each \
            "$MILLRACE_TOP/build/tests/sim_tests" --gtest_brief=1 \
            --gtest_filter='Simulation/*' > "$results/shard$i" 2>&1 &
    done
    for ((i = 0; i < shards; ++i)); do wait -n || status=1; done
    [ $status = 0 ] || grep -hvE '^\[' "$results"/shard*
    grep -h '^simulation: ' "$results"/shard* || true
    grep -hoE '^replay: (MILLRACE_SIM_STORM=1 )?MILLRACE_SIM_SEED=[0-9]+' "$results"/shard* | sort -u
    return $status
}

if [ "$sim" != 0 ]; then
    build "$MILLRACE_TOP/build" "tests/sim_tests" --buildtype=release
    simulate "$sim" || die "the simulation failed"
    exit 0
fi

suites="unit eal coroutine wire attack sim"
optimised=$MILLRACE_TOP/build
build "$optimised" "" --buildtype=release
all_suites optimised "$optimised"
python "tidy" python3 -W ignore "$MILLRACE_TOP/tests/tidy/tidy.py" "$MILLRACE_TOP"
[ $quick = 1 ] || python "clang-tidy" python3 -W ignore "$MILLRACE_TOP/tests/tidy/clang_tidy.py" "$optimised"

if [ $quick = 0 ]; then
    sanitized=$MILLRACE_TOP/build-asan
    targets=$(for name in $suites; do printf 'tests/%s_tests ' "$name"; done
              printf 'apps/%s ' millrace-echo echo_coroutines epoll_echo_millrace \
                  proxy_callbacks proxy_coroutines proxy_epoll)
    build "$sanitized" "$targets" --buildtype=debug -Doptimization=1 -Ddebug=false \
        -Dcpp_args=-g1 -Ddefault_library=static -Db_sanitize=address,undefined -Db_lundef=false
    # EAL keeps memory to its end; what the tests leak they find themselves, by counting buffers.
    export ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
    all_suites "ASan, UBSan" "$sanitized"
    # Drivers that copy write into buffers that lie in their pools: those are not poisoned here.
    ASAN_OPTIONS=$ASAN_OPTIONS:allow_user_poisoning=0 python "styles (ASan, UBSan)" python3 -W ignore "$MILLRACE_TOP/tests/interop/interop.py" "$sanitized" -k styles
    # What has threads: contexts on several, networks that several share, cores and mailboxes.
    threaded=$MILLRACE_TOP/build-tsan
    build "$threaded" "tests/thread_tests tests/coroutine_tests" --buildtype=debug -Doptimization=1 \
        -Ddebug=false -Dcpp_args=-g1 -Ddefault_library=static -Db_sanitize=thread -Db_lundef=false
    export TSAN_OPTIONS="halt_on_error=1:suppressions=$MILLRACE_TOP/tests/tsan.supp"
    # Where the kernel spreads addresses wide, GCC 12's ThreadSanitizer does not start.
    suite "threads (TSan)" setarch -R "$threaded/tests/thread_tests" \
        --gtest_filter='Api*:Capture*:Core*:Epoll*:Inspect*:Mailbox*:Runtime*:Sockets*:Testing*:ZeroCopy*'
    suite "coroutine (TSan)" setarch -R "$threaded/tests/coroutine_tests"
    python "install" python3 -W ignore "$MILLRACE_TOP/tests/install/install.py" "$optimised"
    python "differential" python3 -W ignore "$MILLRACE_TOP/tests/differential/differential.py" "$optimised"
    python "interop" python3 -W ignore "$MILLRACE_TOP/tests/interop/interop.py" "$optimised"
    python "impaired wire" python3 -W ignore "$MILLRACE_TOP/tests/interop/impaired.py" "$optimised"
    python "demo link" python3 -W ignore "$MILLRACE_TOP/tests/interop/demo.py" "$optimised"
    python "load" python3 -W ignore "$MILLRACE_TOP/tests/interop/load.py" "$optimised"
    python "last" python3 -W ignore "$MILLRACE_TOP/tests/interop/last.py" "$optimised"
    python "doctor" python3 -W ignore "$MILLRACE_TOP/tests/interop/doctor.py" "$optimised"
    python "seen from both ends" python3 -W ignore "$MILLRACE_TOP/tests/interop/seen.py" "$optimised"
    python "capture" python3 -W ignore "$MILLRACE_TOP/tests/interop/capture.py" "$optimised"
    python "adopt" python3 -W ignore "$MILLRACE_TOP/tests/interop/adopt.py" "$optimised"
    # Each target for a minute, two at a time; what it takes to build them: tests/fuzz/README.md.
    fuzz=$MILLRACE_TOP/build-fuzz
    CC=clang-19 CXX=clang++-19 build "$fuzz" fuzz --buildtype=plain -Doptimization=1 -Db_ndebug=false \
        -Ddefault_library=static -Db_sanitize=address,undefined -Db_lundef=false -Dfuzz=true -Dbench=false
    python "fuzz" python3 -W ignore "$MILLRACE_TOP/tests/fuzz/fuzz.py" "$fuzz" --seconds "$fuzzing"
fi
if [ "$soak" != 0 ]; then
    python "soak" python3 -W ignore "$MILLRACE_TOP/tests/interop/demo.py" "$optimised" --soak "$soak"
    say "faults"
    if python3 -W ignore "$MILLRACE_TOP/tests/interop/soak.py" "$optimised" --seconds "$soak"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
    fi
fi

line="$passed passed, $failed failed"
[ $skipped = 0 ] || line="$line, $skipped skipped"
printf '%s\n' "$line"
[ $failed = 0 ]
