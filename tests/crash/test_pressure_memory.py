"""Memory, slow commits and load: what the relay does until it is over, with the
ledger.

The control group's limit is a file that the test writes: /sys/fs/cgroup is a
directory of the test's in the relay's mount namespace (root only). So the
limit comes and goes as it would in a container, without the kernel's ending
the process. One test is with a group of the kernel's, which does end it.
"""
import json
import os
import random
import re
import subprocess
import time

import pytest

from ledger import Ledger
from node import (BINARY, Hop, Node, Sender, config, message, quick, send_some,
                  submit)
from smtp import Smtp
from wait import until

MIB = 1 << 20
NEW = ["a@one.test"]


def conf(*ports, **pressure):
    c = config(*ports)
    c["back_pressure"] = {"interval": "100ms", **pressure}
    c["accepted_domains"] = [{"name": "one.test"}]
    return c


def meter(n, name):
    rows = map(json.loads, n.cli("pressure", "--json").splitlines())
    return next(r for r in rows if r["meter"] == name)


def at(n, name, level):
    until(lambda: meter(n, name)["level"] == level,
          text=lambda: f"{meter(n, name)}\n{n.tail(10)}")
    return meter(n, name)


def mail_from(n, door):
    with Smtp("127.0.0.1", n.port(door)) as c:
        c.ehlo()
        return c.cmd("MAIL FROM:<x@sender.test>")


def refused(n, door, words):
    r = mail_from(n, door)
    assert r.code == 452 and words in r.lines[0], r


def own(n):
    return int(float(meter(n, "memory")["why"].split()[0]) * MIB)


# --- a control group's limit -------------------------------------------------

class Group:
    """What /sys/fs/cgroup says to the relay."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder)
        self.say(limit=None, used=0)

    def say(self, limit, used, cache=0, high=None):
        for name, text in (("max", "max" if limit is None else limit),
                           ("high", "max" if high is None else high),
                           ("current", used + cache),
                           ("stat", f"anon {used}\nfile {cache}\n"
                            f"inactive_file {cache // 4 * 3}\n"
                            f"active_file {cache - cache // 4 * 3}\n")):
            path = f"{self.folder}/memory.{name}"
            with open(path + ".new", "w", encoding="ascii") as f:
                f.write(f"{text}\n")
            os.rename(path + ".new", path)


@pytest.fixture
def grouped(tmp_path):
    """A relay, not started, and the group that it believes to be in."""
    ledger = Ledger()
    hop = Hop(ledger)
    n = Node(ledger, [hop], conf(hop.port, memory={
        "medium": "40%", "high": "80%", "internal": "95%",
        "back_to_medium": "60%", "back_to_normal": "30%", "history": 3}))
    os.makedirs(n.data)
    group = Group(str(tmp_path / "group"))
    holder = subprocess.Popen(
        ["unshare", "-m", "sh", "-c",
         'mount --bind "$0" /sys/fs/cgroup && echo "0::/" > "$1" && '
         'echo ok && exec sleep 600', group.folder,
         str(tmp_path / "cgroup")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        if holder.stdout.readline() != b"ok\n":
            pytest.skip("no mount namespace here: " +
                        holder.stderr.read().decode())
        with open("/proc/self/cgroup", encoding="ascii") as f:
            if not any(x.startswith("0::/") for x in f):
                pytest.skip("no control groups of version 2 here")
        n.holder = holder.pid
        yield n, hop, group
    finally:
        n.discard()
        hop.close()
        holder.kill()
        holder.wait()
        holder.stdout.close()
        holder.stderr.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts")
class TestGroup:
    def test_full_group_drops_what_is_cached_and_refuses_nothing(
            self, grouped):
        """Others in the group may have taken it. File pages do not count."""
        n, hop, group = grouped
        group.say(limit=1000 * MIB, used=100 * MIB, cache=890 * MIB)
        n.start()
        assert meter(n, "system_memory")["level"] == "normal"
        hop.close_gate()
        send_some(n.port("relay"), n.ledger, "c", 20, 20000, NEW)
        kept = json.loads(n.cli("status", "--json"))["memory_used"]
        assert kept > 20 * 20000 / 2
        group.say(limit=1000 * MIB, used=950 * MIB)
        row = at(n, "system_memory", "high")
        assert row["off"] == "drop bodies"
        until(lambda: json.loads(n.cli("status", "--json"))[
            "memory_used"] < kept / 4)
        assert mail_from(n, "inbound").code == 250
        hop.open_gate()  # they are read from the disk again
        n.drained()
        group.say(limit=1000 * MIB, used=100 * MIB)
        at(n, "system_memory", "normal")
        n.stop()
        assert n.ledger.verify() == {}

    def test_above_memory_high_is_above_the_limit(self, grouped):
        """There the kernel slows a group down until it uses less."""
        n, _, group = grouped
        n.start()
        group.say(limit=1000 * MIB, high=100 * MIB, used=95 * MIB)
        row = at(n, "system_memory", "high")
        assert "control group 95.0 MiB of 100.0 MiB" in row["why"]
        assert " of 100.0 MiB" in meter(n, "memory")["why"]
        group.say(limit=100 * MIB, high=1000 * MIB, used=10 * MIB)
        row = at(n, "system_memory", "normal")
        assert "control group 10.0 MiB of 100.0 MiB" in row["why"]
        group.say(limit=None, high=200 * MIB, used=10 * MIB)
        until(lambda: "control group 10.0 MiB of 200.0 MiB" in meter(
            n, "system_memory")["why"])
        n.stop()

    def test_swapped_pages_are_used(self, grouped, tmp_path):
        """What the kernel has put aside is still the process's."""
        n, _, group = grouped
        n.start()
        group.say(limit=10000 * MIB, used=0)
        before = own(n)
        told = tmp_path / "status"
        told.write_text("Name:\tumbrad\nVmRSS:\t 1 kB\nVmSwap:\t"
                        f"{3000 * 1024} kB\n", encoding="ascii")
        r = subprocess.run(
            ["nsenter", "-t", str(n.holder), "-m", "mount", "--bind",
             str(told), f"/proc/{n.proc.pid}/status"], check=False,
            capture_output=True, text=True)
        if r.returncode:
            pytest.skip("cannot mount over /proc here: " + r.stderr)
        until(lambda: own(n) > before + 2500 * MIB,
              text=lambda: f"{meter(n, 'memory')}")
        n.stop()

    def test_own_memory_above_the_limit(self, grouped):
        """Outside is refused; then nobody is read from, but ours may begin;
        then everybody is refused. What is queued is delivered, and when there
        is memory again all goes on: also the client that was in the middle of
        a message."""
        n, hop, group = grouped
        n.start()
        hop.close_gate()
        send_some(n.port("relay"), n.ledger, "q", 20, 20000, NEW)
        group.say(limit=own(n) * 2, used=0)
        row = at(n, "memory", "medium")
        until(lambda: "outside" in (meter(n, "memory")["off"] or ""))
        refused(n, "inbound", "(memory)")
        middle = Smtp("127.0.0.1", n.port("relay"))
        middle.ehlo()
        body = message("mid", 200000, random.Random(3))
        n.ledger.send("mid", NEW, body)
        for line in ("MAIL FROM:<mid@sender.test>", f"RCPT TO:<{NEW[0]}>"):
            middle.ok(line)
        middle.ok("DATA", 354)
        wire = re.sub(rb"(?m)^\.", b"..", body)
        middle.send(wire[:1000])
        group.say(limit=int(own(n) / 0.87), used=0)
        row = at(n, "memory", "high")
        assert "stop reading" in row["off"] and "internal" not in row["off"]
        assert mail_from(n, "relay").code == 250
        refused(n, "inbound", "(memory)")
        group.say(limit=own(n), used=0)
        row = until(lambda: "internal" in meter(n, "memory")["off"])
        refused(n, "relay", "(memory)")
        refused(n, "inbound", "(memory)")
        hop.open_gate()
        n.drained()  # deliveries go on
        group.say(limit=None, used=0)
        at(n, "memory", "normal")
        middle.send(wire[1000:], b".\r\n")
        r = middle.reply()
        n.ledger.answer("mid", r.code, r.lines[-1], NEW)
        assert r.code == 250
        middle.close()
        send_some(n.port("inbound"), n.ledger, "again", 3, 3000, NEW)
        n.drained()
        n.stop()
        assert n.ledger.verify() == {}


# --- a control group of the kernel's ------------------------------------------

class KernelGroup:
    """A control group with so much memory, of either version."""
    FILES = {1: ("memory.limit_in_bytes", "memory.oom_control"),
             2: ("memory.max", "memory.events")}

    def __init__(self, size):
        self.path, self.version = self.find()
        limit, self.events = self.FILES[self.version]
        try:
            os.mkdir(self.path)
            self.write(limit, size)
        except OSError as e:
            self.close()
            pytest.skip(f"no control group can be made here: {e}")

    @staticmethod
    def find():
        name = f"umbra-test-{os.getpid()}"
        if os.path.exists("/sys/fs/cgroup/memory/memory.limit_in_bytes"):
            return f"/sys/fs/cgroup/memory/{name}", 1
        with open("/proc/self/cgroup", encoding="ascii") as f:
            own = next((x.strip()[3:] for x in f if x.startswith("0::")), "/")
        return os.path.normpath(f"/sys/fs/cgroup{own}/{name}"), 2

    def write(self, name, value):
        with open(f"{self.path}/{name}", "w", encoding="ascii") as f:
            f.write(str(value))

    def kills(self):
        with open(f"{self.path}/{self.events}", encoding="ascii") as f:
            return int(re.search(r"(?m)^oom_kill (\d+)", f.read())[1])

    def enter(self):
        """What starts a program in it."""
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"',
                f"{self.path}/cgroup.procs"]

    def close(self):
        if os.path.isdir(self.path):
            until(self.empty, text="processes stay in the group")

    def empty(self):
        try:
            os.rmdir(self.path)
        except OSError:
            return False
        return True


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: control groups")
@pytest.mark.skipif(quick() == BINARY, reason="needs make MODE=release all: "
                    "the sanitizer's memory would be in the group too")
def test_the_kernel_never_ends_it_for_its_memory():
    """A group of 48 MiB. First there is more to cache than that: nobody is
    refused, the cache makes room. Then there is more of half received messages
    than the half for bodies: no more may begin, and when some clients give up
    the others go on. It lives, and delivers all."""
    ledger = Ledger()
    hop = Hop(ledger)
    n = Node(ledger, [hop], conf=conf(hop.port), binary=quick())
    group = KernelGroup(48 * MIB)
    n.prefix = group.enter()
    half = []
    try:
        n.start()
        row = meter(n, "memory")
        assert "of 48.0 MiB" in row["why"], row
        status = json.loads(n.cli("status", "--json"))
        assert status["memory_limit"] == 24 * MIB
        hop.close_gate()
        send_some(n.port("relay"), ledger, "c", 3000, 20000, NEW)
        for i in range(800):
            c = Smtp("127.0.0.1", n.port("relay"))
            c.ehlo()
            token = f"h{i}"
            r = c.cmd(f"MAIL FROM:<{token}@sender.test>")
            if r.code != 250:
                c.close()
                break
            body = message(token, 60000, random.Random(i))
            c.ok(f"RCPT TO:<{NEW[0]}>")
            c.ok("DATA", 354)
            ledger.send(token, NEW, body)
            wire = re.sub(rb"(?m)^\.", b"..", body)
            c.send(wire[:-1000])
            half.append((c, token, wire[-1000:]))
        assert r.code == 452 and "memory" in r.lines[0], r
        assert len(half) * 60000 > 12 * MIB
        for c, _, _ in half[::2]:
            c.close()
        for c, token, rest in half[1::2]:
            c.send(rest, b".\r\n")
            r = c.reply()
            ledger.answer(token, r.code, r.lines[-1], NEW)
            assert r.code == 250, r
        hop.open_gate()
        n.drained()
        at(n, "memory", "normal")
        assert group.kills() == 0
        n.stop()
        assert ledger.verify() == {}
    finally:
        for c, _, _ in half:
            c.close()
        n.discard()
        hop.close()
        group.close()


# --- commits are slow --------------------------------------------------------

def test_slow_commits(faults):
    """fdatasync takes longer and longer: MAIL is late, outside is refused, at
    last everybody, and nothing is sent; when the disk is itself again
    everything is, and mail is taken."""
    ledger = Ledger()
    hop = Hop(ledger)
    c = conf(hop.port, commit={
        "medium": "200ms", "high": "900ms", "internal": "1800ms",
        "back_to_medium": "500ms", "back_to_normal": "100ms", "history": 2},
        delay={"step": "0s"})
    n = Node(ledger, [hop], conf=c, faults=faults)
    try:
        n.start(faults=True)
        n.control.armed = 1
        inside = [Sender(f"i{k}", n.port("relay"), ledger, random.Random(k),
                         lambda rng: (NEW, 1500)) for k in range(3)]
        outside = Sender("o", n.port("inbound"), ledger, random.Random(9),
                         lambda rng: (NEW, 1500), pause=0.05)
        n.wait("message.done", count=5)
        # 300 ms each: medium, and then for its history.
        n.control.delay_ms = 300
        n.wait("pressure.changed", resource="commit", to="medium",
               off="outside, pickup, delay")
        until(lambda: any(s.code == 452 for t, s in list(ledger.sent.items())
                          if t.startswith("o")))
        # A second: high. Nothing goes out, ours is taken on.
        n.control.delay_ms = 1100
        n.wait("pressure.changed", resource="commit", to="high")
        row = n.wait("pressure.changed", resource="commit",
                     off="outside, pickup, copies, delay, stop outbound")
        assert "internal" not in row["off"]
        # Two: everybody.
        n.control.delay_ms = 2200
        until(lambda: any(s.code == 452 for t, s in list(ledger.sent.items())
                          if t.startswith("i")), timeout=60)
        n.control.delay_ms = 0
        until(lambda: meter(n, "commit")["level"] == "normal")
        mark = ledger.counts()["acked"]
        until(lambda: ledger.counts()["acked"] > mark + 20)
        for s in inside + [outside]:
            s.end()
        n.drained()
        assert meter(n, "commit")["off"] is None
        n.stop()
        refusals = [s.text for s in ledger.sent.values() if s.code == 452]
        assert refusals and all("writing to disk" in t for t in refusals)
        assert ledger.verify() == {}
    finally:
        n.discard()
        hop.close()


# --- load --------------------------------------------------------------------

def test_mailbox_servers_work_on_while_the_queue_is_high():
    """The next hop stands still and mail comes from inside and outside. At
    high outside gets 452, inside 250 as quickly as before, until its own
    threshold; then it is refused too. When the hop moves all is delivered."""
    ledger = Ledger()
    hop = Hop(ledger)
    c = conf(hop.port, queue={"medium": 100, "high": 200, "internal": 1500,
                              "history": 2}, delay={"step": "0s"})
    n = Node(ledger, [hop], conf=c)
    try:
        hop.close_gate()
        n.start()

        def pick(rng):
            return NEW, rng.choice((800, 1500, 4000))
        # Slowly enough to be seen between the two thresholds.
        inside = [Sender(f"i{k}", n.port("relay"), ledger, random.Random(k),
                         pick, pause=0.01) for k in range(4)]
        outside = [Sender(f"o{k}", n.port("inbound"), ledger,
                          random.Random(k), pick, pause=0.02)
                   for k in range(2)]
        n.wait("pressure.changed", resource="queue", to="high")
        since, at_high = time.time(), time.monotonic()
        # Inside fills it up to its own threshold, all alone.
        n.wait("pressure.changed", resource="queue",
               off="outside, pickup, copies, internal, peer, delay, "
               "drop bodies", timeout=120)
        until_ours, took = time.time(), time.monotonic() - at_high
        with ledger.lock:
            sent = {t: (s.code, s.time) for t, s in ledger.sent.items()
                    if s.time and since + 0.2 < s.time < until_ours - 0.2}
        ours = [c for t, (c, _) in sent.items() if t[0] == "i"]
        others = [c for t, (c, _) in sent.items() if t[0] == "o"]
        assert ours and set(ours) == {250}
        # 421: a client that goes on after 452 has made too many errors.
        assert 452 in others and set(others) <= {452, 421}
        print(f"\nat high for {took:.1f} s: inside {len(ours)} taken, "
              f"{len(ours) / took:.0f}/s; outside {len(others)} refused")
        # Now inside is refused as well.
        until(lambda: any(s.code == 452 for t, s in list(ledger.sent.items())
                          if t[0] == "i"))
        hop.open_gate()
        at(n, "queue", "normal")
        for s in inside + outside:
            s.end()
        n.drained(120)
        n.stop()
        assert ledger.verify() == {}
    finally:
        n.discard()
        hop.close()
