//! What goes to the storage thread at the end of a turn, and its news.

use super::core::Core;
use super::delivering::revive::on_dead_rows;
use super::ledger::Reader;
use super::packets::parked::retry_soon;
use super::sending::pump::pump;
use super::sending::replies::send_opened;
use super::sending::rows::on_queue_rows;
use super::sending::sync::prune_cleared;
use super::shares::hand_out::on_leftover_rows;
use crate::store::{Batch, Event};
use crate::time::Time;

/// The batch to commit now, if one is due, none is under way, and no message has reached only some of its
/// receivers.
pub(crate) fn take_batch(core: &mut Core, now: Time) -> Option<Batch> {
    if core.fan_outs.is_under_way() {
        return None;
    }
    core.fan_outs.rested();
    if !core.ledger.store().is_due(now) {
        return None;
    }
    let mut batch = core.ledger.begin_commit(now);
    core.sessions.save(&mut batch);
    prune_cleared(core, now);
    let all = core.ledger.take_write_all();
    if let Some(at) = core.router.save(&mut batch, all, now) {
        core.ledger.commit_by(at);
    }
    if batch.is_empty() {
        // All that was gathered was delivered meanwhile: a commit would wear the flash out for
        // nothing.
        core.ledger.skip_commit(batch);
        caught_up(core, now);
        return None;
    }
    Some(batch)
}

/// Where the store is memory, what it takes is known with each commit.
fn count_stored(core: &mut Core) {
    let bytes = if core.settings.general.persistence {
        0
    } else {
        core.ledger.disk().figures.bytes
    };
    core.memory.set_stored_bytes(bytes);
}

/// The storage thread reports.
pub(crate) fn on_event(core: &mut Core, event: Event, now: Time) {
    match event {
        Event::Committed {
            seq,
            figures,
            batch,
        } => {
            core.counters.commits += 1;
            core.ledger.committed(seq, figures, batch, now);
            count_stored(core);
            caught_up(core, now);
        }
        Event::Figures(figures) => {
            core.ledger.set_figures(figures);
            count_stored(core);
        }
        Event::Rows { token, rows } => {
            match core.ledger.answered(token) {
                Some(Reader::Queue(key, question)) => {
                    on_queue_rows(core, key, question, &rows, now);
                }
                Some(Reader::Leftover(number)) => on_leftover_rows(core, number, &rows, now),
                Some(Reader::Dead(key)) => on_dead_rows(core, key, &rows, now),
                None => {}
            }
            while let Some(key) = core.ledger.next_to_read() {
                pump(core, key, now);
            }
        }
        Event::Stalled { error } => {
            log::error!("{error}: acknowledgements wait until it works again");
            core.ledger.set_stalled(Some(&error));
            // From now on what must be stored is refused, rather than not read.
            core.connections.resume_paused();
        }
        Event::Resumed => {
            log::warn!("The store works again.");
            core.ledger.set_stalled(None);
            core.router.leftovers.look_at_all();
        }
        Event::Full => {
            log::error!(
                "The disk of the store is full: messages that would have to be stored are refused \
                 until there is room; deliveries and QoS 0 go on."
            );
            core.ledger.set_full(true);
        }
        Event::Room => {
            log::warn!("The disk of the store has room again.");
            core.ledger.set_full(false);
            core.router.leftovers.look_at_all();
            retry_soon(core);
        }
        Event::Rewritten => log::error!(
            "The store's file was deleted or replaced under the broker: it was written anew."
        ),
        // What follows is the business of `run`.
        Event::Damaged { error } => log::error!("{error}"),
    }
}

/// A commit is done: what waited for it goes on.
fn caught_up(core: &mut Core, now: Time) {
    send_opened(core, now);
    for key in core.sessions.take_stalled() {
        pump(core, key, now);
    }
    if !core.ledger.store().is_congested() {
        core.connections.resume_paused();
    }
}
