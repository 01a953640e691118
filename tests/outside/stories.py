"""What the fault tests tell of a broker in trouble, in asyncio."""

import asyncio
import contextlib
import time

from peer import Peer

STATE = "$SYS/broker/store/state"


async def until(condition, timeout, what):
    """Polls until the condition holds and returns its value."""
    end = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < end, f"no {what} within {timeout} s"
        await asyncio.sleep(0.02)
    return value


async def joined(*peers):
    """Everybody connects and subscribes."""
    for peer in peers:
        peer.start()
    for peer in peers:
        await until(peer.online.is_set, 10, f"connection of {peer.client_id}")
        if peer.filters:
            await until(peer.subscribed.is_set, 10, f"SUBACK for {peer.client_id}")


@contextlib.asynccontextmanager
async def company(*peers):
    """The peers are there, and are gone in the end."""
    try:
        await joined(*peers)
        yield
    finally:
        for peer in peers:
            await peer.end()


async def quiet(progress, seconds=1.0, timeout=20):
    """Until `progress()` has not changed for so long."""
    end, last, since = time.monotonic() + timeout, progress(), time.monotonic()
    while time.monotonic() - since < seconds:
        assert time.monotonic() < end, f"still going on after {timeout} s"
        await asyncio.sleep(0.05)
        if (now := progress()) != last:
            last, since = now, time.monotonic()


async def publish_numbers(ledger, peer, topic, count, *, qos=1, padding=200, timeout=15):
    """Publishes and waits for every acknowledgement."""
    for _ in range(count):
        ledger.publish(peer, topic, qos, padding=padding)
    await until(lambda: not peer.pending, timeout, f"acknowledgements for {topic}")


async def qos0_passes(port, timeout=2):
    """Two clients that connect now talk at QoS 0."""
    listener = Peer(port, "live-sub", clean=True, filters=[("live", 0)])
    talker = Peer(port, "live-pub", clean=True)
    async with company(listener, talker):
        talker.publish("live", b"now", 0)
        await until(lambda: listener.received, timeout, "QoS 0 message")


class State(Peer):
    """Watches the store's state in $SYS."""

    def __init__(self, port):
        super().__init__(port, "state", clean=True, filters=[(STATE, 0)])
        self.on_receive = self._state
        self.states = []

    def _state(self, publish):
        self.states.append(publish[1].decode())

    async def becomes(self, start, timeout=15):
        """Until it begins with `start`."""
        await until(
            lambda: self.states and self.states[-1].startswith(start),
            timeout,
            f"{STATE} {start!r} (it was {self.states})",
        )


def lines(broker, *words, since=0):
    """Log lines with one of the words, whatever the case; `since` is an earlier length of it."""
    log = broker.log()[since:].lower().splitlines()
    return [line for line in log if any(word in line for word in words)]
