"""start_type: when a bridge connects by itself, towards a real Mosquitto."""

import os
import signal
import time

import pytest

from harness import free_port, wait_until

pytestmark = pytest.mark.footbridge

STATE = "$SYS/broker/connection/edge/state"


def bridge(port, *lines):
    head = ["connection edge", f"address 127.0.0.1:{port}", "remote_clientid edge"]
    topics = ["topic up/# out 1", "topic down/# in 1", "restart_timeout 1"]
    return "\n".join([*head, *topics, *lines, ""])


def connections(upstream):
    return upstream.log().count(" as edge ")


def stays_at(upstream, count):
    """Longer than an attempt would take that is made within the second."""
    time.sleep(2.5)
    assert connections(upstream) == count


def has_left(upstream, times=1):
    line = "Client edge disconnected."
    wait_until(lambda: upstream.log().count(line) >= times, what=f"DISCONNECT {times} times")


def publish(client, broker, payloads):
    sender = client(broker.port, f"s{time.monotonic_ns()}")
    for payload in payloads:
        sender.publish("up/x", str(payload), 1)
    sender.close()


def reload(broker, old, new):
    text = broker.config_file.read_text()
    assert old in text
    broker.config_file.write_text(text.replace(old, new))
    before = broker.log().count("Configuration reloaded.")
    os.kill(broker.process.pid, signal.SIGHUP)
    wait_until(lambda: broker.log().count("Configuration reloaded.") > before, what="a reload")


def test_lazy(make_broker, make_upstream, client):
    """start_type lazy: threshold messages make it connect, also after a restart, and idle_timeout makes
    it leave; what comes meanwhile comes with the next connection. Nothing of it is an alarm."""
    upstream = make_upstream()
    there = client(upstream.port, "there")
    there.subscribe("up/#", 1)
    lazy = "start_type lazy", "threshold 4", "idle_timeout 2"
    broker = make_broker(bridge(upstream.port, *lazy), durable=True)
    publish(client, broker, range(2))
    stays_at(upstream, 0)
    broker.restart()
    publish(client, broker, [2])
    stays_at(upstream, 0)
    publish(client, broker, [3])
    assert there.payloads(4, timeout=20) == ["0", "1", "2", "3"]
    has_left(upstream)
    here, state = client(broker.port, "here"), client(upstream.port, "state")
    here.subscribe([("down/#", 1), (STATE, 1)])
    state.subscribe(STATE, 1)
    assert here.payloads(1) == state.payloads(1) == ["0"]
    there.publish("down/x", "command", 1)
    stays_at(upstream, 1)
    publish(client, broker, range(4, 8))
    assert there.payloads(4, timeout=20) == ["4", "5", "6", "7"]
    assert sorted(here.payloads(3, timeout=20)) == ["0", "1", "command"]
    has_left(upstream, 2)
    wait_until(lambda: "until 4 messages wait" in broker.log(), what="line in the log")
    assert not [line for line in broker.log().splitlines() if "WARN" in line and "edge" in line]


def test_a_lazy_bridge_with_traffic_stays(make_broker, make_upstream, client):
    upstream = make_upstream()
    there = client(upstream.port, "there")
    broker = make_broker(bridge(upstream.port, "start_type lazy", "threshold 1", "idle_timeout 4"))
    here = client(broker.port, "here")
    here.subscribe("down/#", 1)
    publish(client, broker, ["first"])
    wait_until(lambda: "down/#" in upstream.log(), what="SUBSCRIBE")
    for n in range(6):
        there.publish("down/x", str(n), 1)
        time.sleep(1)
    assert here.payloads(6) == [str(n) for n in range(6)]
    assert connections(upstream) == 1
    has_left(upstream)


def test_a_full_queue_makes_a_lazy_bridge_connect(make_broker, make_upstream, client):
    """Else it would drop for ever."""
    upstream = make_upstream()
    there = client(upstream.port, "there")
    there.subscribe("up/#", 1)
    lines = bridge(upstream.port, "start_type lazy", "threshold 1000")
    broker = make_broker("max_queued_messages 5\n" + lines, durable=True)
    publish(client, broker, range(5))
    assert there.payloads(5, timeout=20) == [str(n) for n in range(5)]


def test_once(make_broker, make_upstream, client):
    """start_type once: at the start, and not again; the queue fills for the next start."""
    upstream = make_upstream(durable=True)
    seen = client(upstream.port, "seen", clean=False)
    seen.subscribe("up/#", 1)
    seen.close()
    broker = make_broker(bridge(upstream.port, "start_type once"), durable=True)
    wait_until(lambda: "Bridge edge connected to" in broker.log(), what="a bridge that is up")
    upstream.stop()
    wait_until(lambda: "not connected again (start_type once)" in broker.log(), what="the line")
    upstream.start()
    before = connections(upstream)
    publish(client, broker, range(3))
    stays_at(upstream, before)
    broker.restart()
    seen = client(upstream.port, "seen", clean=False)
    assert seen.payloads(3, timeout=20) == ["0", "1", "2"]


def test_once_at_each_address(make_broker, make_upstream):
    """All addresses have their turn before it is over."""
    dead = free_port()
    upstream = make_upstream()
    lines = bridge(dead, f"address 127.0.0.1:{upstream.port}", "start_type once")
    broker = make_broker(lines)
    wait_until(lambda: "Bridge edge connected to" in broker.log(), what="a bridge that is up")
    other = make_broker(bridge(dead, f"address 127.0.0.1:{free_port()}", "start_type once"))
    wait_until(lambda: "not connected again" in other.log(), what="the end of the only round")
    time.sleep(2.5)
    assert other.log().count("Connecting bridge edge") <= 2


def test_manual(make_broker, make_upstream, client):
    """start_type manual: not by itself, whatever waits; a change on SIGHUP starts and ends it."""
    upstream = make_upstream()
    there = client(upstream.port, "there")
    there.subscribe("up/#", 1)
    manual = "start_type manual", "bridge_reload_type immediate"
    broker = make_broker(bridge(upstream.port, *manual), durable=True)
    publish(client, broker, range(12))
    stays_at(upstream, 0)
    reload(broker, "start_type manual", "start_type automatic")
    assert there.payloads(12, timeout=20) == [str(n) for n in range(12)]
    reload(broker, "start_type automatic", "start_type manual")
    has_left(upstream)
    publish(client, broker, ["later"])
    stays_at(upstream, 1)
