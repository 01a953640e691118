"""The main promise: the uplink dies, the broker dies, and everything acknowledged arrives.

footbridge is killed with SIGKILL. The upstream Mosquitto is stopped with SIGTERM, since a killed one
loses its own state, and the link to it is cut shortly before: Mosquitto 2.0.11 stopped in the middle
of QoS 2 flows delivers some of them twice, with any publisher."""

import asyncio
from collections import defaultdict

import pytest

from device import Device

DEVICES = 20
EACH = 1000  # messages of a device at each of QoS 1 and QoS 2
TOTAL = DEVICES * EACH * 2


def messages(device):
    """QoS 1 and QoS 2 by turns, each QoS numbered for itself on a topic of its own."""
    return [
        (f"site/dev{device}/q{qos}", str(n).encode(), qos) for n in range(EACH) for qos in (1, 2)
    ]


def judge(received):
    """(lost, duplicated, out of order) for QoS 1 and for QoS 2."""
    by_topic = defaultdict(list)
    for topic, payload, _ in received:
        by_topic[topic].append(int(payload))
    verdict = {}
    for qos in (1, 2):
        lost = duplicated = disorder = 0
        for device in range(DEVICES):
            got = by_topic[f"up/dev{device}/q{qos}"]
            first_seen = list(dict.fromkeys(got))
            lost += EACH - len(first_seen)
            duplicated += len(got) - len(first_seen)
            disorder += sum(a > b for a, b in zip(first_seen, first_seen[1:]))
        verdict[qos] = (lost, duplicated, disorder)
    return verdict


async def reach(devices, share):
    while sum(d.acknowledged for d in devices) < TOTAL * share:
        await asyncio.sleep(0.01)


async def all_arrived(collector, patience=20):
    """Until everything has arrived, or nothing has for a while."""
    seen, quiet = -1, 0.0
    while quiet < patience:
        if len({(t, p) for t, p, _ in collector.received}) == TOTAL:
            await asyncio.sleep(1)  # would there be duplicates?
            return
        quiet = quiet + 0.25 if len(collector.received) == seen else 0.0
        seen = len(collector.received)
        await asyncio.sleep(0.25)


async def outage(edge, upstream, uplink):
    """The devices' side of the story, told while both brokers come and go."""
    collector = Device(upstream.port, "collector", subscription="up/#")
    collecting = asyncio.create_task(collector.run())
    await asyncio.wait_for(collector.subscribed.wait(), 10)
    devices = [Device(edge.port, f"dev{n}", messages(n)) for n in range(DEVICES)]
    async with asyncio.timeout(85):
        async with asyncio.TaskGroup() as publishing:
            for device in devices:
                publishing.create_task(device.run())
            await reach(devices, 0.1)
            await asyncio.to_thread(uplink.cut)
            await asyncio.sleep(0.5)
            await asyncio.to_thread(upstream.stop)
            await reach(devices, 0.35)
            await asyncio.to_thread(edge.restart, "kill")
            await reach(devices, 0.55)
            await asyncio.to_thread(upstream.start)
            uplink.mend()
            await reach(devices, 0.7)
            await asyncio.to_thread(edge.restart, "kill")
            await reach(devices, 0.9)
            await asyncio.to_thread(edge.restart, "kill")
        await asyncio.to_thread(edge.restart, "kill")
        await all_arrived(collector)
    collecting.cancel()
    return devices, collector


@pytest.mark.footbridge
@pytest.mark.parametrize("version", ["mqttv50\nbridge_session_expiry_interval 3600", "mqttv311"])
def test_everything_arrives(make_broker, make_upstream, link, version):
    upstream = make_upstream("max_queued_messages 0", durable=True, quiet=True)
    uplink = link(upstream.port)
    edge = make_broker(
        f"max_queued_messages 0\nconnection edge\naddress 127.0.0.1:{uplink.port}\n"
        f"bridge_protocol_version {version}\ncleansession false\nrestart_timeout 1\n"
        "topic # out 2 site/ up/\n",
        durable=True,
        quiet=True,
    )
    devices, collector = asyncio.run(outage(edge, upstream, uplink))
    verdict = judge(collector.received)
    print(f"(lost, duplicated, out of order): QoS 1 {verdict[1]}, QoS 2 {verdict[2]}")
    assert all(d.done for d in devices)
    assert sum(d.sessions_lost for d in devices) == 0
    assert collector.sessions_lost == 0
    lost, _, disorder = verdict[1]
    assert (lost, disorder) == (0, 0), verdict
    assert verdict[2] == (0, 0, 0), verdict
