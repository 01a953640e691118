"""A site under mixed load, for tests that kill its broker at any moment, and what it must keep."""

import asyncio
from dataclasses import dataclass, field

from ledger import Ledger
from peer import Peer

PUBLISHERS = 4
SLOTS = 8  # filters that come and go
NO_SUBSCRIBERS = 0x10


class Retained:
    """Values of retained topics, some of them empty; each topic has one writer."""

    EVERY = 5  # of so many values one is empty: the message is cleared

    def __init__(self):
        self.values = {}  # topic: the Messages, in order
        self.checks = 0
        self.complaints = []

    def publish(self, peer, topic):
        values = self.values.setdefault(topic, [])
        n = len(values)
        payload = b"" if n % self.EVERY == self.EVERY - 1 else b"%d" % n
        values.append(peer.publish(topic, payload, 1, retain=True))

    async def check(self, port):
        """What a new subscriber gets: of each topic the last acknowledged value or a later one."""
        peer = Peer(port, "retained-check", clean=True)
        fence = asyncio.Event()
        stored = {}

        def receive(publish):
            topic, payload, _, retain = publish
            if topic == "fence":
                fence.set()
            elif retain:
                stored[topic] = payload

        peer.on_receive = receive
        peer.start()
        try:
            await peer.online.wait()
            least = {topic: self._acknowledged(topic) for topic in self.values}
            await peer.subscribe(("ret/#", 1), ("fence", 1))
            peer.publish("fence", b"", 1)
            await fence.wait()
        finally:
            await peer.end()
        self.checks += 1
        for topic, index in least.items():
            allowed = {m.payload for m in self.values[topic][max(index, 0) :]}
            if index < 0:
                allowed.add(b"")
            if stored.get(topic, b"") not in allowed:
                self.complaints.append(
                    f"retained {topic} is {stored.get(topic)}, acknowledged was value {index}"
                )

    def _acknowledged(self, topic):
        """The place of the last acknowledged value, or -1."""
        indices = (i for i, m in enumerate(self.values[topic]) if m.acknowledged)
        return max(indices, default=-1)


class Subscriptions:
    """A durable client that subscribes and unsubscribes, and another that asks who listens: PUBACK
    of MQTT 5 says so."""

    def __init__(self, port):
        self.owner = Peer(port, "toggler")
        self.asker = Peer(port, "asker", level=5, clean=True)
        self.asker.on_acknowledge = self._answered
        self.known = [False] * SLOTS  # None: asked and not answered
        self._version = [0] * SLOTS
        self._questions = {}  # Message: (slot, version)
        self.checks = 0
        self.complaints = []

    def toggle(self, slot):
        if self.known[slot] is None and not self.owner.online.is_set():
            return
        on = not self.known[slot]
        self._version[slot] += 1
        self.known[slot] = None
        version, topic = self._version[slot], f"slot/{slot}"
        future = self.owner.subscribe((topic, 1)) if on else self.owner.unsubscribe(topic)

        def done(future):
            if not future.cancelled() and version == self._version[slot]:
                self.known[slot] = on

        future.add_done_callback(done)

    def ask(self):
        if self.asker.pending:
            return
        for slot, known in enumerate(self.known):
            if known is not None:
                message = self.asker.publish(f"slot/{slot}", b"x", 1)
                self._questions[message] = slot, self._version[slot]

    def _answered(self, message):
        slot, version = self._questions.pop(message)
        if version == self._version[slot] and self.known[slot] is not None:
            self.checks += 1
            if (message.reason != NO_SUBSCRIBERS) != self.known[slot]:
                self.complaints.append(
                    f"subscription to {message.topic}: acknowledged was {self.known[slot]}"
                )


@dataclass
class Site:
    """All clients of one broker, and collectors behind its bridges."""

    broker: object
    upstream_port: int | None
    rng: object
    ledger: Ledger = field(default_factory=Ledger)
    retained: Retained = field(default_factory=Retained)

    def __post_init__(self):
        port = self.broker.port
        self.subscriptions = Subscriptions(port)
        self.publishers = [
            Peer(port, f"pub{n}", level=(4, 5)[n % 2]) for n in range(PUBLISHERS)
        ]
        for peer in self.publishers:
            self.ledger.publisher(peer)
        #: Come and go.
        self.subscribers = [
            self._subscriber("sub4", 4, 2),
            self._subscriber("sub5", 5, 2),
            self._subscriber("sub1", 5, 1),
        ]
        #: Gone until the end.
        self.sleeper = self._subscriber("sleeper", 4, 2)
        self.collectors = []
        if self.upstream_port:
            self.collectors = [self._collector("up4"), self._collector("up5")]
        self._check = None
        self._errors = []

    def _subscriber(self, name, level, qos):
        peer = Peer(self.broker.port, name, level=level, filters=[("k/#", qos)])
        self.ledger.receiver(peer, exactly_once=qos == 2)
        return peer

    def _collector(self, name):
        peer = Peer(self.upstream_port, name, filters=[(f"{name}/#", 2)])
        self.ledger.receiver(peer, prefix=f"{name}/", exactly_once=True)
        return peer

    @property
    def peers(self):
        s = self.subscriptions
        return [*self.publishers, *self.subscribers, self.sleeper, *self.collectors, s.owner, s.asker]

    async def open(self):
        """Everybody connects and subscribes; the sleeper leaves again."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self._errors.append(f"a client: {context}"))
        for peer in self.peers:
            peer.start()
        for peer in self.peers:
            await peer.online.wait()
            if peer.filters:
                await peer.subscribed.wait()
        self.sleeper.leave()

    async def close(self):
        if self._check is not None:
            self._check.cancel()
            await asyncio.gather(self._check, return_exceptions=True)
        for peer in self.peers:
            await peer.end()

    def shuffle(self):
        """Who is there in this round."""
        for peer in self.subscribers:
            if self.rng.random() < 0.7:
                peer.start()
            else:
                peer.leave()

    def load(self):
        """A few messages of someone who isn't behind."""
        peer = self.rng.choice(self.publishers)
        if peer.pending < 60:
            name = peer.client_id
            for qos in (1, 2, 1, 2):
                padding = self.rng.choice((0, 200))
                self.ledger.publish(peer, f"k/{name}/q{qos}", qos, padding=padding)
            self.retained.publish(peer, f"ret/{name}")
        if self.subscriptions.owner.online.is_set():
            self.subscriptions.toggle(self.rng.randrange(SLOTS))
        self.subscriptions.ask()

    def check_retained(self):
        """Starts the check of a round; one that a kill interrupts is given up."""
        if self._check is not None:
            self._check.cancel()
        self._check = asyncio.create_task(self.retained.check(self.broker.port))

    async def settle(self, patience):
        """Everybody is there; until all has arrived, or nothing has come for `patience` s."""
        for peer in self.peers:
            peer.start()
        seen, quiet = None, 0.0
        while quiet < patience:
            now = self.ledger.total(), self.ledger.arrived(), sum(p.pending for p in self.publishers)
            if now[-1] == 0 and self.ledger.missing() == 0:
                break
            quiet = quiet + 0.1 if now == seen else 0.0
            seen = now
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)  # would there be duplicates?

    def judge(self):
        complaints = self._errors + self.ledger.judge() + self.retained.complaints + self.subscriptions.complaints
        for peer in self.publishers + [self.subscriptions.owner]:
            if peer.sessions_lost:
                complaints.append(f"{peer.client_id}: session not present {peer.sessions_lost} times")
            if peer.pending:
                complaints.append(f"{peer.client_id}: {peer.pending} never acknowledged")
        return complaints
