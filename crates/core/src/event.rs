//! Floor 2: a flag to wait for.
//!
//! One word holds all of it: whether it is set, whether somebody may sleep, and how often it went from clear to set
//! (the generation). Each operation is one change of that word, so a process killed before or after it leaves the
//! event as it was, or as it was to become. What a killed process can take with it is a wake-up: killed after it
//! set the event and before it woke the sleepers, it leaves them asleep on a word that has changed, which they find
//! when their slice of sleep ends. A killed waiter leaves its mark, which costs the next setter one needless call.
//!
//! A waiter remembers the generation at its start, and is done when the event is set, or when the generation is
//! another: so it has not waited in vain when the event was set and cleared again before it ran. It would have to sleep
//! through 1,073,741,824 such changes, and look just then, to miss them.
//!
//! There is no [`Bell`](crate::bell::Bell): the mark in the word itself tells a setter whether to wake anybody, without
//! a fence.
//!
//! Setting an event that is set changes nothing, but is a store all the same. It must be: one who clears the event and
//! then looks for work, and one who puts work there and then sets the event, must not both miss each other. With a
//! plain look at the flag the setter could still see it set, and the other could still see no work.

use crate::atomic::{Ordering, Word32, wake};
use crate::bell::{Attempt, Sleep};
use crate::layout::shared;

/// It is set.
const SET: u32 = 1;
/// Somebody may sleep on the word.
const WAITERS: u32 = 2;
/// One generation.
const ONE: u32 = 4;
/// All bits of the generation.
const GENERATION: u32 = !(SET | WAITERS);

shared! {
/// A flag to wait for, as it lies in shared memory.
pub struct Event(64) {
    /// Bit 0: it is set; bit 1: somebody may sleep on the word; above: how often it went from clear to set.
    word: Word32,
}
}

impl Event {
    /// An event that is not set.
    #[expect(clippy::new_without_default, reason = "shared memory is made in place, never by default")]
    pub fn new() -> Self {
        Self { word: Word32::new(0) }
    }

    /// Sets it, and wakes all who wait; says whether it was clear.
    #[inline]
    pub fn set(&self) -> bool {
        let mut seen = self.word.load(Ordering::Relaxed);
        loop {
            let set = if seen & SET == 0 { (seen & GENERATION).wrapping_add(ONE) | SET } else { seen };
            // Release [event.word]: who sees it set, or clears it, sees all that was done before.
            match self.word.compare_exchange(seen, set, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        let changed = seen & SET == 0;
        if changed && seen & WAITERS != 0 {
            wake(&self.word, u32::MAX);
        }
        changed
    }

    /// Clears it.
    #[inline]
    pub fn clear(&self) {
        // Acquire [event.word]: sees all that was done before it was set, even if nobody waited for that. As an
        // exchange it also passes on, to waiters who only see the new generation, what the setter released.
        self.word.fetch_and(!SET, Ordering::Acquire);
    }

    /// Whether it is set.
    #[inline]
    pub fn is_set(&self) -> bool {
        // Acquire [event.word]
        self.word.load(Ordering::Acquire) & SET != 0
    }

    /// How often it was set while it was clear, modulo 1,073,741,824.
    pub fn generation(&self) -> u32 {
        self.word.load(Ordering::Relaxed) / ONE
    }

    /// Begins a wait; what it returns is for every [`attempt`](Self::attempt) of it.
    #[inline]
    pub fn begin(&self) -> u32 {
        self.generation()
    }

    /// Is done if it is set, or was since the wait [began](Self::begin); or tells what to sleep on.
    pub fn attempt(&self, begun: u32) -> Attempt<'_, ()> {
        // Acquire [event.word]
        let mut seen = self.word.load(Ordering::Acquire);
        loop {
            if seen & SET != 0 || seen / ONE != begun {
                return Attempt::Done(());
            }
            let marked = seen | WAITERS;
            if marked == seen {
                return Attempt::Wait(Sleep { word: &self.word, expected: seen });
            }
            // Acquire [event.word]: when it fails because it was set meanwhile.
            match self.word.compare_exchange(seen, marked, Ordering::Relaxed, Ordering::Acquire) {
                Ok(_) => seen = marked,
                Err(now) => seen = now,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_whether_it_changed() {
        let event = Event::new();
        assert!(!event.is_set());
        assert!(event.set() && !event.set() && event.is_set());
        event.clear();
        event.clear();
        assert!(!event.is_set());
        assert!(event.set());
        assert_eq!(event.generation(), 2);
    }

    #[test]
    fn generations_wrap_around_into_no_other_bit() {
        let event = Event { word: Word32::new(GENERATION) };
        let begun = event.begin();
        assert!(matches!(event.attempt(begun), Attempt::Wait(_)));
        assert!(event.set());
        assert_eq!((event.generation(), event.is_set()), (0, true));
        event.clear();
        assert!(matches!(event.attempt(begun), Attempt::Done(())));
    }

    #[test]
    fn any_bits_are_an_event() {
        for word in [u32::MAX, SET, WAITERS, GENERATION | SET, 0x5555_5555, 0xAAAA_AAAA] {
            let event = Event { word: Word32::new(word) };
            assert_eq!(event.set(), word & SET == 0);
            event.clear();
            let begun = event.begin();
            assert!(matches!(event.attempt(begun), Attempt::Wait(_)));
            assert!(event.set() && matches!(event.attempt(begun), Attempt::Done(())));
        }
    }
}
