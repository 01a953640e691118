//! The places of replies.

use crate::broker::connections::{Address, Connections, Reply, Ticket};
use crate::time::Time;

/// A client may send SUBSCRIBE after SUBSCRIBE while the disk is slow.
#[test]
fn any_number_of_replies_may_hold_messages_back() {
    let mut connections = Connections::default();
    let c = connections.add_client(0, Address::Local, Time::ZERO);
    let count = usize::from(u16::MAX) + 1;
    let reply = |connections: &mut Connections| {
        let reply = Reply::Barrier(Box::default());
        connections.reply(c, reply, false).unwrap()
    };
    let tickets: Vec<Ticket> = (0..count).map(|_| reply(&mut connections)).collect();
    for ticket in tickets {
        assert!(connections.get(c).unwrap().has_barrier());
        assert!(connections.open_reply(ticket));
    }
    assert!(!connections.get(c).unwrap().has_barrier());
}
