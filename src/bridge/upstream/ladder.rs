//! What a CONNECT offers to an upstream: the best that it has not refused.

use std::time::Duration;

use super::verdicts::{Feature, GivenUp, Verdicts};
use crate::bridge::Error;
use crate::config;
use crate::mqtt::{Reason, Version};

/// How long the CONNACK may take at first: mobile networks are slow to wake up.
pub(in crate::bridge) const CONNACK_TIMEOUT: Duration = Duration::from_secs(20);
/// How long it may take where it was too late again and again: the upstream may be that slow.
const SLOW_CONNACK_TIMEOUT: Duration = Duration::from_secs(60);

/// What a CONNECT says about the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::bridge) struct Dialect {
    pub version: Version,
    /// Bit 0x80 of the protocol level: "I am a bridge" (`try_private`).
    pub bridge: bool,
}

/// What a CONNECT offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::bridge) struct Offer {
    pub dialect: Dialect,
    /// It has a will for the state topic, to which a notification follows.
    pub notifications: bool,
    /// The client id is the configured one; else that in letters, digits and `-`.
    pub own_client_id: bool,
}

impl Offer {
    /// True if it has this.
    fn has(&self, feature: &Feature) -> bool {
        match feature {
            Feature::Mqtt5 => self.dialect.version == Version::V5,
            Feature::BridgeBit => self.dialect.bridge,
            Feature::Notifications => self.notifications,
            Feature::ClientId => self.own_client_id,
            _ => false,
        }
    }
}

/// What a failed handshake says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Objection {
    /// The protocol version is not known there.
    Version,
    /// The client id is not one.
    ClientId,
    /// The will is not allowed: its topic, its QoS [MQTT-3.2.2-12] or its RETAIN [MQTT-3.2.2-13].
    Will,
    /// This client may not connect, or may not have this will.
    Rights,
    /// It closes or does not answer, or has an answer for everything.
    Unclear,
    /// It has nothing to do with what was offered.
    Other,
}

impl Objection {
    fn of(error: &Error) -> Objection {
        match error {
            Error::Closed(_) | Error::ConnAckTimeout | Error::Malformed(_) => Objection::Unclear,
            Error::Refused(reason, _) => match *reason {
                Reason::UNSUPPORTED_PROTOCOL_VERSION => Objection::Version,
                Reason::CLIENT_IDENTIFIER_NOT_VALID => Objection::ClientId,
                Reason::TOPIC_NAME_INVALID
                | Reason::QOS_NOT_SUPPORTED
                | Reason::RETAIN_NOT_SUPPORTED => Objection::Will,
                Reason::NOT_AUTHORIZED => Objection::Rights,
                Reason::UNSPECIFIED
                | Reason::MALFORMED_PACKET
                | Reason::PROTOCOL_ERROR
                | Reason::IMPLEMENTATION_SPECIFIC => Objection::Unclear,
                _ => Objection::Other,
            },
            _ => Objection::Other,
        }
    }
}

/// After so many attempts in a row without CONNACK, one offers less than the dialects alone.
const FULL: u32 = 3;
/// After so many CONNECTs in a row without an answer in time, the upstream is taken for slow.
const LATE: u32 = 3;

/// The offers to one upstream, best first.
///
/// An attempt goes down the dialects at once, as long as the upstream closes or does not answer, and
/// what led to a CONNACK is remembered. The third attempt in a row without CONNACK (and the sixth, the
/// twelfth, …) forgets what is known and goes down all offers: the upstream may have been replaced.
#[derive(Debug)]
pub(in crate::bridge) struct Ladder {
    upstream: u64,
    offers: Vec<Offer>,
    at: usize,
    /// What the upstream has refused in so many words, in this attempt.
    refused: Vec<(Feature, Box<str>)>,
    /// What the upstream has last done about an offer that had it.
    unclear: Box<str>,
    /// Attempts without CONNACK, in a row.
    failed: u32,
    /// CONNECTs that had no answer in time, since the last that was accepted soon.
    late: u32,
    /// How long the longer half of the last attempt took that was accepted, up to CONNECT and up to
    /// CONNACK.
    needed: Duration,
}

impl Ladder {
    /// `spare_id`: there is a client id to fall back to.
    pub(in crate::bridge) fn new(spec: &config::Bridge, upstream: u64, spare_id: bool) -> Ladder {
        let dialects = dialects(spec);
        let has_will = spec.notifications && !spec.notifications_local_only;
        let mut offers = Vec::new();
        for (with_will, own_client_id) in
            [(true, true), (false, true), (true, false), (false, false)]
        {
            if (!with_will && !has_will) || (!own_client_id && !spare_id) {
                continue;
            }
            offers.extend(dialects.iter().map(|dialect| Offer {
                dialect: *dialect,
                notifications: with_will && has_will,
                own_client_id,
            }));
        }
        Ladder {
            upstream,
            offers,
            at: 0,
            refused: Vec::new(),
            unclear: Box::default(),
            failed: 0,
            late: 0,
            needed: Duration::ZERO,
        }
    }

    /// How long each half of the last attempt took that was accepted, at most: up to CONNECT, and up to
    /// CONNACK. Zero if none was.
    pub(in crate::bridge) fn needed(&self) -> Duration {
        self.needed
    }

    /// An attempt was accepted, each half of which took so long at most.
    pub(in crate::bridge) fn has_needed(&mut self, longest: Duration) {
        self.needed = longest;
    }

    /// How long the CONNACK may take: longer where so many CONNECTs have waited in vain.
    pub(in crate::bridge) fn patience(&self) -> Duration {
        if self.late >= LATE {
            SLOW_CONNACK_TIMEOUT
        } else {
            CONNACK_TIMEOUT
        }
    }

    /// The number of the upstream.
    pub(in crate::bridge) fn upstream(&self) -> u64 {
        self.upstream
    }

    /// The offer to make now.
    pub(in crate::bridge) fn current(&self) -> Offer {
        let plain = Offer {
            dialect: Dialect {
                version: Version::V311,
                bridge: false,
            },
            notifications: false,
            own_client_id: true,
        };
        self.offers.get(self.at).copied().unwrap_or(plain)
    }

    /// True if something was refused in so many words in this attempt.
    pub(in crate::bridge) fn was_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// True if an attempt goes down all offers.
    fn is_full(&self) -> bool {
        // 2, 5, 11, 23, …: the wait between two of them doubles.
        let round = (self.failed + 1) / FULL;
        (self.failed + 1).is_multiple_of(FULL) && round.is_power_of_two()
    }

    /// A new attempt begins, with what is known.
    pub(in crate::bridge) fn begin(&mut self, verdicts: &Verdicts) {
        self.refused.clear();
        self.unclear = Box::default();
        let known: Vec<&Feature> = verdicts.at(self.upstream).collect();
        let fits = |offer: &Offer| known.iter().all(|feature| !offer.has(feature));
        let known = self.offers.iter().position(fits);
        self.at = known.filter(|_| !self.is_full()).unwrap_or(0);
    }

    /// A CONNACK accepts the current offer, after so long. What is given up by that from now on.
    pub(in crate::bridge) fn accepted(
        &mut self,
        after: Duration,
        verdicts: &mut Verdicts,
    ) -> Vec<GivenUp> {
        self.failed = 0;
        if after < CONNACK_TIMEOUT {
            self.late = 0;
        }
        let offer = self.current();
        let features = [
            Feature::Mqtt5,
            Feature::BridgeBit,
            Feature::Notifications,
            Feature::ClientId,
        ];
        let mut found = Vec::new();
        for feature in features {
            let is_missed = match feature {
                // There is none in MQTT 5.
                Feature::BridgeBit => offer.dialect.version < Version::V5,
                _ => true,
            };
            if !is_missed || !self.offers.iter().any(|offer| offer.has(&feature)) {
                continue;
            }
            if offer.has(&feature) {
                verdicts.remove(self.upstream, &feature);
                continue;
            }
            let mut refused = self.refused.iter();
            let refused = refused.find(|(known, _)| *known == feature);
            let why = refused.map_or(&self.unclear, |(_, why)| why);
            if why.is_empty() {
                // It was not even offered.
                continue;
            }
            let is_certain = refused.is_some();
            let added = verdicts.add(self.upstream, feature, why, is_certain);
            found.extend(added.cloned());
        }
        found
    }

    /// The current offer was refused. The offer to make at once, if there is one; else the attempt is
    /// over.
    pub(in crate::bridge) fn refused(
        &mut self,
        error: &Error,
        verdicts: &Verdicts,
    ) -> Option<Offer> {
        if matches!(error, Error::ConnAckTimeout) {
            self.late = self.late.saturating_add(1);
        }
        let next = self.next(error, verdicts);
        match next {
            Some(at) => self.at = at,
            None => self.failed = self.failed.saturating_add(1),
        }
        next.map(|_| self.current())
    }

    fn next(&mut self, error: &Error, verdicts: &Verdicts) -> Option<usize> {
        let (offer, objection) = (self.current(), Objection::of(error));
        let lacking = match objection {
            Objection::Version if offer.dialect.bridge => Some(Feature::BridgeBit),
            Objection::Version => Some(Feature::Mqtt5),
            Objection::ClientId => Some(Feature::ClientId),
            Objection::Will => Some(Feature::Notifications),
            Objection::Rights | Objection::Unclear => None,
            Objection::Other => return None,
        };
        if objection == Objection::Rights && !(self.is_full() && offer.notifications) {
            return None;
        }
        match lacking {
            Some(feature) if !offer.has(&feature) => return None,
            Some(feature) => self.refused.push((feature, error.short().into())),
            None => self.unclear = error.short().into(),
        }
        let is_given_up = |feature: &Feature| {
            let mut refused = self.refused.iter();
            refused.any(|(known, _)| known == feature) || verdicts.has(self.upstream, feature)
        };
        let (is_full, current) = (self.is_full(), offer);
        let may_lack = |offer: &Offer, feature: Feature| {
            offer.has(&feature) || !current.has(&feature) || is_full || is_given_up(&feature)
        };
        let is_next = |next: &Offer| {
            let is_refused = self.refused.iter().any(|(feature, _)| next.has(feature));
            let is_like =
                next.dialect == offer.dialect && next.own_client_id == offer.own_client_id;
            !is_refused
                && may_lack(next, Feature::Notifications)
                && may_lack(next, Feature::ClientId)
                && (objection != Objection::Rights || (is_like && !next.notifications))
        };
        let later = self.offers.iter().enumerate().skip(self.at + 1);
        let mut later = later.filter(|(_, next)| is_next(next));
        later.next().map(|(at, _)| at)
    }
}

/// The dialects that the configuration allows, best first.
fn dialects(spec: &config::Bridge) -> Vec<Dialect> {
    let versions = match spec.version {
        None => vec![Version::V5, Version::V311],
        Some(version) => vec![version],
    };
    let mut dialects = Vec::new();
    for version in versions {
        if version < Version::V5 && spec.try_private {
            dialects.push(Dialect {
                version,
                bridge: true,
            });
        }
        dialects.push(Dialect {
            version,
            bridge: false,
        });
    }
    dialects
}
