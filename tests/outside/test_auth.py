"""password_file, allow_anonymous and acl_file, in Mosquitto's formats."""

import contextlib
import socket
import subprocess

import pytest

import wire
from clients import V5, V311
from harness import run, wait_until
from wire import Raw

VERSIONS = pytest.mark.parametrize("version", [V311, V5])

ACL = """\
# everyone
topic read public/#
topic $own/x

user alice
topic readwrite alice/#
topic write inbox/+
topic deny alice/secret

user bob
topic read alice/#

pattern readwrite devices/%c/#
pattern write users/%u/log
"""


def passwords(folder, *options):
    """A password file as mosquitto_passwd writes it: alice with "wonder", bob with "builder"."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "passwd"
    for n, (user, password) in enumerate([("alice", "wonder"), ("bob", "builder")]):
        create = ["-c"] if n == 0 else []
        command = ["mosquitto_passwd", *options, *create, "-b", str(file), user, password]
        subprocess.run(command, check=True, capture_output=True, timeout=20)
    file.chmod(0o644)
    return file


@VERSIONS
@pytest.mark.parametrize("hash_", ["sha512", "sha512-pbkdf2"])
def test_password_file(make_broker, client, tmp_path, version, hash_):
    file = passwords(tmp_path / "auth", "-H", hash_)
    broker = make_broker(f"password_file {file}\nallow_anonymous false", anonymous=False)

    def try_(login):
        c = client(broker.port, "c", version=version, login=login, accepted=False)
        return c.reason.value

    assert try_(("alice", "wonder")) == 0
    refused = 0x87 if version == V5 else 0x86
    # paho maps return codes 4 and 5 of 3.1.1 to the reason codes 0x86 and 0x87.
    for login in [("alice", "builder"), ("carol", "wonder"), ("alice", None), None]:
        assert try_(login) in (refused, 0x87), login
    assert try_(("bob", "builder")) == 0


def test_anonymous_beside_passwords(make_broker, client, tmp_path):
    file = passwords(tmp_path / "auth")
    broker = make_broker(f"password_file {file}")
    assert client(broker.port, "c").reason.value == 0
    assert client(broker.port, "c", login=("bob", "no"), accepted=False).reason.value != 0
    assert client(broker.port, "c", login=("bob", "builder")).reason.value == 0


def test_a_listener_alone_lets_nobody_in(make_broker, client):
    """As since Mosquitto 2.0: with a listener, allow_anonymous is false unless said."""
    broker = make_broker(anonymous=False)
    assert client(broker.port, "c", accepted=False).reason.value != 0


@VERSIONS
def test_acl(make_broker, client, tmp_path, version):
    acl = tmp_path / "acl"
    acl.write_text(ACL)
    acl.chmod(0o644)
    file = passwords(tmp_path / "auth")
    broker = make_broker(f"password_file {file}\nacl_file {acl}")

    def connect(client_id, user=None, password=None):
        return client(
            broker.port, client_id, version=version, login=(user, password) if user else None
        )

    alice, bob = connect("a1", "alice", "wonder"), connect("b1", "bob", "builder")
    someone = connect("s1")
    for c in (alice, bob, someone):
        c.subscribe([("alice/#", 1), ("public/#", 1), ("devices/#", 1), ("inbox/#", 1)])
    alice.publish("alice/x", "1", 1)
    assert (alice.payloads(1), bob.payloads(1)) == (["1"], ["1"])
    assert someone.silent()
    for c, topic in [(bob, "alice/x"), (someone, "public/x"), (bob, "inbox/b"), (alice, "other")]:
        reason = c.publish(topic, "no", 1)
        assert version != V5 or reason == 0x87, (topic, reason)
    alice.publish("inbox/a", "w", 1)  # may write, nobody may read
    assert all(c.silent(0.3) for c in (alice, bob, someone))


def test_acl_patterns(make_broker, client, tmp_path):
    acl = tmp_path / "acl"
    acl.write_text(ACL + "topic read users/#\nuser watcher\ntopic read users/#\n")
    acl.chmod(0o644)
    file = passwords(tmp_path / "auth")
    subprocess.run(
        ["mosquitto_passwd", "-b", str(file), "watcher", "w"], check=True, capture_output=True
    )
    broker = make_broker(f"password_file {file}\nacl_file {acl}")
    watcher = client(broker.port, "w1", login=("watcher", "w"))
    watcher.subscribe("users/#", 1)
    alice = client(broker.port, "a1", login=("alice", "wonder"))
    alice.subscribe("devices/#", 1)
    alice.publish("devices/a1/up", "mine", 1)
    alice.publish("devices/b1/up", "another's", 1)
    alice.publish("users/bob/log", "another's", 1)
    alice.publish("users/alice/log", "mine", 1)
    assert (alice.payloads(1), watcher.payloads(1)) == (["mine"], ["mine"])
    assert alice.silent(0.3) and watcher.silent(0.3)


@pytest.mark.footbridge
def test_a_name_with_a_slash_has_nothing_of_another_client(make_broker, client, tmp_path):
    file = tmp_path / "acl"
    file.write_text("\ufeffpattern readwrite devices/%c/#\ntopic read all\ntopic write all\n")
    broker = make_broker(f"acl_file {file}")
    own = client(broker.port, "a")
    own.subscribe("devices/#")
    for sly in ("a/b", "+", "#", "a/#"):
        for _ in range(2):
            other = client(broker.port, sly)
            other.subscribe("#")
            other.publish("devices/a/b/x", sly)
            other.close()
    own.publish("devices/a/b/x", "own")
    assert own.payloads(1) == ["own"]
    told = [line for line in broker.log().splitlines() if "lines of acl_file with %c" in line]
    assert len(told) == 4, told


@pytest.mark.footbridge
def test_a_hash_that_cannot_be_checked_stops_the_start_only(make_broker, client, tmp_path):
    file = tmp_path / "passwd"
    run("passwd", "-c", "-b", file, "ann", "pw")
    broker = make_broker(f"password_file {file}")
    with open(file, "a") as text:
        text.write("bob:$argon2i$v=19$m=47104,t=1,p=1$c2FsdA$aGFzaA\n")
    broker.process.send_signal(1)
    wait_until(lambda: "stays as it was" in broker.log(), what="reload")
    assert client(broker.port, "c", login=("ann", "pw"), accepted=False).reason.value == 0
    for check in ([], ["--test-config"]):
        done = run("-c", broker.config_file, *check)
        assert done.returncode == 1 and f"{file}:2: a password hash by Argon2" in done.stderr, done


@pytest.mark.footbridge
def test_nobody_waits_for_the_passwords_of_others(make_broker, tmp_path):
    """Each takes milliseconds at least to check. The operator's thread is another's, too."""
    file = tmp_path / "passwd"
    run("passwd", "-c", "-b", "-I", 10_000, file, "ann", "pw")
    broker = make_broker(f"password_file {file}\nlogin_failures 0")
    device = Raw(broker.port, "device")
    with contextlib.ExitStack() as stack:
        storm = []
        for n in range(200):
            guess = socket.create_connection(("127.0.0.1", broker.port), timeout=60)
            storm.append(stack.enter_context(guess))
            guess.sendall(wire.connect(f"s{n}", login=("ann", "guessed")) + wire.PING)
        device.send(wire.PING)
        device.expect(wire.PINGRESP)
        storm[-1].setblocking(False)
        with pytest.raises(BlockingIOError):
            storm[-1].recv(1)
        storm[-1].settimeout(60)
        late = Raw(broker.port)
        late.send(wire.connect("late", login=("ann", "pw")) + wire.PING)
        late.socket.settimeout(60)
        assert late.expect(wire.CONNACK).body == b"\0\0"
        late.expect(wire.PINGRESP)  # What came behind the CONNECT has waited with it.
        for guess in storm:
            assert guess.recv(5) == b"\x20\x02\0\x05"
            assert guess.recv(1) == b""
    broker.stop()


def test_our_passwd_and_mosquittos_read_each_other(make_broker, client, tmp_path):
    file = passwords(tmp_path / "auth")
    done = run("passwd", "-b", file, "carol", "secret")
    assert done.returncode == 0, done.stderr
    done = run("passwd", "-D", file, "bob")
    assert done.returncode == 0, done.stderr
    users = [line.split(":")[0] for line in file.read_text().splitlines()]
    assert users == ["alice", "carol"]
    broker = make_broker(f"password_file {file}\nallow_anonymous false", anonymous=False)
    assert client(broker.port, "c", login=("carol", "secret")).reason.value == 0
    assert client(broker.port, "c", login=("bob", "builder"), accepted=False).reason.value != 0


def test_mosquitto_reads_what_our_passwd_writes(make_upstream, client, tmp_path):
    """As it is written without options, with all of them that Mosquitto has had, and by -U."""
    file = tmp_path / "passwd"
    file.write_text("plain:text\n")
    file.chmod(0o600)
    for arguments in (
        ["-U", file],
        ["-b", file, "ann", "1"],
        ["-b", "-H", "sha512", file, "old", "2"],
        ["-b", "-I", 1_000, file, "many", "3"],
    ):
        done = run("passwd", *arguments)
        assert done.returncode == 0, done.stderr
    broker = make_upstream(f"password_file {file}\nallow_anonymous false", anonymous=False)
    for login in (("plain", "text"), ("ann", "1"), ("old", "2"), ("many", "3")):
        assert client(broker.port, "c", login=login).reason.value == 0, login
        refused = client(broker.port, "c", login=(login[0], "x"), accepted=False)
        assert refused.reason.value != 0, login


@pytest.mark.footbridge
def test_argon2(make_broker, client, tmp_path):
    file = tmp_path / "passwd"
    run("passwd", "-c", "-b", "-H", "argon2id", file, "ann", "pw")
    assert file.read_text().startswith("ann:$argon2id$v=19$m=7168,t=5,p=1$")
    broker = make_broker(f"password_file {file}\nmemory_limit 16M")
    assert client(broker.port, "c", login=("ann", "pw")).reason.value == 0
    assert client(broker.port, "c", login=("ann", "no"), accepted=False).reason.value != 0
    with open(file, "a") as text:
        text.write(f"big:$argon2id$v=19$m=47104,t=1,p=1${'A' * 22}${'A' * 86}\n")
    done = run("-c", broker.config_file, "--test-config")
    wanted = f"{file}:2: to check this password takes 47104 KB of memory, and it may take 16384"
    assert done.returncode == 1 and wanted in done.stderr, done


def test_retained_messages_need_a_publisher_who_still_may(make_broker, client, tmp_path):
    """check_retain_source, which is on by default."""
    acl = tmp_path / "acl"
    acl.write_text("user bob\ntopic read #\nuser alice\ntopic readwrite #\n")
    acl.chmod(0o644)
    file = passwords(tmp_path / "auth")
    broker = make_broker(f"password_file {file}\nacl_file {acl}", durable=True)
    alice = client(broker.port, "a1", login=("alice", "wonder"))
    alice.publish("kept", "1", 1, retain=True)
    alice.publish("lost", "1", 1, retain=True)
    acl.write_text("user bob\ntopic read #\nuser alice\ntopic readwrite kept\n")
    broker.restart("stop")
    someone = client(broker.port, "s1", login=("bob", "builder"))
    someone.subscribe("#", 1)
    assert someone.get().topic == "kept"
    assert someone.silent()
