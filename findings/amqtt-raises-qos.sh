#!/bin/sh
# At which QoS a subscriber of amqtt, a broker in Python, gets what was published at a lower one.
#
# One would guess: at the lower of the QoS it was published at and the QoS that was granted
# (MQTT 3.1.1 section 3.8.4, [MQTT-3.8.4-6]).
#
# So it is: amqtt 0.12.1 delivers at the granted QoS, also what was published at QoS 0. A reading that
# was sent with one packet, and may get lost, takes the four packets of QoS 2 to each reader that asked
# for 2: on a metered link a bridge that subscribes at the highest QoS, to be safe, pays for all of
# them.
#
# Needs python3 with venv. Fails when what is seen below changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check amqtt==0.12.1 paho-mqtt==2.1.0 >&2

cat > look.py <<'PY'
import asyncio
import socket
import threading
import time

import paho.mqtt.client as mqtt
from amqtt.broker import Broker

with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]


async def serve():
    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    listeners = {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}}
    broker = Broker({"listeners": listeners, "plugins": plugins})
    await broker.start()
    started.set()
    await asyncio.Event().wait()


started = threading.Event()
threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
assert started.wait(30)


class Client:
    def __init__(self, name):
        self.came, self.granted = [], threading.Event()
        self.mqtt = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, name)
        up = threading.Event()
        self.mqtt.on_connect = lambda *_: up.set()
        self.mqtt.on_subscribe = lambda *_: self.granted.set()
        self.mqtt.on_message = lambda _c, _u, m: self.came.append((m.topic, m.qos, m.retain))
        self.mqtt.connect("127.0.0.1", port)
        self.mqtt.loop_start()
        assert up.wait(30)

    def subscribe(self, topic, qos):
        self.granted.clear()
        self.came.clear()
        self.mqtt.subscribe(topic, qos)
        assert self.granted.wait(30)
        time.sleep(1)
        return sorted(self.came)


publisher = Client("publisher")
for granted in (0, 1, 2):
    reader = Client(f"reader{granted}")
    reader.subscribe("reading", granted)
    for published in (0, 1, 2):
        reader.came.clear()
        publisher.mqtt.publish("reading", "1", published).wait_for_publish(30)
        time.sleep(1)
        print(f"granted {granted}, published at {published}, delivered at {reader.came[0][1]}")
PY
venv/bin/python look.py 2>/dev/null >seen
cat seen
cat >expected <<'END'
granted 0, published at 0, delivered at 0
granted 0, published at 1, delivered at 0
granted 0, published at 2, delivered at 0
granted 1, published at 0, delivered at 1
granted 1, published at 1, delivered at 1
granted 1, published at 2, delivered at 1
granted 2, published at 0, delivered at 2
granted 2, published at 1, delivered at 2
granted 2, published at 2, delivered at 2
END
diff expected seen && echo "As it was seen: the QoS of the subscription alone decides."
