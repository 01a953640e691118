#!/bin/sh
# Which sessions of MQTT 5 Mosquitto still has after it was stopped and started, with `persistence true`.
#
# One would guess: all whose expiry interval has not passed. Clean Start says what becomes of an earlier
# session; that the new one is to outlast its connection, the expiry interval says [MQTT-3.1.2-23].
#
# So it is: Mosquitto 2.0.11 keeps a session that began with Clean Start while it runs, with what is queued for
# it, but does not write it to its file. After a restart it is gone, and its messages with it. One that began
# without Clean Start, with the same expiry interval, is there, and so is what was queued. Many libraries connect
# with Clean Start the first time by default.
#
# Needs apt-get and dpkg of Debian 12, and python3 with venv. Fails when what is seen below changes.
set -eu
folder=$(mktemp -d)
broker=
trap '[ -z "$broker" ] || kill "$broker"; rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -qq mosquitto=2.0.11-1.2+deb12u2 libwrap0 libdlt2 2>/dev/null
for package in *.deb; do dpkg -x "$package" root; done
python3 -m venv venv
venv/bin/pip install --quiet paho-mqtt==2.1.0 >&2

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >mosquitto.conf <<CONF
listener $port 127.0.0.1
allow_anonymous true
persistence true
persistence_location $folder/
CONF
chmod 777 .
start() {
    LD_LIBRARY_PATH=$(dirname "$(find root -name libdlt.so.2)") \
        root/usr/sbin/mosquitto -c mosquitto.conf >>log 2>&1 &
    broker=$!
    sleep 1
}

cat >look.py <<'PY'
import queue
import sys
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def connect(name, clean_start):
    """A client whose session outlasts its connection by an hour, and whether the broker had it."""
    connected = queue.Queue()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, name, protocol=mqtt.MQTTv5)
    client.came = []
    client.subscribed = queue.Queue()
    client.on_connect = lambda client, data, flags, code, props: connected.put(flags.session_present)
    client.on_message = lambda client, data, message: client.came.append(message.payload)
    client.on_subscribe = lambda *_: client.subscribed.put(True)
    lasts = Properties(PacketTypes.CONNECT)
    lasts.SessionExpiryInterval = 3600
    client.connect("127.0.0.1", int(sys.argv[1]), clean_start=clean_start, properties=lasts)
    client.loop_start()
    return client, connected.get(timeout=10)


def end(client):
    client.disconnect()
    client.loop_stop()


NAMES = {"with Clean Start": True, "without": False}
if sys.argv[2] == "before":
    for name, clean_start in NAMES.items():
        client, _ = connect(name, clean_start)
        client.subscribe("topic", 1)
        client.subscribed.get(timeout=10)
        end(client)
    # While the broker runs, this one is kept, too.
    client, _ = connect("looked after", True)
    end(client)
    client, present = connect("looked after", False)
    assert present
    end(client)
    publisher, _ = connect("publisher", True)
    publisher.publish("topic", "queued", 1).wait_for_publish(10)
    end(publisher)
if sys.argv[2] == "after":
    seen = {}
    for name in NAMES:
        client, present = connect(name, False)
        time.sleep(1)
        seen[name] = (present, client.came)
        print(f"{name}: session present {present}, {len(client.came)} messages")
        end(client)
    assert seen == {"with Clean Start": (False, []), "without": (True, [b"queued"])}
PY
start
venv/bin/python look.py "$port" before
kill "$broker" && wait "$broker"
start
venv/bin/python look.py "$port" after

# Seen:
# with Clean Start: session present False, 0 messages
# without: session present True, 1 messages
