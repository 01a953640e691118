"""A bridge to ejabberd's mod_mqtt, which answers an UNSUBSCRIBE for a filter that the session does
not have by taking it from every other client."""

import os
import subprocess
import time

import pytest

from clients import V5, Client
from harness import free_port, listens, wait_until

pytestmark = pytest.mark.footbridge

CONFIG = """
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


class Ejabberd:
    """One node on loopback, in a folder of its own, without Erlang's distribution and its epmd."""

    def __init__(self, folder):
        (folder / "mnesia").mkdir(parents=True)
        self.port = free_port()
        self._log = folder / "ejabberd.log"
        config = folder / "ejabberd.yml"
        config.write_text(CONFIG.format(port=self.port))
        environment = {
            **os.environ,
            "HOME": str(folder),
            "EJABBERD_CONFIG_PATH": str(config),
            "EJABBERD_LOG_PATH": str(self._log),
            "ERL_CRASH_DUMP": str(folder / "erl_crash.dump"),
            "ERL_LIBS": "/usr/lib/" + os.uname().machine + "-linux-gnu",
        }
        mnesia = f'"{folder / "mnesia"}"'
        with open(folder / "out", "ab") as out:
            self.process = subprocess.Popen(
                ["erl", "-noinput", "+P", "20000", "-mnesia", "dir", mnesia, "-s", "ejabberd"],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        wait_until(lambda: listens(self.port), timeout=60, what="listening ejabberd")

    def close(self):
        self.process.kill()
        self.process.wait()

    def log(self):
        return self._log.read_text(errors="replace")

    def client(self, name):
        return Client(self.port, name, version=V5, login=(f"{name}@localhost", "x"))


@pytest.fixture(scope="module")
def ejabberd(tmp_path_factory):
    node = Ejabberd(tmp_path_factory.mktemp("ejabberd"))
    yield node
    node.close()


def bridge(upstream, name, topic):
    return "\n".join(
        [
            f"connection {name}",
            f"address 127.0.0.1:{upstream.port}",
            f"remote_clientid {name}",
            f"remote_username {name}@localhost",
            "remote_password x",
            "notifications_local_only true",
            "restart_timeout 1",
            topic,
        ]
    )


def up(broker, times=1):
    told = lambda: broker.log().count("connected to 127.0.0.1")
    wait_until(lambda: told() == times, timeout=20, what="a bridge that is up")
    time.sleep(0.5)  # What it asks for then has come to the upstream.


def test_other_subscribers_of_what_goes_out_go_on(make_broker, client, ejabberd):
    """With a session that is new, and with one that goes on."""
    watcher = ejabberd.client("watcher")
    assert watcher.subscribe("site/#", 1) == [1]
    broker = make_broker(bridge(ejabberd, "edge", "topic site/# out 1"), durable=True)
    for n in (1, 2):
        up(broker, n)
        client(broker.port, "device").publish("site/x", f"{n}", 1)
        assert watcher.payloads(1) == [f"{n}"]
        broker.restart("kill")
    watcher.close()


def test_what_no_longer_comes_in_is_unsubscribed_for_the_bridge_alone(
    make_broker, client, ejabberd
):
    watcher, other = ejabberd.client("watcher2"), ejabberd.client("other")
    assert watcher.subscribe("both/#", 1) == [1]
    broker = make_broker(bridge(ejabberd, "edge2", "topic both/# both 1"), durable=True)
    up(broker)
    here = client(broker.port, "here")
    here.subscribe("both/#", 1)
    other.publish("both/x", "down", 1)
    assert here.payloads(1) == watcher.payloads(1) == ["down"]

    text = broker.config_file.read_text().replace("both/# both", "both/# out")
    broker.config_file.write_text(text)
    broker.restart("kill")
    up(broker, 2)
    assert "session resumed" in broker.log()
    here = client(broker.port, "here")
    here.subscribe("both/#", 1)
    other.publish("both/x", "stays", 1)
    assert watcher.payloads(1) == ["stays"]
    assert here.silent(1)
    here.publish("both/x", "up", 1)
    assert watcher.payloads(1) == ["up"]
    watcher.close()
    other.close()
