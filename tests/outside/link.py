"""A TCP link that a test can cut and mend: bytes from one port to another, on loopback."""

import contextlib
import selectors
import socket
import threading

from harness import free_port


class Link:
    """Listens on `port` and carries each connection to the port behind, while not cut."""

    def __init__(self, behind):
        self.behind = behind
        self._listener = None
        self._thread = None
        self._over = threading.Event()
        self.port = free_port()
        self.mend()

    def mend(self):
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._over.clear()
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def cut(self):
        """Closes every connection and refuses new ones."""
        if self._thread is not None:
            self._over.set()
            self._thread.join()
            self._thread = None

    def _carry(self):
        with contextlib.ExitStack() as sockets, selectors.DefaultSelector() as selector:
            sockets.enter_context(self._listener)
            selector.register(self._listener, selectors.EVENT_READ, None)
            while not self._over.is_set():
                for key, _ in selector.select(timeout=0.02):
                    if key.data is None:
                        self._accept(sockets, selector)
                    else:
                        self._forward(selector, key.fileobj, key.data)

    def _accept(self, sockets, selector):
        near, _ = self._listener.accept()
        sockets.enter_context(near)
        try:
            far = socket.create_connection(("127.0.0.1", self.behind))
        except OSError:
            near.close()
            return
        sockets.enter_context(far)
        selector.register(near, selectors.EVENT_READ, far)
        selector.register(far, selectors.EVENT_READ, near)

    def _forward(self, selector, source, sink):
        try:
            data = source.recv(65536)
            if data:
                self._carried(source, sink, data)
                sink.sendall(data)
                return
        except OSError:
            pass
        for end in (source, sink):
            with contextlib.suppress(KeyError, ValueError):
                selector.unregister(end)
            end.close()

    def _carried(self, source, sink, data):
        """For links that read along."""
