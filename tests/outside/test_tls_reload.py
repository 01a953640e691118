"""SIGHUP takes new certificates, CAs and revocation lists for new connections and drops nobody; sessions
of TLS are resumed, as long as that is safe."""

import re
import shutil
import ssl

import pytest

import wire
from certs import Authority, Pair, bundle
from harness import free_port, run
from tls_peers import hang_up, s_client, said, trusting
from wire import Raw

# Debian's Mosquitto reads its files anew, too, but does not say when it has.
pytestmark = pytest.mark.footbridge

VERSIONS = pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])

CERTIFICATE_WANTED = "require_certificate true\ncafile"


@pytest.fixture
def place(tmp_path):
    """Where a listener's certificate and key lie: `place(pair)` puts others there."""
    held = Pair(tmp_path / "listener.pem", tmp_path / "listener.key")

    def put(pair):
        shutil.copy(pair.cert, held.cert)
        shutil.copy(pair.key, held.key)
        return held

    return put


def shown(port):
    """The subject of the certificate that the listener shows."""
    return re.search(r"subject=(.*)", s_client(port))[1]


def enters(port, context):
    """Whether a client gets as far as its CONNACK."""
    try:
        with Raw(port, tls=context) as raw:
            raw.send(wire.connect("c"))
            return raw.receive() is not None
    except (ssl.SSLError, ConnectionError):
        return False


def test_a_new_certificate_is_for_those_who_come(secure, ca, client, place, tmp_path):
    broker = secure(place(ca.issue("old")))
    stays = client(broker.tls_port, "stays", tls=trusting(ca))
    stays.subscribe("t", 1)
    # Another kind of key, another CA.
    other = Authority(tmp_path, "Another CA")
    place(other.issue("new", key="RSA"))
    assert "old" in shown(broker.tls_port)
    hang_up(broker)
    assert "new" in shown(broker.tls_port)
    comes = client(broker.tls_port, "comes", tls=trusting(other))
    with pytest.raises(ssl.SSLError):
        Raw(broker.tls_port, tls=trusting(ca))
    comes.publish("t", "from the new to the old", 1)
    stays.publish("t", "and back to itself", 1)
    assert stays.payloads(2) == ["from the new to the old", "and back to itself"]
    assert not stays.closed.is_set()
    said(broker, "CN=new")


def test_a_mistake_changes_nothing(secure, ca, client, place):
    good = ca.issue("old")
    held = place(good)
    broker = secure(held)
    stays = client(broker.tls_port, "stays", tls=trusting(ca))
    stays.subscribe("t", 1)
    mistakes = [
        (lambda: shutil.copy(ca.issue().key, held.key), "is not the private key of"),
        (lambda: shutil.copy(good.encrypted().key, held.key), "needs a pass phrase"),
        (lambda: held.cert.write_text(""), "has no certificate"),
        (lambda: held.cert.unlink(), "cannot be read"),
    ]
    for wrong, says in mistakes:
        wrong()
        hang_up(broker, says)
        assert "old" in shown(broker.tls_port)
        check = run("-c", broker.config_file, "--test-config")
        assert check.returncode != 0 and says in check.stdout + check.stderr
        place(good)
    place(ca.issue("mended"))
    hang_up(broker)
    assert "mended" in shown(broker.tls_port)
    stays.publish("t", "still here", 1)
    assert stays.payloads(1) == ["still here"]


def test_what_else_is_new_counts_where_a_certificate_cannot_be_used(secure, ca, client, place, tmp_path):
    held, acl = place(ca.issue("old")), tmp_path / "acl"
    acl.write_text("topic read #\n")
    broker = secure(held, config=f"acl_file {acl}")
    held.cert.unlink()
    acl.write_text("topic readwrite #\n")
    hang_up(broker)
    said(broker, "The certificates of this listener stay as they were")
    assert "old" in shown(broker.tls_port)
    one = client(broker.tls_port, "one", tls=trusting(ca))
    one.subscribe("t", 1)
    one.publish("t", "by the new rules", 1)
    assert one.payloads(1) == ["by the new rules"]


def test_a_key_that_cannot_be_read_again_goes_on(secure, ca, place, tmp_path):
    """As one that only root can read, when rights are given up."""
    pair, crl, held = ca.client("meter-7"), tmp_path / "crl", place(ca.issue("old"))
    shutil.copy(ca.crl(), crl)
    broker = secure(held, f"{CERTIFICATE_WANTED} {ca.cert}\ncrlfile {crl}")
    assert enters(broker.tls_port, trusting(ca, pair))
    held.key.unlink()
    ca.revoke(pair)
    shutil.copy(ca.crl(), crl)
    hang_up(broker)
    assert not enters(broker.tls_port, trusting(ca, pair))
    assert enters(broker.tls_port, trusting(ca, ca.client("meter-8")))


def test_a_revocation_list_of_another_ca(secure, ca, tmp_path):
    """It does not say who is revoked, as with OpenSSL."""
    other, pair = Authority(tmp_path, "Another CA"), ca.client("meter-7")
    broker = secure(ca.issue(), f"{CERTIFICATE_WANTED} {ca.cert}\ncrlfile {other.crl()}")
    assert not enters(broker.tls_port, trusting(ca, pair))
    said(broker, "crlfile has no list of the CA that has signed it")


def test_a_new_revocation_list(secure, ca, client, tmp_path):
    pair, crl = ca.client("meter-7"), tmp_path / "crl"
    shutil.copy(ca.crl(), crl)
    broker = secure(ca.issue(), f"{CERTIFICATE_WANTED} {ca.cert}\ncrlfile {crl}")
    stays = client(broker.tls_port, "stays", tls=trusting(ca, pair))
    stays.subscribe("t", 1)
    ca.revoke(pair)
    shutil.copy(ca.crl(), crl)
    hang_up(broker)
    assert not enters(broker.tls_port, trusting(ca, pair))
    assert enters(broker.tls_port, trusting(ca, ca.client("meter-8")))
    stays.publish("t", "who is connected stays", 1)
    assert stays.payloads(1) == ["who is connected stays"]


def test_new_cas(secure, ca, client, tmp_path):
    other, cas = Authority(tmp_path, "Another CA"), tmp_path / "cas"
    old, new = ca.client("old"), other.client("new")
    bundle(cas, ca.cert)
    broker = secure(ca.issue(whole=True), f"{CERTIFICATE_WANTED} {cas}")
    stays = client(broker.tls_port, "stays", tls=trusting(ca, old))
    stays.subscribe("t", 1)
    assert not enters(broker.tls_port, trusting(ca, new))
    bundle(cas, ca.cert, other.cert)
    hang_up(broker)
    assert enters(broker.tls_port, trusting(ca, new)) and enters(broker.tls_port, trusting(ca, old))
    bundle(cas, other.cert)
    hang_up(broker)
    assert enters(broker.tls_port, trusting(ca, new))
    assert not enters(broker.tls_port, trusting(ca, old))
    stays.publish("t", "still here", 1)
    assert stays.payloads(1) == ["still here"]


@VERSIONS
def test_a_session_goes_on(secure, ca, place, tmp_path, version):
    """After a SIGHUP that has nothing new, too; with another certificate it begins anew without failing."""
    broker = secure(place(ca.issue()))
    session = tmp_path / "session"
    first = s_client(broker.tls_port, version, "-sess_out", session)
    assert "New, TLS" in first and session.exists()
    for _ in range(2):
        again = s_client(broker.tls_port, version, "-sess_in", session)
        assert "Reused, TLS" in again and "\x20\x02\x00\x00" in again, again
    hang_up(broker)
    assert "Reused, TLS" in s_client(broker.tls_port, version, "-sess_in", session)
    place(ca.issue())
    hang_up(broker)
    anew = s_client(broker.tls_port, version, "-sess_in", session)
    assert "New, TLS" in anew and "\x20\x02\x00\x00" in anew, anew


@VERSIONS
def test_a_session_goes_on_with_its_certificate(secure, ca, tmp_path, version):
    """Where a certificate is required, who goes on need not show it again; who has begun elsewhere must."""
    port, pair = free_port(), ca.client("meter-7")
    open_too = f"listener {port} 127.0.0.1\n{ca.issue().lines()}"
    broker = secure(ca.issue(), f"{CERTIFICATE_WANTED} {ca.cert}\n{open_too}")
    session, other = tmp_path / "session", tmp_path / "other"
    mine = ["-cert", pair.cert, "-key", pair.key]
    assert "New, TLS" in s_client(broker.tls_port, version, *mine, "-sess_out", session)
    assert "Reused, TLS" in s_client(broker.tls_port, version, "-sess_in", session)
    # A session of the open listener opens no other door.
    assert "New, TLS" in s_client(port, version, "-sess_out", other)
    told = s_client(broker.tls_port, version, "-sess_in", other)
    assert "\x20\x02\x00\x00" not in told and "Reused" not in told, told


@VERSIONS
def test_a_revoked_client_does_not_go_on(secure, ca, tmp_path, version):
    pair, crl, session = ca.client("meter-7"), tmp_path / "crl", tmp_path / "session"
    shutil.copy(ca.crl(), crl)
    broker = secure(ca.issue(), f"{CERTIFICATE_WANTED} {ca.cert}\ncrlfile {crl}")
    mine = ["-cert", pair.cert, "-key", pair.key]
    assert "\x20\x02\x00\x00" in s_client(broker.tls_port, version, *mine, "-sess_out", session)
    ca.revoke(pair)
    shutil.copy(ca.crl(), crl)
    hang_up(broker)
    told = s_client(broker.tls_port, version, *mine, "-sess_in", session)
    assert "\x20\x02\x00\x00" not in told, told


def test_a_listener_begins_and_ends_to_speak_tls(make_broker, ca, client):
    """Directives may come with a SIGHUP, too: whoever is connected by then stays as it is."""
    broker = make_broker(f"# {ca.issue().cert}")
    plain = client(broker.port, "plain")
    plain.subscribe("t", 1)
    text = broker.config_file.read_text()
    broker.config_file.write_text(f"{text}\n{ca.issue().lines()}")
    hang_up(broker)
    tls = client(broker.port, "tls", tls=trusting(ca))
    tls.subscribe("t", 1)
    tls.publish("t", "1", 1)
    broker.config_file.write_text(text)
    hang_up(broker)
    client(broker.port, "plain again").publish("t", "2", 1)
    for one in (plain, tls):
        assert one.payloads(2) == ["1", "2"]


def test_a_resumed_client_of_python(secure, ca):
    """Its certificate counts as before."""
    broker = secure(ca.issue(), f"{CERTIFICATE_WANTED} {ca.cert}")
    context = trusting(ca, ca.client("meter-7"), version=ssl.TLSVersion.TLSv1_2)
    with Raw(broker.tls_port, "one", tls=context) as raw:
        session = raw.socket.session
    plain = Raw(broker.tls_port)
    with context.wrap_socket(plain.socket, server_hostname="localhost", session=session) as sock:
        assert sock.session_reused
        sock.sendall(wire.connect("two"))
        assert sock.recv(4) == b"\x20\x02\x00\x00"
