#!/usr/bin/env bash
# Sourced by apps/demo.sh, tests/run.sh and .ci/run: installs what is missing, sets up a build.
set -euo pipefail
MILLRACE_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "== $*" >&2; }
die() { printf '%s\n' "$*" >&2; exit 1; }

# Installs the packages of .ci/packages.txt that are not there. Needs root only if there are any.
install_packages() {
    local wanted missing=()
    wanted=$(sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$MILLRACE_TOP/.ci/packages.txt")
    command -v dpkg-query >/dev/null || die "this is not Debian: install by other means: $(echo $wanted)"
    local package
    for package in $wanted; do
        dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    [ "$(id -u)" = 0 ] || die "these packages are missing: ${missing[*]}
install them as root: apt-get install ${missing[*]}"
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    local log
    log=$(mktemp)
    # Services that a package would start are no business of ours.
    local policy=/usr/sbin/policy-rc.d had_policy=1
    [ -e $policy ] || { had_policy=0; printf '#!/bin/sh\nexit 101\n' > $policy; chmod +x $policy; }
    if ! { apt-get update -qq && apt-get install -y --no-install-recommends "${missing[@]}"; } > "$log" 2>&1; then
        [ $had_policy = 1 ] || rm -f $policy
        tail -20 "$log" >&2
        die "apt-get could not install: ${missing[*]}"
    fi
    [ $had_policy = 1 ] || rm -f $policy
    rm -f "$log"
}

# configure DIR OPTION...: a Meson build directory, made once.
configure() {
    local dir=$1
    shift
    [ -f "$dir/build.ninja" ] && return 0
    meson setup "$dir" "$MILLRACE_TOP" "$@" > /dev/null || { meson setup "$dir" "$MILLRACE_TOP" "$@" | tail -20; die "meson failed"; }
}
