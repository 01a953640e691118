"""`footbridge status` and `footbridge log` on a running broker, over its control socket."""

import json
import os
import pty
import re
import signal
import subprocess
import time

import pytest

from control import Control
from harness import FOOTBRIDGE, free_port, wait_until

pytestmark = pytest.mark.footbridge


def section(name, port):
    return f"connection {name}\naddress 127.0.0.1:{port}\ntopic {name}/# out 1\nrestart_timeout 1\n"


def run(broker, *words, status=0):
    command = [FOOTBRIDGE, *words, "-c", broker.config_file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == status, done
    return done.stdout if status == 0 else done.stderr


@pytest.fixture
def socket_of():
    made = []

    def make(broker):
        made.append(Control(next((broker.folder / "store").glob("*.sock"))))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_what_needs_somebody_is_on_top(make_broker, make_upstream, client):
    upstream = make_upstream()
    sections = section("up", upstream.port), section("away", free_port())
    broker = make_broker("\n".join(sections), durable=True)
    device = client(broker.port, "device")
    for n in range(5):
        device.publish("away/x", "12345", 1)
        device.publish("up/x", "12345", 1)

    def figures():
        return json.loads(run(broker, "status", "--json"))

    def is_there():
        up, away = figures()["bridges"]
        is_up = up["link"]["state"] == "up" and up["moved"]["sent"] == 5
        return is_up and away["link"]["error"]

    wait_until(is_there, what="one bridge up and one away")
    all = figures()
    up, away = all["bridges"]
    assert (up["name"], up["link"]["protocol"], up["link"]["down_seconds"]) == ("up", "5", None)
    assert up["moved"]["wire_today"] > 100 and up["queue"]["messages"] == 0
    assert away["queue"]["messages"] == 5 and away["link"]["down_seconds"] >= 0
    assert all["store"]["state"] == "ok" and all["memory"]["resident"] > 1 << 20
    assert all["clients"]["connected"] == 2 and all["dropped"] == {}
    assert all["version"] in run(broker, "status")
    lines = run(broker, "status").splitlines()
    assert re.match(r"! Bridge away: not connected for .*refused", lines[0]), lines
    assert len(lines) <= 24 and any(line.startswith("bridge    up: up for") for line in lines)


def test_a_broker_elsewhere_is_asked_over_mqtt(make_broker):
    broker = make_broker("sys_interval 1")
    done = subprocess.run(
        [FOOTBRIDGE, "status", "-p", str(broker.port)], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0 and "footbridge version" in done.stdout
    # Without a store it has no control socket.
    assert "no control socket" in run(broker, "status", status=2)


def test_watch_draws_in_place_and_ends_with_a_signal(make_broker):
    """On a terminal; elsewhere it is plain."""
    broker = make_broker(durable=True)
    command = [FOOTBRIDGE, "status", "--watch", "1", "-c", broker.config_file]
    ours, theirs = pty.openpty()
    watching = subprocess.Popen(command, stdout=theirs, stderr=theirs)
    os.close(theirs)
    drawn = b""
    while drawn.count(b"\x1b[H") < 2:
        drawn += os.read(ours, 4096)
    watching.send_signal(signal.SIGINT)
    assert watching.wait(timeout=10) == 0
    drawn += os.read(ours, 65536)
    os.close(ours)
    assert drawn.startswith(b"\x1b[?1049h") and drawn.endswith(b"\x1b[?1049l")
    assert b"Everything works.\x1b[K" in drawn
    plain = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert plain.stdout.readline() == b"Everything works.\n"
    plain.send_signal(signal.SIGTERM)
    assert b"\x1b" not in plain.communicate(timeout=10)[0] and plain.returncode == 0


def test_it_answers_soon_under_load(make_broker, socket_of, client):
    broker = make_broker("sys_interval 0\nmax_inflight_messages 0", durable=True, quiet=True)
    receiver, sender = client(broker.port, "r"), client(broker.port, "s")
    receiver.subscribe("#", 0)
    control = socket_of(broker)
    took = []
    for _ in range(20):
        for n in range(200):
            sender.paho.publish("a", "x" * 100, 0)
        begun = time.monotonic()
        items, said = control.ask("status")
        took.append(time.monotonic() - begun)
        assert said["ok"] and list(items[0]) == ["broker"]
    # A machine under test may be loaded itself: most must be quick.
    assert sorted(took)[10] < 0.1, took


def test_what_is_logged_changes_at_once(make_broker, client):
    broker = make_broker("log_type error\nlog_type warning", durable=True, quiet=True)
    assert "as the configuration says: error warning" in run(broker, "log")
    assert "Logged: error warning subscribe" in run(broker, "log", "+subscribe")
    client(broker.port, "one").subscribe("a/b", 0)
    wait_until(lambda: "a/b" in broker.log(), what="line of type subscribe")
    assert "there is no log_type loud" in run(broker, "log", "loud", status=1)
    assert "Logged: none" in run(broker, "log", "none")
    broker.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "as the configuration says" in run(broker, "log"), what="reload")
    run(broker, "log", "all")
    assert "as the configuration says: error warning" in run(broker, "log", "default")
