//! Who may sign the certificates of others.

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

/// What a bridge with these in bridge_cafile says to an upstream with the certificate NAME.pem.
fn takes(folder: &Folder, cas: &[&str], name: &str) -> String {
    let pem = |name: &&str| std::fs::read_to_string(folder.path(&format!("{name}.pem"))).unwrap();
    folder.write("cas.pem", &cas.iter().map(pem).collect::<String>());
    let bridge = BridgeTls {
        cafile: Some(folder.path("cas.pem")),
        ..BridgeTls::default()
    };
    let mut client_side = ClientSide::new(clock());
    let mut client = Session::connect(&mut client_side, &bridge, "operator").unwrap();
    let mut server = Session::accept(&side(&folder.listener(name)));
    match shake(&mut client, &mut server) {
        Ok(_) => "taken".to_owned(),
        Err(failure) => failure.to_string(),
    }
}

/// The certificate of an upstream that has signed itself, which most make with `openssl req -x509`, is
/// trusted as it is. If it is no CA's, what it has signed is not.
#[test]
fn an_upstream_that_is_known_by_its_own_certificate() {
    let folder = Folder::new();
    folder.sign("operator", &["operator"], |_| {});
    let own = |name: &str, is_ca: IsCa, ends| {
        pair(&folder, name, |params| {
            params.subject_alt_names = CertificateParams::new(vec!["operator".to_owned()])
                .unwrap()
                .subject_alt_names;
            params.is_ca = is_ca;
            params.not_after = date_time_ymd(ends, 1, 1);
            if name == "client" {
                params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
            }
        })
    };
    let any = || IsCa::Ca(BasicConstraints::Unconstrained);
    let by_leaf = own("leaf", IsCa::ExplicitNoCa, 2030);
    let by_silent = own("silent", IsCa::NoCa, 2030);
    let by_root = own("root", any(), 2030);
    own("late", any(), 2026);
    own("client", any(), 2030);
    own("stranger", any(), 2030);
    for cas in [
        &["leaf", "silent", "root"][..],
        &["ca", "leaf", "silent", "root"],
    ] {
        for name in ["leaf", "silent", "root", &by_root] {
            assert_eq!(takes(&folder, cas, name), "taken", "{name}");
        }
        for name in [&by_leaf, &by_silent, "stranger"] {
            let says = takes(&folder, cas, name);
            assert!(
                says.contains("none of those that the bridge trusts") || says.contains("no CA's"),
                "{name}: {says}"
            );
        }
    }
    assert!(takes(&folder, &["leaf"], "operator").contains("none of those"));
    assert_eq!(takes(&folder, &["leaf", "ca"], "operator"), "taken");
    assert!(takes(&folder, &["late"], "late").contains("expired"));
    assert!(takes(&folder, &["client"], "client").contains("not for servers"));
    // The certificate of an upstream that a CA has signed is no CA's.
    assert!(takes(&folder, &["operator"], "operator").contains("none of those"));
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
