#!/usr/bin/env python3
"""How programs end, and begin again: SIGTERM under load, SIGKILL under load, deadlines, memif.

A thousand connections of curl, wrk and our own client over veth. Needs root.
Usage: last.py BUILD_DIR [unittest arguments]"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest

import interop
from host import run
from interop import Link

HERE = os.path.dirname(os.path.abspath(__file__))
HOST = "10.79.0.1"
# 1,000 in all.
WRK, CURL, OURS = 800, 100, 100


class Peers:
    """last_peer.py in the link's namespace."""

    def __init__(self, link, *arguments):
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", link.namespace, sys.executable,
             os.path.join(HERE, "last_peer.py"), *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def hear(self):
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError("the clients have ended")
        return json.loads(line)

    def say(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Last(unittest.TestCase):
    def link(self):
        link = Link("af_packet")
        # A thousand peers that were answered together send again together: more than the usual 512.
        link.device += ",framecnt=4096"
        self.addCleanup(link.close)
        return link

    def peers(self, link, *arguments):
        peers = Peers(link, *arguments)
        self.addCleanup(peers.close)
        return peers

    def load(self, link):
        """wrk and curl, each on its connections, for longer than they are needed."""
        wrk = link.launch("ip", "netns", "exec", link.namespace, "wrk", "-t", "1", "-c", str(WRK),
                          "-d", "60", "--timeout", "60", f"http://{HOST}/body")
        curl = link.launch("ip", "netns", "exec", link.namespace, "stdbuf", "-oL", "curl",
                           "-sS", "-Z", "--connect-timeout", "1", "--parallel-immediate", "--parallel-max", str(CURL), "-o", "/dev/null",
                           "-w", "%{http_code}\n", f"http://{HOST}/none/[1-10000000]")
        return wrk, curl

    def established(self, link):
        """The client's established connections by the kernel's cookies (who was reset may come again
        from the same port), with the seconds since they have sent last where they wait for an ACK;
        None for those that wait for none."""
        listed = link.inside("ss", "-HtnieO", "state", "established", "dst", f"{HOST}:80").stdout
        return {re.search(r" sk:(\w+)", line)[1]:
                int(re.search(r"lastsnd:(\d+)", line)[1]) / 1000
                if int(line.split()[1]) > 0 and "lastsnd:" in line else None
                for line in listed.splitlines()}

    def wait_for(self, link, count):
        end = time.monotonic() + 30
        while len(self.established(link)) < count:
            self.assertLess(time.monotonic(), end, "the load has not come up")
            time.sleep(0.2)

    # --- SIGTERM

    def test_sigterm_under_a_thousand_connections_answers_all_that_was_acknowledged(self):
        link = self.link()
        server = link.serve("-q", "--drain", "20")
        ours = self.peers(link, "ask", HOST, OURS)
        self.assertEqual(ours.hear(), {"state": "asking"})
        wrk, curl = self.load(link)
        self.wait_for(link, WRK + CURL + OURS * 9 // 10)
        time.sleep(2)
        server.send_signal(signal.SIGTERM)
        began = time.monotonic()
        output = link.finished(server, 30)
        took = time.monotonic() - began
        heard = ours.hear()
        wrk.send_signal(signal.SIGINT)
        wrk_said = link.finished(wrk, 30)
        curl.send_signal(signal.SIGTERM)
        curl.wait(30)
        by_wrk = int(re.search(r"(\d+) requests in", wrk_said)[1])
        # Its progress shares the lines.
        by_curl = len(re.findall(r"404$", link.output(curl), re.M))
        served = interop.counters(output)
        print(f"\n  drained in {took:.2f} s; wrk {by_wrk}, curl {by_curl}, ours {heard}; "
              f"server {served}")
        self.assertIn("drained\n", output)
        self.assertEqual((heard["left"], heard["unanswered"]), (0, 0), heard)
        self.assertEqual(heard["acknowledged"], heard["answered"], heard)
        # What the server has taken for a request has arrived as an answer, everywhere.
        self.assertEqual(served["requests"], by_wrk + by_curl + heard["answered"])
        self.assertGreater(min(by_wrk, by_curl, heard["answered"]), 500)

    def test_what_is_left_at_the_deadline_is_reset_and_counted(self):
        link = self.link()
        server = link.serve("-q", "--drain", "2")
        half = "import socket,sys; s=socket.create_connection(('10.79.0.1',80)); s.send(b'GET /');" \
               "print('sent', flush=True)\ntry: s.recv(1)\nexcept ConnectionResetError: print('reset')"
        client = link.launch("ip", "netns", "exec", link.namespace, sys.executable, "-c", half)
        link.wait(lambda: "sent" in link.output(client), client)
        began = time.monotonic()
        server.send_signal(signal.SIGTERM)
        output = link.finished(server, 20, status=3)
        self.assertGreater(time.monotonic() - began, 1.9)
        self.assertRegex(output, "draining: 1 connections left, 0 of 2 s\n"
                                 "draining: 1 connections left, 1 of 2 s\n")
        self.assertIn("drained, but for 1 connections, which were reset\n", output)
        self.assertIn("reset", link.finished(client, 10))

    def test_a_second_signal_ends_the_wait(self):
        for second in (signal.SIGTERM, signal.SIGINT):
            link = self.link()
            server = link.serve("-q", "--drain", "60")
            half = "import socket,time; s=socket.create_connection(('10.79.0.1',80));" \
                   "s.send(b'GET /'); print('sent', flush=True); time.sleep(60)"
            client = link.launch("ip", "netns", "exec", link.namespace, sys.executable, "-c", half)
            link.wait(lambda: "sent" in link.output(client), client)
            server.send_signal(signal.SIGTERM)
            link.wait(lambda: "draining: 1" in link.output(server), server)
            server.send_signal(second)
            link.finished(server, 5, status=3)

    def test_drain_of_nothing_and_sigint_end_at_once_by_a_reset(self):
        for drain, by in (("0", signal.SIGTERM), ("60", signal.SIGINT)):
            link = self.link()
            server = link.serve("-q", "--drain", drain)
            peers = self.peers(link, "ask", HOST, 10)
            self.assertEqual(peers.hear(), {"state": "asking"})
            time.sleep(0.5)
            server.send_signal(by)
            link.finished(server, 5)
            heard = peers.hear()
            self.assertEqual(heard["how"], {"ConnectionResetError": 10}, heard)

    def test_a_server_that_nobody_hears_drains_all_the_same(self):
        half = """
import socket, time
for _ in range(100):
    try: s = socket.create_connection(("10.79.0.1", 80), timeout=20)
    except OSError: time.sleep(0.2)
    else: break
s.send(b"GET /")
print("sent", flush=True)
try: s.recv(1)
except ConnectionResetError: print("reset")
"""
        for log in ("/dev/full", ">(:)"):  # a disk that is full, a pipe whose reader has gone
            link = self.link()
            server = link.launch("bash", "-c", f'exec "$@" > {log} 2>&1', "bash",
                                 os.path.join(interop.BUILD, "apps", "millrace-httpd"), "-c",
                                 link.config(), "-q", "--drain", "2")
            client = link.launch("ip", "netns", "exec", link.namespace, sys.executable, "-c", half)
            link.wait(lambda: "sent" in link.output(client), client)
            server.send_signal(signal.SIGTERM)
            link.finished(server, 20, status=3)
            self.assertIn("reset", link.finished(client, 10))

    def test_echo_gives_back_what_it_has_acknowledged(self):
        link = self.link()
        server = link.start("millrace-echo", "-c", link.config(), "-p", "7", "--drain", "20")
        link.wait(lambda: "listening" in link.output(server), server)
        client = link.launch("ip", "netns", "exec", link.namespace, sys.executable, "-c", ECHO)
        link.wait(lambda: "saying" in link.output(client), client)
        time.sleep(0.5)
        server.send_signal(signal.SIGTERM)
        self.assertIn("drained\n", link.finished(server, 30))
        self.assertRegex(link.finished(client, 20), r"messages \d{3,} of 20, all")

    # --- SIGKILL

    def test_a_thousand_peers_are_reset_within_a_second_of_a_restart(self):
        link = self.link()
        server = link.serve("-q")
        ours = self.peers(link, "keep", HOST, OURS)
        self.assertEqual(ours.hear(), {"state": "kept"})
        wrk, curl = self.load(link)
        self.wait_for(link, WRK + CURL + OURS)
        time.sleep(1)
        before = self.established(link)
        server.kill()
        server.wait()
        start = time.monotonic()
        again = link.start("millrace-httpd", "-c", link.config(), "-q")
        time.sleep(max(0.0, start + 0.5 - time.monotonic()))
        ours.say("speak")
        time.sleep(max(0.0, start + 1 - time.monotonic()))
        after = self.established(link)
        passed = time.monotonic() - start
        heard = ours.hear()
        left = {peer: since for peer, since in after.items() if peer in before}
        print(f"\n  of {len(before)} connections {len(left)} are left {passed:.2f} s after the start; "
              f"ours: {heard['reset']} reset, the last {heard['last'] - start:.3f} s after it")
        self.assertGreaterEqual(len(before), WRK + CURL + OURS - 50)
        self.assertEqual(heard["reset"], OURS)
        self.assertLess(heard["last"] - start, 1.0)
        # Nobody has sent anything since ours did without being reset; who is left has backed off,
        # and is reset when he tries again.
        self.assertEqual([since for since in left.values()
                          if since is not None and since < passed - 0.55], [])
        link.wait(lambda: not any(peer in before and since is not None
                                  for peer, since in self.established(link).items()), again, 20)
        link.wait(lambda: "listening" in link.output(again), again)
        for process in (wrk, curl):
            process.kill()
        link.inside("curl", "-sS", "--max-time", "10", f"http://{HOST}/body")
        link.finish(again)

    def test_a_memif_server_that_was_killed_starts_again(self):
        folder = os.path.join(interop.WORK, "memif")
        os.makedirs(folder)
        path = os.path.join(folder, "m.sock")
        config = os.path.join(folder, "server.toml")
        with open(config, "w") as file:
            file.write(f'[[port]]\ndevice = "net_memif0,role=server,socket={path},'
                       'socket-abstract=no"\naddresses = ["10.80.0.1/24"]\n[[core]]\n'
                       'idle = "yield"\nidle_turns = 50\n')
        link = self.link()
        for _ in range(2):
            server = link.start("millrace-echo", "-c", config)
            link.wait(lambda: "listening" in link.output(server), server)
            self.assertTrue(os.path.exists(path))
            server.kill()
            server.wait()
        self.assertTrue(os.path.exists(path))


# Twenty connections that say message after message, each until the server ends it; none may be
# left without its echo.
ECHO = """
import select, socket, struct, threading
lock = threading.Lock()
messages = lost = done = 0
def talk(number):
    global messages, lost, done
    s = socket.create_connection(('10.79.0.1', 7), timeout=20)
    echoed = 0
    said = bytes(range(200)) * 3
    try:
        while True:
            s.sendall(said)
            got = b''
            while len(got) < len(said):
                data = s.recv(4096)
                if not data: raise EOFError
                got += data
            assert got == said
            echoed += 1
            # The end that comes with an echo ends it: nothing is said behind that.
            if select.select([s], [], [], 0)[0] and not s.recv(1, socket.MSG_PEEK): raise EOFError
    except (EOFError, ConnectionError):
        pass
    acked = struct.unpack_from('Q', s.getsockopt(6, 11, 256), 120)[0] - 1
    with lock:
        messages += echoed
        lost += acked // len(said) > echoed
        done += 1
threads = [threading.Thread(target=talk, args=(i,)) for i in range(20)]
for t in threads: t.start()
print('saying', flush=True)
for t in threads: t.join()
print(f"messages {messages} of {done},", "all" if lost == 0 else f"{lost} lost")
"""

if __name__ == "__main__":
    if os.geteuid() != 0:
        print("these tests need root: network namespaces and veth pairs")
        sys.exit(77)
    try:
        unittest.main(verbosity=2)
    finally:
        shutil.rmtree(interop.WORK, ignore_errors=True)
