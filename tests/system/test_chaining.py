"""Chained transactions with a next hop that breaks the rules (RFC 5321 4.1.1.5,
RFC 3030): what is sent ahead must never end up under another envelope."""
import select
import socket
import threading

from test_delivery import MESSAGE, Net
from wait import until


class Stubborn:
    """Refuses the first chunk and keeps its transaction; refuses RSET; answers
    QUIT with rubbish. Remembers under which envelope each body came."""

    def __init__(self, refuse_first=True):
        self.refuse = refuse_first
        self.taken, self.lines = [], []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                c, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.session, args=(c,),
                             daemon=True).start()

    def chunk(self, c, size):
        body = b""
        while len(body) < size:
            body += self.f.read1(size - len(body))
        if self.refuse:
            self.refuse = False
            # Answer when what is chained has come, so that there is some.
            select.select([c], [], [], 10)
            return b"451 4.3.0 no\r\n"
        self.taken.append((self.mail, list(self.rcpts), body))
        self.mail, self.rcpts = None, []
        return b"250 2.0.0 taken\r\n"

    def session(self, c):
        self.f = c.makefile("rb")
        self.mail, self.rcpts = None, []
        c.sendall(b"220 stubborn\r\n")
        try:
            for raw in self.f:
                line = raw.decode().strip()
                self.lines.append(line)
                verb = line[:4]
                if verb == "EHLO":
                    r = b"250-stubborn\r\n250-PIPELINING\r\n250 CHUNKING\r\n"
                elif verb == "MAIL" and self.mail:
                    r = b"503 5.5.1 nested\r\n"
                elif verb == "MAIL":
                    self.mail, r = line, b"250 ok\r\n"
                elif verb == "RCPT":
                    self.rcpts.append(line)
                    r = b"250 ok\r\n"
                elif verb == "BDAT":
                    r = self.chunk(c, int(line.split()[1]))
                elif verb == "RSET":
                    r = b"451 4.3.0 not now\r\n"
                elif verb == "QUIT":
                    c.sendall(b"rubbish\r\n")
                    return
                else:
                    r = b"250 ok\r\n"
                c.sendall(r)
        except OSError:
            pass
        finally:
            c.close()


def test_a_refused_reset_mixes_no_envelopes():
    hop = Stubborn()
    with Net(to=(hop.port, {"limits": {"connections": 1}})) as net:
        net.send("a1@sender.test", "one@to.test", MESSAGE + b"first\r\n")
        until(lambda: any(x.startswith("BDAT") for x in hop.lines))
        net.send("a2@sender.test", "two@to.test", MESSAGE + b"second\r\n")
        until(lambda: any(b"second" in t[2] for t in hop.taken))
        assert hop.taken
        for mail, rcpts, body in hop.taken:
            n = "1" if body.endswith(b"first\r\n") else "2"
            to = "one" if n == "1" else "two"
            assert mail.startswith(f"MAIL FROM:<a{n}@sender.test>"), hop.lines
            assert [r.split(">")[0] for r in rcpts] == [
                f"RCPT TO:<{to}@to.test"], hop.lines


def test_rubbish_after_quit_is_nobodys_trouble():
    hop = Stubborn(refuse_first=False)
    with Net(to=(hop.port,
                 {"limits": {"messages_per_connection": 1}})) as net:
        for n in "12":
            net.send("a@sender.test", f"{n}@to.test", MESSAGE)
            until(lambda: len(hop.taken) == int(n))
            until(lambda: hop.lines.count("QUIT") == int(n))
        assert not net.u.seen("host.failed")
