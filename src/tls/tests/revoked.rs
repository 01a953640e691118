//! `crlfile`, as OpenSSL judges with X509_V_FLAG_CRL_CHECK.

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};

use super::*;

/// The serial number of `meter`.
const METER: u64 = 77;

/// A list in PEM that was made on this day of November 2026, counts up to one of December, and revokes
/// these.
fn list(ca: &CertifiedIssuer<'static, KeyPair>, (made, ends): (u8, u8), revoked: &[u64]) -> String {
    let revoked_certs = revoked.iter().map(|serial| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: date_time_ymd(2026, 11, 1),
        reason_code: None,
        invalidity_date: None,
    });
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 11, made),
        next_update: date_time_ymd(2026, 12, ends),
        crl_number: SerialNumber::from(u64::from(made)),
        issuing_distribution_point: None,
        revoked_certs: revoked_certs.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(ca).unwrap().pem().unwrap()
}

/// As of 2026-12-01 and 2026-12-20, for a certificate of version 3 and one of version 1.
fn said(folder: &Folder, lists: &[&str], any_date: bool) -> [String; 4] {
    folder.write("crl.pem", &lists.concat());
    let listener = ListenerTls {
        cafile: Some(folder.path("ca.pem")),
        crlfile: Some(folder.path("crl.pem")),
        require_certificate: true,
        disable_client_cert_date_checks: any_date,
        ..folder.listener("s")
    };
    let at = |day: u64, name: &str| {
        let clock = Clock::default();
        clock.tell(Duration::from_secs(1_796_083_200 + (day - 1) * 86_400));
        let side = ServerSide::new(&listener, Protocol::Mqtt, &clock, None).unwrap();
        shown_to(folder, &side, name)
    };
    [at(1, "meter"), at(1, "old"), at(20, "meter"), at(20, "old")]
}

fn shown_to(folder: &Folder, side: &ServerSide, name: &str) -> String {
    let bridge = BridgeTls {
        certfile: Some(folder.path(&format!("{name}.pem"))),
        keyfile: Some(folder.path(&format!("{name}.key"))),
        ..folder.bridge()
    };
    let mut client_side = ClientSide::new(clock());
    let mut client = Session::connect(&mut client_side, &bridge, "upstream.example").unwrap();
    match shake(&mut client, &mut Session::accept(side)) {
        Ok(_) => "in".to_owned(),
        Err(failure) => failure.to_string(),
    }
}

fn folder() -> Folder {
    let folder = Folder::new();
    folder.sign("s", &["upstream.example"], |_| {});
    folder.sign("meter", &["meter"], |params| {
        params.serial_number = Some(SerialNumber::from(METER));
    });
    sign_version1(&folder, "old", &folder.ca);
    folder
}

#[track_caller]
fn all_say(said: &[String], text: &str) {
    assert!(
        said.iter().all(|said| said.contains(text)),
        "{text}: {said:?}"
    );
}

/// A list of another CA says nothing of ours, so nobody is let in by it; one that has ended says nothing of
/// what was revoked since.
#[test]
fn without_a_list_that_counts_nobody_gets_in() {
    let folder = folder();
    let until = |day| list(&folder.ca, (1, day), &[]);
    assert_eq!(said(&folder, &[&until(30)], false), ["in"; 4]);
    let ended = said(&folder, &[&until(10)], false);
    assert_eq!(ended[..2], ["in", "in"]);
    all_say(&ended[2..], "has ended (nextUpdate)");
    // Who can't trust the clock wants no dates.
    assert_eq!(said(&folder, &[&until(10)], true), ["in"; 4]);
    let strange = list(&authority("Another CA"), (1, 30), &[]);
    for any_date in [false, true] {
        let unknown = said(&folder, &[&strange], any_date);
        all_say(&unknown, "no list of the CA that has signed it");
    }
    assert_eq!(said(&folder, &[&strange, &until(30)], false), ["in"; 4]);
    // One that somebody else has made in the name of ours.
    let forged = said(
        &folder,
        &[&list(&authority("Test CA"), (1, 30), &[])],
        false,
    );
    assert!(forged.iter().all(|said| said != "in"), "{forged:?}");
}

/// Wherever it stands: lists are often appended.
#[test]
fn of_several_lists_of_a_ca_the_newest_counts() {
    let folder = folder();
    let (before, after) = (
        list(&folder.ca, (1, 30), &[]),
        list(&folder.ca, (20, 30), &[METER, OLD]),
    );
    for lists in [[&*before, &after], [&*after, &before]] {
        all_say(&said(&folder, &lists, false), "is revoked (crlfile)");
    }
    let (before, after) = (
        list(&folder.ca, (1, 30), &[METER, OLD]),
        list(&folder.ca, (20, 30), &[]),
    );
    for lists in [[&*before, &after], [&*after, &before]] {
        assert_eq!(said(&folder, &lists, false), ["in"; 4]);
    }
}

/// OpenSSL finds no list of who has signed itself either.
#[test]
fn who_is_trusted_alone_is_in_no_list() {
    let folder = folder();
    let mut params = CertificateParams::new(vec!["alone".to_owned()]).unwrap();
    params.is_ca = IsCa::ExplicitNoCa;
    params.distinguished_name.push(DnType::CommonName, "alone");
    let key = KeyPair::generate().unwrap();
    let alone = params.self_signed(&key).unwrap().pem();
    folder.write("alone.pem", &alone);
    folder.write("alone.key", &key.serialize_pem());
    folder.write("both.pem", &(folder.ca.pem() + &alone));
    folder.write("crl.pem", &list(&folder.ca, (1, 30), &[]));
    let mut listener = folder.listener("s");
    listener.require_certificate = true;
    listener.cafile = Some(folder.path("both.pem"));
    assert_eq!(shown_to(&folder, &side(&listener), "alone"), "in");
    listener.crlfile = Some(folder.path("crl.pem"));
    all_say(
        &[shown_to(&folder, &side(&listener), "alone")],
        "no list of the CA",
    );
}

#[test]
fn lists_that_end_are_warned_of() {
    let folder = folder();
    let another = authority("Another CA");
    let lists = [
        list(&folder.ca, (11, 1), &[]),
        list(&folder.ca, (21, 21), &[]),
        list(&another, (1, 31), &[]),
    ];
    folder.write("crl.pem", &lists.concat());
    let mut listener = folder.listener("s");
    listener.require_certificate = true;
    listener.cafile = Some(folder.path("ca.pem"));
    listener.crlfile = Some(folder.path("crl.pem"));
    let side = side(&listener);
    let on = |day: u64| side.warn_of_lists(Duration::from_secs(1_796_083_200 + (day - 1) * 86_400));
    assert_eq!(on(13), [""; 0]);
    for (day, says) in [(14, "ends on 2026-12-21"), (22, "has ended on 2026-12-21")] {
        let said = on(day);
        assert!(
            said.iter()
                .any(|line| line.contains("CN=Test CA") && line.contains(says)),
            "{said:?}"
        );
    }
    assert_eq!(on(14).len(), 1);
}
