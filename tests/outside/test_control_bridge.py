"""`footbridge bridge list|start|stop|add|remove` on a running broker."""

import json
import signal
import stat
import subprocess

import pytest

from control import Control
from harness import FOOTBRIDGE, free_port, wait_until

pytestmark = pytest.mark.footbridge


class Steered:
    """A broker, and the command that steers it."""

    def __init__(self, broker):
        self.broker = broker

    def run(self, *words, text=None):
        command = [FOOTBRIDGE, "bridge", *words, "-c", self.broker.config_file]
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=30)

    def do(self, *words, text=None):
        done = self.run(*words, text=text)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def refused(self, *words, text=None, status=1):
        done = self.run(*words, text=text)
        assert (done.returncode, done.stdout) == (status, ""), done
        return done.stderr

    def bridges(self):
        return {bridge["name"]: bridge for bridge in json.loads(self.do("list", "--json"))}

    def wait(self, name, state):
        wait_until(lambda: self.bridges()[name]["state"] == state, what=f"{name} to be {state}")


def section(name, port, *lines):
    lines = "\n".join(lines)
    return f"connection {name}\naddress 127.0.0.1:{port}\ntopic {name}/# out 1\nrestart_timeout 1\n{lines}\n"


@pytest.fixture
def conf_d(tmp_path):
    folder = tmp_path / "conf.d"
    folder.mkdir()
    return folder


@pytest.fixture
def steered(make_broker, conf_d):
    def make(*sections):
        text = "\n".join([f"include_dir {conf_d}", *sections])
        return Steered(make_broker(text, durable=True))

    return make


def test_list(steered, make_upstream):
    upstream = make_upstream()
    one = steered(section("up", upstream.port), section("away", free_port()))
    one.wait("up", "up")
    # Before its first attempt there is no error yet.
    wait_until(lambda: one.bridges()["away"]["last_error"], what="failed attempt")
    one.wait("away", "waiting")
    bridges = one.bridges()
    assert list(bridges) == ["up", "away"]
    up, away = bridges["up"], bridges["away"]
    assert (up["protocol"], up["address"]) == ("5", f"127.0.0.1:{upstream.port}")
    assert (up["last_error"], up["messages"], up["source"]) == (None, 0, "file")
    assert up["start_type"] == "automatic" and up["up_seconds"] >= 0 and up["retry_seconds"] is None
    # An MQTT 5 upstream that says nothing else may be sent a hundred, Mosquitto says twenty.
    assert (up["window"], up["window_limits"]) == (20, False) and up["window_bytes"] > 0
    assert [away[name] for name in ("window", "window_bytes", "window_limits")] == [None] * 3
    assert "refused" in away["last_error"] and away["up_seconds"] is None
    text = one.do("list").splitlines()
    assert text[0].startswith("up    up for ") and text[0].endswith("; nothing waits"), text
    assert text[1].startswith("away  ") and "refused" in text[2], text
    # No bridges, and the socket by its own name.
    none = steered()
    path = none.broker.folder / "store/footbridge.sock"
    done = subprocess.run([FOOTBRIDGE, "bridge", "list", "--socket", path], capture_output=True, text=True)
    assert done.stdout == "There are no bridges.\n", done


def test_stop_and_start(steered, make_upstream, client):
    upstream = make_upstream()
    one = steered(section("up", upstream.port))
    one.wait("up", "up")
    far = client(upstream.port, "far")
    far.subscribe("up/#", 1)
    near = client(one.broker.port, "near")
    assert one.do("stop", "up") == "Bridge up: stopped.\n"
    one.wait("up", "stopped")
    assert "already" in one.do("stop", "up")
    near.publish("up/a", "queued", 1)
    wait_until(lambda: one.bridges()["up"]["messages"] == 1, what="queued message")
    # Others being reloaded does not start it.
    one.broker.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "Configuration reloaded" in one.broker.log())
    assert one.bridges()["up"]["state"] == "stopped"
    assert one.do("start", "up") == "Bridge up: started.\n"
    assert far.payloads(1) == ["queued"]
    one.wait("up", "up")
    assert "already" in one.do("start", "up")
    assert "there is no bridge nobody" in one.refused("start", "nobody")
    wait_until(lambda: "Control socket: bridge stop up." in one.broker.log(), what="line in the log")
    # A start of the broker starts it, too.
    one.do("stop", "up")
    one.broker.restart()
    one.wait("up", "up")


def test_add_and_remove(steered, make_upstream, client, conf_d, tmp_path):
    upstream = make_upstream()
    one = steered()
    near, far = client(one.broker.port, "near"), client(upstream.port, "far")
    far.subscribe("#", 1)
    file = tmp_path / "section"
    file.write_text(section("new", upstream.port))
    assert one.do("add", file) == "Bridge new: added.\n"
    one.wait("new", "up")
    near.publish("new/a", "goes up", 1)
    assert "goes up" in far.payloads(1)
    assert one.bridges()["new"]["source"] == "command"
    assert "added by command" in one.do("list")
    # It stays over a reload, but for a start it was not saved.
    one.broker.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "Configuration reloaded" in one.broker.log())
    one.wait("new", "up")
    assert "a second bridge of this name" in one.refused("add", "-", text=section("new", free_port()))
    assert one.do("remove", "new") == "Bridge new: removed.\n"
    assert one.bridges() == {} and list(conf_d.iterdir()) == []
    one.do("add", "-", text=section("new", upstream.port))
    one.broker.restart()
    assert one.bridges() == {}


def test_save(steered, make_upstream, conf_d):
    upstream = make_upstream()
    one = steered(section("old", upstream.port))
    text = section("new/1", upstream.port, "remote_username u", "remote_password secret", "topic b out 1")
    text = text.replace("topic new/1/#", "topic a")
    saved = conf_d / "bridge-new%2F1.conf"
    assert one.do("add", "--save", "-", text=text) == f"Bridge new/1: added.\nSaved as {saved}.\n"
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert saved.read_text().endswith(text.rstrip() + "\n")
    assert list(conf_d.iterdir()) == [saved]
    one.broker.restart()
    one.wait("new/1", "up")
    assert one.bridges()["new/1"]["source"] == "file"
    # Without --save it comes back; with it the file goes, too.
    assert "comes back with the next reload or start" in one.do("remove", "new/1")
    assert saved.exists()
    one.broker.restart()
    assert one.do("remove", "--save", "new/1").endswith(f"Removed {saved}.\n")
    assert not saved.exists()
    one.broker.restart()
    assert list(one.bridges()) == ["old"]
    # What the operator has written stays.
    assert "stands in a file that" in one.refused("remove", "--save", "old")
    one.wait("old", "up")


def test_what_can_not_be_saved(steered, make_broker, conf_d):
    one = steered()
    theirs = conf_d / "bridge-b.conf"
    theirs.write_text("# mine\n")
    assert "is there already" in one.refused("add", "--save", "-", text=section("b", free_port()))
    assert one.bridges() == {} and theirs.read_text() == "# mine\n"
    other = Steered(make_broker(durable=True))
    assert "no include_dir" in other.refused("add", "--save", "-", text=section("b", free_port()))
    assert other.bridges() == {}
    theirs.unlink()
    # Something is in the way of the writing: the bridge runs, and the operator is told.
    (conf_d / "bridge-b.conf.new").mkdir()
    assert "runs until the broker stops" in one.refused("add", "--save", "-", text=section("b", free_port()))
    assert list(one.bridges()) == ["b"] and not theirs.exists()
    one.do("remove", "b")
    # The folder went away.
    conf_d.rename(conf_d.with_name("gone"))
    assert "there is a mistake in it" in one.refused("add", "--save", "-", text=section("b", free_port()))
    assert one.bridges() == {}
    conf_d.with_name("gone").rename(conf_d)


def test_what_is_saved_can_be_beside_what_the_next_start_reads(steered, conf_d):
    """Also where that is not what runs: nobody is there to mend a broker that does not start."""
    one = steered(section("up", free_port()), section("two", free_port(), "local_clientid id"))
    one.do("remove", "up")
    one.do("remove", "two")
    new = section("up", free_port())
    said = one.refused("add", "--save", "-", text=new)
    assert "can't be saved" in said and "a second bridge of this name" in said and "send SIGHUP" in said
    said = one.refused("add", "--save", "-", text=section("three", free_port(), "local_clientid id"))
    assert "can't be saved" in said and "two" in said
    # What was saved since the broker has read its configuration.
    one.do("add", "--save", "-", text=section("four", free_port(), "local_clientid other"))
    one.do("remove", "four")
    said = one.refused("add", "--save", "-", text=section("five", free_port(), "local_clientid other"))
    assert "can't be saved" in said and "four" in said
    assert one.bridges() == {} and [file.name for file in conf_d.iterdir()] == ["bridge-four.conf"]
    # Without --save it runs until the next start.
    assert one.do("add", "-", text=new) == "Bridge up: added.\n"
    one.broker.restart()
    assert sorted(one.bridges()) == ["four", "two", "up"]


def test_mistakes_are_told_with_their_lines(steered, tmp_path):
    one = steered(section("old", free_port()))
    file = tmp_path / "section"
    for text, says in [
        ("connection b\naddress u\ntopic a sideways\n", f"{file}:3: topic: "),
        ("connection b\naddress u\ntopc a\n", f"{file}:3: topc: unknown directive; did you mean `topic`?"),
        ("connection b\naddress u\ntopic a\npersistence true\n", f"{file}:4: persistence: belongs to no bridge"),
        ("connection b\ntopic a\n", f"{file}:1: connection b: the bridge has no address"),
        ("", "exactly one `connection` section"),
        (f"connection b\naddress 127.0.0.1:{one.broker.port}\ntopic # both\n", "is a listener of this broker"),
        ("connection b\naddress u\ntopic a\nremote_password ${env:NOWHERE}\n", "NOWHERE"),
    ]:
        file.write_text(text)
        error = one.refused("add", file)
        assert error.startswith("Error: ") and says in error, error
    assert list(one.bridges()) == ["old"]


def test_no_broker_to_steer(make_broker, tmp_path):
    stored = Steered(make_broker(durable=True, start=False))
    assert "no broker listens there" in stored.refused("list", status=2)
    plain = Steered(make_broker())
    assert "has no control socket" in plain.refused("list", status=2)
    for words, says in [([], "what to do"), (["start"], "name of one"), (["list", "--save"], "--save is for")]:
        assert says in plain.refused(*words)
    missing = subprocess.run(
        [FOOTBRIDGE, "bridge", "list", "-c", tmp_path / "none.conf"], capture_output=True, text=True
    )
    assert missing.returncode == 2 and "cannot be read" in missing.stderr


def test_many_are_listed_whole(steered):
    one = steered(*(section(f"b{n}", free_port()) for n in range(40)))
    assert list(one.bridges()) == [f"b{n}" for n in range(40)]
    # A program that reads slowly gets them all, too.
    slow = Control(one.broker.folder / "store/footbridge.sock")
    for _ in range(20):
        slow.send(b'{"v":1,"do":"bridge list"}\n')
    for _ in range(20):
        items, last = slow.answer()
        assert len(items) == 40 and last["ok"]
    slow.close()


def test_the_broker_ends_while_it_is_steered(steered):
    one = steered(section("b", free_port()))
    idle = Control(one.broker.folder / "store/footbridge.sock")
    idle.ask("bridge list")
    one.broker.stop()
    assert idle.ended()
    idle.close()
    one.broker.start()
    assert list(one.bridges()) == ["b"]
