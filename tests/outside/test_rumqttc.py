"""rumqttc, a client of Rust programs, on MQTT 3.1.1 and 5: tests/rumqttc does what it is told."""

import queue
import subprocess
import threading

import pytest

from harness import IS_FOOTBRIDGE, ROOT, TARGET

TIMEOUT = 8.0
VERSIONS = pytest.mark.parametrize("version", ["4", "5"])


@pytest.fixture(scope="session")
def probe():
    """The program, built once."""
    folder = TARGET / "rumqttc"
    manifest = ROOT / "tests/rumqttc/Cargo.toml"
    command = ["cargo", "build", "--quiet", "--locked", "--manifest-path", manifest]
    subprocess.run([*command, "--target-dir", folder], check=True, timeout=600)
    return folder / "debug/rumqttc-probe"


class Client:
    """A connected client, which speaks in lines."""

    def __init__(self, probe, version, port, name, *options):
        command = [probe, version, str(port), name, *map(str, options)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.lines = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.session_present = self.expect("connack") == "1"

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))

    def say(self, *words):
        print(*words, file=self.process.stdin)

    def expect(self, kind):
        """The rest of the next line, which must be of this kind."""
        line = self.lines.get(timeout=TIMEOUT)
        assert line.split(" ")[0] == kind, line
        return line.partition(" ")[2]

    def subscribe(self, topic, qos):
        self.say("subscribe", topic, qos)
        level = ["AtMostOnce", "AtLeastOnce", "ExactlyOnce"][qos]
        assert self.expect("suback") == f"[Success({level})]"

    def publish(self, topic, payload, qos=0, retain=0):
        """Returns once it is acknowledged."""
        self.say("publish", topic, qos, retain, payload)
        if qos:
            self.expect(["puback", "pubcomp"][qos - 1])

    def silent(self, seconds=0.5):
        try:
            return not self.lines.get(timeout=seconds)
        except queue.Empty:
            return True

    def close(self):
        """DISCONNECT."""
        self.say("disconnect")
        self.process.wait(TIMEOUT)

    def drop(self):
        """The connection breaks."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def connect(probe):
    made = []

    def make(*arguments):
        made.append(Client(probe, *arguments))
        return made[-1]

    yield make
    for client in made:
        client.drop()


@VERSIONS
@pytest.mark.parametrize("granted", [0, 1, 2])
def test_every_qos(broker, connect, version, granted):
    sub, pub = connect(version, broker.port, "sub"), connect(version, broker.port, "pub")
    sub.subscribe("t/+", granted)
    for qos in (0, 1, 2):
        pub.publish(f"t/{qos}", f"hello {qos}", qos)
        assert sub.expect("publish") == f"t/{qos} {min(qos, granted)} 0 hello {qos}"
    sub.say("unsubscribe", "t/+")
    sub.expect("unsuback")
    pub.publish("t/1", "no more", 1)
    assert sub.silent()


@VERSIONS
@pytest.mark.parametrize("qos", [1, 2])
def test_many_in_order(broker, connect, version, qos):
    if qos == 2 and not IS_FOOTBRIDGE:
        pytest.skip("Mosquitto 2.0.11 stops after 200 of these, with the rest in its queue")
    sub, pub = connect(version, broker.port, "sub"), connect(version, broker.port, "pub")
    sub.subscribe("some/topic", qos)
    for n in range(500):
        pub.say("publish", "some/topic", qos, 0, n)
    got = [sub.expect("publish") for _ in range(500)]
    assert got == [f"some/topic {qos} 0 {n}" for n in range(500)]


@VERSIONS
def test_retained(broker, connect, version):
    pub = connect(version, broker.port, "pub")
    for n in (0, 1, 2):
        pub.publish(f"r/{n}", f"v{n}", n, retain=1)
    pub.publish("r/1", "", 1, retain=1)
    sub = connect(version, broker.port, "sub")
    sub.subscribe("r/#", 2)
    got = sorted([sub.expect("publish"), sub.expect("publish")])
    assert got == ["r/0 0 1 v0", "r/2 2 1 v2"]
    assert sub.silent()


@VERSIONS
def test_will(broker, connect, version):
    sub = connect(version, broker.port, "sub")
    sub.subscribe("w/#", 2)
    for qos in (0, 1, 2):
        connect(version, broker.port, f"dev{qos}", "will", f"w/{qos}", qos).drop()
        assert sub.expect("publish") == f"w/{qos} {qos} 0 gone"
    connect(version, broker.port, "polite", "will", "w/none", 0).close()
    assert sub.silent()


@VERSIONS
def test_a_session_is_resumed(make_broker, connect, version):
    broker = make_broker(durable=True)
    dev = connect(version, broker.port, "dev", "durable")
    assert not dev.session_present
    dev.subscribe("t", 2)
    dev.drop()
    pub = connect(version, broker.port, "pub")
    for qos in (1, 2):
        pub.publish("t", f"m{qos}", qos)
    pub.close()
    broker.restart()
    dev = connect(version, broker.port, "dev", "durable")
    assert dev.session_present
    assert [dev.expect("publish") for _ in (1, 2)] == ["t 1 0 m1", "t 2 0 m2"]
    dev.close()
    assert not connect(version, broker.port, "dev").session_present


@VERSIONS
def test_takeover(broker, connect, version):
    first = connect(version, broker.port, "same")
    second = connect(version, broker.port, "same")
    assert first.lines.get(timeout=TIMEOUT).startswith("error")
    second.subscribe("t", 1)
    second.publish("t", "x", 0)
    assert second.expect("publish") == "t 0 0 x"
