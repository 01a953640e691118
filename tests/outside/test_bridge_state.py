"""The state of a bridge comes from what its upstream answers, not from TCP, which is alive all the time."""

import socket
import threading

import pytest

import wire
from harness import wait_until

pytestmark = pytest.mark.footbridge


class Mute:
    """An upstream of MQTT 3.1.1 that accepts, and answers only the kinds of packets it is told to."""

    ANSWERS = {
        wire.SUBSCRIBE: lambda packet: wire.packet(wire.SUBACK << 4, packet.body[:2] + b"\1"),
        wire.PINGREQ: lambda packet: wire.packet(wire.PINGRESP << 4, b""),
        wire.PUBLISH: lambda packet: wire.ack(wire.PUBACK, packet.id),
    }

    def __init__(self, *answers):
        self.answers, self.came = answers, []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open = []
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._converse, args=[connection], daemon=True).start()

    def _converse(self, connection):
        buffer = bytearray()
        try:
            while data := connection.recv(1 << 16):
                buffer += data
                for packet in wire.split(buffer):
                    self.came.append(packet.kind)
                    if packet.kind == wire.CONNECT:
                        connection.sendall(wire.packet(wire.CONNACK << 4, b"\0\0"))
                    elif packet.kind in self.answers:
                        connection.sendall(self.ANSWERS[packet.kind](packet))
        except OSError:
            pass


@pytest.fixture
def mute():
    made = []

    def make(*answers):
        made.append(Mute(*answers))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize(
    "answers, why",
    [
        ([wire.SUBSCRIBE, wire.PINGREQ], "no acknowledgement of a message"),
        ([wire.PUBLISH, wire.PINGREQ], "no SUBACK"),
        ([wire.PUBLISH, wire.SUBSCRIBE], "no answer to PINGREQ"),
        ([], ""),
    ],
)
def test_up_means_that_the_upstream_answers(make_broker, client, mute, answers, why):
    """One that acknowledges nothing, that does not answer SUBSCRIBE, that answers no ping, that answers
    nothing at all: the bridge is not up for longer than its keep-alive, and a ping."""
    upstream = mute(*answers)
    lines = [
        "connection up",
        f"address 127.0.0.1:{upstream.port}",
        "bridge_protocol_version mqttv311",
        "topic t out 1",
        "topic down in 1",
        "keepalive_interval 5",
        "restart_timeout 1",
        "notifications_local_only true",
        "notification_topic state/up",
    ]
    broker = make_broker("\n".join(lines), durable=True)
    watcher = client(broker.port, "watcher")
    watcher.subscribe("state/up", 1)
    client(broker.port, "device").publish("t", "x", 1)
    states = []
    while "1" not in states:
        states += watcher.payloads(1, timeout=20)
    assert watcher.payloads(1, timeout=30) == ["0"]
    said = wait_until(lambda: "next attempt" in broker.log() and broker.log(), what="line in the log")
    assert why in said
    assert upstream.came.count(wire.PUBLISH) >= 1
