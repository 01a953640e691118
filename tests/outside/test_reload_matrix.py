"""SIGHUP that changes one bridge, by each kind of directive and in each state: its queue stays, and the bridge
beside it has no new connection."""

import socket
import time

import pytest

from harness import free_port, wait_until
from test_reload_bridges import bridge, connections, is_up, publish, reload

pytestmark = pytest.mark.footbridge

CHANGES = {
    "topic": "topic more/# out 1",
    "credentials": "remote_username u\nremote_password p",
    "keepalive": "keepalive_interval 33",
    "remote_clientid": None,  # takes the place of another line
    "local_clientid": "local_clientid mine",
    "start_type": "start_type once",
    "restart_timeout": "restart_timeout 2",
    "notifications": "notification_topic other/state",
    "cleansession": "cleansession true\nlocal_cleansession false",
    "version": "bridge_protocol_version mqttv311",
}


def edge(port, change=None, *lines):
    """With its remote_clientid, which names the bridge in the upstream's log, last."""
    config = bridge(port, *lines, *([CHANGES[change]] if change and CHANGES[change] else []))
    return config.replace("restart_timeout 1\n", "") if change == "restart_timeout" else config


def renamed(config, change):
    if change == "remote_clientid":
        config = config.replace("remote_clientid edge", "remote_clientid renamed")
        return config + "local_clientid local.edge\n"
    return config


@pytest.fixture
def two(make_upstream):
    """Two upstreams; the second is for the bridge that does not change."""
    return make_upstream(), make_upstream()


def beside(upstream):
    return bridge(upstream.port, name="beside", topic="topic b/# out 1")


@pytest.mark.parametrize("change", CHANGES)
def test_while_it_waits(make_broker, two, client, change):
    """The upstream is away and a queue waits: the new lines and the new address take effect at once."""
    upstream, other = two
    seen = client(upstream.port, "seen")
    seen.subscribe("up/#", 1)
    broker = make_broker(edge(free_port()) + beside(other), durable=True)
    is_up(broker, name="beside")
    publish(client, broker, range(5))
    reload(broker, renamed(edge(upstream.port, change), change) + beside(other))
    publish(client, broker, range(5, 8))
    assert seen.payloads(8, timeout=20) == [str(n) for n in range(8)]
    assert connections(other, "beside") == 1


@pytest.mark.parametrize("change", CHANGES)
def test_at_once_while_it_is_up(make_broker, two, client, change):
    upstream, other = two
    at_once = "bridge_reload_type immediate"
    seen = client(upstream.port, "seen")
    seen.subscribe("up/#", 1)
    broker = make_broker(edge(upstream.port, None, at_once) + beside(other), durable=True)
    is_up(broker)
    is_up(broker, name="beside")
    publish(client, broker, range(3))
    reload(broker, renamed(edge(upstream.port, change, at_once), change) + beside(other))
    publish(client, broker, range(3, 6))
    is_up(broker, 2)
    # Those that were under way come again, never in another order.
    got = []
    while not got or got[-1] != "5":
        got += seen.payloads(1, timeout=20)
    assert sorted(set(got)) == [str(n) for n in range(6)]
    assert list(dict.fromkeys(got)) == [str(n) for n in range(6)]
    assert connections(other, "beside") == 1


def test_while_it_connects(make_broker, two, client):
    """An upstream that never answers: the new address does not wait for the end of the attempt."""
    upstream, other = two
    seen = client(upstream.port, "seen")
    seen.subscribe("up/#", 1)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        broker = make_broker(edge(mute.getsockname()[1]) + beside(other), durable=True)
        connection, _ = mute.accept()
        is_up(broker, name="beside")
        publish(client, broker, range(5))
        began = time.monotonic()
        reload(broker, edge(upstream.port) + beside(other))
        assert seen.payloads(5, timeout=20) == [str(n) for n in range(5)]
        connection.settimeout(20)
        while connection.recv(4096):
            pass
        connection.close()
        assert time.monotonic() - began < 20
    assert connections(other, "beside") == 1


def test_another_local_clientid_while_it_is_up(make_broker, make_upstream, client):
    """It is taken at once, whatever bridge_reload_type says, and what is under way goes along."""
    upstream = make_upstream()
    seen = client(upstream.port, "seen")
    seen.subscribe("up/#", 1)
    broker = make_broker(bridge(upstream.port), durable=True)
    is_up(broker)
    reload(broker, bridge(upstream.port, "local_clientid mine"))
    is_up(broker, 2)
    publish(client, broker, range(3))
    assert seen.payloads(3) == ["0", "1", "2"]
    refused = client(broker.port, "mine", accepted=False)
    assert refused.reason.is_failure
    client(broker.port, "local.edge").close()
    broker.restart()
    assert "is no longer configured" not in broker.log()


def test_another_name_with_the_same_client_ids(make_broker, two, client):
    upstream, other = two
    seen = client(upstream.port, "seen")
    seen.subscribe("up/#", 1)
    broker = make_broker(edge(free_port()) + beside(other), durable=True)
    is_up(broker, name="beside")
    publish(client, broker, range(5))
    config = edge(upstream.port).replace("connection edge", "connection cloud")
    reload(broker, config + beside(other))
    publish(client, broker, range(5, 8))
    assert seen.payloads(8, timeout=20) == [str(n) for n in range(8)]
    assert connections(other, "beside") == 1


@pytest.mark.parametrize("kind", ["lazy", "immediate"])
def test_what_comes_in_no_more_is_unsubscribed(make_broker, make_upstream, client, link, kind):
    """At the next connection: with immediate that comes now."""
    upstream = make_upstream()
    between = link(upstream.port)
    kept, gone = "topic kept/# in 1", "topic gone/# in 1"
    reload_type = f"bridge_reload_type {kind}"
    broker = make_broker(bridge(between.port, reload_type, kept, gone), durable=True)
    is_up(broker)
    wait_until(lambda: "edge 1 gone/#" in upstream.log(), what="SUBSCRIBE")
    time.sleep(0.5)
    reload(broker, bridge(between.port, reload_type, kept))
    there, here = client(upstream.port, "there"), client(broker.port, "here")
    here.subscribe("#", 1)
    if kind == "lazy":
        there.publish("gone/x", "still", 1)
        assert here.get().payload == b"still"
        assert "edge gone/#" not in upstream.log()
        between.cut()
        between.mend()
    wait_until(lambda: "edge gone/#" in upstream.log(), what="UNSUBSCRIBE", timeout=20)
    there.publish("gone/x", "no", 1)
    there.publish("kept/x", "yes", 1)
    assert here.get().payload == b"yes"
    assert "edge kept/#" not in upstream.log()
