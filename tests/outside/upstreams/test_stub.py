"""What no registry has an upstream for: answers that are malformed, missing or hostile."""

import pytest

from harness import free_port, run, wait_until
from upstreams.site import PATIENCE
from upstreams.stub import (
    LIMIT,
    ODDITIES,
    Stub,
    close_at_every_message,
    close_at_large,
    close_at_pubrel,
    deaf_to_the_unknown,
)

pytestmark = pytest.mark.footbridge

COUNT = 10
TOLD = list(map(str, range(COUNT)))


@pytest.fixture
def stub():
    made = []

    def make(hook):
        port = free_port()
        made.append((Stub(port, hook), port))
        return made[-1]

    yield make
    for one, _ in made:
        one.close()


def bridge(port, topic="topic # both 1 here/ there/"):
    return f"connection odd\naddress 127.0.0.1:{port}\nrestart_timeout 1\n{topic}"


def say(client, broker, numbers=TOLD, qos=1):
    device = client(broker.port, "device")
    for n in numbers:
        device.publish("here/x", n, qos)
    device.close()


@pytest.mark.parametrize("oddity", ODDITIES)
def test_what_goes_out_goes_out(make_broker, client, stub, oddity):
    """Whatever the upstream does not say: once by a new session, once with an UNSUBSCRIBE."""
    upstream, port = stub(ODDITIES[oddity])
    broker = make_broker(bridge(port), durable=True)
    say(client, broker)
    wait_until(lambda: upstream.payloads() == TOLD, timeout=PATIENCE, what="messages")
    broker.config_file.write_text(broker.config_file.read_text().replace(" both ", " out "))
    broker.restart()
    more = [f"more {n}" for n in TOLD]
    say(client, broker, more)
    wait_until(lambda: upstream.payloads() == TOLD + more, timeout=PATIENCE, what="messages")
    # It has cut the link at most once by itself, each time.
    assert upstream.connects <= 4, broker.log()


def test_no_answer_to_what_it_does_not_know(make_broker, client, stub):
    upstream, port = stub(deaf_to_the_unknown)
    broker = make_broker(bridge(port), durable=True)
    say(client, broker)
    wait_until(lambda: upstream.payloads() == TOLD, timeout=PATIENCE, what="messages")


def test_an_upstream_that_closes_at_every_message(make_broker, client, stub):
    """The window is not sent again at each attempt: the line may be metered."""
    upstream, port = stub(close_at_every_message)
    broker = make_broker(bridge(port, "topic # out 1 here/ there/"), durable=True)
    say(client, broker)
    wait_until(lambda: upstream.connects >= 8, timeout=2 * PATIENCE, what="eighth attempt")
    late = [payload for connect, payload in upstream.published if connect >= 5]
    assert len(late) <= 2 * (upstream.connects - 4), late
    assert broker.alive()


def test_an_upstream_that_closes_at_pubrel(make_broker, client, stub):
    """What goes up goes at QoS 1 in the end, and the link holds from then on."""
    upstream, port = stub(close_at_pubrel)
    broker = make_broker(bridge(port, "topic # out 2 here/ there/"), durable=True)
    say(client, broker, qos=2)
    wait_until(lambda: "does not take QoS 2" in broker.log(), timeout=PATIENCE, what="QoS 1")
    connects = upstream.connects
    more = [f"more {n}" for n in TOLD]
    say(client, broker, more, qos=2)
    wait_until(lambda: upstream.payloads() == TOLD + more, timeout=PATIENCE, what="messages")
    assert upstream.connects == connects, broker.log()


def test_an_upstream_that_closes_at_large_messages(make_broker, client, stub):
    """It is found out by three of them; from then on they cost no connection."""
    upstream, port = stub(close_at_large)
    broker = make_broker(bridge(port, "topic # out 1 here/ there/"), durable=True)
    device = client(broker.port, "device")
    for n in range(4):
        device.publish(f"here/{n}", f"{n}", 1)
        device.publish(f"here/large/{n}", "x" * LIMIT, 1)
    what = f"does not take messages of more than {LIMIT + len('there/large/0') - 1} bytes"
    wait_until(lambda: what in broker.log(), timeout=PATIENCE, what="a bound")
    wait_until(lambda: upstream.payloads() == TOLD[:4], timeout=PATIENCE, what="messages")
    connects = upstream.connects
    for n in range(4, COUNT):
        device.publish(f"here/large/{n}", "x" * LIMIT, 1)
        device.publish(f"here/{n}", f"{n}", 1)
    wait_until(lambda: upstream.payloads() == TOLD, timeout=PATIENCE, what="messages")
    assert upstream.connects == connects, broker.log()
    status = run("status", "-p", broker.port).stdout
    assert "messages of more than" in status, status
