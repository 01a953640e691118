"""`user`: root binds and opens, somebody else serves."""

import os
import pwd
import shutil
import tempfile
from pathlib import Path

import pytest

from harness import Broker, wait_until

pytestmark = [
    pytest.mark.footbridge,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else"),
]

NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def folder():
    """A folder that nobody can get at: pytest's are root's alone."""
    path = Path(tempfile.mkdtemp(prefix="footbridge-user-"))
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def start(folder):
    made = []

    def make(config, **options):
        made.append(Broker(folder / f"broker{len(made)}", config, **options))
        return made[-1]

    yield make
    for broker in made:
        broker.cleanup()


def identities(pid):
    """User, group and further groups of every thread."""
    found = set()
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        found.add((fields["Uid"], fields["Gid"], fields["Groups"].strip()))
    return found


def test_every_thread_is_that_user(start, folder, client):
    secret = folder / "secret"
    secret.write_text("topic readwrite a\n")
    os.chmod(secret, 0o600)
    log = folder / "log"
    broker = start(
        f"user nobody\nacl_file {secret}\npid_file {folder}/pid\nlog_dest file {log}\nlog_dest stderr",
        durable=True,
    )
    os.chown(broker.folder / "store", NOBODY.pw_uid, NOBODY.pw_gid)
    broker.start()
    c = client(broker.port, "c", clean=False)
    c.subscribe("a", 1)
    c.publish("a", "x", 1)
    assert c.payloads(1) == ["x"]
    uid, gid = NOBODY.pw_uid, NOBODY.pw_gid
    own = ("\t".join([str(uid)] * 4), "\t".join([str(gid)] * 4), str(gid))
    assert identities(broker.process.pid) == {own}
    assert (broker.folder / "store" / "footbridge.db").stat().st_uid == uid
    assert (folder / "pid").read_text().strip() == str(broker.process.pid)
    assert log.stat().st_uid == uid
    broker.stop()


def test_a_port_for_root_is_bound_before(start):
    broker = start("user nobody")
    broker.port = 951
    text = broker.config_file.read_text().splitlines()
    broker.config_file.write_text("\n".join(["listener 951 127.0.0.1", *text[1:]]) + "\n")
    broker.start()
    # It listens before it gives up its rights, and so before it runs.
    wait_until(lambda: "running" in broker.log(), what="the log")
    assert all(uid.startswith(f"{NOBODY.pw_uid}\t") for uid, _, _ in identities(broker.process.pid))
    broker.stop()


def test_a_port_for_root_on_an_address_that_comes_later(start):
    """It is bound before the address is there, as there is no right to it afterwards; where that
    does not go, it is told."""
    broker = start(
        "listener 952 10.98.7.2\nlistener 953\nbind_interface none0\nsocket_domain ipv4\n"
        "user nobody"
    ).start()
    # It listens before the log's own thread has written all.
    wait_until(lambda: "Listening on 10.98.7.2:952." in broker.log(), what="the log")
    log = broker.log()
    assert "cannot listen on 10.98.7.2 port 952" in log
    assert "Port 953 takes the rights of root" in log and "Port 952 takes" not in log
    broker.stop()


@pytest.mark.parametrize("user", ["", "user root"])
def test_nobody_changes_unasked(start, user):
    broker = start(user).start()
    assert all(uid.startswith("0\t") for uid, _, _ in identities(broker.process.pid))
    broker.stop()


def test_an_unknown_user_is_an_error(start):
    broker = start("user no-such-user")
    broker.launch()
    wait_until(lambda: broker.process.poll() is not None, what="the end")
    assert broker.process.returncode == 1
    wait_until(lambda: "user: there is no user `no-such-user`" in broker.log(), what="line in the log")


def test_a_start_that_the_store_stops_leaves_no_pid_file(start, folder):
    """Root writes it before it becomes somebody else, and the store is opened after that."""
    broker = start(f"user nobody\npid_file {folder}/run/pid", durable=True)
    for path in (folder / "run", broker.folder / "store"):
        path.mkdir(exist_ok=True)
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
    (broker.folder / "store" / "footbridge.db").write_bytes(b"SQLite format 3\0" + bytes(5000))
    broker.launch()
    wait_until(lambda: broker.process.poll() is not None, what="end of the broker")
    wait_until(lambda: "not a store of this program" in broker.log(), what="line in the log")
    assert not (folder / "run" / "pid").exists()
