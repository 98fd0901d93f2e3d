"""A scripted next hop: good, slow, rude or lying, by SMTP or LMTP.

It records every transaction octet by octet. What it answers is its `on`
table, from a verb to one of
  - a reply ("550 5.1.1 no"), bytes that are sent as they are, a list of both
  - DROP or RESET: the connection ends there
  - a function (conn, line) that returns one of these, or None: as usual.
Verbs are those of SMTP and also GREET (the greeting), END (the end of a DATA
body or of the last chunk), CHUNK (a chunk that is not the last).
Anything may be changed while it runs.
"""
import re
import socket
import ssl
import struct
import threading

from port import free_port
from smtp import octets
from wait import LONG, until

DROP = object()
RESET = object()

ALL = ("PIPELINING", "SIZE 104857600", "8BITMIME", "SMTPUTF8", "DSN",
       "ENHANCEDSTATUSCODES", "CHUNKING", "BINARYMIME")
#: What a server from long ago offers.
PLAIN = ("PIPELINING",)


def without(*names):
    return tuple(e for e in ALL if e.split()[0] not in names)


class Transaction:
    def __init__(self, conn, line):
        self.conn = conn
        self.mail = line           # "MAIL FROM:<..> .." as it came
        self.rcpts = []            # accepted "RCPT TO:<..> .." lines
        self.data = b""            # the message, dots undone
        self.wire = b""            # as it came, with the end of data
        self.how = None            # DATA or BDAT
        self.chunks = []

    @property
    def sender(self):
        return re.search(r"<(.*?)>( |$)", self.mail)[1]

    @property
    def to(self):
        return [re.search(r"<(.*)>( |$)", r)[1] for r in self.rcpts]

    @property
    def body(self):
        """Without the Received field that the relay has put in front."""
        m = re.match(rb"Received:[^\r\n]*\r\n([ \t][^\r\n]*\r\n)*", self.data)
        assert m, self.data[:200]
        return self.data[m.end():]

    def param(self, line, key):
        m = re.search(rf" {key}=(\S+)", line, re.I)
        return m and m[1]


class End(Exception):
    pass


class Conn:
    def __init__(self, peer, sock, number):
        self.peer, self.sock, self.number = peer, sock, number
        self.buf = b""
        self.log = []      # command lines
        self.wire = b""    # every octet that came, after TLS
        self.tls = None
        self.helo = None
        self.tx = None
        self.done = 0      # transactions that were taken

    def recv(self):
        try:
            more = self.sock.recv(262144)
        except OSError:
            more = b""
        if not more:
            raise End
        if self.peer.keep_wire:
            self.wire += more
        self.buf += more

    def line(self):
        while b"\n" not in self.buf:
            self.recv()
        line, _, self.buf = self.buf.partition(b"\n")
        return line.removesuffix(b"\r").decode("utf-8", "surrogateescape")

    def take(self, n):
        while len(self.buf) < n:
            self.recv()
        got, self.buf = self.buf[:n], self.buf[n:]
        return got

    def body(self):
        """Up to CRLF.CRLF and nothing else; as it came."""
        at = 0
        self.buf = b"\r\n" + self.buf
        while True:
            i = self.buf.find(b"\r\n.\r\n", at)
            if i >= 0:
                got, self.buf = self.buf[2:i + 5], self.buf[i + 5:]
                return got
            at = max(0, len(self.buf) - 4)
            self.recv()

    def send(self, what):
        if what is DROP:
            raise End
        if what is RESET:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                 struct.pack("ii", 1, 0))
            raise End
        if isinstance(what, (list, tuple)):
            for w in what:
                self.send(w)
            return
        data = what if isinstance(what, bytes) else octets(what) + b"\r\n"
        try:
            self.sock.sendall(data)
        except OSError:
            raise End from None

    def say(self, verb, line, usual):
        """Answers; True when it was a 2xx or 3xx."""
        gate = self.peer.gate.get(verb)
        if gate:
            self.peer.note(("gate", verb))
            gate.wait(LONG)
        on = self.peer.on.get(verb)
        what = on(self, line) if callable(on) else on
        what = usual if what is None else what
        self.send(what)
        first = what[0] if isinstance(what, (list, tuple)) else what
        return octets(first)[:1] in (b"2", b"3")

    # --- the protocol -------------------------------------------------------

    def run(self):
        if self.peer.implicit:
            self.secure()
        if not self.say("GREET", "", "220 peer.test ESMTP scripted"):
            # A server may refuse and still wait for QUIT.
            pass
        while True:
            line = self.line()
            self.log.append(line)
            verb = line.split(" ")[0].upper()
            do = getattr(self, "do_" + verb.lower(), None)
            if do:
                do(verb, line)
            else:
                self.say(verb, line, "500 5.5.1 what?")

    def secure(self):
        assert not self.buf
        try:
            self.sock = self.peer.tls.wrap_socket(self.sock, server_side=True)
        except OSError as e:
            self.peer.note(("tls", e))
            raise End from None
        self.tls = self.sock.version()

    def hello(self, verb, line):
        ext = list(self.peer.ext)
        if self.peer.tls and not self.tls:
            ext.append("STARTTLS")
        lines = ["peer.test"] + ext
        text = "\r\n".join([f"250-{x}" for x in lines[:-1]] +
                           [f"250 {lines[-1]}"])
        if self.say(verb, line, text):
            self.helo = line
            self.tx = None

    do_ehlo = hello

    def do_lhlo(self, verb, line):
        if self.peer.lmtp:
            self.hello(verb, line)
        else:
            self.say(verb, line, "500 5.5.1 this is SMTP")

    def do_helo(self, verb, line):
        if self.say(verb, line, "250 peer.test"):
            self.helo = line
            self.tx = None

    def do_starttls(self, verb, line):
        if self.say(verb, line, "220 2.0.0 go ahead") and self.peer.tls:
            self.secure()
            self.helo = self.tx = None

    def do_mail(self, verb, line):
        if self.tx:
            self.send("503 5.5.1 nested MAIL")
            self.peer.note(("protocol", "nested MAIL"))
        elif self.say(verb, line, "250 2.1.0 ok"):
            self.tx = Transaction(self, line)

    def do_rcpt(self, verb, line):
        if not self.tx:
            self.send("503 5.5.1 MAIL first")
        elif self.say(verb, line, "250 2.1.5 ok"):
            self.tx.rcpts.append(line)

    def do_rset(self, verb, line):
        if self.say(verb, line, "250 2.0.0 ok"):
            self.tx = None

    def do_noop(self, verb, line):
        self.say(verb, line, "250 2.0.0 ok")

    def do_quit(self, verb, line):
        self.say(verb, line, "221 2.0.0 bye")
        raise End

    def do_data(self, verb, line):
        if not self.tx:
            self.send("503 5.5.1 MAIL first")
            return
        usual = "354 go" if self.tx.rcpts else "554 5.5.1 no recipients"
        if not self.say(verb, line, usual):
            self.tx = None
            return
        t = self.tx
        t.how = "DATA"
        t.wire = self.body()
        t.data = re.sub(rb"(^|\r\n)\.", rb"\1", t.wire[:-3])
        self.end()

    def do_bdat(self, verb, line):
        part = line.split(" ")
        data = self.take(int(part[1]))
        last = part[-1].upper() == "LAST"
        if not self.tx or not self.tx.rcpts:
            self.send("503 5.5.1 no transaction")
            return
        self.tx.how = "BDAT"
        self.tx.chunks.append(data)
        self.tx.data += data
        self.tx.wire += data
        if last:
            self.end()
        elif not self.say("CHUNK", line, "250 2.0.0 chunk"):
            self.tx = None

    def end(self):
        t, self.tx = self.tx, None
        # RFC 2033: one reply per accepted recipient.
        took = False
        for r in t.rcpts if self.peer.lmtp else [t.rcpts[-1:]]:
            self.tx_now = t
            took |= self.say("END", r, "250 2.0.0 taken")
        if took:
            self.done += 1
            self.peer.took(t)


class Peer:
    def __init__(self, ext=ALL, on=None, lmtp=False, tls=None, implicit=False,
                 host="127.0.0.1", port=0, keep_wire=True):
        self.ext, self.on = ext, dict(on or {})
        self.lmtp, self.tls, self.implicit = lmtp, tls, implicit
        self.keep_wire = keep_wire
        self.gate = {}       # verb -> threading.Event that it waits for
        self.messages = []   # transactions that were taken
        self.conns = []      # every connection there ever was
        self.notes = []      # oddities
        self.cond = threading.Condition()
        self.host = host
        self.sock = None
        self.port = port or free_port(host)
        self.up()

    def up(self):
        """Listens (again)."""
        fam = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self.sock = socket.socket(fam, socket.SOCK_STREAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind((self.host, self.port))
        self.sock.listen(4096)  # what does not fit waits a minute, unseen
        threading.Thread(target=self._accept, args=(self.sock,),
                         daemon=True).start()

    def down(self):
        """Refuses connections; those that are open end."""
        s, self.sock = self.sock, None
        if s:
            # Wakes accept(), which close() alone does not.
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()
        for c in list(self.conns):
            try:
                c.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    close = down

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _accept(self, listener):
        while True:
            try:
                s, _ = listener.accept()
            except OSError:
                return
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.cond:
                c = Conn(self, s, len(self.conns))
                self.conns.append(c)
                self.cond.notify_all()
            threading.Thread(target=self._serve, args=(c,),
                             daemon=True).start()

    def _serve(self, c):
        try:
            c.run()
        except End:
            pass
        except Exception as e:  # a test wants to see it
            self.note(("broken", repr(e)))
        finally:
            c.sock.close()
            c.ended = True
            with self.cond:
                self.cond.notify_all()

    def note(self, what):
        with self.cond:
            self.notes.append(what)
            self.cond.notify_all()

    def took(self, t):
        with self.cond:
            self.messages.append(t)
            self.cond.notify_all()

    def wait(self, n=1, timeout=LONG):
        """The n-th message that was taken."""
        until(lambda: len(self.messages) >= n, timeout,
              text=lambda: f"{len(self.messages)} of {n} messages at the "
              f"peer; notes {self.notes}; "
              f"{[c.log[-6:] for c in self.conns[-3:]]}")
        return self.messages[n - 1]

    def find(self, want, timeout=LONG):
        """The message for which want(transaction) is true."""
        return until(lambda: next((m for m in list(self.messages)
                                   if want(m)), None), timeout,
                     text=lambda: f"no such message among "
                     f"{[(m.sender, m.to) for m in self.messages]}")

    def to(self, address, timeout=LONG):
        return self.find(lambda m: address in m.to, timeout)

    def gated(self, verb, timeout=LONG):
        """Waits until somebody stands before this gate."""
        until(lambda: ("gate", verb) in self.notes, timeout)


def server_tls(cert, key, **options):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ctx.load_cert_chain(cert, key)
    for k, v in options.items():
        setattr(ctx, k, v)
    return ctx
