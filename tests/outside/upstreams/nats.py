"""NATS with JetStream, which its MQTT stands on: Debian's and the newest of PyPI."""

import sys
from pathlib import Path

from harness import free_port
from upstreams.node import Node, Traits, output

CONF = """
server_name: upstream
listen: 127.0.0.1:{inner}
jetstream: {{ store_dir: "{folder}/jetstream" }}
mqtt: {{ listen: 127.0.0.1:{port} }}
"""


class Nats(Node):
    program = Path()

    def __init__(self, folder):
        super().__init__(folder)
        self._config = folder / "nats.conf"
        self._config.write_text(CONF.format(port=self.port, inner=free_port(), folder=folder))

    @classmethod
    def version(cls):
        return output(cls.program, "--version").rpartition("v")[2]

    @classmethod
    def title(cls):
        return f"NATS {cls.version()}"

    def _command(self):
        return [self.program, "-D", "-c", self._config], {}


class Nats29(Nats):
    name = "NATS 2.9"
    program = Path("/usr/sbin/nats-server")
    traits = Traits(takes_qos2_as=None, grants=1)


class Nats215(Nats):
    name = "NATS 2.15"
    program = Path(sys.prefix, "bin/nats-server")
