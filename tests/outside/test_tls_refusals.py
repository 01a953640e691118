"""Handshakes of bridges that fail: each is named for the operator, with what to do."""

import socket

import pytest

import wire
from certs import ALWAYS, Authority
from test_tls_bridge import bridge, secure_upstream  # noqa: F401
from tls_peers import WEAK, Server, said
from wire import Raw

pytestmark = pytest.mark.footbridge


def refusal(make_broker, port, ca, *lines, host="localhost"):
    """What the bridge says of the handshake that fails."""
    edge = make_broker(bridge(port, f"bridge_cafile {ca.cert}", *lines, host=host), quiet=True)
    line = said(edge, "Bridge cloud (")
    assert "next attempt" in line or "again" in line, line
    return line


def weak_ca(folder):
    return Authority(folder, "Weak CA", key="RSA-1024")


LONG_AGO, LATER = (ALWAYS[0], "20200101000000Z"), ("20900101000000Z", ALWAYS[1])

CERTIFICATES = {
    "unknown CA": (
        lambda ca, folder: (Authority(folder, "Another CA").issue(), ca),
        ["is from CN=Another CA,O=Site, a CA that is none of those", "bridge_cafile"],
    ),
    "wrong name": (
        lambda ca, _: (ca.issue(names=("DNS:a.example", "DNS:b.example")), ca),
        ["is not for localhost, but for a.example, b.example", "`address`", "bridge_insecure"],
    ),
    "no name": (
        lambda ca, _: (ca.issue("localhost", names=()), ca),
        ["has no subjectAltName", "the common name does not count", "for localhost"],
    ),
    "expired": (
        lambda ca, _: (ca.issue(valid=LONG_AGO), ca),
        ["has expired on 2020-01-01T00:00:00", "its operator has to renew it", "clock"],
    ),
    "not yet": (
        lambda ca, _: (ca.issue(valid=LATER), ca),
        ["is not valid yet, but from 2090-01-01T00:00:00", "clock", "judged as of 20"],
    ),
    "version 1": (
        lambda ca, _: (ca.issue(bare=True), ca),
        ["is of version 1", "subjectAltName"],
    ),
    "SHA-512 by a P-256 CA": (
        lambda ca, folder: sha512(folder),
        ["not taken: a P-256 key with SHA-512 (OpenSSL takes it)", "SHA-256"],
    ),
    "SHA-1": (
        lambda ca, folder: sha1(folder),
        ["not taken: SHA-1; have it signed with SHA-256"],
    ),
    "a key of 1024 bits": (
        lambda ca, _: (ca.issue(key="RSA-1024"), ca),
        ["RSA key below 2048 bits, which is not taken", "it has 1024"],
    ),
    "a CA of 1024 bits": (
        lambda ca, folder: (weak := weak_ca(folder), (weak.issue(), weak))[1],
        ["CN=Weak CA", "RSA key below 2048 bits, which is not taken"],
    ),
    "a CA as its own": (
        lambda ca, _: (ca.issue(is_ca=True), ca),
        ["(CA:TRUE)", "one of its own, signed by that"],
    ),
}


def sha512(folder):
    ca = Authority(folder, "Eager CA", digest="sha512")
    return ca.issue(), ca


def sha1(folder):
    ca = Authority(folder, "Old CA", key="RSA", digest="sha1")
    return ca.issue(), ca


@pytest.mark.parametrize("name", CERTIFICATES)
def test_certificates_that_are_refused(make_broker, ca, tmp_path, name):
    make, says = CERTIFICATES[name]
    pair, trusted = make(ca, tmp_path)
    with Server("-cert", pair.cert, "-key", pair.key, "-cipher", WEAK) as server:
        line = refusal(make_broker, server.port, trusted)
    for part in says:
        assert part in line, line
    assert "is wrong" not in line


SERVERS = {
    "RSA key exchange only": (
        ["-tls1_2", "-cipher", "AES128-GCM-SHA256"],
        ["handshake_failure", "RSA key exchange, CBC and SHA-1 are not used"],
    ),
    "CBC only": (
        ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA"],
        ["handshake_failure", "CBC"],
    ),
    "P-521 only": (["-tls1_3", "-curves", "P-521"], ["handshake_failure"]),
    "TLS 1.1": (
        ["-tls1_1", "-cipher", WEAK],
        ["the upstream has no TLS 1.2 or 1.3"],
    ),
    "wants a certificate, 1.3": (
        ["-tls1_3", "-Verify", "1", "-verify_return_error"],
        ["requires a client certificate", "bridge_certfile and bridge_keyfile"],
    ),
    "wants a certificate, 1.2": (
        ["-tls1_2", "-Verify", "1", "-verify_return_error"],
        ["requires a client certificate", "bridge_certfile"],
    ),
}


@pytest.mark.parametrize("name", SERVERS)
def test_servers_that_refuse(make_broker, ca, name):
    options, says = SERVERS[name]
    pair = ca.issue(key="RSA")
    with Server("-cert", pair.cert, "-key", pair.key, *options) as server:
        line = refusal(make_broker, server.port, ca)
    for part in says:
        assert part in line, line


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_certificate_that_the_upstream_does_not_know(make_broker, ca, tmp_path, version):
    pair, other = ca.issue(), Authority(tmp_path, "Another CA")
    asks = ["-Verify", "1", "-verify_return_error", "-CAfile", other.cert]
    with Server("-cert", pair.cert, "-key", pair.key, version, *asks) as server:
        line = refusal(make_broker, server.port, ca, ca.client("edge").lines("bridge_"))
    assert "does not trust the bridge's certificate" in line and "bridge_certfile" in line


def test_local_clients_do_not_notice(make_broker, ca):
    """An upstream that takes the connection and never shakes hands."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        edge = make_broker(bridge(port, f"bridge_cafile {ca.cert}"))
        with Raw(edge.port, "c") as raw:
            for _ in range(10):
                raw.send(wire.PING)
                raw.expect(wire.PINGRESP)
        said(edge, "Bridge cloud (", timeout=60)


def test_a_bridge_by_tls_at_a_plain_port(make_broker, make_upstream, ca):
    line = refusal(make_broker, make_upstream().port, ca)
    assert "TLS" in line and "8883" in line, line


def test_a_plain_bridge_at_a_port_with_tls(make_broker, secure_upstream, ca):
    edge = make_broker(bridge(secure_upstream(ca.issue()).tls_port), quiet=True)
    assert "TLS" in said(edge, "Bridge cloud (")
