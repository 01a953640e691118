"""Passwords of bridges that are read or made at each connect."""

import os
import socket

import pytest

from harness import run, wait_until
from wire import string

pytestmark = pytest.mark.footbridge


class Upstream:
    """Takes connections, and refuses each as not authorized once its CONNECT is there."""

    def __init__(self):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.settimeout(30)
        self.port = self.server.getsockname()[1]

    def connect(self):
        """The next CONNECT."""
        with self.server.accept()[0] as link:
            link.settimeout(30)
            packet = link.recv(65536)
            assert packet[0] == 0x10
            link.sendall(b"\x20\x02\0\x05")
            return packet

    def section(self, line):
        return (
            f"connection b\naddress 127.0.0.1:{self.port}\ntopic # out 1\nremote_username u\n"
            f"bridge_protocol_version mqttv311\nrestart_timeout 1\n{line}\n"
        )


@pytest.fixture
def upstream():
    made = Upstream()
    yield made
    made.server.close()


def test_a_password_is_read_at_each_connect(make_broker, upstream, tmp_path):
    token = tmp_path / "token"
    broker = make_broker(upstream.section(f"remote_password_file {token}"))
    wait_until(lambda: f"remote_password_file {token}: No such file" in broker.log(), what="a line")
    for text in ("first-token", "second-token"):
        new = tmp_path / "new"
        new.write_text(text + "\n")
        os.replace(new, token)
        wait_until(lambda: upstream.connect().endswith(string(text)), timeout=30, what=text)
    assert "-token" not in broker.log()
    token.chmod(0o644)
    done = run("-c", broker.config_file, "--test-config")
    assert done.returncode == 0, done.stderr


def test_a_password_is_made_at_each_connect(make_broker, client, upstream, tmp_path):
    """Where the program fails, nothing that it has said is told."""
    script = tmp_path / "make token"
    script.write_text(f"#!/bin/sh\necho $(cat {tmp_path}/made)-$1\n")
    made = tmp_path / "made"
    made.write_text("one")
    wrapper = tmp_path / "run"
    wrapper.write_text(f'#!/bin/sh\nexec sh "{script}" "$1"\n')
    wrapper.chmod(0o755)
    broker = make_broker(upstream.section(f"remote_password_command {wrapper} sekrit"))
    assert upstream.connect().endswith(string("one-sekrit"))
    made.write_text("two")
    wait_until(lambda: upstream.connect().endswith(string("two-sekrit")), timeout=30, what="two")
    script.write_text("echo sekrit\necho sekrit >&2\nexit 7\n")
    says = f"remote_password_command {wrapper}: ended with exit status: 7"
    wait_until(lambda: says in broker.log(), timeout=30, what="a line")
    watcher = client(broker.port, "w")
    watcher.subscribe("$SYS/#")
    device = client(broker.port, "d")
    device.publish("still/served", "x", 1)
    status = run("status", "-p", broker.port, timeout=30)
    assert "sekrit" not in broker.log() + status.stdout
    script.write_text("echo three\n")
    wait_until(lambda: upstream.connect().endswith(string("three")), timeout=60, what="three")


def test_one_password_is_enough(tmp_path):
    file = tmp_path / "x.conf"
    file.write_text(
        "connection b\naddress u\ntopic #\nremote_username u\nremote_password p\n"
        "remote_password_file f\n"
        "connection c\naddress u\ntopic #\nremote_password_command token\n"
    )
    done = run("-c", file, "--test-config")
    assert done.returncode == 1
    assert "a remote_password and a remote_password_file; keep one" in done.stderr
    assert "a remote_password_command without a remote_username" in done.stderr
