//! What questions may take.

use super::*;

/// Anybody may send those, and many questions may be out.
#[test]
fn nobody_is_asked_about_names_that_are_too_long() {
    let text = |len| &*"x".repeat(len).leak();
    let mut site = Site::new(|general| general.doors.max_clientid_length = 100);
    for (id, username, password, is_asked) in [
        (100, 4096, 4096, true),
        (101, 1, 1, false),
        (1, 4097, 1, false),
        (1, 1, 4097, false),
    ] {
        let peer = site.world.dial(&Dial {
            username: Some(text(username)),
            password: Some(text(password)),
            ..Dial::clean(Version::V5, text(id))
        });
        if is_asked {
            site.answer(ALLOW);
            assert_eq!(site.connack(peer), Some(OK));
        } else {
            assert!(site.world.take_question().is_none());
            let reason = site.connack(peer).expect("a CONNACK");
            let wanted = match id {
                101 => Reason::CLIENT_IDENTIFIER_NOT_VALID,
                _ => DENIED,
            };
            assert_eq!(reason, wanted, "{id} {username} {password}");
        }
    }
}

/// Who connects and goes, again and again, gets no more questions out than may wait.
#[test]
fn questions_of_those_who_are_gone_count_until_they_are_answered() {
    let mut site = Site::new(|general| general.doors.max_waiting_logins = Some(2));
    for id in ["a", "b"] {
        let peer = site.dial(&Dial::clean(Version::V5, id), "ann");
        site.world.cut(peer);
    }
    let dial = Dial::clean(Version::V5, "c");
    let peer = site.dial(&dial, "ann");
    assert_eq!(site.connack(peer), Some(Reason::SERVER_BUSY));
    site.answer(ALLOW);
    let peer = site.dial(&dial, "ann");
    assert_eq!(site.connack(peer), None);
    site.answer(ALLOW);
    site.answer(ALLOW);
    assert_eq!(site.connack(peer), Some(OK));
}
