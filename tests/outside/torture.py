"""Links that break at a chosen packet: each counts what passes and does one thing wrong, once.

All links of a test share one thread."""

import collections
import contextlib
import heapq
import itertools
import selectors
import socket
import struct
import threading
import time

from harness import free_port

UP, DOWN = "up", "down"  # from the bridge, and to it


def mqtt(buffer):
    """The length of the MQTT packet in front, or None until it is whole."""
    length = shift = 0
    for at in range(1, min(len(buffer), 5)):
        length |= (buffer[at] & 0x7F) << shift
        shift += 7
        if not buffer[at] & 0x80:
            end = at + 1 + length
            return end if len(buffer) >= end else None
    return None


def tls(buffer):
    """That of a record of TLS."""
    if len(buffer) < 5:
        return None
    end = 5 + struct.unpack_from("!H", buffer, 3)[0]
    return end if len(buffer) >= end else None


def web(buffer):
    """That of a head of HTTP, or of a frame of WebSocket."""
    if buffer[:4] in (b"GET ", b"HTTP"):
        end = buffer.find(b"\r\n\r\n")
        return end + 4 if end >= 0 else None
    if len(buffer) < 4:
        return None if len(buffer) < 2 or buffer[1] & 0x7F else 2
    length, at = buffer[1] & 0x7F, 2
    if length == 126:
        length, at = struct.unpack_from("!H", buffer, 2)[0], 4
    end = at + length + (4 if buffer[1] & 0x80 else 0)
    return end if len(buffer) >= end else None


class Links:
    """Carries between ports here until it is closed."""

    def __init__(self):
        self._selector = selectors.DefaultSelector()
        self._timers, self._order = [], itertools.count()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.links = []

    def add(self, behind, unit, fault, way, nth):
        """A link to the port `behind`; at the `nth` unit on its `way` it does `fault`."""
        self.links.append(Link(self, behind, unit, fault, way, nth))
        return self.links[-1]

    def start(self):
        self._thread.start()

    def close(self):
        self._over.set()
        self._thread.join()
        for link in self.links:
            link.close()

    def watch(self, sock, call):
        self._selector.register(sock, selectors.EVENT_READ, call)

    def forget(self, sock):
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(sock)

    def later(self, seconds, call):
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), call))

    def _run(self):
        while not self._over.is_set():
            for key, _ in self._selector.select(timeout=0.02):
                key.data()
            while self._timers and self._timers[0][0] <= time.monotonic():
                heapq.heappop(self._timers)[2]()


class Link:
    def __init__(self, links, behind, unit, fault, way, nth):
        self.links, self.behind, self.unit = links, behind, unit
        self.fault, self.way, self.nth = fault, way, nth
        #: Whether it has done it.
        self.done = False
        #: Units so far, of all connections.
        self.seen = collections.Counter()
        self.port = free_port()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._open = []
        links.watch(self._listener, self._accept)

    def close(self):
        self.links.forget(self._listener)
        self._listener.close()
        for end in self._open:
            end.close()

    def _accept(self):
        near, _ = self._listener.accept()
        far = socket.create_connection(("127.0.0.1", self.behind))
        for sock in (near, far):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open = [near, far]
        for flow in (Flow(self, near, far, UP), Flow(self, far, near, DOWN)):
            self.links.watch(flow.source, flow.readable)


class Flow:
    """One way of one connection."""

    def __init__(self, link, source, sink, way):
        self.link, self.source, self.sink, self.way = link, source, sink, way
        self._buffer = bytearray()
        self._passes = self._is_held = False
        self._swallows = False

    def readable(self):
        try:
            data = self.source.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.end()
            return
        self._buffer += data
        self._go_on()

    def _go_on(self):
        while not self._is_held and self._buffer:
            if self._swallows:
                self._buffer.clear()
                return
            length = self.link.unit(self._buffer)
            if length is None:
                return
            unit = bytes(self._buffer[:length])
            del self._buffer[:length]
            self._pass(unit)

    def _pass(self, unit):
        link = self.link
        link.seen[self.way] += 1
        if self.way == link.way and link.seen[self.way] == link.nth:
            link.done = True
            link.fault(self, unit)
        else:
            self.send(unit)

    def send(self, data):
        try:
            self.sink.sendall(data)
        except OSError:
            self.end()

    def end(self):
        """Both ends are closed."""
        self._swallows = True
        for sock in (self.source, self.sink):
            self.link.links.forget(sock)
            sock.close()

    def hold(self, seconds, data):
        """Goes on with `data` after a while."""
        self._is_held = True

        def go_on():
            self._is_held = False
            if self.source.fileno() >= 0:
                self.send(data)
                self._go_on()

        self.link.links.later(seconds, go_on)

    def swallow(self):
        """Nothing passes any more; the other way does."""
        self._swallows = True


def cut(flow, _):
    """The unit is lost, and the connection ends."""
    flow.end()


def reset(flow, _):
    """The same, with RST."""
    for sock in (flow.source, flow.sink):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    flow.end()


def tear(flow, unit):
    """Half of the unit arrives before the end."""
    flow.send(unit[: len(unit) // 2])
    flow.end()


def cut_behind(flow, unit):
    """The unit arrives, and its answer does not."""
    flow.send(unit)
    flow.end()


def stall(flow, _):
    """From here on nothing arrives, and nobody says so."""
    flow.swallow()


def delay(flow, unit):
    flow.hold(1.5, unit)


def split(flow, unit):
    """In two pieces with time between them."""
    half = len(unit) // 2
    flow.send(unit[:half])
    flow.hold(0.3, unit[half:])


def half_close(flow, _):
    """The receiver hears that no more comes; the other way goes on."""
    flow.swallow()
    with contextlib.suppress(OSError):
        flow.sink.shutdown(socket.SHUT_WR)


FAULTS = (cut, reset, tear, cut_behind, stall, delay, split, half_close)
