"""Who was promised what, and what came: the judge of tests in which brokers die.

Every topic is written by one publisher, with the numbers 0, 1, 2… as payloads (padded with dots).
"""

from collections import Counter, defaultdict


def number(payload):
    return int(payload.partition(b" ")[0])


class Ledger:
    """Watches publishers and receivers from the moment they are named to it."""

    def __init__(self):
        self.sent = Counter()  # topic: how many numbers
        self.acknowledged = defaultdict(set)
        self.refused = Counter()  # reason code: how often
        self.receivers = {}  # name: Receiver

    def publisher(self, peer):
        peer.on_acknowledge = self._on_acknowledge

    def receiver(self, peer, *, prefix="", exactly_once=False):
        """A durable subscriber to everything, seen under `prefix`. `exactly_once`: it subscribes
        at QoS 2, so topics that end in /q2 must not come twice."""
        made = Receiver(peer, prefix, exactly_once)
        self.receivers[peer.client_id] = made
        return made

    def publish(self, peer, topic, qos, *, retain=False, padding=0):
        """The next number on the topic."""
        payload = (b"%d " % self.sent[topic]).ljust(padding, b".")
        self.sent[topic] += 1
        return peer.publish(topic, payload, qos, retain)

    def _on_acknowledge(self, message):
        if message.topic not in self.sent:
            return  # not ours
        if message.acknowledged:
            self.acknowledged[message.topic].add(number(message.payload))
        else:
            self.refused[message.reason] += 1

    def missing(self):
        """How many acknowledged messages have yet to arrive."""
        return sum(
            len(numbers - r.seen[topic])
            for r in self.receivers.values()
            for topic, numbers in self.acknowledged.items()
        )

    def arrived(self):
        return sum(len(r.seen[topic]) for r in self.receivers.values() for topic in r.seen)

    def total(self):
        """(acknowledged, deliveries)."""
        acknowledged = sum(map(len, self.acknowledged.values()))
        return acknowledged, sum(r.count for r in self.receivers.values())

    def judge(self):
        """Everything that went wrong, one sentence each."""
        return [
            f"{name}: {complaint}"
            for name, receiver in self.receivers.items()
            for complaint in receiver.judge(self)
        ]


class Receiver:
    """What one subscriber got. Order is judged as it comes in: by first occurrences."""

    def __init__(self, peer, prefix, exactly_once):
        self.peer, self.prefix, self.exactly_once = peer, prefix, exactly_once
        self.seen = defaultdict(set)
        self.twice = defaultdict(list)
        self.disorder = defaultdict(list)  # topic: (newest before, what came after it)
        self._newest = defaultdict(lambda: -1)
        self.count = 0
        peer.on_receive = self.receive

    def receive(self, publish):
        topic, payload, _, retain = publish
        topic = topic.removeprefix(self.prefix)
        self.count += 1
        n = number(payload)
        if n in self.seen[topic]:
            self.twice[topic].append(n)
            return
        self.seen[topic].add(n)
        if n < self._newest[topic]:
            self.disorder[topic].append((self._newest[topic], n))
        self._newest[topic] = max(n, self._newest[topic])

    def judge(self, ledger):
        for topic, numbers in ledger.acknowledged.items():
            if lost := sorted(numbers - self.seen[topic]):
                yield f"lost {len(lost)} of {len(numbers)} on {topic}, such as {lost[:5]}"
        for topic, seen in self.seen.items():
            if strange := sorted(n for n in seen if n >= ledger.sent[topic]):
                yield f"never sent on {topic}: {strange[:5]}"
            if self.disorder[topic]:
                yield f"out of order on {topic}: {self.disorder[topic][:5]}"
            if self.exactly_once and topic.endswith("/q2") and self.twice[topic]:
                yield f"QoS 2 twice on {topic}: {self.twice[topic][:5]}"
        if self.peer.sessions_lost:
            yield f"session not present {self.peer.sessions_lost} times"
