#!/usr/bin/env python3
"""Plain servers and clients, to be recorded beside `sockflow storm`; see README.md."""
import socket
import sys
import threading
import time

WEB, API, DB = ("127.0.0.1", 8080), ("::1", 8443), ("127.0.0.1", 5432)


def family(address):
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


def serve(address, stop):
    listener = socket.socket(family(address))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen(64)
    listener.settimeout(0.1)
    kept = []
    while not stop.is_set():
        try:
            peer, _ = listener.accept()
        except TimeoutError:
            continue
        peer.settimeout(1)
        word = peer.recv(16)
        if word == b"keep":
            kept.append(peer)
            continue
        if word == b"reset":
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        else:
            peer.sendall(b"done")
        peer.close()
    for peer in kept:
        peer.close()


def ask(address, word):
    client = socket.socket(family(address))
    client.settimeout(2)
    client.connect(address)
    client.sendall(word)
    if word != b"keep":
        try:
            while client.recv(16):
                pass
        except ConnectionResetError:
            pass
        client.close()
    return client


def be(name):
    with open("/proc/self/comm", "w", encoding="ascii") as comm:
        comm.write(name)


if sys.argv[1] == "serve":
    be("web-server")
    stop = threading.Event()
    threads = [threading.Thread(target=serve, args=(it, stop)) for it in (WEB, API, DB)]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stop.set()
else:
    be("worker")
    kept = [ask(DB, b"keep") for _ in range(4)]
    sys.stdin.readline()
    for number in range(160):
        for address, every in ((WEB, 1), (API, 2), (DB, 4)):
            if number % every == 0:
                ask(address, b"reset" if number % 8 == 4 else b"plain")
        time.sleep(0.02)
    kept += [ask(DB, b"keep") for _ in range(3)]
    sys.stdin.read()
