"""Ports for tests, that are theirs also while nobody listens there."""
import errno
import itertools
import random
import socket


def _fixed_ports():
    """Ports that no connection is given as its own: one would hold the port
    of a relay that is just being started again."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
        low, high = map(int, f.read().split())
    every = range(10000, 65536)
    ports = [p for p in every if not low <= p <= high] or list(every)
    at = random.randrange(len(ports))
    return itertools.cycle(ports[at:] + ports[:at])


_ports = _fixed_ports()


def free_port(host="127.0.0.1"):
    """A TCP port that nothing listens on, nobody was given here lately, and
    no outgoing connection takes."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        port = next(_ports)
        with socket.socket(family, socket.SOCK_STREAM) as s:
            try:
                s.bind((host, port))
                return port
            except OSError as e:
                if e.errno != errno.EADDRINUSE:
                    raise
