//! Floor 3: messages from many to many: each subscriber sees every message, or the newest, and nobody holds up anybody who
//! has not asked for it.
//!
//! A ring of words, each of which names a message's number and its slot, and a pool of slots. A message counts from one
//! compare-and-swap on: the one that writes its word into the ring. Numbers begin with 1; message `n` has the word
//! `n` modulo the ring's length, and the next number is the first whose word is older. `next` follows behind: whoever
//! finds it late goes on from there. So there is no lock between publishers, and one that stops or dies at any point
//! leaves a message that counts, or one that does not.
//!
//! Slots are not given out by the ring: a publisher takes the one with the oldest message that nobody has pinned
//! (`supply.rs`). The messages that can still be had are those whose slot still has their number. A slot that stays pinned
//! for long is passed over, and costs the others nothing but one message of history.
//!
//! | step of publishing | killed before it |
//! | --- | --- |
//! | a slot is taken, filled and numbered (`slot.rs`) | the slot of a dead one, which `supply.rs` gives back |
//! | the ring's word names it | the same |
//! | `next` | a message that counts; the next publisher or reader finds it |
//! | the bell is rung | the same; those who sleep look again when their slice ends |
//! | the slot is let go of | a message that counts, in the slot of a dead one, which `supply.rs` gives back |
//! | the counts | a message too few in them |
//!
//! Sources: the ring that anybody may help along is that of M. Michael and M. Scott, "Simple, Fast, and Practical
//! Non-Blocking and Blocking Concurrent Queue Algorithms", 1996; reading without a pin is a sequence lock, H. Boehm, "Can
//! Seqlocks Get Along With Programming Language Memory Models?", 2012.

pub mod audience;
pub mod supply;

use crate::atomic::{Ordering, Word32, Word64, fence};
use crate::bell::{Attempt, Bell};
use crate::layout::shared;
use crate::publisher::{Output, Publisher};
use crate::slot::{Label, Slot};
use crate::subscriber::{Progress, Subscriber};
use crate::tag::Tag;

/// Bits of a ring's word that name a slot; the others are the low bits of the number.
const SLOT_BITS: u32 = 20;

/// The most slots of a topic.
pub const MOST_SLOTS: usize = 1 << SLOT_BITS;

shared! {
    /// What a topic is, and where it has come to, as it lies in shared memory.
    pub struct Topic(256) {
        /// Slots. Written once, as the next four.
        slots: Word32,
        /// Words of the ring, a power of two.
        ring: Word32,
        /// Entries of the table of subscriptions.
        subscribers: Word32,
        /// Entries of the table of publishers.
        publishers: Word32,
        /// Bytes of the largest message.
        slot_size: Word64,
        /// Changes when somebody joins or leaves whom publishers wait for.
        blocking: Word32,
        /// Entries of the table of subscriptions that were ever used, from the first on.
        extent: Word32,
        /// Zeros.
        reserved: [Word64; 4],
        /// A number below which all messages count; or the next number.
        next: Word64,
        /// Zeros.
        reserved_next: [Word64; 7],
        /// For those who wait for a message.
        news: Bell,
        /// Zeros.
        reserved_news: [Word64; 7],
        /// For those who wait for a slot, or for subscribers.
        room: Bell,
        /// Zeros.
        reserved_room: [Word64; 7],
    }
}

/// How many there are of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Slots.
    pub slots: usize,
    /// Bytes of the largest message.
    pub slot_size: usize,
    /// Words of the ring.
    pub ring: usize,
    /// Entries of the table of subscriptions.
    pub subscribers: usize,
    /// Entries of the table of publishers.
    pub publishers: usize,
}

/// Somebody has overwritten what a topic needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged;

/// A topic and its tables; the payloads are elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct Channel<'a> {
    pub(crate) topic: &'a Topic,
    ring: &'a [Word64],
    slots: &'a [Slot],
    subscribers: &'a [Subscriber],
    publishers: &'a [Publisher],
}

/// Which messages a reader wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The newest.
    Newest,
    /// Those that can be had; each, where publishers leave them to the reader.
    Some,
}

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In this slot, unless that has another one by now.
    Slot(usize),
    /// It was not published yet.
    Ahead,
    /// The ring has forgotten it.
    Behind,
}

fn pack(seq: u64, slot: usize) -> u64 {
    seq << SLOT_BITS | slot as u64
}

/// How far the number in a ring's word is ahead of `seq`.
#[inline(always)]
fn ahead(word: u64, seq: u64) -> i64 {
    // By the low bits only, which they have in common; of numbers that far apart both are not in one ring.
    ((word >> SLOT_BITS).wrapping_sub(seq) << SLOT_BITS).cast_signed() >> SLOT_BITS
}

impl Topic {
    /// A topic without messages.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        let topic = Self {
            slots: Word32::new(0),
            ring: Word32::new(0),
            subscribers: Word32::new(0),
            publishers: Word32::new(0),
            slot_size: Word64::new(0),
            blocking: Word32::new(0),
            extent: Word32::new(0),
            reserved: std::array::from_fn(|_| Word64::new(0)),
            next: Word64::new(0),
            reserved_next: std::array::from_fn(|_| Word64::new(0)),
            news: Bell::new(),
            reserved_news: std::array::from_fn(|_| Word64::new(0)),
            room: Bell::new(),
            reserved_room: std::array::from_fn(|_| Word64::new(0)),
        };
        topic.set_up(shape);
        topic
    }

    /// Makes it a topic without messages, where there are zeros and nobody sees it yet.
    pub fn set_up(&self, shape: Shape) {
        self.slots.store(shape.slots as u32, Ordering::Relaxed);
        self.ring.store(shape.ring as u32, Ordering::Relaxed);
        self.subscribers.store(shape.subscribers as u32, Ordering::Relaxed);
        self.publishers.store(shape.publishers as u32, Ordering::Relaxed);
        self.slot_size.store(shape.slot_size as u64, Ordering::Relaxed);
        self.next.store(1, Ordering::Relaxed);
    }

    /// How many there are of everything, as the memory says.
    pub fn shape(&self) -> Shape {
        Shape {
            slots: self.slots.load(Ordering::Relaxed) as usize,
            slot_size: usize::try_from(self.slot_size.load(Ordering::Relaxed)).unwrap_or(usize::MAX),
            ring: self.ring.load(Ordering::Relaxed) as usize,
            subscribers: self.subscribers.load(Ordering::Relaxed) as usize,
            publishers: self.publishers.load(Ordering::Relaxed) as usize,
        }
    }
}

impl<'a> Channel<'a> {
    /// A topic and its tables; the length of the ring is a power of two, and there is a slot at least.
    #[inline(always)]
    pub fn new(
        topic: &'a Topic,
        ring: &'a [Word64],
        slots: &'a [Slot],
        subscribers: &'a [Subscriber],
        publishers: &'a [Publisher],
    ) -> Self {
        debug_assert!(ring.len().is_power_of_two() && !slots.is_empty());
        Self { topic, ring, slots, subscribers, publishers }
    }

    /// Its slots.
    pub fn slots(&self) -> &'a [Slot] {
        self.slots
    }

    #[inline(always)]
    fn word(&self, seq: u64) -> &'a Word64 {
        // The length is a power of two, so this is inside.
        &self.ring[seq as usize & (self.ring.len() - 1)]
    }

    #[inline(always)]
    fn place(&self, seq: u64) -> Place {
        // Acquire [topic.ring]: sees the message, and its number in its slot.
        let word = self.word(seq).load(Ordering::Acquire);
        match ahead(word, seq) {
            0 => match word as usize & (MOST_SLOTS - 1) {
                slot if slot < self.slots.len() => Place::Slot(slot),
                // Somebody has overwritten it.
                _ => Place::Behind,
            },
            ..0 => Place::Ahead,
            1.. => Place::Behind,
        }
    }

    /// The number of the newest message; 0 before the first.
    pub fn newest(&self) -> u64 {
        // Acquire [topic.next]: sees the words of all that came before.
        let mut next = self.topic.next.load(Ordering::Acquire);
        // A turn more for each word that is a whole ring or more ahead: publishers who are stopped, or died, before they
        // raised `next`, can be many.
        for _ in 0..2 * self.ring.len() {
            match ahead(self.word(next).load(Ordering::Acquire), next) {
                ..0 => break,
                further => next = next.wrapping_add(further.cast_unsigned()).wrapping_add(1),
            }
        }
        next.saturating_sub(1)
    }

    // Publishing

    /// Has the message in `slot`, which is in `me`'s hands and labelled, count; returns its number. `hope` is a guess of
    /// that, from the last time.
    ///
    /// # Errors
    ///
    /// [`Damaged`].
    #[inline]
    pub fn commit(&self, slot: usize, hope: u64) -> Result<u64, Damaged> {
        let label = self.slots.get(slot).ok_or(Damaged)?;
        let mut seq = hope.max(1);
        let mut leaps = 0;
        loop {
            let word = self.word(seq);
            // Acquire [topic.ring]: what follows it in the order of numbers is done after it.
            let seen = word.load(Ordering::Acquire);
            match ahead(seen, seq) {
                ..0 => {
                    label.number(seq);
                    // Release [topic.ring]. It fails where somebody was faster, and has this number.
                    if word.compare_exchange(seen, pack(seq, slot), Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                        return Ok(seq);
                    }
                }
                0 => seq = seq.wrapping_add(1),
                further => {
                    // All up to the number there count.
                    // Acquire [topic.next]
                    let next = self.topic.next.load(Ordering::Acquire);
                    seq = next.max(seq.wrapping_add(further.cast_unsigned()).wrapping_add(1));
                    leaps += 1;
                    if leaps > self.ring.len() || further.cast_unsigned() % self.ring.len() as u64 != 0 {
                        return Err(Damaged);
                    }
                }
            }
        }
    }

    /// Lets everybody know that all messages up to `seq` count.
    #[inline]
    pub fn announce(&self, seq: u64) {
        let mut now = self.topic.next.load(Ordering::Relaxed);
        loop {
            if now > seq {
                // Somebody has told of a later one. What this one has done since it committed comes before the bells, too.
                fence(Ordering::SeqCst);
                break;
            }
            // Release [topic.next]. SeqCst, as the commit, for the bells.
            match self.topic.next.compare_exchange(now, seq.saturating_add(1), Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => break,
                Err(later) => now = later,
            }
        }
        self.topic.news.ring_behind_exchange();
        // The message before is the newest no more, and its slot can be had.
        self.topic.room.ring_behind_exchange();
    }

    /// Counts messages of `me`'s.
    #[inline(always)]
    pub fn count(&self, me: Tag, messages: u64, bytes: u64, now: u64) {
        if let Some(publisher) = self.publishers.get(me.index()) {
            publisher.count(me, messages, bytes, now);
        }
    }

    /// Counts a message of `me`'s that was not published.
    pub fn count_dropped(&self, me: Tag) {
        if let Some(publisher) = self.publishers.get(me.index()) {
            publisher.count_dropped(me);
        }
    }

    /// Labels what is in `slot`, which is in `me`'s hands.
    #[inline(always)]
    pub fn label(&self, slot: usize, me: Tag, length: usize, now: u64) {
        if let Some(slot) = self.slots.get(slot) {
            slot.label(me, length as u64, now);
        }
    }

    /// Lets go of `slot`, if it is in `me`'s hands.
    #[inline(always)]
    pub fn let_go(&self, slot: usize, me: Tag) {
        if let Some(slot) = self.slots.get(slot)
            && slot.owner_word() == me.word()
        {
            slot.give_back();
        }
    }

    /// Rings for those who wait for a slot.
    #[inline(always)]
    pub fn ring_for_room(&self) {
        self.topic.room.ring();
    }

    /// What the participants have published, by their places in the roster.
    pub fn outputs(&self) -> impl Iterator<Item = Output> + use<'a> {
        self.publishers.iter().map(Publisher::output)
    }

    // Receiving

    /// Reads the first message from `cursor` on that can be had, or the newest. `read` is given a slot, its
    /// label and its number, and says what came of it; nothing when the message turned out to be gone.
    ///
    /// Moves `cursor` to the message after it; or, when there is none, past those that are gone.
    #[inline]
    pub fn receive<T>(
        &self,
        cursor: &mut u64,
        wanted: Wanted,
        mut read: impl FnMut(usize, &'a Slot, Label, u64) -> Option<T>,
    ) -> Option<(u64, T)> {
        // Number 0 is that of empty slots.
        let mut seq = (*cursor).max(1);
        let latest = wanted == Wanted::Newest;
        if latest {
            seq = seq.max(self.newest());
        }
        // Each turn goes on by one message at least, or by as many as the ring has forgotten, so it ends.
        for _ in 0..=2 * self.ring.len() {
            match self.place(seq) {
                Place::Ahead => break,
                Place::Slot(at) => {
                    let slot = &self.slots[at];
                    let found = slot.read(seq).and_then(|label| read(at, slot, label, seq));
                    if let Some(found) = found {
                        *cursor = seq.saturating_add(1);
                        return Some((seq, found));
                    }
                    seq = seq.saturating_add(1);
                }
                Place::Behind => {
                    let newest = self.newest();
                    if newest < seq {
                        // Behind by its low bits only: it is very far ahead, or the ring is damaged.
                        break;
                    }
                    let oldest = newest.saturating_sub(self.ring.len() as u64).wrapping_add(1);
                    seq = oldest.max(seq.saturating_add(1));
                }
            }
            if latest {
                seq = seq.max(self.newest());
            }
        }
        *cursor = (*cursor).max(seq);
        None
    }

    /// Whether there is a message from `cursor` on, or whoever waits for one should look why not.
    #[inline(always)]
    pub fn is_news(&self, cursor: u64) -> bool {
        match self.place(cursor) {
            Place::Ahead => false,
            Place::Slot(_) => true,
            // By its low bits only, if it is very far ahead.
            Place::Behind => cursor <= self.newest(),
        }
    }

    /// Is done when there is a message from `cursor` on; or tells what to sleep on.
    pub fn attempt_news(&self, cursor: u64) -> Attempt<'a, ()> {
        if self.is_news(cursor) {
            return Attempt::Done(());
        }
        let sleep = self.topic.news.listen();
        if self.is_news(cursor) { Attempt::Done(()) } else { Attempt::Wait(sleep) }
    }

    /// Wakes all who wait for a message, to look again.
    pub fn wake_all(&self) {
        self.topic.news.ring();
    }

    /// What the subscriptions say of themselves, by their places.
    pub fn progress(&self) -> impl Iterator<Item = (usize, Progress)> + use<'a> {
        self.subscribers.iter().enumerate().filter_map(|(at, subscriber)| Some((at, subscriber.progress()?)))
    }

    /// Whose a subscription is, settled or not.
    pub fn subscriber_tag(&self, place: usize) -> Option<Tag> {
        Tag::read(self.subscribers.get(place)?.owner_word())
    }
}
