//! Floor 2: a lock that survives its holder.
//!
//! One word: 0 when free, else the holder's [`Tag`], with a mark when somebody may sleep. Taking and releasing it
//! uncontended is one compare-and-swap each. A change of the word is all it takes, so there is no state in which a
//! process could die and leave the lock half taken.
//!
//! Whoever has slept for a while without being woken asks whether the holder lives. After a death it takes the lock
//! over with one compare-and-swap, so of many who notice only one does, and when that one dies the next does. The same
//! look puts right what a killed waiter leaves: a wake-up that it took with it.
//!
//! A lock that is free belongs to whoever comes first: one who is awake is faster than one who must be woken, and a lock
//! that waits for wake-ups is idle most of the time. So that nobody waits for ever, one who has waited long makes the
//! mark [`RESERVED`]: the next release leaves the lock free for those who have waited, and whoever only comes goes to
//! sleep behind them. Source: the starvation mode of Go's `sync.Mutex`; eventual fairness in Rust's `parking_lot`.
//!
//! Source of the marked word: Ulrich Drepper, "Futexes Are Tricky", 2011, mutex 2; of the takeover: robust futexes,
//! get_robust_list(2), of which this needs nothing.

use crate::atomic::{Ordering, Word32, Word64, wake};
use crate::bell::{Attempt, Sleep};
use crate::layout::shared;
use crate::tag::{Caller, Tag};

/// Somebody may sleep on the word.
const WAITERS: u32 = Tag::MARK;

/// Whoever has waited goes first.
const RESERVED: u32 = Tag::SECOND_MARK;

shared! {
/// A lock, as it lies in shared memory.
pub struct Lock(64) {
    /// 0 when free, else the holder's tag; with the marks when somebody may sleep, and when whoever has waited goes first.
    word: Word32,
    /// The tag of the last holder that died with it.
    died: Word32,
    /// When it was last taken: nanoseconds of the wall clock, to some milliseconds. Its holder writes it.
    since: Word64,
    /// How often it was taken over from the dead.
    recoveries: Word32,
    /// How often somebody went to sleep for it.
    sleeps: Word32,
}
}

/// What to do about a holder that died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dead {
    /// Do not ask: it was woken, or has just come.
    DontAsk,
    /// Take the lock over.
    TakeOver,
    /// Leave it, and say so.
    Report,
}

/// How long the caller has waited already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It has just come.
    New,
    /// It has slept.
    Again,
    /// It has slept for so long that others must let it go first.
    Overdue,
}

/// How an attempt to take the lock ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The caller holds it; it was free.
    Free,
    /// The caller holds it; this holder died with it.
    Recovered(Tag),
    /// The caller does not hold it: this holder died with it.
    Abandoned(Tag),
}

impl Lock {
    /// A free lock.
    #[expect(clippy::new_without_default, reason = "shared memory is made in place, never by default")]
    pub fn new() -> Self {
        Self {
            word: Word32::new(0),
            died: Word32::new(0),
            since: Word64::new(0),
            recoveries: Word32::new(0),
            sleeps: Word32::new(0),
        }
    }

    /// Takes it if it is free.
    #[inline(always)]
    pub fn try_acquire(&self, me: Tag) -> bool {
        // Acquire [lock.word]: sees all that the last holder did.
        self.word.compare_exchange(0, me.word(), Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Takes it, or tells what to sleep on; as one who has waited.
    #[cold]
    pub fn attempt(&self, caller: Caller<'_>, dead: Dead) -> Attempt<'_, Taken> {
        self.attempt_in_turn(caller, dead, Turn::Again)
    }

    /// Takes it, or tells what to sleep on.
    #[cold]
    pub fn attempt_in_turn(&self, caller: Caller<'_>, dead: Dead, turn: Turn) -> Attempt<'_, Taken> {
        // With the mark: others may sleep, and the release that woke this one has taken their mark away.
        let mine = caller.tag.word() | WAITERS;
        let mut seen = self.word.load(Ordering::Relaxed);
        loop {
            let Some(holder) = Tag::read(seen) else {
                if turn == Turn::New && seen == RESERVED | WAITERS {
                    self.sleeps.fetch_add(1, Ordering::Relaxed);
                    return Attempt::Wait(Sleep { word: &self.word, expected: seen });
                }
                // Acquire [lock.word]
                match self.word.compare_exchange(seen, mine, Ordering::Acquire, Ordering::Relaxed) {
                    Ok(_) => return Attempt::Done(Taken::Free),
                    Err(now) => seen = now,
                }
                continue;
            };
            if dead != Dead::DontAsk && !caller.living.is_alive(holder) {
                if dead == Dead::Report {
                    return Attempt::Done(Taken::Abandoned(holder));
                }
                // Acquire [lock.word]: what the dead one did is seen as far as it came, because it is gone: the
                // kernel's word for that comes after all that it did.
                match self.word.compare_exchange(seen, mine, Ordering::Acquire, Ordering::Relaxed) {
                    Ok(_) => {
                        self.died.store(holder.word(), Ordering::Relaxed);
                        self.recoveries.fetch_add(1, Ordering::Relaxed);
                        return Attempt::Done(Taken::Recovered(holder));
                    }
                    Err(now) => seen = now,
                }
                continue;
            }
            let marked = seen | if turn == Turn::Overdue { WAITERS | RESERVED } else { WAITERS };
            if seen != marked {
                match self.word.compare_exchange(seen, marked, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => seen = marked,
                    Err(now) => {
                        seen = now;
                        continue;
                    }
                }
            }
            self.sleeps.fetch_add(1, Ordering::Relaxed);
            return Attempt::Wait(Sleep { word: &self.word, expected: seen });
        }
    }

    /// Takes it if it is free or its holder died, without waiting.
    ///
    /// `None`: somebody who lives holds it.
    #[cold]
    pub fn poll(&self, caller: Caller<'_>, dead: Dead) -> Option<Taken> {
        loop {
            if self.try_acquire(caller.tag) {
                return Some(Taken::Free);
            }
            match Tag::read(self.word.load(Ordering::Relaxed)) {
                Some(holder) if dead == Dead::DontAsk || caller.living.is_alive(holder) => return None,
                // Free by now, or its holder is dead: an attempt cannot end in sleep, unless somebody else was faster.
                _ => {
                    if let Attempt::Done(taken) = self.attempt(caller, dead) {
                        return Some(taken);
                    }
                }
            }
        }
    }

    /// Gives it back.
    ///
    /// # Errors
    ///
    /// The caller does not hold it; who does.
    #[inline(always)]
    pub fn release(&self, me: Tag) -> Result<(), Option<Tag>> {
        // Release [lock.word]: the next holder sees all that this one did.
        match self.word.compare_exchange(me.word(), 0, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            Err(seen) => self.release_marked(me, seen),
        }
    }

    #[cold]
    fn release_marked(&self, me: Tag, seen: u32) -> Result<(), Option<Tag>> {
        let mut seen = seen;
        while Tag::read(seen) == Some(me) {
            let free = if seen & RESERVED == 0 { 0 } else { RESERVED | WAITERS };
            // Release [lock.word]. It fails where somebody has made another mark meanwhile.
            match self.word.compare_exchange(seen, free, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => {
                    wake(&self.word, 1);
                    return Ok(());
                }
                Err(now) => seen = now,
            }
        }
        Err(Tag::read(seen))
    }

    /// Is done when an attempt would be, without taking it; or tells what to sleep on. Whoever only looks must
    /// [pass on](Self::pass_on) the wake-up that it may have had.
    #[cold]
    pub fn look(&self, caller: Caller<'_>, ask: bool) -> Attempt<'_, ()> {
        let mut seen = self.word.load(Ordering::Relaxed);
        loop {
            let Some(holder) = Tag::read(seen) else { return Attempt::Done(()) };
            if ask && !caller.living.is_alive(holder) {
                return Attempt::Done(());
            }
            let marked = seen | WAITERS;
            if marked == seen {
                return Attempt::Wait(Sleep { word: &self.word, expected: seen });
            }
            match self.word.compare_exchange(seen, marked, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => seen = marked,
                Err(now) => seen = now,
            }
        }
    }

    /// Sees to it that another one is woken, now if the lock is free, else by its release: for a waiter that gives up, and
    /// may have been woken just then.
    #[cold]
    pub fn pass_on(&self) {
        let mut seen = self.word.load(Ordering::Relaxed);
        // Whoever took it in the short way does not know that others sleep: the release before took their mark away.
        while Tag::read(seen).is_some() && seen & WAITERS == 0 {
            match self.word.compare_exchange(seen, seen | WAITERS, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
        if Tag::read(seen).is_none() {
            wake(&self.word, 1);
        }
    }

    /// Who holds it, dead or alive.
    pub fn holder(&self) -> Option<Tag> {
        Tag::read(self.word.load(Ordering::Relaxed))
    }

    /// Whether `me` holds it.
    #[inline(always)]
    pub fn is_held_by(&self, me: Tag) -> bool {
        Tag::read(self.word.load(Ordering::Relaxed)) == Some(me)
    }

    /// Notes when it was taken; its holder does.
    #[inline(always)]
    pub fn note_since(&self, now: u64) {
        self.since.store(now, Ordering::Relaxed);
    }

    /// When it was taken, in nanoseconds of the wall clock.
    pub fn since(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }

    /// The last holder that died with it.
    pub fn last_dead(&self) -> Option<Tag> {
        Tag::read(self.died.load(Ordering::Relaxed))
    }

    /// How often it was taken over from the dead, and how often somebody went to sleep for it.
    pub fn counts(&self) -> (u32, u32) {
        (self.recoveries.load(Ordering::Relaxed), self.sleeps.load(Ordering::Relaxed))
    }
}
