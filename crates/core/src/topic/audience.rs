//! The subscriptions of a topic: joining, leaving, pinning, and clearing away the dead.

use super::Channel;
use crate::atomic::{Ordering, fence};
use crate::bell::Attempt;
use crate::ring::Place;
use crate::slot::MOST_PINS;
use crate::subscriber::{Policy, Subscriber};
use crate::tag::{Caller, Tag};

/// From where on a subscription gets messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// So many of the last ones, as far as they are there, and all that come.
    History(u64),
    /// From this number on.
    At(u64),
}

impl<'a> Channel<'a> {
    /// The part of the table that was ever used.
    pub(super) fn joined(&self) -> &'a [Subscriber] {
        // Relaxed: whoever must be seen has made itself known with `blocking`, after this.
        let extent = self.topic.extent.load(Ordering::Relaxed) as usize;
        &self.subscribers[..extent.min(self.subscribers.len())]
    }

    /// Subscribes; returns the place of the subscription and the number of its first message. `None`: all places are
    /// taken by the living, also after a look at the dead.
    pub fn subscribe(&self, caller: Caller<'_>, policy: Policy, start: Start, now: u64) -> Option<(usize, u64)> {
        let claim = || self.subscribers.iter().take(MOST_PINS).position(|subscriber| subscriber.claim(caller.tag));
        let place = claim().or_else(|| {
            self.bury_subscribers(caller);
            claim()
        })?;
        let subscriber = &self.subscribers[place];
        self.reach(place);
        let newest = self.newest();
        let mut cursor = match start {
            // The ring has forgotten what came before.
            Start::History(history) => newest.saturating_sub(history.min(self.ring.len() as u64)).wrapping_add(1),
            Start::At(cursor) => cursor,
        };
        subscriber.show(caller.tag, policy, cursor, now);
        if policy == Policy::Block {
            // Release [topic.blocking]
            self.topic.blocking.fetch_add(1, Ordering::SeqCst);
        }
        // SeqCst: and then looks at the slots, as publishers take one and then look at who needs its message.
        fence(Ordering::SeqCst);
        if let Start::History(_) = start {
            cursor = self.first(policy, cursor);
            subscriber.advance(cursor, 0, 0, false);
        }
        // For those who wait for subscribers.
        self.topic.room.ring();
        Some((place, cursor))
    }

    /// The first message from `cursor` on that a new subscription gets.
    fn first(&self, policy: Policy, cursor: u64) -> u64 {
        // Anew: what came, and perhaps went, before this subscription was known is not for it.
        let newest = self.newest();
        let oldest = newest.saturating_sub(self.ring.len() as u64).saturating_add(1).max(cursor);
        let slot = |seq: u64| self.find(seq).map(|at| &self.slots[at]);
        if policy != Policy::Block {
            let is_there = |seq: &u64| slot(*seq).is_some_and(|slot| slot.is_still(*seq));
            return (oldest..=newest).find(is_there).unwrap_or(newest.saturating_add(1)).max(cursor);
        }
        // Without a gap up to the newest. Whoever has a slot in hands may not have seen this subscription, and be about to
        // empty it; but not the newest message's, which nobody takes.
        let stays = |seq: u64| {
            slot(seq).is_some_and(|slot| if seq == newest { slot.is_still(seq) } else { slot.is_at_rest(seq) })
        };
        let mut first = newest.saturating_add(1);
        while first > oldest && stays(first - 1) {
            first -= 1;
        }
        first.max(cursor)
    }

    fn reach(&self, place: usize) {
        let needed = place as u32 + 1;
        let mut seen = self.topic.extent.load(Ordering::Relaxed);
        while seen < needed {
            match self.topic.extent.compare_exchange(seen, needed, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// The slot that message `seq` is in, unless that has another one by now.
    pub fn find(&self, seq: u64) -> Option<usize> {
        match self.place(seq) {
            // Number 0 is that of empty slots.
            Place::At(slot) if seq != 0 => Some(slot),
            _ => None,
        }
    }

    /// Notes how far the subscription has come; publishers are told when they may wait for it.
    #[inline(always)]
    pub fn advance(&self, place: usize, cursor: u64, received: u64, missed: u64, tell: bool) {
        if let Some(subscriber) = self.subscribers.get(place) {
            subscriber.advance(cursor, received, missed, tell);
            if tell {
                self.topic.room.ring_behind_exchange();
            }
        }
    }

    /// Counts how long a message took, in nanoseconds.
    pub fn count_delay(&self, place: usize, nanoseconds: u64) {
        if let Some(subscriber) = self.subscribers.get(place) {
            subscriber.count_delay(nanoseconds);
        }
    }

    /// Pins message `seq` in `slot` for the subscription, if it is still there.
    #[inline]
    pub fn pin(&self, place: usize, slot: usize, seq: u64, now: u64) -> bool {
        let is_pinned = self.slots.get(slot).is_some_and(|slot| slot.pin(place, seq, now));
        if !is_pinned {
            // A publisher may have seen the pin that came too late, and left the slot.
            self.topic.room.ring();
        }
        is_pinned
    }

    /// Clears that pin.
    #[inline]
    pub fn unpin(&self, place: usize, slot: usize) {
        if let Some(slot) = self.slots.get(slot) {
            slot.unpin(place);
            self.topic.room.ring();
        }
    }

    /// Whether the subscription at `place` is `me`'s.
    #[inline(always)]
    pub fn is_subscribed(&self, place: usize, me: Tag) -> bool {
        self.subscribers.get(place).is_some_and(|subscriber| subscriber.is_of(me))
    }

    /// Ends a subscription, for those who would wait for it; its pins stay until it is [left](Self::leave).
    pub fn end(&self, place: usize, me: Tag) {
        if let Some(subscriber) = self.subscribers.get(place).filter(|subscriber| subscriber.is_of(me)) {
            if subscriber.end() {
                self.topic.blocking.fetch_add(1, Ordering::SeqCst);
            }
            self.topic.room.ring();
        }
    }

    /// Frees the place of a subscription.
    pub fn leave(&self, place: usize, me: Tag) {
        self.end(place, me);
        self.clear(place, me.word(), me);
    }

    /// Clears away the subscriptions of the dead; asks the kernel about each.
    pub(super) fn bury_subscribers(&self, caller: Caller<'_>) {
        // All: one that died between claiming its place and telling of it is not among the joined.
        for (place, subscriber) in self.subscribers.iter().enumerate() {
            if let Some(word) = subscriber.is_abandoned(caller) {
                self.clear(place, word, caller.tag);
            }
        }
    }

    fn clear(&self, place: usize, from: u32, me: Tag) {
        let Some(subscriber) = self.subscribers.get(place) else { return };
        // Of many who find the dead, one goes on. Killed from here on, it leaves an entry of a dead one.
        if !subscriber.begin_to_clear(from, me) {
            return;
        }
        self.topic.blocking.fetch_add(1, Ordering::SeqCst);
        for slot in self.slots.iter().filter(|slot| slot.is_pinned_by(place)) {
            slot.unpin(place);
        }
        subscriber.free();
        self.topic.room.ring();
    }

    /// Is done when so many subscriptions of the living are there; or tells what to sleep on.
    pub fn attempt_audience(&self, caller: Caller<'_>, count: usize) -> Attempt<'a, ()> {
        let living = || {
            let count = |(_, progress): &(usize, crate::subscriber::Progress)| {
                progress.policy != Policy::Ended && caller.living.is_alive(progress.tag)
            };
            self.progress().filter(count).count()
        };
        self.topic.room.attempt(|| (living() >= count).then_some(()))
    }
}
