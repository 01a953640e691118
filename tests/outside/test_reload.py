"""SIGHUP: users, rules and the log level change while the broker runs; a mistake changes nothing."""

import os
import signal

import pytest

import wire
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


def test_test_config_reads_the_files_too(tmp_path):
    rules = tmp_path / "acl"
    rules.write_text("topik a\n")
    config = tmp_path / "c.conf"
    config.write_text(f"listener 1883\nacl_file {rules}\n")
    done = run("-c", config, "--test-config")
    assert done.returncode == 1 and f"{rules}:1:" in done.stderr
