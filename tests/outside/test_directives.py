"""General and listener directives, as mosquitto.conf(5) has them."""

import os
import signal
import struct

import pytest

import wire
from clients import V5, V311
from harness import free_port, wait_until
from test_auth import passwords
from wire import Raw

VERSIONS = pytest.mark.parametrize("version", [V311, V5])
LEVELS = pytest.mark.parametrize("level", [4, 5])


def answer(port, client_id="c", level=4, clean=True, keepalive=60, user=None):
    """The CONNACK to a CONNECT: return or reason code, and properties."""
    if user is None:
        sent = wire.connect(client_id, clean, keepalive, level)
    else:
        head = wire.string("MQTT") + bytes([level, 0x82]) + struct.pack("!H", keepalive)
        body = head + (b"\0" if level == 5 else b"") + wire.string(client_id) + wire.string(user)
        sent = wire.packet(0x10, body)
    with Raw(port) as raw:
        raw.send(sent)
        body = raw.expect(wire.CONNACK).body
        return body[1], body[3:]


@pytest.fixture
def second():
    """The port of a second listener."""
    return free_port()


@pytest.mark.footbridge  # Debian's Mosquitto 2.0.11 leaves the prefix at QoS 1; 2.0.21 does not.
@VERSIONS
def test_mount_point(make_broker, client, second, version):
    broker = make_broker(
        f"listener {second} 127.0.0.1\nallow_anonymous true\nmount_point mount/", durable=True
    )
    plain = client(broker.port, "plain", version=version)
    inside = client(second, "inside", version=version, clean=False, expiry=600)
    plain.subscribe("#", 1)
    inside.subscribe("#", 1)
    inside.publish("test", "1", 1)
    assert plain.get().topic == "mount/test"
    assert inside.get().topic == "test"
    plain.publish("outside", "2", 1)
    plain.publish("mount/a/b", "3", 1)
    assert inside.get().topic == "a/b"
    inside.publish("kept", "4", 1, retain=True)
    assert inside.get().topic == "kept"
    inside.close()
    broker.restart()
    again = client(second, "inside", version=version, clean=False, expiry=600)
    assert again.session_present
    other = client(broker.port, "other", version=version)
    other.subscribe("mount/#", 1)
    assert other.get().topic == "mount/kept"
    other.publish("mount/late", "5", 1)
    assert again.get().topic == "late"
    assert again.silent()


@VERSIONS
def test_per_listener_settings(make_broker, client, tmp_path, second, version):
    file = passwords(tmp_path / "auth")
    rules = tmp_path / "acl"
    rules.write_text("user alice\ntopic read a\ntopic write b\n")
    rules.chmod(0o644)
    broker = make_broker(
        "per_listener_settings true\nallow_anonymous true\n"
        f"listener {second} 127.0.0.1\npassword_file {file}\nacl_file {rules}",
        anonymous=False,
    )
    someone = client(broker.port, "s", version=version)
    assert client(second, "c", version=version, accepted=False).reason.value != 0
    alice = client(second, "a", version=version, login=("alice", "wonder"))
    assert client(broker.port, "x", version=version, login=("alice", "no")).reason.value == 0
    for c in (someone, alice):
        c.subscribe("#", 1)
    for topic in ("a", "b"):
        someone.publish(topic, topic, 1)
        alice.publish(topic, "from alice", 1)
    assert someone.payloads(3) == ["a", "b", "from alice"]
    assert alice.payloads(1) == ["a"]
    assert alice.silent(0.3) and someone.silent(0.1)


@pytest.mark.footbridge
@VERSIONS
def test_an_absent_client_has_the_rules_of_its_last_listener(
    make_broker, client, tmp_path, second, version
):
    """mosquitto.conf(5), per_listener_settings; over a kill, too."""
    rules = tmp_path / "acl"
    rules.write_text("topic read a\n")
    broker = make_broker(
        "per_listener_settings true\nallow_anonymous true\n"
        f"listener {second} 127.0.0.1\nallow_anonymous true\nacl_file {rules}",
        anonymous=False,
        durable=True,
    )
    absent = client(second, "absent", version=version, clean=False, expiry=600)
    absent.subscribe("#", 1)
    absent.close()
    broker.restart("kill")
    writer = client(broker.port, "w", version=version)
    for topic in ("a", "b"):
        writer.publish(topic, topic, 1)
    # On a listener without rules: what was not queued does not come either.
    back = client(broker.port, "absent", version=version, clean=False, expiry=600)
    assert back.payloads(1) == ["a"]
    assert back.silent()


@pytest.mark.footbridge
def test_reload_of_listeners_drops_nobody_who_is_still_allowed(
    make_broker, client, tmp_path, second
):
    rules = tmp_path / "acl"
    rules.write_text("topic a\n")
    broker = make_broker(
        "per_listener_settings true\nallow_anonymous true\n"
        f"listener {second} 127.0.0.1\nallow_anonymous true\nacl_file {rules}",
        anonymous=False,
    )

    def reload():
        before = broker.log().count("Configuration reloaded.")
        os.kill(broker.process.pid, signal.SIGHUP)
        wait_until(lambda: broker.log().count("Configuration reloaded.") > before)

    first, other = client(broker.port, "f"), client(second, "o", version=V5)
    assert other.publish("b", "x", 1) == 0x87
    rules.write_text("topic b\n")
    reload()
    assert other.publish("b", "x", 1) in (0, 0x10)
    text = broker.config_file.read_text()
    broker.config_file.write_text(text.replace("allow_anonymous true", "allow_anonymous false", 1))
    with Raw(broker.port, "raw") as raw, Raw(second, "raw2") as stays:
        reload()
        assert raw.closed_by_broker()
        stays.send(wire.PING)
        stays.expect(wire.PINGRESP)
    del first


@pytest.mark.footbridge  # Mosquitto 2.0.11 lets 3.1.1 in all the same; 2.0.21 does not.
@LEVELS
def test_max_keepalive(make_broker, level):
    broker = make_broker("max_keepalive 100")
    assert answer(broker.port, level=level, keepalive=100)[0] == 0
    for keepalive in (101, 0):
        code, properties = answer(broker.port, level=level, keepalive=keepalive)
        if level == 4:
            assert code == 2
        else:
            assert code == 0 and b"\x13\x00\x64" in properties


@LEVELS
def test_max_topic_alias(make_broker, second, level):
    broker = make_broker(
        f"max_topic_alias 0\nlistener {second} 127.0.0.1\nallow_anonymous true\nmax_topic_alias 7"
    )
    assert answer(broker.port, level=level)[0] == 0
    if level == 5:
        assert b"\x22\x00" not in answer(broker.port, level=level)[1]
        assert b"\x22\x00\x07" in answer(second, level=level)[1]


@pytest.mark.footbridge  # Debian's 2.0.11 says 0x85 in MQTT 5, later ones 0x80.
@LEVELS
def test_zero_length_client_ids(make_broker, second, level):
    broker = make_broker(
        "per_listener_settings true\nallow_anonymous true\nallow_zero_length_clientid false\n"
        f"listener {second} 127.0.0.1\nallow_anonymous true\nauto_id_prefix my-",
        anonymous=False,
    )
    assert answer(broker.port, "", level)[0] == (2 if level == 4 else 0x80)
    code, properties = answer(second, "", level)
    assert code == 0
    assert level == 4 or b"my-" in properties


@LEVELS
def test_clientid_prefixes(make_broker, level):
    broker = make_broker("clientid_prefixes secure-")
    assert answer(broker.port, "secure-client", level)[0] == 0
    assert answer(broker.port, "mqtt", level)[0] == (5 if level == 4 else 0x87)
    assert answer(broker.port, "", level)[0] == (5 if level == 4 else 0x87)


@LEVELS
def test_use_username_as_clientid(make_broker, level):
    broker = make_broker("use_username_as_clientid true")
    assert answer(broker.port, "c", level)[0] == (5 if level == 4 else 0x87)
    assert answer(broker.port, "c", level, user="ann")[0] == 0
    with Raw(broker.port) as ann:
        body = wire.string("MQTT") + b"\4\x82\0\x3c" + wire.string("first") + wire.string("ann")
        ann.send(wire.packet(0x10, body))
        ann.expect(wire.CONNACK)
        assert answer(broker.port, "second", level, user="ann")[0] == 0
        assert ann.closed_by_broker()


@pytest.mark.footbridge  # Mosquitto 2.0.11 waits for the CONNECT; 2.0.21 does not.
def test_max_connections(make_broker):
    broker = make_broker("max_connections 2")
    with Raw(broker.port, "a"), Raw(broker.port, "b"):
        with Raw(broker.port) as third:
            assert third.closed_by_broker()

    def lets_in():
        with Raw(broker.port) as raw:
            raw.send(wire.connect("c"))
            return raw.receive() is not None

    # The broker may see the new connection before the end of the old ones.
    wait_until(lets_in)


@VERSIONS
def test_max_qos_of_subscriptions(make_broker, client, second, version):
    broker = make_broker(f"max_qos 1\nlistener {second} 127.0.0.1\nallow_anonymous true")
    sub = client(broker.port, "sub", version=version)
    sub.subscribe("t", 2)
    client(second, "pub", version=version).publish("t", "x", 2)
    assert sub.get().qos == 1


@LEVELS
def test_max_qos_of_publishers(make_broker, level):
    broker = make_broker("max_qos 1")
    assert level == 4 or b"\x24\x01" in answer(broker.port, level=level)[1]
    no_properties = b"\0" if level == 5 else b""
    with Raw(broker.port, "c", level=level) as c:
        c.send(wire.publish("t", no_properties + b"x", 1, 1))
        assert c.expect(wire.PUBACK).id == 1
        c.send(wire.publish("t", no_properties + b"x", 2, 2))
        if level == 5:
            assert c.expect(wire.DISCONNECT).body[0] == 0x9B
        assert c.closed_by_broker()


@pytest.mark.footbridge
@LEVELS
def test_message_size_limit(make_broker, client, level):
    """MQTT 5 is told with the 0x83 of mosquitto.conf(5); Mosquitto's 0x95 is none of PUBACK's."""
    broker = make_broker("message_size_limit 100")
    sub = client(broker.port, "sub")
    sub.subscribe("t")
    no_properties = b"\0" if level == 5 else b""
    with Raw(broker.port, "c", level=level) as c:
        for packet_id, size in [(1, 100), (2, 101)]:
            c.send(wire.publish("t", no_properties + b"x" * size, 1, packet_id))
        assert c.expect(wire.PUBACK).id == 1
        refused = c.expect(wire.PUBACK).body
        assert refused == (b"\0\2" if level == 4 else b"\0\2\x83")
    assert len(sub.get().payload) == 100
    assert sub.silent()


@pytest.mark.footbridge
def test_accept_protocol_versions(make_broker):
    broker = make_broker("accept_protocol_versions 3, 5")
    codes = [answer(broker.port, level=level)[0] for level in (3, 4, 5)]
    assert codes == [0, 1, 0]


@pytest.mark.footbridge
def test_what_one_client_may_have_retained(make_broker, client):
    """A device that retains without end leaves room for the others, and keeps what it has, after kill -9
    too."""
    broker = make_broker("max_retained_messages 3\nsys_interval 1", durable=True)
    for _ in range(2):
        wild, other = client(broker.port, "wild", version=V5), client(broker.port, "other", version=V5)
        reasons = [wild.publish(f"t/{n}", "x", 1, retain=True) for n in range(6)]
        assert [reason >= 0x80 for reason in reasons] == [False] * 3 + [True] * 3
        assert other.publish("o", "x", 1, retain=True) < 0x80
        other.subscribe("$SYS/broker/retained messages/refused", 0)
        while other.messages.get(timeout=8).payload != b"3":
            pass
        wait_until(lambda: "Client wild: a message on t/3 is not retained" in broker.log(), what="line in the log")
        broker.kill()
        broker.start()
    late = client(broker.port, "late", version=V5)
    late.subscribe("#", 1)
    topics = {late.messages.get(timeout=8).topic for _ in range(4)}
    assert topics == {"t/0", "t/1", "t/2", "o"}


@pytest.mark.footbridge
def test_memory_limit(make_broker, client):
    broker = make_broker("memory_limit 100K\nmax_retained_bytes 0\nsys_interval 0")
    c, old = client(broker.port, "c", version=V5), client(broker.port, "old")
    with Raw(broker.port, "waits") as raw:
        reasons = [c.publish(f"t/{n}", "x" * 10_000, 1, retain=True) for n in range(15)]
        taken = reasons.index(0x97)
        # Half of the limit is the most, and without persistence the store is memory too.
        assert 2 <= taken <= 6 and set(reasons[taken:]) == {0x97}
        # Before MQTT 5 nobody can be told, and nobody waits.
        raw.send(wire.publish("u", b"not kept".ljust(5_000), 1, 1, retain=True))
        assert raw.expect(wire.PUBACK).id == 1
        for n in range(taken):
            c.publish(f"t/{n}", "", 1, retain=True)
        raw.send(wire.publish("u/kept", b"kept", 1, 2, retain=True))
        assert raw.expect(wire.PUBACK).id == 2
    old.subscribe("u/#", 1)
    assert old.messages.get(timeout=8).payload == b"kept"
