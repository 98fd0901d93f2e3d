"""Waiting for something to become true, with a deadline.

Tests never sleep to pass: they wait for an event (a log line, a message at a
peer, a reply) and fail with what was seen when it does not come.
"""
import time

#: Generous: instrumented programs on a busy machine are slow.
LONG = 30.0


def until(what, timeout=LONG, every=0.01, text=None):
    """Calls what() until it returns something true; returns that."""
    end = time.monotonic() + timeout
    while True:
        got = what()
        if got:
            return got
        if time.monotonic() > end:
            why = text() if callable(text) else text
            raise AssertionError(f"not within {timeout} s: {why or what}")
        time.sleep(every)
