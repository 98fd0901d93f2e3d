"""T11: names. A scripted server answers, honestly and not.

Everything here runs in a private network whose interface has documentation
addresses, because hosts found through MX may not be on loopback.
"""
import struct

import dns.flags
import dns.message
import dns.rcode
import pytest

import lab
from dnsd import Dns, mx_data, record, response, wire_name
from dsn import Dsn
from peer import Peer
from umbra import NODE, Umbra, base
from wait import LONG, until

MESSAGE = b"Subject: dns\r\n\r\nbody\r\n"
MX, A, AAAA, CNAME = 15, 1, 28, 5
PORT = 2500


class World:
    """A relay that delivers by MX, its DNS, hosts on addresses of the lab."""

    def __init__(self):
        self.dns = Dns()
        self.hosts = {}
        conf = base()
        conf["receive_connectors"].append(
            {"name": "self", "bind": [f"192.0.2.50:{PORT}"],
             "remote": ["192.0.2.0/24", "127.0.0.0/8"]})
        conf["send_connectors"] = [
            {"name": "mx", "address_spaces": ["*"], "port": PORT,
             "tls": {"mode": "none"}, "timeouts": {"connect": "2s"}},
            {"name": "back", "address_spaces": ["sender.test"],
             "smart_hosts": [f"192.0.2.1:{PORT}"], "tls": {"mode": "none"}},
            {"name": "named", "address_spaces": ["named.test"],
             "smart_hosts": [f"smart.test:{PORT}"], "tls": {"mode": "none"}},
        ]
        conf["queue"].update(expire_after="1h", delay_notice_after="0s")
        conf["dns"] = {"servers": [self.dns.address], "timeout": "300ms",
                       "tries": 2}
        self.u = Umbra(conf)

    def host(self, address):
        if address not in self.hosts:
            self.hosts[address] = Peer(host=address, port=PORT)
        return self.hosts[address]

    def send(self, to, sender="a@sender.test"):
        return self.u.send(sender, to, MESSAGE)

    def bounce(self, to, sender):
        return Dsn(self.host("192.0.2.1").to(sender)).rcpt(to)

    def loops(self, domain, *addresses):
        """Mail to the domain comes back as a loop; a connection to any of
        the addresses, which also shows when it fails, is the fault."""
        sender = f"loop-{fresh()}@sender.test"
        mark = self.u.mark()
        self.send(f"x@{domain}", sender)

        def tried():
            return [x for x in self.u.seen("host.failed", since=mark)
                    if any(f"[{a}]" in x["host"] for a in addresses)]
        until(lambda: tried() or any(
            sender in m.to for m in self.host("192.0.2.1").messages))
        assert not tried()
        assert self.bounce(f"x@{domain}", sender)["status"] == "5.4.6"
        assert not self.u.seen("session.open", since=mark, connector="self")


@pytest.fixture(scope="module")
def net():
    with lab.network():
        w = World()
        w.host("192.0.2.1")
        with w.u:
            yield w
        w.dns.close()
        for p in w.hosts.values():
            p.close()


def fresh(n=[0]):
    n[0] += 1
    return f"d{n[0]}.test"


# --- honest answers ----------------------------------------------------------


def test_preference(net):
    """The best first, whatever the order of the answer."""
    d = fresh()
    net.dns.mx(d, (30, f"c.{d}"), (10, f"a.{d}"), (20, f"b.{d}"))
    for n, x in zip((2, 3, 4), "abc"):
        net.dns.a(f"{x}.{d}", f"192.0.2.{n}")
        net.host(f"192.0.2.{n}")
    net.send(f"x@{d}")
    assert net.host("192.0.2.2").to(f"x@{d}")
    line = net.u.wait("delivery.sent", to=f"<x@{d}>")
    assert line["host"] == f"a.{d}[192.0.2.2]:{PORT}", line.text


def test_random_inside_a_preference(net):
    """RFC 5321 5.1: equal ones share the load."""
    addresses = [f"192.0.2.{n}" for n in (2, 3, 4)]
    hosts = [net.host(a) for a in addresses]
    for _ in range(20):
        d = fresh()
        net.dns.mx(d, *[(10, f"m{i}.{d}") for i in range(3)])
        for i, a in enumerate(addresses):
            net.dns.a(f"m{i}.{d}", a)
        net.send(f"x@{d}")
        until(lambda: any(f"x@{d}" in m.to for h in hosts
                          for m in h.messages))
    used = [any(m.to[0].startswith("x@d") for m in h.messages)
            for h in hosts]
    assert all(used)   # by chance not: 3 * (2/3)^20, 1 in 1000


def test_failover_between_mx(net):
    """Who does not answer is passed over; when it is back it is used."""
    d = fresh()
    net.dns.mx(d, (10, f"dead.{d}"), (20, f"busy.{d}"), (30, f"good.{d}"))
    net.dns.a(f"dead.{d}", "192.0.2.40")    # nobody listens
    net.dns.a(f"busy.{d}", "192.0.2.6")
    net.dns.a(f"good.{d}", "192.0.2.7")
    busy, good = net.host("192.0.2.6"), net.host("192.0.2.7")
    busy.on["GREET"] = "421 4.3.2 too busy"
    net.send(f"one@{d}")
    assert good.to(f"one@{d}")
    failed = net.u.wait("host.failed", host=f"dead.{d}[192.0.2.40]:{PORT}")
    assert "refused" in failed["said"], failed.text
    net.u.wait("host.failed", host=f"busy.{d}[192.0.2.6]:{PORT}")
    assert len(good.conns) == 1


def test_all_addresses_of_a_host_are_tried(net):
    """A host with a dead address and an IPv6 one."""
    d = fresh()
    net.dns.mx(d, (10, f"m.{d}"))
    net.dns.a(f"m.{d}", "192.0.2.41", "192.0.2.42", "2001:db8::2")
    net.host("2001:db8::2")
    net.send(f"x@{d}")
    assert net.host("2001:db8::2").to(f"x@{d}")


def test_ipv6_only(net):
    d = fresh()
    net.dns.mx(d, (10, f"m.{d}"))
    net.dns.a(f"m.{d}", "2001:db8::3")
    net.host("2001:db8::3")
    net.send(f"x@{d}")
    assert net.host("2001:db8::3").to(f"x@{d}")


def test_implicit_mx(net):
    """RFC 5321 5.1: no MX, but an address."""
    d = fresh()
    net.dns.a(d, "192.0.2.8")
    net.host("192.0.2.8")
    net.send(f"x@{d}")
    assert net.host("192.0.2.8").to(f"x@{d}")


def test_no_implicit_mx_when_there_is_one(net):
    """The MX host has no address: the A of the domain itself is not used."""
    d = fresh()
    net.dns.mx(d, (10, f"none.{d}"))
    net.dns.add(f"none.{d}", "TXT", '"x"')
    net.dns.a(d, "192.0.2.8")
    net.host("192.0.2.8")
    net.send(f"x@{d}", "noimplicit@sender.test")
    r = net.bounce(f"x@{d}", "noimplicit@sender.test")
    assert r["status"] == "5.4.4", r


def test_null_mx(net):
    """RFC 7505: refused at once, with its own code."""
    d = fresh()
    net.dns.add(d, "MX", "0 .")
    net.dns.a(d, "192.0.2.8")
    net.send(f"x@{d}", "nullmx@sender.test")
    r = net.bounce(f"x@{d}", "nullmx@sender.test")
    assert r["status"] == "5.1.10", r


def test_no_such_domain(net):
    d = fresh()
    net.send(f"x@{d}", "nx@sender.test")
    assert net.bounce(f"x@{d}", "nx@sender.test")["status"] == "5.1.2"


def test_neither_mx_nor_address(net):
    d = fresh()
    net.dns.add(d, "TXT", '"x"')
    net.send(f"x@{d}", "none@sender.test")
    assert net.bounce(f"x@{d}", "none@sender.test")["status"] == "5.4.4"


def test_cname_to_mx(net):
    d = fresh()
    net.dns.cname(d, f"real.{d}")
    net.dns.mx(f"real.{d}", (10, f"m.{d}"))
    net.dns.cname(f"m.{d}", f"host.{d}")
    net.dns.a(f"host.{d}", "192.0.2.9")
    net.host("192.0.2.9")
    net.send(f"x@{d}")
    assert net.host("192.0.2.9").to(f"x@{d}")


def test_international_domain(net):
    """A U-label is asked for as its A-label; the address stays as written."""
    net.dns.mx("xn--mnchen-3ya.test", (10, "m.muc.test"))
    net.dns.a("m.muc.test", "192.0.2.10")
    net.host("192.0.2.10")
    with net.u.smtp() as c:
        c.mail("a@sender.test", "x@m\u00fcnchen.test", MESSAGE,
               mail="SMTPUTF8")
    assert net.host("192.0.2.10").to("x@m\u00fcnchen.test")


def test_smart_host_by_name(net):
    """A name is looked up as A and AAAA, never as MX."""
    net.dns.mx("smart.test", (10, "wrong.test"))
    net.dns.a("smart.test", "192.0.2.11")
    net.host("192.0.2.11")
    net.send("x@named.test")
    assert net.host("192.0.2.11").to("x@named.test")
    assert ("smart.test", "MX") not in net.dns.asked


def test_large_answer_over_tcp(net):
    """Truncated over UDP: asked again over TCP."""
    d = fresh()
    net.dns.mx(d, *[(20 + i, f"a-rather-long-host-name-{i}.{d}")
                    for i in range(90)], (10, f"m.{d}"))
    net.dns.a(f"m.{d}", "192.0.2.12")
    net.host("192.0.2.12")
    net.send(f"x@{d}")
    assert net.host("192.0.2.12").to(f"x@{d}")


# --- ourselves, and loopback -------------------------------------------------


OURS = ["127.0.0.1", "127.1.2.3", "::1", "192.0.2.50", "0.0.0.0", "::",
        "::ffff:127.0.0.1", "::ffff:192.0.2.50"]


@pytest.mark.parametrize("address", OURS)
def test_never_to_ourselves_through_mx(net, address):
    """Loopback, the unspecified address (which Linux takes for loopback), an
    address that we listen on, as IPv4 in IPv6 too: not connected to; mail
    that would loop comes back."""
    d = fresh()
    net.dns.mx(d, (10, f"m.{d}"))
    net.dns.a(f"m.{d}", address)
    net.loops(d, address)


def test_our_own_name_as_mx(net):
    """RFC 5321 5.1: it and all that are not better are dropped, whatever its
    address says; a better one is used."""
    d = fresh()
    net.dns.mx(d, (10, f"good.{d}"), (20, NODE), (30, f"worse.{d}"))
    net.dns.a(NODE, "192.0.2.33")
    net.dns.a(f"good.{d}", "192.0.2.43")     # nobody there
    net.dns.a(f"worse.{d}", "192.0.2.34")
    worse, us = net.host("192.0.2.34"), net.host("192.0.2.33")
    net.send(f"x@{d}")
    until(lambda: [x for x in net.u.seen("host.failed")
                   if f"good.{d}" in x["host"]])
    assert not worse.conns and not us.conns
    only = fresh()
    net.dns.mx(only, (10, NODE))
    net.send(f"x@{only}", "ourname@sender.test")
    r = net.bounce(f"x@{only}", "ourname@sender.test")
    assert r["status"] == "5.4.6", r
    assert not us.conns


def test_one_of_several_is_loopback(net):
    """Better ones than the one that is ourselves are used."""
    d = fresh()
    net.dns.mx(d, (10, f"good.{d}"), (20, f"bad.{d}"))
    net.dns.a(f"good.{d}", "192.0.2.13")
    net.dns.a(f"bad.{d}", "127.0.0.1")
    net.host("192.0.2.13")
    net.send(f"x@{d}")
    assert net.host("192.0.2.13").to(f"x@{d}")


@pytest.mark.parametrize("address", OURS)
def test_implicit_mx_to_ourselves(net, address):
    d = fresh()
    net.dns.a(d, address)
    net.loops(d, address)


def test_bound_to_every_address(net):
    """The usual bind is 0.0.0.0: every address of this machine is ours."""
    d = fresh()
    net.dns.mx(d, (10, f"m.{d}"))
    net.dns.a(f"m.{d}", "192.0.2.51")
    conf = base()
    conf["receive_connectors"].append(
        {"name": "all", "bind": [f"0.0.0.0:{PORT + 1}"],
         "remote": ["192.0.2.0/24"]})
    conf["send_connectors"] = [
        {"name": "mx", "address_spaces": ["*"], "port": PORT + 1,
         "tls": {"mode": "none"}},
        {"name": "back", "address_spaces": ["sender.test"],
         "smart_hosts": [f"192.0.2.1:{PORT}"], "tls": {"mode": "none"}}]
    conf["dns"] = {"servers": [net.dns.address]}
    with Umbra(conf) as u:
        u.send("every@sender.test", f"x@{d}", MESSAGE)
        r = net.bounce(f"x@{d}", "every@sender.test")
        assert not u.seen("session.open", connector="all")
        assert r["status"] == "5.4.6"


@pytest.mark.parametrize("literal", [
    "127.0.0.1", "127.9.9.9", "IPv6:::1", "192.0.2.50", "0.0.0.0", "IPv6:::",
    "IPv6:::ffff:127.0.0.1"])
def test_literals_of_ourselves(net, literal):
    """RFC 5321 4.1.3: no question is asked, and loopback is refused too."""
    net.loops(f"[{literal}]", literal.removeprefix("IPv6:"))


def test_address_literals(net):
    net.host("192.0.2.14")
    net.send("x@[192.0.2.14]")
    assert net.host("192.0.2.14").to("x@[192.0.2.14]")


# --- 60 answers that are wrong -----------------------------------------------

GOOD = "192.0.2.20"     # a host that takes mail


def rcode(code):
    def lie(q, usual):
        r = dns.message.make_response(q)
        r.set_rcode(code)
        return r.to_wire()
    return lie


def raw(*records, **more):
    return lambda q, usual: response(q, *[r(q) if callable(r) else r
                                          for r in records], **more)


def own(q):
    return wire_name(q.question[0].name.to_text())


def mx(host, preference=10, **more):
    return lambda q: record(own(q), MX, mx_data(preference, host), **more)


def cut(n):
    return lambda q, usual: usual[:n]


def patched(at, octets):
    return lambda q, usual: usual[:at] + octets + usual[at + len(octets):]


def wrong_id(q, usual):
    return struct.pack("!H", q.id ^ 1) + usual[2:]


def truncated_everywhere(q, usual):
    r = dns.message.make_response(q)
    r.flags |= dns.flags.TC
    return r.to_wire()


def chain(n, end=None):
    """n CNAMEs in one answer."""
    def lie(q, usual):
        names = [own(q)] + [wire_name(f"c{i}.chain.test") for i in range(n)]
        rr = [record(a, CNAME, b) for a, b in zip(names, names[1:])]
        if end:
            rr.append(record(names[-1], MX, mx_data(10, end)))
        return response(q, *rr)
    return lie


P = b"\xc0"   # a compression pointer is this and an offset

#: What the domain's MX question is answered with, and what must become of the
#: mail: "defer" (nothing is known: it waits), "bounce", "sent", or "any" of
#: them, as long as nothing worse happens.
MUTATIONS = {
    "servfail": (rcode(dns.rcode.SERVFAIL), "defer"),
    "refused": (rcode(dns.rcode.REFUSED), "defer"),
    "formerr": (rcode(dns.rcode.FORMERR), "defer"),
    "notimp": (rcode(dns.rcode.NOTIMP), "defer"),
    "notauth": (rcode(dns.rcode.NOTAUTH), "defer"),
    "rcode 15": (rcode(15), "defer"),
    "silence": (lambda q, u: None, "defer"),
    "empty datagram": (lambda q, u: b"", "defer"),
    "one octet": (cut(1), "defer"), "eleven octets": (cut(11), "defer"),
    "header only": (cut(12), "defer"), "in the question": (cut(15), "defer"),
    "in the answer": (cut(-3), "defer"), "one missing": (cut(-1), "defer"),
    "64 KiB of nothing": (lambda q, u: b"\0" * 60000, "defer"),
    "64 KiB of ff": (lambda q, u: b"\xff" * 60000, "defer"),
    "trailing octets": (lambda q, u: u + b"x" * 100, "any"),
    "wrong id": (wrong_id, "defer"),
    "wrong id, then right": (lambda q, u: [wrong_id(q, u), u], "sent"),
    "no question": (raw(mx("m.ok.test"), question=b"", counts=(0, 1, 0, 0)),
                    "any"),
    "another question": (raw(mx("m.ok.test"),
                             question=wire_name("other.test")), "defer"),
    "not a response": (raw(mx("m.ok.test"), flags=0x0100), "defer"),
    "opcode": (raw(mx("m.ok.test"), flags=0xa980), "any"),
    "tc for ever": (truncated_everywhere, "any"),
    "answer count 65535": (raw(mx("m.ok.test"), counts=(1, 65535, 0, 0)),
                           "defer"),
    "question count 65535": (raw(mx("m.ok.test"), counts=(65535, 1, 0, 0)),
                             "defer"),
    "question count 0": (raw(mx("m.ok.test"), counts=(0, 1, 0, 0)), "defer"),
    "additional count 9": (raw(mx("m.ok.test"), counts=(1, 1, 0, 9)), "any"),
    "rdlength 0": (raw(lambda q: record(own(q), MX, b"")), "defer"),
    "rdlength 1": (raw(lambda q: record(own(q), MX, b"\0")), "defer"),
    "rdlength 2": (raw(lambda q: record(own(q), MX, b"\0\x0a")), "defer"),
    "rdlength 65535": (raw(mx("m.ok.test", rdlength=65535)), "defer"),
    "rdlength too short": (raw(mx("m.ok.test", rdlength=5)), "defer"),
    "rdlength too long": (raw(mx("m.ok.test", rdlength=20),
                              mx("m.ok.test")), "defer"),
    "pointer to itself": (raw(lambda q: record(
        own(q), MX, b"\0\x0a" + P + bytes((12 + len(own(q)) + 4 + len(own(q))
                                           + 10 + 2,)))), "defer"),
    "pointer forward": (raw(lambda q: record(own(q), MX, b"\0\x0a" + P
                                             + b"\xf0")), "defer"),
    "pointer out": (raw(lambda q: record(own(q), MX, b"\0\x0a\xff\xff")),
                    "defer"),
    "pointer pair": (raw(lambda q: record(
        own(q), MX, b"\0\x0a" + P + bytes((12 + 2 * len(own(q)) + 18,)) + P +
        bytes((12 + 2 * len(own(q)) + 16,)))), "defer"),
    "pointer into the header": (raw(lambda q: record(own(q), MX, b"\0\x0a" + P
                                                     + b"\0")), "any"),
    "label type 0x40": (raw(lambda q: record(own(q), MX, b"\0\x0a\x41xx\0")),
                        "defer"),
    "label type 0x80": (raw(lambda q: record(own(q), MX, b"\0\x0a\x81xx\0")),
                        "defer"),
    "name without end": (raw(lambda q: record(own(q), MX, b"\0\x0a\x3fabc")),
                         "defer"),
    "name of 300 octets": (raw(mx(".".join(["x" * 60] * 5))), "defer"),
    "name with nul": (raw(mx(b"\x03a\0b\x02ok\x04test\0")), "any"),
    "name with dot": (raw(mx(b"\x04m.ok\x04test\0")), "any"),
    "name with blank": (raw(mx(b"\x03a b\x02ok\x04test\0")), "any"),
    "name with crlf": (raw(mx(b"\x04a\r\nb\x02ok\x04test\0")), "any"),
    "name of an address": (raw(mx("127.0.0.1")), "any"),
    "name of an address, decimal": (raw(mx("2130706433")), "any"),
    "name localhost": (raw(mx("localhost")), "any"),
    "8-bit name": (raw(mx(b"\x03\xff\xfe\xfd\x02ok\x04test\0")), "any"),
    "root with preference": (raw(mx(b"\0", 10)), "any"),
    "null mx and another": (raw(mx(b"\0", 0), mx("m.ok.test")), "any"),
    "class chaos": (raw(mx("m.ok.test", klass=3)), "any"),
    "another owner": (raw(record("other.test", MX, mx_data(10, "m.ok.test"))),
                      "any"),
    "an address instead": (raw(lambda q: record(own(q), A, b"\xc0\0\2\x14")),
                           "any"),
    "ttl 2^32-1": (raw(mx("m.ok.test", ttl=0xffffffff)), "sent"),
    "500 mx": (raw(*[mx(f"h{i}.ok.test", 20) for i in range(499)],
                   mx("m.ok.test", 10)), "sent"),
    "the same 200 times": (raw(*[mx("m.ok.test")] * 200), "sent"),
    "2000 unknown records": (raw(*[lambda q: record(own(q), 65280, b"x")]
                                 * 2000, mx("m.ok.test")), "sent"),
    "cname to itself": (raw(lambda q: record(own(q), CNAME, own(q))), "any"),
    "cname chain of 5": (chain(5, "m.ok.test"), "sent"),
    "cname chain of 20": (chain(20, "m.ok.test"), "any"),
    "cname chain to nowhere": (chain(5), "any"),
    "nxdomain with an answer": (raw(mx("m.ok.test"), flags=0x8183), "any"),
}

#: The same for the address of the MX host.
ADDRESS_MUTATIONS = {
    "servfail": (rcode(dns.rcode.SERVFAIL), "defer"),
    "refused": (rcode(dns.rcode.REFUSED), "defer"),
    "silence": (lambda q, u: None, "defer"),
    "nxdomain": (rcode(dns.rcode.NXDOMAIN), "bounce"),
    "empty": (rcode(dns.rcode.NOERROR), "bounce"),
    "rdlength 0": (raw(lambda q: record(own(q), q.question[0].rdtype, b"")),
                   "defer"),
    "rdlength 3": (raw(lambda q: record(own(q), q.question[0].rdtype,
                                        b"abc")), "defer"),
    "rdlength 5": (raw(lambda q: record(own(q), q.question[0].rdtype,
                                        b"abcde")), "defer"),
    "rdlength 65535": (raw(lambda q: record(own(q), q.question[0].rdtype,
                                            b"abcd", rdlength=65535)),
                       "defer"),
    "the other family": (raw(lambda q: record(own(q), A if q.question[0].rdtype
                                              == AAAA else AAAA, b"x" * 4)),
                         "any"),
    "cut": (cut(-2), "defer"), "wrong id": (wrong_id, "defer"),
}


@pytest.fixture(scope="module")
def mutated(net):
    """All mutations are tried at once; each test looks at its own."""
    net.dns.rr["m.ok.test", "A"] = [GOOD]
    net.host(GOOD)
    names = {}
    for table, kind in (MUTATIONS, "mx"), (ADDRESS_MUTATIONS, "a"):
        for i, (name, (lie, _)) in enumerate(table.items()):
            d = f"{kind}{i}.lie.test"
            names[kind, name] = d
            if kind == "mx":
                # The honest answer, which a lie may bend.
                net.dns.mx(d, (10, "m.ok.test"))
                net.dns.lie[d] = lie
            else:
                net.dns.mx(d, (10, f"host.{d}"))
                net.dns.lie[f"host.{d}"] = lie
    net.began = net.u.mark()
    for d in names.values():
        net.send(f"x@{d}", f"{d}@sender.test")
    return names


def fate(net, d):
    """What has become of the mail to this domain, or None yet."""
    if any(f"x@{d}" in m.to for h in net.hosts.values() for m in h.messages):
        return "sent"
    if any(f"{d}@sender.test" in m.to
           for m in net.host("192.0.2.1").messages):
        return "bounce"
    seen = [x for x in net.u.seen(("nexthop.delayed", "delivery.deferred"))
            if x["hop"].endswith(d) or x.get("to") == f"<x@{d}>"]
    return "defer" if seen else None


@pytest.mark.parametrize("kind, name, want", [
    ("mx", n, w) for n, (_, w) in MUTATIONS.items()] + [
    ("a", n, w) for n, (_, w) in ADDRESS_MUTATIONS.items()])
def test_mutation(net, mutated, kind, name, want):
    d = mutated[kind, name]
    got = until(lambda: fate(net, d), LONG, text=f"nothing became of {name}")
    assert net.u.running()
    if want != "any":
        assert got == want, (name, net.u.seen("dns.trouble")[-1:])


def test_nothing_else_was_connected_to(net, mutated):
    """No lie made the relay talk to itself or to loopback."""
    for d in mutated.values():
        until(lambda: fate(net, d), LONG)
    assert not net.u.seen("session.open", since=net.began, connector="self")
    for x in net.u.seen(("delivery.sent", "host.failed"), since=net.began):
        assert "lie.test" not in x["hop"] or f"[{GOOD}]" in x["host"], x.text


def test_there_are_sixty():
    assert len(MUTATIONS) >= 60


def test_deferred_mail_goes_when_the_answer_comes(net):
    """SERVFAIL for a while is nothing but a delay."""
    d = fresh()
    net.dns.mx(d, (10, "m.ok.test"))
    net.dns.rr["m.ok.test", "A"] = [GOOD]
    net.host(GOOD)
    net.dns.lie[d] = rcode(dns.rcode.SERVFAIL)
    net.send(f"x@{d}")
    line = until(lambda: [x for x in net.u.seen("nexthop.delayed")
                          if x["hop"].endswith(d)])[0]
    assert "SERVFAIL" in line["said"].upper(), line.text
    del net.dns.lie[d]
    assert net.host(GOOD).to(f"x@{d}")
    assert not [m for m in net.host("192.0.2.1").messages if d in m.to[0]]


def test_one_of_two_servers_is_dead(net):
    """The other one answers."""
    conf = base()
    conf["send_connectors"] = [
        {"name": "mx", "address_spaces": ["*"], "port": PORT,
         "tls": {"mode": "none"}}]
    conf["dns"] = {"servers": ["127.0.0.1:9", net.dns.address],
                   "timeout": "300ms", "tries": 2}
    d = fresh()
    net.dns.mx(d, (10, f"m.{d}"))
    net.dns.a(f"m.{d}", "192.0.2.21")
    net.host("192.0.2.21")
    with Umbra(conf) as u:
        u.send("a@b.test", f"x@{d}", MESSAGE)
        assert net.host("192.0.2.21").to(f"x@{d}")
