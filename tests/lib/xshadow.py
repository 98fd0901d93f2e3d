"""The shadow link by hand: a client and a server that say what they are told.

    with Link(node.shadow_port, NAMES[1]) as k:     # as relay2
        k.hello()
        k.store(k.mid(1), record(k.mid(1), BODY), BODY)

    with FakePeer(NAMES[1]) as p:                   # relay1 connects to it
        p.on["STORE"] = "452 4.3.1 no room"

mta/shadow/wire.h has the lines, queue/envelope.h the record.
"""
import hashlib
import os
import random
import re
import socket
import ssl
import struct
import threading
import time

from pair import certificates
from peer import DROP
from smtp import Smtp, octets
from wait import until

WINDOW = "WINDOW=64 BYTES=67108864"


def tls(server=False, name=None, cert=None, ca=None):
    """A context with the certificate of a node, or of files; the other end is
    not verified by clients: the tests look at what it does."""
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server
                         else ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname = False
    ctx.verify_mode = ssl.CERT_NONE
    if name:
        stem = os.path.join(certificates(), name)
        cert = stem + ".pem", stem + ".key"
    if cert:
        ctx.load_cert_chain(*cert)
    if server:
        ctx.load_verify_locations(
            ca or os.path.join(certificates(), "shadow-ca.pem"))
        ctx.verify_mode = ssl.CERT_REQUIRED
        ctx.minimum_version = ssl.TLSVersion.TLSv1_3
    return ctx


def identity():
    """A database's and a start's."""
    return os.urandom(16).hex(), "%016x" % random.getrandbits(64)


# --- records -----------------------------------------------------------------

def _table():
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82f63b78 if n & 1 else 0)
        yield n


_crc = tuple(_table())


def crc32c(data):
    c = 0xffffffff
    for b in data:
        c = c >> 8 ^ _crc[(c ^ b) & 255]
    return c ^ 0xffffffff


def field(tag, value):
    if isinstance(value, int):
        value = value.to_bytes((value.bit_length() + 7) // 8, "little")
    return struct.pack("<BI", tag, len(value)) + octets(value)


def seal(fields, magic=b"E", version=1):
    return magic + bytes((version, 0, 0)) + \
        struct.pack("<I", crc32c(fields)) + fields


def record(mid, body, sender="a@sender.test", rcpts=("b@one.test",), owner="",
           **more):
    """An envelope as its owner stores it. more: fields that replace others,
    f12=...; None: left out."""
    sid, inc, seq = mid.split(":")
    tag = field(2, bytes.fromhex(sid))
    head = body.find(b"\r\n\r\n") + 2
    v = {1: 1, 2: os.urandom(16), 3: int(time.time() * 1000), 4: sender, 5: 0,
         6: 0, 7: 0, 8: "", 9: "relay", 10: "192.0.2.1", 11: "client.test",
         12: "", 13: len(body), 14: max(head, 0), 15: crc32c(body), 16: 0,
         128: tag + field(4, int(inc, 16)) + field(5, int(seq, 16)),
         130: field(1, owner) + tag + field(3, 1)}
    for k, x in more.items():
        v[int(k[1:])] = x
    return seal(b"".join(field(t, x) for t, x in v.items() if x is not None) +
                b"".join(field(17, field(1, r) + field(2, "") + field(3, 0))
                         for r in rcpts))


def payload(rec, body, digest=None):
    return rec + body + (digest or hashlib.sha256(rec + body).digest())


# --- the client --------------------------------------------------------------

class Link(Smtp):
    """As the node `name`, to a node's shadow listener."""
    number = 0

    def __init__(self, port, name, ident=None, context=None):
        self.sid, self.inc = ident or identity()
        super().__init__("127.0.0.1", port, greet=False)
        self.sock = (context or tls(name=name)).wrap_socket(self.sock)
        self.greeting = self.reply()
        assert self.greeting.code == 220, self.greeting

    def mid(self, seq, inc=None, sid=None):
        return f"{sid or self.sid}:{inc or self.inc}:{seq:x}"

    def hello_line(self, link=None, prev=(), next=1, sid=None, inc=None):
        if link is None:
            Link.number += 1
            link = Link.number
        return (f"XSHADOW HELLO V=1 SID={sid or self.sid} "
                f"INC={inc or self.inc} "
                f"{'PREV=' + ','.join(prev) + ' ' if prev else ''}"
                f"NEXT={next:x} LINK={link} TAKEOVER=3600000")

    def hello(self, *args, **more):
        r = self.cmd(self.hello_line(*args, **more))
        assert r.code == 250, r
        return r

    def say_store(self, mid, rec, body, gen=1, digest=None, done=None,
                  env=None, size=None):
        self.send(f"XSHADOW STORE MID={mid} GEN={gen} "
                  f"ENV={len(rec) if env is None else env} "
                  f"SIZE={len(body) if size is None else size}"
                  f"{'' if done is None else ' DONE=' + done}\r\n",
                  payload(rec, body, digest))

    def store(self, mid, rec, body, **more):
        self.say_store(mid, rec, body, **more)
        return self.reply()

    def status(self, *mids):
        """The answers, as words."""
        r = self.cmd("XSHADOW STATUS " + " ".join(mids))
        assert r.code == 250, r
        return " ".join([r.lines[0].partition(" ")[2]] + [
            x.partition(" ")[2] if re.match(r"2\.0\.0 ", x) else x
            for x in r.lines[1:]]).split()

    def ping(self, next=1, seen=None):
        r = self.cmd(f"XSHADOW PING NEXT={next:x}" +
                     (f" SEEN={seen}" if seen else ""))
        assert r.code == 250, r
        return dict(w.split("=") for w in r.text.split() if "=" in w)

    def alive(self):
        return self.cmd("NOOP").code == 250


# --- the server --------------------------------------------------------------

class Stored:
    def __init__(self, line, rec, body, digest):
        self.line, self.record, self.body = line, rec, body
        self.mid = re.search(r" MID=(\S+)", line)[1]
        self.gen = int(re.search(r" GEN=(\d+)", line)[1])
        self.good = hashlib.sha256(rec + body).digest() == digest
        self.digest = digest


class FakePeer:
    """What a node takes for the peer `name`. on: verb -> a reply without CRLF,
    bytes as they are, DROP, or a function (peer, line) of these and None."""

    def __init__(self, name, ident=None, context=None):
        self.name = name
        self.sid, self.inc = ident or identity()
        self.on = {}
        self.said = []     # lines
        self.stored = []   # Stored
        self.conns = []
        self.trouble = []
        self.free = "ok"
        self.tls = context or tls(True, name)
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        self.cut()

    def cut(self):
        for s in self.conns:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _accept(self):
        while True:
            try:
                s, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(s,),
                             daemon=True).start()

    def _serve(self, s):
        try:
            s = self.tls.wrap_socket(s, server_side=True)
            self.conns.append(s)
            f = s.makefile("rb")
            s.sendall(octets(f"220 {self.name} ESMTP shadow\r\n"))
            while True:
                line = f.readline().decode("ascii").rstrip("\r\n")
                if not line:
                    break
                self.said.append(line)
                verb = line.split()[1] if line[:7] == "XSHADOW" else line
                if verb == "STORE":
                    env, size = (int(re.search(rf" {k}=(\d+)", line)[1])
                                 for k in ("ENV", "SIZE"))
                    self.stored.append(Stored(
                        line, f.read(env), f.read(size), f.read(32)))
                what = self.on.get(verb)
                if callable(what):
                    what = what(self, line)
                if what is None:
                    what = self.usual(verb, line)
                if what is DROP:
                    break
                s.sendall(what if isinstance(what, bytes)
                          else octets(what) + b"\r\n")
        except (OSError, ValueError, TypeError) as e:
            self.trouble.append(e)
        finally:
            s.close()

    def usual(self, verb, line):
        me = f"SID={self.sid} INC={self.inc} HELD={len(self.stored)}"
        if verb == "HELLO":
            return f"250 2.0.0 V=1 {me} {WINDOW} FREE={self.free}"
        if verb == "PING":
            return f"250 2.0.0 {me} FREE={self.free}"
        if verb == "STORE":
            x = self.stored[-1]
            return f"250 2.0.0 held MID={x.mid} DIG={x.digest.hex()}"
        if verb == "DONE":
            return f"250 2.0.0 noted {len(line.split()) - 2}"
        if verb == "STATUS":
            return "250 2.0.0 answer" + " NONE" * (len(line.split()) - 2)
        if verb == "CLAIM":
            return "250 2.0.0 none"
        return "221 2.0.0 bye" if verb == "QUIT" else "250 2.0.0 ok"

    def wait(self, word, n=1):
        """The n-th line with this in it."""
        return until(lambda: [x for x in list(self.said) if word in x][n - 1:],
                     text=lambda: f"no {word} among {self.said}")[0]
