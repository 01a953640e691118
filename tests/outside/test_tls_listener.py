"""TLS listeners and those who come to them: mosquitto's clients, paho, OpenSSL."""

import re
import ssl
import subprocess

import pytest

import wire
from certs import Authority, Pair, bundle, in_days, openssl, self_signed, signed_by
from clients import V5, V311
from harness import IS_FOOTBRIDGE, Broker, run, wait_until
from tls_peers import HELLO_AND_GOODBYE, WEAK, s_client, said, trusting
from wire import Raw

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])


def connack(said):
    """Whether what s_client says has the CONNACK that takes a client in."""
    return "\x20\x02\x00\x00" in said


@pytest.mark.parametrize("version", ["tlsv1.2", "tlsv1.3"])
def test_mosquittos_clients(secure, ca, version):
    broker = secure(ca.issue())
    there = ["-p", str(broker.tls_port), "--cafile", ca.cert, "--tls-version", version]
    command = ["mosquitto_sub", *there, "-t", "t/#", "-C", "1", "-W", "20"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sub:
        wait_until(lambda: "t/#" in broker.log(), what="subscription")
        subprocess.run(
            ["mosquitto_pub", *there, "-t", "t/1", "-q", "2", "-m", "by TLS"], check=True, timeout=20
        )
        heard, _ = sub.communicate(timeout=30)
    assert (sub.returncode, heard) == (0, "by TLS\n")


@VERSIONS
@pytest.mark.parametrize("level", [V311, V5], ids=["3.1.1", "5"])
def test_paho(secure, ca, client, version, level):
    """Each QoS, and messages of all sizes: smaller than a record, of many records."""
    broker = secure(ca.issue())
    tls = trusting(ca, version=version)
    near = client(broker.tls_port, "near", tls=tls, version=level)
    far = client(broker.port, "far", version=level)
    near.subscribe("down", 2)
    far.subscribe("up", 2)
    for n, size in enumerate([0, 1, 100, 16_384, 16_385, 200_000, 3_000_000]):
        payload = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        near.publish("up", payload, n % 3)
        assert far.get().payload == payload
        far.publish("down", payload, n % 3)
        assert near.get().payload == payload


@pytest.mark.parametrize(
    "options, says",
    [
        (["-tls1_2"], "New, TLSv1.2"),
        (["-tls1_3"], "New, TLSv1.3"),
        (["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"], "Cipher is TLS_CHACHA20"),
        (["-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"], "Cipher is TLS_AES_256_GCM"),
        (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], "Cipher is ECDHE-ECDSA-AES128"),
        (["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"], "Cipher is ECDHE-ECDSA-CHACHA"),
        (["-curves", "P-256"], "ECDH, prime256v1"),
        (["-curves", "P-384"], "ECDH, secp384r1"),
        (["-curves", "X25519"], "X25519"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_openssl(secure, ca, options, says):
    broker = secure(ca.issue())
    told = s_client(broker.tls_port, "-CAfile", ca.cert, *options)
    assert says in told and "Verify return code: 0 (ok)" in told and connack(told), told


@pytest.mark.footbridge
@pytest.mark.parametrize(
    "options, alert, says",
    [
        (["-tls1_1", "-cipher", WEAK], "handshake failure", "no TLS version that is used here"),
        (["-tls1", "-cipher", WEAK], "handshake failure", "no TLS version that is used here"),
        (["-tls1_2", "-cipher", "AES128-SHA256"], "handshake failure", "no cipher suite"),
        (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"], "handshake failure", "no cipher suite"),
        (["-curves", "P-521"], "handshake failure", "no cipher suite, curve"),
    ],
    ids=["1.1", "1.0", "RSA key exchange", "CBC", "P-521"],
)
def test_old_clients_are_refused_and_named(secure, ca, options, alert, says):
    broker = secure(ca.issue())
    told = s_client(broker.tls_port, *options)
    assert alert in told and not connack(told), told
    assert re.search(r"Closing 127\.0\.0\.1:\d+: TLS: ", said(broker, says))


def test_the_oldest_version_is_the_operators_choice(secure, ca):
    broker = secure(ca.issue(), "tls_version tlsv1.3")
    assert "protocol version" in s_client(broker.tls_port, "-tls1_2")
    assert connack(s_client(broker.tls_port, "-tls1_3"))


def test_the_suites_are_the_operators_choice(secure, ca):
    broker = secure(ca.issue(), "ciphers_tls1.3 TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384")
    assert "Cipher is TLS_CHACHA20_POLY1305_SHA256" in s_client(
        broker.tls_port, "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256"
    )
    told = s_client(broker.tls_port, "-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256")
    assert "handshake failure" in told


@pytest.mark.footbridge
def test_alpn(secure, ca):
    broker = secure(ca.issue())
    assert "ALPN protocol: mqtt" in s_client(broker.tls_port, "-alpn", "x-other,mqtt")
    # A device that is set up for a cloud's port gets in, as at Mosquitto.
    for options in [[], ["-alpn", "x-amzn-mqtt-ca"]]:
        told = s_client(broker.tls_port, *options)
        assert "No ALPN negotiated" in told and connack(told), told


@pytest.mark.footbridge
def test_alpn_of_web_sockets(secure, ca):
    broker = secure(ca.issue(), "protocol websockets")
    told = s_client(broker.tls_port, "-alpn", "http/1.1", send=b"GET / HTTP/1.0\r\n\r\n")
    assert "ALPN protocol: http/1.1" in told


# Keys and chains.


@pytest.mark.parametrize(
    "key, form",
    [
        ("RSA", "pkcs8"),
        ("RSA", "traditional"),
        ("P-256", "pkcs8"),
        ("P-256", "traditional"),
        ("P-384", "pkcs8"),
        ("P-384", "traditional"),
        ("Ed25519", "pkcs8"),
    ],
)
def test_keys(secure, ca, key, form):
    pair = ca.issue(key=key).reformed(form)
    head = pair.key.read_text().splitlines()[0]
    old = {"RSA": "RSA ", "P-256": "EC ", "P-384": "EC "}.get(key, "")
    assert head == f"-----BEGIN {old if form == 'traditional' else ''}PRIVATE KEY-----"
    broker = secure(pair)
    for version in ("-tls1_2", "-tls1_3"):
        told = s_client(broker.tls_port, version, "-CAfile", ca.cert)
        assert "Verify return code: 0 (ok)" in told and connack(told), told


def test_a_key_with_its_parameters_before_it(secure, ca):
    """As `openssl ecparam -genkey` writes it."""
    pair = ca.issue().reformed("traditional")
    parameters = openssl("ecparam", "-name", "prime256v1")
    pair.key.write_text(parameters + pair.key.read_text())
    assert connack(s_client(secure(pair).tls_port))


@pytest.mark.parametrize("whole", [True, False], ids=["whole chain", "leaf only"])
def test_chains(secure, ca, tmp_path, whole):
    """A certificate alone is completed from cafile, as OpenSSL does."""
    middle = Authority(tmp_path, "Middle CA", parent=ca)
    last = Authority(tmp_path, "Last CA", parent=middle, key="P-384", digest="sha384")
    pair = last.issue(whole=whole)
    lines = "" if whole else f"cafile {bundle(tmp_path / 'cas', ca.cert, middle.cert, last.cert)}"
    told = s_client(secure(pair, lines).tls_port, "-CAfile", ca.cert, "-showcerts")
    assert "Verify return code: 0 (ok)" in told and connack(told), told
    if IS_FOOTBRIDGE:
        # The root itself is left out: who trusts it has it.
        assert told.count("BEGIN CERTIFICATE") == 3


@pytest.mark.footbridge
def test_what_the_log_says_of_certificates(secure, ca):
    log = secure(ca.issue(names=("DNS:broker.example", "IP:192.0.2.7"), subject="/O=Site/CN=b")).log()
    line = next(line for line in log.splitlines() if ": certificate " in line)
    for part in ("CN=b", "broker.example", "192.0.2.7", "2099-12-31"):
        assert part in line, line
    assert "expire" not in log


@pytest.mark.footbridge
@pytest.mark.parametrize(
    "valid, says",
    [
        (("19700101000000Z", in_days(-1)), "its certificate has expired, and is refused"),
        (("19700101000000Z", in_days(10)), "its certificate expires in 9 days"),
        ((in_days(2), "20991231235959Z"), "its certificate is not valid yet"),
    ],
    ids=["expired", "soon", "not yet"],
)
def test_dates_of_the_own_certificate_are_warned_of(secure, ca, valid, says):
    """It serves all the same: clients may not look at dates."""
    broker = secure(ca.issue(valid=valid))
    line = said(broker, says)
    assert f"listener 127.0.0.1:{broker.tls_port}" in line or f"{broker.tls_port}" in line
    with Raw(broker.tls_port, "c", tls=trusting(ca, check=False)):
        pass


def refused(tmp_path, *lines):
    """What the check of the configuration says; the start must say it, too."""
    broker = Broker(tmp_path / "refused", "\n".join(map(str, lines)))
    check = run("-c", broker.config_file, "--test-config")
    start = run("-c", broker.config_file)
    assert check.returncode != 0 and start.returncode != 0
    told = check.stdout + check.stderr
    reason = re.search(r"listener .*?: (.*)", told)[1]
    assert reason in start.stderr, (told, start.stderr)
    return told


@pytest.mark.footbridge
@pytest.mark.parametrize("form", ["pkcs8", "traditional"])
def test_an_encrypted_key_is_refused_with_the_command_that_decrypts_it(tmp_path, ca, form):
    pair = ca.issue().encrypted(form)
    told = refused(tmp_path, pair.lines())
    assert "needs a pass phrase" in told
    command = re.search(r"`([^`]*openssl pkey[^`]*)`", told)[1]
    # The command asks for the pass phrase; here it is given.
    subprocess.run(f"{command} -passin pass:secret", shell=True, check=True, timeout=20)
    plain = pair.key.with_name(pair.key.name + ".plain")
    assert plain.stat().st_mode & 0o077 == 0
    broker = Broker(tmp_path / "mended", Pair(pair.cert, plain).lines())
    assert run("-c", broker.config_file, "--test-config").returncode == 0


@pytest.mark.footbridge
def test_files_that_cannot_be_used_are_each_named(tmp_path, ca):
    pair, other, weak = ca.issue(), ca.issue(), ca.issue(key="RSA-1024")
    der, text = tmp_path / "cert.der", tmp_path / "text"
    openssl("x509", "-in", pair.cert, "-outform", "der", "-out", der)
    text.write_text("no PEM\n")
    damaged = tmp_path / "damaged"
    damaged.write_text(pair.cert.read_text().replace("\nMII", "\n!II", 1))
    rows = [
        (Pair(pair.cert, other.key), f"{other.key}: is not the private key of {pair.cert}"),
        (weak, "its private key cannot be used"),
        (ca.issue(key="P-521"), "its private key cannot be used"),
        (Pair(der, pair.key), "`openssl x509 -inform der"),
        (Pair(text, pair.key), f"{text}: has no certificate"),
        (Pair(damaged, pair.key), f"{damaged}: is damaged"),
        (Pair(pair.cert, text), f"{text}: has no private key"),
        (Pair(pair.cert, pair.cert), f"{pair.cert}: has no private key"),
        (Pair(tmp_path / "none", pair.key), "No such file"),
        (Pair(pair.cert, tmp_path), "it is a folder, a device or a FIFO"),
    ]
    for wrong, says in rows:
        assert says in refused(tmp_path, wrong.lines()), says
    assert "certfile and keyfile belong together" in refused(tmp_path, f"certfile {pair.cert}")
    assert "certfile and keyfile belong together" in refused(tmp_path, f"keyfile {pair.key}")
    no_ca = refused(tmp_path, pair.lines(), "require_certificate true")
    assert "require_certificate without cafile or capath" in no_ca
    crl = refused(tmp_path, pair.lines(), f"cafile {ca.cert}", "require_certificate true", f"crlfile {text}")
    assert "is no revocation list" in crl


@pytest.mark.footbridge
def test_a_certificate_alone_is_not_passed_over(tmp_path, ca):
    """It starts the default listener, as Mosquitto's does; what has no effect without one is told."""
    file, pair = tmp_path / "footbridge.conf", ca.issue()
    file.write_text(Pair(pair.cert, tmp_path / "none").lines())
    check = run("-c", file, "--test-config")
    assert check.returncode != 0 and "listener 1883: " in check.stdout + check.stderr
    file.write_text("require_certificate true")
    check = run("-c", file, "--test-config")
    assert "require_certificate without certfile" in check.stdout + check.stderr


# Clients with certificates.


def takes(broker, context):
    """Whether a client with this context gets as far as its CONNACK. In TLS 1.3 it hears of a refusal
    after its handshake."""
    try:
        with Raw(broker.tls_port, tls=context) as raw:
            raw.send(HELLO_AND_GOODBYE)
            answer = raw.receive()
            return answer is not None and answer.kind == wire.CONNACK
    except (ssl.SSLError, ConnectionError):
        return False


@VERSIONS
def test_client_certificates(secure, ca, tmp_path, version):
    other = Authority(tmp_path, "Another CA")
    broker = secure(ca.issue(), f"require_certificate true\ncafile {ca.cert}")
    good = [
        ca.client("meter-7"),
        ca.client("meter-8", key="RSA"),
        ca.client("meter-9", key="P-384"),
        ca.client("meter-0", key="Ed25519"),
        Authority(tmp_path, "Middle CA", parent=ca).client("meter-1"),
    ]
    for pair in good:
        assert takes(broker, trusting(ca, pair, version=version)), pair
    bad = [
        (None, "the client shows no certificate"),
        (other.client("thief"), "is from none of the CAs in cafile and capath"),
        (ca.client("late", valid=("19700101000000Z", in_days(-1))), "certificate has expired"),
        (ca.client("early", valid=(in_days(2), "20991231235959Z")), "is not valid yet"),
    ]
    for pair, says in bad:
        assert not takes(broker, trusting(ca, pair, version=version)), says
        if IS_FOOTBRIDGE:
            said(broker, says)


@VERSIONS
def test_certificates_of_version_1(secure, ca, tmp_path, version):
    """As mosquitto-tls(7) has them made: without extensions. They count as others do."""
    good, gone = ca.client("meter-7", bare=True), ca.client("meter-8", bare=True)
    ca.revoke(gone)
    broker = secure(ca.issue(), f"require_certificate true\ncafile {ca.cert}\ncrlfile {ca.crl()}")
    assert takes(broker, trusting(ca, good, version=version))
    bad = [
        gone,
        ca.client("meter-9", bare=True, valid=("19700101000000Z", in_days(-1))),
        ca.client("meter-9", bare=True, valid=(in_days(2), "20991231235959Z")),
        # One of the same name.
        Authority(tmp_path, "Site CA").client("meter-7", bare=True),
    ]
    for pair in bad:
        assert not takes(broker, trusting(ca, pair, version=version))


@VERSIONS
@pytest.mark.parametrize("bare", [False, True], ids=["version 3", "version 1"])
def test_a_device_is_no_ca(secure, ca, version, bare):
    """What a device signs with the key of its own certificate is nothing."""
    broker = secure(ca.issue(), f"require_certificate true\ncafile {ca.cert}")
    device = ca.client("meter-7", bare=bare)
    assert takes(broker, trusting(ca, device, version=version))
    assert not takes(broker, trusting(ca, signed_by(device, "operator"), version=version))


def test_a_certificate_that_has_signed_itself(secure, ca, tmp_path):
    """It counts where it is named, and nowhere else."""
    known, other = self_signed(tmp_path, "known"), self_signed(tmp_path, "other")
    broker = secure(ca.issue(), f"require_certificate true\ncafile {bundle(tmp_path / 'cas', known.cert)}")
    assert takes(broker, trusting(ca, known))
    assert not takes(broker, trusting(ca, other))
    assert not takes(broker, trusting(ca, signed_by(known, "operator")))


@pytest.mark.footbridge
def test_dates_of_client_certificates_may_not_count(secure, ca, tmp_path):
    lines = f"require_certificate true\ncafile {ca.cert}\ndisable_client_cert_date_checks true"
    broker = secure(ca.issue(), lines)
    for valid in [("19700101000000Z", in_days(-1)), (in_days(2), "20991231235959Z")]:
        assert takes(broker, trusting(ca, ca.client("c", valid=valid)))
    other = Authority(tmp_path, "Another CA")
    assert not takes(broker, trusting(ca, other.client("c", valid=valid)))


def test_cas_in_a_folder(secure, ca, tmp_path):
    folder = tmp_path / "cas"
    folder.mkdir()
    other = Authority(tmp_path, "Another CA")
    for n, one in enumerate([ca, other]):
        bundle(folder / f"{n}.pem", one.cert)
    openssl("rehash", folder)
    broker = secure(ca.issue(), f"require_certificate true\ncapath {folder}")
    assert takes(broker, trusting(ca, ca.client("a"))) and takes(broker, trusting(ca, other.client("b")))
    assert not takes(broker, trusting(ca, Authority(tmp_path, "Third CA").client("c")))


@VERSIONS
def test_revoked_certificates(secure, ca, version):
    good, gone = ca.client("good"), ca.client("gone")
    ca.revoke(gone)
    lines = f"require_certificate true\ncafile {ca.cert}\ncrlfile {ca.crl()}"
    broker = secure(ca.issue(), lines)
    assert takes(broker, trusting(ca, good, version=version))
    assert not takes(broker, trusting(ca, gone, version=version))
    if IS_FOOTBRIDGE:
        said(broker, "the client's certificate is revoked (crlfile)")


@pytest.mark.footbridge
def test_a_client_that_does_not_trust_the_listener_is_named(secure, ca, tmp_path):
    broker = secure(ca.issue())
    other = Authority(tmp_path, "Another CA")
    with pytest.raises(ssl.SSLError):
        Raw(broker.tls_port, tls=trusting(other))
    said(broker, "the client does not trust the certificate of this listener")


def test_a_plain_listener_beside_it_stays_plain(secure, ca):
    broker = secure(ca.issue())
    with Raw(broker.port, "plain"), Raw(broker.tls_port, "secure", tls=trusting(ca)):
        wait_until(broker.alive)


@pytest.mark.footbridge
def test_web_sockets(secure, ca, client):
    broker = secure(ca.issue(), "protocol websockets")
    far = client(broker.port, "far")
    far.subscribe("#", 1)
    near = client(broker.tls_port, "near", tls=trusting(ca), transport="websockets")
    near.subscribe("down", 1)
    for size in (5, 500_000):
        near.publish("up", b"x" * size, 1)
        assert len(far.get().payload) == size
        far.publish("down", b"y" * size, 1)
        assert len(near.get().payload) == size
        assert len(far.get().payload) == size


@VERSIONS
def test_the_end_of_tls_is_the_end_of_the_connection(secure, ca, client, version):
    """A close_notify without a DISCONNECT, and the end of the socket without either: the will is due."""
    broker = secure(ca.issue())
    watcher = client(broker.port, "watcher")
    watcher.subscribe("will/#", 1)
    for n, end in enumerate(["unwrap", "close"]):
        name = f"c{n}"
        body = wire.string("MQTT") + b"\4\x06\0\x3c"
        will = [wire.string(text) for text in (name, f"will/{name}", "gone")]
        raw = Raw(broker.tls_port, tls=trusting(ca, version=version))
        raw.send(wire.packet(0x10, body + b"".join(will)))
        raw.expect(wire.CONNACK)
        getattr(raw.socket, end)()
        assert watcher.get().topic == f"will/{name}"
        raw.socket.close()


def test_a_byte_in_each_record(secure, ca):
    broker = secure(ca.issue())
    with Raw(broker.tls_port, tls=trusting(ca)) as raw:
        for byte in wire.connect("slow") + wire.subscribe(1, "t", 0) + wire.publish("t", b"x"):
            raw.send(bytes([byte]))
        raw.expect(wire.CONNACK)
        raw.expect(wire.SUBACK)
        assert raw.expect(wire.PUBLISH).payload == b"x"
