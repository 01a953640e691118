//! Handshakes in memory, with certificates made for them.

mod cost;
mod folders;
mod resumed;
mod revoked;
mod signers;
mod version1;

use std::path::PathBuf;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};

use super::*;
use crate::config::{BridgeTls, ListenerTls, Protocol, TlsVersion};

use version1::{OLD, sign_version1};

/// A folder with a CA, and the certificates that it signs.
struct Folder {
    dir: tempfile::TempDir,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Folder {
    fn new() -> Folder {
        let dir = tempfile::tempdir().unwrap();
        let ca = authority("Test CA");
        let folder = Folder { dir, ca };
        folder.write("ca.pem", &folder.ca.pem());
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Makes NAME.pem and NAME.key; `change` has the last word.
    fn sign(&self, name: &str, names: &[&str], change: impl FnOnce(&mut CertificateParams)) {
        let names = names.iter().map(|name| (*name).to_owned());
        let mut params = CertificateParams::new(names.collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.ca).unwrap();
        self.write(&format!("{name}.pem"), &signed.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    fn listener(&self, name: &str) -> ListenerTls {
        ListenerTls {
            certfile: Some(self.path(&format!("{name}.pem"))),
            keyfile: Some(self.path(&format!("{name}.key"))),
            ..ListenerTls::default()
        }
    }

    fn bridge(&self) -> BridgeTls {
        BridgeTls {
            cafile: Some(self.path("ca.pem")),
            ..BridgeTls::default()
        }
    }
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// 2026-12-01.
fn clock() -> Clock {
    let clock = Clock::default();
    clock.tell(Duration::from_secs(1_796_083_200));
    clock
}

fn side(tls: &ListenerTls) -> ServerSide {
    ServerSide::new(tls, Protocol::Mqtt, &clock(), None).unwrap()
}

/// Passes on what both have to say until neither has more. Returns how often bytes changed direction and
/// how many there were.
fn shake(client: &mut Session, server: &mut Session) -> Result<(usize, usize), Failure> {
    let (mut flights, mut bytes) = (0, 0);
    let mut plain = vec![0; 64 * 1024];
    while client.wants_write() || server.wants_write() {
        for is_client in [true, false] {
            let (from, to) = if is_client {
                (&mut *client, &mut *server)
            } else {
                (&mut *server, &mut *client)
            };
            let mut sealed = Vec::new();
            while from.wants_write() {
                from.write(&mut sealed).unwrap();
            }
            if !sealed.is_empty() {
                flights += 1;
                bytes += sealed.len();
                if to.is_handshaking() {
                    to.advance(&sealed)?;
                } else {
                    to.open(&sealed, &mut plain)?;
                }
            }
        }
    }
    Ok((flights, bytes))
}

/// A client and a server that have shaken hands.
pub(crate) fn shaken() -> (Session, Session) {
    let folder = Folder::new();
    folder.sign("s", &["upstream.example"], |_| {});
    let mut client_side = ClientSide::new(clock());
    let client = Session::connect(&mut client_side, &folder.bridge(), "upstream.example");
    let (mut client, mut server) = (
        client.unwrap(),
        Session::accept(&side(&folder.listener("s"))),
    );
    shake(&mut client, &mut server).unwrap();
    (client, server)
}

/// A server that waits for a client.
pub(crate) fn accepting() -> Session {
    let folder = Folder::new();
    folder.sign("s", &["upstream.example"], |_| {});
    Session::accept(&side(&folder.listener("s")))
}

/// What is said where a handshake fails.
fn refusal(bridge: &BridgeTls, listener: &ListenerTls) -> String {
    let mut client_side = ClientSide::new(clock());
    let mut client = Session::connect(&mut client_side, bridge, "upstream.example").unwrap();
    let mut server = Session::accept(&side(listener));
    shake(&mut client, &mut server).unwrap_err().to_string()
}

#[test]
fn bytes_go_both_ways_and_a_session_goes_on() {
    let folder = Folder::new();
    folder.sign("s", &["upstream.example"], |_| {});
    for version in [TlsVersion::V12, TlsVersion::V13] {
        let mut listener = folder.listener("s");
        listener.version = version;
        let (server_side, mut client_side) = (side(&listener), ClientSide::new(clock()));
        let mut cost = Vec::new();
        for _ in 0..2 {
            let bridge = folder.bridge();
            let mut client =
                Session::connect(&mut client_side, &bridge, "upstream.example").unwrap();
            let mut server = Session::accept(&server_side);
            cost.push(shake(&mut client, &mut server).unwrap());
            assert!(!client.is_handshaking() && !server.is_handshaking());
            let mut plain = vec![0; 64 * 1024];
            for payload in [&b"x"[..], &[7; 30_000]] {
                for is_client in [true, false] {
                    let (from, to) = if is_client {
                        (&mut client, &mut server)
                    } else {
                        (&mut server, &mut client)
                    };
                    assert_eq!(from.seal(payload), payload.len());
                    let mut sealed = Vec::new();
                    while from.wants_write() {
                        from.write(&mut sealed).unwrap();
                    }
                    // In pieces, as they come.
                    let mut got = Vec::new();
                    for piece in sealed.chunks(10_000) {
                        let n = to.open(piece, &mut plain).unwrap();
                        got.extend_from_slice(&plain[..n]);
                    }
                    assert!(got == payload, "{} bytes of {}", got.len(), payload.len());
                }
            }
            let terms = client.terms();
            assert_eq!(terms.ends_with("resumed"), cost.len() == 2, "{terms}");
        }
        assert!(cost[1].1 < cost[0].1, "{cost:?}");
    }
}

#[test]
fn what_is_wrong_with_an_upstream_is_said() {
    let folder = Folder::new();
    let names = &["upstream.example"];
    folder.sign("good", names, |_| {});
    folder.sign("other", &["a.example", "127.0.0.1"], |_| {});
    folder.sign("none", &[], |_| {});
    folder.sign("old", names, |p| p.not_after = date_time_ymd(2020, 1, 1));
    folder.sign("early", names, |p| p.not_before = date_time_ymd(2030, 1, 1));
    let says = [
        (
            "other",
            "not for upstream.example, but for a.example, 127.0.0.1:",
        ),
        ("none", "has no subjectAltName"),
        ("old", "has expired on 2020-01-01T00:00:00"),
        ("early", "not valid yet, but from 2030-01-01T00:00:00"),
    ];
    for (name, text) in says {
        let said = refusal(&folder.bridge(), &folder.listener(name));
        assert!(said.contains(text), "{name}: {said}");
    }
    folder.write("elsewhere.pem", &authority("Another CA").pem());
    let mut bridge = folder.bridge();
    bridge.cafile = Some(folder.path("elsewhere.pem"));
    let said = refusal(&bridge, &folder.listener("good"));
    assert!(
        said.contains("Test CA") && said.contains("bridge_cafile"),
        "{said}"
    );
    // The name may be any then, and nothing else.
    bridge.insecure = true;
    refusal(&bridge, &folder.listener("other"));
    let mut bridge = folder.bridge();
    bridge.insecure = true;
    refusal(&bridge, &folder.listener("old"));
    let mut client_side = ClientSide::new(clock());
    let mut client = Session::connect(&mut client_side, &bridge, "upstream.example").unwrap();
    let mut server = Session::accept(&side(&folder.listener("other")));
    shake(&mut client, &mut server).unwrap();
}

#[test]
fn clients_show_certificates_where_they_have_to() {
    let folder = Folder::new();
    folder.sign("s", &["upstream.example"], |_| {});
    folder.sign("meter-7", &["meter-7"], |p| {
        p.distinguished_name
            .push(DnType::OrganizationName, "Hall, 3");
    });
    folder.sign("old", &["x"], |p| p.not_after = date_time_ymd(2020, 1, 1));
    let mut listener = folder.listener("s");
    listener.require_certificate = true;
    assert!(matches!(
        ServerSide::new(&listener, Protocol::Mqtt, &clock(), None),
        Err(Error::NoCa)
    ));
    listener.cafile = Some(folder.path("ca.pem"));
    let with = |name: &str| BridgeTls {
        certfile: Some(folder.path(&format!("{name}.pem"))),
        keyfile: Some(folder.path(&format!("{name}.key"))),
        ..folder.bridge()
    };
    let mut client_side = ClientSide::new(clock());
    let mut try_with = |bridge: &BridgeTls, listener: &ListenerTls| {
        let mut client = Session::connect(&mut client_side, bridge, "upstream.example").unwrap();
        let mut server = Session::accept(&side(listener));
        shake(&mut client, &mut server).map(|_| server.peer().unwrap())
    };
    let peer = try_with(&with("meter-7"), &listener).unwrap();
    assert_eq!(peer.common_name.as_deref(), Some("meter-7"));
    assert_eq!(peer.subject, "O=Hall\\, 3,CN=meter-7");
    let said = try_with(&folder.bridge(), &listener)
        .unwrap_err()
        .to_string();
    assert!(said.contains("shows no certificate"), "{said}");
    let said = try_with(&with("old"), &listener).unwrap_err().to_string();
    assert!(said.contains("client's certificate has expired"), "{said}");
    listener.disable_client_cert_date_checks = true;
    try_with(&with("old"), &listener).unwrap();
}

/// As OpenSSL's s_client says it with -tls1_1.
#[test]
fn a_client_of_an_old_version_is_named() {
    let folder = Folder::new();
    folder.sign("s", &["upstream.example"], |_| {});
    // Version 1.1, a session id of no bytes, one cipher suite, no compression.
    let mut hello = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x13, 1, 0]);
    let mut server = Session::accept(&side(&folder.listener("s")));
    let said = server.advance(&hello).unwrap_err().to_string();
    assert!(said.contains("no TLS version that is used here"), "{said}");
}

/// It breaks the rules at once, not only when more comes.
#[test]
fn what_comes_right_behind_a_hello_counts() {
    let folder = Folder::new();
    folder.sign("s", &["upstream.example"], |_| {});
    let mut client_side = ClientSide::new(clock());
    let mut client =
        Session::connect(&mut client_side, &folder.bridge(), "upstream.example").unwrap();
    let mut hello = Vec::new();
    client.write(&mut hello).unwrap();
    let server_side = side(&folder.listener("s"));
    let mut server = Session::accept(&server_side);
    server.advance(&hello).unwrap();
    let mut server = Session::accept(&server_side);
    server.advance(&[&*hello, &*hello].concat()).unwrap_err();
}

#[test]
fn files_that_cannot_be_used_are_named_with_the_cure() {
    let folder = Folder::new();
    folder.sign("a", &["a"], |_| {});
    folder.sign("b", &["b"], |_| {});
    folder.write("enc.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n");
    folder.write("text.pem", "nothing\n");
    let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    folder.write("bad.pem", bad);
    let said = |certificate: &str, key: &str| {
        let tls = ListenerTls {
            certfile: Some(folder.path(certificate)),
            keyfile: Some(folder.path(key)),
            ..ListenerTls::default()
        };
        let error = ServerSide::new(&tls, Protocol::Mqtt, &clock(), None).unwrap_err();
        let said = error.to_string();
        assert!(!said.contains('\n'), "{said}");
        said
    };
    assert!(said("a.pem", "b.key").contains("b.key: is not the private key of"));
    assert!(said("a.pem", "enc.key").contains("openssl pkey -in"));
    assert!(said("a.pem", "a.pem").contains("has no private key"));
    assert!(said("text.pem", "a.key").contains("has no certificate"));
    assert!(said("bad.pem", "a.key").contains("is damaged"));
    assert!(said("absent.pem", "a.key").contains("cannot be read"));
}

/// As OpenSSL does: what lacks between the certificate and its CA is taken from cafile.
#[test]
fn a_chain_is_completed() {
    let folder = Folder::new();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(DnType::CommonName, "Between");
    let between = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &folder.ca);
    let between = between.unwrap();
    let mut params = CertificateParams::new(vec!["upstream.example".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "leaf");
    let key = KeyPair::generate().unwrap();
    folder.write("leaf.pem", &params.signed_by(&key, &between).unwrap().pem());
    folder.write("leaf.key", &key.serialize_pem());
    folder.write("cas.pem", &(folder.ca.pem() + &between.pem()));
    let mut listener = folder.listener("leaf");
    let said = refusal(&folder.bridge(), &listener);
    assert!(said.contains("Between"), "{said}");
    listener.cafile = Some(folder.path("cas.pem"));
    let mut client_side = ClientSide::new(clock());
    let mut client =
        Session::connect(&mut client_side, &folder.bridge(), "upstream.example").unwrap();
    let mut server = Session::accept(&side(&listener));
    shake(&mut client, &mut server).unwrap();
}

/// A box that wakes up in 1970 judges by what it knows.
#[test]
fn a_clock_that_is_behind_does_not_keep_the_bridge_down() {
    let folder = Folder::new();
    let names = &["upstream.example"];
    folder.sign("s", names, |p| p.not_before = date_time_ymd(2025, 1, 1));
    folder.sign("old", names, |p| p.not_after = date_time_ymd(2020, 1, 1));
    let woken = Clock::default();
    woken.tell(Duration::from_secs(60));
    let mut client_side = ClientSide::new(woken.clone());
    let results = ["s", "old"].map(|name| {
        let bridge = folder.bridge();
        let mut client = Session::connect(&mut client_side, &bridge, "upstream.example").unwrap();
        let mut server = Session::accept(&side(&folder.listener(name)));
        shake(&mut client, &mut server)
    });
    assert!(woken.is_wrong());
    assert!(results[0].is_ok() && results[1].is_err());
}

#[test]
fn suites_are_chosen_by_name() {
    assert!(suites::provider(Some("TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384")).is_ok());
    let wrong = suites::provider(Some("AES128-SHA"))
        .unwrap_err()
        .to_string();
    assert!(wrong.contains("AES128-SHA is not known"), "{wrong}");
}
