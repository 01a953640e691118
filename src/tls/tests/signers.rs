//! Who may sign the certificates of clients.

use rcgen::KeyUsagePurpose;

use super::*;
use crate::tls::certificate::may_sign;

/// One that has signed itself, and with it another: the two as the client shows them.
fn pair(folder: &Folder, name: &str, change: impl FnOnce(&mut CertificateParams)) -> String {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    folder.write(&format!("{name}.key"), &key.serialize_pem());
    let first = CertifiedIssuer::self_signed(params, key).unwrap();
    folder.write(&format!("{name}.pem"), &first.pem());
    let mut params = CertificateParams::new(vec!["operator".to_owned()]).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, "operator");
    let key = KeyPair::generate().unwrap();
    let second = params.signed_by(&key, &first).unwrap();
    let other = format!("by-{name}");
    folder.write(&format!("{other}.pem"), &(second.pem() + &first.pem()));
    folder.write(&format!("{other}.key"), &key.serialize_pem());
    other
}

/// Whether a client with the certificate NAME.pem gets in where `cas` are trusted.
fn enters(folder: &Folder, cas: &[&str], name: &str) -> bool {
    let pem = |name: &&str| std::fs::read_to_string(folder.path(&format!("{name}.pem"))).unwrap();
    folder.write("cas.pem", &cas.iter().map(pem).collect::<String>());
    let mut listener = folder.listener("s");
    listener.require_certificate = true;
    listener.cafile = Some(folder.path("cas.pem"));
    let bridge = BridgeTls {
        certfile: Some(folder.path(&format!("{name}.pem"))),
        keyfile: Some(folder.path(&format!("{name}.key"))),
        ..folder.bridge()
    };
    let mut client_side = ClientSide::new(clock());
    let mut client = Session::connect(&mut client_side, &bridge, "upstream.example").unwrap();
    let mut server = Session::accept(&side(&listener));
    shake(&mut client, &mut server).is_ok()
}

/// A device whose own certificate is trusted makes none for others, as with OpenSSL.
#[test]
fn who_is_no_ca_signs_for_nobody_else() {
    let folder = Folder::new();
    folder.sign("s", &["upstream.example"], |_| {});
    folder.sign("meter-1", &["meter-1"], |_| {});
    let forged = pair(&folder, "device", |params| {
        params.is_ca = IsCa::ExplicitNoCa;
    });
    let other = pair(&folder, "other", |params| {
        params.is_ca = IsCa::ExplicitNoCa;
    });
    for cas in [&["device"][..], &["device", "ca"]] {
        assert!(enters(&folder, cas, "device"));
        assert!(!enters(&folder, cas, &forged));
        assert!(!enters(&folder, cas, "other") && !enters(&folder, cas, &other));
        assert_eq!(enters(&folder, cas, "meter-1"), cas.len() == 2);
    }
    // What a CA has signed for a device is known by that alone.
    assert!(!enters(&folder, &["meter-1"], "meter-1"));
    let signed = pair(&folder, "authority", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    assert!(enters(&folder, &["authority"], &signed));
}

/// As OpenSSL's X509_check_ca(3) has it.
#[test]
fn a_certificate_says_whether_it_is_a_cas() {
    use KeyUsagePurpose::{DigitalSignature, KeyCertSign};
    let unconstrained = || IsCa::Ca(BasicConstraints::Unconstrained);
    for (is_ca, usages, expected) in [
        (unconstrained(), vec![], true),
        (unconstrained(), vec![KeyCertSign], true),
        (unconstrained(), vec![DigitalSignature], false),
        (IsCa::ExplicitNoCa, vec![KeyCertSign], false),
        (IsCa::NoCa, vec![], false),
        (IsCa::NoCa, vec![KeyCertSign], true),
        (IsCa::NoCa, vec![DigitalSignature], false),
    ] {
        let mut params = CertificateParams::default();
        let row = format!("{is_ca:?} {usages:?}");
        (params.is_ca, params.key_usages) = (is_ca, usages);
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(may_sign(made.der()), expected, "{row}");
    }
    assert!(!may_sign(b"\x30\x03\x30\x01\x00"));
}
