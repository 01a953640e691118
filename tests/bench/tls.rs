//! The rows about TLS: handshakes, memory, messages. Certificates come from the `openssl` command.

use std::fs;
use std::io::{Error, Result};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};

use crate::load::{Load, Stillness, greet};
use crate::memory::enough_files;
use crate::report::Metric;
use crate::rows::{Meter, Row, Setup, fan_by};
use crate::server::{Kind, Server, stores};

/// All rows, in the order in which they run.
pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "tls-handshake",
        about: "a handshake of TLS 1.3 with CONNECT, full and resumed; the key is ECDSA on P-256",
        run: |s| handshakes(s, "P-256", &version::TLS13),
    },
    Row {
        name: "tls-handshake-12",
        about: "the same in TLS 1.2",
        run: |s| handshakes(s, "P-256", &version::TLS12),
    },
    Row {
        name: "tls-rsa",
        about: "as tls-handshake, with an RSA key of 2048 bits",
        run: |s| handshakes(s, "RSA", &version::TLS13),
    },
    Row {
        name: "tls-idle",
        about: "memory for each of 500 idle connections by TLS",
        run: idle,
    },
    Row {
        name: "tls-qos0-burst",
        about: "qos0-10-1 by TLS: bursts",
        run: |s| fan(s, 300_000, 2_000),
    },
    Row {
        name: "tls-qos0-one",
        about: "qos0-10-1-one by TLS: a small message at a time",
        run: |s| fan(s, 50_000, 1),
    },
    Row {
        name: "tls-rest",
        about: "memory at rest with a listener and a bridge, plain and by TLS, persistence on",
        run: rest,
    },
    Row {
        name: "tls-size",
        about: "the binary, and the one that FOOTBRIDGE_WITHOUT_TLS names",
        run: size,
    },
];

/// A certificate for localhost that has signed itself; dropping it removes its folder.
pub(crate) struct Certificate {
    folder: PathBuf,
}

impl Certificate {
    fn new(key: &str) -> Result<Certificate> {
        let folder = stores().join(format!("bench-tls-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let certificate = Certificate { folder };
        let algorithm: &[&str] = match key {
            "RSA" => &["-newkey", "rsa:2048"],
            _ => &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
        };
        let mut command = Command::new("openssl");
        command.args([
            "req",
            "-x509",
            "-nodes",
            "-days",
            "3650",
            "-subj",
            "/CN=localhost",
        ]);
        command.args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
        command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        command.args(algorithm);
        command.arg("-keyout").arg(certificate.path("key"));
        command.arg("-out").arg(certificate.path("cert"));
        let done = command.output()?;
        if !done.status.success() {
            let why = String::from_utf8_lossy(&done.stderr).into_owned();
            return Err(Error::other(format!("openssl: {why}")));
        }
        Ok(certificate)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.pem"))
    }

    /// The directives of a listener with it.
    pub(crate) fn lines(&self) -> String {
        let (cert, key) = (self.path("cert"), self.path("key"));
        format!("certfile {}\nkeyfile {}\n", cert.display(), key.display())
    }

    /// What clients go by that trust it, each time with a full handshake.
    pub(crate) fn client(&self) -> Result<Arc<ClientConfig>> {
        let both = &[&version::TLS13, &version::TLS12];
        self.client_of(both, Resumption::disabled())
    }

    fn client_of(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        resumption: Resumption,
    ) -> Result<Arc<ClientConfig>> {
        let pem = fs::read(self.path("cert"))?;
        let mut roots = RootCertStore::empty();
        let der = CertificateDer::from_pem_slice(&pem).map_err(Error::other)?;
        roots.add(der).map_err(Error::other)?;
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder
            .with_protocol_versions(versions)
            .map_err(Error::other)?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.resumption = resumption;
        Ok(Arc::new(config))
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Connections one after the other, each with its handshake and its CONNECT. A client has more to
/// compute than the broker, so that the broker's own rate is what its CPU time allows.
fn handshakes(
    s: Setup,
    key: &str,
    version: &'static SupportedProtocolVersion,
) -> Result<Vec<Metric>> {
    let total = 1_000 / s.divisor;
    let certificate = Certificate::new(key)?;
    let server = Server::start(s.kind, &certificate.lines())?;
    let mut metrics = Vec::new();
    for (cpu, rate, resumption, is_resumed) in [
        ("full CPU", "full rate", Resumption::disabled(), false),
        (
            "resumed CPU",
            "resumed rate",
            Resumption::in_memory_sessions(8),
            true,
        ),
    ] {
        let client = certificate.client_of(&[version], resumption)?;
        // The first has nothing to go on with, and pays for what is made but once.
        drop(greet(server.port, Some(&client), "first", true)?);
        let meter = Meter::start(&server)?;
        for n in 0..total {
            let link = greet(server.port, Some(&client), &format!("c{n}"), true)?;
            if link.is_resumed() != is_resumed {
                return Err(Error::other(format!(
                    "handshake {n}: not as {cpu} wants it"
                )));
            }
        }
        let each = meter.broker(&server)?.as_secs_f64() / total as f64;
        metrics.push(Metric::lower(cpu, "µs/handshake", each * 1e6));
        metrics.push(Metric::higher(rate, "1/s of a core", 1.0 / each));
    }
    Ok(metrics)
}

fn idle(s: Setup) -> Result<Vec<Metric>> {
    let n = 500;
    enough_files(n)?;
    let certificate = Certificate::new("P-256")?;
    let server = Server::start(s.kind, &certificate.lines())?;
    sleep(Duration::from_millis(500));
    let mut load = Load::by(Some(certificate.client()?))?;
    load.connect(server.port, "first", true)?;
    let before = server.rss()?;
    for i in 0..n {
        load.connect(server.port, &format!("idle{i}"), true)?;
    }
    sleep(Duration::from_secs(3));
    let grown = server.rss()?.saturating_sub(before);
    let each = grown as f64 / n as f64;
    Ok(vec![Metric::lower("RSS", "bytes/connection", each)])
}

fn fan(s: Setup, total: u64, window: u64) -> Result<Vec<Metric>> {
    let certificate = Certificate::new("P-256")?;
    fan_by(s, Some(&certificate), (10, 1), total, window)
}

/// Memory of a broker with a listener and a bridge that is up, once plain, once by TLS.
fn rest(s: Setup) -> Result<Vec<Metric>> {
    let certificate = Certificate::new("P-256")?;
    let plain = at_rest(s, None)?;
    let tls = at_rest(s, Some(&certificate))?;
    Ok(vec![
        Metric::lower("RSS, plain", "MB", plain / 1e6),
        Metric::lower("RSS, TLS", "MB", tls / 1e6),
        Metric::lower("TLS adds", "MB", (tls - plain) / 1e6),
    ])
}

fn at_rest(s: Setup, tls: Option<&Certificate>) -> Result<f64> {
    let lines = tls.map(Certificate::lines).unwrap_or_default();
    let upstream = Server::start_upstream_with(&lines)?;
    let mut load = Load::by(tls.map(Certificate::client).transpose()?)?;
    let collector = load.connect(upstream.port, "collector", true)?;
    load.subscribe(collector, "$SYS/broker/connection/#", 0)?;
    let cafile = tls.map(|tls| format!("bridge_cafile {}\n", tls.path("cert").display()));
    let config = format!(
        "{lines}persistence true\nconnection up\naddress 127.0.0.1:{}\n{}topic up/# out 1\n\
         cleansession false\nrestart_timeout 1\n",
        upstream.port,
        cafile.unwrap_or_default()
    );
    let server = Server::start(s.kind, &config)?;
    let (mut up, mut still) = (false, Stillness::new("the bridge's state"));
    while !up {
        load.turn(Some(100), |_, payload| up |= payload == b"1")?;
        still.check(false)?;
    }
    // A client by the listener, too: its code is resident then.
    load.connect(server.port, "client", true)?;
    sleep(Duration::from_secs(3));
    Ok(server.rss()? as f64)
}

fn size(s: Setup) -> Result<Vec<Metric>> {
    let megabytes = |path: PathBuf| fs::metadata(path).map(|file| file.len() as f64 / 1e6);
    let whole = megabytes(s.kind.binary())?;
    let mut metrics = vec![Metric::neutral("binary", "MB", whole)];
    let without = std::env::var_os("FOOTBRIDGE_WITHOUT_TLS").filter(|_| s.kind == Kind::Footbridge);
    if let Some(path) = without {
        let without = megabytes(path.into())?;
        metrics.push(Metric::neutral("binary without TLS", "MB", without));
        metrics.push(Metric::lower("TLS adds", "MB", whole - without));
    }
    Ok(metrics)
}
