"""The ledger: what was sent, answered and received, and whether it adds up.

Every transaction of a sender has a token, which is the local part of its MAIL
FROM and is never used twice. The sender's side enters what it says and what
it is answered; the sink's side enters every copy at the moment when it decides
to take it, before it answers; the test enters when the relay ended and how.

    for each (token, recipient) that was acknowledged:
        delivered once or more, or bounced, or still queued      else LOST
    nothing that was never sent, or was refused for good, comes  else STRANGER
    what comes is what was sent                                   else CHANGED
    every further copy has a reason                             else DUPLICATE
    who is reported as failed was refused by the sink        else FALSE_BOUNCE

Reasons, as in docs/message-life.md: D1 the relay said that a reply was lost
(delivery.in_doubt); D2 it was killed while the copy was in flight (FLIGHT
seconds at most, and it had not said that it was over) or just finished
(`window` seconds); D3 the same for a report.
"""
import hashlib
import re
import threading
import time

LOST, STRANGER, CHANGED = "lost", "stranger", "changed"
DUPLICATE, FALSE_BOUNCE = "duplicate", "false bounce"

TOKENS = "sender.test"
FLIGHT = 5.0
#: In a spool dump: a report to this token's sender.
REPORT = "(report)"


def digest(body):
    return hashlib.sha256(body).hexdigest()[:24]


def address(token):
    return f"{token}@{TOKENS}" if token else ""


def token_of(addr):
    local, _, domain = addr.rpartition("@")
    return local if domain.lower() == TOKENS else None


class Finding(tuple):
    """(kind, token, recipient, what exactly)"""
    __slots__ = ()

    def __new__(cls, *what):
        return super().__new__(cls, what)

    kind = property(lambda self: self[0])

    def __str__(self):
        return "%s: %s to %s: %s" % self


class Sent:
    def __init__(self, rcpts, body):
        self.rcpts, self.size = list(rcpts), len(body)
        self.digest = digest(body)
        self.code = None     # the reply to the end of data; None: none came
        self.text = ""
        self.time = None

    @property
    def acked(self):
        return self.code == 250


class Life:
    """One run of the relay. end: everything that it had sent was read."""

    def __init__(self, start):
        self.start, self.killed, self.end = start, None, None

    def holds(self, t):
        return self.start <= t and (self.end is None or t <= self.end)


class Ledger:
    def __init__(self, window=0.4, clock=time.time):
        self.window, self.clock = window, clock
        self.lock = threading.Lock()
        self.sent = {}       # token -> Sent
        #: (token, rcpt) -> [(time, "copy" | "refused", digest)]
        self.attempts = {}
        self.reports = {}    # (token, rcpt) -> {report's own id: [time]}
        self.doubts = {}     # token, or report's id -> [time]
        self.told = {}       # (token, or report's id, rcpt) -> [time]
        self.strangers = []  # findings
        self.lives = []
        self.who = {}        # (token, rcpt, time) -> whose copy, in a pair

    # --- the sender's side --------------------------------------------------

    def send(self, token, rcpts, body):
        """Before the first octet goes out."""
        with self.lock:
            assert token not in self.sent, token
            self.sent[token] = Sent(rcpts, body)

    def answer(self, token, code, text="", rcpts=None):
        """rcpts: those that were accepted, when not all were."""
        with self.lock:
            s = self.sent[token]
            s.code, s.text, s.time = code, text, self.clock()
            if rcpts is not None:
                s.rcpts = list(rcpts)

    # --- the sink's side ----------------------------------------------------

    def copy(self, sender, rcpts, body, who=None):
        """All of a message is here; called before it is answered."""
        now = self.clock()
        token = token_of(sender)
        with self.lock:
            for r in rcpts:
                if sender == "" and token_of(r):
                    self._report(token_of(r), r, body, now, who)
                elif token is None:
                    self.strangers.append(Finding(
                        STRANGER, sender, r, "no token"))
                else:
                    self.who[token, r, now] = who
                    self.attempts.setdefault((token, r), []).append(
                        (now, "copy", digest(body)))

    def refused(self, sender, rcpt, who=None):
        """A 5xx is going to be said to this recipient."""
        token, now = token_of(sender), self.clock()
        with self.lock:
            self.who[token, rcpt, now] = who
            self.attempts.setdefault((token, rcpt), []).append(
                (now, "refused", None))

    def _report(self, token, to, body, now, who):
        text = body.decode("utf-8", "replace")
        own = re.search(r"(?im)^message-id:\s*(\S+)", text)
        # The machine readable part: a block of fields per recipient.
        blocks = re.findall(r"(?ims)^final-recipient:.*?(?=\r\n\r\n)", text)
        for b in blocks:
            about = re.search(r"(?i)final-recipient:[^;]*;\s*(\S+)", b)
            if re.search(r"(?im)^action:\s*failed", b):
                self.who[token, f"{about[1]} (report)", now] = who
                self.reports.setdefault((token, about[1]), {}).setdefault(
                    own[1] if own else "?", []).append(now)
        if not blocks:
            self.strangers.append(Finding(
                STRANGER, token, to, f"a report about nobody: {text[:200]!r}"))

    # --- the relay's side ---------------------------------------------------

    def born(self):
        with self.lock:
            self.lives.append(Life(self.clock()))

    def killing(self):
        """Just before kill -9, or when it was found dead."""
        with self.lock:
            self.lives[-1].killed = self.clock()

    def ended(self):
        """Nothing that it had sent is unread any more."""
        with self.lock:
            self.lives[-1].end = self.clock()

    def doubt(self, sender, msg, when=None):
        """The log said delivery.in_doubt."""
        with self.lock:
            self.doubts.setdefault(token_of(sender) or msg, []).append(
                self.clock() if when is None else when)

    def over(self, sender, msg, rcpt, when):
        """The log said delivery.sent or delivery.failed; when: None if its
        clock is not ours."""
        with self.lock:
            self.told.setdefault(
                (token_of(sender) or msg, rcpt), []).append(when)

    # --- the verdict --------------------------------------------------------

    def ids(self):
        """Queue ids of what was acknowledged -> token."""
        with self.lock:
            return {s.text.rpartition(" ")[2]: t
                    for t, s in self.sent.items() if s.acked}

    def missing(self, queued=()):
        """Acknowledged and neither delivered nor bounced nor in queued, a
        set of (token, recipient or REPORT)."""
        with self.lock:
            return [(t, r) for t, s in self.sent.items() if s.acked
                    for r in s.rcpts if not self._kept(t, r, queued)]

    def _kept(self, t, r, queued):
        if (t, r) in queued or self.reports.get((t, r)):
            return True
        tried = {k for _, k, _ in self.attempts.get((t, r), ())}
        return "copy" in tried or ("refused" in tried and
                                   (t, REPORT) in queued)

    def counts(self):
        with self.lock:
            acked = [s for s in self.sent.values() if s.acked]
            return {
                "sent": len(self.sent), "acked": len(acked),
                "recipients": sum(len(s.rcpts) for s in acked),
                "copies": sum(k == "copy" for a in self.attempts.values()
                              for _, k, _ in a),
                "reports": sum(len(r) for r in self.reports.values()),
                "kills": sum(x.killed is not None for x in self.lives)}

    def _life(self, _token, _rcpt, t):
        """Of the relay that made the copy of t."""
        return next((x for x in self.lives if x.holds(t)), None)

    def _killed(self, life, a, keys, rcpt):
        """life was killed before it could know for sure of the copy of a."""
        if life is None or life.killed is None or \
                life.killed - a > FLIGHT:
            return False
        # The log has milliseconds, cut off.
        told = [t or a for k in keys for t in self.told.get((k, rcpt), ())
                if t is None or a - 0.002 <= t <= life.killed]
        return life.killed - min(told, default=life.killed) <= self.window

    def _reason(self, a, b, keys, token, rcpt, to):
        """Why there was something at b after the same at a. to: whom the
        message of keys was for."""
        life = self._life(token, rcpt, a)
        if self._killed(life, a, keys, to) and \
                life.end is not None and b >= life.end:
            return "D2"
        # The log has milliseconds, cut off.
        if any(a - 0.002 <= t <= b for k in keys
               for t in self.doubts.get(k, ())):
            return "D1"
        return None

    def _repeats(self, token, rcpt, times, keys, to, found, reasons):
        times = sorted(times)
        for a, b in zip(times, times[1:]):
            why = self._reason(a, b, keys, token, rcpt, to)
            if why:
                reasons.append((why, token, rcpt))
            else:
                life = self._life(token, rcpt, a)
                end = f"killed {life.killed - a:.3f} s after the first" \
                    if life and life.killed else "its relay was not killed"
                found.append(Finding(
                    DUPLICATE, token, rcpt,
                    f"again {b - a:.3f} s later, {end}"))

    def _attempts(self, token, rcpt, tries, found, reasons):
        s = self.sent.get(token)
        if s is None or rcpt not in s.rcpts:
            found.append(Finding(STRANGER, token, rcpt, "was never sent"))
            return
        copies = [d for _, k, d in tries if k == "copy"]
        if copies and s.code is not None and \
                (s.code >= 500 or s.code == 452):
            found.append(Finding(STRANGER, token, rcpt,
                                 f"was refused with {s.code} and came"))
        for d in copies:
            if d != s.digest:
                found.append(Finding(CHANGED, token, rcpt,
                                     f"{d} instead of {s.digest}"))
        self._repeats(token, rcpt, [t for t, _, _ in tries], (token,), rcpt,
                      found, reasons)

    def _bounces(self, token, rcpt, reports, found, reasons):
        refusals = sum(k == "refused" for _, k, _ in
                       self.attempts.get((token, rcpt), ()))
        if token not in self.sent:
            found.append(Finding(STRANGER, token, rcpt,
                                 "a report about what was never sent"))
        elif not refusals:
            found.append(Finding(FALSE_BOUNCE, token, rcpt,
                                 "reported as failed, the sink knows nothing"))
        elif len(reports) > refusals:
            found.append(Finding(
                DUPLICATE, token, rcpt,
                f"{len(reports)} reports of {refusals} refusals"))
        elif len(reports) > 1:
            reasons.extend([("D3", token, rcpt)] * (len(reports) - 1))
        for own, times in reports.items():
            keys = {k for k in self.doubts if k and k in own} | {
                k for k, _ in self.told if k and k in own}
            self._repeats(token, f"{rcpt} (report)", times, keys,
                          address(token), found, reasons)

    def check(self, queued=()):
        """(findings, reasons); the first must be empty."""
        found, reasons = list(self.strangers), []
        for token, rcpt in self.missing(queued):
            s = self.sent[token]
            found.append(Finding(
                LOST, token, rcpt, f"answered {s.code} {s.text}, "
                f"{s.size} octets"))
        with self.lock:
            for (token, rcpt), tries in self.attempts.items():
                self._attempts(token, rcpt, tries, found, reasons)
            for (token, rcpt), reports in self.reports.items():
                self._bounces(token, rcpt, reports, found, reasons)
        return found, reasons

    def verify(self, queued=()):
        """Fails on the first findings; returns the reasons, counted."""
        found, reasons = self.check(queued)
        assert not found, "%d findings, %s\n%s" % (
            len(found), self.counts(), "\n".join(map(str, found[:20])))
        tally = {}
        for why, _, _ in reasons:
            tally[why] = tally.get(why, 0) + 1
        return tally


class NodeLedger:
    """What one relay of several enters; all else is the ledger's."""

    def __init__(self, whole, name):
        self.whole, self.name, self.lives = whole, name, []

    def __getattr__(self, what):
        return getattr(self.whole, what)

    born, killing, ended = Ledger.born, Ledger.killing, Ledger.ended

    def copy(self, sender, rcpts, body):
        self.whole.copy(sender, rcpts, body, self.name)

    def refused(self, sender, rcpt):
        self.whole.refused(sender, rcpt, self.name)


class PairLedger(Ledger):
    """Of relays that keep copies for each other. Two more reasons: D5 a relay
    said that it took the message over; D6 the test gave a relay back an older
    state of its disk, and that one made the further copy.

    A message that was refused for want of a copy (451) comes only if somebody
    took over what it had of it, and no recipient gets more than `most`."""

    def __init__(self, most=2, **more):
        super().__init__(**more)
        self.most = most
        self.nodes = {}
        self.mids = {}       # mid -> token
        self.takeovers = {}  # token -> [(time, who, reason)]
        self.restored = []   # (time, who)
        self.used = {}       # (token, rcpt) -> takeovers that explained one

    def node(self, name):
        return self.nodes.setdefault(name, NodeLedger(self, name))

    def took_over(self, token, who, reason):
        with self.lock:
            self.takeovers.setdefault(token, []).append(
                (self.clock(), who, reason))

    def restore(self, who):
        with self.lock:
            self.restored.append((self.clock(), who))

    def counts(self):
        got = super().counts()
        got["kills"] = sum(x.killed is not None for n in self.nodes.values()
                           for x in n.lives)
        return got

    def _life(self, token, rcpt, t):
        who = self.who.get((token, rcpt, t))
        lives = self.nodes[who].lives if who in self.nodes else ()
        return next((x for x in lives if x.holds(t)), None)

    def _reason(self, a, b, keys, token, rcpt, to):
        life = self._life(token, rcpt, a)
        if self._killed(life, a, keys, to) and b >= life.killed - 0.05:
            return "D2"
        if any(a - 0.002 <= t <= b for k in keys
               for t in self.doubts.get(k, ())):
            return "D1"
        taken = self.takeovers.get(token, ())
        if len(taken) > self.used.get((token, rcpt), 0):
            self.used[token, rcpt] = self.used.get((token, rcpt), 0) + 1
            return "D5"
        second = self.who.get((token, rcpt, b))
        if any(a < t < b and w == second for t, w in self.restored):
            return "D6"
        return None

    def check(self, queued=()):
        self.used = {}
        found, reasons = super().check(queued)
        for (token, rcpt), tries in self.attempts.items():
            copies = [t for t, k, _ in tries if k == "copy"]
            s = self.sent.get(token)
            if len(copies) > self.most:
                found.append(Finding(DUPLICATE, token, rcpt,
                                     f"{len(copies)} copies"))
            if s and copies and s.code == 451 and "redundant" in s.text and \
                    token not in self.takeovers and not self.restored:
                found.append(Finding(
                    STRANGER, token, rcpt,
                    "was refused for want of a copy and came"))
        return found, reasons
