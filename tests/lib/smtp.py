"""A raw SMTP client: says exactly what it is told, octet by octet."""
import re
import socket
import ssl

from wait import LONG


class Closed(Exception):
    """The server closed the connection instead of answering."""


class Reply:
    def __init__(self, code, lines):
        self.code = code
        self.lines = lines  # without code and separator
        m = re.match(r"([245]\.\d{1,3}\.\d{1,3})( |$)", lines[0])
        self.enh = m[1] if m else None
        self.text = "\n".join(lines)

    def __repr__(self):
        return f"<{self.code} {self.text}>"

    def __eq__(self, other):
        """Equal to a code, or to "550 5.7.1"."""
        if isinstance(other, int):
            return self.code == other
        if isinstance(other, str):
            return f"{self.code} {self.enh}" == other
        return NotImplemented


def octets(s):
    return s if isinstance(s, bytes) else s.encode("utf-8", "surrogateescape")


def trusting():
    """A TLS client context that takes every certificate."""
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname = False
    ctx.verify_mode = ssl.CERT_NONE
    return ctx


def stuff(message):
    """A message as DATA carries it: dots doubled, end of data."""
    body = re.sub(rb"(^|\r\n)\.", rb"\1..", message)
    return body + (b"" if body.endswith(b"\r\n") or not body
                   else b"\r\n") + b".\r\n"


class Smtp:
    def __init__(self, host, port, tls=None, greet=True, source=None,
                 timeout=LONG):
        self.sock = socket.create_connection(
            (host, port), timeout=timeout,
            source_address=(source, 0) if source else None)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf = b""
        if tls:
            self.start_tls(tls)
        self.greeting = self.reply() if greet else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def start_tls(self, ctx=None):
        """The handshake alone."""
        self.sock = (ctx or trusting()).wrap_socket(
            self.sock, server_hostname="mx.umbra.test")

    # --- octets -------------------------------------------------------------

    def send(self, *parts):
        self.sock.sendall(b"".join(octets(p) for p in parts))

    def dribble(self, data):
        """Every octet in a write of its own."""
        for b in octets(data):
            self.sock.sendall(bytes((b,)))

    def line(self):
        while b"\n" not in self.buf:
            try:
                more = self.sock.recv(65536)
            except (ConnectionError, ssl.SSLEOFError):
                more = b""
            if not more:
                raise Closed(f"connection closed, unread: {self.buf!r}")
            self.buf += more
        line, _, self.buf = self.buf.partition(b"\n")
        assert line.endswith(b"\r"), f"bare LF from the server: {line!r}"
        return line[:-1].decode("utf-8", "surrogateescape")

    def reply(self):
        lines = []
        while True:
            s = self.line()
            m = re.match(r"([2345]\d\d)([ -])(.*)$", s)
            assert m, f"not a reply line: {s!r}"
            lines.append(m[3])
            if m[2] == " ":
                return Reply(int(m[1]), lines)

    def replies(self, n):
        return [self.reply() for _ in range(n)]

    def eof(self):
        """True when the server has closed and nothing is unread."""
        try:
            while True:
                more = self.sock.recv(65536)
                if not more:
                    return not self.buf
                self.buf += more
        except (ConnectionError, ssl.SSLError):
            return not self.buf

    # --- commands -----------------------------------------------------------

    def cmd(self, line):
        self.send(line, b"\r\n")
        return self.reply()

    def ok(self, line, code=250):
        r = self.cmd(line)
        assert r.code == code, f"{line!r}: {r}"
        return r

    def ehlo(self, name="client.test"):
        r = self.ok(f"EHLO {name}")
        self.ext = {x.split(" ")[0].upper(): x.partition(" ")[2]
                    for x in r.lines[1:]}
        return r

    def starttls(self, ctx=None):
        r = self.ok("STARTTLS", 220)
        assert not self.buf
        self.start_tls(ctx)
        return r

    def envelope(self, sender, rcpts, mail="", rcpt=""):
        self.ok(f"MAIL FROM:<{sender}>{mail and ' ' + mail}")
        for r in [rcpts] if isinstance(rcpts, str) else rcpts:
            self.ok(f"RCPT TO:<{r}>{rcpt and ' ' + rcpt}")

    def mail(self, sender, rcpts, message, mail="", rcpt="", bdat=0):
        """A whole transaction; the queue id. bdat: chunk size."""
        self.envelope(sender, rcpts, mail, rcpt)
        r = self.bdat(message, bdat) if bdat else self.data(message)
        assert r.code == 250, r
        return queued_as(r)

    def data(self, message):
        self.ok("DATA", 354)
        self.send(stuff(octets(message)))
        return self.reply()

    def bdat(self, message, size):
        """In chunks of this size; the reply to the last."""
        message = octets(message)
        at = 0
        while True:
            part = message[at:at + size]
            at += len(part)
            last = at >= len(message)
            self.send(f"BDAT {len(part)}{' LAST' if last else ''}\r\n", part)
            r = self.reply()
            if last or r.code != 250:
                return r

    def quit(self):
        r = self.cmd("QUIT")
        self.close()
        return r


def queued_as(reply):
    """The queue id; how safe the message is may follow it."""
    m = re.match(r"2\.0\.0 Ok: queued as ([0-9A-Za-z]+)(, .*)?$", reply.text)
    assert m, reply
    return m[1]
