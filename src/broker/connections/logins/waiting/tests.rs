//! The lines of those who wait, and what they take.

use super::*;
use crate::keys::Table;

const ROOM: Room = Room {
    all: Some(100),
    per_address: Some(50),
};

fn login(is_known: bool) -> Login {
    let connect = vec![0; 10];
    Login {
        connect: connect.into(),
        kind: Kind::Password,
        is_known,
    }
}

fn from(n: u32) -> Option<Block> {
    Some(Block::V4(n))
}

/// Adds `count` of an address.
fn add(
    logins: &mut Logins,
    table: &mut Table<ConnId, ()>,
    (address, is_known): (u32, bool),
    count: usize,
) -> Vec<ConnId> {
    let mut add = || {
        let c = table.insert(());
        logins.add(c, from(address), login(is_known));
        c
    };
    (0..count).map(|_| add()).collect()
}

/// All in the order in which they are asked about.
fn order(logins: &mut Logins) -> Vec<ConnId> {
    let mut order = Vec::new();
    while let Some((c, _)) = logins.next() {
        order.push(c);
        logins.remove(c);
    }
    order
}

#[test]
fn addresses_take_turns_and_known_ones_go_first() {
    let (mut logins, mut table) = (Logins::default(), Table::default());
    let crowd = add(&mut logins, &mut table, (1, false), 4);
    let other = add(&mut logins, &mut table, (2, false), 1);
    let device = add(&mut logins, &mut table, (3, true), 4);
    let next = add(&mut logins, &mut table, (4, true), 1);
    let wanted = [
        device[0], next[0], device[1], crowd[0], device[2], device[3], other[0], crowd[1],
        crowd[2], crowd[3],
    ];
    assert_eq!(order(&mut logins), wanted);
    assert!(
        logins.waiting.is_empty()
            && logins.passwords.known.is_empty()
            && logins.passwords.others.is_empty()
    );
    assert_eq!(
        (
            logins.bytes,
            logins.shares.len(),
            logins.passwords.others.of.len()
        ),
        (0, 0, 0)
    );
}

/// The worker has one to go on with, and no more: who comes meanwhile may go before the rest.
#[test]
fn few_questions_are_out() {
    let (mut logins, mut table) = (Logins::default(), Table::default());
    let all = add(&mut logins, &mut table, (1, false), 5);
    for _ in 0..OUT {
        assert!(logins.next().is_some());
        logins.passwords.out += 1;
    }
    assert_eq!(logins.next(), None);
    assert!(logins.answered(all[0], &Kind::Password, 0).is_some());
    assert_eq!(logins.next().map(|(c, _)| c), Some(all[OUT]));
}

#[test]
fn an_answer_finds_only_who_has_asked_under_these_rules() {
    let (mut logins, mut table) = (Logins::default(), Table::default());
    let [first] = add(&mut logins, &mut table, (1, false), 1)[..] else {
        panic!("one")
    };
    logins.next();
    logins.passwords.out += 1;
    logins.rules += 1;
    let second = add(&mut logins, &mut table, (1, false), 1)[0];
    assert_eq!(
        logins.answered(first, &Kind::Password, 0),
        None,
        "asked again"
    );
    assert_eq!(logins.next().map(|(c, _)| c), Some(first));
    logins.passwords.out += 1;
    // The connection goes, and another has its place.
    logins.leave(first);
    table.remove(first);
    let next = table.insert(());
    assert_eq!(next.slot(), first.slot());
    logins.add(next, from(9), login(false));
    assert_eq!(logins.answered(first, &Kind::Password, 1), None);
    assert_eq!((logins.passwords.out, logins.waiting.len()), (0, 2));
    assert_eq!(order(&mut logins), [second, next]);
}

/// What is out takes memory, whether its connection is there or not.
#[test]
fn a_question_counts_until_it_is_answered() {
    let (mut logins, mut table) = (Logins::default(), Table::default());
    let two = add(&mut logins, &mut table, (1, false), 2);
    logins.next();
    logins.ask(two[0], (&Kind::Password, 4));
    logins.leave(two[0]);
    logins.leave(two[0]);
    logins.leave(two[1]);
    assert_eq!((logins.len(), logins.bytes), (1, 4), "one is out");
    let room = Room {
        all: None,
        per_address: Some(1),
    };
    let admitted = |logins: &Logins| logins.admits(&login(false), from(1), room);
    assert_eq!(admitted(&logins), Err(Crowded::Address));
    logins.rules += 1;
    assert_eq!(logins.answered(two[0], &Kind::Password, 0), None);
    assert_eq!((logins.len(), logins.bytes), (0, 0));
    assert_eq!(admitted(&logins), Ok(()));
    assert_eq!(logins.next(), None);
}

#[test]
fn an_address_and_all_have_bounds() {
    let (mut logins, mut table) = (Logins::default(), Table::default());
    add(&mut logins, &mut table, (1, false), 50);
    let admits = |logins: &Logins, address| logins.admits(&login(false), from(address), ROOM);
    assert_eq!(admits(&logins, 1), Err(Crowded::Address));
    assert_eq!(admits(&logins, 2), Ok(()));
    add(&mut logins, &mut table, (2, false), 50);
    assert_eq!(admits(&logins, 3), Err(Crowded::All));
    let unbounded = Room {
        all: None,
        per_address: None,
    };
    assert_eq!(logins.admits(&login(false), from(1), unbounded), Ok(()));
    let large = Login {
        connect: vec![0; BYTES].into(),
        kind: Kind::Password,
        is_known: false,
    };
    let admitted = logins.admits(&large, from(3), unbounded);
    assert_eq!(admitted, Err(Crowded::All));
}
