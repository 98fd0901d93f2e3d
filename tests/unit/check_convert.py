#!/usr/bin/python3
"""Converts random messages and compares, with Python's own MIME parser, the
decoded payload of every part before and after.

    check_convert.py build/asan/tests/unit/test_convert [ROUNDS [SEED]]

Not part of the unit tests: a second opinion from other code, run by hand.
"""
import email
import email.policy
import random
import subprocess
import sys

EOL = b"\r\n"
POLICY = email.policy.compat32


def text(r, mode):
    lines = []
    for _ in range(r.randrange(8)):
        kind = r.randrange(6)
        if kind == 0:
            lines.append(b"-" * r.randrange(90))
        elif kind == 1:
            lines.append(b"= .\t " * r.randrange(30))
        elif kind == 2:
            # Escaped this would spell a boundary.
            lines.append(b"--b%d\xe9" % r.randrange(9))
        else:
            lines.append("d\u00e9j\u00e0 vu \u4e2d ".encode() * r.randrange(40))
    data = EOL.join(lines)
    if mode == "binary" and r.randrange(2):
        data += b"\0\n\r x\xff" + b"z" * r.randrange(1200)
    # Python takes a CR at the end of a part for half of the line end that
    # belongs to the delimiter.
    return data.rstrip(b"\r\n") + r.choice([b"", EOL, b" "])


def octets(r, mode):
    data = r.randbytes(r.randrange(400)) if mode == "binary" else text(r, mode)
    return data.rstrip(b"\r\n") + b"."


def leaf(r, mode):
    cte = r.choice([b"", b"Content-Transfer-Encoding: %s\r\n" % mode.encode()])
    if r.randrange(2):
        return b"Content-Type: text/plain; charset=utf-8\r\n" + cte, \
            text(r, mode)
    return cte + b"Content-Type: application/x-y;\r\n name=z\r\n", \
        octets(r, mode)


def entity(r, mode, depth, serial):
    """Header block (no empty line) and body."""
    what = r.randrange(4) if depth < 5 else 3
    cte = b"Content-Transfer-Encoding: %s\r\n" % mode.encode()
    if what == 0:
        head, body = entity(r, mode, depth + 1, serial)
        return b"Content-Type: message/rfc822\r\n" + cte, \
            b"Subject: s\r\nMIME-Version: 1.0\r\n" + head + EOL + body
    if what in (1, 2):
        serial[0] += 1
        b = b"b%d=%s" % (serial[0], r.choice([b"E9", b"3D", b"_"]))
        body = r.choice([b"", b"preamble\r\n"])
        for _ in range(1 + r.randrange(4)):
            head, inner = entity(r, mode, depth + 1, serial)
            body += b"--" + b + EOL + head + EOL + inner + EOL
        body += b"--" + b + b"--" + EOL + r.choice([b"", b"epilogue"])
        return b'Content-Type: multipart/mixed;\r\n\tboundary="' + b + \
            b'"\r\n' + r.choice([b"", cte]), body
    return leaf(r, mode)


def payloads(data):
    return [(p.get_content_type(), p.get_payload(decode=True))
            for p in email.message_from_bytes(data, policy=POLICY).walk()
            if not p.is_multipart()]


def fits(data, to):
    return (to == "8" or max(data, default=0) < 128) and b"\0" not in data \
        and all(len(x) <= 998 and b"\r" not in x and b"\n" not in x
                for x in data.split(EOL))


def main():
    tool = sys.argv[1]
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    r = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    changed = 0
    for i in range(rounds):
        mode = r.choice(["8bit", "binary"])
        to = r.choice("78") if mode == "binary" else "7"
        head, body = entity(r, mode, 0, [0])
        data = b"From: a@b.example\r\nMIME-Version: 1.0\r\n" + head + EOL + \
            body
        out = []
        for piece in ("1048576", str(1 + r.randrange(70))):
            run = subprocess.run([tool, to, piece], input=data,
                                 capture_output=True)
            if run.returncode:
                sys.exit(f"round {i}: {run.stderr.decode()}\n{data[:2000]!r}")
            out.append(run.stdout)
        changed += out[0] != data
        if out[0] != out[1]:
            sys.exit(f"round {i}: the cut matters\n{data[:2000]!r}")
        if out[0] != data and not fits(out[0], to):
            sys.exit(f"round {i}: does not fit\n{data[:2000]!r}")
        a, b = payloads(data), payloads(out[0])
        if a != b:
            for x, y in zip(a, b):
                if x != y:
                    print(x, y, sep="\n")
            sys.exit(f"round {i}: payloads differ\n{data[:2000]!r}\n"
                     f"{out[0][:2000]!r}")
    print(f"{rounds} messages, {changed} changed, all parts the same")


main()
