"""One client that sends all the time leaves the others their turn."""

import signal
import struct
import time

import pytest

import wire
from flood import Flood
from harness import wait_until
from wire import Raw

pytestmark = pytest.mark.footbridge

#: Who receives what the flood sends: each message is so much work.
RECEIVERS = 400
#: A loaded machine may be slow.
PATIENCE = 30


def device(port):
    """A client with a keep-alive of 2 seconds and a will."""
    raw = Raw(port)
    raw.socket.settimeout(PATIENCE)
    head = wire.string("MQTT") + bytes([4, 2 | 4]) + struct.pack("!H", 2)
    will = wire.string("will") + wire.string("lost")
    raw.send(wire.packet(0x10, head + wire.string("device") + will))
    raw.expect(wire.CONNACK)
    return raw


def test_who_behaves_is_served_beside_a_flood(make_broker, make_upstream, client):
    """A device that pings in time is not thrown out, its messages reach the upstream, a new client
    gets in, and SIGHUP and SIGTERM are heard."""
    upstream = make_upstream()
    broker = make_broker(
        f"connection up\naddress 127.0.0.1:{upstream.port}\ntopic up/# out 1\n"
        "keepalive_interval 5\nremote_clientid bridge"
    )
    above = client(upstream.port, "above")
    above.subscribe("up/#", 1)
    watcher = client(broker.port, "watcher")
    watcher.subscribe([("will", 0), ("$SYS/broker/connection/bridge/state", 0)])
    wait_until(lambda: watcher.get().payload == b"1", what="bridge")
    with device(broker.port) as quiet, Flood(broker.port, RECEIVERS):
        for n in range(1, 17):
            quiet.send(wire.PING)
            quiet.expect(wire.PINGRESP)
            quiet.send(wire.publish(f"up/{n}", b"x", 1, n))
            quiet.expect(wire.PUBACK)
            time.sleep(0.5)
        assert len(above.payloads(16, PATIENCE)) == 16
        with Raw(broker.port) as new:
            new.socket.settimeout(PATIENCE)
            new.send(wire.connect("new"))
            new.expect(wire.CONNACK)
        assert watcher.silent(), "neither the will nor another state of the bridge"
        broker.process.send_signal(signal.SIGHUP)
        reloaded = "Configuration reloaded."
        wait_until(lambda: reloaded in broker.log(), PATIENCE, what="reload")
        broker.stop()
