"""RabbitMQ and ejabberd as upstreams: on loopback, in folders of their own, as Debian has them."""

import os
import subprocess

from clients import Client
from harness import free_port, listens, wait_until
from upstreams.node import Node, Traits, debian

RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server"

RABBITMQ_CONF = """
listeners.tcp = none
mqtt.listeners.tcp.1 = 127.0.0.1:{port}
mqtt.allow_anonymous = true
mqtt.subscription_ttl = 86400000
"""

EJABBERD_CONF = """
hosts: [localhost]
loglevel: info
auth_method: [anonymous]
anonymous_protocol: login_anon
certfiles: []
listen:
  - {{port: {port}, ip: "127.0.0.1", module: mod_mqtt}}
modules:
  mod_mqtt: {{}}
"""


class RabbitMQ(Node):
    name = "RabbitMQ"
    traits = Traits(
        takes_qos2_as=1, grants=1, keeps_retained=False, retained_for_wildcards=False
    )

    def __init__(self, folder):
        super().__init__(folder)
        self._mapper, self._distribution = free_port(), free_port()
        self._epmd = None
        (folder / "rabbitmq.conf").write_text(RABBITMQ_CONF.format(port=self.port))
        (folder / "plugins").write_text("[rabbitmq_mqtt].\n")

    @classmethod
    def version(cls):
        return debian("rabbitmq-server")

    def _command(self):
        self.map_ports()
        environment = {
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._mapper),
        }
        return [RABBITMQ], environment

    @property
    def node(self):
        """Its name for Erlang."""
        return f"rabbit{self.port}@localhost"

    def map_ports(self, other=None):
        """Starts the epmd of this node, else RabbitMQ starts one that stays behind; or uses that of
        another node."""
        if other is not None:
            self._mapper, self._epmd = other._mapper, other._epmd
        elif self._epmd is None:
            port = str(self._mapper)
            self._epmd = subprocess.Popen(["epmd", "-address", "127.0.0.1", "-port", port])
            wait_until(lambda: listens(self._mapper), what="listening epmd")

    def close(self):
        super().close()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()


class Ejabberd(Node):
    """Without Erlang's distribution and its epmd. Its sessions are RAM."""

    name = "ejabberd"
    versions = ("mqttv311", "mqttv50")
    login = "remote_username edge@localhost\nremote_password x"
    traits = Traits(survives_kill=False, keeps_retained=False, retain_as_published=True)

    def __init__(self, folder):
        super().__init__(folder)
        (folder / "mnesia").mkdir(exist_ok=True)
        (folder / "ejabberd.yml").write_text(EJABBERD_CONF.format(port=self.port))

    @classmethod
    def version(cls):
        return debian("ejabberd")

    def _command(self):
        environment = {
            "EJABBERD_CONFIG_PATH": str(self.folder / "ejabberd.yml"),
            "EJABBERD_LOG_PATH": str(self.folder / "ejabberd.log"),
            "ERL_CRASH_DUMP": str(self.folder / "erl_crash.dump"),
            "ERL_LIBS": "/usr/lib/" + os.uname().machine + "-linux-gnu",
        }
        mnesia = f'"{self.folder / "mnesia"}"'
        command = ["erl", "-noinput", "+P", "20000", "-mnesia", "dir", mnesia, "-s", "ejabberd"]
        return command, environment

    def log(self):
        return (self.folder / "ejabberd.log").read_text(errors="replace")

    def client(self, name, **options):
        return Client(self.port, name, login=(f"{name}@localhost", "x"), **options)
