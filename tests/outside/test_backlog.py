"""A backlog far larger than memory: held on disk, back in seconds, drained in order."""

import time

import pytest

from harness import free_port, wait_until
from process import forget_peak, memory
from upstream_stub import Upstream
from wire import CONNACK, SUBACK, Raw, connect, publish, subscribe

MESSAGES = 1_000_000
PAYLOAD = 200
MAPPED, LOCAL = "site/meter", "local/meter"
LIMIT = 18 * 1024  # kB; up to 5 MB of it are the pages of the program that were touched
#: Unacknowledged PUBLISH packets of the publisher. Ids are their numbers, modulo this.
WINDOW = 5_000


def payload(number):
    return (b"%d " % number).ljust(PAYLOAD, b".")


def publish_all(port, count, topics):
    """`count` numbered messages at QoS 1 to the topics by turns, many under way; returns when all
    are acknowledged."""
    with Raw(port) as dev:
        dev.send(connect("meter", clean=True, keepalive=0))
        dev.expect(CONNACK)
        dev.socket.settimeout(30)
        acknowledged, step = 0, 1_000
        for start in range(0, count, step):
            numbers = range(start, min(start + step, count))
            dev.send(
                b"".join(
                    publish(topics[n % len(topics)], payload(n), 1, n % WINDOW + 1) for n in numbers
                )
            )
            while start + step - acknowledged > WINDOW - step:
                acknowledged += pubacks(dev.socket)
        while acknowledged < count:
            acknowledged += pubacks(dev.socket)


def pubacks(sock, rest=bytearray()):
    """How many PUBACKs come with the next read: they are four bytes each."""
    data = sock.recv(1 << 16)
    assert data, "the broker closed the connection"
    rest += data
    whole = len(rest) // 4
    assert rest[0 : whole * 4 : 4] == b"\x40" * whole, "something else than PUBACKs"
    del rest[: whole * 4]
    return whole


class Stages:
    """Time and memory of each stage, printed: the figures of the README come from here."""

    def __init__(self, broker):
        self.broker, self.peaks, self.since = broker, {}, time.monotonic()

    def end(self, name, messages=None):
        seconds = time.monotonic() - self.since
        now = memory(self.broker.process.pid)
        self.peaks[name] = now["VmHWM"]
        rate = f", {messages / seconds:,.0f} messages/s" if messages else ""
        print(f"{name}: {seconds:.1f} s{rate}, peak {now['VmHWM']} kB, now {now}")
        forget_peak(self.broker.process.pid)
        self.since = time.monotonic()
        return seconds


def make_edge(make_broker, uplink, config=""):
    return make_broker(
        f"max_queued_bytes 0\nmax_queued_messages 0\n{config}\n"
        f"connection up\naddress 127.0.0.1:{uplink}\nbridge_protocol_version mqttv311\n"
        f"try_private false\nrestart_timeout 1\ntopic site/# out 1\n",
        durable=True,
        quiet=True,
    )


@pytest.mark.footbridge
@pytest.mark.parametrize("topics", [[MAPPED], [MAPPED, LOCAL]], ids=["one queue", "two queues"])
def test_a_million_messages_for_a_dead_uplink(make_broker, topics):
    """1,000,000 messages of 200 bytes queue within 18 MB of memory, survive kill -9, are there
    again within 10 s, and arrive once each and in order. Then again with every second one for
    another absent session, so that neither queue is a plain range of what the store holds."""
    dead = free_port()
    broker = make_edge(make_broker, dead)
    with Raw(broker.port, "absent", clean=False) as absent:
        absent.send(subscribe(1, "local/#", 1))
        absent.expect(SUBACK)
    stages = Stages(broker)
    stages.end("start")
    publish_all(broker.port, MESSAGES, topics)
    stages.end("queue", MESSAGES)
    broker.kill()
    stages.since = time.monotonic()
    broker.start()
    with Raw(broker.port, "first"):
        ready = stages.end("restart")
    expected = range(0, MESSAGES, len(topics))
    upstream = Upstream(dead)
    try:
        wait_until(lambda: upstream.numbers, what="uplink")
        stages.since = time.monotonic()
        wait_until(lambda: len(upstream.numbers) >= len(expected), 60, "drained backlog")
        stages.end("drain", len(expected))
        time.sleep(0.5)
    finally:
        upstream.close()
    assert upstream.numbers == list(expected)
    assert upstream.repeated == 0
    assert ready < 10
    assert max(stages.peaks.values()) <= LIMIT, stages.peaks


@pytest.mark.footbridge
def test_the_judge_sees_a_backlog_in_memory(make_broker):
    """The control: without a file to put it in, a tenth of the backlog is more than 18 MB."""
    broker = make_edge(make_broker, free_port(), "persistence false")
    stages = Stages(broker)
    publish_all(broker.port, MESSAGES // 10, [MAPPED])
    stages.end("queue", MESSAGES // 10)
    assert stages.peaks["queue"] > LIMIT
