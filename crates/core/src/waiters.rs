//! Floor 2: a table of those who wait, one entry for each call that does; a process may have several.
//!
//! An entry is one word that decides, and one number. The word is 0 when the entry is free, else the [`Tag`] of whose it
//! is, and in the two bits that no tag uses how far it has come. State and owner in the same word, because then each
//! step is one compare-and-swap that names the owner: a free entry is claimed by one of many, and the entry of a dead
//! process passes to one of many, and never is the entry of a living one mistaken for that of the dead one that had it
//! before. Kept apart, between reading the owner and changing the state the entry could get another owner.
//!
//! | step | by whom | killed before it |
//! | --- | --- | --- |
//! | free → claimed | a newcomer | nothing has happened |
//! | the number is written | its owner | the entry of a dead one, which whoever needs one takes |
//! | claimed → waiting | its owner | the same |
//! | waiting → notified | anybody | the one that waits is not notified |
//! | waiting, notified → free | its owner | the entry of a dead one |
//! | any of a dead one's → claimed by, notified for, another | whoever finds out | the entry of a dead one, still |

use crate::atomic::{Ordering, Word32, Word64};
use crate::layout::shared;
use crate::tag::{Living, Tag};

/// Its owner waits.
const WAITING: u32 = Tag::MARK;

/// Its owner need not wait any more.
const NOTIFIED: u32 = Tag::SECOND_MARK;

shared! {
/// An entry of a table of those who wait, as it lies in shared memory.
pub struct Waiter(64) {
    /// Its place in the queue. Its owner writes it before it shows itself as waiting.
    ticket: Word64,
    /// 0 when free, else the tag of its owner, with the mark for waiting or the one for notified.
    word: Word32,
}
}

/// How far the owner of an entry has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It writes its number.
    Claimed,
    /// It waits.
    Waiting,
    /// It has been told not to wait any more.
    Notified,
}

/// What was seen of an entry that is not free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Whose it was.
    pub(crate) owner: Tag,
    /// How far that one had come.
    pub(crate) phase: Phase,
    word: u32,
}

impl Seen {
    fn read(word: u32) -> Option<Self> {
        let phase = match word & (WAITING | NOTIFIED) {
            0 => Phase::Claimed,
            WAITING => Phase::Waiting,
            // Both marks are nobody's doing. What can be ended early does less harm than what never ends.
            _ => Phase::Notified,
        };
        Tag::read(word).map(|owner| Self { owner, phase, word })
    }
}

fn word_of(owner: Tag, phase: Phase) -> u32 {
    let mark = match phase {
        Phase::Claimed => 0,
        Phase::Waiting => WAITING,
        Phase::Notified => NOTIFIED,
    };
    owner.word() | mark
}

impl Waiter {
    /// A free entry.
    #[expect(clippy::new_without_default, reason = "shared memory is made in place, never by default")]
    pub fn new() -> Self {
        Self { ticket: Word64::new(0), word: Word32::new(0) }
    }

    /// Whose it is, and how far that one has come; `None` when it is free.
    #[inline]
    pub(crate) fn look(&self) -> Option<Seen> {
        // Acquire [waiter.word]: sees what a waiter did before it waited, its number included; and what was done before it
        // was notified.
        Seen::read(self.word.load(Ordering::Acquire))
    }

    /// The number that its owner has written.
    pub(crate) fn ticket(&self) -> u64 {
        self.ticket.load(Ordering::Relaxed)
    }

    /// Its owner writes its number, and waits from now on.
    pub(crate) fn wait(&self, me: Tag, ticket: u64) {
        // Relaxed: it is read by those who have seen the next store.
        self.ticket.store(ticket, Ordering::Relaxed);
        // Release [waiter.word]
        self.word.store(word_of(me, Phase::Waiting), Ordering::Release);
    }

    /// Gives it another owner or phase, if it is as it was seen.
    pub(crate) fn change(&self, seen: Seen, owner: Tag, phase: Phase) -> bool {
        // Release [waiter.word]. What there is to see was seen when it was looked at: an heir has seen the news by then.
        self.word.compare_exchange(seen.word, word_of(owner, phase), Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Frees it, if it is as it was seen.
    pub(crate) fn free(&self, seen: Seen) -> bool {
        self.word.compare_exchange(seen.word, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// What its waiting owner sleeps on, and the value that says it waits.
    pub(crate) fn futex(&self, me: Tag) -> (&Word32, u32) {
        (&self.word, word_of(me, Phase::Waiting))
    }
}

/// Claims the first free entry; `None` when there is none.
pub(crate) fn claim(waiters: &[Waiter], me: Tag) -> Option<usize> {
    waiters.iter().position(|waiter| {
        let word = waiter.word.load(Ordering::Relaxed);
        // A word that is not 0 and names nobody was overwritten by who may not: the entry is free all the same.
        Seen::read(word).is_none()
            && waiter.word.compare_exchange(word, me.word(), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    })
}

/// Whether the one that was seen is dead; asks the kernel, except about the caller.
pub(crate) fn is_dead(seen: Seen, me: Tag, living: &dyn Living) -> bool {
    seen.owner != me && !living.is_alive(seen.owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bits_are_free_or_somebody_s() {
        let me = Tag::new(3, 1);
        for word in [0, WAITING, NOTIFIED, WAITING | NOTIFIED, 1 << 10] {
            let waiters = [Waiter { ticket: Word64::new(0), word: Word32::new(word) }];
            assert_eq!(waiters[0].look(), None, "{word:#x} names nobody");
            assert_eq!(claim(&waiters, me), Some(0));
            assert_eq!(claim(&waiters, me), None);
        }
        let waiter = Waiter { ticket: Word64::new(0), word: Word32::new(u32::MAX) };
        assert_eq!(waiter.look().map(|seen| seen.phase), Some(Phase::Notified));
    }

    #[test]
    fn what_has_changed_since_it_was_seen_stays() {
        let (me, other) = (Tag::new(0, 1), Tag::new(1, 1));
        let waiters = [Waiter::new()];
        assert_eq!(claim(&waiters, me), Some(0));
        waiters[0].wait(me, 7);
        let seen = waiters[0].look().unwrap();
        assert_eq!((seen.owner, seen.phase), (me, Phase::Waiting));
        assert!(waiters[0].change(seen, me, Phase::Notified));
        assert!(!waiters[0].change(seen, other, Phase::Claimed));
        assert!(!waiters[0].free(seen));
        assert!(waiters[0].free(waiters[0].look().unwrap()));
        assert_eq!(waiters[0].look(), None);
    }
}
