#!/usr/bin/env python3
"""The kernel's end of the soak: clients of an echo server that compare every byte.

    soak_peer.py HOST... --clients N --seed N
Standard input: `hog N` opens N connections that say much and read nothing, until `free`; `quiet`
lets those under way end, `go on` starts anew; its end ends the clients. A line of JSON a second:
what has happened so far."""
import argparse
import json
import os
import random
import select
import socket
import struct
import sys
import threading
import time

PORT = 7
NOISE = os.urandom(1 << 22)
TCP_USER_TIMEOUT = 18
WORLD = {"go": threading.Event(), "hogs": threading.Event(), "over": threading.Event()}
COUNTS = {"exchanges": 0, "bytes": 0, "ended": 0, "reset": 0, "lost": 0, "refused": 0, "wrong": 0}
LOCK = threading.Lock()


def count(what, number=1):
    with LOCK:
        COUNTS[what] += number


class Wrong(Exception):
    pass


def exchange(link, said, slow, patience=60):
    """Says and hears at once; what comes back has to be what was said."""
    out, heard, end = 0, 0, time.monotonic() + patience
    poll = select.poll()
    while heard < len(said):
        if time.monotonic() > end:
            raise TimeoutError
        poll.register(link, select.POLLIN | (select.POLLOUT if out < len(said) else 0))
        for _, event in poll.poll(1000):
            if event & select.POLLOUT:
                try:
                    out += link.send(said[out:out + 65536])
                except BlockingIOError:
                    pass
            if event & ~select.POLLOUT:
                try:
                    data = link.recv(2048 if slow else 262144)
                except BlockingIOError:
                    continue
                if not data or data != said[heard:heard + len(data)]:
                    if not data:
                        raise ConnectionResetError  # an end that nobody asked for
                    raise Wrong
                heard += len(data)
                if slow:
                    time.sleep(0.005)
                    end += 0.005
    count("bytes", len(said))
    count("exchanges")


def end_of(link, how):
    """In order: half closed, and everything that was said has come back. Or a reset."""
    if how == "reset":
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        link.send(NOISE[:3000])
        return
    if how == "order":
        link.shutdown(socket.SHUT_WR)
        link.settimeout(60)
        if link.recv(1):
            raise Wrong
        count("ended")


def connected(host):
    link = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    link.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, 45000)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    link.settimeout(45)
    try:
        link.connect((host, PORT))
    except BaseException:
        link.close()
        raise
    link.setblocking(False)
    return link


def client(hosts, dice):
    while not WORLD["over"].is_set():
        if not WORLD["go"].wait(0.2):
            continue
        try:
            with connected(dice.choice(hosts)) as link:
                slow = dice.random() < 0.05
                for _ in range(dice.choice((1, 1, 3, 30, 300))):
                    if not WORLD["go"].is_set():
                        break
                    size = 1 + int(min(dice.expovariate(1 / 20000), 400_000))
                    at = dice.randrange(len(NOISE) - size)
                    exchange(link, memoryview(NOISE)[at:at + size], slow and size < 50_000)
                    if dice.random() < 0.02:
                        time.sleep(dice.random() * 3)
                end_of(link, dice.choice(("order", "order", "order", "reset")))
        except Wrong:
            count("wrong")
        except ConnectionRefusedError:
            count("refused")
        except (ConnectionResetError, BrokenPipeError):
            count("reset")
        except OSError:
            count("lost")
        time.sleep(dice.random() * 0.2)


def hog(host):
    """Says megabytes and reads nothing, then everything."""
    try:
        with connected(host) as link:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            out = 0
            while WORLD["hogs"].is_set() and not WORLD["over"].is_set():
                try:
                    if out < len(NOISE):
                        out += link.send(NOISE[out:out + 65536])
                except BlockingIOError:
                    pass
                time.sleep(0.02)
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            exchange_rest(link, out)
    except Wrong:
        count("wrong")
    except OSError:
        count("lost")


def exchange_rest(link, out):
    link.settimeout(90)
    link.shutdown(socket.SHUT_WR)
    heard = 0
    while data := link.recv(262144):
        if data != NOISE[heard:heard + len(data)]:
            raise Wrong
        heard += len(data)
    if heard != out:
        raise Wrong
    count("bytes", heard)
    count("ended")


def main():
    options = argparse.ArgumentParser()
    options.add_argument("host", nargs="+")
    options.add_argument("--clients", type=int, default=48)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    WORLD["go"].set()
    threads = [threading.Thread(target=client, args=(chosen.host, random.Random(chosen.seed + i)))
               for i in range(chosen.clients)]
    for thread in threads:
        thread.start()
    poll = select.poll()
    poll.register(sys.stdin, select.POLLIN)
    told = time.monotonic()
    while True:
        if poll.poll(max(0, (told + 1 - time.monotonic()) * 1000)):
            words = sys.stdin.readline().split()
            if not words:
                break
            if words[0] == "hog":
                WORLD["hogs"].set()
                for i in range(int(words[1])):
                    threads.append(threading.Thread(target=hog,
                                                    args=(chosen.host[i % len(chosen.host)],)))
                    threads[-1].start()
            elif words[0] == "free":
                WORLD["hogs"].clear()
            elif words[0] == "quiet":
                WORLD["go"].clear()
            elif words[0] == "go":
                WORLD["go"].set()
        if time.monotonic() >= told + 1:
            told = time.monotonic()
            with LOCK:
                print(json.dumps(COUNTS), flush=True)
    WORLD["over"].set()
    WORLD["hogs"].clear()
    for thread in threads:
        thread.join()
    print(json.dumps(COUNTS), flush=True)


if __name__ == "__main__":
    main()
