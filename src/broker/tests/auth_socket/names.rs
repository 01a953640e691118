//! Under which client id a program is asked about a client, and knows it.

use super::*;

/// The client id in the line of a question.
fn asked(line: &str) -> &str {
    let (_, rest) = line.split_once("\"client_id\":\"").expect("a client id");
    rest.split_once('"').expect("its end").0
}

#[test]
fn the_user_name_that_is_the_client_id_is_asked_about_and_revoked() {
    let mut site = Site::new(|_| ());
    let listener = Listener {
        use_username_as_clientid: true,
        ..Listener::on(1)
    };
    site.world = World::with_listeners(site.world.settings.clone(), vec![listener]);
    site.world.logins_held = true;
    for version in [Version::V311, Version::V5] {
        let dial = Dial::clean(version, "x");
        let peer = site.dial(&dial, "ann");
        assert_eq!(asked(&site.answer(ALLOW)), "ann");
        assert_eq!(site.connack(peer), Some(OK));
        site.revoke(Some("x"), None);
        assert!(site.world.is_open(peer), "nobody's");
        site.revoke(Some("ann"), None);
        assert!(!site.world.is_open(peer));
        // Nothing is kept: it is asked about again.
        let peer = site.dial(&dial, "ann");
        site.answer("\"answer\":\"deny\"");
        assert_eq!(site.connack(peer), Some(DENIED));
    }
}

#[test]
fn a_client_id_of_the_broker_is_asked_about_and_revoked() {
    let mut site = Site::new(|general| general.security.auto_id_prefix = "auto-".to_owned());
    let dial = Dial::clean(Version::V5, "");
    let [first, second] = [(); 2].map(|()| {
        let peer = site.dial(&dial, "ann");
        // Nothing is kept of what was said about another id.
        let id = asked(&site.answer(ALLOW)).to_owned();
        assert_eq!(site.connack(peer), Some(OK));
        (peer, id)
    });
    assert!(first.1.starts_with("auto-") && first.1 != second.1);
    site.revoke(Some(&first.1), None);
    assert!(!site.world.is_open(first.0) && site.world.is_open(second.0));
    // SIGHUP while the question is out: the same id is asked about once more.
    let peer = site.dial(&dial, "ann");
    site.world.reload();
    let before = asked(&site.answer(ALLOW)).to_owned();
    assert_eq!(asked(&site.answer(ALLOW)), before);
    assert_eq!(site.connack(peer), Some(OK));
    site.revoke(Some(&before), None);
    assert!(!site.world.is_open(peer));
}
