"""Lines with captures, and topics without the prefix, over a bridge to a real Mosquitto."""

import pytest

from harness import run, wait_until

pytestmark = pytest.mark.footbridge


def bridge(port, version, *lines):
    return "\n".join(
        [
            "connection edge",
            f"address 127.0.0.1:{port}",
            f"bridge_protocol_version {version}",
            "notifications_local_only true",
            "restart_timeout 1",
            *lines,
        ]
    )


@pytest.fixture(params=["mqttv311", "mqttv50"])
def pair(request, make_broker, make_upstream, client):
    """Lines -> clients of the broker and of the upstream, which see all."""

    def make(*lines):
        upstream = make_upstream()
        edge = make_broker(bridge(upstream.port, request.param, *lines))
        wait_until(lambda: "connected to" in edge.log(), what="a bridge that is up")
        incoming = sum(" in " in line or " both " in line for line in lines)
        wait_until(
            lambda: upstream.log().count("Sending SUBACK") >= bool(incoming), what="subscriptions"
        )
        here, there = client(edge.port, "here"), client(upstream.port, "there")
        here.subscribe("#", 2)
        there.subscribe("#", 2)
        return edge, here, there

    return make


def received(receiver, until):
    """The topics and payloads that come before `until`, a payload."""
    got = []
    while not got or got[-1][1] != until:
        message = receiver.get()
        got.append((message.topic, message.payload.decode()))
    return got[:-1]


def test_captures_there_and_back(pair):
    _, here, there = pair(
        'topic site/{1}/temp out 1 "" cloud/{1}/t',
        "topic {1}/set in 1 here/ cmd/{1}",
        'topic "" both 2 l/{1}/{2}/# r/{2}/{1}/#',
        "topic end/# both 2",
    )
    here.publish("site/7/temp", "21", 1)
    here.publish("site/7/8/temp", "no line", 1)
    here.publish("site/8/temp", "22", 1)
    here.publish("l/a/b", "both", 2)
    here.publish("l/a/b/c/d", "deep", 2)
    here.publish("end/here", "end", 2)
    assert received(there, "end") == [
        ("cloud/7/t", "21"),
        ("cloud/8/t", "22"),
        ("r/b/a", "both"),
        ("r/b/a/c/d", "deep"),
    ]
    received(here, "end")
    there.publish("cmd/7", "on", 1)
    there.publish("cloud/7/t", "only out", 1)
    there.publish("r/x/y/z", "down", 2)
    there.publish("end/there", "over", 2)
    assert received(here, "over") == [("here/7/set", "on"), ("l/y/x/z", "down")]


def test_a_name_without_the_prefix_stays(pair):
    """Mosquitto makes plant/site of both."""
    edge, here, there = pair("topic # both 1 site/ plant/", "topic end/# both 1")
    here.publish("site", "no prefix", 1)
    here.publish("site/site", "prefix", 1)
    here.publish("end/here", "end", 1)
    assert received(there, "end") == [("plant/site", "prefix")]
    received(here, "end")
    there.publish("plant", "no prefix", 1)
    there.publish("plant/plant", "prefix", 1)
    there.publish("end/there", "over", 1)
    assert received(here, "over") == [("site/plant", "prefix")]


def test_what_the_check_says_of_captures(make_broker):
    broker = make_broker(bridge(1, "mqttv50", 'topic "" both 1 a/{1} b'), start=False)
    checked = run("-c", broker.config_file, "--test-config")
    assert checked.returncode != 0
    assert "`{1}` of the local topic is not in the remote one" in checked.stderr + checked.stdout
