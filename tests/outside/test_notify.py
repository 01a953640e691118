"""What a service manager hears (sd_notify): a start, a reload, a stop, and that the loop turns."""

import os
import signal
import socket
import subprocess

import pytest

from harness import FOOTBRIDGE, free_port

pytestmark = pytest.mark.footbridge


class Manager:
    """The end of NOTIFY_SOCKET where systemd is."""

    def __init__(self, folder, environment=()):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(folder / "notify"))
        self.socket.settimeout(30)
        config = folder / "n.conf"
        config.write_text(f"listener {free_port()} 127.0.0.1\n")
        self.process = subprocess.Popen(
            [FOOTBRIDGE, "-c", config],
            stderr=subprocess.DEVNULL,
            env=dict(os.environ, NOTIFY_SOCKET=str(folder / "notify"), **dict(environment)),
        )

    def hears(self, *wanted):
        """Each of these in turn, whatever is said of the watchdog between."""
        for word in wanted:
            said = ""
            while said != word:
                said = self.socket.recv(4096).decode()
                assert said == word or said.startswith("WATCHDOG"), said

    def end(self):
        self.process.kill()
        self.process.wait()
        self.socket.close()


@pytest.fixture
def manager(tmp_path):
    managers = []

    def make(**environment):
        managers.append(Manager(tmp_path, environment.items()))
        return managers[-1]

    yield make
    for made in managers:
        made.end()


def test_start_reload_and_stop_are_told(manager):
    told = manager()
    told.hears("READY=1")
    told.process.send_signal(signal.SIGHUP)
    told.hears("RELOADING=1", "READY=1")
    told.process.send_signal(signal.SIGTERM)
    told.hears("STOPPING=1")
    assert told.process.wait(30) == 0


def test_the_watchdog_is_fed_while_the_loop_turns(manager):
    told = manager(WATCHDOG_USEC="100000")
    told.hears("READY=1", "WATCHDOG_USEC=100000", "WATCHDOG=1", "WATCHDOG=1")
    told.process.send_signal(signal.SIGSTOP)
    told.socket.settimeout(2)
    with pytest.raises(TimeoutError):
        # What was said before it stood still, then nothing.
        for _ in range(1000):
            told.socket.recv(4096)
    told.process.send_signal(signal.SIGCONT)
    told.socket.settimeout(30)
    told.hears("WATCHDOG=1")


def test_a_watchdog_of_another_process_is_not_fed(manager):
    told = manager(WATCHDOG_USEC="100000", WATCHDOG_PID="1")
    told.hears("READY=1")
    told.socket.settimeout(2)
    with pytest.raises(TimeoutError):
        told.socket.recv(4096)
