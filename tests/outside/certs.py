"""Certificates, keys and revocation lists, made by the `openssl` command as an operator would."""

import itertools
import subprocess
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

#: What `openssl genpkey` is told for a kind of key.
KEYS = {
    "P-256": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "P-384": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
    "P-521": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
    "RSA": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    "RSA-1024": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"],
    "Ed25519": ["-algorithm", "Ed25519"],
}

#: The whole time that a certificate can hold, whatever a clock says.
ALWAYS = ("19700101000000Z", "20991231235959Z")

LOCALHOST = ("DNS:localhost", "IP:127.0.0.1")

#: For `openssl ca`: it alone takes dates in all versions of OpenSSL.
CONFIG = """
[ca]
default_ca = here
[here]
database = {folder}/index
serial = {folder}/serial
new_certs_dir = {folder}
crlnumber = {folder}/crlnumber
default_md = {digest}
default_days = 365
default_crl_days = 365
unique_subject = no
preserve = yes
policy = any
[any]
countryName = optional
organizationName = optional
organizationalUnitName = optional
commonName = optional
[req]
distinguished_name = name
utf8 = yes
string_mask = utf8only
[name]
"""

_numbers = itertools.count(1)


def openssl(*arguments, **options):
    """Runs openssl; what it says when it fails is the failure."""
    done = subprocess.run(
        ["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=60, **options
    )
    assert done.returncode == 0, f"openssl {' '.join(map(str, arguments))}:\n{done.stderr}"
    return done.stdout


def in_days(days):
    """The date in so many days, as `openssl ca` wants it."""
    return (datetime.now(timezone.utc) + timedelta(days=days)).strftime("%Y%m%d%H%M%SZ")


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key: two files in PEM."""

    cert: Path
    key: Path

    def lines(self, prefix=""):
        """The directives: for a listener, or with `bridge_` for a bridge."""
        return f"{prefix}certfile {self.cert}\n{prefix}keyfile {self.key}"

    def encrypted(self, form="pkcs8"):
        """The same with a key that needs a pass phrase: PKCS #8, or the old form of OpenSSL."""
        out = self.key.with_suffix(f".{form}.encrypted")
        arguments = ["-aes256", "-passout", "pass:secret", "-in", self.key, "-out", out]
        if form == "pkcs8":
            openssl("pkcs8", "-topk8", "-v2", "aes256", *arguments[1:])
        else:
            openssl("pkey", "-traditional", *arguments)
        return Pair(self.cert, out)

    def reformed(self, form):
        """The same with the key in another form: `pkcs8`, or `traditional` (PKCS #1, SEC 1)."""
        out = self.key.with_suffix(f".{form}")
        options = ["-traditional"] if form == "traditional" else []
        openssl("pkey", *options, "-in", self.key, "-out", out)
        return Pair(self.cert, out)


class Authority:
    """A CA in a folder of its own. `cert` is its certificate; `chain` has those that lead from it to
    the root, which is not in it."""

    def __init__(
        self, folder, name="Site CA", *, key="P-256", digest="sha256", parent=None, valid=ALWAYS
    ):
        self.folder = Path(folder) / f"ca{next(_numbers)}"
        self.folder.mkdir(parents=True)
        self.digest = digest
        self.config = self.folder / "config"
        self.config.write_text(CONFIG.format(folder=self.folder, digest=digest))
        for file, content in [("index", ""), ("serial", "1000"), ("crlnumber", "01")]:
            (self.folder / file).write_text(content)
        self.cert, self.key = self.folder / "ca.pem", self.folder / "ca.key"
        _make_key(key, self.key)
        extensions = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"]
        subject = f"/O=Site/CN={name}"
        signer = parent or self
        signer._sign(self.key, self.cert, subject, extensions, valid, own=parent is None)
        self.chain = [self.cert, *parent.chain] if parent else []

    def issue(
        self,
        name="localhost",
        *,
        key="P-256",
        names=LOCALHOST,
        valid=ALWAYS,
        subject=None,
        is_ca=False,
        bare=False,
        whole=True,
    ):
        """A certificate for `names`, or for a client where these are empty. `bare`: of version 1, without
        extensions. `whole`: behind it stands what leads to the root."""
        stem = self.folder / f"{next(_numbers)}"
        made = Pair(stem.with_suffix(".pem"), stem.with_suffix(".key"))
        _make_key(key, made.key)
        extensions = [f"basicConstraints=critical,CA:{str(is_ca).upper()}"]
        if names:
            extensions.append(f"subjectAltName={','.join(names)}")
        if bare:
            extensions = []
        self._sign(made.key, made.cert, subject or f"/O=Site/CN={name}", extensions, valid)
        if whole:
            for link in self.chain:
                with made.cert.open("a") as file:
                    file.write(link.read_text())
        return made

    def client(self, name, **options):
        """A certificate for a client."""
        return self.issue(name, names=(), **options)

    def _sign(self, key, cert, subject, extensions, valid, own=False):
        request, extra = cert.with_suffix(".csr"), cert.with_suffix(".ext")
        openssl(
            "req", "-new", "-config", self.config, "-utf8", "-key", key, "-subj", subject, "-out", request
        )
        extra.write_text("\n".join(extensions) + "\n")
        more = ["-selfsign"] if own else ["-cert", self.cert]
        if extensions:
            more += ["-extfile", extra]
        self._ca(
            *more, "-keyfile", self.key, "-in", request, "-out", cert, "-notext",
            "-startdate", valid[0], "-enddate", valid[1],
        )  # fmt: skip
        text = openssl("x509", "-in", cert, "-noout", "-text")
        wanted = 3 if extensions else 1
        assert f"Version: {wanted} " in text, text

    def revoke(self, pair):
        self._ca("-cert", self.cert, "-keyfile", self.key, "-revoke", pair.cert)

    def crl(self):
        """A new list of what is revoked."""
        out = self.folder / f"{next(_numbers)}.crl"
        self._ca("-cert", self.cert, "-keyfile", self.key, "-gencrl", "-out", out)
        return out

    def _ca(self, *arguments):
        # Ed25519 takes no digest.
        is_plain = "ED25519" in openssl("pkey", "-in", self.key, "-noout", "-text").upper()
        digest = "default" if is_plain else self.digest
        openssl("ca", "-batch", "-utf8", "-config", self.config, "-md", digest, *arguments)


def signed_by(pair, name):
    """A client's certificate that the owner of another, which is no CA's, has signed; behind it stands
    that one."""
    stem = pair.cert.parent / f"{next(_numbers)}"
    made = Pair(stem.with_suffix(".pem"), stem.with_suffix(".key"))
    _make_key("P-256", made.key)
    request, extra = stem.with_suffix(".csr"), stem.with_suffix(".ext")
    extra.write_text("basicConstraints=critical,CA:FALSE\n")
    openssl("req", "-new", "-key", made.key, "-subj", f"/O=Site/CN={name}", "-out", request)
    openssl(
        "x509", "-req", "-in", request, "-CA", pair.cert, "-CAkey", pair.key, "-set_serial", "7",
        "-days", "30", "-extfile", extra, "-out", made.cert,
    )  # fmt: skip
    with made.cert.open("a") as file:
        file.write(pair.cert.read_text())
    return made


def self_signed(folder, name="localhost", *, names=LOCALHOST):
    """A certificate that has signed itself, and is no CA's."""
    stem = Path(folder) / f"self{next(_numbers)}"
    made = Pair(stem.with_suffix(".pem"), stem.with_suffix(".key"))
    _make_key("P-256", made.key)
    openssl(
        "req", "-x509", "-new", "-key", made.key, "-out", made.cert, "-days", "365",
        "-subj", f"/CN={name}", "-addext", f"subjectAltName={','.join(names)}",
        "-addext", "basicConstraints=critical,CA:FALSE",
    )  # fmt: skip
    return made


def bundle(path, *certs):
    """One file of several in PEM."""
    path.write_text("".join(cert.read_text() for cert in certs))
    return path


def _make_key(kind, path):
    openssl("genpkey", *KEYS[kind], "-out", path)
    path.chmod(0o600)
