"""A wire between two programs that can be cut: TCP, byte by byte.

    with Proxy(node.shadow_port) as w:
        w.hold()      # nothing passes any more, nobody is told
        w.let()       # what was held arrives late, and all goes on
        w.cut()       # everything ends; new connections are refused
        w.mend()
"""
import socket
import struct
import threading

from port import free_port


class Proxy:
    def __init__(self, to):
        self.to = to
        self.open = {d: threading.Event() for d in ("there", "back")}
        self.socks = []
        self.passed = {"there": 0, "back": 0}
        self.let()
        self.port = free_port()
        self.listener = None
        self.mend()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cut()
        self.let()

    def hold(self, *directions):
        for d in directions or self.open:
            self.open[d].clear()

    def let(self):
        for e in self.open.values():
            e.set()

    def mend(self):
        if self.listener:
            return
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self.listener,),
                         daemon=True).start()

    def reset(self):
        """Those that are open end with RST."""
        socks, self.socks = self.socks, []
        for s in socks:
            try:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             struct.pack("ii", 1, 0))
                s.shutdown(socket.SHUT_RD)
                s.close()
            except OSError:
                pass

    def cut(self):
        s, self.listener = self.listener, None
        if s:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()
        self.reset()

    def _accept(self, listener):
        while True:
            try:
                a, _ = listener.accept()
            except OSError:
                return
            try:
                b = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                a.close()
                continue
            self.socks += [a, b]
            for src, dst, way in (a, b, "there"), (b, a, "back"):
                threading.Thread(target=self._pump, args=(src, dst, way),
                                 daemon=True).start()

    def _pump(self, src, dst, way):
        try:
            while True:
                data = src.recv(65536)
                self.open[way].wait()
                if not data:
                    dst.shutdown(socket.SHUT_WR)
                    return
                dst.sendall(data)
                self.passed[way] += len(data)
        except OSError:
            for s in src, dst:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
