//! Slots for publishers: the one with the oldest message that nobody needs any more.
//!
//! What a publisher remembers of this is its own, and only saves it time: the truth is in the slots. It walks along the
//! ring behind the newest messages, and takes the slot of each message that it comes to. What is pinned or in somebody's
//! hands it passes over; those slots it finds again by looking at all of them, now and then, and whenever the walk has
//! come to its end.

use std::collections::VecDeque;

use super::Channel;
use crate::atomic::{Ordering, will_write};
use crate::bell::Attempt;
use crate::ring::Place;
use crate::slot::Slot;
use crate::tag::{Caller, Living, Tag};

/// Every so many times the number of slots, all slots are looked at when there is no sign that this would help.
const SELDOM: usize = 16;

/// What a publisher remembers of the slots.
#[derive(Debug, Default)]
pub struct Supply {
    /// The number that the next message may get.
    pub hope: u64,
    /// The number of the next message that the walk comes to.
    tail: u64,
    /// Slots with messages before that, and those numbers; 0 for an empty one.
    free: VecDeque<(usize, u64)>,
    /// Slots to be taken before all are looked at again.
    patience: usize,
    /// Whether some were in somebody's hands or pinned when that was done last, or the walk has passed over any since.
    has_passed: bool,
    /// The slot that is likely to be taken next.
    pub coming: Option<usize>,
    /// What [`blocking`](super::Topic) was when this was last found out:
    blocking: u32,
    /// the first message that a living subscription needs.
    limit: Option<u64>,
}

impl Supply {
    /// Notes that the walk has passed over a slot, so that all are looked at soon.
    fn pass(&mut self, slots: usize) {
        self.has_passed = true;
        self.patience = self.patience.min(slots);
    }
}

/// Why a slot could not be taken.
enum Refused {
    /// It is pinned, or in somebody's hands.
    Busy,
    /// It has another message by now.
    Changed,
    /// A subscription needs its message.
    Needed,
}

/// What makes a slot one that cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// A participant has it in hands.
    Loaned(Tag),
    /// A subscription has it pinned: its place, and whose it is.
    Pinned(usize, Option<Tag>),
    /// A subscription that publishers wait for has not read its message yet.
    Unread(usize, Option<Tag>),
}

impl<'a> Channel<'a> {
    /// Takes a slot into the caller's hands, empty; `None` when none can be had.
    #[inline]
    pub fn take(&self, supply: &mut Supply, caller: Caller<'_>) -> Option<usize> {
        if supply.patience == 0 {
            if supply.has_passed {
                // What was passed over may be a dead one's, whose slots nobody else would miss.
                self.bury(caller);
            }
            self.look_at_all(supply);
        }
        supply.patience = supply.patience.saturating_sub(1);
        if !supply.free.is_empty()
            && let Some(found) = self.take_free(supply, caller)
        {
            return Some(found);
        }
        self.walk(supply, caller).or_else(|| {
            self.look_at_all(supply);
            self.take_free(supply, caller).or_else(|| self.walk(supply, caller))
        })
    }

    fn take_free(&self, supply: &mut Supply, caller: Caller<'_>) -> Option<usize> {
        for _ in 0..supply.free.len() {
            let (at, seq) = supply.free.pop_front()?;
            match self.take_one(at, seq, supply, caller) {
                Ok(()) => return Some(at),
                Err(Refused::Needed) => supply.free.push_back((at, seq)),
                Err(Refused::Busy | Refused::Changed) => {}
            }
        }
        None
    }

    /// The number of the newest message, as far as is known at once: its slot stays, so that there always is one. Moves the
    /// walk to where the ring begins.
    #[inline(always)]
    fn newest_known(&self, supply: &mut Supply) -> u64 {
        let next = self.ring.next_known().max(supply.hope).max(1);
        let oldest = next.saturating_sub(self.ring.len() as u64).max(1);
        if supply.tail < oldest {
            // What the ring has forgotten is passed over, too.
            if supply.tail != 0 {
                supply.pass(self.slots.len());
            }
            supply.tail = oldest;
        }
        next - 1
    }

    #[inline]
    fn walk(&self, supply: &mut Supply, caller: Caller<'_>) -> Option<usize> {
        let newest = self.newest_known(supply);
        for _ in 0..=self.ring.len() {
            if supply.tail >= newest {
                break;
            }
            if let Place::At(at) = self.place(supply.tail) {
                match self.take_one(at, supply.tail, supply, caller) {
                    Ok(()) => {
                        supply.tail += 1;
                        if let Place::At(next) = self.place(supply.tail) {
                            // Readers have its line, too: to have it alone takes as long as all the rest.
                            will_write(&raw const self.slots[next]);
                            supply.coming = Some(next);
                        }
                        return Some(at);
                    }
                    Err(Refused::Needed) => return None,
                    Err(Refused::Busy) => supply.pass(self.slots.len()),
                    Err(Refused::Changed) => {}
                }
            }
            supply.tail += 1;
        }
        None
    }

    /// Takes a slot if message `seq` is in it, and nobody needs that.
    #[inline]
    fn take_one(&self, at: usize, seq: u64, supply: &mut Supply, caller: Caller<'_>) -> Result<(), Refused> {
        let slot = self.slots.get(at).ok_or(Refused::Changed)?;
        if slot.seq() != seq {
            return Err(Refused::Changed);
        }
        if slot.owner_word() != 0 || slot.is_pinned() {
            return Err(Refused::Busy);
        }
        if !self.may_take(seq, supply, caller.living) {
            return Err(Refused::Needed);
        }
        if !slot.take(0, caller.tag) {
            return Err(Refused::Busy);
        }
        if slot.seq() != seq {
            slot.give_back();
            return Err(Refused::Changed);
        }
        // After the fence in `take`: whoever has joined before it is seen here, and whoever joins after it sees that the slot
        // is in somebody's hands. So nothing that is needed is ever emptied, not even for a moment.
        if !self.may_take(seq, supply, caller.living) {
            slot.give_back();
            return Err(Refused::Needed);
        }
        if slot.empty() {
            return Ok(());
        }
        slot.put_back(seq);
        slot.give_back();
        Err(Refused::Busy)
    }

    #[inline(always)]
    fn may_take(&self, seq: u64, supply: &mut Supply, living: &dyn Living) -> bool {
        // Acquire [topic.blocking]: sees the entry of whoever has joined.
        if self.topic.blocking.load(Ordering::Acquire) == supply.blocking
            && supply.limit.is_none_or(|limit| seq < limit)
        {
            return true;
        }
        self.find_limit(supply, living);
        supply.limit.is_none_or(|limit| seq < limit)
    }

    #[cold]
    fn find_limit(&self, supply: &mut Supply, living: &dyn Living) {
        // Acquire [topic.blocking]: before the entries, so that a change after they were read is noticed.
        supply.blocking = self.topic.blocking.load(Ordering::Acquire);
        supply.limit = self.limit(living);
    }

    /// The first message that a subscription needs which publishers wait for.
    fn limit(&self, living: &dyn Living) -> Option<u64> {
        // Never 0, which is in every empty slot.
        self.joined().iter().filter_map(|subscriber| subscriber.needs(living)).min().map(|needed| needed.max(1))
    }

    /// Lists the slots with messages before those that the walk comes to, the oldest first.
    #[cold]
    fn look_at_all(&self, supply: &mut Supply) {
        // Not only as far as is known at once: publishers tell each other the newest number, unless they are stopped, or
        // died, before that.
        let newest = self.newest();
        supply.hope = supply.hope.max(newest.wrapping_add(1));
        let _ = self.newest_known(supply);
        supply.free.clear();
        let tail = supply.tail;
        let old = |(at, slot): (usize, &Slot)| {
            // Read once: what it is a moment later may be the newest.
            let seq = slot.seq();
            (seq < tail && slot.owner_word() == 0).then_some((at, seq))
        };
        let mut found: Vec<(usize, u64)> = self.slots.iter().enumerate().filter_map(old).collect();
        found.sort_by_key(|(_, seq)| *seq);
        let is_away = |slot: &Slot| slot.owner_word() != 0 || slot.seq() < tail && slot.is_pinned();
        supply.has_passed = self.slots.iter().any(is_away);
        supply.free.extend(found);
        supply.patience = self.slots.len() * if supply.has_passed { 1 } else { SELDOM };
    }

    /// Is done when a slot can be had, or tells what to sleep on; with `ask`, looks after the dead first.
    pub fn attempt_room(&self, caller: Caller<'_>, ask: bool) -> Attempt<'a, ()> {
        if ask {
            self.bury(caller);
        }
        self.topic.room.attempt(|| self.is_room(caller.living).then_some(()))
    }

    /// Whether a slot can be had, unless another is faster. Looks at all of them.
    pub fn is_room(&self, living: &dyn Living) -> bool {
        let limit = self.limit(living).unwrap_or(u64::MAX).min(self.newest()).max(1);
        self.slots.iter().any(|slot| slot.owner_word() == 0 && slot.seq() < limit && !slot.is_pinned())
    }

    /// Gives back what the dead had: slots in their hands, subscriptions and pins.
    pub fn bury(&self, caller: Caller<'_>) {
        self.bury_subscribers(caller);
        for slot in self.slots {
            let word = slot.owner_word();
            let gone = word != 0 && Tag::read(word).is_none_or(|tag| tag != caller.tag && !caller.living.is_alive(tag));
            // Of many who find out, one takes it over. Killed from here on, it leaves what it found.
            if gone && slot.take(word, caller.tag) {
                let seq = slot.seq();
                // Numbered, but not committed as that: it is empty. Pinned or not: a pin is for the message before, whose
                // number is gone already; with a number that nobody has, nobody could take the slot.
                if seq != 0 && self.place(seq) != self.place_of(slot) {
                    slot.empty();
                }
                slot.give_back();
                self.topic.room.ring();
            }
        }
    }

    fn place_of(&self, slot: &Slot) -> Place {
        self.slots.iter().position(|other| std::ptr::eq(other, slot)).map_or(Place::Behind, Place::At)
    }

    /// What keeps each slot that cannot be had from being taken, and since when, in nanoseconds since 1970; for people to
    /// read.
    pub fn holdings(&self) -> Vec<(usize, u64, u64, Vec<Holding>)> {
        let needs: Vec<(usize, u64, Option<Tag>)> = self
            .progress()
            .filter(|(_, progress)| progress.policy == crate::subscriber::Policy::Block)
            .map(|(place, progress)| (place, progress.cursor, Some(progress.tag)))
            .collect();
        let describe = |(at, slot): (usize, &Slot)| {
            let seq = slot.seq();
            let pinned = slot.pinned_by().map(|place| Holding::Pinned(place, self.subscriber_tag(place)));
            let mut held: Vec<Holding> = slot.owner().map(Holding::Loaned).into_iter().chain(pinned).collect();
            let unread = needs.iter().filter(|(_, cursor, _)| seq != 0 && seq >= *cursor);
            let since = if held.is_empty() { 0 } else { slot.held_since() };
            held.extend(unread.map(|(place, _, tag)| Holding::Unread(*place, *tag)));
            (!held.is_empty()).then_some((at, seq, since, held))
        };
        self.slots.iter().enumerate().filter_map(describe).collect()
    }
}
