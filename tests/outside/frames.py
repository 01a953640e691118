"""WebSocket by hand: requests, and frames that no library would send."""

import base64
import hashlib
import os
import socket
import struct

import wire

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
NORMAL, GOING_AWAY, PROTOCOL_ERROR, UNSUPPORTED, TOO_BIG = 1000, 1001, 1002, 1003, 1009

HANDSHAKE = {
    "Host": "broker",
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "mqtt",
    "Sec-WebSocket-Extensions": "permessage-deflate",
}


def frame(opcode, payload=b"", *, fin=True, reserved=0, mask=b"\x37\xfa\x21\x3d"):
    """A client's frame; without a mask where that is None."""
    size = len(payload)
    short = size if size < 126 else 126 if size < 65536 else 127
    head = bytes([fin << 7 | reserved << 4 | opcode, (mask is not None) << 7 | short])
    if short > 125:
        head += struct.pack("!H" if short == 126 else "!Q", size)
    if mask is None:
        return head + payload
    key = int.from_bytes((mask * (size // 4 + 1))[:size])
    return head + mask + (int.from_bytes(payload) ^ key).to_bytes(size)


def binary(payload, **options):
    return frame(BINARY, payload, **options)


class Response:
    """The head of an HTTP response, and what follows it."""

    def __init__(self, sock):
        data = b""
        while b"\r\n\r\n" not in data:
            more = sock.recv(4096)
            assert more, f"closed within the head: {data}"
            data += more
        head, self.rest = data.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        self.fields = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:])}


def request(method="GET", path="/", version="1.1", **fields):
    lines = [f"{method} {path} HTTP/{version}"]
    lines += [f"{k}: {v}" for k, v in fields.items() if v is not None]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def handshake(method="GET", path="/mqtt", version="1.1", **changes):
    """The request for an upgrade; `changes` to its fields have _ for -, and None leaves one out."""
    changes = {k.replace("_", "-"): v for k, v in changes.items()}
    return request(method, path, version, **{**HANDSHAKE, **changes})


def ask(port, data, *, read=True):
    """Sends a request; returns the response and, as the broker closes behind it, its body."""
    with socket.create_connection(("127.0.0.1", port), timeout=8) as sock:
        sock.sendall(data)
        response = Response(sock)
        body = bytearray(response.rest)
        while read:
            more = sock.recv(65536)
            if not more:
                break
            body += more
        return response, bytes(body)


class Web:
    """An open WebSocket."""

    def __init__(self, port, client_id=None, clean=True, **changes):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=8)
        self.socket.sendall(handshake(**changes))
        self.response = Response(self.socket)
        assert self.response.status == 101, self.response.status
        self._bytes, self._mqtt = bytearray(self.response.rest), bytearray()
        self._packets = []
        if client_id is not None:
            self.mqtt(wire.connect(client_id, clean))
            assert self.packet().kind == wire.CONNACK

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def mqtt(self, *packets):
        """Each packet in a frame of its own."""
        for packet in packets:
            self.send(binary(packet))

    def _take(self, count):
        while len(self._bytes) < count:
            more = self.socket.recv(65536)
            if not more:
                raise EOFError(bytes(self._bytes))
            self._bytes += more
        taken = bytes(self._bytes[:count])
        del self._bytes[:count]
        return taken

    def frame(self):
        """The next frame of the broker: opcode and payload."""
        first, second = self._take(2)
        assert first & 0xF0 == 0x80, f"a fragment, or reserved bits: {first:#x}"
        assert second < 128, "a server must not mask"
        size = second
        if second > 125:
            form = "!H" if second == 126 else "!Q"
            (size,) = struct.unpack(form, self._take(struct.calcsize(form)))
        return first & 15, self._take(size)

    def packet(self):
        """The next MQTT packet."""
        while not self._packets:
            opcode, payload = self.frame()
            assert opcode == BINARY, f"opcode {opcode}: {payload}"
            self._mqtt += payload
            self._packets = wire.split(self._mqtt)
        return self._packets.pop(0)

    def closed(self):
        """The code of the Close frame that comes next, before the end of the connection."""
        opcode, payload = self.frame()
        assert opcode == CLOSE, f"opcode {opcode}: {payload}"
        assert self._bytes == b"" and self.socket.recv(1) == b"", "more after Close"
        return struct.unpack("!H", payload)[0] if payload else None

    def accepts(self):
        """Whether the answer proves that the key was understood (RFC 6455 §4.2.2)."""
        key = HANDSHAKE["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        proof = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        return self.response.fields["sec-websocket-accept"] == proof
