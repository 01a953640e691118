"""Brokers that programs embed: aedes from npm, amqtt from PyPI, rumqttd from crates.io."""

import dataclasses
import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

from clients import V5, Client
from harness import ROOT, TARGET, free_port, listens
from upstreams.node import Node, Traits

WEB = ROOT / "tests/outside/web"


class Aedes(Node):
    """All in RAM."""

    name = "aedes"
    # It closes at the first notification, and loses some of what it delivers at that moment.
    settling = 3.0
    # With the bridge bit each message of the bridge takes one out of what waits for it there
    # (findings/aedes-no-local-takes-from-the-queue.sh).
    known = "notifications_local_only true\ntry_private false"
    traits = Traits(survives_kill=False, keeps_retained=False, retain_as_published=True)

    @classmethod
    def version(cls):
        return json.loads((WEB / "node_modules/aedes/package.json").read_text())["version"]

    def _command(self):
        return ["node", WEB / "aedes.mjs", self.port], {}


AMQTT_CONF = """
listeners:
  default: {{type: tcp, bind: "127.0.0.1:{port}"}}
plugins:
  amqtt.plugins.authentication.AnonymousAuthPlugin: {{allow_anonymous: true}}
  amqtt.plugins.logging_amqtt.EventLoggerPlugin: {{}}
"""


class Amqtt(Node):
    """All in RAM; it forgets a session when its client goes."""

    name = "amqtt"
    # It answers nothing to MQTT 5, ever, nor anything once a client has published to $SYS: it takes
    # the bridge two minutes to find that out.
    known = "bridge_protocol_version mqttv311\nnotifications_local_only true"
    is_slow = True
    traits = Traits(raises_qos=True, sessions=False, survives_kill=False, keeps_retained=False)

    def __init__(self, folder):
        super().__init__(folder)
        self._config = folder / "amqtt.yaml"
        self._config.write_text(AMQTT_CONF.format(port=self.port))

    @classmethod
    def version(cls):
        return importlib.metadata.version("amqtt")

    def _command(self):
        return [Path(sys.prefix, "bin/amqtt"), "-c", self._config], {}


RUMQTTD_CONF = """
id = 0
[router]
id = 0
max_connections = 100
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
"""

RUMQTTD_LISTENER = """
[v{level}.1]
name = "v{level}-1"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
[v{level}.1.connections]
connection_timeout_ms = 60000
max_payload_size = 20480
max_inflight_count = 100
dynamic_filters = true
"""

RUMQTTD = ROOT / "tests/rumqttd"


class Rumqttd(Node):
    """All in RAM. MQTT 3.1.1 and 5 have a port each; messages go from one to the other."""

    name = "rumqttd"
    traits = Traits(raises_qos=True, survives_kill=False, keeps_retained=False)

    def __init__(self, folder):
        super().__init__(folder)
        self._port5 = free_port()
        self._config = folder / "rumqttd.toml"
        listeners = [
            RUMQTTD_LISTENER.format(level=level, port=port)
            for level, port in [(4, self.port), (5, self._port5)]
        ]
        self._config.write_text(RUMQTTD_CONF + "".join(listeners))

    @classmethod
    def version(cls):
        lock = (RUMQTTD / "Cargo.lock").read_text()
        return lock.partition('name = "rumqttd"\nversion = "')[2].partition('"')[0]

    def _up(self):
        return super()._up() and listens(self._port5)

    def _command(self):
        program = TARGET / "rumqttd/debug/rumqttd-upstream"
        if not program.exists():
            # tests/run builds it; so does whoever runs pytest alone.
            manifest = RUMQTTD / "Cargo.toml"
            build = ["cargo", "build", "--quiet", "--locked", "--manifest-path", manifest]
            subprocess.run([*build, "--target-dir", TARGET / "rumqttd"], check=True, timeout=1200)
        return [program, self._config], {"RUST_BACKTRACE": "0"}


class Rumqttd5(Rumqttd):
    """The port that speaks MQTT 5 alone."""

    name = "rumqttd (MQTT 5)"
    versions = ("mqttv50",)
    durable = {"clean": False, "expiry": 3600}
    known = "bridge_outgoing_topic_alias 0"  # An alias ends its listener for 3.1.1.
    traits = dataclasses.replace(Rumqttd.traits, ignores_no_local=True)

    @classmethod
    def title(cls):
        return f"rumqttd {cls.version()}, its MQTT 5 port"

    @property
    def bridge_port(self):
        return self._port5

    def client(self, name, **options):
        """Of MQTT 5: the other port's thread dies of the first property that a subscriber of
        3.1.1 is owed."""
        return Client(self._port5, name, version=V5, **options)

    def old_client(self, name):
        return super().client(name)
