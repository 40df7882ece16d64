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
//! Source: reading without a pin is a sequence lock, H. Boehm, "Can Seqlocks Get Along With Programming Language Memory
//! Models?", 2012.

pub mod audience;
pub mod supply;

use crate::atomic::{Ordering, Word32, Word64};
use crate::bell::{Attempt, Bell};
use crate::layout::shared;
use crate::publisher::{Output, Publisher};
use crate::ring::{MOST_PLACES, Place, Ring};
use crate::slot::{Label, Slot};
use crate::subscriber::{Progress, Subscriber};
use crate::tag::Tag;

/// The most slots of a topic.
pub const MOST_SLOTS: usize = MOST_PLACES;

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
    /// Whether at most one thread of this process counts at a time.
    alone: bool,
    ring: Ring<'a>,
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
        let ring = Ring::new(ring, &topic.next, slots.len());
        Self { topic, alone: false, ring, slots, subscribers, publishers }
    }

    /// The same, where at most one thread of this process counts at a time; that is quicker.
    #[inline(always)]
    #[must_use]
    pub fn alone(self, alone: bool) -> Self {
        Self { alone, ..self }
    }

    /// Its slots.
    pub fn slots(&self) -> &'a [Slot] {
        self.slots
    }

    #[inline(always)]
    fn place(&self, seq: u64) -> Place {
        self.ring.place(seq)
    }

    /// The number of the newest message; 0 before the first.
    pub fn newest(&self) -> u64 {
        self.ring.newest()
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
        let numbered = |seq| {
            label.number(seq);
            true
        };
        self.ring.commit(slot, hope, numbered).map_err(|_| Damaged)
    }

    /// Lets everybody know that all messages up to `seq` count.
    #[inline]
    pub fn announce(&self, seq: u64) {
        self.ring.announce(seq);
        self.topic.news.ring_behind_exchange();
        // The message before is the newest no more, and its slot can be had.
        self.topic.room.ring_behind_exchange();
    }

    /// Counts messages of `me`'s.
    #[inline(always)]
    pub fn count(&self, me: Tag, messages: u64, bytes: u64, now: u64) {
        if let Some(publisher) = self.publishers.get(me.index()) {
            publisher.count(me, messages, bytes, now, self.alone);
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
                Place::At(at) => {
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
            Place::At(_) => true,
            // By its low bits only, if it is very far ahead.
            Place::Behind => cursor <= self.newest(),
        }
    }

    /// Is done when there is a message from `cursor` on; or tells what to sleep on.
    pub fn attempt_news(&self, cursor: u64) -> Attempt<'a, ()> {
        self.topic.news.attempt(|| self.is_news(cursor).then_some(()))
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
