#!/usr/bin/env python3
"""Clients of a server that ends; the commands come line by line on standard input, answers in JSON.

    last_peer.py ask HOST COUNT      COUNT connections, one request after the other each, until the
                                     server ends them; counts what was acknowledged and answered
    last_peer.py keep HOST COUNT     COUNT kept-alive connections, silent after an answer; on "speak"
                                     each asks again, and says when it was reset
"""
import json
import resource
import selectors
import socket
import struct
import sys
import time

REQUEST = b"GET /body HTTP/1.1\r\nHost: last\r\n\r\n"
TCPI_BYTES_ACKED = 120  # offset in tcp_info, 64 bits


class Peer:
    """One connection. An answer's size is known once the first is there."""
    answer_size = None

    def __init__(self, host):
        self.socket = socket.create_connection((host, 80), timeout=20)
        self.socket.setblocking(False)
        self.asked = self.answered = 0
        self.waiting = False
        self.buffer = b""
        self.said_close = False
        self.ended = None   # how, once it has
        self.ended_at = None

    def ask(self):
        """What finds no way out was never asked."""
        try:
            if self.socket.send(REQUEST) == len(REQUEST):
                self.asked += 1
                self.waiting = True
        except OSError as error:
            self.end(type(error).__name__)

    def end(self, how):
        self.ended, self.ended_at = how, time.monotonic()
        # The SYN counts, too, and so may a FIN of ours: none was sent.
        info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        self.acked = struct.unpack_from("Q", info, TCPI_BYTES_ACKED)[0] - 1
        self.socket.close()

    def on_ready(self):
        """Whether a whole answer has come."""
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return False
        except OSError as error:
            self.end(type(error).__name__)
            return False
        if not data:
            self.end("closed")
            return False
        self.buffer += data
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return False
        length = int(self.buffer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        if len(self.buffer) < head + 4 + length:
            return False
        assert len(self.buffer) == head + 4 + length, "more than was asked for"
        assert self.buffer.startswith(b"HTTP/1.1 200"), self.buffer[:80]
        self.said_close = self.said_close or b"Connection: close" in self.buffer[:head]
        self.buffer = b""
        self.answered += 1
        self.waiting = False
        return True


def say(**what):
    print(json.dumps(what), flush=True)


def connect(host, count, ready):
    peers = [Peer(host) for _ in range(count)]
    for peer in peers:
        ready.register(peer.socket, selectors.EVENT_READ, peer)
        peer.ask()
    return peers


def ask(host, count):
    """Until the last connection has ended."""
    ready = selectors.DefaultSelector()
    peers = connect(host, count, ready)
    say(state="asking")
    left = len(peers)
    end = time.monotonic() + 60
    while left > 0 and time.monotonic() < end:
        for key, _ in ready.select(1):
            peer = key.data
            # Half of them pause for a while, so that some are idle when the server ends.
            if peer.on_ready() and not peer.said_close:
                if peer.socket.fileno() % 2 or peer.answered % 100:
                    peer.ask()
            if peer.ended:
                left -= 1
                ready.unregister(key.fileobj)
    # Whole requests that were acknowledged, and what became of them.
    acknowledged = [peer.acked // len(REQUEST) for peer in peers if peer.ended]
    say(connections=len(peers), left=left, asked=sum(p.asked for p in peers),
        acknowledged=sum(acknowledged), answered=sum(p.answered for p in peers),
        unanswered=sum(max(0, a - p.answered) for a, p in
                       zip(acknowledged, (p for p in peers if p.ended))),
        told=sum(p.said_close for p in peers),
        how={how: sum(p.ended == how for p in peers) for how in {p.ended for p in peers}})


def keep(host, count):
    ready = selectors.DefaultSelector()
    peers = connect(host, count, ready)
    while any(peer.waiting for peer in peers):
        for key, _ in ready.select(20):
            key.data.on_ready()
    say(state="kept")
    assert sys.stdin.readline() == "speak\n"
    begin = time.monotonic()
    for peer in peers:
        peer.ask()
    end = begin + 20
    while time.monotonic() < end and any(not peer.ended for peer in peers):
        for key, _ in ready.select(0.2):
            key.data.on_ready()
            if key.data.ended:
                ready.unregister(key.fileobj)
    times = [peer.ended_at for peer in peers if peer.ended]
    say(reset=sum(peer.ended == "ConnectionResetError" for peer in peers), spoke=begin,
        last=max(times, default=None))


def main():
    what, host, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
    {"ask": ask, "keep": keep}[what](host, count)


if __name__ == "__main__":
    main()
