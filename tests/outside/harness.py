"""Runs brokers as an operator would: the real binary, a configuration file, signals."""

import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
FOOTBRIDGE = os.environ.get("FOOTBRIDGE_BIN", str(TARGET / "release/footbridge"))
MOSQUITTO = os.environ.get("MOSQUITTO_BIN", "/usr/sbin/mosquitto")

#: The suite can run against Mosquitto itself, to tell a wrong test from a wrong broker:
#: FOOTBRIDGE_BIN=/usr/sbin/mosquitto. What only footbridge does is then left out.
IS_FOOTBRIDGE = Path(FOOTBRIDGE).name != "mosquitto"


def _ports():
    """Ports below those that the kernel gives to connections, in any order, over and over. Each
    process of pytest-xdist has its own."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    first = 10_000 + 2_000 * (worker % 8)
    while True:
        yield from random.sample(range(first, first + 2_000), 2_000)


_PORTS = _ports()


def free_port():
    """A port that nobody listens on, and that nobody takes before the broker does."""
    for port in _PORTS:
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


def wait_until(condition, timeout=10.0, what="condition"):
    """Polls until the condition holds and returns its value."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"no {what} within {timeout} s"
        time.sleep(0.02)


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


class Broker:
    """One broker process on a port of its own; it keeps port and folder over restarts.

    `durable` turns persistence on; `quiet`
    leaves out -v, with which Mosquitto logs every packet.
    """

    def __init__(self, folder, config="", *, binary=None, durable=False, anonymous=True, quiet=False):
        self.binary = binary or FOOTBRIDGE
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.config_file = self.folder / "broker.conf"
        self.log_file = self.folder / "stderr"
        self.process = None
        #: A command that runs the broker by exec: nsenter, prlimit, setpriv, env…
        self.wrapper = []
        self._verbose = [] if quiet else ["-v"]
        lines = []
        if Path(self.binary).name == "mosquitto" and os.geteuid() == 0:
            lines.append("user root")  # or it becomes a user who may not write here
        lines.append(f"listener {self.port} 127.0.0.1")
        if anonymous:
            lines.append("allow_anonymous true")
        if durable:
            store = self.folder / "store"
            store.mkdir(exist_ok=True)
            lines += ["persistence true", f"persistence_location {store}/"]
        lines.append(config)
        self.config_file.write_text("\n".join(lines) + "\n")

    def start(self):
        self.launch()
        wait_until(self._up, what="listening broker")
        return self

    def launch(self):
        """Starts it without waiting until it listens."""
        assert self.process is None, "already running"
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                [*self.wrapper, self.binary, "-c", self.config_file, *self._verbose],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _up(self):
        ended = self.process.poll()
        assert ended is None, f"broker ended with status {ended}:\n{self.log()}"
        return listens(self.port)

    def stop(self):
        """SIGTERM; the exit status must be 0."""
        self._end(signal.SIGTERM, 0)

    def kill(self):
        """kill -9. A Mosquitto under test is stopped instead: it loses its state by design."""
        if IS_FOOTBRIDGE or self.binary != FOOTBRIDGE:
            self._end(signal.SIGKILL, -signal.SIGKILL)
        else:
            self.stop()

    def restart(self, how="stop"):
        getattr(self, how)()
        return self.start()

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def _end(self, number, status):
        process, self.process = self.process, None
        process.send_signal(number)
        try:
            ended = process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        assert ended == status, f"exit status {ended}:\n{self.log()}"

    def cleanup(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""


def run(*arguments, timeout=10, **options):
    """Runs the binary under test to its end."""
    return subprocess.run(
        [FOOTBRIDGE, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        **options,
    )
