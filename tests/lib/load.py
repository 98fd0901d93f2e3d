"""Clients that go on while somebody works on the relay, and what they saw.

    with Load(relay.port("relay"), clients=4) as load:
        ... reload, upgrade ...
    load.verify()

Every client sends message after message, some in one session, some with a
session for each. What a server may do at any time is no trouble: 421 between
two messages, in place of a reply to MAIL (RFC 5321 3.8). Everything else is: a
connection that is refused or reset, a session that ends inside a transaction,
a message that is not taken. The next hop takes everything; the ledger says
what came of each message.
"""
import random
import threading
import time

from ledger import Ledger
from peer import Peer
from smtp import Closed, Smtp
from wait import LONG, until


class Sink(Peer):
    """Enters every copy before it is answered."""

    def __init__(self, ledger):
        self.ledger = ledger
        super().__init__(on={"END": self.taken}, keep_wire=False)

    def taken(self, conn, _line):
        t = conn.tx_now
        self.ledger.copy(t.sender, t.to, t.body)
        t.data = t.wire = b""

    def took(self, t):
        pass


class Client(threading.Thread):
    def __init__(self, load, number, most, pause, slow):
        super().__init__(daemon=True)
        self.load, self.number, self.pause = load, number, pause
        self.most, self.slow = most, slow  # messages per session
        self.rng = random.Random(number)
        self.n = self.goodbyes = 0
        self.longest = 0.0       # from connect to the greeting
        self.broken = None
        self.start()

    def trouble(self, what, more):
        self.load.note(f"client {self.number}, message {self.n}: {what}: "
                       f"{more!r}")

    def connect(self):
        at = time.monotonic()
        try:
            c = Smtp(self.load.host, self.load.port, timeout=LONG)
        except (OSError, Closed) as e:
            self.trouble("no session", e)
            return None
        self.longest = max(self.longest, time.monotonic() - at)
        if c.greeting.code == 421:
            self.goodbyes += 1
            c.close()
            return None
        try:
            hello = c.cmd("EHLO client.test")
        except (OSError, Closed):
            hello = None
        if hello is None or hello.code == 421:
            self.goodbyes += 1
            c.close()
            return None
        return c

    def one(self, c):
        """True: the session goes on."""
        self.n += 1
        token = f"c{self.number}-{self.n}"
        rcpt = f"r{self.rng.randrange(50)}@example.org"
        body = (f"From: <{token}@sender.test>\r\nSubject: {token}\r\n\r\n"
                f"{'x' * 70}\r\n").encode() + \
            b"y\r\n" * self.rng.choice((1, 10, 1000))
        begun = False
        try:
            r = c.cmd(f"MAIL FROM:<{token}@sender.test>")
            if r.code == 421:
                self.goodbyes += 1
                return False
            begun = True
            if r.code == 250:
                r = c.cmd(f"RCPT TO:<{rcpt}>")
            if r.code == 250:
                r = c.cmd("DATA")
            if r.code != 354:
                self.trouble("refused", r)
                return False
            self.load.ledger.send(token, [rcpt], body)
            if self.slow:
                half = len(body) // 2
                c.send(body[:half])
                time.sleep(self.slow)
                c.send(body[half:], b".\r\n")
            else:
                c.send(body, b".\r\n")
            r = c.reply()
            self.load.ledger.answer(token, r.code, r.text, [rcpt])
            if r.code != 250:
                self.trouble("not taken", r)
            return True
        except (Closed, OSError) as e:
            if begun:
                self.trouble("ended inside a transaction", e)
            else:  # its 421 was on the way, and lost with the connection
                self.goodbyes += 1
            return False

    def session(self):
        c = self.connect()
        if c is None:
            return
        for _ in range(self.most):
            if self.load.halt.is_set() or not self.one(c):
                break
            if self.pause:
                time.sleep(self.pause)
        c.close()

    def run(self):
        try:
            while not self.load.halt.is_set():
                self.session()
        except Exception as e:  # told by verify()
            self.broken = e


class Load:
    def __init__(self, port, clients=4, pause=0.005, host="127.0.0.1",
                 slow=0.0, sink=None, ledger=None):
        self.host, self.port = host, port
        self.ledger = ledger or Ledger()
        self.halt = threading.Event()
        self.lock = threading.Lock()
        self.troubles = []
        # Every other one keeps its session; the last one is slow.
        self.clients = [
            Client(self, i, 1 if i % 2 else 10 ** 9, pause,
                   slow if i == clients - 1 else 0.0)
            for i in range(clients)]

    def note(self, what):
        with self.lock:
            self.troubles.append(what)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.halt.set()
        for c in self.clients:
            c.join(LONG)

    def sent(self):
        return self.ledger.counts()["acked"]

    def more(self, n, timeout=LONG):
        """Waits until n more were acknowledged."""
        was = self.sent()
        until(lambda: self.sent() >= was + n or self.troubles, timeout,
              text=lambda: f"{self.sent() - was} of {n}, {self.troubles[:5]}")

    def verify(self, sink_wait=LONG):
        """No trouble; everything acknowledged arrived once."""
        assert self.halt.is_set()
        for c in self.clients:
            assert not c.is_alive(), "a client hangs"
            if c.broken:
                raise c.broken
        assert not self.troubles, (len(self.troubles), self.troubles[:10])
        until(lambda: not self.ledger.missing(), sink_wait,
              text=lambda: f"missing: {self.ledger.missing()[:10]}")
        reasons = self.ledger.verify()
        assert not reasons, reasons
        return self.ledger.counts()
