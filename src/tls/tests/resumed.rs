//! Sessions that go on, and what a client's certificate is worth by then.

use super::*;

/// What comes of a client at each of these days of December 2026, which goes on with its session where
/// it can.
fn on_days(
    folder: &Folder,
    listener: &ListenerTls,
    version: TlsVersion,
    days: &[u64],
) -> Vec<String> {
    let clock = Clock::default();
    let mut client_side = ClientSide::new(super::clock());
    let bridge = BridgeTls {
        certfile: Some(folder.path("meter.pem")),
        keyfile: Some(folder.path("meter.key")),
        ..folder.bridge()
    };
    let listener = ListenerTls {
        version,
        ..listener.clone()
    };
    let side = ServerSide::new(&listener, Protocol::Mqtt, &clock, None).unwrap();
    let said = days.iter().map(|day| {
        clock.tell(Duration::from_secs(1_796_083_200 + (day - 1) * 86_400));
        let client = Session::connect(&mut client_side, &bridge, "upstream.example");
        let mut server = Session::accept(&side);
        match shake(&mut client.unwrap(), &mut server) {
            Ok(_) if server.terms().ends_with("resumed") => "resumed".to_owned(),
            Ok(_) => "new".to_owned(),
            Err(failure) => {
                assert!(!server.wants_write(), "no new ticket leaves");
                failure.to_string()
            }
        }
    });
    said.collect()
}

/// A ticket says what was good once, and each one makes the next.
#[test]
fn a_session_does_not_outlive_the_certificate_of_its_client() {
    let folder = Folder::new();
    folder.sign("s", &["upstream.example"], |_| {});
    folder.sign("meter", &["meter"], |p| {
        p.not_after = date_time_ymd(2026, 12, 10);
    });
    let mut listener = folder.listener("s");
    listener.require_certificate = true;
    listener.cafile = Some(folder.path("ca.pem"));
    for version in [TlsVersion::V12, TlsVersion::V13] {
        let said = on_days(&folder, &listener, version, &[1, 2, 11]);
        assert_eq!(said[..2], ["new", "resumed"]);
        assert!(
            said[2].contains("client's certificate has expired"),
            "{said:?}"
        );
    }
    listener.disable_client_cert_date_checks = true;
    let said = on_days(&folder, &listener, TlsVersion::V13, &[1, 11]);
    assert_eq!(said, ["new", "resumed"]);
}
