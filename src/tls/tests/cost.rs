//! What handshakes cost on the wire: a session that goes on is what a cellular link has tickets for.

use rustls::{ClientConfig, ClientConnection, pki_types::ServerName};

use super::*;

/// A chain of a certificate and the one between it and the CA, as upstreams have them.
fn with_chain(folder: &Folder, name: &str, names: &[&str]) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(DnType::CommonName, "Between");
    let key = KeyPair::generate().unwrap();
    let between = CertifiedIssuer::signed_by(params, key, &folder.ca).unwrap();
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let signed = params.signed_by(&key, &between).unwrap();
    folder.write(&format!("{name}.pem"), &(signed.pem() + &between.pem()));
    folder.write(&format!("{name}.key"), &key.serialize_pem());
}

/// Flights and bytes of a first handshake and of one that goes on with its session.
#[test]
fn a_session_that_goes_on_costs_less() {
    let folder = Folder::new();
    with_chain(&folder, "s", &["upstream.example"]);
    with_chain(&folder, "edge", &["edge"]);
    for is_mutual in [false, true] {
        let mut listener = folder.listener("s");
        let mut bridge = folder.bridge();
        if is_mutual {
            listener.require_certificate = true;
            listener.cafile = Some(folder.path("ca.pem"));
            bridge.certfile = Some(folder.path("edge.pem"));
            bridge.keyfile = Some(folder.path("edge.key"));
        }
        let (server_side, mut client_side) = (side(&listener), ClientSide::new(clock()));
        let [first, again] = [(); 2].map(|()| {
            let client = Session::connect(&mut client_side, &bridge, "upstream.example");
            shake(&mut client.unwrap(), &mut Session::accept(&server_side)).unwrap()
        });
        // ClientHello; all that the server has; Finished; a ticket.
        assert_eq!((first.0, again.0), (4, 4), "flights of TLS 1.3");
        // A ticket of ours has the client's certificates in it.
        let most = if is_mutual { 80 } else { 70 };
        assert!(100 * again.1 < most * first.1, "{first:?} {again:?}");
    }
}

/// As [`shake`], for a client that knows no TLS but 1.2.
fn shake_old(client: &mut ClientConnection, server: &mut Session) -> (usize, usize) {
    let (mut flights, mut bytes) = (0, 0);
    while client.wants_write() || server.wants_write() {
        let mut sealed = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut sealed).unwrap();
        }
        (flights, bytes) = (
            flights + usize::from(!sealed.is_empty()),
            bytes + sealed.len(),
        );
        server.advance(&sealed).unwrap();
        sealed.clear();
        while server.wants_write() {
            server.write(&mut sealed).unwrap();
        }
        (flights, bytes) = (
            flights + usize::from(!sealed.is_empty()),
            bytes + sealed.len(),
        );
        let mut rest = &sealed[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    (flights, bytes)
}

/// With TLS 1.2 it saves a round trip: the client speaks first again, a flight sooner.
#[test]
fn with_the_older_version_it_saves_a_round_trip() {
    let folder = Folder::new();
    with_chain(&folder, "s", &["upstream.example"]);
    let bridge = folder.bridge();
    let roots = files::Cas::of_bridge(&bridge).roots().unwrap();
    let provider = suites::provider(None).unwrap();
    let config = ClientConfig::builder_with_details(provider, clock().shared())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = std::sync::Arc::new(config);
    let server_side = side(&folder.listener("s"));
    let [first, again] = [(); 2].map(|()| {
        let name = ServerName::try_from("upstream.example").unwrap();
        let mut client = ClientConnection::new(config.clone(), name).unwrap();
        shake_old(&mut client, &mut Session::accept(&server_side))
    });
    assert_eq!((first.0, again.0), (4, 3), "flights");
    assert!(100 * again.1 < 60 * first.1, "{first:?} {again:?}");
}
