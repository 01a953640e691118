"""What all upstreams have in common: a process group of its own on loopback, a folder of its own,
a port that stays over restarts."""

import os
import signal
import subprocess
from dataclasses import dataclass
from functools import cache

from clients import Client
from harness import free_port, listens, wait_until


@dataclass(frozen=True)
class Traits:
    """What an upstream does with messages, where it differs from what the standard wants. Measured;
    the tests hold it to that, so that a table of it is true."""

    #: The QoS with which it takes a PUBLISH of QoS 2; None where it closes instead.
    takes_qos2_as: int | None = 2
    #: The QoS that a subscription at QoS 2 gets.
    grants: int = 2
    #: Subscribers get messages at the QoS of the subscription, also those that were sent with less.
    raises_qos: bool = False
    #: The session of a client that is away stays, with what comes for it.
    sessions: bool = True
    #: Messages that it has acknowledged, and sessions, outlive kill -9; so do retained messages.
    survives_kill: bool = True
    keeps_retained: bool = True
    #: A subscription with a wildcard gets retained messages.
    retained_for_wildcards: bool = True
    #: What comes live has the RETAIN flag that it was published with: MQTT 5's Retain As Published,
    #: or the bridge bit.
    retain_as_published: bool = False
    #: It returns what a bridge publishes, whatever No Local says. The bridge takes two messages to
    #: see that.
    ignores_no_local: bool = False


class Node:
    """An upstream: `start`, `stop`, `kill`, `restart`, and clients of it."""

    name = ""
    #: The versions that a bridge can speak with it, as `bridge_protocol_version` calls them.
    versions = ("mqttv311",)
    #: Lines that a bridge must have to be let in.
    login = ""
    #: More lines that an operator writes who knows it, where to find out takes long.
    known = ""
    #: By default it takes a bridge minutes to find out how to get on with it: it is not tried.
    is_slow = False
    #: Seconds in which it closes for the first time, when all seemed well.
    settling = 0.0
    traits = Traits()
    #: What a client says to have its session kept.
    durable = {"clean": False}

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.process = None

    @classmethod
    def version(cls):
        """What the program says of itself."""
        raise NotImplementedError

    @classmethod
    def title(cls):
        """Name and version, for people."""
        return f"{cls.name} {cls.version()}"

    def _command(self):
        """The command and its environment."""
        raise NotImplementedError

    def start(self):
        assert self.process is None, "already running"
        command, environment = self._command()
        with open(self.folder / "out", "ab") as out:
            self.process = subprocess.Popen(
                list(map(str, command)),
                cwd=self.folder,
                env={**os.environ, "HOME": str(self.folder), **environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        wait_until(self._up, timeout=90, what=f"listening {self.name}")
        return self

    def _up(self):
        ended = self.process.poll()
        assert ended is None, f"{self.name} ended with status {ended}:\n{self.log()[-4000:]}"
        return listens(self.port)

    def stop(self):
        """SIGTERM; kill -9 where that takes longer than 20 s."""
        process, self.process = self.process, None
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            pass
        self._end(process)

    def kill(self):
        """kill -9, and what it has started with it."""
        process, self.process = self.process, None
        self._end(process)

    def _end(self, process):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        # Its children may take a moment longer.
        wait_until(lambda: not listens(self.port), what=f"end of {self.name}")

    def restart(self, how="kill"):
        """On the same data."""
        getattr(self, how)()
        return self.start()

    def close(self):
        if self.process is not None:
            self.kill()

    def log(self):
        return (self.folder / "out").read_text(errors="replace")

    def client(self, name, **options):
        return Client(self.port, name, **options)

    def old_client(self, name):
        """Of MQTT 3.1.1, where `client` is not."""
        return self.client(name)

    @property
    def bridge_port(self):
        """The port for bridges; `port` is for all other clients."""
        return self.port


@cache
def output(*command):
    """What a command says, on either stream."""
    done = subprocess.run(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.stdout.strip()


@cache
def debian(package):
    """The version of an installed package, without Debian's part of it."""
    version = output("dpkg-query", "--show", "--showformat=${Version}", package)
    return version.split(":")[-1].split("-")[0].split("+")[0]
