"""A site with a bridge to one of the upstreams, configured as its operator would at first: an
address, a topic line, and a login where the upstream wants one."""

import os
import queue
import re
import time
from collections import defaultdict
from itertools import count

from harness import wait_until

#: How long a bridge may take until it has found out what its upstream does not stand, in seconds.
PATIENCE = float(os.environ.get("FOOTBRIDGE_PATIENCE", 240))

#: More lines for each bridge, to look behind a fault, such as 'remote_clientid NAME'.
MORE = os.environ.get("FOOTBRIDGE_BRIDGE_LINES", "")

_names = (f"s{n}" for n in count(1))
_readers = count()


class Inbox:
    """What a client has received, by topic."""

    def __init__(self, client):
        self.client = client
        self.topics = defaultdict(list)

    def drain(self, timeout=0.0):
        """Takes what is there; waits so long for the first."""
        try:
            while True:
                message = self.client.messages.get(timeout=timeout)
                self.topics[message.topic].append(message)
                timeout = 0
        except (queue.Empty, ValueError):
            pass

    def payloads(self, topic):
        return [m.payload.decode() for m in self.topics[topic]]

    def all_payloads(self):
        return [m.payload.decode() for messages in self.topics.values() for m in messages]

    def find(self, payload):
        """A message with this payload, whatever its topic; None without."""
        every = (m for messages in self.topics.values() for m in messages)
        return next((m for m in every if m.payload == payload.encode()), None)

    def wait(self, condition, what, timeout=PATIENCE):
        end = time.monotonic() + timeout
        self.drain()
        while not condition():
            assert time.monotonic() < end, f"no {what} within {timeout:.0f} s"
            self.drain(0.1)

    def expect(self, topic, payloads, timeout=PATIENCE, twice=False):
        """Exactly these, in this order, and nothing more within a moment; returns the messages.
        `twice`: QoS 1, and the connection may end on the way, so that one may come again."""
        payloads = list(map(str, payloads))

        def got():
            came = self.payloads(topic)
            return list(dict.fromkeys(came)) if twice else came

        try:
            self.wait(lambda: len(got()) >= len(payloads), "messages", timeout)
        except AssertionError:
            missing = f"{topic}: {len(got())} of {len(payloads)} came: {got()}"
            raise AssertionError(missing) from None
        self.drain(0.3)
        assert got() == payloads, f"{topic}: {self.payloads(topic)}"
        return self.topics.pop(topic)


class Site:
    """Here is the site: a broker, a device that publishes, a reader of everything. There is the
    upstream, with a publisher and a reader of what is this site's. `here/x` is `NAME/x` there, if
    the topic lines say so."""

    def __init__(self, cloud, client, make_broker, topic, port=None, known=False):
        self.cloud, self.name = cloud, next(_names)
        self._client, self._make_broker = client, make_broker
        self._topic, self._port = topic, port or cloud.bridge_port
        self._known = cloud.known if known or cloud.is_slow else ""
        self._theirs = []
        self.broker = None

    def start(self):
        self.broker = self._make_broker(self._config(), durable=True)
        self.device = self._client(self.broker.port, "device")
        self.here = Inbox(self.reader())
        self.join()
        return self

    def reader(self):
        """Who reads everything here."""
        reader = self._client(self.broker.port, "reader")
        reader.subscribe("#", 2)
        return reader

    def _config(self):
        lines = ["connection NAME", f"address 127.0.0.1:{self._port}", self.cloud.login]
        lines += ["restart_timeout 1", self._known, self._topic, MORE]
        return "\n".join(lines).replace("NAME", self.name)

    def becomes(self, topic):
        """Restarts the broker, with another topic line."""
        text = self.broker.config_file.read_text()
        old, new = (line.replace("NAME", self.name) for line in (self._topic, topic))
        assert old in text
        self.broker.config_file.write_text(text.replace(old, new))
        ups = self.up()
        self.broker.restart()
        wait_until(lambda: self.up() > ups, timeout=PATIENCE, what="a bridge that is up")
        self.device = self._client(self.broker.port, "device")

    def their(self, role, **options):
        """A client of the upstream."""
        made = self.cloud.client(f"{self.name}{role}{len(self._theirs)}", **options)
        self._theirs.append(made)
        return made

    def join(self):
        """New clients at the upstream, which has lost those it had."""
        self.publisher = self.their("pub")
        self.there = Inbox(self.their("sub"))
        codes = self.there.client.subscribe(f"{self.name}/#", 2)
        assert codes == [self.cloud.traits.grants], codes

    def retained(self, topic):
        """What the upstream has retained there: what a new subscription gets at once."""

        def read():
            reader = self.cloud.client(f"{self.name}new{next(_readers)}")
            return retained(reader, f"{self.name}/{topic}")

        try:
            return read()
        except queue.Empty:
            # amqtt 0.12.1 stops serving a client that comes in while another's subscriptions change.
            return read()

    def close(self):
        for client in self._theirs:
            client.close()

    def up(self):
        """How often the bridge has told that it is connected."""
        return self.broker.log().count(f"Bridge {self.name} connected to")

    def spoken(self):
        """What the bridge speaks with the upstream, in the words of its log."""
        line = self.broker.log().rpartition(f"Bridge {self.name} connected to")[2]
        return line.partition(" with ")[2].partition(", ")[0]

    def without(self):
        """What the bridge has found that it must do without, in the words of its log."""
        found = re.findall(r"upstream does not take (.*?) \(.*SIGHUP tries", self.broker.log())
        return list(dict.fromkeys(found))

    def settles(self):
        """Waits until messages come through, and go on to."""
        self.moves()
        if self.cloud.settling:
            time.sleep(self.cloud.settling)
            self.moves()

    def moves(self, timeout=PATIENCE, inner="here/"):
        """Waits until messages come through, each way; `inner` is what NAME/ is here."""
        outer = f"{self.name}/"

        def up():
            self.device.publish(f"{inner}probe", "", 1)

        def down():
            self.publisher.publish(f"{outer}probed", "", 1)

        _again(up, self.there, f"{outer}probe", timeout)
        _again(down, self.here, f"{inner}probed", timeout)
        self.there.drain(0.3)
        self.here.drain(0.3)
        self.here.topics.clear()
        self.there.topics.clear()


def _again(say, inbox, topic, timeout):
    """Says it until it has come: a bridge has no queue for QoS 0, and an upstream may have none."""
    end = time.monotonic() + timeout
    while not inbox.topics[topic]:
        assert time.monotonic() < end, f"nothing comes on {topic} within {timeout:.0f} s"
        say()
        inbox.drain(0.5)


def retained(client, topic):
    """What a new subscription of this client gets as retained; None where nothing comes within a
    second. The client is closed."""
    try:
        client.subscribe(topic, 1)
        inbox = Inbox(client)
        end = time.monotonic() + 1
        # amqtt sends those of other topics, too.
        while not inbox.topics[topic] and time.monotonic() < end:
            inbox.drain(0.1)
    finally:
        client.close()
    return next((m.payload.decode() for m in inbox.topics[topic] if m.retain), None)
