//! What a full window costs: a message that must wait is not looked at again with each answer of the
//! peer, nor with each message behind it.

use std::cell::Cell;

use super::*;
use crate::mqtt::Reason;
use crate::session::places::READY_MESSAGES;

fn push(queue: &mut Outbound, id: u64) -> bool {
    let seq = queue.next_seq();
    queue.push(entry(id, seq, QoS::AtLeastOnce, 9), false)
}

/// Sends what may be sent: the packet ids, and of how many messages the QoS was asked.
fn send(queue: &mut Outbound) -> (Vec<PacketId>, usize) {
    let (mut ids, asked) = (Vec::new(), Cell::new(0));
    let qos_of = |entry: &Entry| {
        asked.set(asked.get() + 1);
        entry.owed.qos
    };
    while let Some(entry) = queue.next(MessageId(0), qos_of) {
        ids.push(entry.packet_id());
        queue.sent(entry, NOW);
    }
    (ids, asked.get())
}

#[test]
fn a_message_that_stands_behind_one_that_waits_asks_for_no_look() {
    let mut queue = Outbound::new(true);
    queue.connect(1, NOW);
    assert!(push(&mut queue, 1), "nothing waits before it");
    let (first, asked) = send(&mut queue);
    assert_eq!((first.len(), asked), (1, 1));
    assert!(push(&mut queue, 2), "nor before this one");
    assert_eq!(send(&mut queue), (vec![], 0), "the window is full");
    assert!(!push(&mut queue, 3), "the second waits");
    queue.puback(first[0], false).unwrap();
    let (second, asked) = send(&mut queue);
    assert_eq!((second.len(), asked), (1, 1));
    // While a lane is on hold, or a message is to be set aside, what comes later may go first.
    queue.condemn(MessageId(3), Reason::NOT_AUTHORIZED);
    assert!(push(&mut queue, 4));
    assert!(queue.take_condemned(Some(MessageId(3))).is_some());
    assert!(!push(&mut queue, 5));
    queue.pause(Lane::Client);
    assert!(push(&mut queue, 6));
}

/// A backlog that still lies in the RAM of the store comes to the session's by many messages at a time.
#[test]
fn a_backlog_comes_to_ram_in_pieces() {
    let mut queue = Outbound::new(true);
    queue.connect(1, NOW);
    let (count, size) = (1000, 9);
    for id in 1..=count {
        push(&mut queue, id);
    }
    let (mut fills, mut sent) = (0, 0);
    let (mut ids, _) = send(&mut queue);
    while let Some(id) = ids.pop() {
        sent += 1;
        queue.puback(id, false).unwrap();
        (ids, _) = send(&mut queue);
        if !queue.is_low() {
            continue;
        }
        let filled = queue.fill(MessageId(0), |id| {
            Some(entry(id.0, id.0 - 1, QoS::AtLeastOnce, size))
        });
        assert!(queue.ready() <= READY_MESSAGES);
        fills += u64::from(filled);
    }
    assert_eq!((sent, queue.len()), (count, 0));
    assert!(fills > 0 && fills <= count / (READY_MESSAGES as u64 / 2));
}
