"""paho-mqtt behind blocking calls, so that a test reads from top to bottom."""

import queue
import socket
import threading

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

V31, V311, V5 = paho.MQTTv31, paho.MQTTv311, paho.MQTTv5
TIMEOUT = 8.0


def props(kind, **values):
    """paho's Properties for a packet type: props("PUBLISH", ContentType="x")."""
    made = Properties(getattr(PacketTypes, kind))
    for name, value in values.items():
        setattr(made, name, value)
    return made


def in_order(payloads, count):
    """Whether these are the numbers 0 to count, once each, even ones (sent at QoS 1) in order and
    odd ones (sent at QoS 2) in order. Between QoS 1 and 2 a receiver sees no order: a QoS 2 message
    is handed out at its PUBREL."""
    numbers = [int(p) for p in payloads]
    return all(
        [n for n in numbers if n % 2 == odd] == list(range(odd, count, 2)) for odd in (0, 1)
    )


class Client:
    """A connected client. `clean` is clean session, or clean start on MQTT 5; for `transport`
    "unix" the port is a path; `tls` is an SSLContext. One that `returns` connects again when its
    connection is lost, and sends again what was not acknowledged."""

    def __init__(
        self,
        port,
        client_id="",
        *,
        version=V311,
        clean=True,
        keepalive=60,
        will=None,
        login=None,
        properties=None,
        expiry=None,
        accepted=True,
        transport="tcp",
        tls=None,
        returns=False,
    ):
        options = {} if version == V5 else {"clean_session": clean}
        self.paho = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id,
            protocol=version,
            reconnect_on_failure=returns,
            transport=transport,
            **options,
        )
        self.messages = queue.Queue()
        self._connacks = queue.Queue()
        self._subacks = queue.Queue()
        self._pubacks = {}
        self.closed = threading.Event()
        self.closed_reason = None
        self.paho.on_connect = lambda c, u, flags, reason, p: self._connacks.put((flags, reason, p))
        self.paho.on_message = lambda c, u, message: self.messages.put(message)
        self.paho.on_subscribe = lambda c, u, mid, reasons, p: self._subacks.put(reasons)
        self.paho.on_unsubscribe = lambda c, u, mid, reasons, p: self._subacks.put(reasons)
        self.paho.on_publish = lambda c, u, mid, reason, p: self._pubacks.update({mid: reason})
        self.paho.on_disconnect = self._on_disconnect
        if will:
            self.paho.will_set(**will)
        if login:
            self.paho.username_pw_set(*login)
        if tls is not None:
            self.paho.tls_set_context(tls)
        extra = {}
        if version == V5:
            properties = properties or props("CONNECT")
            if expiry is not None:
                properties.SessionExpiryInterval = expiry
            extra = {"clean_start": clean, "properties": properties}
        host, port = (str(port), 1) if transport == "unix" else ("127.0.0.1", port)
        self.paho.connect(host, port, keepalive, **extra)
        self.paho.loop_start()
        self.flags, self.reason, self.connack = self._connacks.get(timeout=TIMEOUT)
        if accepted:
            assert not self.reason.is_failure, f"refused: {self.reason}"

    def _on_disconnect(self, _client, _userdata, _flags, reason, _properties):
        self.closed_reason = reason
        self.closed.set()

    @property
    def session_present(self):
        return self.flags.session_present

    def subscribe(self, topic, qos=0, **options):
        """Returns the SUBACK's reason codes as numbers."""
        topics = topic if isinstance(topic, list) else [(topic, qos)]
        if "options" in options:
            self.paho.subscribe(topic, **options)
        else:
            self.paho.subscribe(topics, **options)
        return [reason.value for reason in self._subacks.get(timeout=TIMEOUT)]

    def unsubscribe(self, topic):
        self.paho.unsubscribe(topic)
        self._subacks.get(timeout=TIMEOUT)

    def publish(self, topic, payload="", qos=0, retain=False, properties=None):
        """Publishes and waits until the QoS is fulfilled; returns the reason code as a number."""
        info = self.paho.publish(topic, payload, qos, retain, properties)
        info.wait_for_publish(TIMEOUT)
        assert info.is_published(), f"no acknowledgement for {topic}"
        reason = self._pubacks.get(info.mid)
        return reason.value if reason is not None else 0

    def get(self, timeout=TIMEOUT):
        """The next message."""
        return self.messages.get(timeout=timeout)

    def payloads(self, count, timeout=TIMEOUT):
        """The payloads of the next messages, as text."""
        got = []
        while len(got) < count:
            try:
                got.append(self.get(timeout).payload.decode())
            except queue.Empty:
                last = got[-1] if got else None
                raise AssertionError(f"{len(got)} of {count} messages, the last {last}") from None
        return got

    def silent(self, seconds=0.4):
        """True when nothing comes in for that long."""
        try:
            self.messages.get(timeout=seconds)
            return False
        except queue.Empty:
            return True

    def drop(self):
        """Cuts the connection without a DISCONNECT."""
        sock = self.paho.socket()
        if sock is not None:
            sock.shutdown(socket.SHUT_RDWR)
        self.closed.wait(TIMEOUT)
        self.paho.loop_stop()

    def close(self, **options):
        """DISCONNECT, where still connected."""
        self.paho.disconnect(**options)
        self.paho.loop_stop()
