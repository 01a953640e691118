"""mosquitto_pub and mosquitto_sub, as most people meet a broker first."""

import queue
import subprocess
import threading

import pytest

from harness import IS_FOOTBRIDGE, FOOTBRIDGE, run

VERSIONS = ["mqttv31", "mqttv311", "mqttv5"]


class Sub:
    """mosquitto_sub in the background; ready once it says it has subscribed."""

    def __init__(self, broker, *arguments):
        command = ["stdbuf", "-oL", "mosquitto_sub", "-d", "-h", "127.0.0.1"]
        command += ["-p", str(broker.port), "-F", "MSG %t %q %r %p", *arguments]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines = queue.Queue()
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for line in self.process.stdout:
            if line.startswith("Subscribed"):
                self.ready.set()
            elif line.startswith("MSG "):
                self.lines.put(line[4:].rstrip("\n"))

    def __enter__(self):
        assert self.ready.wait(8), "mosquitto_sub did not subscribe"
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def get(self):
        return self.lines.get(timeout=8)


def pub(broker, *arguments, **options):
    done = subprocess.run(
        ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(broker.port), *arguments],
        capture_output=True,
        timeout=20,
        **options,
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("pub_version", VERSIONS)
@pytest.mark.parametrize("sub_version", VERSIONS)
def test_every_qos_between_versions(broker, pub_version, sub_version):
    with Sub(broker, "-V", sub_version, "-t", "t/#", "-q", "2") as sub:
        for qos in "012":
            pub(broker, "-V", pub_version, "-t", f"t/{qos}", "-q", qos, "-m", f"hello {qos}")
            assert sub.get() == f"t/{qos} {qos} 0 hello {qos}"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("granted", "012")
def test_the_lower_qos_rules(broker, version, granted):
    with Sub(broker, "-V", version, "-t", "t", "-q", granted) as sub:
        pub(broker, "-V", version, "-t", "t", "-q", "2", "-m", "x")
        assert sub.get() == f"t {granted} 0 x"


@pytest.mark.parametrize("version", VERSIONS)
def test_retained(broker, version):
    pub(broker, "-V", version, "-t", "state", "-q", "1", "-r", "-m", "on")
    with Sub(broker, "-V", version, "-t", "state", "-q", "1") as sub:
        assert sub.get() == "state 1 1 on"
        pub(broker, "-V", version, "-t", "state", "-r", "-m", "off")
        assert sub.get() == "state 0 0 off"
    pub(broker, "-V", version, "-t", "state", "-r", "-n")
    with Sub(broker, "-V", version, "-t", "#") as sub:
        pub(broker, "-V", version, "-t", "after", "-m", "x")
        assert sub.get() == "after 0 0 x"


@pytest.mark.parametrize("version", VERSIONS)
def test_will_when_a_client_is_killed(broker, version):
    will = ["--will-topic", "gone", "--will-payload", "bye", "--will-qos", "1"]
    with Sub(broker, "-V", version, "-t", "gone", "-q", "1") as sub:
        with Sub(broker, "-V", version, "-t", "x", *will):
            pass
        assert sub.get() == "gone 1 0 bye"


def test_wildcards(broker):
    with Sub(broker, "-t", "a/+/c", "-t", "b/#") as sub:
        for topic in ["a/b", "a/b/c/d", "a/b/c", "b", "b/x/y", "c"]:
            pub(broker, "-t", topic, "-m", "m")
        assert [sub.get().split()[0] for _ in range(3)] == ["a/b/c", "b", "b/x/y"]


@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
@pytest.mark.parametrize("qos", "12")
def test_offline_queue_of_a_durable_session(make_broker, version, qos):
    broker = make_broker(durable=True)
    expiry = ["-x", "3600"] if version == "mqttv5" else []
    session = ["-V", version, "-c", "-i", "durable", "-t", "q", "-q", qos, *expiry]
    with Sub(broker, *session):
        pass
    for n in range(20):
        pub(broker, "-V", version, "-t", "q", "-q", qos, "-m", f"{n}")
    with Sub(broker, *session) as sub:
        assert [sub.get() for _ in range(20)] == [f"q {qos} 0 {n}" for n in range(20)]


@pytest.mark.parametrize("qos", "012")
def test_a_megabyte(broker, tmp_path, qos):
    file = tmp_path / "payload"
    file.write_text("0123456789abcdef" * 65536)
    with Sub(broker, "-t", "large", "-q", qos) as sub:
        pub(broker, "-t", "large", "-q", qos, "-f", str(file))
        assert sub.get() == f"large {qos} 0 " + file.read_text()


def test_unicode_and_empty(broker):
    with Sub(broker, "-t", "température/+", "-q", "1") as sub:
        pub(broker, "-t", "température/Küche", "-q", "1", "-m", "21°")
        assert sub.get() == "température/Küche 1 0 21°"
        pub(broker, "-t", "température/空", "-q", "1", "-n")
        assert sub.get() == "température/空 1 0 "


def test_many_lines_from_a_pipe_keep_their_order(broker):
    lines = [f"line {n}" for n in range(2000)]
    with Sub(broker, "-t", "lines", "-q", "2") as sub:
        pub(broker, "-t", "lines", "-q", "2", "-l", input="\n".join(lines).encode() + b"\n")
        assert [sub.get() for _ in lines] == [f"lines 2 0 {line}" for line in lines]


@pytest.mark.footbridge
def test_our_own_pub_and_sub(broker):
    assert IS_FOOTBRIDGE
    port = str(broker.port)
    for qos in "012":
        done = run("pub", "-p", port, "-t", "t", "-q", qos, "-r", "-m", f"hi {qos}")
        assert done.returncode == 0, done.stderr
        done = run("sub", "-p", port, "-t", "t", "-q", qos, "-C", "1", "-W", "5")
        assert (done.returncode, done.stdout) == (0, f"hi {qos}\n"), done.stderr
    with Sub(broker, "-t", "stdin", "-q", "1") as sub:
        subprocess.run(
            [FOOTBRIDGE, "pub", "-p", port, "-t", "stdin", "-q", "1", "-l"],
            input=b"one\ntwo\n",
            timeout=10,
            check=True,
        )
        assert [sub.get(), sub.get()] == ["stdin 1 0 one", "stdin 1 0 two"]


@pytest.mark.footbridge
def test_our_sub_gives_up_in_time(broker):
    done = run("sub", "-p", broker.port, "-t", "never", "-C", "1", "-W", "1")
    assert (done.returncode, done.stdout) == (27, "")  # as mosquitto_sub's timeout
