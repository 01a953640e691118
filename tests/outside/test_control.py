"""The control socket: who may use it, and what it does with who misuses it."""

import contextlib
import grp
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest

from control import Control
from flood import Flood
from harness import ROOT, Broker, wait_until

pytestmark = pytest.mark.footbridge


@pytest.fixture
def control():
    made = []

    def make(path):
        made.append(Control(path))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_it_lies_beside_the_store(make_broker, control):
    broker = make_broker(durable=True)
    path = broker.folder / "store/footbridge.sock"
    found = path.stat()
    assert stat.S_ISSOCK(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o600
    items, last = control(path).ask("help")
    assert last == {"v": 1, "ok": True}
    assert {"do": "help", "members": [], "help": items[0]["help"]} == items[0]
    # One that a crash left makes way.
    broker.restart("kill")
    control(path).ask("help")
    broker.stop()
    assert not path.exists()


def test_control_socket(make_broker, control, tmp_path):
    path = tmp_path / "c.sock"
    broker = make_broker(f"control_socket {path}")
    control(path).ask("help")
    # A second broker does not take it away, and serves all the same.
    other = make_broker(f"control_socket {path}")
    wait_until(lambda: "another program listens there" in other.log(), what="line in the log")
    other.stop()
    control(path).ask("help")
    # That takes a restart.
    broker.config_file.write_text(broker.config_file.read_text().replace("c.sock", "d.sock"))
    broker.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "control_socket: changed; it takes effect after a restart" in broker.log())
    control(path).ask("help")
    broker.restart()
    control(tmp_path / "d.sock").ask("help")
    assert not path.exists()


def test_control_socket_none(make_broker):
    broker = make_broker("control_socket none", durable=True)
    assert not (broker.folder / "store/footbridge.sock").exists()
    assert "Control socket" not in broker.log()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is a member of all groups")
def test_control_socket_group(make_broker, tmp_path):
    path = tmp_path / "c.sock"
    make_broker(f"control_socket {path}\ncontrol_socket_group daemon\nuser root")
    found = path.stat()
    assert stat.S_IMODE(found.st_mode) == 0o660
    assert found.st_gid == grp.getgrnam("daemon").gr_gid


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_it_is_made_before_root_becomes_another(control):
    """In a folder that is root's alone, for the user that the broker becomes."""
    folder = Path(tempfile.mkdtemp(prefix="footbridge-control-"))
    (folder / "root").mkdir()
    os.chmod(folder, 0o755)
    path = folder / "root/c.sock"
    broker = Broker(folder / "b", f"user nobody\ncontrol_socket {path}")
    try:
        for how in ["stop", "kill"]:
            broker.start()
            found = path.stat()
            assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (pwd.getpwnam("nobody").pw_uid, 0o600)
            assert control(path).ask("help")[1]["ok"]
            getattr(broker, how)()
            # The user may not take it away there; the next start makes it anew.
            assert path.exists()
    finally:
        broker.cleanup()
        shutil.rmtree(folder)


def check(broker):
    command = [broker.binary, "-c", broker.config_file, "--test-config"]
    return subprocess.run(command, capture_output=True, text=True, timeout=20)


def test_what_is_wrong_with_it_is_found_before_the_start(make_broker, tmp_path):
    for lines, says in [
        ("control_socket /nonexistent/c", "the folder must exist"),
        (f"control_socket {ROOT}/Cargo.toml", "no socket"),
        (f"control_socket {tmp_path}/c\nlistener 0 {tmp_path}/c", "a `listener` has this path"),
        ("control_socket_group nonesuch", "no group `nonesuch`"),
    ]:
        broker = make_broker(lines, start=False)
        checked = check(broker)
        assert checked.returncode == 1 and says in checked.stderr, checked
    assert check(make_broker(f"control_socket {tmp_path}/c")).returncode == 0


def test_what_is_no_request_is_refused_and_the_next_answered(make_broker, control, tmp_path):
    make_broker(f"control_socket {tmp_path}/c")
    one = control(tmp_path / "c")
    for line, says in [
        (b"\n", "a line of JSON"),
        (b"GET / HTTP/1.1\r\n", "a line of JSON"),
        (b"\xff\xfe\n", "UTF-8"),
        (b'{"do":"help"}\n', "`v` is missing"),
        (b'{"v":2,"do":"help"}\n', "version 1"),
        (b'{"v":1,"do":"dance"}\n', "no such command"),
        (b'{"v":1,"do":"help","loud":true}\n', "knows no `loud`"),
        (b"[" * 60_000 + b"\n", "nested too deep"),
        (b"{" + b",".join(b'"%x":0' % n for n in range(6_500)) + b"}\n", "`v` is missing"),
    ]:
        one.send(line)
        _, last = one.answer()
        assert last["ok"] is False and says in last["error"], last
    # In pieces, two at a time, and the last without its end.
    for piece in [b'{"v":1,', b'"do":"help"}\n{"v":1,"do":"he', b'lp"}\n{"v":1,"do":"help"}']:
        one.send(piece)
    one.socket.shutdown(socket.SHUT_WR)
    assert all(one.answer()[1]["ok"] for _ in range(3))
    assert one.ended()


def test_hostile_clients(make_broker, control, client, tmp_path):
    broker = make_broker(f"control_socket {tmp_path}/c")
    # A line of a megabyte.
    endless = control(tmp_path / "c")
    try:
        endless.send(b"x" * 1_000_000)
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert "65536 bytes" in endless.answer()[1]["error"]
    assert endless.ended()
    # One that asks without end and never reads.
    deaf = control(tmp_path / "c")
    deaf.socket.settimeout(0.2)
    with pytest.raises(TimeoutError):
        while True:
            deaf.send(b'{"v":1,"do":"help"}\n' * 100)
    # Half lines, and more connections than there may be.
    for n in range(100):
        control(tmp_path / "c").send(b'{"v":1,"do"'[: n % 12])
        if n % 10 == 0:
            assert control(tmp_path / "c").ask("help")[1]["ok"]
    descriptors = len(os.listdir(f"/proc/{broker.process.pid}/fd"))
    assert descriptors < 60, "they are not all kept"
    one = client(broker.port, "c")
    one.subscribe("t")
    one.publish("t", "still here")
    assert one.payloads(1) == ["still here"]


def test_it_outlives_a_start_over(make_broker, control, client):
    """The store turns out to be damaged: to make the socket anew might take rights that are gone."""
    broker = make_broker(durable=True)
    path, store = broker.folder / "store/footbridge.sock", broker.folder / "store/footbridge.db"
    made = path.stat().st_ino
    away = client(broker.port, "away", clean=False)
    away.subscribe("#", 1)
    away.close()
    near = client(broker.port, "near")
    for n in range(100):
        near.publish("t", f"{n}".ljust(60_000, "."), 1)
    store.write_bytes(b"\xa5" * store.stat().st_size)
    with contextlib.suppress(Exception):
        client(broker.port, "away", clean=False)
    wait_until(lambda: "Starting over." in broker.log(), 20, what="start over")
    wait_until(lambda: broker.log().count("running.") == 2, 20, what="second start")
    assert control(path).ask("help")[1]["ok"]
    assert path.stat().st_ino == made
    broker.stop()
    assert not path.exists()


def test_it_answers_under_a_flood(make_broker, control, tmp_path):
    broker = make_broker(f"control_socket {tmp_path}/c\nmax_queued_messages 0", quiet=True)
    with Flood(broker.port, 5):
        for _ in range(20):
            assert control(tmp_path / "c").ask("help")[1]["ok"]


def test_the_man_page_has_every_command(make_broker, control, tmp_path):
    make_broker(f"control_socket {tmp_path}/c")
    page = (ROOT / "packaging/man/footbridge-control.5").read_text()
    items, _ = control(tmp_path / "c").ask("help")
    for item in items:
        assert f"\n.B {item['do']}\n" in page, item
        for member in item["members"]:
            assert f".B {member}\n" in page or f".BR {member} " in page, (item["do"], member)
