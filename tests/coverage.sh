#!/usr/bin/env bash
# Line and branch coverage of lib/tcp and lib/congestion by the unit, wire, attack and simulation
# tests, file by file with what is missing; fails below 95 % of the lines or 85 % of the branches.
#   tests/coverage.sh [DIR]     builds in DIR (build-coverage)
# MILLRACE_SIM_COUNT is the number of seeds (200). gcov follows exceptions that the library, built
# without them in mind, never meets, and both ways out of an assertion: those branches do not count.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../.ci/setup.sh"

dir=${1:-$MILLRACE_TOP/build-coverage}
export MILLRACE_SIM_COUNT=${MILLRACE_SIM_COUNT:-200}
suites="unit wire attack sim"
report=$(mktemp)
trap 'rm -f "$report"' EXIT

install_packages
say "building $(basename "$dir")"
configure "$dir" --buildtype=plain -Db_coverage=true -Db_ndebug=true -Ddefault_library=static \
    -Dbench=false
ninja -C "$dir" $(for name in $suites; do printf 'tests/%s_tests ' "$name"; done) > "$report" \
    || { tail -40 "$report" >&2; die "the build failed"; }

find "$dir" -name '*.gcda' -delete
for name in $suites; do
    say "$name"
    "$dir/tests/${name}_tests" --gtest_brief=1 > "$report" 2>&1 \
        || { tail -60 "$report" >&2; die "$name tests failed"; }
done

say "lines"
gcovr --root "$MILLRACE_TOP" \
    --filter "$MILLRACE_TOP/lib/tcp/" --filter "$MILLRACE_TOP/lib/congestion/" \
    --exclude-throw-branches --exclude-unreachable-branches \
    --exclude-branches-by-pattern '.*\bMILLRACE_(DEBUG_)?ASSERT\(.*' \
    --json "$report" "$dir"
gcovr --root "$MILLRACE_TOP" --add-tracefile "$report"
say "branches"
gcovr --root "$MILLRACE_TOP" --add-tracefile "$report" --branches \
    --fail-under-line 95 --fail-under-branch 85
