"""auth_socket: another program says who may connect, and what they may do."""

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading

import pytest

from clients import V5, V311
from harness import ROOT, free_port, wait_until

EXAMPLE = ROOT / "etc/auth-socket.py"
DENIED, UNAVAILABLE = 0x87, 0x88
ALLOW = {"answer": "allow"}
ALL = {"answer": "allow", "acl": ["topic #"]}

pytestmark = pytest.mark.footbridge


class Program:
    """A program at the other end. What `answer` makes of a question is sent: bytes as they are, a
    dictionary as an answer to it, nothing for None."""

    def __init__(self, path, answer=ALLOW):
        self.path, self.answer = str(path), answer
        self.questions = queue.Queue()
        self.connections = []
        self.start()

    def start(self):
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(self.path)
        self.server.listen(1)
        threading.Thread(target=self._serve, args=[self.server], daemon=True).start()
        return self

    def stop(self):
        os.unlink(self.path)
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        self.hang_up()

    def hang_up(self):
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self.connections = []

    def say(self, words):
        line = words if isinstance(words, bytes) else json.dumps(words).encode() + b"\n"
        for connection in self.connections:
            connection.sendall(line)

    def asked(self):
        return self.questions.get(timeout=8)

    def _serve(self, server):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                self.connections.append(connection)
                threading.Thread(target=self._hear, args=[connection], daemon=True).start()

    def _hear(self, connection):
        with contextlib.suppress(OSError, ValueError):
            for line in connection.makefile("rb"):
                question = json.loads(line)
                answer = self.answer(question) if callable(self.answer) else self.answer
                if isinstance(answer, dict):
                    answer = json.dumps({"id": question["id"], **answer}).encode() + b"\n"
                if answer == b"":
                    connection.shutdown(socket.SHUT_RDWR)
                elif answer is not None:
                    connection.sendall(answer)
                self.questions.put(question)


@pytest.fixture
def make_program(tmp_path):
    made = []

    def make(answer=ALLOW, name="auth.sock"):
        made.append(Program(tmp_path / name, answer))
        return made[-1]

    yield make
    for program in made:
        with contextlib.suppress(OSError):
            program.stop()


def try_(client, broker, *, login=("ann", "pw"), version=V5, client_id="c"):
    return client(broker.port, client_id, version=version, login=login, accepted=False).reason.value


def config(tmp_path, more="", name="auth.sock"):
    return f"auth_socket {tmp_path / name}\n{more}"


def mosquitto(command, broker, *arguments, **options):
    command = [command, "-h", "127.0.0.1", "-p", str(broker.port), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, **options)


def test_the_example(make_broker, tmp_path):
    """With Mosquitto's clients: allow, deny, rights, a revocation."""
    assert len(EXAMPLE.read_text().splitlines()) <= 30
    path, users = tmp_path / "auth.sock", tmp_path / "users"
    users.write_text("ann:secret:topic read a/#,topic write up/ann\nbob:builder:topic #\neve:pw\n")
    program = subprocess.Popen([sys.executable, EXAMPLE, path, users])
    try:
        wait_until(path.exists, what="socket")
        broker = make_broker(config(tmp_path), anonymous=False)
        ann, bob = ["-u", "ann", "-P", "secret"], ["-u", "bob", "-P", "builder"]
        for wrong in [["-u", "ann", "-P", "no"], ["-u", "carl", "-P", "x"], []]:
            refused = mosquitto("mosquitto_pub", broker, *wrong, "-t", "a/x", "-m", "1")
            assert "not authorised" in refused.stderr, refused
        sub = subprocess.Popen(
            ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(broker.port), *ann, "-t", "#", "-v"],
            stdout=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: " as " in broker.log() and "u'ann'" in broker.log(), what="mosquitto_sub")
        retained = ["-r", "-q", "1"]
        for topic in ["b/x", "a/x"]:
            done = mosquitto("mosquitto_pub", broker, *bob, "-t", topic, "-m", "1", *retained)
            assert done.returncode == 0, done
        assert sub.stdout.readline() == "a/x 1\n"
        for login, topic, ok in [(ann, "a/x", 1), (ann, "up/ann", 0), (["-u", "eve", "-P", "pw"], "e", 1)]:
            done = mosquitto(
                "mosquitto_pub", broker, "-V", "5", *login, "-t", topic, "-m", "2", "-q", "1"
            )
            assert ("Not authorized" in done.stderr) == bool(ok), done
        got = mosquitto("mosquitto_sub", broker, *ann, "-t", "+/x", "-v", "-C", "1")
        assert got.stdout == "a/x 1\n"
        # Her line is gone.
        users.write_text("bob:builder:topic #\n")
        program.send_signal(signal.SIGHUP)
        wait_until(lambda: "disconnected: not authorized (0x87)" in broker.log(), what="revocation")
        refused = mosquitto("mosquitto_pub", broker, *ann, "-t", "up/ann", "-m", "3")
        assert "not authorised" in refused.stderr
        assert mosquitto("mosquitto_pub", broker, *bob, "-t", "b", "-m", "3").returncode == 0
        sub.kill()
        sub.wait()
    finally:
        program.kill()
        program.wait()


@pytest.mark.parametrize("version", [V311, V5])
def test_the_question_and_the_answer(make_broker, make_program, client, tmp_path, version):
    program = make_program({"answer": "deny"})
    broker = make_broker(config(tmp_path), anonymous=False)
    assert try_(client, broker, version=version) == DENIED
    question = program.asked()
    assert question == {
        "v": 1,
        "id": question["id"],
        "ask": "login",
        "client_id": "c",
        "username": "ann",
        "password": "pw",
        "address": "127.0.0.1",
        "listener": f"{broker.port} 127.0.0.1",
    }
    program.answer = {"answer": "ignore"}
    assert try_(client, broker, version=version) == DENIED
    program.answer = ALLOW
    assert try_(client, broker, version=version, login=None) == 0
    log = broker.log()
    assert "auth_socket denies it" in log and "pw" not in log


def test_the_man_page_has_the_words(make_broker, make_program, client, tmp_path):
    """What it shows as an example is what is sent, and what it shows as an answer is taken."""
    page = (ROOT / "packaging/man/footbridge-auth-socket.5").read_text()
    lines = [json.loads(line) for line in page.splitlines() if line.startswith("{")]
    question, answer, *revocations = lines
    program = make_program({key: answer[key] for key in answer if key != "id"})
    broker = make_broker(config(tmp_path), anonymous=False)
    gw1 = client(broker.port, "gw1", version=V5, login=("ann", "secret"))
    asked = program.asked()
    ours = {"id": asked["id"], "address": "127.0.0.1", "listener": f"{broker.port} 127.0.0.1"}
    assert asked == {**question, **ours}
    for member in [*question, *answer, "password_base64", "certificate", "username"]:
        assert f"\n.B {member}\n" in page, member
    assert gw1.publish("up/gw1", "1", 1) == 0x10
    assert gw1.publish("up/gw2", "1", 1) == DENIED
    for revocation in revocations:
        program.say(revocation)
        assert gw1.closed.wait(8), revocation
        gw1 = client(broker.port, "gw1", version=V5, login=("ann", "secret"))
    assert len(revocations) == 3


def test_auth_socket_fails_closed_and_heals(make_broker, make_program, client, tmp_path):
    broker = make_broker(config(tmp_path), anonymous=False)
    for version in (V311, V5):
        assert try_(client, broker, version=version) == UNAVAILABLE
    assert broker.log().count("cannot be reached: No such file") == 1
    program = make_program()
    wait_until(lambda: try_(client, broker) == 0, what="login")
    wait_until(lambda: "is back; " in broker.log(), what="line in the log")
    # Down again: who is in stays, others wait for it.
    stays = client(broker.port, "stays", version=V5, login=("ann", "pw"))
    program.stop()
    wait_until(lambda: "has closed the connection" in broker.log(), what="line in the log")
    assert try_(client, broker, client_id="other") == UNAVAILABLE
    assert stays.publish("a", "1", 1) in (0, 0x10)
    program.start()
    wait_until(lambda: try_(client, broker, client_id="other") == 0, what="login")
    # A program that is started again has its connection without a login.
    program.stop()
    program.start()
    wait_until(lambda: program.connections, timeout=30, what="connection")
    program.say({"revoke": {"client_id": "stays"}})
    assert stays.closed.wait(8)
    assert stays.closed_reason.value == DENIED


def test_auth_socket_cache(make_broker, make_program, client, tmp_path):
    program = make_program()
    broker = make_broker(config(tmp_path, "auth_socket_cache 1h"), anonymous=False)
    assert try_(client, broker) == 0
    program.answer = {"answer": "allow", "cache": 0}
    assert try_(client, broker, client_id="uncached") == 0
    program.answer = {"answer": "deny"}
    assert try_(client, broker) == 0
    assert try_(client, broker, login=("ann", "other")) == DENIED
    program.stop()
    assert try_(client, broker) == 0
    assert try_(client, broker, login=("ann", "other")) == UNAVAILABLE
    assert try_(client, broker, client_id="uncached") == UNAVAILABLE
    # Nothing is kept.
    text = broker.config_file.read_text().replace("auth_socket_cache 1h", "auth_socket_cache 0")
    broker.config_file.write_text(text)
    broker.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "reloaded" in broker.log(), what="reload")
    program.answer = ALLOW
    program.start()
    wait_until(lambda: try_(client, broker) == 0, what="login")
    program.stop()
    assert try_(client, broker) == UNAVAILABLE


def test_auth_socket_timeout_and_others_meanwhile(make_broker, make_program, client, tmp_path):
    """Whose answer does not come is refused; nobody else waits for it, asked about or not."""
    program = make_program(lambda question: None if question["username"] == "slow" else ALL)
    broker = make_broker(config(tmp_path, "auth_socket_timeout 3"), anonymous=False)
    here = client(broker.port, "here", version=V5, login=("ann", "pw"))
    here.subscribe("a", 1)
    late = []
    slow = threading.Thread(
        target=lambda: late.append(try_(client, broker, login=("slow", "pw"), client_id="slow"))
    )
    slow.start()
    while program.asked()["username"] != "slow":
        pass
    other = client(broker.port, "other", version=V5, login=("bob", "pw"))
    other.publish("a", "1", 1)
    assert here.payloads(1) == ["1"]
    slow.join(20)
    assert late == [UNAVAILABLE]
    wait_until(lambda: "has not answered within 3s" in broker.log(), what="line in the log")
    assert try_(client, broker, client_id="next") == 0
    wait_until(lambda: "is back; 1 logins were refused" in broker.log(), what="line in the log")


HOSTILE = {
    "garbage": (b"hello\n", "it is no JSON: byte 0"),
    "binary": (b"\xff\xfe\x00\n", "it is not UTF-8"),
    "no end": (b"x" * 100_000, "a line of more than 65536 bytes"),
    "gigantic": (b'{"id":1,"acl":"' + b"x" * 100_000 + b'"}\n', "a line of more than 65536 bytes"),
    "nested": (b"[" * 60_000 + b"\n", "it is nested too deep"),
    "neither": (b"{}\n", 'it has neither "id" nor "revoke"'),
    "closed": (b"", "has closed the connection"),
    "half": (b'{"id":1,"answer":"al', "has not answered within 1s"),
    "nothing": (None, "has not answered within 1s"),
    "wrong id": (b'{"id":999,"answer":"allow"}\n', "has answered question 999, which was not asked"),
    "no answer": ({"answer": "yes"}, '"answer" must be "allow", "deny" or "ignore"'),
    "bad rule": ({"answer": "allow", "acl": ["topic a", "topic x#"]}, 'line 2 of "acl": `x#` is no topic'),
    "twice": (b'{"id":1,"answer":"deny","answer":"allow"}\n', "a member is named twice"),
    "version": (b'{"v":2,"id":1,"answer":"allow"}\n', '"v" must be 1'),
    "bad revocation": (b'{"revoke":"all"}\n', '"revoke" must be an object'),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_makes_no_sense_refuses(make_broker, make_program, client, tmp_path, name):
    answer, said = HOSTILE[name]
    program = make_program(answer)
    broker = make_broker(config(tmp_path, "auth_socket_timeout 1"), anonymous=False)
    assert try_(client, broker) == UNAVAILABLE
    wait_until(lambda: said in broker.log(), what=said)
    # Half a line stays half a line until the connection is given up.
    program.answer = ALLOW
    program.hang_up()
    wait_until(lambda: try_(client, broker) == 0, what="login")


def test_a_program_that_revokes_without_end(make_broker, make_program, client, tmp_path):
    program = make_program()
    broker = make_broker(config(tmp_path), anonymous=False)
    here = client(broker.port, "here", version=V5, login=("ann", "pw"))
    flood = b'{"revoke":{"username":"nobody"}}\n' * 1000
    stop = threading.Event()

    def revoke():
        with contextlib.suppress(OSError):
            while not stop.is_set():
                program.say(flood)

    thread = threading.Thread(target=revoke)
    thread.start()
    try:
        here.subscribe("a", 1)
        for n in range(20):
            here.publish("a", str(n), 1)
        assert here.payloads(20) == [str(n) for n in range(20)]
    finally:
        stop.set()
        thread.join()


def test_each_listener_has_its_own(make_broker, make_program, client, tmp_path):
    one, other = make_program(name="one.sock"), make_program({"answer": "deny"}, "other.sock")
    broker = make_broker("", anonymous=False, start=False)
    port = free_port()
    broker.config_file.write_text(
        f"per_listener_settings true\n"
        f"listener {broker.port} 127.0.0.1\nauth_socket {tmp_path}/one.sock\n"
        f"listener {port} 127.0.0.1\nauth_socket {tmp_path}/other.sock\n"
    )
    broker.start()
    assert try_(client, broker) == 0
    assert client(port, "d", login=("ann", "pw"), accepted=False).reason.is_failure
    assert one.asked()["client_id"] == "c" and other.asked()["client_id"] == "d"
    # One has no say about the other's.
    other.answer = ALLOW
    theirs = client(port, "d", version=V5, login=("ann", "pw"))
    ours = client(broker.port, "c", version=V5, login=("ann", "pw"))
    one.say({"revoke": {"username": "ann"}})
    assert ours.closed.wait(8)
    assert theirs.publish("a", "1", 1) in (0, 0x10)


def test_sys_tells_who_waits(make_broker, make_program, client, tmp_path):
    program = make_program(lambda question: ALL if question["username"] == "ann" else None)
    broker = make_broker(config(tmp_path, "sys_interval 1\nauth_socket_timeout 20"), anonymous=False)
    watcher = client(broker.port, "w", login=("ann", "pw"))
    program.answer = lambda question: {"answer": "allow", "acl": ["topic read $SYS/#"]}
    watcher = client(broker.port, "w", login=("bob", "pw"))
    watcher.subscribe("$SYS/broker/connections/logging_in", 0)
    program.answer = None
    threads = [
        threading.Thread(
            target=lambda n=n: try_(client, broker, client_id=str(n), login=("slow", "pw"))
        )
        for n in range(3)
    ]
    with contextlib.suppress(queue.Empty):
        for thread in threads:
            thread.start()
        seen = set()
        while "3" not in seen:
            seen.add(watcher.get().payload.decode())
    assert "3" in seen
    program.stop()
    for thread in threads:
        thread.join(20)
