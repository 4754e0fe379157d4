#!/usr/bin/env python3
"""The same program on the machine's kernel and on Millrace: equal output, step by step.

    differential.py BUILD_DIRECTORY [unittest arguments]

The kernel's run happens in a network namespace of its own, with the addresses that Millrace is
given. A step that differs on purpose stands in DIFFERENCES with its reason.
"""
import os
import subprocess
import sys
import unittest

BUILD = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else "build"

# (program, step, what the kernel says, what Millrace says): why.
DIFFERENCES = {
    # A reset has come: what was under way is forgotten. Linux keeps counting it.
    ("sockets", "queued(s[1], SIOCOUTQ): 13", "queued(s[1], SIOCOUTQ): 0"),
    # To one of our own addresses the source is that address. So it is in Linux, but for the second
    # address of a subnet, whose route there prefers the first.
    ("ports", "name_is(s[1], a2): 0", "name_is(s[1], a2): 1"),
}

SETUP = """
set -e
ip link set lo up
ip link add mr0 type veth peer name mr1
sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
ip link set mr0 up
ip link set mr1 up
for a in 10.9.0.1/24 10.9.0.2/24; do ip addr add $a dev mr0; done
ip addr add fd00:9::1/64 dev mr0 nodad
sysctl -qw net.ipv4.tcp_tw_reuse=0 net.ipv4.ip_local_port_range="$1 $2"
shift 2
exec "$@"
"""


def run(program, *arguments):
    path = os.path.join(BUILD, "tests", "differential", program)
    ports = ("40000", "40003") if "exhaustion" in arguments else ("32768", "60999")
    command = [path, *arguments]
    if program.endswith("_kernel"):
        command = ["unshare", "-n", "bash", "-c", SETUP, "setup", *ports, *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise AssertionError(f"{program} exits with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout.splitlines()


class Differential(unittest.TestCase):
    def compare(self, program, *arguments, least):
        kernel = run(program + "_kernel", *arguments)
        ours = run(program + "_millrace", *arguments)
        steps = [line for line in kernel if not line.startswith("==")]
        self.assertGreaterEqual(len(steps), least)
        self.assertEqual(len(kernel), len(ours))
        chapter = ""
        wrong = []
        for theirs, our in zip(kernel, ours):
            if theirs.startswith("=="):
                chapter = theirs
            if theirs != our and (program, theirs, our) not in DIFFERENCES:
                wrong.append(f"{chapter}: kernel  {theirs}\n{' ' * len(chapter)}  millrace {our}")
        self.assertEqual(wrong, [], "\n" + "\n".join(wrong))

    def test_ports_and_the_life_of_connections(self):
        self.compare("ports", least=500)

    def test_what_goes_through_a_socket(self):
        self.compare("sockets", least=400)

    def test_datagrams(self):
        self.compare("datagrams", least=300)

    def test_epoll(self):
        self.compare("epoll", least=200)

    def test_exhaustion(self):
        self.compare("ports", "exhaustion", least=10)


if __name__ == "__main__":
    unittest.main(verbosity=2)
