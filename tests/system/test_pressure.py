"""Back pressure: levels, who is delayed and refused, and when it is over.

The resource is the length of the queue, with small thresholds: the next hop
answers nothing until it may, so what was sent is what waits.
"""
import json
import os
import resource
import subprocess
import sys
import threading
import time

import pytest

from pair import Pair
from peer import Peer
from umbra import UMBRA, Umbra, base
from wait import until

MESSAGE = "Subject: x\r\n\r\nx\r\n"
FROM, TO = "s@example.org", "r@example.org"
QUICK = {"interval": "100ms"}


def conf(*ports, pressure=None, classes=None):
    """inbound is outside, relay internal, as by their permissions."""
    c = base(*ports, back_pressure={**QUICK, **(pressure or {})})
    # One connection, one message at a time: the others are ready.
    c["send_connectors"][0]["limits"] = {"connections": 1}
    for r in c["receive_connectors"]:
        r.update((classes or {}).get(r["name"], {}))
    return c


def meter(u, name):
    rows = [json.loads(x) for x in u.cli("pressure", "--json").splitlines()]
    (row,) = [r for r in rows if r["meter"] == name]
    return row


def at(u, name, level):
    until(lambda: meter(u, name)["level"] == level,
          text=lambda: f"{meter(u, name)}\n{u.tail(10)}")
    return meter(u, name)


class Closable(Peer):
    """A next hop that answers EHLO and then nothing, until open()."""

    def __init__(self):
        super().__init__()
        self.event = self.gate["MAIL"] = threading.Event()

    def open(self):
        self.event.set()


@pytest.fixture
def hop():
    with Closable() as h:
        yield h


def fill(u, n, door="relay"):
    for _ in range(n):
        u.send(FROM, [TO], MESSAGE, door=door)


def refused(u, door, words):
    """MAIL is refused with these words, before any data."""
    with u.smtp(door) as c:
        r = c.cmd(f"MAIL FROM:<{FROM}>")
        assert r.code == 452, r
        assert r.lines[0] == ("4.3.1 insufficient system resources "
                              f"({words}), try again later")


def taken(u, door):
    u.send(FROM, [TO], MESSAGE, door=door)


# --- what people see ---------------------------------------------------------

def test_every_meter_is_shown_as_text_and_as_json():
    with Umbra(base()) as u:
        rows = [json.loads(x)
                for x in u.cli("pressure", "--json").splitlines()]
        text = u.cli("pressure").splitlines()
        assert [x.split()[0] for x in text[1:]] == [r["meter"] for r in rows]
        assert [r["meter"] for r in rows] == [
            "disk", "inodes", "database", "reader", "memory", "bodies",
            "system_memory", "queue", "oldest", "uncommitted", "commit",
            "shadow_lag", "shadow_window", "files"]
        by = {r["meter"]: r for r in rows}
        v = os.statvfs(u.data)
        used = 100 - 100 * v.f_bfree / v.f_blocks
        assert abs(by["disk"]["value"] - used) < 1
        assert by["disk"]["unit"] == "percent"
        assert by["commit"]["unit"] == "seconds"
        assert by["commit"]["high"] == 10
        assert by["memory"]["high"] == 75 and by["memory"]["history"] == 30
        # What is not measured has no value, and no level.
        assert by["shadow_lag"]["value"] is None
        assert by["shadow_lag"]["level"] is None
        # What the kernel says of this process.
        fds = len(os.listdir(f"/proc/{u.proc.pid}/fd"))
        soft = resource.prlimit(u.proc.pid, resource.RLIMIT_NOFILE)[0]
        assert abs(by["files"]["value"] - 100 * fds / soft) < 1
        assert all(r["level"] in ("normal", None) and r["off"] is None
                   for r in rows if r["meter"] not in (
                       "disk", "inodes", "system_memory"))


# --- the queue is long -------------------------------------------------------

def test_outside_is_refused_first_and_ours_last(hop):
    """Normal, medium for its history, high, internal, and back, each with
    one line; the others go on at every step."""
    steps = {"medium": 4, "high": 8, "internal": 12, "back_to_medium": 6,
             "back_to_normal": 2, "history": 1}
    with Umbra(conf(hop.port, pressure={
            "queue": steps, "delay": {"step": "0s"}})) as u:
        fill(u, 3)
        assert meter(u, "queue")["level"] == "normal"
        taken(u, "inbound")
        fill(u, 2)  # one or two of them are in the hop's hands
        row = at(u, "queue", "medium")
        assert row["off"] == "outside, pickup, delay"
        refused(u, "inbound", "length of the queue")
        fill(u, 4)
        row = at(u, "queue", "high")
        assert row["off"] == ("outside, pickup, copies, delay, drop bodies")
        assert "off or slowed down: " in subprocess.run(
            [UMBRA, "-c", u.file, "pressure"], capture_output=True, text=True,
            check=True).stderr
        # High for outside is not yet high for our own servers.
        refused(u, "inbound", "length of the queue")
        fill(u, 4)
        until(lambda: "internal, peer" in (meter(u, "queue")["off"] or ""))
        refused(u, "relay", "length of the queue")
        refused(u, "inbound", "length of the queue")
        # Deliveries go on, and everything is taken again.
        hop.open()
        at(u, "queue", "normal")
        taken(u, "relay")
        taken(u, "inbound")
        hop.wait(16)
        lines = u.seen("pressure.changed", resource="queue")
        assert [(x["from"], x["to"]) for x in lines[:3]] == [
            ("normal", "medium"), ("medium", "high"), ("high", "high")]
        assert lines[-1]["to"] == "normal" and lines[-1]["off"] == ""
        assert lines[0]["value"] in ("4", "5") and lines[0]["medium"] == "4"
        # On the way down it may pass two in one sample, and no more.
        assert len(lines) <= 6, [x.text for x in lines]


@pytest.mark.parametrize("cls, door", [("outside", "relay"),
                                       ("internal", "inbound"),
                                       ("peer", "inbound")])
def test_the_class_decides_not_the_permissions(hop, cls, door):
    with Umbra(conf(hop.port, classes={door: {"class": cls}}, pressure={
            "queue": {"medium": 2, "high": 1000, "history": 1},
            "delay": {"most": "0s", "step": "0s"}})) as u:
        other = "inbound" if door == "relay" else "relay"
        for _ in range(4):
            with u.smtp("relay") as c:
                r = c.cmd(f"MAIL FROM:<{FROM}>")
                if r.code == 452:
                    break
                c.ok(f"RCPT TO:<{TO}>")
                c.data(MESSAGE)
        if cls == "outside":
            at(u, "queue", "medium")
            refused(u, door, "length of the queue")
            refused(u, other, "length of the queue")
        else:
            at(u, "queue", "medium")
            taken(u, door)
            taken(u, other)
        hop.open()


def test_a_hop_that_is_down_is_no_pressure():
    """What waits for a next hop that cannot be reached does not count."""
    c = conf(9, pressure={"queue": {"medium": 2, "high": 4, "history": 1}})
    c["queue"]["retry"] = {"glitch_interval": "1h"}
    with Umbra(c) as u:
        u.send(FROM, [TO], MESSAGE)
        u.wait("nexthop.delayed")
        fill(u, 12)
        row = at(u, "queue", "normal")
        assert row["value"] == 0 and row["changes"] == 0
        assert json.loads(u.cli("status", "--json"))["messages"] == 13


# --- the delay ---------------------------------------------------------------

def delayed(hop, **delay):
    """At medium for a long history: MAIL from outside is late."""
    return conf(hop.port, pressure={
        "delay": delay,
        "queue": {"medium": 2, "high": 1000, "history": 100000}})


def test_the_delay_grows_and_is_each_sessions_own(hop):
    with Umbra(delayed(hop, start="200ms", step="100ms",
                       most="1500ms")) as u:
        fill(u, 4)
        at(u, "queue", "medium")
        with u.smtp("inbound") as a, u.smtp("inbound") as b, \
                u.smtp("relay") as own:
            def late(c):
                t = time.monotonic()
                c.ok(f"MAIL FROM:<{FROM}>")
                return time.monotonic() - t
            first = late(a)
            u.wait("session.delayed", count=1)
            # While b waits, others are served; internal never waits.
            b.send(f"MAIL FROM:<{FROM}>\r\n")
            t = time.monotonic()
            own.ok(f"MAIL FROM:<{FROM}>")
            a.ok(f"RCPT TO:<{TO}>")
            quick = time.monotonic() - t
            assert b.reply().code == 250
            until(lambda: u.seen("session.delayed"))
            lines = [float(x["delay"]) for x in u.seen("session.delayed")]
            assert 0.2 <= lines[0] <= lines[1] <= 1.5
            assert first >= lines[0] - 0.01
            assert quick < lines[1]
            # It stays at the most.
            until(lambda: meter(u, "queue")["samples"] > 20)
            a.ok("RSET")
            assert late(a) >= 1.49
            assert float(u.seen("session.delayed")[-1]["delay"]) == 1.5
        hop.open()


def test_commands_behind_a_delayed_mail_keep_their_order(hop):
    with Umbra(delayed(hop, start="300ms", step="0s", most="300ms")) as u:
        fill(u, 4)
        at(u, "queue", "medium")
        with u.smtp("inbound") as c:
            c.send(f"MAIL FROM:<{FROM}>\r\nRCPT TO:<{TO}>\r\nNOOP\r\n"
                   "RSET\r\nQUIT\r\n")
            assert [r.code for r in c.replies(5)] == [250, 250, 250, 250, 221]
        hop.open()


def test_a_delayed_session_ends_like_any_other(hop):
    """Client gone, stop, deadline of the client's commands, reload: while it
    waits. ASan watches over what is left."""
    c = delayed(hop, start="2s", step="0s", most="2s")
    for r in c["receive_connectors"]:
        r["timeouts"] = {"command": "1s"}  # shorter than the delay
    with Umbra(c) as u:
        fill(u, 4)
        at(u, "queue", "medium")
        gone = u.smtp("inbound")
        gone.send(f"MAIL FROM:<{FROM}>\r\n")
        u.wait("session.delayed", count=1)
        gone.close()
        stays = u.smtp("inbound")
        stays.send(f"MAIL FROM:<{FROM}>\r\n")
        u.wait("session.delayed", count=2)
        assert u.reload(c).event == "config.loaded"
        assert stays.reply().code == 250  # not 421: it is we who are late
        stays.ok(f"RCPT TO:<{TO}>")
        stopped = u.smtp("inbound")
        stopped.send(f"MAIL FROM:<{FROM}>\r\n")
        u.wait("session.delayed", count=3)
        hop.open()
        hop.wait(4)
        u.stop()
        assert stopped.reply().code == 421
        for x in (stays, stopped):
            x.close()


def test_after_the_delay_it_may_be_refused(hop):
    c = conf(hop.port, pressure={
        "delay": {"start": "1500ms", "step": "0s", "most": "1500ms"},
        "queue": {"medium": 2, "high": 8, "history": 100000}})
    with Umbra(c) as u:
        fill(u, 4)
        at(u, "queue", "medium")
        with u.smtp("inbound") as x:
            x.send(f"MAIL FROM:<{FROM}>\r\n")
            u.wait("session.delayed")
            fill(u, 8)
            at(u, "queue", "high")
            assert x.reply().code == 452
            x.ok("NOOP")
        hop.open()


# --- other doors -------------------------------------------------------------

def test_thresholds_are_changed_by_a_reload(hop):
    c = conf(hop.port, pressure={"queue": {"medium": 2, "high": 4,
                                           "history": 1}})
    with Umbra(c) as u:
        fill(u, 8)
        at(u, "queue", "high")
        refused(u, "inbound", "length of the queue")
        c["back_pressure"]["queue"].update(medium=100, high=200)
        assert u.reload(c).event == "config.loaded"
        at(u, "queue", "normal")
        taken(u, "inbound")
        c["back_pressure"]["enabled"] = False
        c["back_pressure"]["queue"].update(medium=2, high=4)
        assert u.reload(c).event == "config.loaded"
        taken(u, "inbound")
        assert meter(u, "queue")["level"] == "normal"
        c["back_pressure"]["queue"].update(medium=5, high=4)
        assert u.reload(c).event == "config.refused"
        hop.open()


def test_files_are_counted(hop):
    """Outside is refused when open files run out; ours is taken on."""
    c = conf(hop.port, pressure={"files": {"medium": "50%", "high": "95%"}})
    c["back_pressure"]["delay"] = {"most": "0s", "step": "0s"}
    with Umbra(c) as u:
        resource.prlimit(u.proc.pid, resource.RLIMIT_NOFILE, (100, 100))
        at(u, "files", "normal")
        clients = [u.smtp("relay") for _ in range(50)]
        at(u, "files", "medium")
        refused(u, "inbound", "open files")
        taken(u, "relay")
        for x in clients:
            x.close()
        at(u, "files", "normal")
        taken(u, "inbound")
        hop.open()


def test_a_peer_under_pressure_takes_no_copies_and_another_does():
    """Its copies stay, the owner's mail goes on with a copy elsewhere."""
    with Peer() as sink, Pair(sink=sink, n=3, receive={"shadow": "require"},
                              start=False) as p:
        a, b, c = p.nodes
        tight = p.conf(1)
        tight["back_pressure"] = {**QUICK, "disk": {
            "medium": "0.01%", "high": "100%"}}
        b.configure(tight)
        p.start()
        p.wait_up()
        until(lambda: meter(b, "disk")["level"] == "medium")
        a.send(FROM, [TO], MESSAGE)
        assert c.wait("shadow.held", owner=a.name)
        assert not b.seen("shadow.held")
        sink.wait(1)


def test_a_start_on_a_full_disk_takes_nothing():
    """The first sample is there before the first client."""
    with Umbra(base(back_pressure={"interval": "1m", "disk": {
            "medium": "0.01%", "high": "0.02%"}})) as u:
        refused(u, "inbound", "disk space of the queue")
        refused(u, "relay", "disk space of the queue")


#: Another process' eyes on the database: a read transaction that stays.
READER = """
import ctypes, ctypes.util, signal, sys
lib = ctypes.CDLL(ctypes.util.find_library("lmdb"))
env, txn = ctypes.c_void_p(), ctypes.c_void_p()
assert lib.mdb_env_create(ctypes.byref(env)) == 0
assert lib.mdb_env_open(env, sys.argv[1].encode(), 0x20000, 0o600) == 0
assert lib.mdb_txn_begin(env, None, 0x20000, ctypes.byref(txn)) == 0
print("reads", flush=True)
signal.pause()
"""


def test_a_reader_that_stands_still_is_seen(hop):
    """What it reads is kept for as long, and the meter counts the commits
    since; nothing is refused for it. When it is killed in the middle, its
    place is given up."""
    c = conf(hop.port, pressure={"reader": {"medium": 10, "high": 1000}})
    with Umbra(c) as u:
        fill(u, 2)
        assert meter(u, "reader")["value"] < 10
        with subprocess.Popen([sys.executable, "-c", READER, u.data],
                              stdout=subprocess.PIPE) as p:
            try:
                assert p.stdout.readline() == b"reads\n"
                fill(u, 20)
                until(lambda: meter(u, "reader")["value"] >= 20)
                row = at(u, "reader", "medium")
                assert row["off"] is None
                taken(u, "inbound")
            finally:
                p.kill()
        at(u, "reader", "normal")
        hop.open()
