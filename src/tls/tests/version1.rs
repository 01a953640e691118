//! Certificates of version 1.

use rcgen::{CertificateParams, CertifiedIssuer, DnType, KeyPair};

use super::*;
use crate::tls::der::{Elements, tag};

/// The serial number of certificates of version 1.
pub(super) const OLD: u64 = 11;

/// A certificate of version 1, as `openssl x509 -req` makes it without extensions: NAME.pem and NAME.key.
pub(super) fn sign_version1(
    folder: &Folder,
    name: &str,
    signer: &CertifiedIssuer<'static, KeyPair>,
) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(rcgen::SerialNumber::from(OLD));
    let modern = params.signed_by(&key, signer).unwrap();
    let mut parts = Elements::new(modern.der()).enter(tag::SEQUENCE).unwrap();
    let mut fields = parts.enter(tag::SEQUENCE).unwrap();
    let algorithm = parts.whole(tag::SEQUENCE).unwrap();
    fields.enter(0xa0).unwrap();
    let mut signed = fields.whole(tag::INTEGER).unwrap().to_vec();
    for _ in 0..5 {
        signed.extend_from_slice(fields.whole(tag::SEQUENCE).unwrap());
    }
    let signed = der(tag::SEQUENCE, &signed);
    let mut signature = vec![0];
    signature.extend(rcgen::SigningKey::sign(signer.key(), &signed).unwrap());
    let signature = der(tag::BIT_STRING, &signature);
    let whole = der(tag::SEQUENCE, &[&signed, algorithm, &signature].concat());
    let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, whole);
    folder.write(
        &format!("{name}.pem"),
        &format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"),
    );
    folder.write(&format!("{name}.key"), &key.serialize_pem());
}

fn der(tag: u8, inside: &[u8]) -> Vec<u8> {
    let len = match inside.len() {
        len @ 0..0x80 => vec![len as u8],
        len @ 0x80..0x100 => vec![0x81, len as u8],
        len => vec![0x82, (len >> 8) as u8, len as u8],
    };
    [&[tag], &len[..], inside].concat()
}

/// What comes of a client that shows the certificate NAME, by TLS of this version.
fn shown(folder: &Folder, listener: &ListenerTls, name: &str, version: TlsVersion) -> String {
    let mut client_side = ClientSide::new(clock());
    let bridge = BridgeTls {
        certfile: Some(folder.path(&format!("{name}.pem"))),
        keyfile: Some(folder.path(&format!("{name}.key"))),
        version,
        ..folder.bridge()
    };
    let mut client = Session::connect(&mut client_side, &bridge, "upstream.example").unwrap();
    let mut server = Session::accept(&side(listener));
    match shake(&mut client, &mut server) {
        Ok(_) => server.peer().unwrap().common_name.unwrap(),
        Err(failure) => failure.to_string(),
    }
}

/// mosquitto-tls(7) tells to make such, and devices have them for years.
#[test]
fn clients_may_show_a_certificate_of_version_1() {
    let folder = Folder::new();
    folder.sign("s", &["upstream.example"], |_| {});
    sign_version1(&folder, "old", &folder.ca);
    sign_version1(&folder, "strange", &authority("Another CA"));
    // By a CA that has the name of ours.
    sign_version1(&folder, "forged", &authority("Test CA"));
    let listener = ListenerTls {
        cafile: Some(folder.path("ca.pem")),
        require_certificate: true,
        ..folder.listener("s")
    };
    for version in [TlsVersion::V12, TlsVersion::V13] {
        let shown = |name| shown(&folder, &listener, name, version);
        assert_eq!(shown("old"), "old");
        assert!(
            shown("strange").contains("none of the CAs"),
            "{}",
            shown("strange")
        );
        assert!(
            shown("forged").contains("signature that is wrong"),
            "{}",
            shown("forged")
        );
        // Its holder is who has the key.
        let key = std::fs::read(folder.path("old.key")).unwrap();
        std::fs::copy(folder.path("forged.key"), folder.path("old.key")).unwrap();
        let mut client_side = ClientSide::new(clock());
        let bridge = BridgeTls {
            certfile: Some(folder.path("old.pem")),
            keyfile: Some(folder.path("old.key")),
            ..folder.bridge()
        };
        let stolen = Session::connect(&mut client_side, &bridge, "upstream.example");
        let stolen = stolen.map(|mut client| {
            let mut server = Session::accept(&side(&listener));
            shake(&mut client, &mut server).unwrap_err().to_string()
        });
        let stolen = stolen.unwrap_or_else(|error| error.to_string());
        assert!(stolen.contains("signature"), "{stolen}");
        std::fs::write(folder.path("old.key"), key).unwrap();
    }
}

/// It has no names, so a bridge takes it only where none is looked at.
#[test]
fn an_upstream_may_show_one_where_names_do_not_count() {
    let folder = Folder::new();
    sign_version1(&folder, "s", &folder.ca);
    sign_version1(&folder, "forged", &authority("Test CA"));
    let insecure = BridgeTls {
        insecure: true,
        ..folder.bridge()
    };
    let mut client_side = ClientSide::new(clock());
    let mut client = Session::connect(&mut client_side, &insecure, "upstream.example").unwrap();
    let mut server = Session::accept(&side(&folder.listener("s")));
    assert!(shake(&mut client, &mut server).is_ok());
    for (bridge, name, says) in [
        (&folder.bridge(), "s", "version 1"),
        (&insecure, "forged", "signature"),
    ] {
        let refused = refusal(bridge, &folder.listener(name));
        assert!(refused.contains(says), "{refused}");
    }
}
