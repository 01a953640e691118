"""A site behind an uplink whose every queue is full: what was acknowledged has arrived, or was
dropped by a policy that was reported. The ledger of these tests counts for itself."""

import asyncio
import time

import pytest

from clients import Client
from upstreams.erlang import Ejabberd, RabbitMQ
from harness import MOSQUITTO, Broker, wait_until
from ledger import Ledger
from peer import Peer
from stories import company, quiet, until
from test_overflow import figures

pytestmark = pytest.mark.footbridge

DEVICES = 4


class Mosquitto(Broker):
    """Mosquitto with the faces of the others."""

    name, login, versions = "Mosquitto", "", ("mqttv311", "mqttv50")

    def __init__(self, folder):
        config = "max_queued_messages 0\nmax_inflight_messages 0\nautosave_interval 1"
        super().__init__(folder, config, binary=MOSQUITTO, durable=True, quiet=True)

    def client(self, name, **options):
        return Client(self.port, name, **options)

    def close(self):
        self.cleanup()


@pytest.fixture
def cloud(tmp_path, request):
    """An upstream that we did not write; `request.param` is its class."""
    node = request.param(tmp_path / "cloud")
    yield node.start()
    node.close()


def ids(parameter):
    return getattr(parameter, "name", None) or str(parameter)


def bridge(port, *lines, name="edge"):
    return "\n".join(
        [
            f"connection {name}",
            f"address 127.0.0.1:{port}",
            f"remote_clientid {name}",
            "notifications_local_only true",
            "cleansession false",
            "restart_timeout 1",
            *lines,
        ]
    )


def collector(cloud, ledger, qos, prefix=""):
    """Who is owed everything upstream."""
    login = ("collector@localhost", "x") if cloud.login else None
    peer = Peer(cloud.port, "collector", filters=[("site/#", qos)], login=login)
    ledger.receiver(peer, prefix=prefix, exactly_once=qos == 2)
    return peer


async def flood(ledger, devices, count, qos):
    """Each device says so much on a topic of its own; all is acknowledged."""
    for _ in range(count):
        for n, device in enumerate(devices):
            ledger.publish(device, f"site/{n}/q{qos}", qos, padding=120)
    await until(lambda: not any(d.pending for d in devices), 40, "acknowledgements of everything")


def missing(ledger, receiver):
    """How many acknowledged messages a receiver has not got."""
    seen = ledger.receivers[receiver.client_id].seen
    return sum(len(numbers - seen[topic]) for topic, numbers in ledger.acknowledged.items())


def each_cloud():
    for kind in (Mosquitto, RabbitMQ, Ejabberd):
        for version in kind.versions:
            yield kind, version


# The uplink's queue is full, by the default policy.


async def full_queue(edge, uplink, cloud, qos):
    """Local readers, one of whom pauses, are owed everything while the uplink is down."""
    ledger = Ledger()
    devices = [Peer(edge.port, f"d{n}", level=4 + n % 2) for n in range(DEVICES)]
    locals_ = [
        Peer(edge.port, "durable", level=5, filters=[("site/#", 2)]),
        Peer(edge.port, "clean", clean=True, filters=[("site/#", 2)]),
        Peer(edge.port, "pauses", clean=True, filters=[("site/#", 1)]),
    ]
    there = collector(cloud, ledger, qos)
    for peer in locals_:
        ledger.receiver(peer, exactly_once=peer.client_id != "pauses")
    for device in devices:
        ledger.publisher(device)
    async with company(there, *locals_, *devices):
        await flood(ledger, devices, 20, qos)
        await until(lambda: not missing(ledger, there), 20, "what is said while the uplink is up")
        await asyncio.to_thread(uplink.cut)
        pause = asyncio.create_task(locals_[2].pause(2))
        await flood(ledger, devices, 250, qos)
        await pause
        for peer in locals_:
            await until(lambda: not missing(ledger, peer), 20, f"everything for {peer.client_id}")
        uplink.mend()
        await quiet(ledger.arrived, seconds=5, timeout=60)
    return ledger, there, locals_


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("cloud, version", list(each_cloud()), indirect=["cloud"], ids=ids)
def test_the_site_goes_on_and_the_sum_is_right(make_broker, link, client, cloud, version, qos):
    uplink = link(cloud.port)
    config = bridge(
        uplink.port,
        f"bridge_protocol_version {version}",
        cloud.login,
        f"topic site/# out {qos} max_queued_messages=300",
    )
    edge = make_broker(f"sys_interval 1\n{config}", durable=True, quiet=True)
    ledger, there, locals_ = asyncio.run(full_queue(edge, uplink, cloud, qos))
    complaints = [c for c in ledger.judge() if not c.startswith("collector: lost")]
    assert complaints == []
    assert ledger.refused == {}
    lost = missing(ledger, there)
    reported = figures(client, edge, "connection/edge/queue")
    assert lost == int(reported["dropped"]) >= DEVICES * 250 - 300, reported
    reason = figures(client, edge, "connection/edge/topic/1")["dropped_reason"]
    assert reason == "overflow-oldest"
    wait_until(lambda: "the oldest go" in edge.log(), what="line in the log")


# Chains of footbridges, with the last one full and refusing.


async def full_end(brokers, qos, kill):
    """The last one has a receiver that is away, and takes 100 messages for it."""
    ledger = Ledger()
    devices = [Peer(brokers[0].port, f"d{n}", level=4 + n % 2) for n in range(DEVICES)]
    here = Peer(brokers[0].port, "here", clean=True, filters=[("site/#", 2)])
    there = Peer(brokers[-1].port, "there", level=5, filters=[("site/#", 2)])
    for peer in (here, there):
        ledger.receiver(peer, exactly_once=True)
    for device in devices:
        ledger.publisher(device)
    async with company(there, here, *devices):
        there.leave()
        await flood(ledger, devices, 100, qos)
        assert missing(ledger, here) == 0, "the site waits for nobody"
        if kill:
            for broker in brokers[1:]:
                await asyncio.sleep(1)
                await asyncio.to_thread(broker.restart, "kill")
        await asyncio.sleep(3)
        there.start()
        await until(lambda: not missing(ledger, there), 90, "what was acknowledged")
        await quiet(ledger.arrived, seconds=2)
    return ledger


@pytest.mark.parametrize("kill", [False, True], ids=["", "kill"])
@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("version", ["mqttv311", "mqttv50"])
@pytest.mark.parametrize("length", [2, 3])
def test_a_chain_whose_end_is_full_loses_nothing(make_broker, length, version, qos, kill):
    brokers = [
        make_broker("max_queued_messages 100\nqueue_overflow refuse", durable=True, quiet=True)
    ]
    for n in range(1, length):
        lines = bridge(
            brokers[0].port,
            f"bridge_protocol_version {version}",
            f"topic site/# out {qos}",
            name=f"hop{n}",
        )
        brokers.insert(0, make_broker(lines, durable=True, quiet=True))
    ledger = asyncio.run(full_end(brokers, qos, kill))
    # Back-pressure may change the order of what was under way; nothing else.
    complaints = [c for c in ledger.judge() if not c.startswith("there: out of order")]
    assert complaints == []
    assert ledger.total()[0] == DEVICES * 100


# What is retained changes while the uplink is down.


def retained(make, topics):
    """What the topics hold; `make` makes a client by its name. Asked one by one: RabbitMQ has none
    for a wildcard. What a subscription brings has come before a message that follows it."""
    found = {}
    for topic in topics:
        mark = f"mark/{topic}"
        reader = make(f"reader{topic.replace('/', '-')}")
        reader.subscribe(mark, 1)
        reader.subscribe(topic, 1)
        time.sleep(0.05)  # RabbitMQ and ejabberd look it up beside.
        reader.publish(mark, "", 1)
        came = {}
        while mark not in came:
            message = reader.get()
            came[message.topic] = message.payload.decode()
        found[topic] = came.get(topic)
        reader.close()
    return found


@pytest.mark.parametrize("clean, kill", [("true", False), ("false", False), ("false", True)])
@pytest.mark.parametrize("cloud, version", list(each_cloud()), indirect=["cloud"], ids=ids)
def test_what_is_retained_upstream_is_what_is_retained_here(
    make_broker, link, client, cloud, version, clean, kill
):
    uplink = link(cloud.port)
    config = bridge(
        uplink.port,
        f"bridge_protocol_version {version}",
        cloud.login,
        "topic state/# out 1",
    ).replace("cleansession false", f"cleansession {clean}")
    edge = make_broker(config, durable=True, quiet=True)
    device = client(edge.port, "device")
    topics = [f"state/{kind}{qos}" for kind in ("same", "changes", "clears", "new") for qos in (0, 1)]

    def say(kind, payload):
        for qos in (0, 1):
            device.publish(f"state/{kind}{qos}", payload, qos, retain=True)

    def agree(expected):
        if len(expected) < len(topics):
            expected = {f"state/{kind}{q}": text for kind, text in expected.items() for q in (0, 1)}
        end = time.monotonic() + 40
        while (state := retained(cloud.client, topics)) != expected:
            assert time.monotonic() < end, f"{state}, not {expected}"

    for kind in ("same", "changes", "clears"):
        say(kind, "old")
    agree({"same": "old", "changes": "old", "clears": "old", "new": None})
    uplink.cut()
    say("changes", "between")
    say("changes", "now")
    say("clears", "")
    say("new", "now")
    if not kill:
        uplink.mend()
        agree({"same": "old", "changes": "now", "clears": None, "new": "now"})
        return
    edge.restart("kill")
    uplink.mend()
    # What was said at QoS 0 just before may be lost here; then it is upstream.
    here = retained(lambda name: client(edge.port, name), topics)
    assert [here[f"state/{kind}1"] for kind in ("changes", "clears", "new")] == ["now", None, "now"]
    agree(here)


# The upstream is killed.


async def killed_cloud(edge, cloud):
    ledger = Ledger()
    devices = [Peer(edge.port, f"d{n}", level=4 + n % 2) for n in range(DEVICES)]
    there = collector(cloud, ledger, 1)
    for device in devices:
        ledger.publisher(device)
    async with company(there, *devices):
        flow = asyncio.create_task(flood(ledger, devices, 400, 1))
        await until(lambda: ledger.arrived() > 100, 30, "messages under way")
        await asyncio.to_thread(cloud.kill)
        await flow  # The site does not wait for it.
        await asyncio.to_thread(cloud.start)
        try:
            await until(lambda: not missing(ledger, there), 90, "what was acknowledged")
        except AssertionError as error:
            raise AssertionError(
                f"{error}: {missing(ledger, there)} are missing; "
                f"online: {there.online.is_set()}, connects: {there.connects}, "
                f"sessions lost: {there.sessions_lost}, subscribed: {there.subscribed.is_set()}"
            ) from None
        await quiet(ledger.arrived, seconds=2)
    return ledger


@pytest.mark.parametrize("cloud", [RabbitMQ], indirect=True, ids=ids)
def test_an_upstream_that_keeps_its_word_may_be_killed(make_broker, cloud):
    """Of the three only RabbitMQ has on disk what it has acknowledged."""
    lines = bridge(cloud.port, "bridge_protocol_version mqttv311", "topic site/# out 1")
    edge = make_broker(lines, durable=True, quiet=True)
    ledger = asyncio.run(killed_cloud(edge, cloud))
    assert ledger.judge() == []


@pytest.mark.parametrize("cloud, version", [(Ejabberd, "mqttv50")], indirect=["cloud"], ids=ids)
def test_an_upstream_that_has_lost_all_gets_what_is_retained(make_broker, client, cloud, version):
    lines = bridge(cloud.port, f"bridge_protocol_version {version}", cloud.login, "topic s/# out 1")
    edge = make_broker(lines, durable=True, quiet=True)
    device = client(edge.port, "device")
    topics = [f"s/{n}" for n in range(4)]
    for n, topic in enumerate(topics):
        device.publish(topic, f"{n}", n % 2, retain=True)
    for round_ in range(2):
        end = time.monotonic() + 40
        while retained(cloud.client, topics) != {f"s/{n}": f"{n}" for n in range(4)}:
            assert time.monotonic() < end, round_
        cloud.kill()
        cloud.start()
