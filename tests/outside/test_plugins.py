"""Mosquitto's plugins for password and ACL files, which stand for password_file and acl_file."""

import pytest

from clients import V5, V311
from harness import free_port, run, wait_until
from test_auth import passwords

pytestmark = pytest.mark.footbridge
VERSIONS = pytest.mark.parametrize("version", [V311, V5])

PASSWORDS = "/usr/lib/mosquitto_password_file.so\nplugin_opt_password_file"
RULES = "/usr/lib/mosquitto_acl_file.so\nplugin_opt_acl_file"
ACL = "topic read public/#\nuser alice\ntopic readwrite alice/#\n"


@pytest.fixture
def files(tmp_path):
    """A password file with alice and bob, and an ACL file in which alice has a tree of her own."""
    acl = tmp_path / "acl"
    acl.write_text(ACL)
    acl.chmod(0o644)
    return passwords(tmp_path / "auth"), acl


def refused(client, port, version, login):
    return client(port, "c", version=version, login=login, accepted=False).reason.value != 0


def reload(broker, says="Configuration reloaded."):
    before = broker.log().count(says)
    broker.process.send_signal(1)
    wait_until(lambda: broker.log().count(says) > before, what=says)


@VERSIONS
@pytest.mark.parametrize("word", ["plugin", "global_plugin"])
def test_plugin_and_global_plugin(make_broker, client, files, version, word):
    users, acl = files
    broker = make_broker(f"{word} {PASSWORDS} {users}\n{word} {RULES} {acl}", anonymous=False)
    for login in [("alice", "builder"), ("carol", "wonder"), None]:
        assert refused(client, broker.port, version, login), login
    alice = client(broker.port, "a", version=version, login=("alice", "wonder"))
    bob = client(broker.port, "b", version=version, login=("bob", "builder"))
    for c in (alice, bob):
        c.subscribe("#", 1)
    bob.publish("alice/1", "not hers", 1)
    alice.publish("alice/2", "hers", 1)
    assert alice.payloads(1) == ["hers"]
    assert alice.silent(0.3) and bob.silent(0.1)

    # SIGHUP takes new files, a new line of a user and new lines of plugins.
    acl.write_text(ACL + "user bob\ntopic read alice/#\n")
    reload(broker)
    alice.publish("alice/3", "for both", 1)
    assert (alice.payloads(1), bob.payloads(1)) == (["for both"], ["for both"])
    text = broker.config_file.read_text()
    broker.config_file.write_text(text.replace(f"{word} {RULES} {acl}", ""))
    reload(broker)
    bob.publish("alice/4", "no rules", 1)
    assert alice.payloads(1) == ["no rules"]


@VERSIONS
def test_plugin_load_and_plugin_use(make_broker, client, files, version):
    """For the listeners that use them, without per_listener_settings; an absent client has the rules of
    the listener it used last, over a kill, too."""
    users, acl = files
    second = free_port()
    broker = make_broker(
        "allow_anonymous true\nplugin_load users /usr/lib/mosquitto_password_file.so\n"
        f"plugin_opt_password_file {users}\nplugin_load rules /usr/lib/mosquitto_acl_file.so\n"
        f"listener {second} 127.0.0.1\nlistener_allow_anonymous false\n"
        f"plugin_use users\nplugin_use rules\nplugin_opt_acl_file {acl}",
        durable=True,
        anonymous=False,
    )
    assert refused(client, second, version, None)
    assert refused(client, second, version, ("alice", "no"))
    assert client(broker.port, "c", version=version, login=("alice", "no")).reason.value == 0
    absent = client(
        second, "a", version=version, login=("alice", "wonder"), clean=False, expiry=600
    )
    absent.subscribe("#", 1)
    absent.close()
    broker.restart("kill")
    writer = client(broker.port, "w", version=version)
    writer.subscribe("#", 1)
    for topic in ("alice/1", "other"):
        writer.publish(topic, topic, 1)
    assert writer.payloads(2) == ["alice/1", "other"]
    back = client(second, "a", version=version, login=("alice", "wonder"), clean=False, expiry=600)
    assert back.payloads(1) == ["alice/1"]
    assert back.silent(0.3)
    back.publish("other", "no", 1)
    assert writer.silent(0.3)


def test_other_plugins_are_named_with_what_takes_their_place(tmp_path):
    config = tmp_path / "x.conf"
    config.write_text(
        "listener 1883\nplugin /usr/lib/mosquitto_dynamic_security.so\n"
        "plugin_opt_config_file /x\nplugin_load p /usr/lib/mosquitto_persist_sqlite.so\n"
        "plugin /usr/lib/mosquitto_acl_file.so\n"
    )
    checked = run("-c", config, "--test-config")
    assert checked.returncode != 0
    said = checked.stdout + checked.stderr
    for line in [
        ":2: plugin: not supported: footbridge has no clients and roles that are changed over MQTT; "
        "use password_file and acl_file, or auth_socket",
        ":3: plugin_opt_config_file: not supported: ",
        ":4: plugin_load: not supported: footbridge has a store of its own; use `persistence true`",
        ":5: plugin: the plugin has no file; add a line `plugin_opt_acl_file FILE` below it",
    ]:
        assert line in said, (line, said)
