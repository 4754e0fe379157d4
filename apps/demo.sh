#!/usr/bin/env bash
# Installs what is missing, builds, and shows Millrace at work:
#   apps/demo.sh [--duration S] [--connections N] [--close] [--ipv6]   server and generator, one process
#   apps/demo.sh --tap                                                 server on a TAP device, for curl
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../.ci/setup.sh"

usage() { sed -n '2,4s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
tap=0
arguments=()
for argument in "$@"; do
    case $argument in
        --tap) tap=1 ;;
        -h|--help) usage; exit 0 ;;
        *) arguments+=("$argument") ;;
    esac
done

install_packages
build=$MILLRACE_TOP/build
configure "$build" --buildtype=release
say "building"
ninja -C "$build" apps/millrace-load apps/millrace-httpd > /dev/null

if [ $tap = 0 ]; then
    case " ${arguments[*]-} " in
        *" --duration"*|*" -d"*) ;;
        *) arguments+=(--duration 5) ;;
    esac
    exec "$build/apps/millrace-load" --role both "${arguments[@]}"
fi

[ "$(id -u)" = 0 ] || die "--tap makes a network device: run it as root"
[ -e /dev/net/tun ] || die "--tap needs /dev/net/tun: load the tun module, or give the container the device"
if ip link show mr0 > /dev/null 2>&1; then die "an interface mr0 exists already: is another demo running?"; fi
work=$(mktemp -d)
server=
cleanup() {
    [ -n "$server" ] && kill "$server" 2> /dev/null && wait "$server" 2> /dev/null
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 0' INT TERM
printf '<h1>Millrace</h1>\n<p>This page left a TCP stack in user space.</p>\n' > "$work/index.html"
"$build/apps/millrace-httpd" --config "$MILLRACE_TOP/config/tap.toml" --root "$work" ${arguments[@]+"${arguments[@]}"} &
server=$!
for _ in $(seq 50); do
    ip link show mr0 > /dev/null 2>&1 && break
    kill -0 $server 2> /dev/null || die "the server did not start"
    sleep 0.1
done
# The device belongs to the server and goes with it, and these addresses with the device.
ip addr add 10.78.0.2/24 dev mr0
ip -6 addr add fd78::2/64 dev mr0 nodad
ip link set mr0 up
say "try:  curl http://10.78.0.1/    curl -g 'http://[fd78::1]/'    ping 10.78.0.1"
say "Ctrl-C ends it"
wait $server
