"""What a processor, its word size and its byte order may spoil: timers, TLS, the store on disk, a bridge.

`packaging/test` runs this with a packaged binary under qemu-user. FOOTBRIDGE_OTHER_BIN is then a binary
of another architecture: what one has written, the other reads."""

import hashlib
import os
import ssl
import time
from pathlib import Path

import pytest

from clients import V5, props
from harness import FOOTBRIDGE, free_port, run, wait_until
from tls_peers import trusting
from wire import Raw

pytestmark = pytest.mark.footbridge

OTHER = os.environ.get("FOOTBRIDGE_OTHER_BIN", FOOTBRIDGE)
#: Who writes a store and who reads it.
WAYS = list(dict.fromkeys([(FOOTBRIDGE, OTHER), (OTHER, FOOTBRIDGE)]))
#: Kinds of values that a row of the store has: ids beyond 32 bits come by time, lengths by size.
SIZES = [0, 1, 127, 128, 255, 256, 5_000, 70_000]


def ticks(process):
    """Processor time that a process has taken, in ticks of 10 ms."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def test_timers_fire(make_broker, client):
    """$SYS comes by its interval, and who says nothing for a keep-alive and a half is let go."""
    broker = make_broker("sys_interval 1")
    watch = client(broker.port, "watch")
    watch.subscribe("$SYS/broker/uptime")
    first, *_, last = watch.payloads(4)
    assert first != last
    with Raw(broker.port, "mute", keepalive=2) as mute:
        start = time.monotonic()
        assert mute.closed_by_broker()
        assert 2.5 < time.monotonic() - start < 7


def test_messages_expire(make_broker, client):
    """A message with a time to live is gone after it, in RAM and after a restart."""
    broker = make_broker(durable=True)
    client(broker.port, "away", version=V5, clean=False, expiry=1_000).subscribe("#", 1)
    away = client(broker.port, "away", version=V5, clean=False, expiry=1_000)
    away.drop()
    pub = client(broker.port, "pub", version=V5)
    pub.publish("short", "x", 1, properties=props("PUBLISH", MessageExpiryInterval=1))
    pub.publish("long", "y", 1, properties=props("PUBLISH", MessageExpiryInterval=100_000))
    time.sleep(1.5)
    broker.restart("kill")
    back = client(broker.port, "away", version=V5, clean=False, expiry=1_000)
    message = back.get()
    assert (message.topic, message.payload) == ("long", b"y")
    assert 99_000 < message.properties.MessageExpiryInterval < 100_000
    assert back.silent()


def test_idle_costs_nothing(make_broker, client):
    """No timer that is due at once, over and over."""
    broker = make_broker(
        f"connection nowhere\naddress 127.0.0.1:{free_port()}\nrestart_timeout 30\ntopic x/# out 1",
        durable=True,
    )
    client(broker.port, "idle")
    time.sleep(2)
    before = ticks(broker.process)
    time.sleep(5)
    assert ticks(broker.process) - before < 50, "more than a tenth of a processor"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("key", ["P-256", "RSA", "Ed25519"])
def test_tls_handshakes(secure, ca, client, key, version):
    broker = secure(ca.issue(key=key))
    near = client(broker.tls_port, "near", tls=trusting(ca, version=version))
    near.subscribe("t", 2)
    payload = os.urandom(300_000)
    near.publish("t", payload, 2)
    assert near.get().payload == payload


def fill(port, client, rounds):
    """Sessions with a queue, retained messages, something at each QoS; returns what is owed."""
    away = client(port, "away", version=V5, clean=False, expiry=100_000)
    away.subscribe([("q/#", 2)])
    away.drop()
    pub = client(port, "pub", version=V5)
    owed = []
    for n in range(rounds):
        for size in SIZES:
            body = f"{n} {size} " + "x" * size
            payload = f"{hashlib.sha256(body.encode()).hexdigest()} {body}"
            pub.publish(f"q/{n}/{size}", payload, 1 + n % 2, retain=n == 0)
            owed.append((f"q/{n}/{size}", payload))
    pub.close()
    return owed


def collect(port, client, owed):
    """What is owed comes, once each; QoS 1 and QoS 2 in order, each for itself."""
    away = client(port, "away", version=V5, clean=False, expiry=100_000)
    assert away.session_present
    got = [away.get() for _ in owed]
    assert away.silent()
    for qos in (1, 2):
        came = [(m.topic, m.payload.decode()) for m in got if m.qos == qos]
        assert came == [row for row in owed if 1 + int(row[0].split("/")[1]) % 2 == qos]
    away.close()
    new = client(port, "new")
    new.subscribe("q/0/#", 1)
    kept = {m.topic: m.payload.decode() for m in (new.get() for _ in SIZES)}
    assert kept == dict(owed[: len(SIZES)])


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_store_is_reopened(make_broker, client, how):
    """The journal alone after a kill, the database after an end in order."""
    broker = make_broker(durable=True)
    owed = fill(broker.port, client, 6)
    broker.restart(how)
    collect(broker.port, client, owed)


@pytest.mark.parametrize("how", ["stop", "kill"])
@pytest.mark.parametrize("binaries", WAYS, ids=["there", "back"][: len(WAYS)])
def test_a_store_moves_to_another_architecture(make_broker, client, binaries, how):
    writes, reads = binaries
    broker = make_broker(durable=True, start=False)
    broker.binary = writes
    broker.start()
    owed = fill(broker.port, client, 4)
    getattr(broker, how)()
    broker.binary = reads
    broker.start()
    collect(broker.port, client, owed)
    # And back, with what the other has written.
    broker.stop()
    broker.binary = writes
    broker.start()
    assert client(broker.port, "away", version=V5, clean=False, expiry=100_000).silent()


def test_a_bridge_over_an_outage(make_broker, make_upstream, client, link):
    """To a Mosquitto, over a line that goes down and comes back, and over a kill -9 meanwhile."""
    upstream = make_upstream()
    line = link(upstream.port)
    edge = make_broker(
        f"connection up\naddress 127.0.0.1:{line.port}\nrestart_timeout 1\ncleansession false\n"
        "topic up/# out 2\ntopic down/# in 1",
        durable=True,
    )
    far = client(upstream.port, "far")
    far.subscribe("up/#", 2)
    near = client(edge.port, "near", returns=True)
    near.subscribe("down/#", 1)
    near.publish("up/0", "0", 2)
    assert far.payloads(1) == ["0"]
    line.cut()
    for n in range(1, 60):
        near.publish(f"up/{n}", str(n), 1 + n % 2)
        if n == 30:
            edge.kill()
            edge.start()
            near = client(edge.port, "near2")
            near.subscribe("down/#", 1)
    line.mend()
    assert sorted(map(int, far.payloads(59, timeout=30))) == list(range(1, 60))
    assert far.silent()
    far.publish("down/x", "back", 1)
    assert near.payloads(1) == ["back"]


def test_the_commands(make_broker):
    """sub with a time limit ends, bridge list answers over the control socket."""
    broker = make_broker(start=False)
    socket = broker.folder / "control"
    with open(broker.config_file, "a") as config:
        config.write(
            f"control_socket {socket}\nconnection up\naddress 127.0.0.1:{free_port()}\ntopic x/# out 1\n"
        )
    broker.start()
    start = time.monotonic()
    done = run("sub", "-h", "127.0.0.1", "-p", broker.port, "-t", "never", "-W", 2)
    assert done.returncode == 27, done.stderr
    assert 1.5 < time.monotonic() - start < 8
    wait_until(socket.exists, what="control socket")
    listed = run("bridge", "list", "--socket", socket)
    assert listed.returncode == 0 and "up" in listed.stdout, listed.stderr
