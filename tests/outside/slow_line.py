"""A TCP link with a rate and a delay, on loopback: bytes from one port to another, no faster than the line.

What waits for the line stays with the sender, but for a few KB: as behind a modem with little memory."""

import collections
import contextlib
import socket
import threading
import time

from harness import free_port

TICK = 0.02
#: What the receiving side of the line holds, in bytes; Linux doubles it.
BUFFER = 4096
#: A packet on the line, in bytes: loopback's own are larger than the buffer.
SEGMENT = 1400


class _Way:
    """One direction of one connection."""

    def __init__(self, source, sink, rate, delay):
        self.source, self.sink, self.rate, self.delay = source, sink, rate, delay
        self.waiting = collections.deque()
        self.allowance = 0.0
        self.is_over = False


class SlowLine:
    """Listens on `port`. `rate`: bytes a second of what goes to the port behind; back it is unlimited.
    `delay`: seconds each way. `freeze` stops the line: nothing is read or delivered, nothing is closed."""

    def __init__(self, behind, rate, delay=0.0):
        self.behind, self.rate, self.delay = behind, rate, delay
        self.port = free_port()
        #: Connections so far, and bytes carried to the port behind.
        self.connections, self.carried = 0, 0
        self._frozen, self._over = threading.Event(), threading.Event()
        self._ways = []
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
        self._listener.bind(("127.0.0.1", self.port))
        self._listener.listen()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def freeze(self):
        self._frozen.set()

    def thaw(self):
        self._frozen.clear()

    def close(self):
        self._over.set()
        self._thread.join()

    def _run(self):
        self._listener.setblocking(False)
        with contextlib.ExitStack() as sockets:
            sockets.enter_context(self._listener)
            last = time.monotonic()
            while not self._over.is_set():
                time.sleep(TICK)
                now = time.monotonic()
                elapsed, last = now - last, now
                if self._frozen.is_set():
                    continue
                with contextlib.suppress(BlockingIOError):
                    self._accept(sockets)
                for way in self._ways:
                    self._move(way, now, elapsed)
                self._ways = [way for way in self._ways if not way.is_over]

    def _accept(self, sockets):
        near, _ = self._listener.accept()
        sockets.enter_context(near)
        try:
            far = socket.create_connection(("127.0.0.1", self.behind))
        except OSError:
            near.close()
            return
        sockets.enter_context(far)
        self.connections += 1
        for end in (near, far):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._ways += [_Way(near, far, self.rate, self.delay), _Way(far, near, None, self.delay)]

    def _move(self, way, now, elapsed):
        try:
            self._read(way, now, elapsed)
            while way.waiting and way.waiting[0][0] <= now:
                at, data = way.waiting[0]
                if not data:
                    way.sink.shutdown(socket.SHUT_WR)
                    way.is_over = True
                    return
                sent = way.sink.send(data)
                if way.rate is not None:
                    self.carried += sent
                if sent < len(data):
                    way.waiting[0] = (at, data[sent:])
                    return
                way.waiting.popleft()
        except BlockingIOError:
            pass
        except OSError:
            way.is_over = True
            for end in (way.source, way.sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _read(self, way, now, elapsed):
        if way.rate is None:
            most = 65536
        else:
            # What the line did not carry while nothing was there is lost; a late tick is made up for.
            way.allowance = min(way.allowance + way.rate * elapsed, way.rate * max(elapsed, 0.25))
            most = int(way.allowance)
        while most > 0:
            try:
                data = way.source.recv(min(most, 65536))
            except BlockingIOError:
                return
            way.waiting.append((now + way.delay, data))
            if not data:
                way.rate, way.allowance = 0, 0
                return
            most -= len(data)
            if way.rate is not None:
                way.allowance -= len(data)
