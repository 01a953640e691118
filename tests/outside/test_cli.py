"""footbridge pub and sub, against footbridge and Mosquitto, with Mosquitto's tools at the other
end: whatever works with one pair has to work with the other."""

import json
import signal
import subprocess
import threading
import time

import pytest

from harness import FOOTBRIDGE, MOSQUITTO, free_port, run, wait_until

pytestmark = pytest.mark.footbridge

VERSIONS = ["31", "311", "5"]
OURS = {"pub": [FOOTBRIDGE, "pub"], "sub": [FOOTBRIDGE, "sub"]}
THEIRS = {"pub": ["mosquitto_pub"], "sub": ["mosquitto_sub"]}


@pytest.fixture(params=["footbridge", "mosquitto"])
def make_either(request, make_broker, make_upstream):
    return make_broker if request.param == "footbridge" else make_upstream


@pytest.fixture
def either(make_either):
    return make_either()


def pub(port, *arguments, tool=OURS, timeout=15, **options):
    command = [*tool["pub"], "-p", str(port), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, **options)


class Sub:
    """A subscriber in the background; ready once the broker has its subscription."""

    def __init__(self, port, *arguments, tool=OURS, count=1, timeout=15):
        command = [*tool["sub"], "-h", "127.0.0.1", "-p", str(port), "-C", str(count)]
        command += ["-d", "-F", "MSG %t %q %r %p", *map(str, arguments)]
        if tool is THEIRS:
            command = ["stdbuf", "-oL", *command]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.timeout = timeout

    def __enter__(self):
        for line in self.process.stdout:
            if line.startswith("Subscribed"):
                return self
        raise AssertionError("did not subscribe")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def messages(self):
        """All messages, when the subscriber has ended by itself."""
        out, _ = self.process.communicate(timeout=self.timeout)
        assert self.process.returncode == 0
        return [line[4:] for line in out.splitlines() if line.startswith("MSG ")]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("pair", [(OURS, OURS), (OURS, THEIRS), (THEIRS, OURS)])
def test_every_qos(either, version, pair):
    publisher, subscriber = pair
    with Sub(either.port, "-V", version, "-t", "t/#", "-q", 2, tool=subscriber, count=3) as sub:
        for qos in (0, 1, 2):
            done = pub(
                either.port, "-V", version, "-t", f"t/{qos}", "-q", qos, "-m", f"m{qos}",
                tool=publisher,
            )  # fmt: skip
            assert (done.returncode, done.stderr) == (0, "")
        assert sub.messages() == [f"t/{qos} {qos} 0 m{qos}" for qos in (0, 1, 2)]


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("version", VERSIONS)
def test_lines_keep_their_order(either, version, qos):
    lines = [f"line {n}" for n in range(1000)]
    with Sub(either.port, "-V", version, "-t", "l", "-q", qos, count=len(lines)) as sub:
        text = "\n".join(lines)
        done = pub(either.port, "-V", version, "-t", "l", "-q", qos, "-l", input=text)
        assert (done.returncode, done.stderr) == (0, "")
        assert sub.messages() == [f"l {qos} 0 {line}" for line in lines]


def test_a_line_leaves_before_the_next_comes(either):
    with Sub(either.port, "-t", "l", count=2) as sub:
        command = [*OURS["pub"], "-p", str(either.port), "-t", "l", "-l"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as publisher:
            publisher.stdin.write("one\n")
            publisher.stdin.flush()
            assert sub.process.stdout.readline() == "Client (null) received PUBLISH (d0, q0, r0, m0, 'l', ... (3 bytes))\n"
            assert sub.process.stdout.readline() == "MSG l 0 0 one\n"
            publisher.stdin.write("two")
            publisher.stdin.close()
            assert publisher.wait(timeout=5) == 0
        assert sub.messages() == ["l 0 0 two"]


def test_lines_take_bounded_memory(either):
    """100 MB through a pipe."""
    command = [*OURS["pub"], "-p", str(either.port), "-t", "none", "-q", "0", "-l"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as publisher:
        chunk = (b"x" * 999 + b"\n") * 1000
        for _ in range(100):
            publisher.stdin.write(chunk)
        status = open(f"/proc/{publisher.pid}/status").read()
        publisher.stdin.close()
        assert publisher.wait(timeout=30) == 0
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    assert int(peak.split()[1]) < 20_000, peak


def test_lines_survive_a_restart_of_the_broker(make_either):
    broker = make_either(durable=True)
    session = ["-c", "-i", "sub", "-t", "l", "-q", 2]
    assert run("sub", "-p", broker.port, *session, "-E").returncode == 0
    command = [*OURS["pub"], "-p", str(broker.port), "-c", "-i", "pub", "-t", "l", "-q", "2", "-l"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as publisher:
        publisher.stdin.write("one\n")
        publisher.stdin.flush()
        time.sleep(0.3)
        broker.restart()
        publisher.stdin.write("two\n")
        publisher.stdin.close()
        assert publisher.wait(timeout=10) == 0
    done = run("sub", "-p", broker.port, *session, "-C", 2, "-W", 5)
    assert (done.returncode, done.stdout) == (0, "one\ntwo\n"), done.stderr


@pytest.mark.parametrize("option", ["-f", "-s", "-n", "--repeat"])
def test_payloads(either, option, tmp_path):
    file = tmp_path / "payload"
    file.write_text("a\nb")
    if option == "--repeat":
        arguments, expected = ["-m", "x", "--repeat", "3", "--repeat-delay", "0.05"], ["p 1 0 x"] * 3
    elif option == "-n":
        arguments, expected = ["-n"], ["p 1 0 "]
    else:
        arguments = ["-f", file] if option == "-f" else ["-s"]
        expected = ["p 1 0 a%b"]
    with Sub(either.port, "-t", "p", "-q", 1, count=len(expected)) as sub:
        done = pub(either.port, "-t", "p", "-q", 1, *arguments, stdin=open(file))
        assert (done.returncode, done.stderr) == (0, "")
        if "a%b" in expected[0]:
            out, _ = sub.process.communicate(timeout=5)
            assert "MSG p 1 0 a\nb\n" in out
        else:
            assert sub.messages() == expected


def test_properties_and_formats(either):
    format = "%t|%C|%R|%D|%P|%10l|%x"
    command = [*OURS["sub"], "-p", str(either.port), "-V", "5", "-t", "p", "-C", "2", "-F", format]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as ours:
        wait_until(lambda: pub(either.port, "-V", "5", "-t", "p", "-q", "1", "-r", "-m", "first", tool=THEIRS).returncode == 0)
        properties = "content-type text/plain response-topic r/t correlation-data xyz".split()
        arguments = []
        for name, value in zip(properties[::2], properties[1::2]):
            arguments += ["-D", "publish", name, value]
        arguments += ["-D", "PUBLISH", "user-property", "a", "b"]
        assert ours.stdout.readline() == "p|||||         5|6669727374\n"
        done = pub(either.port, "-t", "p", "-m", "hi", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert ours.stdout.readline() == "p|text/plain|r/t|xyz|a:b|         2|6869\n"
        assert ours.wait(timeout=5) == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_json_is_json(either, version):
    pub(either.port, "-V", version, "-t", "j", "-r", "-q", "1", "-m", 'a "b" \\ \t')
    done = run("sub", "-p", either.port, "-V", version, "-t", "j", "-q", 1, "-C", 1, "-F", "%j")
    message = json.loads(done.stdout)
    assert message["payload"] == 'a "b" \\ \t'
    assert (message["topic"], message["qos"], message["retain"]) == ("j", 1, 1)


def test_retained_and_filters(either):
    for topic in ("r/a", "r/b", "r/c"):
        assert pub(either.port, "-t", topic, "-r", "-q", 1, "-m", topic).returncode == 0
    sub = ["sub", "-p", either.port, "-v", "-t", "r/#", "-W", "1"]
    assert sorted(run(*sub, "-T", "r/b").stdout.splitlines()) == ["r/a r/a", "r/c r/c"]
    assert run(*sub, "-R").stdout == ""
    out = run(*sub, "--remove-retained", "--retained-only", "-T", "r/a", "-N").stdout
    assert sorted([out[:7], out[7:]]) == ["r/b r/b", "r/c r/c"]
    assert run(*sub).stdout == "r/a r/a\n"
    with subprocess.Popen(
        [*OURS["sub"], "-p", str(either.port), "-t", "r/#", "--retained-only"],
        stdout=subprocess.PIPE,
        text=True,
    ) as ours:
        assert ours.stdout.readline() == "r/a\n"
        assert pub(either.port, "-t", "r/x", "-m", "fresh").returncode == 0
        assert (ours.stdout.read(), ours.wait(timeout=5)) == ("", 0)


def test_a_kept_session_gives_each_message_once(make_either):
    """-C takes so many messages, and acknowledges no more."""
    broker = make_either(durable=True)
    session = ["sub", "-p", broker.port, "-i", "kept", "-c", "-q", "1", "-t", "q"]
    assert run(*session, "-E").returncode == 0
    for n in range(4):
        assert pub(broker.port, "-t", "q", "-q", "1", "-m", n).returncode == 0
    assert run(*session, "-C", "2").stdout == "0\n1\n"
    assert run(*session, "-C", "2").stdout == "2\n3\n"
    assert run("sub", "-p", broker.port, "-i", "kept", "-c", "-U", "q", "-E").returncode == 0
    assert pub(broker.port, "-t", "q", "-q", "1", "-m", "late").returncode == 0
    done = run("sub", "-p", broker.port, "-i", "kept", "-c", "-t", "other", "-W", "1")
    assert (done.returncode, done.stdout) == (27, "")


@pytest.mark.parametrize("how, published", [("kill", True), ("terminate", False)])
def test_the_will_of_a_killed_subscriber_only(either, how, published):
    will = ["--will-topic", "will", "--will-payload", "bye", "--will-qos", "1"]
    with Sub(either.port, "-t", "will", "-q", "1") as watcher:
        with Sub(either.port, "-t", "x", *will) as doomed:
            getattr(doomed.process, how)()
            status = doomed.process.wait(timeout=5)
            assert status == (-signal.SIGKILL if published else 0)
        if not published:
            pub(either.port, "-t", "will", "-q", "1", "-m", "none")
        assert watcher.messages() == ["will 1 0 " + ("bye" if published else "none")]


def test_a_subscriber_without_its_broker_can_be_ended(make_either):
    """SIGTERM while it waits to connect again."""
    broker = make_either()
    with Sub(broker.port, "-t", "a") as sub:
        broker.stop()
        time.sleep(0.5)
        sub.process.terminate()
        assert sub.process.wait(timeout=3) == 0


def test_the_subscriber_comes_back(make_either):
    broker = make_either()
    command = [*OURS["sub"], "-p", str(broker.port), "-t", "t", "-q", "1", "-C", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as s:
        time.sleep(0.5)
        broker.restart("kill")

        def arrives():
            pub(broker.port, "-t", "t", "-q", "1", "-m", "back")
            return s.poll() is not None

        wait_until(arrives, what="message")
        assert s.stdout.read() == "back\n"
        assert s.stderr.read().startswith("Error: ")


@pytest.mark.parametrize("version, status", [("31", 5), ("311", 5), ("5", 135)])
def test_a_refusal_ends_as_mosquittos(make_either, version, status):
    broker = make_either(anonymous=False, config="allow_anonymous false")
    for command in (["pub", "-m", "x"], ["sub"]):
        arguments = [*command[1:], "-p", broker.port, "-V", version, "-t", "t"]
        ours = run(command[0], *arguments)
        theirs = subprocess.run(
            [f"mosquitto_{command[0]}", *map(str, arguments)], capture_output=True, text=True
        )
        assert ours.returncode == theirs.returncode == status
        assert ours.stderr.splitlines()[0] == theirs.stderr.splitlines()[0]


def test_nobody_listens():
    port = free_port()
    for command in (["pub", "-m", "x"], ["sub"]):
        done = run(*command, "-p", port, "-t", "t")
        assert (done.returncode, done.stderr) == (1, "Error: Connection refused\n")
        done = run(*command, "-p", port, "-t", "t", "--quiet")
        assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("arguments", [["--cafile", "x"], ["--proxy", "x"], ["-L", "mqtts://h/t"]])
def test_what_cannot_be_honoured_is_refused(arguments):
    for command in (["pub", "-m", "x"], ["sub"]):
        done = run(*command, "-t", "t", *arguments)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1 and arguments[-1 if "-L" in arguments else 0][:5] in done.stderr


def test_help_goes_to_stdout():
    for command, option in (("pub", "--stdin-line"), ("sub", "--filter-out")):
        done = run(command, "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert option in done.stdout


def test_a_closed_stdout_is_no_error(either):
    command = [*OURS["sub"], "-p", str(either.port), "-t", "t", "-d"]
    with subprocess.Popen(
        [*OURS["sub"], "-p", str(either.port), "-t", "t"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as ours:
        ours.stdout.close()

        def ended():
            pub(either.port, "-t", "t", "-m", "x")
            return ours.poll() is not None

        wait_until(ended, what="end")
        assert (ours.returncode, ours.stderr.read()) == (0, b"")


def test_keep_alive_while_stdin_is_silent(either):
    command = [*OURS["pub"], "-p", str(either.port), "-t", "k", "-k", "5", "-d", "-l"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as publisher:
        timer = threading.Timer(9, publisher.stdin.close)
        timer.start()
        out = publisher.stdout.read()
        timer.join()
        assert publisher.wait(timeout=5) == 0
    assert out.count("received PINGRESP") == 1 and out.count("CONNECT") == 2, out
