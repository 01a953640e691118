"""Mosquitto as an upstream, with the faces of the others."""

from harness import MOSQUITTO
from upstreams.node import Node, Traits, debian

CONF = """
listener {port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {folder}/
max_queued_messages 0
user root
"""


class Mosquitto(Node):
    """It saves each half hour and at its end: kill -9 loses what it has acknowledged since."""

    name = "Mosquitto"
    versions = ("mqttv311", "mqttv50")
    traits = Traits(survives_kill=False, keeps_retained=False, retain_as_published=True)

    def __init__(self, folder):
        super().__init__(folder)
        self._config = folder / "mosquitto.conf"
        self._config.write_text(CONF.format(port=self.port, folder=folder))

    @classmethod
    def version(cls):
        return debian("mosquitto")

    def _command(self):
        return [MOSQUITTO, "-v", "-c", self._config], {}
