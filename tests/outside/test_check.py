"""--test-config and check: everything that would stop the start, and what it would lead to, in one run, for
anybody, beside a broker."""

import json
import os
import pathlib
import subprocess
import tempfile
import time

import pytest

import certs
from harness import FOOTBRIDGE, free_port, run, wait_until

pytestmark = pytest.mark.footbridge


def check(tmp_path, text, *options, **run_options):
    file = tmp_path / "checked.conf"
    file.write_text(text)
    return run("-c", file, "--test-config", *options, timeout=30, **run_options)


def test_everything_at_once(tmp_path):
    acl, passwords = tmp_path / "acl", tmp_path / "passwd"
    acl.write_text("topik a\nuser\n")
    passwords.write_text("bob:$argon2i$v=19$m=47104,t=1,p=1$c2FsdA$aGFzaA\n")
    done = check(
        tmp_path,
        f"""\
persistence true
persistence_location {tmp_path}/nowhere
log_dest file {tmp_path}/none/log
pid_file {tmp_path}/no/pid
user no-such-user
acl_file {acl}
password_file {passwords}
frobnicate 7
listener 25001 127.0.0.1
listener 25001
listener 25002 nobody.invalid
listener 25003
protocol http
http_dir {tmp_path}/www
connection a
address 127.0.0.1:25001
topic # both 1
connection b
address nobody.invalid
topic #
connection c
topic #
""",
    )
    assert done.returncode == 1
    for line in [
        "checked.conf:8: frobnicate",
        "checked.conf:10: listener 25001: the listener of",
        "checked.conf:21: connection c: the bridge has no address",
        f"persistence_location: {tmp_path}/nowhere: the folder does not exist",
        f"log_dest: {tmp_path}/none: the folder does not exist",
        f"pid_file: {tmp_path}/no: the folder does not exist",
        "user: there is no user `no-such-user`",
        f"{acl}:1: ",
        f"{acl}:2: ",
        f"{passwords}:1: ",
        "nobody.invalid port 25002: ",
        f"http_dir {tmp_path}/www",
        "connection a: address 127.0.0.1 port 25001 is a listener of this broker",
    ]:
        assert line in done.stderr, f"{line}\n{done.stderr}"
    assert len(done.stderr.splitlines()) == 13, done.stderr
    assert "connection b: address nobody.invalid does not resolve" in done.stdout


def test_what_a_start_would_wait_for_is_told(tmp_path):
    done = check(
        tmp_path,
        f"listener 25001 203.0.113.77\nlistener 25002\nbind_interface none0\n"
        f"listener 0 {tmp_path}/none/mqtt.sock\npersistence true\npersistence_location {tmp_path}\n",
    )
    assert done.returncode == 0, done.stderr
    for says in ("203.0.113.77 port 25001", "bind_interface none0", f"{tmp_path}/none/mqtt.sock"):
        assert f"Warning: cannot listen on" in done.stdout and says in done.stdout


def test_a_store_of_mosquitto_is_named(make_broker, tmp_path):
    broker = make_broker(durable=True, start=False)
    (broker.folder / "store/mosquitto.db").write_bytes(b"\0\xb5\0mosquitto db\0\0\0\0\0\0\0\6")
    done = run("-c", broker.config_file, "--test-config")
    says = f"{broker.folder}/store/mosquitto.db is not read"
    assert done.returncode == 0 and says in done.stdout
    broker.start()
    wait_until(lambda: says in broker.log(), what="line in the log")


def test_anybody_may_check_beside_a_broker(make_broker, tmp_path):
    """Ports that are taken or root's, and who the broker becomes, are not the check's."""
    acl = tmp_path / "acl"
    acl.write_text("topic #\n")
    acl.chmod(0o600)
    broker = make_broker(
        f"listener 80 127.0.0.9\nuser root\nacl_file {acl}", start=False, durable=True
    )
    config = broker.config_file
    text = config.read_text()
    config.write_text(text.replace("listener 80 127.0.0.9\n", ""))
    broker.start()
    config.write_text(text)
    as_nobody = {"user": 65534, "group": 65534} if os.geteuid() == 0 else {}
    for path in [config, *config.parents]:
        if path.stat().st_uid == os.geteuid() and path.is_relative_to("/tmp"):
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
    done = subprocess.run(
        [FOOTBRIDGE, "-c", config, "--test-config"], capture_output=True, text=True, **as_nobody
    )
    assert done.returncode == 0, done.stderr
    assert not as_nobody or f"{acl}: cannot be read" in done.stdout
    assert broker.alive()


def test_a_name_server_that_is_silent_is_not_waited_for_long(tmp_path):
    """All names together have five seconds, whatever the resolver's own time-outs are."""
    names = "\n".join(
        f"connection c{n}\naddress n{n}.invalid\nremote_clientid c{n}\ntopic #" for n in range(20)
    )
    begun = time.monotonic()
    done = check(tmp_path, names)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("does not resolve") == 20
    assert time.monotonic() - begun < 25


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_who_the_broker_becomes_must_be_able_to_write(tmp_path):
    (tmp_path / "store").mkdir(mode=0o700)
    text = f"persistence true\npersistence_location {tmp_path}/store\nuser nobody\nlistener 1\n"
    done = check(tmp_path, text)
    assert done.returncode == 1 and "`user nobody` may not write there" in done.stderr


def test_a_bridge_to_the_broker_itself_does_not_start(tmp_path):
    port = free_port()
    file = tmp_path / "loop.conf"
    file.write_text(f"listener {port}\nconnection a\naddress localhost:{port}\ntopic # both 1\n")
    done = run("-c", file)
    assert done.returncode == 1 and "is a listener of this broker" in done.stderr


def test_what_nothing_can_run_in_is_a_mistake(tmp_path):
    done = check(tmp_path, "memory_limit 1\nlistener 1883 127.0.0.1\n")
    assert done.returncode != 0 and "at least 64K" in done.stdout + done.stderr


def survey(file, *options):
    """`footbridge check`: the exit status and the report."""
    done = run("check", "-c", file, "--json", *options, timeout=30)
    return done.returncode, json.loads(done.stdout)


def found(report):
    return {(one["severity"], one["line"]): one["what"] for one in report["findings"]}


def test_what_a_configuration_would_do(tmp_path):
    """One finding of each kind, with its line; and what the report for people looks like."""
    authority = certs.Authority(tmp_path / "ca")
    old = authority.issue("localhost", valid=(certs.in_days(-9), certs.in_days(-1)))
    soon = authority.issue("localhost", valid=(certs.in_days(-9), certs.in_days(9)))
    passwords = tmp_path / "passwords"
    passwords.write_text("")
    passwords.chmod(0o600)
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.geteuid() and path.is_relative_to("/tmp/"):
            path.chmod(path.stat().st_mode | 0o055)
    file = tmp_path / "checked.conf"
    file.write_text(f"""\
per_listener_settings true
listener 25001
allow_anonymous true
listener 25002
password_file {passwords}
listener 25003 127.0.0.1
allow_anonymous true
certfile {soon.cert}
keyfile {soon.key}
listener 25004
frobnicate 7
listener 25005 127.0.0.1
allow_anonymous true
certfile {old.cert}
keyfile {old.key}
connection a
address 127.0.0.1:25001
topic # both 1
connection b
address nobody.invalid
remote_username u
remote_password p
topic #
max_queued_bytes 0
""")
    file.chmod(0o644)
    status, report = survey(file)
    assert status == 1 and report["serious"] is True
    findings = found(report)
    for severity, line, says in [
        ("serious", 3, "read and publish everything"),
        ("warning", 4, "passwords and messages cross the network"),
        ("warning", 6, "certificate expires in"),
        ("serious", 10, "nobody gets in"),
        ("serious", 11, "unknown directive"),
        ("serious", 12, "certificate has expired"),
        ("serious", 17, "is a listener of this broker"),
        ("warning", 20, "its password and all that it carries"),
        ("serious", 22, "everybody can read it"),
        ("note", 23, "goes up at QoS 0"),
        ("warning", 24, "queues have no bound"),
    ]:
        assert says in findings.get((severity, line), ""), (line, findings)
    assert any("does not resolve" in one["what"] for one in report["findings"])
    assert [one["beyond_loopback"] for one in report["listeners"]] == [True, True, False, True, False]
    assert [one["tls"] for one in report["listeners"]] == ["no TLS", "no TLS", "TLS", "no TLS", "TLS"]
    done = run("check", "-c", file, timeout=30)
    assert done.returncode == 1 and done.stderr == ""
    assert f"serious: {file}:3: listener 25001: whoever reaches every address" in done.stdout
    assert "to do: set allow_anonymous false and a password_file" in done.stdout


def test_nothing_serious_is_status_0(tmp_path):
    file = tmp_path / "good.conf"
    file.write_text("listener 25001 127.0.0.1\nallow_anonymous true\n")
    status, report = survey(file)
    assert status == 0 and report["serious"] is False
    assert [one["severity"] for one in report["findings"]] == ["note"]


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="/dev/shm is not there")
def test_a_store_in_ram_is_serious():
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        file = pathlib.Path(folder, "x.conf")
        file.write_text(f"listener 25001 127.0.0.1\nallow_anonymous true\npersistence true\n"
                        f"persistence_location {folder}\n")
        status, report = survey(file)
        assert status == 1 and "lies in RAM (tmpfs at /dev/shm)" in found(report)["serious", 4]
