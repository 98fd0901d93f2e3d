"""A scripted DNS server (UDP and TCP): zones from a table, and lies.

    d = Dns("127.0.0.1")
    d.mx("good.test", (10, "mx1.good.test"))
    d.a("mx1.good.test", "192.0.2.1")
    d.lie["bad.test"] = function(query, usual) -> bytes | [bytes, ...] | None

A name that is not there is NXDOMAIN, one with other types is NODATA. A lie
gets the question (dns.message) and the honest answer, and returns octets to
send, several datagrams, or None for silence.
"""
import socket
import struct
import threading

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from port import free_port


def key(name):
    return name.rstrip(".").lower()


class Dns:
    def __init__(self, host="127.0.0.1", port=0):
        self.rr = {}      # (name, type) -> [text, ...]
        self.lie = {}     # name -> function
        self.asked = []   # (name, type)
        self.ttl = 1
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # Thousands of questions at once on a busy machine: none is dropped.
        so_rcvbufforce = 33
        try:
            self.udp.setsockopt(socket.SOL_SOCKET, so_rcvbufforce, 16 << 20)
        except OSError:
            self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.port = port or free_port(host)
        self.udp.bind((host, self.port))
        self.tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.tcp.bind((host, self.port))
        self.tcp.listen(64)
        self.address = f"{host}:{self.port}"
        for run in self._serve_udp, self._serve_tcp:
            threading.Thread(target=run, daemon=True).start()

    def close(self):
        for s in self.tcp, self.udp:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def add(self, name, kind, *values):
        self.rr.setdefault((key(name), kind), []).extend(values)

    def a(self, name, *addresses):
        for x in addresses:
            self.add(name, "AAAA" if ":" in x else "A", x)

    def mx(self, name, *hosts):
        self.add(name, "MX", *[f"{p} {h.rstrip('.')}." for p, h in hosts])

    def cname(self, name, to):
        self.add(name, "CNAME", to.rstrip(".") + ".")

    # --- answering ----------------------------------------------------------

    def honest(self, query, udp=True):
        r = dns.message.make_response(query)
        r.flags |= dns.flags.RA
        q = query.question[0]
        name, kind = key(q.name.to_text()), dns.rdatatype.to_text(q.rdtype)
        for _ in range(30):
            values = self.rr.get((name, kind))
            alias = self.rr.get((name, "CNAME"))
            if values or not alias:
                break
            self._put(r, name, "CNAME", alias)
            name = key(alias[0])
        if values:
            self._put(r, name, kind, values)
        elif not any(n == name for n, _ in self.rr):
            r.set_rcode(dns.rcode.NXDOMAIN)
        wire = r.to_wire(max_size=65535)
        if udp and len(wire) > (query.payload or 512):
            r = dns.message.make_response(query)
            r.flags |= dns.flags.TC | dns.flags.RA
            wire = r.to_wire()
        return wire

    def _put(self, r, name, kind, values):
        r.answer.append(dns.rrset.from_text(
            dns.name.from_text(name), self.ttl, "IN", kind, *values))

    def answers(self, wire, udp):
        try:
            query = dns.message.from_wire(wire)
            q = query.question[0]
        except Exception:
            return []
        name = key(q.name.to_text())
        self.asked.append((name, dns.rdatatype.to_text(q.rdtype)))
        usual = self.honest(query, udp)
        lie = self.lie.get(name)
        if not lie:
            return [usual]
        query.udp = udp
        got = lie(query, usual)
        if got is None:
            return []
        return got if isinstance(got, list) else [got]

    def _serve_udp(self):
        while True:
            try:
                wire, peer = self.udp.recvfrom(65535)
                for answer in self.answers(wire, True):
                    self.udp.sendto(answer, peer)
            except OSError:
                if self.udp.fileno() < 0:
                    return

    def _serve_tcp(self):
        while True:
            try:
                s, _ = self.tcp.accept()
            except OSError:
                return
            threading.Thread(target=self._one_tcp, args=(s,),
                             daemon=True).start()

    def _one_tcp(self, s):
        with s:
            s.settimeout(10)
            try:
                while True:
                    head = s.recv(2, socket.MSG_WAITALL)
                    if len(head) < 2:
                        return
                    wire = s.recv(struct.unpack("!H", head)[0],
                                  socket.MSG_WAITALL)
                    for answer in self.answers(wire, False):
                        s.sendall(struct.pack("!H", len(answer)) + answer)
            except OSError:
                return


# --- making octets by hand ---------------------------------------------------


def wire_name(name):
    return b"".join(bytes((len(x),)) + x.encode("latin-1")
                    for x in name.rstrip(".").split(".") if x) + b"\0"


def record(name, kind, rdata, ttl=1, klass=1, rdlength=None):
    n = name if isinstance(name, bytes) else wire_name(name)
    return n + struct.pack("!HHIH", kind, klass, ttl,
                           len(rdata) if rdlength is None else rdlength) + \
        rdata


def response(query, *records, flags=0x8180, counts=None, ident=None,
             question=None):
    """A response of hand-made records to a question."""
    q = query.question[0]
    name = question if question is not None else wire_name(q.name.to_text())
    head = struct.pack("!HHHHHH",
                       query.id if ident is None else ident, flags,
                       *(counts or (1, len(records), 0, 0)))
    body = name + struct.pack("!HH", q.rdtype, q.rdclass) \
        if question != b"" else b""
    return head + body + b"".join(records)


def mx_data(preference, host):
    return struct.pack("!H", preference) + (
        host if isinstance(host, bytes) else wire_name(host))
