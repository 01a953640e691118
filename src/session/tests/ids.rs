//! Packet ids, and messages that are sent without waiting in the queue.

use super::*;

/// Sends the next message; its packet id.
fn send(queue: &mut Outbound) -> Option<PacketId> {
    let entry = queue.next(MessageId(0), |entry| entry.owed.qos)?;
    let id = entry.packet_id();
    queue.sent(entry, NOW);
    Some(id)
}

/// Packet ids come round after 65,535 messages; one that is still in flight is not given twice.
#[test]
fn a_packet_id_in_flight_is_not_given_again() {
    let mut queue = Outbound::new(false);
    queue.connect(u16::MAX, NOW);
    let push = |queue: &mut Outbound| {
        let seq = queue.next_seq();
        let entry = Entry {
            id: None,
            ..entry(0, seq, QoS::AtLeastOnce, 0)
        };
        queue.push(entry, false);
        send(queue)
    };
    let stuck = push(&mut queue).unwrap();
    for _ in 1..65_535 {
        let id = push(&mut queue).unwrap();
        assert_ne!(id, stuck);
        queue.puback(id, false).unwrap();
    }
    assert!(!queue.is_free(), "nor is one sent at once");
    assert!(push(&mut queue).is_none(), "it waits for the id");
    queue.puback(stuck, false).unwrap();
    assert_eq!(send(&mut queue), Some(stuck));
}

/// What is sent past the queue is owed like what went through it.
#[test]
fn a_message_may_be_sent_at_once_while_none_waits_and_the_window_is_open() {
    for lane in [Lane::Client, lane_of_a_share()] {
        let mut queue = Outbound::new(false);
        let next = |queue: &mut Outbound| {
            let mut entry = entry(0, queue.next_seq(), QoS::AtLeastOnce, 3);
            entry.id = None;
            entry.owed.lane = lane;
            entry
        };
        assert!(!queue.is_free(), "nobody is connected");
        queue.connect(2, NOW);
        let mut ids = Vec::new();
        for _ in 0..2 {
            assert!(queue.is_free());
            let entry = next(&mut queue);
            ids.push(entry.packet_id());
            queue.sent_at_once(entry, NOW);
        }
        assert!(!queue.is_free(), "the window is full");
        assert_eq!((queue.len(), queue.bytes(), queue.inflight()), (2, 8, 2));
        queue.puback(ids[0], false).unwrap();
        assert!(queue.is_free());
        let waits = next(&mut queue);
        queue.push(waits, false);
        assert!(!queue.is_free(), "one waits");
        ids.push(send(&mut queue).unwrap());
        for id in &ids[1..] {
            queue.puback(*id, false).unwrap();
        }
        assert!(queue.is_empty() && queue.is_free());
        assert_eq!(queue.bytes(), 0);
        assert_eq!(queue.owed_by(lane), Amount::default());
    }
}

fn lane_of_a_share() -> Lane {
    Lane::Share(ShareNo::all().next().unwrap())
}
