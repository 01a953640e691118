"""A bridge to ejabberd's mod_mqtt, which answers an UNSUBSCRIBE for a filter that the session does
not have by taking it from every other client."""

import time

import pytest

from clients import V5
from upstreams.erlang import Ejabberd
from harness import wait_until

pytestmark = pytest.mark.footbridge

@pytest.fixture(scope="module")
def ejabberd(tmp_path_factory):
    node = Ejabberd(tmp_path_factory.mktemp("ejabberd")).start()
    yield node
    node.close()


def bridge(upstream, name, topic):
    return "\n".join(
        [
            f"connection {name}",
            f"address 127.0.0.1:{upstream.port}",
            f"remote_clientid {name}",
            f"remote_username {name}@localhost",
            "remote_password x",
            "notifications_local_only true",
            "restart_timeout 1",
            topic,
        ]
    )


def up(broker, times=1):
    told = lambda: broker.log().count("connected to 127.0.0.1")
    wait_until(lambda: told() == times, timeout=20, what="a bridge that is up")
    time.sleep(0.5)  # What it asks for then has come to the upstream.


def test_other_subscribers_of_what_goes_out_go_on(make_broker, client, ejabberd):
    """With a session that is new, and with one that goes on."""
    watcher = ejabberd.client("watcher", version=V5)
    assert watcher.subscribe("site/#", 1) == [1]
    broker = make_broker(bridge(ejabberd, "edge", "topic site/# out 1"), durable=True)
    for n in (1, 2):
        up(broker, n)
        client(broker.port, "device").publish("site/x", f"{n}", 1)
        # What was acknowledged just before the kill may be sent again.
        while (got := watcher.payloads(1)) != [f"{n}"]:
            assert got == [f"{n - 1}"]
        broker.restart("kill")
    watcher.close()


def test_what_no_longer_comes_in_is_unsubscribed_for_the_bridge_alone(
    make_broker, client, ejabberd
):
    watcher, other = (ejabberd.client(name, version=V5) for name in ("watcher2", "other"))
    assert watcher.subscribe("both/#", 1) == [1]
    broker = make_broker(bridge(ejabberd, "edge2", "topic both/# both 1"), durable=True)
    up(broker)
    here = client(broker.port, "here")
    here.subscribe("both/#", 1)
    other.publish("both/x", "down", 1)
    assert here.payloads(1) == watcher.payloads(1) == ["down"]

    text = broker.config_file.read_text().replace("both/# both", "both/# out")
    broker.config_file.write_text(text)
    broker.restart("kill")
    up(broker, 2)
    wait_until(lambda: "session resumed" in broker.log(), what="line in the log")
    here = client(broker.port, "here")
    here.subscribe("both/#", 1)
    other.publish("both/x", "stays", 1)
    assert watcher.payloads(1) == ["stays"]
    assert here.silent(1)
    here.publish("both/x", "up", 1)
    assert watcher.payloads(1) == ["up"]
    watcher.close()
    other.close()
