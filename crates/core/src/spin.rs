//! Floor 1: how long to look before going to sleep.
//!
//! Going to sleep and being woken costs tens of microseconds of latency, above all in virtual machines; an answer that is on
//! its way may take less than one. So it pays to look for about as long as a wake-up costs, but only while answers do
//! come that fast: Karlin et al., "Competitive Randomized Algorithms for Nonuniform Problems", 1990. glibc's
//! adaptive mutexes follow their past in the same way.
//!
//! Most waits are long (a camera's next frame), and must not burn anything: after a few misses a look is next to nothing.
//! Two sides that both sleep would never find out that they could be fast, so each now and then looks for long.
//! Who reads faster than another writes would look at each word just when it is about to be written, and hold the writer up:
//! to get the line that the reader has takes longer than all the rest. So it rests between two looks, for as long as that
//! lets more than one come at a time; where but one comes however long it rests, as of questions and answers, it does not.
//! Network cards tell of packets in the same way: J. Mogul and K. Ramakrishnan, "Eliminating Receive Livelock in an
//! Interrupt-Driven Kernel", 1997.
//!
//! How many processors there are is not asked: a process that is pinned to one may talk to one on another, and where
//! there is only one, looking never helps, and so ends by itself.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU32, Ordering};

/// The longest look, in turns of the loop, each some tens of nanoseconds: longer than it takes to wake the other side and
/// get its answer, because otherwise two who sleep would never find each other awake.
const LONGEST: u32 = 4096;

/// The shortest.
const SHORTEST: u32 = 4;

/// Every so many misses in a row, a long look.
const PROBE: u32 = 64;

/// So many misses in a row are bad luck: somebody had to wait for a processor.
const PATIENCE: u32 = 4;

/// The longest rest between two looks, in turns: so much later one may find what has come.
const MOST_REST: u32 = 128;

/// So long a rest finds out whether more than one would come.
const TRIAL: u32 = 64;

/// Every so many waits one is tried.
const TRIAL_EVERY: u32 = 32;

/// How long looking has helped lately.
#[derive(Debug, Default)]
pub struct Spin {
    turns: AtomicU32,
    misses: AtomicU32,
    /// How long one rests between two looks, and how often that was thought of.
    rest: AtomicU32,
    waits: AtomicU32,
}

impl Spin {
    /// Looks until `is_there`, for a moment; says whether it was.
    pub fn look(&self, is_there: impl Fn() -> bool) -> bool {
        self.look_for(self.turns(), 1, is_there)
    }

    /// The same for one who reads what others write, of which `came` so many since the last look.
    pub fn look_on(&self, came: u64, is_there: impl Fn() -> bool) -> bool {
        self.look_for(self.turns(), self.rest(came), is_there)
    }

    fn rest(&self, came: u64) -> u32 {
        let trial = |wait: u32| if wait.is_multiple_of(TRIAL_EVERY) { TRIAL } else { 1 };
        let (wait, usual) = (self.waits.fetch_add(1, Ordering::Relaxed), self.rest.load(Ordering::Relaxed));
        if self.misses.load(Ordering::Relaxed) > PATIENCE {
            // What comes, comes to one who sleeps.
            return 1;
        }
        // A trial in vain leaves it as it was.
        let rest = if came > 1 { (2 * usual.max(trial(wait.wrapping_sub(1)))).min(MOST_REST) } else { usual / 2 };
        self.rest.store(rest, Ordering::Relaxed);
        rest.max(trial(wait))
    }

    fn turns(&self) -> u32 {
        // Relaxed, here and below: guesses, which threads may overwrite for each other.
        if self.misses.load(Ordering::Relaxed).is_multiple_of(PROBE) {
            LONGEST
        } else {
            self.turns.load(Ordering::Relaxed).max(SHORTEST)
        }
    }

    fn look_for(&self, turns: u32, rest: u32, is_there: impl Fn() -> bool) -> bool {
        // Nobody sleeps because of a rest: to be woken takes far longer.
        let turns = if rest > 1 { turns.max(4 * rest) } else { turns };
        for turn in (0..turns).step_by(rest as usize) {
            if is_there() {
                // Twice what it took, and not much less than before: one early answer does not make all early. And so much
                // more that whoever answers may rest before it looks.
                let (usual, next) = (self.turns.load(Ordering::Relaxed), 2 * (turn + TRIAL));
                self.turns.store(next.max(usual - usual / 8).min(LONGEST), Ordering::Relaxed);
                self.misses.store(1, Ordering::Relaxed);
                return true;
            }
            (0..rest).for_each(|_| spin_loop());
        }
        let misses = self.misses.fetch_add(1, Ordering::Relaxed);
        if misses >= PATIENCE && !misses.is_multiple_of(PROBE) {
            self.turns.store(turns / 2, Ordering::Relaxed);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Looks once, for something that is there after `after` turns; says whether it was seen, and the turns it took.
    fn look(spin: &Spin, after: u32) -> (bool, u32) {
        let turn = Cell::new(0);
        let seen = spin.look_for(spin.turns(), 1, || {
            turn.set(turn.get() + 1);
            turn.get() > after
        });
        (seen, turn.get())
    }

    #[test]
    fn what_never_comes_costs_next_to_nothing() {
        let spin = Spin::default();
        let turns: u32 = (0..PROBE).map(|_| look(&spin, u32::MAX).1).sum();
        assert!(turns < LONGEST * 2 + PROBE * SHORTEST, "{turns}");
        assert_eq!(look(&spin, u32::MAX), (false, LONGEST), "and now and then it looks for long");
    }

    #[test]
    fn what_comes_soon_is_seen_from_then_on() {
        let spin = Spin::default();
        for _ in 0..10 {
            look(&spin, u32::MAX);
        }
        let missed = (0..PROBE).take_while(|_| !look(&spin, 300).0).count();
        assert!(missed < PROBE as usize, "a long look finds it");
        assert!((0..1000).all(|_| look(&spin, 300).0), "and it is not lost again");
    }

    /// Rests as one does to whom, in so many turns, `came` says how many come; how long in the end.
    fn rests(came: impl Fn(u32) -> u64) -> Vec<u32> {
        let (spin, last) = (Spin::default(), Cell::new(1));
        let rest = || last.replace(spin.rest(came(last.get())));
        (0..10 * TRIAL_EVERY).map(|_| rest()).skip(5 * TRIAL_EVERY as usize).collect()
    }

    #[test]
    fn who_is_answered_one_by_one_does_not_rest() {
        let rests = rests(|_| 1);
        assert_eq!(rests.iter().filter(|rest| **rest > 1).count(), 5, "but for trials: {rests:?}");
    }

    #[test]
    fn who_sleeps_until_several_come_does_not_rest_before() {
        let spin = Spin::default();
        let wait = |_| {
            let (rest, looks) = (spin.rest(10), Cell::new(0));
            spin.look_for(spin.turns(), rest, || {
                looks.set(looks.get() + 1);
                false
            });
            looks.get() * rest
        };
        let turns: u32 = (0..PROBE).map(wait).sum();
        assert!(turns < LONGEST * 2 + PROBE * SHORTEST, "{turns}");
    }

    #[test]
    fn who_is_quicker_than_the_writer_rests() {
        let rests = rests(|rest| u64::from(rest / 10).max(1));
        assert!(rests.iter().all(|rest| *rest >= 16), "{rests:?}");
    }
}
