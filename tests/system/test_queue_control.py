"""Administrators ask the queue and change it, with real daemons: each verb by
id and by filter, with a restart in between, and what the next hop sees of it.
"""
import json
import os
import re
import subprocess
import threading

import pytest

from peer import Peer
from smtp import octets
from umbra import UMBRA, Umbra, base
from wait import until

MESSAGE = octets("Subject: x\r\n\r\nHello\r\n")
BUSY = "451 4.7.1 come again"


def rows(text):
    return [json.loads(x) for x in text.splitlines()]


class Lab:
    """A relay, a next hop that says "later" until it is opened, and another
    connector's."""

    def __init__(self):
        self.peer = Peer()
        self.other = Peer()
        self.peer.on["RCPT"] = BUSY
        conf = base(self.peer.port)
        conf["send_connectors"].append(
            {"name": "backup", "address_spaces": ["backup.example"],
             "smart_hosts": [f"127.0.0.1:{self.other.port}"],
             "tls": {"mode": "none"}})
        conf["send_connectors"].append(
            {"name": "slow", "address_spaces": ["slow.example"],
             "smart_hosts": [f"127.0.0.1:{self.peer.port}"],
             "tls": {"mode": "none"}})
        conf["send_connectors"].append(
            {"name": "mx", "address_spaces": ["later.example"]})
        conf["queue"]["retry"] = {
            "glitch_interval": "1h", "message_interval": "1h"}
        self.u = Umbra(conf)

    def send(self, sender, *to, message=MESSAGE):
        """One message that the next hop has put off; its id."""
        at = self.u.mark()
        mid = self.u.send(sender, list(to), message)
        self.u.wait("delivery.deferred", since=at, msg=mid)
        until(lambda: self.list("--where", f"id == {mid}")[0]["state"] !=
              "active")
        return mid

    def open(self):
        self.peer.on.pop("RCPT", None)

    def list(self, *args):
        return rows(self.u.cli("message", "list", "--json", *args))

    def hops(self, *args):
        return rows(self.u.cli("queue", "list", "--json", *args))

    def do(self, *args):
        """A change; what came of it."""
        return rows(self.u.cli(*args, "--yes", "--json"))[0]

    def arrived(self, n, peer=None):
        peer = peer or self.peer
        until(lambda: len(peer.messages) >= n)
        return sorted(t.to[0] for t in peer.messages)


@pytest.fixture
def lab():
    lab = Lab()
    with lab.peer, lab.other, lab.u:
        yield lab


def test_suspend_resume(lab):
    """What is suspended is not tried, also after a restart, until it is
    resumed; by filter and by id."""
    a = lab.send("a@s.example", "one@x.example")
    b = lab.send("b@s.example", "two@x.example")
    c = lab.send("c@s.example", "three@x.example")
    lab.open()
    assert "would be suspended" in lab.u.cli(
        "message", "suspend", "--where", "sender ~ a@* or sender ~ b@*")
    assert not [m for m in lab.list() if m["suspended"]]
    assert lab.do("message", "suspend", "--where",
                  "sender ~ a@* or sender ~ b@*")["changed"] == 2
    lab.u.restart()
    held = lab.list("--where", "suspended")
    assert [m["id"] for m in held] == [a, b]
    assert {m["reason"] for m in held} == {"administrator"}
    assert {m["state"] for m in held} == {"suspended"}
    assert {m["expires"] for m in held} == {None}
    lab.u.cli("queue", "retry", "--yes")
    assert lab.arrived(1) == ["three@x.example"]
    lab.u.wait("message.done", msg=c)
    assert lab.do("message", "resume", a)["changed"] == 1
    assert lab.arrived(2) == ["one@x.example", "three@x.example"]
    assert lab.do("message", "resume", "--all")["changed"] == 1
    assert len(lab.arrived(3)) == 3
    until(lambda: not lab.list())
    line = lab.u.wait("control.command", verb="message resume", args="--all",
                      uid=str(os.getuid()))
    assert line["changed"] == "1"


def test_retry_and_priority(lab):
    """Retry tries what waits for hours now; of what is ready what is first
    goes first."""
    ids = [lab.send("a@s.example", f"u{i}@x.example") for i in range(4)]
    lab.u.cli("queue", "suspend", "out", "--yes")
    assert lab.do("message", "priority", "low", ids[0])["changed"] == 1
    assert lab.do("message", "priority", "high", "--where",
                  "recipient == u3@x.example")["changed"] == 1
    lab.u.restart()
    got = {m["id"]: m["priority"] for m in lab.list()}
    assert [got[i] for i in ids] == ["low", "normal", "normal", "high"]
    assert lab.hops()[0]["state"] == "suspended"
    assert (lab.hops()[0]["high"], lab.hops()[0]["low"]) == (1, 1)
    lab.open()
    assert lab.do("message", "retry", "--all")["changed"] == 4
    assert not lab.peer.messages, "the hop is suspended"
    lab.u.cli("queue", "resume", "out", "--yes")
    lab.arrived(4)
    order = [t.to[0] for t in lab.peer.messages]
    assert order.index("u3@x.example") < order.index("u0@x.example")


def test_message_retry(lab):
    a = lab.send("a@s.example", "one@x.example")
    lab.send("a@s.example", "two@x.example")
    lab.open()
    assert lab.do("message", "retry", a)["changed"] == 1
    assert lab.arrived(1) == ["one@x.example"]
    until(lambda: [m["to"] for m in lab.list()] == ["two@x.example"])


def test_remove(lab):
    """Removed is gone, silently or with a report; nobody gets it later."""
    a = lab.send("a@s.example", "one@x.example")
    b = lab.send("b@s.example", "two@x.example")
    c = lab.send("c@s.example", "three@x.example", "four@x.example")
    assert "messages: 1 " in lab.u.cli("message", "remove", a)
    assert len(lab.list()) == 3
    assert lab.do("message", "remove", a)["done"]
    assert "no message" in subprocess.run(
        [UMBRA, "-c", lab.u.file, "message", "remove", a], text=True,
        capture_output=True, check=False).stderr
    lab.open()
    assert lab.do("message", "remove", "--notify", "--where",
                  "recipient == four@x.example")["changed"] == 1
    # The report is mail to the sender; the message goes after it.
    until(lambda: [m["id"] for m in lab.list()] == [b])
    lab.arrived(1)
    report = lab.peer.messages[0]
    assert report.to == ["c@s.example"] and report.sender == ""
    assert b"removed by an administrator" in report.data
    assert b"three@x.example" in report.data
    assert b"four@x.example" in report.data
    lab.u.kill9()
    lab.u.start()
    assert [m["id"] for m in lab.list()] == [b]
    lab.u.cli("queue", "retry", "--yes")
    assert "two@x.example" in lab.arrived(2)
    assert not {"one@x.example", "three@x.example", "four@x.example"} & {
        r for t in lab.peer.messages for r in t.to}
    lab.u.wait("message.removed", msg=a)
    assert c


def test_redirect_and_resubmit(lab):
    """A redirect leaves the routing table aside, also after a restart, until
    the message is resubmitted."""
    a = lab.send("a@s.example", "one@x.example")
    b = lab.send("a@s.example", "two@x.example")
    lab.other.on["RCPT"] = BUSY
    assert lab.do("message", "redirect", "--connector", "backup",
                  "--where", "next_hop == out")["changed"] == 2
    until(lambda: {m["next_hop"] for m in lab.list()} == {"backup"})
    lab.u.restart()
    assert [m["redirect"] for m in lab.list()] == ["backup", "backup"]
    lab.open()
    assert lab.do("message", "resubmit", b)["changed"] == 1
    assert lab.arrived(1) == ["two@x.example"]
    lab.other.on.clear()
    assert lab.do("message", "retry", a)["messages"] == 1
    assert lab.arrived(1, lab.other) == ["one@x.example"]


def test_queue_suspend(lab):
    """A next hop is suspended and resumed, by key and by filter; new mail
    comes in meanwhile, and a restart changes nothing."""
    lab.open()
    lab.u.cli("queue", "suspend", "mx|later.example", "--yes")
    assert lab.do("queue", "suspend", "mx|later.example")["unchanged"] == 1
    # Without mail it is known by its domain as well.
    assert lab.do("queue", "resume", "later.example")["changed"] == 1
    lab.u.cli("queue", "suspend", "mx|later.example", "--yes")
    lab.u.send("a@s.example", ["x@slow.example"], MESSAGE)
    lab.arrived(1)
    until(lambda: not lab.list())
    assert lab.do("queue", "suspend", "--where",
                  "next_hop == slow")["changed"] == 1
    lab.u.send("a@s.example", ["y@slow.example"], MESSAGE)
    lab.u.send("a@s.example", ["z@x.example"], MESSAGE)
    assert lab.arrived(2) == ["x@slow.example", "z@x.example"]
    lab.u.restart()
    hop = lab.hops("--where", "suspended and queued > 0")
    assert [(h["next_hop"], h["state"], h["queued"]) for h in hop] == [
        ("slow", "suspended", 1)]
    assert [h["next_hop"] for h in lab.hops("--where", "queued == 0 and "
                                            "suspended")] == [
        "mx|later.example"]
    assert lab.list()[0]["state"] == "hop suspended"
    # A retry does not resume it.
    lab.u.cli("queue", "retry", "--yes")
    assert lab.list()
    assert lab.do("queue", "resume", "--all")["changed"] == 2
    assert "y@slow.example" in lab.arrived(3)
    until(lambda: not lab.list())
    assert not lab.hops("--where", "suspended")


def test_queue_resubmit(lab):
    """What has no route waits; a hop's mail is routed again."""
    lab.send("a@s.example", "one@x.example")
    assert rows(lab.u.cli("queue", "resubmit", "out", "--json"))[0] == {
        "messages": 1, "bytes": lab.list()[0]["size"], "changed": 0,
        "later": 0, "unchanged": 0, "failed": 0, "done": False}
    lab.open()
    assert lab.do("queue", "resubmit", "out")["changed"] == 1
    assert lab.arrived(1) == ["one@x.example"]


def test_hold(lab):
    """A rule holds what comes in after it, over a restart; its removal
    releases it when asked to."""
    lab.open()
    out = lab.u.cli("hold", "add", "party", "--where",
                    "recipient ~ *@party.example and size < 1MiB")
    assert "would hold" in out and "no hold rules" not in out
    lab.u.cli("hold", "add", "party", "--where",
              "recipient ~ *@party.example and size < 1MiB", "--yes")
    lab.u.kill9()
    lab.u.start()
    rule = rows(lab.u.cli("hold", "list", "--json"))[0]
    assert (rule["name"], rule["state"], rule["held"]) == (
        "party", "active", 0)
    a = lab.u.send("a@s.example", ["one@party.example"], MESSAGE)
    lab.u.send("a@s.example", ["one@x.example"], MESSAGE)
    assert lab.arrived(1) == ["one@x.example"]
    lab.u.kill9()
    lab.u.start()
    held = lab.list()
    assert [(m["id"], m["state"], m["reason"]) for m in held] == [
        (a, "suspended", "hold rule party")]
    assert "why                hold rule party" in lab.u.cli(
        "message", "show", a)
    got = lab.do("hold", "remove", "party", "--release")
    assert (got["held"], got["released"]) == (1, 1)
    assert "one@party.example" in lab.arrived(2)
    lab.u.restart()
    assert not rows(lab.u.cli("hold", "list", "--json"))


def test_export(lab, tmp_path):
    """A file has the envelope and the message, octet by octet, small or large;
    nothing is replaced; half a file has another name."""
    body = b"Subject: big\r\n\r\n" + b"0123456789abcdef\r\n" * 40000
    small = lab.send("a@s.example", "one@x.example", "two@x.example")
    large = lab.send("<>"[:0], "three@x.example", message=body)
    out = rows(lab.u.cli("message", "export", small, "--dir", str(tmp_path),
                         "--json"))
    assert out == [{"id": small, "file": f"{tmp_path}/{small}.eml",
                    "size": os.path.getsize(f"{tmp_path}/{small}.eml")}]
    text = (tmp_path / f"{small}.eml").read_bytes()
    head, _, rest = text.partition(b"X-EndOfInjectedXHeaders:")
    assert re.search(rb"^X-Sender: <a@s.example>", head, re.M)
    assert re.search(rb"^X-Receiver: <one@x.example>", head, re.M)
    assert re.search(rb"^X-Receiver: <two@x.example>", head, re.M)
    assert rest.endswith(MESSAGE)
    assert os.stat(f"{tmp_path}/{small}.eml").st_mode & 0o777 == 0o600
    # There already, and nothing else is written.
    lab.u.cli("message", "export", "--all", "--dir", str(tmp_path), want=73)
    assert sorted(os.listdir(tmp_path)) == [f"{small}.eml"]
    assert (tmp_path / f"{small}.eml").read_bytes() == text
    lab.u.cli("message", "export", "--where", "size > 100KiB", "--dir",
              str(tmp_path))
    text = (tmp_path / f"{large}.eml").read_bytes()
    assert text.endswith(body)
    assert b"X-Sender: <>" in text
    p = subprocess.run([UMBRA, "-c", lab.u.file, "message", "export", small,
                        "--dir", str(tmp_path / "no")], text=True,
                       capture_output=True, timeout=60, check=False)
    assert (p.returncode, p.stderr) == (
        73, f"umbra: there is no directory {tmp_path}/no; type: "
        f"mkdir -m 700 {tmp_path}/no\n")
    assert len(lab.list()) == 2, "they stay in the queue"


def test_bulk_under_load():
    """Changes by filter while mail comes in and leaves: every message arrives
    once, none is lost, none is stuck."""
    n, rounds = 400, 6
    lab = Lab()
    with lab.peer, lab.other, lab.u as u:
        lab.open()

        def send(k):
            with u.smtp() as c:
                for i in range(n):
                    c.mail(f"s{k}@s.example", [f"r{k}.{i}@x{i % 7}.example"],
                           MESSAGE)
        threads = [threading.Thread(target=send, args=(k,)) for k in range(3)]
        for t in threads:
            t.start()
        for i in range(rounds):
            who = f"sender ~ s{i % 3}@*"
            u.cli("message", "suspend", "--where", who, "--yes")
            u.cli("message", "priority", ("high", "low")[i % 2], "--where",
                  "recipient ~ *3@*", "--yes")
            u.cli("message", "redirect", "--connector", "backup", "--where",
                  "size > 1 and recipient ~ *7@*", "--yes")
            u.cli("queue", "suspend", "--all", "--yes")
            u.cli("message", "list", "--sort", "-age", "--where", who)
            u.cli("message", "retry", "--all", "--yes")
            u.cli("queue", "resume", "--all", "--yes")
            u.cli("message", "resubmit", "--where", "suspended", "--yes")
            u.cli("message", "resume", "--where", who, "--yes")
        for t in threads:
            t.join()
        u.cli("queue", "resume", "--all", "--yes")
        u.cli("message", "resume", "--all", "--yes")
        u.cli("message", "retry", "--all", "--yes")
        until(lambda: not lab.list("--limit", "1"),
              text=lambda: u.cli("message", "list"))
        got = [t.to[0] for t in lab.peer.messages + lab.other.messages]
        assert len(got) == len(set(got)), "twice"
        assert set(got) == {f"r{k}.{i}@x{i % 7}.example" for k in range(3)
                            for i in range(n)}


def test_errors(lab):
    """What is wrong is said with its place, and what to type."""
    def err(*args, want):
        p = subprocess.run([UMBRA, "-c", lab.u.file, *args], text=True,
                           capture_output=True, check=False)
        assert p.returncode == want, p
        return p.stderr
    assert err("message", "list", "--where", "agee > 2h", want=64) == (
        "umbra: --where: column 1: there is no field \"agee\"; did you mean "
        "\"age\"?\n  agee > 2h\n  ^\n")
    assert "lists them" in err("queue", "list", "--where", "zzzzzz > 2h",
                               want=64)
    assert "--sort: there is no field" in err("queue", "list", "--sort",
                                              "siez", want=64)
    assert "which? Name" in err("message", "remove", "--yes", want=64)
    assert "not known when a message comes in" in err(
        "hold", "add", "x", "--where", "age > 2h", want=64)
    assert "there is no send connector" in err(
        "message", "redirect", "--all", "--connector", "nowhere", want=65)


def test_fields_documented(lab):
    """The manual has every field that can be named, as the program has it."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(
        os.path.abspath(__file__))))
    with open(os.path.join(root, "docs", "queue.md"),
              encoding="utf-8") as f:
        manual = f.read()
    text = subprocess.run([UMBRA, "help", "fields"], text=True,
                          capture_output=True, check=True).stdout
    names = re.findall(r"^  ([a-z_]+) +(?:text|number|size|duration|time|flag)"
                       r" +(.*)$", text, re.M)
    assert len(names) > 50
    for name, what in names:
        assert f"| `{name}` |" in manual, name
        assert what in manual, what
    assert lab
