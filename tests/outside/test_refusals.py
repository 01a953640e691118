"""An upstream that says no for now, or never: what a device was told is taken arrives all the same."""

import queue

import pytest

from clients import V5
from harness import run, wait_until

VERSIONS = pytest.mark.parametrize("version", ["mqttv311", "mqttv50"])
COUNT = 300


def bridge_to(broker, version, *lines):
    return "\n".join(
        [
            "connection up",
            f"address 127.0.0.1:{broker.port}",
            f"remote_clientid from-{broker.port}-{len(lines)}",
            f"bridge_protocol_version {version}",
            "bridge_session_expiry_interval 4294967295" if version == "mqttv50" else "",
            "restart_timeout 1",
            "notifications false",
            *lines,
        ]
    )


def figure(broker, topic):
    """A number of $SYS."""
    shown = run("status", "-p", broker.port, "--json").stdout
    _, _, rest = shown.partition(f'"{topic}":')
    return int("".join(c for c in rest[:20].split(",")[0] if c.isdigit()) or -1)


def all_that_comes(sink, count):
    """Payloads as numbers, until all have come and nothing more does."""
    got = []
    while len(set(got)) < count:
        try:
            got.append(int(sink.get(timeout=90).payload))
        except queue.Empty:
            break
    while not sink.silent(3):
        got.append(-1)  # once too often
    return got


@pytest.mark.footbridge
def test_a_full_end_pauses_the_line(make_broker, client):
    """What is lost then: nothing (test_chain.py); here, what the operator sees of it."""
    full = "queue_overflow refuse\nmax_queued_messages 50"
    last = make_broker(full, durable=True)
    sink = client(last.port, "sink", clean=False)
    sink.subscribe("#", 2)
    sink.close()
    to_last = bridge_to(last, "mqttv50", "topic # out 2")
    edge = make_broker(f"sys_interval 1\n{to_last}", durable=True)
    device = client(edge.port, "device")
    for n in range(COUNT):
        device.publish("t/x", str(n), 1)
    waits = "connection/up/queue/messages"
    wait_until(lambda: figure(edge, waits) == COUNT - 50, what="a full end", timeout=30)
    paused = "connection/up/topic/1/paused"
    wait_until(lambda: figure(edge, paused) == 1, what="a paused lane", timeout=30)
    wait_until(lambda: "refuses messages for now: quota exceeded (0x97)" in edge.log(), what="line in the log")
    assert figure(edge, "connection/up/queue/put_back") > 0
    sink = client(last.port, "sink", clean=False)
    assert set(all_that_comes(sink, COUNT)) == set(range(COUNT))
    wait_until(lambda: figure(edge, waits) == 0, what="an empty queue", timeout=30)
    assert figure(edge, "connection/up/queue/dropped") == 0


@pytest.mark.footbridge
def test_dead_letters_wait_for_a_better_configuration(make_broker, make_upstream, client):
    """Mosquitto 2.0.11 says 0x95 for what is beyond its message_size_limit; what has a topic that it
    takes goes up, and after a start with another limit the rest."""
    upstream = make_upstream("message_size_limit 100", durable=True)
    edge = make_broker(
        "sys_interval 1\n" + bridge_to(upstream, "mqttv50", "topic # out 1"), durable=True
    )
    there = client(upstream.port, "there", version=V5, clean=False, expiry=600)
    there.subscribe("#", 1)
    device = client(edge.port, "device")
    for payload in ("1", "2" * 200, "3"):
        device.publish("t/x", payload, 1)
    assert there.payloads(2) == ["1", "3"]
    dead = "connection/up/queue/dead_letters"
    wait_until(lambda: figure(edge, dead) == 1, what="a dead letter")
    wait_until(lambda: "set aside as a dead letter" in edge.log(), what="line in the log")
    edge.restart("kill")
    wait_until(lambda: figure(edge, dead) == 1, what="the same one", timeout=20)
    there.close()
    config = upstream.config_file
    config.write_text(config.read_text().replace("message_size_limit 100", ""))
    upstream.restart()
    there = client(upstream.port, "there", version=V5, clean=False, expiry=600)
    edge.process.send_signal(1)  # SIGHUP
    assert there.payloads(1, timeout=20) == ["2" * 200]
    wait_until(lambda: figure(edge, dead) == 0, what="none any more")


@VERSIONS
def test_a_backlog_of_qos_2_with_a_large_window(make_broker, make_upstream, client, link, version):
    """Mosquitto 2.0.11 completes the handshakes of what a client of MQTT 3.1.1 has beyond its 20, and
    drops a part."""
    upstream = make_upstream()
    way = link(upstream.port)
    way.cut()
    edge = make_broker(
        "\n".join(["max_inflight_messages 100", bridge_to(way, version, "topic # out 2")]),
        durable=True,
    )
    there = client(upstream.port, "there")
    there.subscribe("#", 2)
    device = client(edge.port, "device")
    for n in range(COUNT):
        device.publish("t/x", str(n), 2)
    way.mend()
    got = all_that_comes(there, COUNT)
    assert sorted(got) == list(range(COUNT)), f"{len(set(got))} of {COUNT} arrived"
