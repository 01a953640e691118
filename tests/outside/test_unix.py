"""Unix sockets: `listener 0 PATH`."""

import os
import socket
import stat
import subprocess

import pytest

from clients import V311, V5
from harness import IS_FOOTBRIDGE, run, wait_until


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mqtt.sock"


def listens(path):
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


def test_mosquitto_pub_and_sub(make_broker, path):
    make_broker(f"listener 0 {path}")
    retained = ["mosquitto_pub", "--unix", path, "-t", "t", "-m", "hello", "-q", "2", "-r"]
    subprocess.run(retained, check=True, timeout=10)
    sub = ["mosquitto_sub", "--unix", path, "-t", "t", "-q", "2", "-C", "1", "-W", "8"]
    assert subprocess.check_output(sub, timeout=10) == b"hello\n"


@pytest.mark.parametrize("version", [V311, V5], ids=["3.1.1", "5"])
def test_paho_beside_tcp(make_broker, client, path, version):
    broker = make_broker(f"listener 0 {path}", durable=True)
    local = client(path, "local", version=version, transport="unix")
    remote = client(broker.port, "remote", version=version)
    local.subscribe("t/#", 2)
    remote.subscribe("t/#", 2)
    for publisher in (local, remote):
        for qos in (0, 1, 2):
            publisher.publish(f"t/{qos}", f"at {qos}", qos)
            assert local.payloads(1) == remote.payloads(1) == [f"at {qos}"]


def test_the_file_goes_with_the_broker_and_a_stale_one_makes_way(make_broker, path):
    broker = make_broker(f"listener 0 {path}")
    assert stat.S_ISSOCK(path.stat().st_mode) and listens(path)
    broker.restart("kill")
    wait_until(lambda: listens(path))
    broker.restart()
    wait_until(lambda: listens(path))
    if IS_FOOTBRIDGE:
        wait_until(lambda: f"Listening on {path}." in broker.log(), what="line in the log")
    broker.stop()
    assert not path.exists()
    broker.start()


def test_the_umask_decides_who_may_connect(make_broker, path):
    broker = make_broker(f"listener 0 {path}", start=False)
    broker.wrapper = ["sh", "-c", 'umask 027; exec "$0" "$@"']
    broker.start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o750


@pytest.mark.footbridge
def test_a_path_that_cannot_be_had_is_told_in_one_line(make_broker, path, tmp_path):
    make_broker(f"listener 0 {path}")
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    for at, cure in [
        (path, "another program listens there"),
        (file, "this is no socket"),
        (tmp_path / ("x" * 120), "107 bytes"),
    ]:
        conf = tmp_path / "second.conf"
        conf.write_text(f"listener 0 {at}\n")
        done = run("-c", conf)
        error = done.stderr.decode() if isinstance(done.stderr, bytes) else done.stderr
        assert done.returncode != 0
        assert f"cannot listen on {at}: " in error and cure in error, error
    assert listens(path) and file.read_text() == "mine"
    assert os.path.exists(path)
