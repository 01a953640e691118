"""A client that sends small PUBLISHes as fast as they are taken, and clients that receive them, in a
process of their own: `python flood.py PORT RECEIVERS`. Says "flooding" once the first have come."""

import selectors
import subprocess
import sys

import wire
from wire import Raw


class Flood:
    """The process, until the end of the `with`."""

    def __init__(self, port, receivers):
        self._command = [sys.executable, __file__, str(port), str(receivers)]

    def __enter__(self):
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout.readline() == "flooding\n"
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


def receivers(port, count, selector):
    for n in range(count):
        raw = Raw(port, f"receiver{n}")
        raw.send(wire.subscribe(1, "t", 0))
        raw.expect(wire.SUBACK)
        raw.socket.setblocking(False)
        selector.register(raw.socket, selectors.EVENT_READ, raw)


def main(port, count):
    selector = selectors.DefaultSelector()
    receivers(port, count, selector)
    sender = Raw(port, "flood")
    sender.socket.setblocking(False)
    selector.register(sender.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, sender)
    block = wire.publish("t", b"") * 13_000
    left, is_told = block, False
    while True:
        for key, events in selector.select():
            if events & selectors.EVENT_WRITE:
                left = left[key.fileobj.send(left) :] or block
            if events & selectors.EVENT_READ:
                if not key.fileobj.recv(65536):
                    return
                if not is_told:
                    print("flooding", flush=True)
                is_told = True


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
