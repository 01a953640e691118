"""Bridges by TLS: to Mosquitto, to RabbitMQ, to nginx before another broker, to OpenSSL."""

import shutil
import ssl
from pathlib import Path

import pytest

from certs import Authority, bundle
from harness import free_port, listens, wait_until
from tls_peers import Upstream, said
from upstreams.erlang import RABBITMQ_CONF, RabbitMQ
from upstreams.nginx import Nginx

pytestmark = pytest.mark.footbridge

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

#: OpenSSL as its operator may have set it up, for all programs.
OPENSSL_CONF = """
openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = bounds
[bounds]
MinProtocol = {least}
MaxProtocol = {most}
"""


def bridge(port, *lines, host="localhost", topic="topic # both 2"):
    """A bridge to there."""
    return "\n".join(
        [
            "connection cloud",
            f"address {host}:{port}",
            "restart_timeout 1",
            "remote_clientid edge",
            topic,
            *map(str, lines),
        ]
    )


def up(broker, times=1):
    """Waits until the bridge has come up so often."""
    says = "Bridge cloud connected to"
    wait_until(lambda: broker.log().count(says) >= times, timeout=60, what="bridge that is up")


@pytest.fixture
def secure_upstream(make_upstream, ca, tmp_path):
    """Debian's Mosquitto with a plain listener and one by TLS: `secure_upstream(pair, lines)`."""

    def make(pair, lines="", versions=("TLSv1.2", "TLSv1.3"), **options):
        port, conf = free_port(), tmp_path / "openssl.cnf"
        conf.write_text(OPENSSL_CONF.format(least=versions[0], most=versions[1]))
        text = f"listener {port} 127.0.0.1\nallow_anonymous true\n{pair.lines()}\n{lines}"
        upstream = make_upstream(text, start=False, **options)
        upstream.wrapper = ["env", f"OPENSSL_CONF={conf}"]
        upstream.start()
        upstream.tls_port = port
        return upstream

    return make


def crosses(client, edge, there, sizes=(10, 40_000)):
    """Messages of each QoS go both ways; `there` is a port of the upstream's, or a client."""
    here = client(edge.port, "here")
    far = client(there, "far") if isinstance(there, int) else there
    for one in (here, far):
        one.subscribe("t/#", 2)
    for qos in (0, 1, 2):
        for size in sizes:
            for sender, receiver, way in [(here, far, "up"), (far, here, "down")]:
                payload = f"{way} {qos} ".encode().ljust(size, b"x")
                sender.publish(f"t/{way}", payload, qos)
                # Each side hears of both.
                assert receiver.get(20).payload == payload
                assert sender.get(20).payload == payload
    for one in (here, far):
        one.close()


@pytest.mark.parametrize("versions", [("TLSv1.2",) * 2, ("TLSv1.3",) * 2], ids=lambda v: v[0])
def test_mosquitto(secure_upstream, make_broker, client, ca, versions):
    upstream = secure_upstream(ca.issue(), versions=versions)
    edge = make_broker(bridge(upstream.tls_port, f"bridge_cafile {ca.cert}"))
    up(edge)
    crosses(client, edge, upstream.port)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize("key", ["RSA", "P-256", "P-384", "Ed25519"])
def test_keys_of_the_upstream(secure_upstream, make_broker, ca, key, host):
    upstream = secure_upstream(ca.issue(key=key))
    up(make_broker(bridge(upstream.tls_port, f"bridge_cafile {ca.cert}", host=host)))


def test_a_chain_of_cas(secure_upstream, make_broker, tmp_path, ca):
    middle = Authority(tmp_path, "Middle CA", parent=ca, key="RSA")
    upstream = secure_upstream(middle.issue())
    folder = tmp_path / "cas"
    folder.mkdir()
    bundle(folder / "ours.pem", ca.cert)
    up(make_broker(bridge(upstream.tls_port, f"bridge_capath {folder}")))


def test_footbridge_as_the_upstream(secure, make_broker, client, ca):
    upstream = secure(ca.issue(), f"require_certificate true\ncafile {ca.cert}")
    own = ca.client("edge").lines("bridge_")
    edge = make_broker(bridge(upstream.tls_port, f"bridge_cafile {ca.cert}", own))
    up(edge)
    crosses(client, edge, upstream.port)


def test_mutual_tls(secure_upstream, make_broker, client, ca, tmp_path):
    """Mosquitto takes the certificate's name for the user's, and lets that user do what it may."""
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite t/#\ntopic read $SYS/#\nuser edge\ntopic readwrite t/#\n")
    lines = [f"cafile {ca.cert}", "require_certificate true", "use_identity_as_username true"]
    upstream = secure_upstream(ca.issue(), "\n".join([*lines, f"acl_file {acl}"]))
    own = ca.client("edge", key="RSA").reformed("traditional").lines("bridge_")
    edge = make_broker(bridge(upstream.tls_port, f"bridge_cafile {ca.cert}", own))
    up(edge)
    wait_until(lambda: "u'edge'" in upstream.log(), what="user edge upstream")
    crosses(client, edge, upstream.port)


def test_nothing_is_lost_over_an_outage(secure_upstream, make_broker, client, ca, link):
    """The link is cut within records, again and again."""
    upstream = secure_upstream(ca.issue(), durable=True)
    between = link(upstream.tls_port)
    lines = ["cleansession false", f"bridge_cafile {ca.cert}"]
    edge = make_broker(bridge(between.port, *lines, topic="topic # out 2"), durable=True)
    up(edge)
    far, device = client(upstream.port, "far"), client(edge.port, "device")
    far.subscribe("t", 2)
    for n in range(60):
        device.publish("t", f"{n} ".ljust(3000, "x"), 1 + n % 2)
        if n % 20 == 10:
            between.cut()
        if n % 20 == 15:
            between.mend()
    got = [payload.split()[0] for payload in far.payloads(60, timeout=60)]
    # Once each at QoS 2; at QoS 1 one may come again.
    numbers = [int(number) for number in got]
    while len(set(numbers)) < 60:
        numbers.append(int(far.payloads(1, timeout=30)[0].split()[0]))
    assert sorted(n for n in numbers if n % 2) == list(range(1, 60, 2))


# What a handshake has, as OpenSSL sees it.


def shaken(upstream, count=1):
    wait_until(lambda: len(upstream.shaken) >= count, timeout=30, what="handshake")
    return upstream.shaken[count - 1]


OLD = ("bridge_protocol_version mqttv311", "notifications false", "try_private false")


@pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])
def test_a_session_goes_on(make_broker, ca, version):
    """As long as the files are the same, a reconnect costs a round trip less."""
    with Upstream(ca.issue(), versions=(version, version)) as upstream:
        edge = make_broker(bridge(upstream.port, *OLD, f"bridge_cafile {ca.cert}"))
        up(edge)
        assert not shaken(upstream)["reused"]
        for count in (2, 3):
            upstream.drop()
            up(edge, count)
            assert shaken(upstream, count)["reused"]


def test_the_name_and_the_protocol(make_broker, ca):
    with Upstream(ca.issue(), alpn=["mqtt", "x-amzn-mqtt-ca"]) as upstream:
        lines = [*OLD, f"bridge_cafile {ca.cert}"]
        up(make_broker(bridge(upstream.port, *lines, "bridge_alpn x-amzn-mqtt-ca")))
        seen = shaken(upstream)
        assert (seen["name"], seen["alpn"]) == ("localhost", "x-amzn-mqtt-ca")
        # An address is no name (RFC 6066 3).
        up(make_broker(bridge(upstream.port, *lines, host="127.0.0.1")))
        seen = shaken(upstream, 2)
        assert (seen["name"], seen["alpn"]) == (None, None)


def test_versions_and_suites_are_the_operators_choice(make_broker, ca):
    with Upstream(ca.issue()) as upstream:
        lines = [*OLD, f"bridge_cafile {ca.cert}", "bridge_tls_version tlsv1.3"]
        suite = "TLS_CHACHA20_POLY1305_SHA256"
        up(make_broker(bridge(upstream.port, *lines, f"bridge_ciphers_tls1.3 {suite}")))
        seen = shaken(upstream)
        assert (seen["version"], seen["cipher"]) == ("TLSv1.3", suite)
    with Upstream(ca.issue(), versions=(V12, V12)) as upstream:
        edge = make_broker(bridge(upstream.port, *lines))
        said(edge, "the upstream has no TLS 1.2 or 1.3, or what bridge_tls_version leaves of them")


def test_files_are_read_at_each_connect(make_broker, ca, tmp_path):
    """A renewed certificate and a new CA need no SIGHUP."""
    other = Authority(tmp_path, "Another CA")
    cas, cert, key = tmp_path / "cas", tmp_path / "own.pem", tmp_path / "own.key"

    def own(pair):
        shutil.copy(pair.cert, cert)
        shutil.copy(pair.key, key)

    own(ca.client("first"))
    bundle(cas, other.cert)
    with Upstream(ca.issue(), ca=ca) as upstream:
        lines = [*OLD, f"bridge_cafile {cas}", f"bridge_certfile {cert}", f"bridge_keyfile {key}"]
        edge = make_broker(bridge(upstream.port, *lines))
        said(edge, "a CA that is none of those that the bridge trusts")
        bundle(cas, other.cert, ca.cert)
        up(edge)
        assert "first" in str(shaken(upstream)["peer"]["subject"])
        own(ca.client("second", key="P-384"))
        upstream.drop()
        up(edge, 2)
        seen = shaken(upstream, 2)
        assert "second" in str(seen["peer"]["subject"]) and not seen["reused"]
        # A file that is gone for a moment is a failed attempt, no more.
        away = tmp_path / "away"
        key.rename(away)
        upstream.drop()
        said(edge, f"{key}: cannot be read")
        away.rename(key)
        up(edge, 3)


def test_insecure_skips_the_name_and_nothing_else(make_broker, ca, tmp_path):
    wrong = ca.issue(names=("DNS:elsewhere.example",))
    with Upstream(wrong) as upstream:
        lines = [*OLD, "bridge_insecure true"]
        up(make_broker(bridge(upstream.port, *lines, f"bridge_cafile {ca.cert}")))
        other = Authority(tmp_path, "Another CA")
        edge = make_broker(bridge(upstream.port, *lines, f"bridge_cafile {other.cert}"))
        said(edge, "is from CN=Site CA,O=Site, a CA that is none of those that the bridge trusts")


def test_the_systems_cas(make_broker, ca):
    """They don't have ours. Where there are none, that is said."""
    here = Path("/etc/ssl/certs/ca-certificates.crt").exists()
    with Upstream(ca.issue()) as upstream:
        edge = make_broker(bridge(upstream.port, *OLD, "bridge_tls_use_os_certs true"))
        says = "a CA that is none of those" if here else "the system has no CA certificates"
        said(edge, says)


# Real upstreams that are others' work.


class SecureRabbitMQ(RabbitMQ):
    """It takes the common name of a client's certificate for the user's, who has no password."""

    LINES = """
    mqtt.listeners.ssl.1 = 127.0.0.1:{port}
    mqtt.ssl_cert_login = true
    ssl_cert_login_from = common_name
    ssl_options.cacertfile = {ca}
    ssl_options.certfile = {cert}
    ssl_options.keyfile = {key}
    ssl_options.verify = verify_peer
    ssl_options.fail_if_no_peer_cert = true
    load_definitions = {folder}/definitions.json
    """
    DEFINITIONS = """
    {"vhosts": [{"name": "/"}],
     "users": [{"name": "edge", "password_hash": "", "tags": ""},
               {"name": "guest", "password": "guest", "tags": "administrator"}],
     "permissions": [
       {"user": "edge", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},
       {"user": "guest", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}]}
    """

    def __init__(self, folder, ca, pair):
        super().__init__(folder)
        self.tls_port = free_port()
        lines = self.LINES.format(
            port=self.tls_port, ca=ca.cert, cert=pair.cert, key=pair.key, folder=folder
        )
        conf = RABBITMQ_CONF.format(port=self.port) + lines.replace("    ", "")
        (folder / "rabbitmq.conf").write_text(conf)
        (folder / "definitions.json").write_text(self.DEFINITIONS)

    def _up(self):
        return super()._up() and listens(self.tls_port)


def test_rabbitmq(make_broker, client, ca, tmp_path):
    rabbit = SecureRabbitMQ(tmp_path / "rabbit", ca, ca.issue(key="RSA"))
    try:
        rabbit.start()
        own = ca.client("edge", key="RSA").lines("bridge_")
        lines = [f"bridge_cafile {ca.cert}", "bridge_protocol_version mqttv311"]
        edge = make_broker(bridge(rabbit.tls_port, *lines, own, topic="topic t/# both 1"))
        up(edge)
        far, here = rabbit.client("far"), client(edge.port, "here")
        far.subscribe("t/up", 1)
        here.subscribe("t/down", 1)
        here.publish("t/up", "up", 1)
        assert far.payloads(1, timeout=30) == ["up"]
        far.publish("t/down", "down", 1)
        assert here.payloads(1, timeout=30) == ["down"]
        # Without a certificate it lets nobody in.
        alone = make_broker(bridge(rabbit.tls_port, *lines).replace("clientid edge", "clientid alone"))
        said(alone, "requires a client certificate")
    finally:
        rabbit.close()


def test_nginx_before_a_broker(make_broker, make_upstream, client, ca, tmp_path):
    """nginx ends TLS; the broker behind it speaks none."""
    behind = make_upstream()
    with Nginx(tmp_path / "nginx") as nginx:
        port = nginx.stream(ca.issue(key="RSA"), behind.port, ca)
        nginx.start()
        lines = [f"bridge_cafile {ca.cert}", ca.client("edge").lines("bridge_")]
        edge = make_broker(bridge(port, *lines))
        up(edge)
        crosses(client, edge, behind.port)
        nginx.restart()
        up(edge, 2)
        crosses(client, edge, behind.port)
