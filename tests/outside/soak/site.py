"""A site as it should be: five hundred devices that publish now and then and are sent commands, a
bridge to a healthy upstream, and who reads at either end.

    python -m soak.site PORT UPSTREAM_PORT SECONDS

prints what was said, acknowledged, and went wrong.
"""

import asyncio
import json
import sys
import time

from ledger import Ledger
from peer import Peer

DEVICES = 500
#: Seconds between two messages of a device.
EVERY = 5.0
#: Devices connect at this many a second, as after a power cut in the street.
ARRIVALS = 200
#: How long what was acknowledged may be on its way, once all is over, in seconds.
PATIENCE = 120


class Site:
    def __init__(self, port, upstream_port):
        self.up, self.down = Ledger(), Ledger()
        self.devices = [Peer(port, f"dev{n}", level=(4, 5)[n % 2]) for n in range(DEVICES)]
        for device in self.devices:
            self.up.publisher(device)
        # At QoS 1, as a dashboard would be; the collector upstream as well.
        self.reader = Peer(port, "reader", filters=[("tele/#", 1)])
        self.up.receiver(self.reader)
        self.collector = Peer(upstream_port, "collector", filters=[("up/tele/#", 1)])
        self.up.receiver(self.collector, prefix="up/")
        self.commander = Peer(upstream_port, "commander")
        self.down.publisher(self.commander)
        self.actuator = Peer(port, "actuator", level=5, filters=[("cmd/#", 1)])
        self.down.receiver(self.actuator)

    @property
    def others(self):
        return [self.reader, self.collector, self.commander, self.actuator]

    async def open(self):
        for peer in self.others:
            peer.start()
            await peer.online.wait()
            if peer.filters:
                await peer.subscribed.wait()
        for device in self.devices:
            device.start()
            await asyncio.sleep(1 / ARRIVALS)

    async def work(self, seconds):
        """Each device says something every EVERY seconds, spread evenly."""
        start, said = time.monotonic(), 0
        while (gone := time.monotonic() - start) < seconds:
            while said < gone * DEVICES / EVERY:
                device = self.devices[said % DEVICES]
                # One that is behind waits, as a device with little memory has to.
                if device.pending < 20:
                    self.up.publish(device, f"tele/{device.client_id}", 1, padding=100)
                if said % 10 == 0 and self.commander.pending < 20:
                    self.down.publish(self.commander, f"cmd/{said // 10 % DEVICES}", 1)
                said += 1
            await asyncio.sleep(0.02)

    async def settle(self):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            waits = any(d.pending for d in [*self.devices, self.commander])
            if not waits and not self.up.missing() and not self.down.missing():
                break
            await asyncio.sleep(0.2)

    def report(self):
        refused = sum(self.up.refused.values()) + sum(self.down.refused.values())
        return {
            "said": sum(self.up.sent.values()) + sum(self.down.sent.values()),
            "acknowledged": self.up.total()[0] + self.down.total()[0],
            "refused": refused,
            "unanswered": sum(d.pending for d in [*self.devices, self.commander]),
            "disconnects": sum(p.disconnects for p in [*self.devices, *self.others]),
            "complaints": self.up.judge()[:20] + self.down.judge()[:20],
        }


async def main(port, upstream_port, seconds):
    site = Site(int(port), int(upstream_port))
    await site.open()
    await site.work(float(seconds))
    await site.settle()
    print(json.dumps(site.report()))
    for peer in [*site.devices, *site.others]:
        await peer.end()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
