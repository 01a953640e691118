"""`footbridge clients|client|kick|forget|topics|retained` on a running broker."""

import json
import subprocess

import pytest

from clients import V5
from harness import FOOTBRIDGE, wait_until

pytestmark = pytest.mark.footbridge


@pytest.fixture
def asked(make_broker):
    """A broker, and what its commands print."""

    def make(config="", **options):
        broker = make_broker(config, durable=True, **options)

        def run(*words, status=0):
            command = [FOOTBRIDGE, *words, "-c", broker.config_file]
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
            )
            assert done.returncode == status, done
            return done.stderr if status else done.stdout

        return broker, run

    return make


def listed(run, *words):
    return {one["client"]: one for one in json.loads(run("clients", "--json", *words))}


def test_clients_are_listed_with_what_waits_for_them(asked, client):
    broker, run = asked()
    away = client(broker.port, "away", clean=False)
    away.subscribe("a/#", 1)
    away.close()
    here = client(broker.port, "here", version=V5, expiry=600)
    wait_until(lambda: not listed(run)["away"]["connected"], what="away to be away")
    for n in range(3):
        here.publish(f"a/{n}", "x" * 10, 1)
    clients = listed(run)
    assert list(clients) == ["away", "here"]
    assert (clients["away"]["messages"], clients["away"]["address"]) == (3, None)
    assert clients["away"]["bytes"] >= 39 and clients["away"]["subscriptions"] == 1
    assert clients["here"]["connected"] and clients["here"]["protocol"] == "5"
    assert clients["here"]["published"] == 3
    assert list(listed(run, "--sort", "rate")) == ["here", "away"]
    text = run("clients").splitlines()
    assert text[1].startswith("away") and "3, " in text[1], text


def test_hundreds_are_listed_once_each(asked, client):
    broker, run = asked("max_connections_per_address 0")
    for n in range(300):
        client(broker.port, f"c{n:03}", clean=n % 2 == 0)
    assert list(listed(run)) == [f"c{n:03}" for n in range(300)]


def test_a_client_is_told_whole(asked, client, tmp_path):
    acl = tmp_path / "acl"
    acl.write_text("topic read open/#\n")
    broker, run = asked(f"acl_file {acl}")
    one = client(broker.port, "one", version=V5, expiry=600)
    one.subscribe("open/#", 1)
    one.subscribe("other/+", 0)
    session, *filters = json.loads(run("client", "one", "--topic", "open/x", "--json"))
    assert filters == [{"filter": "open/#", "qos": 1}, {"filter": "other/+", "qos": 0}]
    assert (session["may_read"], session["may_publish"]) == (True, False)
    assert (session["expiry_seconds"], session["keep_alive"]) == (600, 60)
    text = run("client", "one")
    assert "kept for 10 min" in text and "subscribed open/# (QoS 1)" in text, text
    assert "no such client" in run("client", "nobody", status=1)


def test_kick_leaves_the_session(asked, client):
    broker, run = asked()
    watcher = client(broker.port, "watcher")
    watcher.subscribe("will/#", 1)
    will = {"topic": "will/kicked", "payload": "gone", "qos": 1}
    kicked = client(broker.port, "kicked", version=V5, expiry=600, will=will)
    kicked.subscribe("a", 1)
    run("kick", "kicked")
    assert kicked.closed.wait(20)
    assert "Administrative action" in str(kicked.closed_reason)
    assert watcher.payloads(1) == ["gone"]
    assert not listed(run)["kicked"]["connected"]
    assert "not connected" in run("kick", "kicked", status=1)
    again = client(broker.port, "kicked", version=V5, clean=False, expiry=600)
    assert again.session_present


def test_forget_ends_the_session(asked, client):
    broker, run = asked()
    away = client(broker.port, "away", clean=False)
    away.subscribe("a", 1)
    away.close()
    client(broker.port, "pub").publish("a", "x", 1)
    refused = run("forget", "away", status=1)
    assert "1 subscriptions and 1 messages" in refused and "--yes" in refused, refused
    assert run("forget", "away", "--yes") == "Client away: forgotten, with 1 messages that waited.\n"
    assert "away" not in listed(run)
    here = client(broker.port, "here", clean=False)
    run("forget", "here", "--yes")
    assert here.closed.wait(20)
    broker.restart()
    assert not {"away", "here"} & set(listed(run))
    assert not client(broker.port, "away", clean=False).session_present


def test_a_bridge_is_not_kicked(asked, make_upstream):
    upstream = make_upstream()
    address = f"connection up\naddress 127.0.0.1:{upstream.port}\ntopic # out 1\nlocal_clientid up.local"
    _, run = asked(address)
    wait_until(lambda: listed(run).get("up.local", {}).get("connected"), what="bridge")
    assert listed(run)["up.local"]["kind"] == "bridge"
    for command in (["kick", "up.local"], ["forget", "up.local", "--yes"]):
        assert "footbridge bridge stop" in run(*command, status=1)


def test_who_publishes_most(asked, client):
    broker, run = asked()
    loud, quiet = client(broker.port, "loud"), client(broker.port, "quiet")
    for n in range(20):
        loud.publish("noise", "x" * 100, 1)
    quiet.publish("rare", "y", 1)
    said = json.loads(run("topics", "--json"))
    assert said["topics"][0] == {"name": "noise", "messages": 20, "bytes": 20 * 105}
    assert [one["name"] for one in said["clients"]] == ["loud", "quiet"]
    assert "noise" in run("topics", "--sort", "bytes")


def test_retained_is_listed_and_cleared(asked, client):
    broker, run = asked()
    one = client(broker.port, "one")
    for n in range(300):
        one.publish(f"r/{n}", f"value {n}", 1, retain=True)
    one.publish("other", "\x01", 1, retain=True)
    found = json.loads(run("retained", "r/#", "--json"))
    assert {item["topic"] for item in found} == {f"r/{n}" for n in range(300)}
    assert all(item["bytes"] == len(item["payload"]) for item in found)
    assert "\\u{1}" in run("retained", "other")
    watcher = client(broker.port, "watcher")
    watcher.subscribe("r/7", 1)
    assert watcher.payloads(1) == ["value 7"]
    assert "300 retained messages" in run("retained", "clear", "r/#", status=1)
    assert run("retained", "clear", "--yes", "r/#") == "Cleared 300 retained messages.\n"
    assert watcher.payloads(1) == [""]
    assert run("retained", "r/#") == "Nothing is retained there.\n"
    broker.restart()
    assert [item["topic"] for item in json.loads(run("retained", "#", "--json"))] == ["other"]
    assert "own" in run("retained", "clear", "--yes", "$SYS/#", status=1)
    assert "a#" in run("retained", "a#", status=1)
