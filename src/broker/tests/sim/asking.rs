//! SUBSCRIBE and UNSUBSCRIBE of a client, which the broker takes whole or in pieces.

use std::collections::VecDeque;

use super::Env;
use super::client::{Client, IDS};
use super::link::{Asked, Untaken};
use super::plan::{self, Wish};
use crate::broker::tests::world::pid;
use crate::mqtt::{
    Packet, Property, Props, PropsBuf, RetainHandling, Subscribe, Subscription, Unsubscribe,
};

impl Client {
    pub fn subscribe(&mut self, env: &mut Env) {
        if !self.can_speak(env) {
            return;
        }
        let mut wishes = plan::wishes(&mut env.rng, self.version);
        if env.world.broker.core.portions.filters < wishes.len() * 4 {
            // Between two pieces a message may bring what is retained by the first of two that are alike.
            wishes.sort_by_key(|wish| wish.filter);
            wishes.dedup_by_key(|wish| wish.filter);
        }
        self.subscribe_to(&wishes, env);
    }

    pub fn subscribe_to(&mut self, wishes: &[Wish], env: &mut Env) {
        let Some(id) = self.free_id(IDS + 1..=2 * IDS) else {
            return;
        };
        let mut props = PropsBuf::new();
        if let Some(id) = wishes.first().and_then(|wish| wish.options.id) {
            props.push(Property::SubscriptionId(id));
        }
        let filters = wishes.iter().map(|wish| Subscription {
            filter: wish.filter,
            qos: wish.options.qos,
            no_local: wish.options.no_local,
            retain_as_published: wish.options.retain_as_published,
            retain_handling: wish.handling,
        });
        let subscribe = Subscribe {
            id: pid(id),
            props: props.as_props(),
            filters: filters.collect(),
        };
        self.say(&Packet::Subscribe(subscribe), env);
        self.ask(id, Asked::Subscribe(Vec::new()));
        let wishes = wishes.iter().copied().collect();
        self.await_taken(Untaken::Subscribe(id, wishes), env);
    }

    pub fn unsubscribe(&mut self, env: &mut Env) {
        let id = self.free_id(IDS + 1..=2 * IDS);
        let (true, Some(id)) = (self.can_speak(env), id) else {
            return;
        };
        let filter = plan::filter(&mut env.rng);
        let unsubscribe = Unsubscribe {
            id: pid(id),
            props: Props::EMPTY,
            filters: vec![filter],
        };
        self.say(&Packet::Unsubscribe(unsubscribe), env);
        self.await_taken(Untaken::Unsubscribe(id, filter), env);
    }

    fn ask(&mut self, id: u16, asked: Asked) {
        if let Some(link) = &mut self.link {
            link.asked.insert(id, asked);
        }
    }

    fn await_taken(&mut self, untaken: Untaken, env: &mut Env) {
        if let Some(link) = &mut self.link {
            link.untaken = untaken;
        }
        self.find_taken(env);
    }

    /// Tells the model what the broker has taken since of the filters of the last packet.
    pub fn find_taken(&mut self, env: &mut Env) {
        let Some(link) = &mut self.link else { return };
        let left = env.world.filters_left(link.peer);
        match std::mem::replace(&mut link.untaken, Untaken::Nothing) {
            Untaken::Nothing => {}
            Untaken::Subscribe(id, mut wishes) => {
                while wishes.len() > left
                    && let Some(wish) = wishes.pop_front()
                {
                    self.subscribed_to(id, wish, &wishes, env);
                }
                if let (1.., Some(link)) = (left, &mut self.link) {
                    link.untaken = Untaken::Subscribe(id, wishes);
                }
            }
            Untaken::Unsubscribe(id, filter) if left == 0 => {
                let (reason, version) = env.model.unsubscribe(self.number, filter);
                self.ask(id, Asked::Unsubscribe(filter, reason, version));
            }
            untaken @ Untaken::Unsubscribe(..) => link.untaken = untaken,
        }
    }

    /// The broker has taken a filter, before those that are `later` in the same packet.
    fn subscribed_to(&mut self, id: u16, wish: Wish, later: &VecDeque<Wish>, env: &mut Env) {
        // One that stands in the packet again brings what is retained once.
        let comes_again =
            |later: &Wish| later.filter == wish.filter && later.handling == RetainHandling::Send;
        let handling = if later.iter().any(comes_again) {
            RetainHandling::DontSend
        } else {
            wish.handling
        };
        let (number, now) = (self.number, env.world.now);
        let (filter, options) = (wish.filter, wish.options);
        let version = env.model.subscribe(number, filter, options, handling, now);
        let asked = self.link.as_mut().and_then(|link| link.asked.get_mut(&id));
        if let Some(Asked::Subscribe(taken)) = asked {
            taken.push((wish, version));
        }
    }
}
