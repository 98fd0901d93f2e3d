"""The ledger itself: each rule as a row. Times are seconds of a fake clock.

A row is a story: (time, what happens, arguments). Findings and reasons must
be exactly these."""
import pytest

from ledger import (CHANGED, DUPLICATE, FALSE_BOUNCE, LOST, REPORT, STRANGER,
                    Ledger, PairLedger, address)

R1, R2 = "one@a.test", "two@b.test"
BODY = b"Subject: x\r\n\r\nbody\r\n"


def report(rcpt, own="<r1@relay.test>", action="failed"):
    return (f"From: x\r\nMessage-ID: {own}\r\n\r\nwords\r\n\r\n"
            f"Reporting-MTA: dns; relay\r\n\r\n"
            f"Final-Recipient: rfc822; {rcpt}\r\nAction: {action}\r\n"
            f"Status: 5.1.1\r\n\r\n").encode()


SEND = [(0, "born"), (1, "send", "t", [R1, R2], BODY),
        (2, "answer", "t", 250, "2.0.0 Ok: queued as Q")]


def copy(t, *rcpts, sender=address("t"), body=BODY):
    return (t, "copy", sender, rcpts, body)


def over(t, rcpt, when=0):
    return (t, "over", address("t"), "Q", rcpt, when if when is None else t)


def kill(t):
    return [(t, "killing"), (t + .1, "ended"), (t + .2, "born")]


ROWS = {
    "delivered to both": (SEND + [copy(3, R1, R2)], [], []),
    "in two transactions": (SEND + [copy(3, R1), copy(4, R2)], [], []),
    "nothing comes": (SEND, [LOST, LOST], []),
    "one recipient dropped": (SEND + [copy(3, R1)], [LOST], []),
    "not acknowledged, nothing comes":
        ([(1, "send", "t", [R1], BODY)], [], []),
    "not acknowledged, comes nevertheless":
        ([(1, "send", "t", [R1], BODY), copy(3, R1)], [], []),
    "refused with 550 and comes":
        ([(1, "send", "t", [R1], BODY), (2, "answer", "t", 550), copy(3, R1)],
         [STRANGER], []),
    "refused with 452 and comes":
        ([(1, "send", "t", [R1], BODY), (2, "answer", "t", 452), copy(3, R1)],
         [STRANGER], []),
    "unknown outcome, answered 451, and comes":
        ([(1, "send", "t", [R1], BODY), (2, "answer", "t", 451), copy(3, R1)],
         [], []),
    "never sent": ([copy(3, R1, sender=address("u"))], [STRANGER], []),
    "no token": ([copy(3, R1, sender="x@elsewhere.test")], [STRANGER], []),
    "to somebody else": (SEND + [copy(3, R1, R2, "x@c.test")], [STRANGER], []),
    "another body": (SEND + [copy(3, R1, R2, body=BODY + b"x")],
                     [CHANGED, CHANGED], []),
    "cut off": (SEND + [copy(3, R1, R2, body=BODY[:-3])],
                [CHANGED, CHANGED], []),
    "twice": (SEND + [copy(3, R1, R2), copy(4, R2)], [DUPLICATE], []),
    "twice in one transaction": (SEND + [copy(3, R1, R2, R2)],
                                 [DUPLICATE], []),
    "twice, killed in flight": (SEND + [copy(3, R1, R2)] + kill(3.2) +
                                [copy(5, R1, R2)], [], ["D2", "D2"]),
    "twice, read after the kill": (
        SEND + [(3, "killing"), copy(3.05, R1, R2), (3.1, "ended"),
                (3.2, "born"), copy(5, R1)], [], ["D2"]),
    "twice, killed much later": (SEND + [copy(3, R1, R2)] + kill(9) +
                                 [copy(11, R1)], [DUPLICATE], []),
    "twice, killed later in flight": (
        SEND + [copy(3, R1, R2), over(3.1, R1)] + kill(7) +
        [copy(8, R2)], [], ["D2"]),
    "twice, killed much later in flight": (
        SEND + [copy(3, R1, R2), over(3.1, R1)] + kill(9) +
        [copy(10, R2)], [DUPLICATE], []),
    "twice, killed just after it was over": (
        SEND + [copy(3, R1, R2), over(4, R1), over(4, R2)] + kill(4.2) +
        [copy(8, R2)], [], ["D2"]),
    "twice, killed later than it was over": (
        SEND + [copy(3, R1, R2), over(3.1, R1), over(3.1, R2)] + kill(4) +
        [copy(8, R2)], [DUPLICATE], []),
    "twice, killed later than it was over by a clock of its own": (
        SEND + [copy(3, R1, R2), over(3.1, R1, None)] + kill(4) +
        [copy(8, R1)], [DUPLICATE], []),
    "twice, over in the next life": (
        SEND + [copy(3, R1, R2)] + kill(4) +
        [copy(8, R1), over(8.1, R1), over(8.1, R2)], [], ["D2"]),
    "twice before the kill": (SEND + [copy(3, R1, R2), copy(3.1, R1)] +
                              kill(3.2), [DUPLICATE], []),
    "three times, one kill": (SEND + [copy(3, R1, R2)] + kill(3.2) +
                              [copy(5, R1), copy(6, R1)], [DUPLICATE], ["D2"]),
    "three times, two kills": (
        SEND + [copy(3, R1, R2)] + kill(3.2) + [copy(5, R1)] + kill(5.2) +
        [copy(6, R1)], [], ["D2", "D2"]),
    "stopped in order, then twice": (
        SEND + [copy(3, R1, R2), (3.1, "ended"), (3.2, "born"), copy(5, R1)],
        [DUPLICATE], []),
    "twice, reply lost": (
        SEND + [copy(3, R1, R2), (3.1, "doubt", address("t"), "Q"),
                copy(5, R1, R2)], [], ["D1", "D1"]),
    "twice, another's reply lost": (
        SEND + [copy(3, R1, R2), (3.1, "doubt", address("u"), "P"),
                copy(5, R1)], [DUPLICATE], []),
    "twice, reply lost before the first": (
        SEND + [(2.5, "doubt", address("t"), "Q"), copy(3, R1, R2),
                copy(5, R1)], [DUPLICATE], []),
    "bounced": (SEND + [copy(3, R1), (3, "refused", address("t"), R2),
                        copy(4, address("t"), sender="", body=report(R2))],
                [], []),
    "refused, no report": (SEND + [copy(3, R1), (3, "refused", address("t"),
                                                R2)], [LOST], []),
    "delayed is no bounce": (
        SEND + [copy(3, R1), (3, "refused", address("t"), R2),
                copy(4, address("t"), sender="",
                     body=report(R2, action="delayed"))], [LOST], []),
    "bounced for no reason": (
        SEND + [copy(3, R1), copy(4, address("t"), sender="",
                                  body=report(R2))], [FALSE_BOUNCE], []),
    "a second report": (
        SEND + [copy(3, R1), (3, "refused", address("t"), R2),
                copy(4, address("t"), sender="", body=report(R2)),
                copy(5, address("t"), sender="", body=report(R2, "<r2@r>"))],
        [DUPLICATE], []),
    "a second report, killed between": (
        SEND + [copy(3, R1), (3.1, "refused", address("t"), R2),
                copy(3.15, address("t"), sender="", body=report(R2))] +
        kill(3.2) +
        [(4, "refused", address("t"), R2),
         copy(5, address("t"), sender="", body=report(R2, "<r2@r>"))],
        [], ["D2", "D3"]),
    "the same report twice": (
        SEND + [copy(3, R1), (3, "refused", address("t"), R2),
                copy(4, address("t"), sender="", body=report(R2)),
                copy(5, address("t"), sender="", body=report(R2))],
        [DUPLICATE], []),
    "refused twice without a kill": (
        SEND + [copy(3, R1), (3, "refused", address("t"), R2),
                (4, "refused", address("t"), R2),
                copy(4, address("t"), sender="", body=report(R2))],
        [DUPLICATE], []),
    "a report about nobody": (SEND + [copy(3, R1, R2), copy(
        4, address("t"), sender="", body=b"Subject: x\r\n\r\n")],
        [STRANGER], []),
    "a report about a stranger": ([copy(
        4, address("v"), sender="", body=report(R2))], [STRANGER], []),
}


@pytest.mark.parametrize("name", ROWS)
def test_rule(name):
    story, want, reasons = ROWS[name]
    now = [0]
    led = Ledger(window=0.4, clock=lambda: now[0])
    for t, what, *args in story:
        now[0] = t
        getattr(led, what)(*args)
    found, why = led.check()
    assert [f.kind for f in found] == want, list(map(str, found))
    assert sorted(w for w, _, _ in why) == reasons


def test_queued_is_not_lost():
    led = Ledger()
    led.send("t", [R1, R2], BODY)
    led.answer("t", 250, "2.0.0 Ok: queued as 1G9T0XP3")
    assert led.ids() == {"1G9T0XP3": "t"}
    assert [f[2] for f in led.check({("t", R1)})[0]] == [R2]
    assert led.check({("t", R1), ("t", R2)}) == ([], [])
    led.refused(address("t"), R2)
    assert [f[2] for f in led.check({("t", R1)})[0]] == [R2]
    assert led.check({("t", R1), ("t", REPORT)})[0] == []
    assert [f[2] for f in led.check({("t", REPORT)})[0]] == [R1]


# --- of a pair ---------------------------------------------------------------

def got(t, who, *rcpts):
    return (t, "copy", address("t"), rcpts, BODY, who)


def took(t, who="b", why="silence"):
    return (t, "took_over", "t", who, why)


NO_COPY = (2, "answer", "t", 451, "4.3.0 the message could not be made "
           "redundant, try again later")
PAIR = {
    "once": ([got(3, "a", R1, R2)], [], []),
    "never": ([], [LOST, LOST], []),
    "by each of them, nobody says why":
        ([got(3, "a", R1, R2), got(4, "b", R1, R2)], [DUPLICATE] * 2, []),
    "taken over": ([got(3, "a", R1, R2), took(3.5), got(4, "b", R1, R2)],
                   [], ["D5", "D5"]),
    "the first owner is late":
        ([took(3), got(3.5, "b", R1, R2), got(4, "a", R1)], [], ["D5"]),
    "another message was taken over":
        ([got(3, "a", R1, R2), (3, "took_over", "u", "b", "silence"),
          got(4, "b", R1)], [DUPLICATE], []),
    "taken over once, three copies":
        ([got(3, "a", R1, R2), took(3.5), got(4, "b", R1), got(5, "b", R1)],
         [DUPLICATE, DUPLICATE], ["D5"]),
    "taken over twice, three copies":
        ([got(3, "a", R1, R2), took(3.5), got(4, "b", R1), took(4.5, "a"),
          got(5, "a", R1)], [DUPLICATE], ["D5", "D5"]),
    "killed in delivery, the other one goes on":
        ([got(3, "a", R1, R2), ("a", 3.1, "killing"), ("a", 3.2, "ended"),
          got(3.3, "b", R1)], [], ["D2"]),
    "the other one was killed":
        ([got(3, "a", R1, R2), ("b", 3.1, "killing"), ("b", 3.2, "ended"),
          got(3.3, "a", R1)], [DUPLICATE], []),
    "an older disk delivers again":
        ([got(3, "a", R1, R2), (4, "restore", "a"), got(5, "a", R1)],
         [], ["D6"]),
    "an older disk, and the other one delivers":
        ([got(3, "a", R1, R2), (4, "restore", "a"), got(5, "b", R1)],
         [DUPLICATE], []),
    "refused for want of a copy": ([NO_COPY], [], []),
    "and comes": ([NO_COPY, got(3, "a", R1)], [STRANGER], []),
    "and comes from who took it over":
        ([NO_COPY, took(3), got(4, "b", R1)], [], []),
}


@pytest.mark.parametrize("name", PAIR)
def test_pair(name):
    story, findings, why = PAIR[name]
    now = [0.0]
    ledger = PairLedger(clock=lambda: now[0])
    steps = [("a", 0, "born"), ("b", 0, "born"),
             (1, "send", "t", [R1, R2], BODY),
             (2, "answer", "t", 250, "2.0.0 Ok: queued as Q"), *story]
    for step in steps:
        to = ledger
        if isinstance(step[0], str):
            to, step = ledger.node(step[0]), step[1:]
        now[0] = step[0]
        getattr(to, step[1])(*step[2:])
    found, reasons = ledger.check()
    assert sorted(f.kind for f in found) == sorted(findings), found
    assert sorted(r[0] for r in reasons) == sorted(why)
    # The same again: nothing was used up.
    assert ledger.check() == (found, reasons)
