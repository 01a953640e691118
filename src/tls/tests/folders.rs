//! What lies where files are expected, or beside them.

use std::os::unix::fs::symlink;

use super::*;

/// A FIFO would be waited for, with everything else; a device has no end.
#[test]
fn what_is_no_file_is_refused() {
    let folder = Folder::new();
    folder.sign("s", &["s"], |_| {});
    let fifo = folder.path("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
    for path in [fifo, PathBuf::from("/dev/zero"), folder.path("")] {
        let listeners = [
            ListenerTls {
                certfile: Some(path.clone()),
                ..folder.listener("s")
            },
            ListenerTls {
                keyfile: Some(path.clone()),
                ..folder.listener("s")
            },
            ListenerTls {
                cafile: Some(path),
                ..folder.listener("s")
            },
        ];
        for tls in listeners {
            let error = ServerSide::new(&tls, Protocol::Mqtt, &clock(), None).unwrap_err();
            assert!(error.to_string().contains("and no file"), "{error}");
        }
    }
    folder.write("large.pem", &"x".repeat(5 << 20));
    let mut tls = folder.listener("s");
    tls.cafile = Some(folder.path("large.pem"));
    let error = ServerSide::new(&tls, Protocol::Mqtt, &clock(), None).unwrap_err();
    assert!(error.to_string().contains("more than"), "{error}");
}

/// The key of the CA, which only root may read, often lies beside it. Whoever runs the tests may be root,
/// so what can't be read is a file that is too large here.
#[test]
fn a_file_in_capath_that_cannot_be_read_stops_nothing() {
    let folder = Folder::new();
    folder.sign("s", &["upstream.example"], |_| {});
    std::fs::create_dir(folder.path("cas")).unwrap();
    std::fs::copy(folder.path("ca.pem"), folder.path("cas/ca.pem")).unwrap();
    folder.write("cas/large", &"x".repeat(5 << 20));
    folder.write("cas/bad.pem", "-----BEGIN CERTIFICATE-----\nAA\n");
    symlink("nowhere", folder.path("cas/0.0")).unwrap();
    let mut tls = folder.listener("s");
    tls.require_certificate = true;
    tls.capath = Some(folder.path("cas"));
    let first = side(&tls);
    let bridge = BridgeTls {
        capath: tls.capath.clone(),
        ..BridgeTls::default()
    };
    ClientSide::check(&bridge).unwrap();
    // The same goes on, and what is new counts.
    let again = |before| ServerSide::new(&tls, Protocol::Mqtt, &clock(), Some(before)).unwrap();
    let is_same =
        |one: &ServerSide, other: &ServerSide| std::sync::Arc::ptr_eq(&one.configs, &other.configs);
    assert!(is_same(&first, &again(&first)));
    folder.write("cas/another.pem", &authority("Another CA").pem());
    assert!(!is_same(&first, &again(&first)));
}

/// A key that only root can read is read at the start; what is new beside it counts all the same.
#[test]
fn a_key_that_cannot_be_read_again_stays() {
    let folder = Folder::new();
    folder.sign("s", &["upstream.example"], |_| {});
    let mut tls = folder.listener("s");
    let first = side(&tls);
    std::fs::remove_file(folder.path("s.key")).unwrap();
    tls.cafile = Some(folder.path("ca.pem"));
    tls.require_certificate = true;
    let new = |before| ServerSide::new(&tls, Protocol::Mqtt, &clock(), before);
    let second = new(Some(&first)).unwrap();
    assert_eq!(second.certificate, first.certificate);
    let mut client_side = ClientSide::new(clock());
    let client = Session::connect(&mut client_side, &folder.bridge(), "upstream.example");
    let (mut client, mut server) = (client.unwrap(), Session::accept(&second));
    let said = shake(&mut client, &mut server).unwrap_err().to_string();
    assert!(said.contains("shows no certificate"), "{said}");
    // Another certificate has another key.
    assert!(new(None).is_err());
    folder.sign("other", &["upstream.example"], |_| {});
    std::fs::copy(folder.path("other.pem"), folder.path("s.pem")).unwrap();
    let error = new(Some(&first)).unwrap_err();
    assert!(error.to_string().contains("s.key"), "{error}");
}
