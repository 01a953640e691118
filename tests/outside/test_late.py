"""Listeners whose address, folder or port is to be had only after the start."""

import os
import shutil
import socket
import subprocess

import pytest

from harness import FOOTBRIDGE, free_port, listens, run, wait_until

pytestmark = pytest.mark.footbridge

#: Attempts are ten seconds apart at most.
LATE = 30


def namespace():
    """A command that runs another in a network of its own, which has lo alone."""
    command = ["unshare", "--net"]
    if os.geteuid() != 0:
        command = ["unshare", "--user", "--map-root-user", "--net"]
    usable = shutil.which("ip") and subprocess.run([*command, "true"], capture_output=True)
    up = ["sh", "-c", 'ip link set lo up; exec "$0" "$@"']
    return [*command, *up] if usable and usable.returncode == 0 else None


def inside(broker, *command):
    user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
    enter = ["nsenter", "--target", str(broker.process.pid), *user, "--net"]
    return subprocess.run([*enter, *command], capture_output=True, text=True, check=True)


@pytest.mark.skipif(namespace() is None, reason="makes no network of its own here")
def test_an_interface_that_comes_up_after_the_start(make_broker):
    """At boot a router's bridge comes up after its services."""
    lan = free_port()
    broker = make_broker(f"listener {lan} 10.98.7.1\nlistener {lan} fd98::7", start=False)
    broker.wrapper = namespace()
    broker.launch()
    wait_until(lambda: " running" in broker.log(), what="start")
    wait_until(lambda: f"Listening on 127.0.0.1:{broker.port}." in broker.log(), what="line in the log")
    for address in ("10.98.7.1", "fd98::7"):
        wait_until(lambda: f"cannot listen on {address} port {lan}" in broker.log(), what="line in the log")
    inside(broker, "ip", "address", "add", "10.98.7.1/32", "dev", "lo")
    inside(broker, "ip", "address", "add", "fd98::7/128", "dev", "lo")
    for host, name in (("10.98.7.1", f"10.98.7.1:{lan}"), ("fd98::7", f"[fd98::7]:{lan}")):
        wait_until(lambda: f"Listening on {name}." in broker.log(), LATE, name)
        inside(broker, FOOTBRIDGE, "pub", "-h", host, "-p", str(lan), "-t", "a", "-m", "x")
    broker.stop()


def test_a_port_that_becomes_free(make_broker):
    with socket.socket() as held:
        port = free_port()
        held.bind(("127.0.0.1", port))
        held.listen()
        broker = make_broker(f"listener {port} 127.0.0.1")
        wait_until(lambda: "another program has this port" in broker.log(), what="reason")
        assert f"Listening on 127.0.0.1:{port}" not in broker.log()
    wait_until(lambda: f"Listening on 127.0.0.1:{port}." in broker.log(), LATE, "listener")
    assert run("pub", "-p", port, "-h", "127.0.0.1", "-t", "a", "-m", "x").returncode == 0
    broker.stop()
    assert not listens(port)


def test_a_folder_that_comes_later(make_broker, tmp_path):
    path = tmp_path / "later/mqtt.sock"
    broker = make_broker(f"listener 0 {path}")
    wait_until(lambda: f"cannot listen on {path}" in broker.log(), what="reason")
    path.parent.mkdir()
    wait_until(lambda: f"Listening on {path}." in broker.log(), LATE, "listener")
    assert path.is_socket()
    broker.stop()
    assert not path.exists()


def test_a_second_broker_ends_at_once(make_broker):
    """Nothing is left to do for it: whoever started it is told so."""
    broker = make_broker()
    done = run("-c", broker.config_file)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {broker.port}" in done.stderr


def test_a_reload_waits_on(make_broker, tmp_path):
    """SIGHUP while a listener is waited for: it stays what it was."""
    path = tmp_path / "later/mqtt.sock"
    broker = make_broker(f"listener 0 {path}")
    broker.process.send_signal(1)
    wait_until(lambda: "Configuration reloaded" in broker.log(), what="reload")
    path.parent.mkdir()
    wait_until(lambda: f"Listening on {path}." in broker.log(), LATE, "listener")
    broker.stop()
