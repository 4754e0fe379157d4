#!/usr/bin/env python3
"""The kernel's end of a measurement: plain sockets that check every byte; one line of JSON.

    peer.py fetch HOST PATH FILE SECONDS         the body of GET PATH, as far as it comes in time
    peer.py echo PORT                            an echo server
    peer.py ask HOST PORT SIZE COUNT SECONDS     COUNT connections ask an echo server, over and over
"""
import json
import mmap
import selectors
import socket
import sys
import time

BUFFER = 256 * 1024


def fetch(host, path, file, seconds):
    """As many bytes as come; the end of the answer or of the time ends it."""
    with open(file, "rb") as opened:
        wanted = memoryview(mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ))
    begin = time.monotonic()
    end = begin + seconds
    got, exact, header = 0, True, b""
    buffer = bytearray(BUFFER)
    view = memoryview(buffer)
    try:
        with socket.create_connection((host, 80), timeout=seconds) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            while exact and got < len(wanted) and (left := end - time.monotonic()) > 0:
                connection.settimeout(left)
                size = connection.recv_into(buffer)
                if size == 0:
                    break
                data = view[:size]
                if b"\r\n\r\n" not in header:
                    header += bytes(data)
                    data = memoryview(header[header.find(b"\r\n\r\n") + 4:]) \
                        if b"\r\n\r\n" in header else memoryview(b"")
                exact = data == wanted[got:got + len(data)]
                got += len(data)
    except TimeoutError:
        pass
    return {"bytes": got, "seconds": min(time.monotonic() - begin, seconds), "exact": exact}


def listen(port):
    listener = socket.create_server(("", port), backlog=128)
    listener.setblocking(False)
    return listener


def echo(port):
    listener = listen(port)
    print("listening", flush=True)
    ready = selectors.DefaultSelector()
    ready.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in ready.select():
            if key.fileobj is listener:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                ready.register(connection, selectors.EVENT_READ)
                continue
            try:
                data = key.fileobj.recv(BUFFER)
                # Never more than a message is under way: it always fits.
                key.fileobj.sendall(data)
            except OSError:
                data = b""
            if not data:
                ready.unregister(key.fileobj)
                key.fileobj.close()


class Asker:
    """One connection, with one message under way."""

    def __init__(self, host, port, message):
        self.message = message
        self.socket = socket.socket()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.socket.connect_ex((host, port))
        self.got = None

    def ask(self):
        self.got = 0
        self.socket.sendall(self.message)

    def on_ready(self):
        """Whether an answer is complete. A wrong byte is an AssertionError."""
        data = self.socket.recv(len(self.message) + 1)
        assert data and data == self.message[self.got:self.got + len(data)], "not the echo"
        self.got += len(data)
        return self.got == len(self.message)


def ask(host, port, size, count, seconds):
    ready = selectors.DefaultSelector()
    begin = time.monotonic()
    end = begin + seconds
    for i in range(count):
        asker = Asker(host, port, bytes((i + j) % 251 for j in range(size)))
        ready.register(asker.socket, selectors.EVENT_WRITE, asker)
    answers = 0
    while (left := end - time.monotonic()) > 0:
        for key, _ in ready.select(left):
            asker = key.data
            if asker.got is None:  # connected
                ready.modify(asker.socket, selectors.EVENT_READ, asker)
                asker.ask()
            elif asker.on_ready():
                answers += 1
                asker.ask()
    return {"answers": answers, "seconds": time.monotonic() - begin, "exact": True}


def main():
    what, *rest = sys.argv[1:]
    if what == "fetch":
        print(json.dumps(fetch(rest[0], rest[1], rest[2], float(rest[3]))))
    elif what == "echo":
        echo(int(rest[0]))
    elif what == "ask":
        print(json.dumps(ask(rest[0], int(rest[1]), int(rest[2]), int(rest[3]), float(rest[4]))))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
