"""pair - one node beside two that hold copies for one another.

"one" is a single node with shadow: off. "pair" is node A, whose connector has
shadow: require, and its peer B, linked with TLS over loopback. Rounds go one,
pair, one, pair. A round ends when the sink has everything and no copy is left
on any node. Ratios are pair to one.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import time

from bench import ROOT, Table, Umbra, flushes, free_port, others, source

PARTS = ["rates", "latency", "large", "stopped"]

PEER = """shadow:
  listen: "127.0.0.1:%d"
  cert: %s/%s.pem
  key: %s/%s.key
  ca: %s/shadow-ca.pem
  peers: [{ name: %s, address: "127.0.0.1:%d" }]
"""


class Node(Umbra):
    def __init__(self, work, sink, name, shadow):
        self.name, self.node = name, name.lower() + ".bench.example"
        super().__init__(work, sink)
        self.keys, self.shadow, self.peer = work, shadow, None
        self.off_port, self.listen = free_port(), free_port()

    def connectors(self):
        return (self.connector("in", self.port,
                               "    shadow: %s\n" % self.shadow) +
                self.connector("off", self.off_port, "    shadow: off\n"))

    def more(self):
        if not self.peer:
            return ""
        k = self.keys
        return PEER % (self.listen, k, self.node, k, self.node, k,
                       self.peer.node, self.peer.listen)

    def status(self):
        out = subprocess.run(self.umbra("status", "--json"), check=True,
                             stdout=subprocess.PIPE)
        return json.loads(out.stdout.splitlines()[0])

    def resident(self, zero=False):
        """Most memory since it was set to nought, in MiB."""
        if zero:
            with open("/proc/%d/clear_refs" % self.proc.pid, "w") as f:
                f.write("5")
        with open("/proc/%d/status" % self.proc.pid) as f:
            v = dict(line.split(":", 1) for line in f if ":" in line)
        return int(v["VmHWM"].split()[0]) / 1024


class Setup:
    """What is measured: the nodes, of which mail goes to the first."""

    def __init__(self, name, nodes):
        self.name, self.nodes, self.first = name, nodes, nodes[0]
        self.port, self.sink = nodes[0].port, nodes[0].sink

    def empty(self):
        end = time.monotonic() + 30
        while any(n.status()["messages"] for n in self.nodes):
            if time.monotonic() > end:
                sys.exit("bench: copies stay on %s" % self.name)
            time.sleep(0.05)

    def commits(self):
        return [n.status()["commits"] for n in self.nodes]

    def cpu(self):
        return [n.group.cpu() for n in self.nodes]


class Pair:
    def __init__(self, work, sink, o):
        one = Node(work, sink, "one", "off")
        a = Node(work, sink, "A", "require")
        b = Node(work, sink, "B", "require")
        a.peer, b.peer = b, a
        subprocess.run([os.path.join(ROOT, "build/umbra"), "shadow", "keygen",
                        a.node, b.node, "--dir", work], check=True,
                       stdout=subprocess.DEVNULL)
        self.a, self.b, self.sink, self.o = a, b, sink, o
        self.keys = work
        self.probe = os.path.join(work, "probe")
        subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", "-o", self.probe,
                        os.path.join(ROOT, "tests/bench/probe.c"), "-llmdb"],
                       check=True)
        self.one, self.pair = Setup("one", [one]), Setup("pair", [a, b])
        self.table = Table("pair", "one")

    def start(self):
        for n in self.one.nodes + self.pair.nodes:
            n.fresh()
        time.sleep(1)
        for s in (self.one, self.pair):
            self.sink.zero()
            source(s, 400, 4, 4096, True)
            self.sink.wait(400, 30)
            s.empty()

    def stop(self):
        for n in self.one.nodes + self.pair.nodes:
            n.stop()

    def add(self, what, s, value):
        self.table.add(what, s.name, value)

    def ask_probe(self, *args):
        out = subprocess.run([self.probe] + [str(a) for a in args],
                             stdout=subprocess.PIPE, check=True)
        return [float(v) for v in out.stdout.split()]

    def costs(self, what, s, n, before):
        cpu, commits, fl, foreign = before
        names = [""] if len(s.nodes) == 1 else [" A", " B"]
        for name, was, now in zip(names, cpu, s.cpu()):
            self.add("%s, CPU us/message%s" % (what, name), s,
                     (now - was) * 1e6 / n)
        for name, was, now in zip(names, commits, s.commits()):
            self.add("%s, commits/message%s" % (what, name), s, (now - was) / n)
        self.add(what + ", disk flushes/message", s,
                 (flushes(s.first.dir) - fl) / n)
        self.add(what + ", CPUs others used", s, foreign())

    def before(self, s):
        groups = [n.group for n in s.nodes]
        return (s.cpu(), s.commits(), flushes(s.first.dir),
                others(groups, self.sink))

    def round(self, what, s, n, sessions, size, keep):
        self.sink.zero()
        before = self.before(s)
        begin = time.monotonic_ns()
        took = source(s, n, sessions, size, keep)
        got, _, last, _, _ = self.sink.wait(n, 60)
        if got != n:
            sys.exit("bench: %s relayed %d of %d" % (s.name, got, n))
        s.empty()
        self.add(what + ", accepted/s", s, n / took)
        self.add(what + ", relayed/s", s, n / ((last - begin) / 1e9))
        self.costs(what, s, n, before)

    def count(self, n):
        return n // 4 if self.o.quick else n

    def rates(self):
        for what, sessions, keep, many in (
                ("50 sessions kept", 50, True, (20000, 10000)),
                ("50 sessions, one each", 50, False, (8000, 5000)),
                ("1 session kept", 1, True, (2000, 1500))):
            for _ in range(self.o.reps):
                for s, n in zip((self.one, self.pair), many):
                    self.round(what, s, self.count(n), sessions, 4096, keep)

    def commit(self, n, name):
        d = os.path.join(self.keys, name)
        os.makedirs(d)
        argv = [self.probe, "commit", d, str(n), "4096"]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True), d

    def commits(self, beside):
        """A commit alone, or with another process that commits all the time."""
        other = self.commit(1500, "other") if beside else None
        p, d = self.commit(500, "this")
        v = [float(x) for x in p.communicate()[0].split()]
        shutil.rmtree(d)
        if other:
            other[0].communicate()
            shutil.rmtree(other[1])
        return v

    def limits(self):
        for what, v in (
                ("a round trip on loopback", self.ask_probe("loopback", 5000)),
                ("a commit", self.commits(False)),
                ("a commit beside another's", self.commits(True))):
            self.add("us, " + what, self.one, v[0])
            self.add("us, " + what + ", p99", self.one, v[1])

    def latency(self):
        n = self.count(2000)
        for _ in range(self.o.reps):
            reply = []
            for s in (self.one, self.pair):
                r = self.ask_probe("session", s.port, n, 4096)
                reply.append(r[0])
                for name, v in zip(("reply to data", "reply to data, p99",
                                    "whole message", "whole message, p99"), r):
                    self.add("1 session, us, " + name, s, v)
                s.empty()
            self.add("1 session, us, more than one", self.pair,
                     reply[1] - reply[0])
            self.limits()

    def large(self):
        n = self.count(200)
        for _ in range(self.o.reps):
            for s in (self.one, self.pair):
                for node in s.nodes:
                    node.resident(zero=True)
                self.round("1 MiB, 50 sessions", s, n, 50, 1 << 20, False)
                for node in s.nodes:
                    self.add("1 MiB, peak MiB resident, " + node.name, s,
                             node.resident())
                reply = self.ask_probe("session", s.port, self.count(60),
                                       1 << 20)[0]
                self.add("1 MiB, 1 session, us, reply to data", s, reply)
                s.empty()

    def off_rate(self, what, n):
        class Off:
            port = self.a.off_port
        self.sink.zero()
        took = source(Off, n, 50, 4096, False)
        self.add("shadow: off on A, accepted/s" + what, self.pair, n / took)
        self.sink.wait(n, 30)

    def stopped(self):
        """B stands still with A's mail for it on the way."""
        n = self.count(6000)
        for _ in range(self.o.reps):
            self.a.resident(zero=True)
            self.off_rate(", B runs", n)
            os.kill(self.b.proc.pid, signal.SIGSTOP)
            held = subprocess.Popen(
                ["smtp-source", "-s", "40", "-m", "40", "-l", str(1 << 20),
                 "-f", "s@a.example", "-t", "r@b.example",
                 "127.0.0.1:%d" % self.a.port])
            time.sleep(0.5)
            self.off_rate(", B stopped", n)
            if held.poll() is not None:
                sys.exit("bench: acknowledged without its peer")
            os.kill(self.b.proc.pid, signal.SIGCONT)
            if held.wait(30) != 0:
                sys.exit("bench: what waited for B was refused")
            self.add("shadow: off on A, peak MiB resident", self.pair,
                     self.a.resident())
            self.pair.empty()


def measure_pair(work, sink, o):
    p = Pair(work, sink, o)
    try:
        p.start()
        for what in o.parts:
            print("bench: pair, %s" % what, file=sys.stderr)
            getattr(p, what)()
    finally:
        p.stop()
    p.table.show()
