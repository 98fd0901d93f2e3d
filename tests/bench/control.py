"""control - a relay with a million queued messages: its start, and how long
what administrators ask and change takes, as they type it (the program umbra
included); meanwhile how long the relay takes to greet somebody.

The messages are written into the store by fill.c, to 200 domains that cannot
be looked up; every tenth has an answer of its own on disk.
"""
import os
import re
import socket
import statistics
import subprocess
import sys
import threading
import time

from bench import ROOT, Umbra

LISTS = (
    ("first page, 100 rows", ["--limit", "100"]),
    ("first page, 1,000 rows", []),
    ("page in the middle, 100 rows", ["--limit", "100", "--after", "MIDDLE"]),
    ("filter in memory, all looked at, none fits", ["--where", "age > 10h"]),
    ("filter on the next hop, all looked at, none fits",
     ["--where", "next_hop == nowhere.example"]),
    ("memory decides first: last_error ~ x and age < 1s",
     ["--where", "last_error ~ timeout and age < 1s"]),
    ("filter on disk, all looked at, none fits",
     ["--where", "sender ~ nobody@*"]),
    ("--sort -size, 100 rows", ["--sort", "-size", "--limit", "100"]),
    ("--sort sender (disk), 100 rows",
     ["--sort", "sender", "--limit", "100"]),
)
BULK = (
    ("suspend one next hop's", ["message", "suspend", "--where",
                                "next_hop == d3.example"]),
    ("suspend all", ["message", "suspend", "--all"]),
    ("resume all", ["message", "resume", "--all"]),
    ("priority high for all", ["message", "priority", "high", "--all"]),
    ("remove one next hop's", ["message", "remove", "--where",
                               "next_hop == d3.example"]),
)


class Full(Umbra):
    name = "control"

    def setup(self):
        with open(os.path.join(self.dir, "umbra.yaml"), "w") as f:
            f.write("""node: { name: %s, data: %s/data }
receive_connectors:
%ssend_connectors: [ { name: out, address_spaces: ["*"] } ]
dns: { servers: ["127.0.0.1:9"], timeout: 200ms, tries: 1 }
queue: { retry: { glitch_interval: 1h, message_interval: 1h } }
control: { socket: %s/control.sock }
""" % (self.node, self.dir, self.connectors(), self.dir))

    def fill(self, n):
        exe = os.path.join(self.dir, "fill")
        subprocess.run(
            ["gcc", "-std=gnu11", "-O2", "-D_GNU_SOURCE", "-pthread", "-I.",
             "-o", exe, "tests/bench/fill.c", "build/release/libumbra.a",
             "-luv", "-lssl", "-lcrypto", "-llmdb", "-lcares", "-lyaml",
             "-ljansson", "-lidn2"], cwd=ROOT, check=True)
        subprocess.run([exe, os.path.join(self.dir, "data"), str(n)],
                       check=True)

    def type(self, *args):
        """Seconds, and what was said."""
        t = time.monotonic()
        p = subprocess.run(self.umbra(*args), capture_output=True, text=True,
                           check=False)
        if p.returncode:
            sys.exit("bench: umbra %s: %s" % (" ".join(args), p.stderr))
        return time.monotonic() - t, p.stdout

    def memory(self):
        with open("/proc/%d/status" % self.proc.pid) as f:
            return int(re.search(r"RssAnon:\s+(\d+)", f.read())[1])


class Greeted:
    """Connects all the time; keeps how long each greeting took."""

    def __init__(self, port):
        self.port, self.took, self.on = port, [], True
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while self.on:
            t = time.monotonic()
            with socket.create_connection(("127.0.0.1", self.port), 30) as s:
                s.recv(1000)
                self.took.append(time.monotonic() - t)
                s.sendall(b"QUIT\r\n")
                s.recv(1000)
            time.sleep(0.01)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.on = False
        self.thread.join()

    def worst(self):
        v = sorted(self.took)
        return statistics.median(v), v[int(len(v) * .99)] if v else 0


def row(what, seconds, more=""):
    print("%-52s %9.1f ms  %s" % (what, seconds * 1000, more), flush=True)


def measure_control(work, sink, o):
    n = 100000 if o.quick else 1000000
    s = Full(work, sink)
    os.makedirs(s.dir)
    s.setup()
    s.fill(n)
    t = time.monotonic()
    s.start()
    try:
        print("\n%d messages queued" % n)
        with socket.create_connection(("127.0.0.1", s.port), 60) as c:
            c.recv(1000)
        row("start, until somebody is greeted", time.monotonic() - t)
        print("%-52s %9d octets each" % (
            "memory", (s.memory() * 1024) // n))
        middle = s.type("message", "list", "--limit", str(n // 1000),
                        "--json")[1].splitlines()[-1]
        middle = re.search(r'"id":"(\w+)"', middle)[1]
        for what, args in LISTS:
            args = [middle if a == "MIDDLE" else a for a in args]
            took = [s.type("message", "list", *args)[0]
                    for _ in range(o.reps)]
            row(what, statistics.median(took))
        row("queue list --sort -age", s.type(
            "queue", "list", "--sort", "-age")[0])
        for what, args in BULK:
            with Greeted(s.port) as g:
                took, out = s.type(*args, "--yes")
            m, w = g.worst()
            row(what, took, "%s; greeting %.1f ms, 99%% %.1f ms" % (
                out.strip(), m * 1000, w * 1000))
    finally:
        s.stop()
