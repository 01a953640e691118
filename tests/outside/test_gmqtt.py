"""gmqtt, an asyncio client, on MQTT 3.1.1 and 5."""

import asyncio

import gmqtt
import pytest
from gmqtt.mqtt.constants import MQTTv50, MQTTv311

TIMEOUT = 8.0
VERSIONS = pytest.mark.parametrize("version", [MQTTv311, MQTTv50])


class Client:
    """A connected client whose packets can be waited for."""

    @classmethod
    async def connect(cls, port, name, version, *, clean=True, will=None, **properties):
        self = cls()
        self.messages, self.subacks, self.unsubacks = (asyncio.Queue() for _ in range(3))
        self.gmqtt = gmqtt.Client(name, clean_session=clean, will_message=will, **properties)
        self.gmqtt.set_config({"reconnect_retries": 0})
        self.session_present = self.connack = None
        self.gmqtt.on_connect = self._connected
        self.gmqtt.on_message = self._message
        self.gmqtt.on_subscribe = lambda _c, mid, qos, _p: self.subacks.put_nowait((mid, qos))
        self.gmqtt.on_unsubscribe = lambda _c, mid, *_: self.unsubacks.put_nowait(mid)
        await asyncio.wait_for(self.gmqtt.connect("127.0.0.1", port, version=version), TIMEOUT)
        return self

    def _connected(self, _client, flags, _reason, properties):
        self.session_present, self.connack = bool(flags & 1), properties

    async def _message(self, _client, topic, payload, qos, properties):
        retain = bool(properties.get("retain"))
        self.messages.put_nowait((topic, payload.decode(), qos, retain, properties))
        return 0

    async def subscribe(self, topic, qos, **options):
        mid = self.gmqtt.subscribe(topic, qos, **options)
        got, granted = await asyncio.wait_for(self.subacks.get(), TIMEOUT)
        assert got == mid
        return list(granted)

    async def unsubscribe(self, topic):
        mid = self.gmqtt.unsubscribe(topic)
        assert await asyncio.wait_for(self.unsubacks.get(), TIMEOUT) == mid

    async def publish(self, topic, payload, qos=0, **options):
        """Returns once it is acknowledged."""
        self.gmqtt.publish(topic, payload, qos=qos, **options)
        await asyncio.wait_for(self.gmqtt._persistent_storage.wait_empty(), TIMEOUT)

    async def get(self):
        return (await self.get_all())[:4]

    async def get_all(self):
        """With the properties."""
        return await asyncio.wait_for(self.messages.get(), TIMEOUT)

    async def silent(self, seconds=0.5):
        await asyncio.sleep(seconds)
        return self.messages.empty()

    async def close(self):
        await self.gmqtt.disconnect()

    def drop(self):
        """Breaks the connection without DISCONNECT."""
        self.gmqtt.stop_reconnect()
        self.gmqtt._connection._transport.abort()


@pytest.fixture
def play(broker):
    """Runs a coroutine with the means to connect."""

    def run(story, port=broker.port):
        asyncio.run(story(lambda *args, **kw: Client.connect(port, *args, **kw)))

    return run


def lasting(version):
    expiry = {"session_expiry_interval": 600} if version == MQTTv50 else {}
    return {"clean": False, **expiry}


@VERSIONS
@pytest.mark.parametrize("granted", [0, 1, 2])
def test_every_qos(play, version, granted):
    async def story(connect):
        sub, pub = await connect("sub", version), await connect("pub", version)
        assert await sub.subscribe("t/+", granted) == [granted]
        for qos in (0, 1, 2):
            await pub.publish(f"t/{qos}", f"m{qos}", qos)
            assert await sub.get() == (f"t/{qos}", f"m{qos}", min(qos, granted), False)
        await sub.unsubscribe("t/+")
        await pub.publish("t/1", "no more", 1)
        assert await sub.silent()
        await sub.close()
        await pub.close()

    play(story)


@VERSIONS
def test_many_in_order(play, version):
    async def story(connect):
        sub, pub = await connect("sub", version), await connect("pub", version)
        await sub.subscribe("t", 2)
        for qos in (1, 2):
            for n in range(0, 500, 10):
                for m in range(n, n + 10):
                    pub.gmqtt.publish("t", str(m), qos=qos)
                await pub.gmqtt._persistent_storage.wait_empty()
            got = [(await sub.get())[1] for _ in range(500)]
            assert got == [str(n) for n in range(500)]

    play(story)


@VERSIONS
def test_retained(play, version):
    async def story(connect):
        pub = await connect("pub", version)
        for n in (0, 1, 2):
            await pub.publish(f"r/{n}", f"v{n}", n, retain=True)
        await pub.publish("r/1", "", 1, retain=True)
        sub = await connect("sub", version)
        await sub.subscribe("r/#", 2)
        got = sorted([await sub.get(), await sub.get()])
        assert got == [("r/0", "v0", 0, True), ("r/2", "v2", 2, True)]
        assert await sub.silent()

    play(story)


@VERSIONS
def test_will(play, version):
    async def story(connect):
        sub = await connect("sub", version)
        await sub.subscribe("w/#", 2)
        for qos in (0, 1, 2):
            will = gmqtt.Message(f"w/{qos}", "gone", qos=qos)
            (await connect(f"dev{qos}", version, will=will)).drop()
            assert await sub.get() == (f"w/{qos}", "gone", qos, False)
        polite = await connect("polite", version, will=gmqtt.Message("w/none", "gone"))
        await polite.close()
        assert await sub.silent()

    play(story)


@VERSIONS
def test_a_session_is_resumed(play, make_broker, version):
    async def away(connect):
        dev = await connect("dev", version, **lasting(version))
        assert not dev.session_present
        await dev.subscribe("t", 2)
        await dev.close()
        pub = await connect("pub", version)
        for qos in (1, 2):
            await pub.publish("t", f"m{qos}", qos)

    async def back(connect):
        dev = await connect("dev", version, **lasting(version))
        assert dev.session_present
        assert [await dev.get(), await dev.get()] == [("t", f"m{n}", n, False) for n in (1, 2)]
        await dev.close()
        dev = await connect("dev", version)
        assert not dev.session_present
        pub = await connect("pub", version)
        await pub.publish("t", "nobody", 1)
        assert await dev.silent()

    broker = make_broker(durable=True)
    play(away, broker.port)
    broker.restart()
    play(back, broker.port)


def test_properties(play):
    async def story(connect):
        sub, pub = await connect("sub", MQTTv50), await connect("pub", MQTTv50)
        await sub.subscribe("t", 1, subscription_identifier=7, no_local=True)
        users = [("b", "2"), ("a", "1"), ("b", "1")]
        await pub.publish(
            "t",
            "x",
            1,
            user_property=users,
            content_type="text/plain",
            response_topic="re/ply",
            correlation_data=b"\x00\xff",
            message_expiry_interval=60,
        )
        got = (await sub.get_all())[4]
        assert got["user_property"] == users
        assert (got["content_type"], got["response_topic"]) == (["text/plain"], ["re/ply"])
        assert got["correlation_data"] == [b"\x00\xff"]
        assert got["subscription_identifier"] == [7]
        assert 58 <= got["message_expiry_interval"][0] <= 60
        sub.gmqtt.publish("t", "own", qos=1)
        assert await sub.silent()

    play(story)


def test_topic_aliases(play):
    """gmqtt sets aliases, and takes those of the broker."""

    async def story(connect):
        sub = await connect("sub", MQTTv50, topic_alias_maximum=5)
        await sub.subscribe("some/long/topic/#", 1)
        pub = await connect("pub", MQTTv50)
        assert pub.connack["topic_alias_maximum"][0] > 0
        for n in range(40):
            pub.gmqtt.publish(f"some/long/topic/{n % 8}", str(n), qos=1, topic_alias=n % 8 + 1)
            topic, payload, *_ = await sub.get()
            assert (topic, payload) == (f"some/long/topic/{n % 8}", str(n))

    play(story)


def test_a_will_that_waits(play):
    async def story(connect):
        sub = await connect("sub", MQTTv50)
        await sub.subscribe("w", 1)
        will = gmqtt.Message("w", "gone", qos=1, will_delay_interval=2)
        for _ in range(2):
            dev = await connect("dev", MQTTv50, will=will, **lasting(MQTTv50))
            dev.drop()
            assert await sub.silent(1)
        assert await sub.get() == ("w", "gone", 1, False)
        assert await sub.silent(2)

    play(story)
