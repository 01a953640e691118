//! The client side of a bridge: a task that connects when the [`Link`] says so, takes it through
//! its handshake, and then runs the connection like any other.

mod clock;
mod dial;
mod faulty;
mod known;
mod liveness;
pub(super) mod lookup;
mod probe;
mod reach;
mod resolve;
mod secret;
mod state;
mod table;
mod upstream;

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use clock::clock_is_set;
use futures_lite::future;
use probe::watch_primary;
use reach::{Target, prepare};
use state::Helpers;
pub(super) use state::{Uplink, status};
use upstream::{HANDSHAKE_PACKET, Upstream};

use super::conn::Role;
use super::hub::{Hub, Shared, let_others_go_first, sleep_until};
use super::progress::End;
use crate::bridge::{Action, Backlog, Error, Limits, Link, Output, Step};
use crate::broker::{BridgeId, Broker, ConnId};
use crate::mqtt::{self, Packet, PacketId, Version};
use crate::time::Time;

/// A handshake that went well.
struct Ready {
    limits: Limits,
    /// What the link wants to say first.
    out: Vec<u8>,
    /// What came behind the CONNACK.
    partial: Vec<u8>,
}

/// Keeps the link of one bridge going, until `is_over` says so when it has no connection. `index` is
/// what [`Hub::add_link`] has given.
pub async fn run(hub: Shared, index: u32, is_over: impl Fn() -> bool) {
    hub.borrow_mut().announce(index, false);
    let helpers = hub
        .borrow_mut()
        .uplink(index)
        .map(|uplink| Rc::clone(&uplink.helpers));
    let Some(helpers) = helpers else {
        return crate::impossible!("a bridge's task has no link");
    };
    // The task before this one may not be quite gone.
    let mut helpers = helpers.lock().await;
    while !is_over() {
        let target = next_target(&hub, index).await;
        let why = match attempt(&hub, index, &mut helpers, &target).await {
            Ok((upstream, ready)) => {
                live(&hub, index, upstream, ready, &mut helpers).await;
                continue;
            }
            Err(why) => why,
        };
        let mut hub = hub.borrow_mut();
        let now = hub.now();
        if let Some(uplink) = hub.uplink(index) {
            uplink.failed(&why, now);
        }
    }
}

/// Waits until the link wants to connect.
async fn next_target(hub: &Shared, index: u32) -> Target {
    loop {
        if let Some(target) = hub.borrow_mut().drive_idle(index) {
            return target;
        }
        future::or(sleep_until_due(hub, index), clock_is_set(hub, index)).await;
    }
}

/// Sleeps until the link's next time-out, and until the kernel was asked what has come by then.
async fn sleep_until_due(hub: &Shared, index: u32) {
    let at = {
        let mut hub = hub.borrow_mut();
        hub.tell_unacknowledged(index);
        let due = hub.uplink(index).map(|uplink| uplink.link.next_timeout());
        due.and_then(|due| hub.clock().instant(due))
    };
    sleep_until(hub, at).await;
    let_others_go_first(hub).await;
}

/// Gets the password, goes the way to the upstream, and shakes hands.
async fn attempt(
    hub: &Shared,
    index: u32,
    helpers: &mut Helpers,
    target: &Target,
) -> Result<(Upstream, Ready), Error> {
    let (mut upstream, password) = prepare(hub, index, helpers, target).await?;
    let ready = handshake(hub, index, &mut upstream, password).await?;
    Ok((upstream, ready))
}

/// From CONNECT to CONNACK.
async fn handshake(
    hub: &Shared,
    index: u32,
    upstream: &mut Upstream,
    password: Option<Vec<u8>>,
) -> Result<Ready, Error> {
    let mut out = Vec::new();
    {
        let mut hub = hub.borrow_mut();
        let now = hub.now();
        let link = &mut hub.uplink(index).ok_or(Error::GivenUp)?.link;
        upstream.stream().set_liveness(liveness::of(link.spec()));
        link.connected_with(password.as_deref(), now, &mut out)?;
    }
    let sent = upstream.send(&out).await;
    sent.map_err(|end| end.of_upstream())?;
    hub.borrow_mut().count_sent(1, out.len());
    let mut bytes = Vec::new();
    let late = async {
        sleep_until_due(hub, index).await;
        // The link knows why it gives up.
        hub.borrow_mut().drive_idle(index);
        Err(Error::ConnAckTimeout)
    };
    let answer = async {
        loop {
            let received = upstream.receive(&mut bytes).await;
            received.map_err(|end| match end.of_upstream() {
                Error::Closed(why) if bytes.is_empty() => upstream.unanswered(&why),
                other => other,
            })?;
            out.clear();
            if let Some(done) = hub.borrow_mut().connack(index, &bytes, &mut out) {
                return done;
            }
        }
    };
    let (limits, used) = future::or(answer, late).await?;
    if upstream.is_over() {
        return Err(End::Eof.of_upstream());
    }
    Ok(Ready {
        limits,
        out,
        partial: bytes.split_off(used),
    })
}

/// Watches over the connection that is up, until it or the link ends.
async fn live(hub: &Shared, index: u32, upstream: Upstream, ready: Ready, helpers: &mut Helpers) {
    if hub.borrow_mut().uplink_up(index, upstream, ready).is_none() {
        return;
    }
    hub.borrow_mut().announce(index, true);
    let watch = async {
        loop {
            sleep_until_due(hub, index).await;
            if !hub.borrow_mut().drive_up(index) {
                return;
            }
        }
    };
    let ended = poll_fn(|cx| hub.borrow_mut().poll_ended(index, cx));
    let watch = future::or(watch, watch_primary(hub, index, helpers));
    future::or(ended, watch).await;
    let mut hub = hub.borrow_mut();
    // None where the connection ended first.
    if let Some(id) = hub.uplink_conn(index) {
        hub.detach(id, &End::Asked);
    }
    hub.announce(index, false);
}

impl Hub {
    /// Ready once the uplink's connection has ended.
    fn poll_ended(&mut self, index: u32, cx: &Context<'_>) -> Poll<()> {
        match self.uplink(index) {
            Some(uplink) => uplink.poll_ended(cx),
            None => Poll::Ready(()),
        }
    }

    /// Tells the local clients whether the bridge is up.
    fn announce(&mut self, index: u32, up: bool) {
        let now = self.now();
        let Some(uplink) = self.uplinks.get(index as usize) else {
            return;
        };
        if let Some(topic) = uplink.link.state_topic() {
            let payload: &[u8] = if up { b"1" } else { b"0" };
            self.broker.publish_own(topic, payload, true, now);
        }
    }

    /// Drives a link that has no connection.
    fn drive_idle(&mut self, index: u32) -> Option<Target> {
        let now = self.now();
        self.tell_backlog(index);
        let link = &mut self.uplink(index)?.link;
        let spec = Rc::clone(link.spec());
        match link.drive(now, &mut Vec::new()) {
            Action::Connect { address, deadline } => Some(Target {
                address: address.clone(),
                proxy: spec.proxy.clone(),
                within: deadline.since(now),
            }),
            Action::Idle | Action::Window(_) | Action::Leave | Action::Close => None,
        }
    }

    /// Tells the link how long the session's oldest publish has been on its way, and how far the
    /// upstream has taken what was said to it.
    fn tell_unacknowledged(&mut self, index: u32) {
        let now = self.now();
        let held = self
            .uplink_conn(index)
            .and_then(|id| Some((self.conn(id)?.untaken(), self.broker.outbox(id)?.len())));
        let Some(uplink) = self.uplinks.get_mut(index as usize) else {
            return;
        };
        let oldest = self.broker.bridge_oldest_sent(uplink.bridge);
        uplink.link.unacknowledged(oldest.map(|(since, _)| since));
        if let Some((untaken, waiting)) = held {
            let written = uplink.written();
            let output = Output {
                said: written + waiting as u64,
                taken: written.saturating_sub(untaken),
                oldest: oldest.map(|(_, place)| place),
            };
            uplink.link.output(output, now);
        }
    }

    /// Tells the link what its session owes.
    fn tell_backlog(&mut self, index: u32) {
        if let Some(Uplink { link, bridge, .. }) = self.uplinks.get_mut(index as usize) {
            let (messages, _) = self.broker.bridge_backlog(*bridge);
            let unsent = self.broker.bridge_unsent(*bridge);
            let is_full = self.broker.bridge_is_full(*bridge);
            link.owes(Backlog {
                messages,
                unsent,
                is_full,
            });
        }
    }

    /// Drives a link that is up. False: it gives the connection up.
    fn drive_up(&mut self, index: u32) -> bool {
        let Some(id) = self.uplink_conn(index) else {
            return false;
        };
        self.tell_unacknowledged(index);
        self.tell_backlog(index);
        let now = self.now();
        let mut out = Vec::new();
        let Some(uplink) = self.uplink(index) else {
            return false;
        };
        match uplink.link.drive(now, &mut out) {
            Action::Close => return false,
            Action::Leave => {
                self.leave(id, &out);
                return false;
            }
            Action::Window(window) => self.broker.bridge_window(id, window, now),
            Action::Idle | Action::Connect { .. } => {}
        }
        self.say(id, &out);
        true
    }

    /// The connection of a link that was up is over: what is to be done about what was under way on it.
    /// To be asked before the broker hears of the end.
    pub(super) fn judge(&mut self, index: u32) {
        let now = self.now();
        self.tell_backlog(index);
        let Some(Uplink { link, bridge, .. }) = self.uplinks.get_mut(index as usize) else {
            return;
        };
        let under_way = self.broker.bridge_under_way(*bridge);
        if let Some(message) = link.judge(&under_way, now) {
            self.broker.bridge_condemn(*bridge, &message);
        }
        keep(&mut self.broker, *bridge, link, now);
    }

    /// Gives the link the CONNACK at the front of `bytes`, once it is whole: the limits and the
    /// bytes used, or why the link is refused.
    fn connack(
        &mut self,
        index: u32,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<Result<(Limits, usize), Error>> {
        let now = self.now();
        self.tell_backlog(index);
        let Uplink { link, bridge, .. } = self.uplinks.get_mut(index as usize)?;
        let (packet, used) = match link.read_answer(bytes, HANDSHAKE_PACKET, now) {
            Ok(decoded) => decoded?,
            Err(e) => return Some(Err(e)),
        };
        self.traffic.packets_received += 1;
        self.traffic.bytes_received += bytes.len() as u64;
        let mut ids = packet_ids(&mut self.broker, *bridge);
        let step = link.packet(&packet, &mut ids, now, out);
        drop(ids);
        keep(&mut self.broker, *bridge, link, now);
        Some(match step {
            Ok(Step::Up(limits)) => Ok((limits, used)),
            Ok(_) => Err(Error::Unexpected(packet.name())),
            Err(e) => Err(e),
        })
    }

    /// The link is up: joins its connection to the bridge's session.
    fn uplink_up(&mut self, index: u32, upstream: Upstream, ready: Ready) -> Option<ConnId> {
        let now = self.now();
        let uplink = self.uplinks.get(index as usize)?;
        let wire = Rc::clone(uplink.link.wire());
        let id = self
            .broker
            .bridge_up(uplink.bridge, &ready.limits, wire, now)?;
        let (channel, transport) = upstream.into_parts(ready.partial);
        if let Err(e) = self.attach(id, channel, Role::Upstream(index), transport) {
            let why = e.to_string();
            self.broker.closed(id, &why, now);
            self.uplink(index)?.failed(&Error::Io(why), now);
            return None;
        }
        if let Some(conn) = self.conn(id) {
            // Of TLS there may be something in memory that no socket tells of.
            conn.ready.readable |= conn.has_tls();
        }
        // What came behind the CONNACK waits already.
        self.make_ready(id);
        self.uplink(index)?.joined(id);
        self.say(id, &ready.out);
        self.broker.bridge_start(id, now);
        Some(id)
    }

    /// A packet from the upstream of a link that is up: the link's own or the session's.
    pub(super) fn upstream_packet(
        &mut self,
        index: u32,
        id: ConnId,
        packet: Packet<'_>,
        now: Time,
    ) {
        let Some(uplink) = self.uplinks.get_mut(index as usize) else {
            return;
        };
        let Uplink {
            link,
            bridge,
            faults,
            ..
        } = uplink;
        let (name, mut out) = (packet.name(), Vec::new());
        let step = {
            let mut ids = packet_ids(&mut self.broker, *bridge);
            link.packet(&packet, &mut ids, now, &mut out)
        };
        keep(&mut self.broker, *bridge, link, now);
        match step {
            Ok(Step::Forward) => self.broker.packet(id, packet, now),
            Ok(Step::Window(window)) => self.broker.bridge_window(id, window, now),
            Ok(Step::Answered(at)) => self.broker.bridge_answered(id, at, now),
            Ok(Step::OutOfPlace) => faults.out_of_place(name, now),
            Ok(Step::None | Step::Up(_)) => {}
            Err(_) => self.end(id),
        }
        self.say(id, &out);
    }

    /// An upstream whose socket has Nagle's algorithm, as Mosquitto's by default, sends the first PUBREC and
    /// keeps the others back until that was acknowledged. PUBREL waits for them and for a commit, so
    /// nothing goes soon that could carry the acknowledgement: the system would wait for 40 ms.
    pub(super) fn ask_for_the_rest(&mut self, id: ConnId) {
        if self.broker.awaits_more_releases(id)
            && let Some(conn) = self.conn(id)
        {
            conn.acknowledge_input();
        }
    }

    /// Counts what a link has to say of its own; the bytes of a connection that is up are counted
    /// as they are written.
    fn count_sent(&mut self, packets: u64, bytes: usize) {
        self.traffic.packets_sent += packets;
        self.traffic.bytes_sent += bytes as u64;
    }

    /// Appends the link's own packets to the output of its connection.
    fn say(&mut self, id: ConnId, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.count_sent(packets(bytes, self.broker.version(id)), 0);
        if let Some(outbox) = self.broker.outbox(id) {
            outbox.buffer().extend_from_slice(bytes);
            self.write_soon(id);
        }
    }
}

/// How many packets `bytes` are.
fn packets(mut bytes: &[u8], version: Version) -> u64 {
    let mut count = 0;
    while let Ok(Some((_, used))) = mqtt::decode(bytes, version, usize::MAX) {
        bytes = bytes.get(used..).unwrap_or_default();
        count += 1;
    }
    count
}

/// Keeps what the link has learnt about its upstream.
fn keep(broker: &mut Broker, bridge: BridgeId, link: &mut Link, now: Time) {
    if let Some(filters) = link.take_subscribed() {
        broker.bridge_subscribed(bridge, filters, now);
    }
    if let Some(given_up) = link.take_given_up() {
        broker.bridge_gives_up(bridge, given_up, now);
    }
}

/// The packet ids of a bridge's session, which its link shares.
fn packet_ids(broker: &mut Broker, bridge: BridgeId) -> impl FnMut() -> PacketId {
    move || {
        let id = broker.bridge_packet_id(bridge);
        // A bridge that the broker does not know has no session whose ids could clash.
        id.unwrap_or(PacketId::of_sequence(0))
    }
}
