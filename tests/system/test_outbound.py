"""All outbound connections together: never more than delivery.connections,
none kept idle while somebody waits for one; and when even those find no free
file, no host is blamed for it."""
import json
import os
import resource
import threading

from peer import Peer
from umbra import Umbra, base
from wait import until

HOPS = 150
MESSAGE = b"Subject: to all of you\r\n\r\nhello\r\n"
EVERYBODY = [f"b@d{i}.test" for i in range(HOPS)]


class Counter(Peer):
    """The sink of every next hop: it knows how many connections it has had
    between EHLO and QUIT, and keeps them at MAIL until `gate` opens."""

    def __init__(self):
        self.now = self.most = 0
        super().__init__(on={"EHLO": lambda *_: self.count(1),
                             "QUIT": lambda *_: self.count(-1)})
        self.door = self.gate["MAIL"] = threading.Event()

    def count(self, n):
        with self.cond:
            self.now += n
            self.most = max(self.most, self.now)


def many(port, **more):
    """A next hop per domain, all of them at port. Connections are kept longer
    than the test takes; a host that is blamed is out of it."""
    c = base(port, **more)
    c["send_connectors"] = [
        {"name": f"to-{i}", "address_spaces": [f"d{i}.test"],
         "smart_hosts": [f"127.0.0.1:{port}"], "tls": {"mode": "none"},
         "timeouts": {"idle": "10m"}}
        for i in range(HOPS)]
    c["queue"]["retry"].update(glitch_interval="10m")
    return c


def status(u):
    return json.loads(u.cli("status", "--json"))


def everybody_has_it(sink):
    until(lambda: sorted(a for m in list(sink.messages) for a in m.to)
          == sorted(EVERYBODY),
          text=lambda: f"{len(sink.messages)} of {HOPS}; {sink.notes}")


def test_never_more_than_the_limit():
    with Counter() as sink, Umbra(many(
            sink.port, delivery={"connections": 20})) as u:
        u.send("a@sender.test", EVERYBODY, MESSAGE)
        until(lambda: sink.notes.count(("gate", "MAIL")) == 20)
        s = status(u)
        assert (s["outbound"], s["outbound_limit"],
                s["outbound_waiting"]) == (20, 20, HOPS - 20)
        sink.door.set()
        everybody_has_it(sink)
        assert sink.most == 20
        assert not u.seen("host.failed")


def test_a_busy_next_hop_gives_one_of_several_up():
    """It had all of them and mail for more than the test takes."""
    with Counter() as sink:
        c = many(sink.port, delivery={"connections": 4})
        for s in c["send_connectors"]:
            s["limits"] = {"extra_connection_at": 1,
                           "messages_per_connection": 1000000}
        with Umbra(c) as u, u.smtp() as client:
            for _ in range(300):
                client.mail("a@sender.test", ["b@d0.test"], MESSAGE)
            until(lambda: sink.notes.count(("gate", "MAIL")) == 4)
            client.mail("a@sender.test", ["b@d1.test"], MESSAGE)
            until(lambda: status(u)["outbound_waiting"] == 1)
            shown = u.cli("queue", "show", "to-1")
            assert "waits: all 4 outbound connections are in use" in shown
            sink.door.set()
            sink.wait(301)
            order = [m.to for m in sink.messages]
            assert order.index(["b@d1.test"]) < 50
            assert sink.most == 4 and len(sink.conns) == 5


def test_a_reload_changes_the_limit():
    with Counter() as sink:
        c = many(sink.port, delivery={"connections": 5})
        with Umbra(c) as u:
            u.send("a@sender.test", EVERYBODY, MESSAGE)
            until(lambda: sink.notes.count(("gate", "MAIL")) == 5)
            c["delivery"]["connections"] = 30
            assert u.reload(c).event == "config.loaded"
            until(lambda: sink.notes.count(("gate", "MAIL")) == 30)
            c["delivery"]["connections"] = 2
            assert u.reload(c).event == "config.loaded"
            sink.door.set()
            everybody_has_it(sink)
            assert sink.most == 30
            until(lambda: status(u)["outbound"] <= 2)


def test_no_host_is_blamed_for_want_of_files():
    with Counter() as sink, Umbra(many(sink.port)) as u:
        client = u.smtp()
        files = len(os.listdir(f"/proc/{u.proc.pid}/fd"))
        resource.prlimit(u.proc.pid, resource.RLIMIT_NOFILE,
                         (files + 30, files + 30))
        client.mail("a@sender.test", EVERYBODY, MESSAGE)
        line = u.wait("delivery.short")
        assert 0 < int(line["connections"]) <= 30
        sink.door.set()
        everybody_has_it(sink)
        assert not u.seen("host.failed")
        client.close()
