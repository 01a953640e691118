"""SIGHUP and bridges: added, removed, changed; one that is not changed is not touched."""

import os
import queue
import signal
import time

import pytest

from harness import free_port, wait_until

pytestmark = pytest.mark.footbridge

STATE = "$SYS/broker/connection/edge/state"


def bridge(port, *lines, name="edge", topic="topic # out 1 a/ up/"):
    return "\n".join(
        [
            f"connection {name}",
            f"address 127.0.0.1:{port}",
            f"remote_clientid {name}",
            "restart_timeout 1",
            topic,
            *lines,
            "",
        ]
    )


def reload(broker, config, says="Configuration reloaded."):
    """Puts `config` behind what the broker's file had before any bridge."""
    text = broker.config_file.read_text()
    head = text.split("connection ")[0]
    broker.config_file.write_text(head + config)
    before = broker.log().count(says)
    os.kill(broker.process.pid, signal.SIGHUP)
    wait_until(lambda: broker.log().count(says) > before, what=says)


def is_up(broker, times=1, name="edge"):
    line = f"Bridge {name} connected to"
    wait_until(lambda: broker.log().count(line) >= times, what=f"bridge that is up {times} times")


def connections(upstream, name="edge"):
    return upstream.log().count(f" as {name} ")


def publish(client, broker, payloads, topic="a/x"):
    sender = client(broker.port, f"s{time.monotonic_ns()}")
    for payload in payloads:
        sender.publish(topic, str(payload), 1)
    sender.close()


def nothing_comes(client):
    with pytest.raises(queue.Empty):
        client.get(timeout=0.7)


def test_one_without_changes_is_not_touched(make_broker, make_upstream, client):
    upstream = make_upstream()
    config = bridge(upstream.port)
    broker = make_broker(config, durable=True)
    is_up(broker)
    seen = client(upstream.port, "seen")
    seen.subscribe("up/#", 1)
    for n in range(5):
        reload(broker, config if n % 2 else config + bridge(free_port(), name="other"))
        publish(client, broker, [n])
    assert seen.payloads(5) == [str(n) for n in range(5)]
    assert connections(upstream) == 1
    assert "Bridge edge: " not in broker.log().replace("Bridge edge: queues", "")


def late(make_upstream, client):
    """An upstream that is not there yet, and has a session that is owed everything."""
    upstream = make_upstream(durable=True)
    seen = client(upstream.port, "seen", clean=False)
    seen.subscribe("up/#", 1)
    seen.close()
    upstream.stop()
    return upstream


def test_its_queue_keeps_its_order(make_broker, make_upstream, client):
    upstream = late(make_upstream, client)
    config = bridge(upstream.port)
    broker = make_broker(config, durable=True)
    for n in range(4):
        publish(client, broker, range(10 * n, 10 * n + 10))
        reload(broker, f"max_keepalive {100 + n}\n" + config)
    upstream.start()
    seen = client(upstream.port, "seen", clean=False)
    assert seen.payloads(40, timeout=20) == [str(n) for n in range(40)]


def test_added(make_broker, make_upstream, client):
    upstream = make_upstream()
    broker = make_broker(durable=True)
    here = client(broker.port, "here")
    reload(broker, bridge(upstream.port))
    is_up(broker)
    seen = client(upstream.port, "seen")
    seen.subscribe("up/#", 1)
    here.publish("a/x", "1", 1)
    assert seen.payloads(1) == ["1"]
    assert not here.closed.is_set()


def test_one_that_takes_the_id_of_a_client(make_broker, make_upstream, client):
    upstream = make_upstream()
    broker = make_broker(durable=True)
    rival = client(broker.port, "local.edge", clean=False)
    reload(broker, bridge(upstream.port))
    assert rival.closed.wait(5)
    is_up(broker)
    refused = client(broker.port, "local.edge", accepted=False)
    assert refused.reason.is_failure


@pytest.mark.parametrize("version", ["mqttv311", "mqttv50"])
def test_removed(make_broker, make_upstream, client, version):
    """The upstream is told: the state, then DISCONNECT; nothing is left here."""
    upstream = make_upstream()
    broker = make_broker(bridge(upstream.port, f"bridge_protocol_version {version}"), durable=True)
    is_up(broker)
    there, here = client(upstream.port, "there"), client(broker.port, "here")
    for watcher in (there, here):
        watcher.subscribe(STATE, 1)
        assert watcher.payloads(1) == ["1"]
    reload(broker, "")
    assert there.payloads(1) == ["0"]
    assert here.payloads(2) == ["0", ""]
    wait_until(lambda: "Client edge disconnected." in upstream.log(), what="a DISCONNECT")
    wait_until(lambda: "nothing waited for it" in broker.log(), what="line in the log")
    publish(client, broker, ["lost"])
    assert connections(upstream) == 1


def test_removed_by_mistake(make_broker, make_upstream, client):
    """What waited is there when the line is back; what came in between is not."""
    upstream = late(make_upstream, client)
    config = bridge(upstream.port)
    broker = make_broker(config, durable=True)
    publish(client, broker, range(5))
    reload(broker, "")
    wait_until(lambda: "5 queued messages stay" in broker.log(), what="line in the log")
    publish(client, broker, ["between"])
    refused = client(broker.port, "local.edge", accepted=False)
    assert refused.reason.is_failure
    reload(broker, config)
    publish(client, broker, range(5, 8))
    upstream.start()
    seen = client(upstream.port, "seen", clean=False)
    assert seen.payloads(8, timeout=20) == [str(n) for n in range(8)]
    nothing_comes(seen)


def test_removed_for_good(make_broker, client):
    broker = make_broker(bridge(free_port()), durable=True)
    publish(client, broker, range(5))
    reload(broker, "")
    broker.restart()
    wait_until(lambda: "5 queued messages dropped" in broker.log(), what="the line about them")


def test_changed_lazily(make_broker, make_upstream, client, link):
    """The connection stays; the next one is made by the new lines."""
    upstream = make_upstream()
    between = link(upstream.port)
    broker = make_broker(bridge(between.port), durable=True)
    is_up(broker)
    seen = client(upstream.port, "seen")
    seen.subscribe([("up/#", 1), ("new/#", 1)])
    changed = bridge(between.port, topic="topic # out 1 a/ new/")
    reload(broker, changed)
    publish(client, broker, ["old"])
    assert seen.get().topic == "up/x"
    reload(broker, changed)
    assert connections(upstream) == 1
    between.cut()
    publish(client, broker, ["during"])
    between.mend()
    is_up(broker, 2)
    publish(client, broker, ["after"])
    got = []
    while len(got) < 2:
        message = seen.get(timeout=20)
        # The cut may have taken the acknowledgement of the first: then that comes again.
        if message.payload != b"old":
            got.append((message.topic, message.payload))
    assert got == [("new/x", b"during"), ("new/x", b"after")]


def test_changed_at_once(make_broker, make_upstream, client):
    upstream = make_upstream()
    broker = make_broker(bridge(upstream.port), durable=True)
    is_up(broker)
    seen = client(upstream.port, "seen")
    seen.subscribe([("up/#", 1), ("new/#", 1)])
    reload(
        broker,
        bridge(upstream.port, "bridge_reload_type immediate", topic="topic # out 1 a/ new/"),
    )
    is_up(broker, 2)
    publish(client, broker, ["x"])
    assert seen.get().topic == "new/x"
    assert upstream.log().count("Client edge disconnected.") == 1


def test_another_state_topic(make_broker, make_upstream, client):
    upstream = make_upstream()
    immediate = "bridge_reload_type immediate"
    broker = make_broker(bridge(upstream.port, immediate), durable=True)
    is_up(broker)
    reload(broker, bridge(upstream.port, immediate, "notification_topic other/state"))
    is_up(broker, 2)
    watcher = client(broker.port, "watcher")
    watcher.subscribe([(STATE, 1), ("other/state", 1)])
    message = watcher.get()
    assert (message.topic, message.payload) == ("other/state", b"1")
    nothing_comes(watcher)


def test_changed_while_down_keeps_the_queue(make_broker, make_upstream, client):
    upstream = make_upstream()
    seen = client(upstream.port, "seen")
    seen.subscribe("up/#", 1)
    broker = make_broker(bridge(free_port()), durable=True)
    publish(client, broker, range(5))
    reload(broker, bridge(upstream.port, "keepalive_interval 30"))
    assert seen.payloads(5, timeout=20) == [str(n) for n in range(5)]


@pytest.mark.parametrize("how", ["reload", "stop", "kill"])
def test_what_waits_follows_its_line(make_broker, make_upstream, client, how):
    """It is counted by its line wherever that stands by now, and goes at the QoS of today."""
    upstream = make_upstream("max_queued_messages 0", durable=True)
    seen = client(upstream.port, "seen", clean=False)
    seen.subscribe("up/#", 2)
    seen.close()
    upstream.stop()

    def config(*lines):
        topics = (f'topic {name}/# out {qos} "" up/' for name, qos in lines)
        return "sys_interval 1\n" + bridge(upstream.port, topic="\n".join(topics))

    broker = make_broker(config(("a", 2), ("b", 2)), durable=True)
    head = broker.config_file.read_text().split("sys_interval")[0]
    sender = client(broker.port, "sender")
    for n in range(30):
        sender.publish("a/x", str(n), 2)
        if n % 3 == 0:
            sender.publish("b/x", str(n), 2)
    sender.close()
    changed = config(("c", 1), ("b", 1), ("a", 1))
    if how == "reload":
        broker.config_file.write_text(head)
        reload(broker, changed)
    else:
        getattr(broker, how)()
        broker.config_file.write_text(head + changed)
        broker.start()
    watcher = client(broker.port, "watcher")
    figures = {}

    def are_told():
        while not watcher.messages.empty():
            message = watcher.get()
            figures[message.topic] = message.payload
        topics = (f"$SYS/broker/connection/edge/topic/{n}/messages" for n in (1, 2, 3))
        return [figures.get(topic) for topic in topics] == [b"0", b"10", b"30"]

    watcher.subscribe("$SYS/broker/connection/edge/topic/+/messages", 1)
    wait_until(are_told, what="what each line owes")
    upstream.start()
    seen = client(upstream.port, "seen", clean=False)
    came = [seen.get(timeout=20) for _ in range(40)]
    assert {message.qos for message in came} == {1}
    for topic, step in (("up/a/x", 1), ("up/b/x", 3)):
        payloads = [int(message.payload) for message in came if message.topic == topic]
        assert payloads == list(range(0, 30, step))
    nothing_comes(seen)


def test_changes_lose_and_reorder_nothing_on_the_way(make_broker, make_upstream, client):
    """One change after the other, at once, while messages flow: QoS 2 arrives once."""
    upstream = make_upstream("max_queued_messages 0\nmax_inflight_messages 0")

    def config(n):
        lines = ("bridge_reload_type immediate", f"keepalive_interval {30 + n}")
        return bridge(upstream.port, *lines, topic="topic # out 2 a/ up/")

    broker = make_broker(config(0), durable=True)
    is_up(broker)
    seen, here = client(upstream.port, "seen"), client(broker.port, "here")
    seen.subscribe("up/#", 2)
    for n in range(400):
        here.paho.publish("a/x", str(n), 2)
        if n % 100 == 50:
            # Some are under way.
            reload(broker, config(n))
            is_up(broker, 2 + n // 100)
    assert seen.payloads(400, timeout=30) == [str(n) for n in range(400)]
    nothing_comes(seen)
    assert not here.closed.is_set()
    assert connections(upstream) == 5


def test_a_mistake_leaves_bridges_alone(make_broker, make_upstream, client):
    upstream = make_upstream()
    broker = make_broker(bridge(upstream.port), durable=True)
    is_up(broker)
    reload(broker, "connection edge\naddress nowhere\n", says="The configuration stays as it was")
    seen = client(upstream.port, "seen")
    seen.subscribe("up/#", 1)
    publish(client, broker, ["x"])
    assert seen.payloads(1) == ["x"]
    assert connections(upstream) == 1
