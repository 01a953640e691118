"""SIGHUP: users, rules and settings change while the broker runs; a mistake changes nothing."""

import os
import signal

import pytest

import wire
from clients import V5
from harness import run, wait_until
from wire import Raw

pytestmark = pytest.mark.footbridge


def hash_of(tmp_path, user, password):
    file = tmp_path / "one"
    done = run("passwd", "-c", "-b", file, user, password)
    assert done.returncode == 0, done.stderr
    return file.read_text()


def login(port, user, password):
    """The return code of CONNECT."""
    body = wire.string("MQTT") + b"\4\xc2\0\x3c" + wire.string(user + "-id")
    with Raw(port) as raw:
        raw.send(wire.packet(0x10, body + wire.string(user) + wire.string(password)))
        return raw.expect(wire.CONNACK).body[1]


def reload(broker, says="Configuration reloaded."):
    before = broker.log().count(says)
    os.kill(broker.process.pid, signal.SIGHUP)
    wait_until(lambda: broker.log().count(says) > before, what=says)


@pytest.fixture
def users(tmp_path):
    file = tmp_path / "passwd"
    file.write_text(hash_of(tmp_path, "ann", "a"))
    return file


def test_password_file(make_broker, tmp_path, users):
    broker = make_broker(f"password_file {users}", anonymous=False)
    assert login(broker.port, "ann", "a") == 0
    assert login(broker.port, "bob", "b") == 5
    users.write_text(hash_of(tmp_path, "bob", "b"))
    reload(broker)
    assert login(broker.port, "bob", "b") == 0
    assert login(broker.port, "ann", "a") == 5


def test_a_user_who_is_gone_is_disconnected(make_broker, tmp_path, users):
    broker = make_broker(f"password_file {users}")
    with Raw(broker.port) as ann, Raw(broker.port, "anonymous") as other:
        body = wire.string("MQTT") + b"\4\xc2\0\x3c" + wire.string("id")
        ann.send(wire.packet(0x10, body + wire.string("ann") + wire.string("a")))
        ann.expect(wire.CONNACK)
        reload(broker)
        ann.send(wire.PING)
        ann.expect(wire.PINGRESP)
        users.write_text(hash_of(tmp_path, "bob", "b"))
        reload(broker)
        assert ann.closed_by_broker()
        other.send(wire.PING)
        other.expect(wire.PINGRESP)


def test_acl_file(make_broker, client, tmp_path):
    rules = tmp_path / "acl"
    rules.write_text("topic a/#\n")
    broker = make_broker(f"acl_file {rules}")
    c = client(broker.port, "c")
    c.subscribe("#", 1)
    c.publish("a/1", "x", 1)
    c.publish("b/1", "x", 1)
    rules.write_text("topic b/#\n")
    reload(broker)
    c.publish("a/2", "y", 1)
    c.publish("b/2", "y", 1)
    assert c.payloads(2) == ["x", "y"]


@pytest.mark.parametrize("mistake", ["acl", "no password file", "directive"])
def test_a_mistake_changes_nothing(make_broker, tmp_path, users, mistake):
    rules = tmp_path / "acl"
    rules.write_text("topic a/#\n")
    broker = make_broker(f"password_file {users}\nacl_file {rules}", anonymous=False)
    if mistake == "acl":
        rules.write_text("topik a\n")
    elif mistake == "no password file":
        users.unlink()
    else:
        broker.config_file.write_text("nonsense 1\n")
    reload(broker, says="The configuration stays as it was")
    assert login(broker.port, "ann", "a") == 0
    assert login(broker.port, "bob", "b") == 5


def change(broker, old, new):
    text = broker.config_file.read_text()
    assert old in text
    broker.config_file.write_text(text.replace(old, new))
    reload(broker)


def test_settings_hold_at_once(make_broker, client):
    broker = make_broker("message_size_limit 100\nmax_keepalive 600\nsys_interval 0")
    here, there = client(broker.port, "here"), client(broker.port, "there")
    here.subscribe([("a", 1), ("$SYS/broker/uptime", 0)])
    there.publish("a", "too large" * 12, 1)
    change(broker, "message_size_limit 100", "message_size_limit 200")
    there.publish("a", "x" * 101, 1)
    assert here.payloads(1) == ["x" * 101]
    change(broker, "max_keepalive 600", "max_keepalive 60")
    later = client(broker.port, "later", version=V5, keepalive=300)
    assert later.connack.ServerKeepAlive == 60
    change(broker, "sys_interval 0", "sys_interval 1")
    assert here.get().topic == "$SYS/broker/uptime"
    assert not here.closed.is_set() and not there.closed.is_set()


def test_bounds_of_queues(make_broker, client):
    broker = make_broker("queue_overflow oldest\nmax_queued_messages 0", durable=True)
    away = client(broker.port, "away", clean=False)
    away.subscribe("a", 1)
    away.close()
    here = client(broker.port, "here")
    for n in range(10):
        here.publish("a", str(n), 1)
    change(broker, "max_queued_messages 0", "max_queued_messages 3")
    away = client(broker.port, "away", clean=False)
    assert away.payloads(3) == ["7", "8", "9"]


def test_what_takes_a_restart_is_named(make_broker, client, tmp_path):
    broker = make_broker("max_connections 10")
    here = client(broker.port, "here")
    text = broker.config_file.read_text()
    broker.config_file.write_text(
        f"persistence true\npersistence_location {tmp_path}\n"
        + text.replace("max_connections 10", "max_connections 20")
    )
    reload(broker)
    for directive in ("listener", "persistence", "persistence_location"):
        line = f"Warning: {directive}: changed; it takes effect after a restart."
        assert broker.log().count(line) == 1
    reload(broker)
    assert not here.closed.is_set()
    assert not list(tmp_path.glob("footbridge.db*"))


def test_test_config_reads_the_files_too(tmp_path):
    rules = tmp_path / "acl"
    rules.write_text("topik a\n")
    config = tmp_path / "c.conf"
    config.write_text(f"listener 1883\nacl_file {rules}\n")
    done = run("-c", config, "--test-config")
    assert done.returncode == 1 and f"{rules}:1:" in done.stderr
