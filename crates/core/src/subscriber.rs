//! Floor 2: the subscriptions of a topic: whose each is, how it wants to be treated, and how far it has come.
//!
//! An entry is owned by a participant, by its [`Tag`] in one word. With the mark, it is being set up or cleared away, and
//! counts for nobody; without, it counts. Whoever dies leaves an entry that others clear away: first they put themselves
//! in the place of the dead one, with the mark, then they clear its pins, then they free the entry. A second death in
//! between leaves the same for the next one.
//!
//! The counts are the owner's, who alone writes them; monitors only read.

use crate::atomic::{Ordering, Word32, Word64};
use crate::layout::shared;
use crate::tag::{Caller, Living, Tag};

/// Being set up, or cleared away.
const UNSETTLED: u32 = Tag::MARK;

/// So many counts of delays, by the logarithm of nanoseconds.
pub const DELAYS: usize = 32;

shared! {
    /// A subscription, as it lies in shared memory.
    pub struct Subscriber(192) {
        /// The number of the message that it gets next.
        cursor: Word64,
        /// Messages that it got.
        received: Word64,
        /// Messages that were gone before it could get them.
        missed: Word64,
        /// When it began: nanoseconds since 1970.
        joined: Word64,
        /// 0 when the entry is free, else the tag of its participant; with a mark while it counts for nobody.
        owner: Word32,
        /// How it wants to be treated: a `Policy`.
        policy: Word32,
        /// Zeros.
        reserved: [Word64; 3],
        /// How many messages took how long from being published to being received: by the binary logarithm of nanoseconds.
        delays: [Word32; 32],
    }
}

/// How a subscription wants to be treated when it cannot follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Policy {
    /// It gets the newest message only.
    Latest = 1,
    /// It gets every message, but those that are gone by the time.
    Drop = 2,
    /// It gets every message: publishers wait for it.
    Block = 3,
    /// It has ended, and some of its samples live.
    Ended = 4,
}

impl Policy {
    /// The policy of that number; of numbers that are none, the one that holds nobody up.
    fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Latest,
            3 => Self::Block,
            4 => Self::Ended,
            _ => Self::Drop,
        }
    }
}

/// What a subscription says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Its participant.
    pub tag: Tag,
    /// How it wants to be treated.
    pub policy: Policy,
    /// The number of the message that it gets next.
    pub cursor: u64,
    /// Messages that it got.
    pub received: u64,
    /// Messages that it missed.
    pub missed: u64,
    /// When it began: nanoseconds since 1970.
    pub joined: u64,
    /// Messages by the logarithm of their delay.
    pub delays: [u32; DELAYS],
}

impl Subscriber {
    /// A free entry.
    #[expect(clippy::new_without_default, reason = "shared memory is made in place, never by default")]
    pub fn new() -> Self {
        Self {
            cursor: Word64::new(0),
            received: Word64::new(0),
            missed: Word64::new(0),
            joined: Word64::new(0),
            owner: Word32::new(0),
            policy: Word32::new(0),
            reserved: std::array::from_fn(|_| Word64::new(0)),
            delays: std::array::from_fn(|_| Word32::new(0)),
        }
    }

    /// Claims it if it is free, to set it up.
    pub(crate) fn claim(&self, me: Tag) -> bool {
        self.owner.load(Ordering::Relaxed) == 0
            // Acquire [subscriber.owner]: the one before has cleared its pins.
            && self.owner.compare_exchange(0, me.word() | UNSETTLED, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Sets it up, and shows it. Its owner does, who has claimed it.
    pub(crate) fn show(&self, me: Tag, policy: Policy, cursor: u64, now: u64) {
        // Relaxed: read by those who see the last store.
        self.received.store(0, Ordering::Relaxed);
        self.missed.store(0, Ordering::Relaxed);
        self.joined.store(now, Ordering::Relaxed);
        for delay in &self.delays {
            if delay.load(Ordering::Relaxed) != 0 {
                delay.store(0, Ordering::Relaxed);
            }
        }
        self.policy.store(policy as u32, Ordering::Relaxed);
        self.cursor.store(cursor, Ordering::Relaxed);
        // Release [subscriber.owner]
        self.owner.store(me.word(), Ordering::Release);
    }

    /// Whether it is `me`'s, and counts.
    #[inline(always)]
    pub(crate) fn is_of(&self, me: Tag) -> bool {
        self.owner.load(Ordering::Relaxed) == me.word()
    }

    /// Ends it, for those who would wait for it; its place stays taken, because pins may live on.
    pub(crate) fn end(&self) -> bool {
        let blocked = self.policy.load(Ordering::Relaxed) == Policy::Block as u32;
        self.policy.store(Policy::Ended as u32, Ordering::Relaxed);
        blocked
    }

    /// Begins to clear it away, if `from` still is what `owner` holds.
    pub(crate) fn begin_to_clear(&self, from: u32, me: Tag) -> bool {
        // Acquire [subscriber.owner]
        self.owner.compare_exchange(from, me.word() | UNSETTLED, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Frees it, when it has no pins any more.
    pub(crate) fn free(&self) {
        // Release [subscriber.owner]: the next owner finds no pin of this one.
        self.owner.store(0, Ordering::Release);
    }

    /// Whose it is, as the word in memory; 0 when it is free.
    pub(crate) fn owner_word(&self) -> u32 {
        self.owner.load(Ordering::Relaxed)
    }

    /// Whether nobody living has it: asks the kernel.
    pub(crate) fn is_abandoned(&self, caller: Caller<'_>) -> Option<u32> {
        let word = self.owner.load(Ordering::Relaxed);
        // A word that names nobody was overwritten by who may not: the entry is nobody's.
        let gone = word != 0 && Tag::read(word).is_none_or(|tag| tag != caller.tag && !caller.living.is_alive(tag));
        gone.then_some(word)
    }

    /// What it says of itself; `None` when it counts for nobody.
    pub fn progress(&self) -> Option<Progress> {
        // Acquire [subscriber.owner]
        let word = self.owner.load(Ordering::Acquire);
        let tag = Tag::read(word).filter(|_| word & UNSETTLED == 0)?;
        Some(Progress {
            tag,
            policy: Policy::from_number(self.policy.load(Ordering::Relaxed)),
            cursor: self.cursor.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            missed: self.missed.load(Ordering::Relaxed),
            joined: self.joined.load(Ordering::Relaxed),
            delays: std::array::from_fn(|at| self.delays[at].load(Ordering::Relaxed)),
        })
    }

    /// The message that publishers must leave to it, and all that follow; `None` when it holds nobody up.
    #[inline]
    pub(crate) fn needs(&self, living: &dyn Living) -> Option<u64> {
        // Acquire [subscriber.owner]
        let word = self.owner.load(Ordering::Acquire);
        let tag = Tag::read(word).filter(|_| word & UNSETTLED == 0)?;
        if self.policy.load(Ordering::Relaxed) != Policy::Block as u32 || !living.is_present(tag) {
            return None;
        }
        // Acquire [subscriber.cursor]: sees the end of all that was read of the messages before.
        Some(self.cursor.load(Ordering::Acquire))
    }

    /// Notes how far it has come, and with how many messages; in a sequentially consistent exchange, if a bell is to be rung.
    #[inline(always)]
    pub(crate) fn advance(&self, cursor: u64, received: u64, missed: u64, as_exchange: bool) {
        self.received.store(received, Ordering::Relaxed);
        if self.missed.load(Ordering::Relaxed) != missed {
            self.missed.store(missed, Ordering::Relaxed);
        }
        // Release [subscriber.cursor]: publishers who see it may write over what was read before.
        if as_exchange {
            self.cursor.swap(cursor, Ordering::SeqCst);
        } else {
            self.cursor.store(cursor, Ordering::Release);
        }
    }

    /// Counts a message that took so many nanoseconds.
    pub(crate) fn count_delay(&self, nanoseconds: u64) {
        let at = (nanoseconds.max(1).ilog2() as usize).min(DELAYS - 1);
        let counted = self.delays[at].load(Ordering::Relaxed);
        self.delays[at].store(counted.wrapping_add(1), Ordering::Relaxed);
    }
}
