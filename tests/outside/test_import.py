"""`footbridge import-mosquitto`: a real Mosquitto is stopped with all kinds of things half-way, its file
is brought over, and its clients go on with footbridge as if nothing had happened."""

import os
import signal
import struct

import pytest

from clients import V5, Client, props
from harness import free_port, run, wait_until
from wire import (
    GOODBYE,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    SUBACK,
    Raw,
    ack,
    publish,
    subscribe,
)

pytestmark = pytest.mark.footbridge


@pytest.fixture
def swap(make_broker, make_upstream):
    """Stops a Mosquitto and starts footbridge, with the same port and configuration, on what that
    kept: `swap(mosquitto)`. Returns the new broker and what the import said."""

    def do(old, config=""):
        if old.process is not None:
            old.stop()
        new = make_broker(config, durable=True, start=False)
        file = old.folder / "store/mosquitto.db"
        before = file.read_bytes()
        told = bring(file, new)
        assert file.read_bytes() == before, "the file stays as it is"
        return new.start(), told

    return do


def bring(file, broker, *options):
    """Imports; returns what that said."""
    done = run("import-mosquitto", file, "-c", broker.config_file, *options)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def mosquitto(make_upstream, config=""):
    return make_upstream(f"queue_qos0_messages true\n{config}", durable=True)


def hold(port, client_id, filters):
    """A session that is absent."""
    with Raw(port, client_id, clean=False) as raw:
        for packet_id, (topic, qos) in enumerate(filters, 1):
            raw.send(subscribe(packet_id, topic, qos))
            raw.expect(SUBACK)
        raw.send(GOODBYE)


def test_all_that_is_owed_comes_once_and_in_order(make_upstream, swap):
    old = mosquitto(make_upstream)
    hold(old.port, "one", [("a/#", 1)])
    hold(old.port, "two", [("a/#", 2), ("b", 1)])
    sender = Client(old.port, "sender")
    for n in range(60):
        sender.publish("a/x" if n % 3 else "b", str(n), qos=1 + n % 2)
    sender.publish("kept/plain", "p", qos=1, retain=True)
    sender.publish("kept/gone", "g", qos=1, retain=True)
    sender.publish("kept/gone", "", qos=1, retain=True)
    sender.close()

    new, told = swap(old)
    assert "  2 sessions\n" in told and "  3 subscriptions\n" in told and "Left" not in told
    # 40 for "one", 60 for "two".
    assert "  100 queued messages\n" in told and "  1 retained message\n" in told
    one = Client(new.port, "one", clean=False)
    assert one.session_present
    assert sorted(map(int, one.payloads(40))) == [n for n in range(60) if n % 3]
    two = Client(new.port, "two", clean=False)
    got = list(map(int, two.payloads(60)))
    assert sorted(got) == list(range(60))
    for qos in (1, 2):
        # "b" goes at QoS 1; between QoS 1 and 2 a receiver sees no order.
        ours = [n for n in got if (2 if n % 3 and n % 2 else 1) == qos]
        assert ours == sorted(ours)
    assert one.silent() and two.silent(0)
    # Subscriptions live on, and what is retained is there.
    two.publish("a/new", "n", qos=1)
    assert one.payloads(1) == two.payloads(1) == ["n"]
    one.subscribe("kept/#", 1)
    message = one.get()
    assert (message.topic, message.payload, message.retain) == ("kept/plain", b"p", True)
    assert one.silent()
    # And it is in the store: a kill brings nothing back.
    new.restart("kill")
    again = Client(new.port, "two", clean=False)
    assert again.session_present and again.silent()


def test_handshakes_go_on_where_they_stood(make_upstream, swap):
    """Exactly once across the change of brokers, in both directions, at each step."""
    old = mosquitto(make_upstream, "max_inflight_messages 10")
    hold(old.port, "reader", [("t", 2)])
    sender = Client(old.port, "sender")
    for n in range(5):
        sender.publish("t", str(n), qos=2)
    sender.close()
    with Raw(old.port, "reader", clean=False) as reader:
        came = [reader.expect(PUBLISH) for _ in range(5)]
        assert [p.payload for p in came] == [b"0", b"1", b"2", b"3", b"4"]
        ids = [p.id for p in came]
        # The first is done; the second waits for PUBCOMP; of the others nobody has said a thing.
        for packet_id in ids[:2]:
            reader.send(ack(PUBREC, packet_id))
            assert reader.expect(PUBREL).body == struct.pack("!H", packet_id)
        reader.send(ack(PUBCOMP, ids[0]))
    hold(old.port, "writer", [])
    with Raw(old.port, "writer", clean=False) as writer:
        writer.send(publish("t", b"released later", 2, 7))
        assert writer.expect(PUBREC).body == struct.pack("!H", 7)
        writer.send(publish("t", b"PUBREC lost", 2, 8, retain=True))
        writer.expect(PUBREC)

    new, told = swap(old)
    assert "4 of them sent and not fully acknowledged" in told
    assert "  2 messages of QoS 2 that publishers are about to release\n" in told
    with Raw(new.port, "reader", clean=False) as reader:
        assert reader.session_present
        got, released = {}, []
        while len(got) < 5 or not released:
            packet = reader.receive()
            if packet.kind == PUBREL:
                released.append(packet.id)
                reader.send(ack(PUBCOMP, packet.id))
            else:
                assert packet.kind == PUBLISH
                got[packet.id] = (packet.payload, packet.dup)
                reader.send(ack(PUBREC, packet.id))
        # The same packet ids as before: the reader knows them again.
        assert {i: got.pop(i) for i in ids[2:]} == {
            i: (str(n).encode(), True) for n, i in enumerate(ids[2:], 2)
        }
        assert ids[1] in released
        # What the writer had its PUBREC for came, each under a packet id that was not used.
        assert sorted(got.values()) == [(b"PUBREC lost", False), (b"released later", False)]
        assert not set(got) & set(ids)
    with Raw(new.port, "writer", clean=False) as writer:
        assert writer.session_present
        writer.send(ack(PUBREL, 7))
        assert writer.expect(PUBCOMP).id == 7
        # It saw no PUBREC, and says it all again.
        writer.send(publish("t", b"PUBREC lost", 2, 8, dup=True, retain=True))
        assert writer.expect(PUBREC).id == 8
        writer.send(ack(PUBREL, 8))
        assert writer.expect(PUBCOMP).id == 8
    late = Client(new.port, "late")
    late.subscribe("t", 1)
    assert late.payloads(1) == ["PUBREC lost"], "it was retained"
    assert late.silent()
    reader = Client(new.port, "reader", clean=False)
    # Nothing is routed a second time; the PUBRELs of the last connection come again.
    assert reader.silent()


def test_a_qos_1_message_without_its_puback_comes_again(make_upstream, swap):
    old = mosquitto(make_upstream)
    hold(old.port, "reader", [("t", 1)])
    Client(old.port, "sender").publish("t", "m", qos=1)
    with Raw(old.port, "reader", clean=False) as reader:
        first = reader.expect(PUBLISH)
    new, _ = swap(old)
    with Raw(new.port, "reader", clean=False) as reader:
        again = reader.expect(PUBLISH)
        assert (again.id, again.payload, again.dup) == (first.id, b"m", True)
        reader.send(ack(PUBACK, again.id))
        reader.send(GOODBYE)


def test_what_mqtt_5_says_comes_along(make_upstream, swap):
    old = mosquitto(make_upstream)
    # Mosquitto 2.0 does not save sessions that began with Clean Start.
    reader = Client(old.port, "reader", version=V5, clean=False, expiry=600)
    reader.subscribe("t/#", 1, properties=props("SUBSCRIBE", SubscriptionIdentifier=9))
    reader.drop()
    brief = Client(old.port, "brief", version=V5, clean=False, expiry=1)
    brief.subscribe("t/#", 1)
    brief.drop()
    sender = Client(old.port, "sender", version=V5)
    what = props("PUBLISH", ContentType="text", UserProperty=("k", "v"), MessageExpiryInterval=500)
    sender.publish("t/a", "m", qos=1, properties=what)
    sender.publish("t/kept", "r", qos=1, retain=True, properties=what)
    sender.publish("t/old", "o", qos=1, properties=props("PUBLISH", MessageExpiryInterval=1))
    sender.close()
    wait_until(lambda: "Expiring client brief" in old.log(), what="the end of the brief session")
    new, told = swap(old)
    assert "  1 session\n" in told
    reader = Client(new.port, "reader", version=V5, clean=False, expiry=600)
    assert reader.session_present
    got = {}
    for _ in range(2):
        message = reader.get()
        got[message.topic] = message
    assert set(got) == {"t/a", "t/kept"}
    for message in got.values():
        assert message.properties.ContentType == "text"
        assert message.properties.UserProperty == [("k", "v")]
        assert message.properties.SubscriptionIdentifier == [9]
        assert 400 < message.properties.MessageExpiryInterval <= 500
    assert reader.silent()
    fresh = Client(new.port, "fresh", version=V5)
    fresh.subscribe("t/kept", 1)
    kept = fresh.get()
    assert kept.retain and kept.properties.ContentType == "text"
    assert 400 < kept.properties.MessageExpiryInterval <= 500


BRIDGE = """
connection cloud
address 127.0.0.1:{port}
topic up/# out 2 "" site/
remote_clientid gateway
cleansession false
notifications false
try_private false
restart_timeout 1
bridge_protocol_version mqttv311
"""


def test_the_backlog_of_a_bridge_goes_up_once(make_upstream, make_broker, swap):
    """The uplink was down for a while: all that waits goes up by footbridge, and what was half-way is
    not there twice."""
    upstream = make_upstream(durable=True)
    seen = Client(upstream.port, "seen", clean=False)
    seen.subscribe("site/#", 2)
    bridge = BRIDGE.format(port=upstream.port)
    old = mosquitto(make_upstream, bridge)
    sender = Client(old.port, "sender")
    sender.publish("up/first", "0", qos=2)
    assert seen.payloads(1) == ["0"]
    upstream.stop()
    for n in range(1, 30):
        sender.publish("up/x", str(n), qos=1 + n % 2)
    sender.close()
    old.stop()
    # Without its section there is nowhere for them to go, and that is told.
    elsewhere = make_broker(durable=True, start=False)
    told = bring(old.folder / "store/mosquitto.db", elsewhere)
    assert "29 messages for the bridge local.gateway: no connection of the configuration" in told

    new, told = swap(old, bridge)
    assert "  1 queue of a bridge\n" in told and "  29 queued messages\n" in told
    assert "Left" not in told
    upstream.start()
    seen = Client(upstream.port, "seen", clean=False)
    got = seen.payloads(29)
    assert sorted(map(int, got)) == list(range(1, 30))
    for odd in (0, 1):
        assert [n for n in map(int, got) if n % 2 == odd] == list(range(2 - odd, 30, 2))
    assert seen.silent(1)
    Client(new.port, "more").publish("up/more", "30", qos=1)
    assert seen.payloads(1) == ["30"]


def test_what_a_bridge_had_sent_goes_on_upstream(make_upstream, swap):
    """The upstream hung while the old bridge sent, and answers only once that is gone: footbridge has
    the same client id and packet ids, so each is taken once."""
    upstream = make_upstream(durable=True)
    seen = Client(upstream.port, "seen", clean=False)
    seen.subscribe("site/#", 2)
    bridge = BRIDGE.format(port=upstream.port)
    old = mosquitto(make_upstream, bridge)
    sender = Client(old.port, "sender")
    sender.publish("up/first", "0", qos=2)
    assert seen.payloads(1) == ["0"]
    upstream.process.send_signal(signal.SIGSTOP)
    try:
        for n in range(1, 11):
            sender.publish("up/x", str(n), qos=2)
        sender.close()
        new, told = swap(old, bridge)
        assert "10 queued messages, 10 of them sent and not fully acknowledged" in told
    finally:
        upstream.process.send_signal(signal.SIGCONT)
    assert seen.payloads(10) == [str(n) for n in range(1, 11)]
    assert seen.silent(1)
    Client(new.port, "more").publish("up/more", "11", qos=2)
    assert seen.payloads(1) == ["11"]


def test_a_store_that_is_in_use_or_not_empty_is_left_alone(make_upstream, make_broker, swap):
    old = mosquitto(make_upstream)
    hold(old.port, "reader", [("t", 1)])
    new, _ = swap(old)
    file = old.folder / "store/mosquitto.db"

    def refused():
        done = run("import-mosquitto", file, "-c", new.config_file)
        assert done.returncode == 1 and done.stdout == ""
        assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1
        return done.stderr

    assert "in use by another process" in refused()
    new.stop()
    assert "something in this store already: 1 sessions, 0 retained" in refused()
    new.start()
    assert Client(new.port, "reader", clean=False).session_present


def test_a_dry_run_changes_nothing(make_upstream, make_broker):
    old = mosquitto(make_upstream)
    hold(old.port, "reader", [("t", 1)])
    old.stop()
    new = make_broker(durable=True, start=False)
    told = bring(old.folder / "store/mosquitto.db", new, "--dry-run")
    assert "would bring" in told and "  1 session\n" in told
    assert list((new.folder / "store").iterdir()) == []


def test_files_that_are_none_are_refused(tmp_path, make_broker):
    new = make_broker(durable=True, start=False)
    cases = {
        b"SQLite format 3\0" + bytes(100): "persist-sqlite",
        b"": "not a persistence file of Mosquitto's",
        b"\0\xb5\0mosquitto db\0\0\0\0\0\0\0\x06\0\0": "damaged at byte 23",
    }
    for content, says in cases.items():
        file = tmp_path / "theirs"
        file.write_bytes(content)
        done = run("import-mosquitto", file, "-c", new.config_file)
        assert done.returncode == 1 and says in done.stderr, done.stderr
    done = run("import-mosquitto", tmp_path / "absent", "-c", new.config_file)
    assert done.returncode == 1 and "No such file" in done.stderr


def test_a_start_on_mosquittos_file_names_the_command(tmp_path, make_upstream):
    old = mosquitto(make_upstream)
    old.stop()
    config = tmp_path / "f.conf"
    store = old.folder / "store"
    config.write_text(
        f"listener {free_port()} 127.0.0.1\nallow_anonymous true\npersistence true\n"
        f"persistence_location {store}/\npersistence_file mosquitto.db\n"
    )
    for arguments in (["-c", config], ["-c", config, "--test-config"]):
        done = run(*arguments)
        assert done.returncode == 1
        assert f"`footbridge import-mosquitto {store}/mosquitto.db`" in done.stderr, done.stderr
    done = run("import-mosquitto", store / "mosquitto.db", "-c", config)
    assert "give another persistence_file" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
def test_root_makes_the_store_for_who_runs_the_broker(tmp_path, make_upstream, make_broker):
    """The file of Mosquitto's is for it and root; the store is for the user of the broker."""
    old = mosquitto(make_upstream)
    hold(old.port, "reader", [("t", 1)])
    old.stop()
    theirs = old.folder / "store/mosquitto.db"
    theirs.chmod(0o600)
    for n, (user, owner) in enumerate([("user nobody", 65534), ("", 1)]):
        new = make_broker(user, durable=True, start=False)
        store = new.folder / "store"
        os.chown(store, owner, owner)
        for folder in [store, *store.parents]:
            if folder.is_relative_to(tmp_path):
                folder.chmod(0o755)
        for above in tmp_path.parents:
            if str(above).startswith("/tmp/"):
                above.chmod(above.stat().st_mode | 0o055)
        bring(theirs, new)
        made = {file.name: file.stat().st_uid for file in store.iterdir()}
        assert made == {"footbridge.db": owner, "footbridge.db.journal": owner}, n


def test_a_bridge_brings_what_persist_sqlite_has_retained(make_upstream, make_broker):
    """What the refusal of a SQLite file says: nothing is read of the file, a bridge brings it over."""
    old = mosquitto(make_upstream)
    Client(old.port, "sender").publish("kept/a", "v", qos=1, retain=True)
    section = f"connection old\naddress 127.0.0.1:{old.port}\ntopic # in 2\nnotifications false"
    new = make_broker(section, durable=True)

    def is_there():
        reader = Client(new.port, "reader")
        reader.subscribe("kept/#", 1)
        there = not reader.silent()
        reader.close()
        return there

    wait_until(is_there, what="the retained message")
    old.stop()
    new.restart("kill")
    assert is_there()
