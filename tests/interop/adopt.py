#!/usr/bin/env python3
"""A program that takes over who an interface of the kernel is: its MAC, MTU, addresses, routes and
neighbours.

Two network namespaces of each test, joined by a veth pair: the program stands in for the kernel's end
in the first, whose kernel is kept from hearing; the second has a network behind it that only the default
route leads to. Needs root. Usage: adopt.py BUILD_DIR [unittest arguments].
"""
import os
import re
import sys
import tempfile
import time
import unittest

from host import Programs, run

BUILD = os.path.abspath(sys.argv.pop(1))
WORK = tempfile.mkdtemp(prefix="millrace-adopt-")
HERE, THERE = f"mra{os.getpid()}", f"mrb{os.getpid()}"
AF_PACKET, AF_XDP = "net_af_packet0,iface=va", "net_af_xdp0,iface=va"
BODY = 20_000
# What the README says: the kernel is given the same frames as net_af_packet, and must not answer.
DEAF = ("nft add table netdev millrace",
        "nft add chain netdev millrace va { type filter hook ingress device va priority 0; policy drop; }")


def program(name):
    return os.path.join(BUILD, "apps", name)


def config(device, more='adopt = "va"\n'):
    path = os.path.join(WORK, f"{time.monotonic_ns()}.toml")
    with open(path, "w") as file:
        file.write(f'[[port]]\ndevice = "{device}"\n{more}[[core]]\nidle = "sleep"\n')
    return path


class Adopt(unittest.TestCase):
    def setUp(self):
        self.programs = Programs(WORK)
        for name in (HERE, THERE):
            run("ip", "netns", "add", name)
            self.addCleanup(run, "ip", "netns", "del", name, check=False)
        self.addCleanup(self.programs.end_all)
        run("ip", "-n", HERE, "link", "add", "va", "address", "02:00:00:00:85:01", "mtu", "1400",
            "type", "veth", "peer", "name", "vb", "address", "02:00:00:00:85:02", "mtu", "1400",
            "netns", THERE)
        self.here("sysctl -qw net.ipv6.conf.va.accept_dad=0")
        self.there("sysctl -qw net.ipv6.conf.vb.accept_dad=0")
        for end, ns in (("va", HERE), ("vb", THERE)):
            run("ip", "netns", "exec", ns, "ethtool", "-K", end, "tx", "off", check=False)
        for command in ("ip link set lo up", "ip link set va up", "ip addr add 10.85.0.1/24 dev va",
                        "ip addr add fd85::1/64 dev va nodad", "ip route add default via 10.85.0.2",
                        "ip route add default via fd85::2 dev va"):
            self.here(command)
        for command in ("ip link set lo up", "ip link set vb up", "ip addr add 10.85.0.2/24 dev vb",
                        "ip addr add fd85::2/64 dev vb nodad", "ip addr add 10.99.0.1/32 dev lo",
                        "ip addr add fd99::1/128 dev lo nodad"):
            self.there(command)

    def here(self, command, **options):
        return run("ip", "netns", "exec", HERE, *command.split(), **options)

    def there(self, command, **options):
        return run("ip", "netns", "exec", THERE, *command.split(), **options)

    def serve(self, device=AF_PACKET):
        server = self.programs.launch("ip", "netns", "exec", HERE, program("millrace-httpd"), "-c",
                                      config(device), "-b", str(BODY), "-q")
        self.programs.wait(lambda: "port " in self.programs.output(server), server)
        return server

    def fetch(self, url, source):
        done = self.there(f"curl -sS -g -o /dev/null -w %{{http_code}}_%{{size_download}} --interface "
                          f"{source} --retry 15 --retry-connrefused --retry-delay 1 -m 20 {url}")
        self.assertEqual(done.stdout, f"200_{BODY}")

    def resets(self):
        """How often the kernel has said RST where the program stands in for it."""
        said = self.here("nstat -asz TcpOutRsts").stdout
        return int(re.search(r"TcpOutRsts\s+(\d+)", said)[1])

    def all_is_taken_over(self, device):
        server = self.serve(device)
        self.assertIn("mac 02:00:00:00:85:01 mtu 1400", self.programs.output(server))
        for url, near, far in (("http://10.85.0.1/body", "10.85.0.2", "10.99.0.1"),
                               ("http://[fd85::1]/body", "fd85::2", "fd99::1")):
            self.fetch(url, near)
            self.fetch(url, far)  # only the default route leads back there
        self.assertEqual(self.resets(), 0)
        self.there("ping -c 2 -i 0.2 -W 5 10.85.0.1")
        # The kernel has kept what it lent: the next start finds it again.
        self.programs.finish(server)
        self.assertIn("10.85.0.1/24", self.here("ip -o addr show dev va").stdout)
        again = self.serve(device)
        self.fetch("http://10.85.0.1/body", "10.99.0.1")
        self.programs.finish(again)

    def test_af_packet_answers_for_the_kernel_that_is_kept_from_it(self):
        for command in DEAF:
            self.here(command)
        self.all_is_taken_over(AF_PACKET)

    def test_af_xdp_takes_the_frames_away_from_the_kernel(self):
        self.all_is_taken_over(AF_XDP)

    def test_neighbours_that_answer_no_question(self):
        """Who speaks no ARP is reached by the kernel's permanent entry alone."""
        for command in DEAF:
            self.here(command)
        self.here("ip neigh add 10.85.0.2 lladdr 02:00:00:00:85:02 nud permanent dev va")
        self.there("ip link set vb arp off")
        self.there("ip neigh add 10.85.0.1 lladdr 02:00:00:00:85:01 nud permanent dev vb")
        self.serve()
        self.fetch("http://10.85.0.1/body", "10.85.0.2")
        self.fetch("http://10.85.0.1/body", "10.99.0.1")

    def test_routes_to_other_networks_and_on_the_link(self):
        for command in (*DEAF, "ip route del default", "ip route add 10.99.0.0/16 via 10.85.0.2",
                        "ip route add 10.99.0.0/16 via 10.85.0.77 metric 50",
                        "ip route add 10.98.0.0/24 dev va"):
            self.here(command)
        self.there("ip addr add 10.98.0.2/32 dev vb")
        self.serve()
        self.fetch("http://10.85.0.1/body", "10.99.0.1")
        self.fetch("http://10.85.0.1/body", "10.98.0.2")

    def refused(self, more='adopt = "va"\n'):
        done = self.here(f"{program('millrace-httpd')} -c {config(AF_PACKET, more)} -b 1",
                         check=False)
        self.assertNotEqual(done.returncode, 0)
        return done.stderr

    def test_what_cannot_be_taken_over_is_said(self):
        self.assertIn("port[0].adopt: nope0: no such interface in this network namespace",
                      self.refused('adopt = "nope0"\n'))
        self.assertIn("port[0].adopt: lo: is no Ethernet interface", self.refused('adopt = "lo"\n'))
        self.assertIn("port[0].addresses: comes with adopt: leave one of them out",
                      self.refused('adopt = "va"\naddresses = ["10.85.0.9/24"]\n'))
        self.assertIn("port[0].mtu: comes with adopt: leave one of them out",
                      self.refused('adopt = "va"\nmtu = 1500\n'))
        self.here("ip link set va down")
        self.assertIn("port[0].adopt: va: the interface is down", self.refused())
        self.here("ip link set va up")
        self.here("ip addr flush dev va")
        self.assertIn("port[0].adopt: va: the interface has no address", self.refused())

    def test_the_doctor_tells_how_to_keep_the_kernel_quiet(self):
        done = self.here(f"{program('millrace-doctor')} -c {config(AF_PACKET)} --no-frames",
                         check=False)
        self.assertIn("10.85.0.1 is taken over from va", done.stdout)
        self.assertIn("nft add chain netdev millrace va", done.stdout)
        self.assertEqual(done.returncode, 0, done.stdout)
        done = self.here(f"{program('millrace-doctor')} -c "
                         f"{config(AF_PACKET, 'adopt = %snope0%s' % (chr(34), chr(34)) + chr(10))} "
                         "--no-frames", check=False)
        self.assertIn("no such interface in this network namespace", done.stdout)
        self.assertEqual(done.returncode, 2, done.stdout)


if __name__ == "__main__":
    try:
        unittest.main(verbosity=2)
    finally:
        run("rm", "-rf", WORK, check=False)
