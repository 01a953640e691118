//! What the broker sent to a client, held against the model as it leaves the broker.

use super::Env;
use super::client::Client;
use super::link::{Asked, Got};
use super::model::Violation;
use crate::mqtt::{Ack, Packet, QoS, Reason, Version, decode};

impl Client {
    /// Looks at everything that came.
    pub fn drain(&mut self, env: &mut Env) {
        while let Some(link) = &self.link
            && let Some(bytes) = env.world.bytes(link.peer)
        {
            let (packet, _) = decode(&bytes, self.version, usize::MAX).unwrap().unwrap();
            let got = self.check(&packet, bytes.len(), env);
            let got = got.unwrap_or_else(|violation| self.blame(violation, &packet, env));
            if let (Some(link), Some(got)) = (&mut self.link, got) {
                link.inbox.push_back(got);
            }
        }
    }

    fn blame(&self, violation: Violation, packet: &Packet<'_>, env: &mut Env) -> ! {
        let now = env.world.now.as_millis();
        let owed = env.model.session(self.number).map(|session| {
            let wanted = |payload: &[u8]| match packet {
                Packet::Publish(publish) => publish.payload == payload,
                _ => true,
            };
            let owed = session.owed.values();
            let owed = owed.filter(|owed| wanted(&owed.publication.payload));
            let owed: Vec<String> = owed.map(|owed| format!("{owed:?}")).collect();
            format!("{}\nin flight: {:?}", owed.join("\n"), session.flights)
        });
        let packet = format!("{packet:?}");
        let packet = packet.trim_end_matches(", 32");
        let owed = owed.as_deref().unwrap_or("no session");
        panic!("{now}: {self:?}: {violation:?}: {packet}\nowed: {owed}");
    }

    /// Checks a packet; answers what the client is to do about it.
    fn check(
        &mut self,
        packet: &Packet<'_>,
        len: usize,
        env: &mut Env,
    ) -> Result<Option<Got>, Violation> {
        let (n, now) = (self.number, env.world.now);
        let Some(link) = &mut self.link else {
            return Ok(None);
        };
        Ok(Some(match packet {
            Packet::ConnAck(connack) => {
                assert_eq!(connack.reason, Reason::SUCCESS, "{self:?}");
                // 3.1 has no flag for it.
                let present = link.present && self.version > Version::V31;
                assert_eq!(connack.session_present, present, "session of c{n}");
                let announced = connack.props.receive_maximum().map(usize::from);
                link.quota = announced.unwrap_or(env.window()).min(30);
                env.model.connected(n);
                Got::ConnAck(link.present)
            }
            Packet::Publish(publish) => {
                let arrival = link.wire.publish(publish, len)?;
                env.model.seen(n, &arrival, now)?;
                Got::Publish(arrival.qos, arrival.id)
            }
            Packet::PubAck(ack) => {
                self.acknowledged(ack, QoS::AtLeastOnce, env);
                Got::PubAck(ack.id.get())
            }
            Packet::PubRec(ack) => {
                self.acknowledged(ack, QoS::ExactlyOnce, env);
                Got::PubRec(ack.id.get(), ack.reason)
            }
            Packet::PubRel(ack) => {
                let session = env.model.session(n);
                session.map_or(Ok(()), |s| s.pubrel(ack.id.get()))?;
                Got::PubRel(ack.id.get())
            }
            Packet::PubComp(ack) => {
                env.model.completed(n, ack.id.get());
                Got::PubComp(ack.id.get())
            }
            Packet::SubAck(suback) => {
                self.subscribed(suback.id.get(), &suback.reasons, env);
                return Ok(None);
            }
            Packet::UnsubAck(unsuback) => {
                self.subscribed(unsuback.id.get(), &unsuback.reasons, env);
                return Ok(None);
            }
            Packet::PingResp | Packet::Disconnect(_) => return Ok(None),
            other => panic!("{self:?} got {other:?}"),
        }))
    }

    /// PUBACK or PUBREC: of a message that waits for one, and with the right reason.
    fn acknowledged(&mut self, ack: &Ack<'_>, qos: QoS, env: &mut Env) {
        let id = ack.id.get();
        let unacked = self.unacked.iter().find(|u| u.id == id);
        let Some(unacked) = unacked.filter(|u| u.draft.qos == qos) else {
            panic!("{self:?} got {ack:?}");
        };
        if ack.reason.is_error() {
            let refused = ack.reason == Reason::QUOTA_EXCEEDED && self.version == Version::V5;
            assert!(refused && env.lossy(), "{self:?} got {ack:?}");
            return;
        }
        let Some(routed) = unacked.routed else {
            panic!("{self:?} got {ack:?} for what was not taken");
        };
        if self.version == Version::V5 && !unacked.again {
            // As in Mosquitto, only PUBACK tells that nobody is there.
            let nobody = !routed.matched && qos == QoS::AtLeastOnce;
            let told = ack.reason == Reason::NO_MATCHING_SUBSCRIBERS;
            assert_eq!(told, nobody, "{self:?} got {ack:?}");
        }
        for order in &unacked.placed {
            env.model.promised(*order);
        }
        let topic = &unacked.draft.topic;
        env.model.acknowledged(self.number, id, topic, routed);
    }

    /// SUBACK or UNSUBACK, with the right reasons.
    fn subscribed(&mut self, id: u16, reasons: &[Reason], env: &mut Env) {
        let asked = self.link.as_mut().and_then(|link| link.asked.remove(&id));
        let (expected, settled): (Vec<Reason>, Vec<_>) = match asked {
            Some(Asked::Subscribe(wishes)) => wishes
                .into_iter()
                .map(|(wish, version)| (Reason(wish.options.qos as u8), (wish.filter, version)))
                .unzip(),
            Some(Asked::Unsubscribe(filter, reason, version)) => {
                let reasons = (self.version == Version::V5).then_some(reason);
                (reasons.into_iter().collect(), vec![(filter, version)])
            }
            None => panic!("{self:?} got an answer to nothing: {id}"),
        };
        assert_eq!(reasons, expected, "{self:?}");
        for (filter, version) in settled {
            env.model.settle_subscription(self.number, filter, version);
        }
    }
}
