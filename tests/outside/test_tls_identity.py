"""Who a client is, by its certificate: the name in it has rights, whatever the CONNECT says."""

import queue
import ssl
import subprocess

import pytest

import wire
from certs import Authority
from clients import V5, V311
from harness import IS_FOOTBRIDGE, run
from tls_peers import hang_up, s_client, said, trusting
from wire import Raw

VERSIONS = pytest.mark.parametrize("version", [V311, V5], ids=["3.1.1", "5"])
TLS = pytest.mark.parametrize("tls", ["-tls1_2", "-tls1_3"])

NAME = "use_identity_as_username true"

ACL = """
user meter-7
topic readwrite seven/#
user CN=meter-7,OU=Hall 3,O=Site
topic readwrite whole/#
user operator
topic read #
pattern readwrite own/%u/#
"""


@pytest.fixture
def site(secure, ca, tmp_path):
    """A broker whose TLS listener takes names from certificates, with rights: `site(lines, config)`; the
    plain one asks for a password, as the operator has it."""

    def make(lines=NAME, config="", **options):
        acl, users = tmp_path / "acl", tmp_path / "users"
        acl.write_text(ACL)
        users.write_text("")
        assert run_passwd(users, "operator", "sekrit").returncode == 0
        config = f"acl_file {acl}\npassword_file {users}\n{config}"
        lines = f"require_certificate true\ncafile {ca.cert}\n{lines}"
        broker = secure(ca.issue(), lines, config, anonymous=False, **options)
        broker.acl = acl
        return broker

    return make


def run_passwd(users, name, password):
    if IS_FOOTBRIDGE:
        return run("passwd", "-b", users, name, password)
    return subprocess.run(["mosquitto_passwd", "-b", users, name, password], timeout=20)


def code(port, tls, version=4, login=()):
    """The code of the CONNACK; None where there is none."""
    try:
        with Raw(port, tls=tls) as raw:
            raw.send(wire.connect("code", level=version, login=login))
            answer = raw.receive()
            return answer and answer.body[1]
    except (ssl.SSLError, ConnectionError):
        return None


def heard(watcher, sender, topics):
    """Which of the topics come to the watcher, of what the sender publishes there."""
    for topic in topics:
        sender.publish(topic, "x", 1)
    got = []
    try:
        while True:
            got.append(watcher.get(timeout=1).topic)
    except queue.Empty:
        return got


TOPICS = ["seven/t", "whole/t", "own/meter-7/t", "own/meter-8/t", "own/operator/t"]


@VERSIONS
def test_the_common_name(site, ca, client, version):
    broker = site("use_identity_as_username true")
    watcher = client(broker.port, "watcher", login=("operator", "sekrit"))
    watcher.subscribe("#", 1)
    seven = client(broker.tls_port, "c", tls=trusting(ca, ca.client("meter-7")), version=version)
    assert heard(watcher, seven, TOPICS) == ["seven/t", "own/meter-7/t"]
    eight = client(broker.tls_port, "d", tls=trusting(ca, ca.client("meter-8")), version=version)
    assert heard(watcher, eight, TOPICS) == ["own/meter-8/t"]
    # It may read no more than it may write.
    eight.subscribe("#", 1)
    seven.publish("own/meter-7/t", "secret", 1)
    assert eight.silent()


def test_the_subject(site, ca, client):
    """As RFC 2253 writes it: the last part first."""
    broker = site("use_subject_as_username true")
    watcher = client(broker.port, "watcher", login=("operator", "sekrit"))
    watcher.subscribe("#", 1)
    pair = ca.issue(names=(), subject="/O=Site/OU=Hall 3/CN=meter-7")
    seven = client(broker.tls_port, "c", tls=trusting(ca, pair))
    assert heard(watcher, seven, TOPICS) == ["whole/t"]


def test_a_login_beside_it_does_not_count(site, ca, client):
    """Neither that of somebody who may more, nor a wrong one."""
    broker = site()
    watcher = client(broker.port, "watcher", login=("operator", "sekrit"))
    watcher.subscribe("#", 1)
    for login in [("operator", "sekrit"), ("operator", "wrong"), ("nobody", "x")]:
        pair = trusting(ca, ca.client("meter-7"))
        one = client(broker.tls_port, login[1], tls=pair, login=login)
        assert heard(watcher, one, ["own/operator/t", "own/meter-7/t"]) == ["own/meter-7/t"]


def test_the_other_listener_asks_for_a_password_all_the_same(site, ca):
    broker = site()
    assert code(broker.port, None) == 5
    assert code(broker.port, None, login=("meter-7", "")) != 0
    assert code(broker.port, None, login=("operator", "sekrit")) == 0


@pytest.mark.footbridge
@pytest.mark.parametrize("level, refused", [(4, 5), (5, 0x87)])
def test_a_certificate_without_a_name_is_refused(site, ca, level, refused):
    broker = site()
    pair = ca.issue(names=(), subject="/O=Site/OU=Hall 3")
    assert code(broker.tls_port, trusting(ca, pair), level) == refused
    said(broker, "its certificate has no name that can be its user name")


@pytest.mark.footbridge
def test_without_require_certificate_nobody_has_a_name(secure, ca):
    broker = secure(ca.issue(), f"cafile {ca.cert}\n{NAME}")
    assert code(broker.tls_port, trusting(ca)) == 5
    said(broker, "see use_identity_as_username and require_certificate")


@TLS
def test_a_resumed_session_has_the_same_name(site, ca, client, tmp_path, tls):
    """Though its client has not shown the certificate again."""
    broker = site()
    watcher = client(broker.port, "watcher", login=("operator", "sekrit"))
    watcher.subscribe("#", 1)
    pair, session = ca.client("meter-7"), tmp_path / "session"
    packets = [wire.connect("c")]
    packets += [wire.publish(topic, b"x", 1, 1 + n) for n, topic in enumerate(TOPICS)]
    talk = b"".join([*packets, wire.GOODBYE])
    first = ["-cert", pair.cert, "-key", pair.key, "-sess_out", session]
    for options, kind in [(first, "New"), (["-sess_in", session], "Reused")]:
        assert f"{kind}, TLS" in s_client(broker.tls_port, tls, *options, send=talk)
        got = [watcher.get().topic for _ in range(2)]
        assert got == ["seven/t", "own/meter-7/t"] and watcher.silent()


@pytest.mark.footbridge
def test_rights_that_change_with_sighup_change_for_who_is_connected(site, ca, client):
    broker = site()
    watcher = client(broker.port, "watcher", login=("operator", "sekrit"))
    watcher.subscribe("#", 1)
    seven = client(broker.tls_port, "c", tls=trusting(ca, ca.client("meter-7")))
    assert heard(watcher, seven, ["seven/t"]) == ["seven/t"]
    broker.acl.write_text(ACL.replace("seven/#", "eight/#"))
    hang_up(broker)
    assert heard(watcher, seven, ["seven/t", "eight/t"]) == ["eight/t"]
    assert not seven.closed.is_set()


@pytest.mark.footbridge
def test_the_name_may_be_the_client_id(site, ca, client):
    broker = site(f"{NAME}\nuse_username_as_clientid true")
    client(broker.tls_port, "whatever", tls=trusting(ca, ca.client("meter-7")))
    said(broker, " as meter-7 ")


@pytest.mark.footbridge
@pytest.mark.parametrize("name", ["#", "+", "meter-7/#", "a/b"])
def test_a_name_is_no_pattern(site, ca, client, name):
    """One with a wildcard or a slash in it gets nothing of `pattern own/%u/#`."""
    broker = site()
    other = client(broker.tls_port, "c", tls=trusting(ca, ca.client("meter-8")))
    # OpenSSL's -subj has slashes between its parts, and + within them.
    escaped = name.replace("/", "\\/").replace("+", "\\+")
    pair = ca.issue(names=(), subject=f"/O=Site/CN={escaped}")
    evil = client(broker.tls_port, "evil", tls=trusting(ca, pair))
    evil.subscribe("#", 1)
    other.publish("own/meter-8/t", "secret", 1)
    evil.publish("own/meter-8/t", "forged", 1)
    assert evil.silent()


@pytest.mark.footbridge
def test_a_name_does_not_forge_the_log(site, ca):
    broker = site(quiet=True)
    pair = ca.issue(names=(), subject="/O=Site/CN=meter\n1: Error: forged\x1b[31m")
    code(broker.tls_port, trusting(ca, pair))
    with Raw(broker.port) as raw:  # behind it
        raw.send(wire.connect("anonymous"))
        raw.receive()
    said(broker, "anonymous")
    log = broker.log()
    assert "\x1b" not in log
    assert not any(line.startswith("1: Error") for line in log.splitlines()), log


@pytest.mark.footbridge
def test_another_ca_gives_no_names(site, ca, tmp_path):
    other = Authority(tmp_path, "Another CA")
    broker = site()
    assert code(broker.tls_port, trusting(ca, other.client("meter-7"))) is None
    assert code(broker.tls_port, trusting(ca, ca.client("meter-7"))) == 0
