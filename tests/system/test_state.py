"""T4: a reference model of the session.

Random commands, legal and illegal, are sent in pipelined batches that are cut
anywhere; a small model of RFC 5321 says the class and code of every reply and
what is left of the transaction. At the end exactly the messages that the
model accepted have arrived, with the recipients that it accepted.

UMBRA_SEED gives another walk; a failure prints the seed and the last commands.
"""
import os
import random
import re

import pytest

from peer import Peer
from smtp import octets, stuff
from umbra import Umbra, base
from wait import LONG

SEED = int(os.environ.get("UMBRA_SEED", "5321"))
COMMANDS = int(os.environ.get("UMBRA_STATE_COMMANDS", "24000"))
SIZE = 2048      # limits.message_size
RCPTS = 6        # limits.recipients
HOPS = 4         # limits.hops


@pytest.fixture(scope="module")
def peer():
    with Peer(keep_wire=False) as p:
        yield p


@pytest.fixture(scope="module")
def relay(peer):
    conf = base(peer.port)
    for r in conf["receive_connectors"]:
        r["limits"].update(message_size=str(SIZE), recipients=RCPTS,
                           hops=HOPS, errors=1000, commands=1000000)
    with Umbra(conf) as u:
        yield u


class Tx:
    def __init__(self, sender, utf8, binary):
        self.sender, self.utf8, self.binary = sender, utf8, binary
        self.rcpts = []
        self.refused = False   # a recipient was
        self.data = None       # a BDAT began
        self.failed = False    # a BDAT failed


def hops(data):
    """Received fields of the header, which ends at the first line that is
    neither a field nor the rest of one."""
    n, fields = 0, 0
    for line in data.split(b"\n"):
        if line[:1] in (b" ", b"\t") and fields:
            continue
        if not re.match(rb"[!-9;-~]+[ \t]*:", line):
            break
        fields += 1
        n += bool(re.match(rb"received[ \t]*:", line, re.I))
    return n


class Model:
    """Every method returns (octets to send, [codes of the replies])."""

    def __init__(self, rng):
        self.rng = rng
        self.helo = self.esmtp = False
        self.tx = None
        self.over = False      # the connection has ended
        self.accepted = []     # transactions
        self.n = 0

    # --- verbs --------------------------------------------------------------

    def ehlo(self):
        bad = self.rng.random() < 0.1
        verb = self.rng.choice(("EHLO", "HELO", "ehlo"))
        if bad:
            return f"{verb}{self.rng.choice(('', ' a b', ' '))}", [501]
        self.helo, self.esmtp = True, verb.upper() == "EHLO"
        self.tx = None
        return f"{verb} c.test", [250]

    MAILS = [  # argument, reply to it after EHLO, needs ESMTP
        ("FROM:<a@b.test>", 250, 0), ("FROM:<>", 250, 0),
        ("from: <c@b.test>", 250, 0), ("FROM:<a@b.test> SIZE=100", 250, 1),
        ("FROM:<a@b.test> BODY=8BITMIME", 250, 1),
        ("FROM:<a@b.test> BODY=BINARYMIME", 250, 1),
        ("FROM:<\u00e4@b.test> SMTPUTF8", 250, 1),
        ("FROM:<a@b.test> SMTPUTF8 RET=FULL ENVID=x", 250, 1),
        ("FROM:<\u00e4@b.test>", 553, 0),
        ("FROM:<a@b.test> SIZE=9999", 552, 1),
        ("FROM:<a@b.test> NOPE", 555, 0), ("FROM:<a@b.test> SIZE=x", 501, 0),
        ("FROM:<a b@b.test>", 501, 0), ("TO:<a@b.test>", 501, 0),
        ("", 501, 0)]

    def mail(self):
        arg, code, esmtp = self.rng.choice(self.MAILS)
        line = "MAIL " + arg
        if not self.helo:
            return line, [503]
        if self.tx and self.tx.failed:
            self.tx = None
        if self.tx:
            return line, [503]
        if esmtp and not self.esmtp:
            return line, [555]
        if code == 250:
            self.tx = Tx(re.search("<(.*)>", arg)[1], "SMTPUTF8" in arg,
                         "BINARY" in arg)
        return line, [code]

    RCPTS = [  # argument, reply, needs ESMTP
        ("TO:<{}@example.org>", 250, 0), ("TO:<{}@sub.example.org>", 250, 0),
        ("to: <{}@example.org>", 250, 0), ("TO:<{}@example.org>", 250, 0),
        ("TO:<@x.test:{}@example.org>", 250, 0),
        ("TO:<\u00e4{}@example.org>", 250, 0),
        ("TO:<{}@example.org> NOTIFY=NEVER", 250, 1),
        ("TO:<{}@elsewhere.test>", 550, 0), ("TO:<{}%x@example.org>", 550, 0),
        ("TO:<{}@[127.0.0.1]>", 550, 0), ("TO:<{}>", 501, 0),
        ("TO:<>", 501, 0), ("TO:<{}@example.org> X=1", 555, 0),
        ("TO:<{}@example.org> NOTIFY=X", 501, 0), ("FROM:<x@y.test>", 501, 0)]

    def rcpt(self):
        arg, code, esmtp = self.rng.choice(self.RCPTS)
        self.n += 1
        arg = arg.format(f"u{self.n}")
        line = "RCPT " + arg
        t = self.tx
        if not self.helo or not t or t.data is not None:
            return line, [503]
        if code not in (501, 555):
            # Syntax comes first, then ESMTP, UTF-8, the count, permission.
            if esmtp and not self.esmtp:
                code = 555
            elif "\u00e4" in arg and not t.utf8:
                code = 553
            elif len(t.rcpts) >= RCPTS:
                code = 452
        if code == 250:
            t.rcpts.append(re.search("<(@x.test:)?(.*)>", arg)[2])
        else:
            t.refused = True
        return line, [code]

    def message(self):
        self.n += 1
        head = f"Subject: {self.n}\r\n"
        return octets(self.rng.choice((
            head + "\r\nbody\r\n", head + "\r\n.\r\n..\r\n", head + "\r\n",
            head + "\r\n\u00e4\r\n", "Received: x\r\n" * HOPS + head +
            "\r\nx\r\n", head + "\r\n" + "long " * 100 + "\r\n",
            head + "\r\nbare\nLF\r\n", head + "\r\nbare\rCR\r\n",
            head + "\r\nNUL\0\r\n", head + "\r\nx\r\n" + "y" * SIZE + "\r\n",
            "Received: x\r\n" * (HOPS + 2) + head + "\r\n",
            "\r\nQUIT\r\nDATA\r\n", head + "\r\n\n.\n\r\nRSET\r\n")))

    def verdict(self, t, data):
        self.tx = None
        if len(data) > SIZE:
            return 552
        if not t.binary and re.search(rb"\0|\r(?!\n)|(?<!\r)\n", data):
            return 550
        if hops(data) > HOPS:
            return 554
        t.data = data
        self.accepted.append(t)
        return 250

    def no_message(self):
        t = self.tx
        if not self.helo or not t or t.failed:
            return 503
        if not t.rcpts:
            return 554 if t.refused else 503
        return None

    def data(self):
        if self.rng.random() < 0.05:
            return "DATA now", [501 if self.helo else 503]
        code = self.no_message()
        t = self.tx
        if not code and (t.data is not None or t.binary):
            code = 503
        if code:
            return "DATA", [code]
        text = self.message()
        # RFC 2920 wants DATA to be the last of a group; who sends on anyway
        # is understood all the same.
        return b"DATA\r\n" + stuff(text), [354, self.verdict(
            t, text if text.endswith(b"\r\n") else text + b"\r\n")]

    def bdat(self):
        last = self.rng.random() < 0.4
        data = self.message()
        cut = self.rng.choice((0, 1, 10, len(data), len(data)))
        data = data[:cut]
        wire = octets(f"BDAT {len(data)}{' LAST' if last else ''}\r\n") + data
        code = self.no_message()
        if code:
            return wire, [code]
        t = self.tx
        t.data = (t.data or b"") + data
        if last:
            return wire, [self.verdict(t, t.data)]
        if len(t.data) > SIZE:
            t.failed = True
            return wire, [552]
        return wire, [250]

    def rset(self):
        self.tx = None
        return "RSET", [250]

    def other(self):
        line, before, after = self.rng.choice((
            ("NOOP", 250, 250), ("NOOP x", 250, 250), ("VRFY a", 252, 252),
            ("VRFY", 501, 501), ("HELP", 214, 214), ("WHAT", 500, 500),
            ("EXPN a", 502, 502), ("AUTH PLAIN x", 502, 502), ("", 500, 500),
            ("STARTTLS", 503, 502), ("VRFY \u00e4", 252, 252),
            (" NOOP", 500, 500), ("LHLO x", 502, 502)))
        return line, [after if self.helo else before]

    def end(self):
        line, code = self.rng.choice((
            (b"QUIT", 221), (b"BDAT x", 501), (b"NO\0OP", 500),
            (b"NOOP\r", 500), (b"MAIL\nNOOP", 500),
            (b"BDAT 9223372036854775807 LAST", 552)))
        self.over = True
        return line, [code]

    def step(self):
        """Weighted so that transactions get somewhere."""
        if not self.helo and self.rng.random() < 0.5:
            return self.ehlo()
        return self.rng.choices(
            (self.mail, self.rcpt, self.data, self.bdat, self.rset,
             self.other, self.ehlo, self.end),
            (20, 35, 12, 15, 3, 10, 4, 0.4))[0]()

    def state(self):
        t = self.tx
        return (self.helo, bool(t), len(t.rcpts) if t else 0)


def chopped(rng, data):
    """In one to four writes."""
    cuts = sorted(rng.randrange(len(data) + 1)
                  for _ in range(rng.choice((0, 0, 0, 1, 3))))
    for a, b in zip([0] + cuts, cuts + [len(data)]):
        yield data[a:b]


def walk(relay, rng, states):
    """One session; returns its model and how many commands it had."""
    m, done, history = Model(rng), 0, []
    with relay.smtp("inbound", hello=False) as c:
        for _ in range(rng.choice((3, 10, 40))):
            wire, want = b"", []
            for _ in range(rng.choice((1, 2, 5, 20))):
                out, codes = m.step()
                out = octets(out)
                if not out.endswith(b"\n") and not (
                        out.startswith(b"BDAT ") and b"\r\n" in out):
                    out += b"\r\n"
                wire += out
                want += codes
                history.append((out[:80], codes))
                done += 1
                states.add(m.state())
                if m.over:
                    break
            for part in chopped(rng, wire):
                c.send(part)
            got = [c.reply().code for _ in want]
            assert got == want, history[-30:]
            if m.over:
                assert c.eof(), history[-30:]
                break
    return m, done


def test_model(relay, peer):
    rng = random.Random(SEED)
    done, accepted, sessions, states = 0, [], 0, set()
    while done < COMMANDS:
        try:
            m, n = walk(relay, rng, states)
        except BaseException:
            print(f"UMBRA_SEED={SEED}, session {sessions}")
            raise
        done += n
        sessions += 1
        accepted += m.accepted
    peer.wait(len(accepted), LONG)
    # Exactly these: senders, recipients and octets.
    want = sorted((t.sender, t.rcpts, t.data) for t in accepted)
    got = sorted((m.sender, m.to, m.body) for m in peer.messages)
    assert got == want
    # The walk has seen what it should have.
    assert sessions > 50 and len(accepted) > 150, (sessions, len(accepted))
    assert len(states) >= 2 + RCPTS
    print(f"{done} commands, {sessions} sessions, {len(accepted)} messages")
