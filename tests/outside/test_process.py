"""The process: -d, signals, and nobody at the other end of standard output and standard error."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from harness import FOOTBRIDGE, free_port, listens, run, wait_until

pytestmark = pytest.mark.footbridge


def stop(pid):
    os.kill(pid, signal.SIGTERM)

    def ended():
        # It may stay as a zombie for a while: its parent is gone.
        try:
            return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return True

    wait_until(ended, what="end of the daemon")


def test_d_returns_when_it_serves(tmp_path):
    port, pid = free_port(), tmp_path / "pid"
    config = tmp_path / "d.conf"
    config.write_text(f"listener {port} 127.0.0.1\npid_file {pid}\nallow_anonymous true\n")
    done = run("-d", "-c", config)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    number = int(pid.read_text())
    assert listens(port)
    null = os.stat("/dev/null")
    # Of a process that can't be dumped, only root sees them.
    for descriptor in range(3 if os.geteuid() == 0 else 0):
        assert os.stat(f"/proc/{number}/fd/{descriptor}").st_rdev == null.st_rdev
    stop(number)


@pytest.mark.parametrize("what", ["port", "store", "rules", "configuration"])
def test_d_tells_that_the_start_failed(tmp_path, what):
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1] if what == "port" else free_port()
        config = tmp_path / "d.conf"
        config.write_text(
            f"listener {port} 127.0.0.1\n"
            + {
                "port": "",
                "store": f"persistence true\npersistence_location {tmp_path}/none\n",
                "rules": f"acl_file {tmp_path}/none\n",
                "configuration": "frobnicate\n",
            }[what]
        )
        done = run("-d", "-c", config)
    says = {"port": "another program has this port", "configuration": "frobnicate"}
    assert done.returncode == 1 and says.get(what, f"{tmp_path}/none") in done.stderr, done
    assert done.stderr.startswith("Error: ") and len(done.stderr.splitlines()) == 1


def test_signals_that_mean_nothing_end_nothing(make_broker, client):
    """SIGUSR2 is what Mosquitto prints its subscriptions on."""
    broker = make_broker(durable=True)
    for name in ("USR1", "USR2", "PIPE", "HUP", "XFSZ", "WINCH", "CONT", "CHLD", "URG", "USR2"):
        broker.process.send_signal(getattr(signal, f"SIG{name}"))
        time.sleep(0.05)
    c = client(broker.port, "c")
    c.subscribe("t", 1)
    c.publish("t", "x", 1)
    assert c.payloads(1) == ["x"]
    broker.stop()


def closed():
    """The writing end of a pipe that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    return write


def commands(broker):
    at = ["-p", str(broker.port)]
    conf = str(broker.config_file)
    return {
        "help": (["--help"], 0),
        "help config": (["--help", "config"], 0),
        "version": (["--version"], 0),
        "check": (["-c", conf, "--test-config"], 0),
        "pub help": (["pub", "--help"], 0),
        "sub help": (["sub", "--help"], 0),
        "status help": (["status", "--help"], 0),
        "passwd help": (["passwd", "--help"], 0),
        "demo help": (["demo", "--help"], 0),
        "status": (["status", *at], 0),
        "status json": (["status", "--json", *at], 0),
        "pub -d": (["pub", "-d", *at, "-t", "t", "-q", "1", "-m", "x"], 0),
        "sub -d": (["sub", "-d", *at, "-t", "r", "-C", "1"], 0),
        "wrong option": (["pub", "--nonsense"], 1),
        "wrong broker option": (["--nonsense"], 1),
        "no broker": (["sub", "-p", "1", "-t", "t"], 1),
        "no config": (["-c", "/nonexistent"], 1),
        "no passwd file": (["passwd", "-b", "/nonexistent/x", "u", "p"], 1),
    }


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_nobody_reads(make_broker, stream):
    """No command panics, whose exit status would be 101, and each does its work."""
    broker = make_broker()
    assert run("pub", "-p", broker.port, "-t", "r", "-r", "-m", "x").returncode == 0
    for name, (arguments, status) in commands(broker).items():
        with open(closed(), "wb") as nobody:
            streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: nobody}
            done = subprocess.run(
                [FOOTBRIDGE, *arguments], stdin=subprocess.DEVNULL, timeout=30, **streams
            )
        said = (done.stdout or b"") + (done.stderr or b"")
        assert done.returncode == status, f"{name}: {done.returncode}\n{said}"
        assert b"panicked" not in said, name


def test_a_full_disk_is_an_error_of_what_is_printed(broker):
    for arguments in (["status", "-p", str(broker.port)], ["--help"], ["pub", "--help"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [FOOTBRIDGE, *arguments], stdout=full, stderr=subprocess.PIPE, text=True
            )
        assert done.returncode == 1 and "No space left" in done.stderr, done


def test_what_a_trace_is_about_is_done_without_it(broker, client):
    c = client(broker.port, "c")
    c.subscribe("t", 1)
    with open(closed(), "wb") as nobody:
        command = [FOOTBRIDGE, "pub", "-d", "-p", str(broker.port), "-t", "t", "-q", "1", "-l"]
        subprocess.run(command, input=b"a\nb\n", stdout=nobody, timeout=30, check=True)
    assert c.payloads(2) == ["a", "b"]


def test_what_the_process_gives_up(make_broker, client, tmp_path):
    """No rights to gain, no memory images, and files that only their owner reads."""
    log = tmp_path / "log"
    old = os.umask(0o022)
    try:
        broker = make_broker(f"log_dest file {log}\nlog_dest stderr", durable=True)
    finally:
        os.umask(old)
    pid = broker.process.pid
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        assert "\nNoNewPrivs:\t1\n" in status.read_text()
    limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
    core = next(line for line in limits if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]
    # The files of a process that can't be dumped are root's.
    assert os.stat(f"/proc/{pid}/environ").st_uid == 0
    client(broker.port, "c").publish("t", "x", 1)
    written = [log, *(broker.folder / "store").iterdir()]
    assert len(written) >= 3
    for file in written:
        assert file.stat().st_mode & 0o777 == 0o600, file


def test_secrets_that_others_can_read_are_told():
    """Each with its cure, at the start and by the check."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        users, config = Path(folder) / "users", Path(folder) / "c.conf"
        users.write_text("")
        users.chmod(0o644)
        config.write_text(
            f"listener {free_port()} 127.0.0.1\npassword_file {users}\n"
            "connection b\naddress 127.0.0.1:1\ntopic # out\nremote_username u\nremote_password p\n"
        )
        config.chmod(0o644)
        checked = run("-c", config, "--test-config")
        for file in (users, config):
            assert f"`chmod o-rwx {file}`" in checked.stdout + checked.stderr
            file.chmod(0o600)
        checked = run("-c", config, "--test-config")
        assert "chmod" not in checked.stdout + checked.stderr


def test_a_configuration_that_comes_through_a_pipe(tmp_path):
    """It is read once; SIGHUP neither waits for more of it nor takes its end for an empty one."""
    port, log = free_port(), tmp_path / "log"
    text = f"listener {port} 127.0.0.1\nallow_anonymous true\nlog_dest file {log}\n"
    started = subprocess.Popen([FOOTBRIDGE, "-c", "/dev/stdin"], stdin=subprocess.PIPE)
    try:
        started.stdin.write(text.encode())
        started.stdin.close()
        wait_until(lambda: listens(port), what="a listener")
        started.send_signal(signal.SIGHUP)
        stays = "The configuration stays as it was: /dev/stdin: is a pipe or a device"
        wait_until(lambda: stays in log.read_text(), what=stays)
        assert listens(port)
    finally:
        started.terminate()
        assert started.wait(20) == 0


@pytest.mark.parametrize("directive", ["acl_file", "password_file", "include_dir", "-c with -d"])
def test_a_fifo_in_place_of_a_file_stops_nothing(tmp_path, directive):
    """Nobody ever writes to it."""
    fifo, config = tmp_path / "fifo.conf", tmp_path / "main"
    os.mkfifo(fifo)
    named = tmp_path if directive == "include_dir" else fifo
    config.write_text(f"listener {free_port()} 127.0.0.1\n{directive} {named}\n")
    if directive.startswith("-c"):
        # The process in the background would read it once more.
        done = run_with_pipe(f"listener {free_port()} 127.0.0.1\n", "-d", "-c", "/dev/stdin")
        says = "/dev/stdin: is a pipe or a device"
    else:
        done = run("-c", config)
        says = f"{fifo}: cannot be read: it is a folder, a device or a FIFO, and no file"
    assert done.returncode == 1 and says in done.stderr, done


def run_with_pipe(text, *arguments):
    return subprocess.run(
        [FOOTBRIDGE, *arguments], input=text, capture_output=True, text=True, timeout=60
    )
