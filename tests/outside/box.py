"""A broker with a disk in trouble, and the clients who tell whether it keeps its promises."""

import asyncio
import contextlib

from ledger import Ledger
from peer import Peer
from stories import joined, until

RECOVERY = 15  # seconds until all goes on by itself once the disk works
#: No bound but the disk, and news every second.
CONFIG = "max_queued_messages 0\nmax_queued_bytes 0\nsys_interval 1\n"


class Box:
    """Two publishers, of either protocol version, and a durable subscriber."""

    def __init__(self, broker, *, sub_qos=2):
        self.broker = broker
        self.ledger = Ledger()
        self.v3, self.v5 = Peer(broker.port, "pub3"), Peer(broker.port, "pub5", level=5)
        self.sub = Peer(broker.port, "sub", filters=[("k/#", sub_qos)])
        for publisher in self.publishers:
            self.ledger.publisher(publisher)
        # On a full disk who reads at QoS 1 gets a copy, and the message once more when it is stored.
        self.ledger.receiver(self.sub, exactly_once=sub_qos == 2)

    @property
    def publishers(self):
        return self.v3, self.v5

    def acknowledged(self):
        return self.ledger.total()[0]

    def offer(self, count, padding=200):
        """So many messages of each publisher, at QoS 1 and 2 by turns."""
        for n in range(count):
            for p in self.publishers:
                qos = 1 + n % 2
                self.ledger.publish(p, f"k/{p.client_id}/q{qos}", qos, padding=padding)

    async def settled(self, timeout=10):
        await until(lambda: not any(p.pending for p in self.publishers), timeout, "acknowledgements")

    async def restart(self):
        """kill -9 and start."""
        self.broker.kill()
        await asyncio.to_thread(self.broker.start)

    async def all_arrives(self, timeout=RECOVERY):
        """What was held back is acknowledged, something new too, and all is delivered: nothing
        lost, nothing twice at QoS 2, everything in order."""
        await self.settled(timeout)
        self.offer(10)
        await self.settled()
        self.sub.start()
        with contextlib.suppress(AssertionError):  # the ledger knows more
            await until(lambda: not self.ledger.missing(), timeout, "everything acknowledged")
            await asyncio.sleep(0.3)  # would there be duplicates?
        complaints = self.ledger.judge()
        assert not complaints, "\n".join(complaints)

    def tell(self, story):
        """Runs a coroutine function while the clients are there."""

        async def whole():
            try:
                await joined(*self.publishers, self.sub)
                await story()
            finally:
                for peer in (*self.publishers, self.sub):
                    await peer.end()

        asyncio.run(whole())
