//! Floor 1: how long to look before going to sleep.
//!
//! Going to sleep and being woken costs tens of microseconds of latency, above all in virtual machines; an answer that is on
//! its way may take less than one. So it pays to look for about as long as a wake-up costs, but only while answers do
//! come that fast: Karlin et al., "Competitive Randomized Algorithms for Nonuniform Problems", 1990. glibc's
//! adaptive mutexes follow their past in the same way.
//!
//! Most waits are long (a camera's next frame), and must not burn anything: after a few misses a look is next to nothing.
//! Two sides that both sleep would never find out that they could be fast, so each now and then looks for long.
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

/// How long looking has helped lately.
#[derive(Debug, Default)]
pub struct Spin {
    turns: AtomicU32,
    misses: AtomicU32,
}

impl Spin {
    /// Looks until `is_there`, for a moment; says whether it was.
    pub fn look(&self, is_there: impl Fn() -> bool) -> bool {
        self.look_for(self.turns(), is_there)
    }

    fn turns(&self) -> u32 {
        // Relaxed, here and below: guesses, which threads may overwrite for each other.
        if self.misses.load(Ordering::Relaxed).is_multiple_of(PROBE) {
            LONGEST
        } else {
            self.turns.load(Ordering::Relaxed).max(SHORTEST)
        }
    }

    fn look_for(&self, turns: u32, is_there: impl Fn() -> bool) -> bool {
        for turn in 0..turns {
            if is_there() {
                // Twice what it took, and not much less than before: one early answer does not make all early.
                let usual = self.turns.load(Ordering::Relaxed);
                self.turns.store((2 * turn).max(usual - usual / 8).clamp(SHORTEST, LONGEST), Ordering::Relaxed);
                self.misses.store(1, Ordering::Relaxed);
                return true;
            }
            spin_loop();
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
        let seen = spin.look_for(spin.turns(), || {
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
}
