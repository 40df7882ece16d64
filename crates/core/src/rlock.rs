//! Floor 3: a lock that its holder can take again.
//!
//! A [`Lock`] says which process holds it, and two words beside it say which of that process's threads, and how many
//! times. Only the holder writes these two, and only while it holds the lock, so a holder killed between any two stores
//! leaves nothing that matters: the heir gets the lock as from any dead holder, and writes both words anew before it
//! or anybody else reads them for a decision.
//!
//! The thread's number decides whether an acquisition is a re-entry. It is read by threads that do not hold the lock,
//! so it must never be theirs by accident:
//!
//! - a number is unique among all threads of all processes, and never 0, so whatever a dead process leaves there is
//!   nobody else's;
//! - a holder takes its number away *before* it releases the lock. Left there, it would still be its own when another
//!   thread of the same process has the lock but has not written its number yet: the lock says "this process", the
//!   number says "this thread", and both threads are in.

use crate::atomic::{Ordering, Word32, Word64};
use crate::bell::Attempt;
use crate::layout::shared;
use crate::lock::{Dead, Lock, Taken, Turn};
use crate::tag::{Caller, Tag};

shared! {
/// A lock that its holder can take again, as it lies in shared memory.
pub struct RLock(128) {
    /// Which process holds it.
    lock: Lock,
    /// Which of its threads; 0 when none does.
    thread: Word64,
    /// How many times that thread has taken it. What is here while nobody holds the lock means nothing.
    depth: Word32,
}
}

/// The holder has taken it 4,294,967,295 times, which is as far as the count goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooDeep;

/// The caller does not hold the lock, so it cannot give it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotOwner {
    /// The process that holds it, if any does.
    pub holder: Option<Tag>,
    /// Its thread; 0 when none does.
    pub thread: u64,
}

impl RLock {
    /// A free lock.
    #[expect(clippy::new_without_default, reason = "shared memory is made in place, never by default")]
    pub fn new() -> Self {
        Self { lock: Lock::new(), thread: Word64::new(0), depth: Word32::new(0) }
    }

    /// Takes it if it is free, or once more if the caller has it.
    ///
    /// `thread` is a number that no other thread of any process has, and not 0.
    ///
    /// # Errors
    ///
    /// The caller has taken it as many times as can be counted; nothing has changed.
    #[inline(always)]
    pub fn try_acquire(&self, me: Tag, thread: u64) -> Result<bool, TooDeep> {
        if self.lock.try_acquire(me) {
            self.enter(thread);
            return Ok(true);
        }
        if !self.is_held_by(me, thread) {
            return Ok(false);
        }
        let deeper = self.depth.load(Ordering::Relaxed).checked_add(1).ok_or(TooDeep)?;
        self.depth.store(deeper, Ordering::Relaxed);
        Ok(true)
    }

    /// Takes it, or tells what to sleep on.
    ///
    /// For a thread that [`try_acquire`](Self::try_acquire) has turned away: one that holds it would wait for itself.
    #[cold]
    pub fn attempt(&self, caller: Caller<'_>, thread: u64, dead: Dead) -> Attempt<'_, Taken> {
        self.attempt_in_turn(caller, thread, dead, Turn::Again)
    }

    /// As [`attempt`](Self::attempt), by one who has waited that long.
    #[cold]
    pub fn attempt_in_turn(&self, caller: Caller<'_>, thread: u64, dead: Dead, turn: Turn) -> Attempt<'_, Taken> {
        let attempted = self.lock.attempt_in_turn(caller, dead, turn);
        if let Attempt::Done(taken) = &attempted {
            self.note(*taken, thread);
        }
        attempted
    }

    /// Takes it if it is free or its holder died, without waiting; for a thread that does not hold it.
    ///
    /// `None`: somebody who lives holds it.
    #[cold]
    pub fn poll(&self, caller: Caller<'_>, thread: u64, dead: Dead) -> Option<Taken> {
        let taken = self.lock.poll(caller, dead)?;
        self.note(taken, thread);
        Some(taken)
    }

    fn note(&self, taken: Taken, thread: u64) {
        match taken {
            Taken::Free | Taken::Recovered(_) => self.enter(thread),
            Taken::Abandoned(_) => {}
        }
    }

    /// Writes down that the caller's thread holds it once; the caller's process has just got the lock.
    #[inline(always)]
    fn enter(&self, thread: u64) {
        // Relaxed, as all of the two words: only the thread that wrote its own number there ever acts on it.
        self.thread.store(thread, Ordering::Relaxed);
        self.depth.store(1, Ordering::Relaxed);
    }

    /// Gives it back once; says whether it is free now.
    ///
    /// # Errors
    ///
    /// The caller does not hold it; who does.
    #[inline(always)]
    pub fn release(&self, me: Tag, thread: u64) -> Result<bool, NotOwner> {
        if !self.is_held_by(me, thread) {
            return Err(self.owner());
        }
        // A depth of 0 is none: somebody has overwritten it. Then this is the last one.
        let depth = self.depth.load(Ordering::Relaxed);
        if depth > 1 {
            self.depth.store(depth - 1, Ordering::Relaxed);
            return Ok(false);
        }
        self.leave(me)?;
        Ok(true)
    }

    /// Gives it back entirely; returns how many times it was taken, for [`restore`](Self::restore).
    ///
    /// # Errors
    ///
    /// The caller does not hold it; who does.
    pub fn release_all(&self, me: Tag, thread: u64) -> Result<u32, NotOwner> {
        if !self.is_held_by(me, thread) {
            return Err(self.owner());
        }
        let depth = self.depth();
        self.leave(me)?;
        Ok(depth)
    }

    #[inline(always)]
    fn leave(&self, me: Tag) -> Result<(), NotOwner> {
        // First the number, then the lock: see the top of this file.
        self.thread.store(0, Ordering::Relaxed);
        self.lock.release(me).map_err(|_| self.owner())
    }

    /// Counts as taken `depth` times from now on; the caller has just taken it again after
    /// [`release_all`](Self::release_all) said so.
    pub fn restore(&self, depth: u32) {
        self.depth.store(depth, Ordering::Relaxed);
    }

    #[cold]
    fn owner(&self) -> NotOwner {
        NotOwner { holder: self.lock.holder(), thread: self.thread.load(Ordering::Relaxed) }
    }

    /// How many times its holder has taken it; 0 when it is free.
    pub fn depth(&self) -> u32 {
        if self.lock.holder().is_none() { 0 } else { self.depth.load(Ordering::Relaxed).max(1) }
    }

    /// The thread that holds it; 0 when none does.
    pub fn thread(&self) -> u64 {
        self.thread.load(Ordering::Relaxed)
    }

    /// Whether this thread of `me` holds it.
    #[inline(always)]
    pub fn is_held_by(&self, me: Tag, thread: u64) -> bool {
        self.lock.is_held_by(me) && self.thread.load(Ordering::Relaxed) == thread
    }

    /// The lock below: who holds it, since when, and what has become of it.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_depth_goes_as_far_as_it_can_be_counted_and_no_further() {
        let (lock, me) = (RLock::new(), Tag::new(0, 1));
        assert_eq!(lock.try_acquire(me, 7), Ok(true));
        lock.restore(u32::MAX - 1);
        assert_eq!(lock.try_acquire(me, 7), Ok(true));
        assert_eq!(lock.try_acquire(me, 7), Err(TooDeep));
        assert_eq!(lock.depth(), u32::MAX);
        assert_eq!(lock.release_all(me, 7), Ok(u32::MAX));
        assert_eq!((lock.depth(), lock.thread(), lock.lock().holder()), (0, 0, None));
    }

    #[test]
    fn only_the_thread_that_took_it_gives_it_back() {
        let (lock, me, other) = (RLock::new(), Tag::new(0, 1), Tag::new(1, 1));
        assert_eq!(lock.release(me, 7), Err(NotOwner { holder: None, thread: 0 }));
        assert_eq!(lock.try_acquire(me, 7), Ok(true));
        assert_eq!(lock.try_acquire(me, 8), Ok(false));
        assert_eq!(lock.try_acquire(other, 9), Ok(false));
        let holder = NotOwner { holder: Some(me), thread: 7 };
        assert_eq!((lock.release(me, 8), lock.release(other, 7)), (Err(holder), Err(holder)));
        assert_eq!(lock.try_acquire(me, 7), Ok(true));
        assert_eq!((lock.release(me, 7), lock.release(me, 7)), (Ok(false), Ok(true)));
        assert_eq!(lock.try_acquire(other, 9), Ok(true));
    }

    #[test]
    fn a_depth_that_was_overwritten_with_zero_still_ends() {
        let (lock, me) = (RLock::new(), Tag::new(0, 1));
        assert_eq!(lock.try_acquire(me, 7), Ok(true));
        lock.restore(0);
        assert_eq!(lock.depth(), 1);
        assert_eq!(lock.release(me, 7), Ok(true));
    }
}
