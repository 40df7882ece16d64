//! Floor 3: waiting for each other: `threading.Barrier` between processes.
//!
//! One word, the *phase*, decides everything: which generation is being waited for, and whether and by what it is
//! broken. Whoever arrives writes itself into the first free place of a table, for this generation; who gets the last
//! place lets the others go by moving the phase on to the next generation. All sleep on the phase.
//!
//! A place names the generation that it is taken in, so all are free again when the phase moves on, and nobody who is
//! slow to leave keeps the next generation waiting. The phase says how the generation before it ended; for those who look
//! later, the last 32 endings are kept. (Who sleeps through more of them, while others that are not short of it go
//! on, is told that the barrier was reset.)
//!
//! There is no lock: arriving, letting all go, breaking and resetting are one compare-and-swap each, so a process that
//! is killed, or stopped, never stands between others and the barrier.
//!
//! Where a process can be killed:
//!
//! - Arriving is one change, of a place. Before it, nobody has arrived; after it, somebody has who is dead. Those who wait
//!   ask about each other when a slice of sleep ends, and a dead one breaks the barrier: without it the generation
//!   would never be complete. The last one, which runs the action, is one of them. And who gets the last place asks at
//!   once: whoever died when nobody else waited has not come.
//! - It is not possible to arrive in a generation that is over. The place was free when the phase was looked at; should
//!   the phase have moved on before the place is taken, then by a reset, because nobody is let go before all places are
//!   taken. The place then is one of an earlier generation, free for those who come, and its owner hears of the reset.
//! - The phase moves on in two steps: the ending of the generation *before* the one that ends is kept, and then the
//!   phase changes. Killed in between, it has kept what was so already, and the next one to end the generation finds it
//!   kept. What is kept carries its generation, so that one who was stopped in between changes nothing later.
//! - Breaking is one change of the phase. Only who died, if somebody did, is written before. Killed in between, that is a
//!   name that nobody looks at.
//! - A wake-up that was not made is made good by the sleepers' slices.

use crate::atomic::{Ordering, Word32, Word64, wake};
use crate::bell::{Attempt, Sleep};
use crate::layout::shared;
use crate::tag::{Caller, Tag};

/// The generation before this one tripped.
const TRIPPED: u32 = 1;

/// What it is broken by; none of these while it is whole.
const BROKEN: u32 = 3 << 1;
const TIMED_OUT: u32 = 1 << 1;
const ABORTED: u32 = 2 << 1;
const DIED: u32 = 3 << 1;

/// One generation.
const ONE: u32 = 8;

/// All bits of a generation.
const GENERATIONS: u32 = u32::MAX / ONE;

shared! {
/// A place to wait for each other, as it lies in shared memory; the table of those who have arrived follows.
pub struct Barrier(64) {
    /// From the lowest bit: whether the generation before tripped; in 2 bits, what this one is broken by; the
    /// generation.
    phase: Word32,
    /// How many must arrive.
    parties: Word32,
    /// A generation in the upper half; in the lower one which of the 32 before it tripped, the latest in the lowest bit.
    endings: Word64,
    /// The last one whose death broke it.
    died: Word32,
}
}

/// Why a barrier is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Somebody waited for too long.
    Timeout,
    /// Somebody broke it on purpose.
    Aborted,
    /// It was reset while this one waited.
    Reset,
    /// One that had arrived died.
    Died(Tag),
}

/// How an arrival ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// All have arrived; this one was number so-and-so, from 0.
    Through(u32),
    /// This one is the last, with this number: the others wait until it [trips](Barrier::trip) the barrier.
    Last(u32),
    /// The barrier is broken.
    Broken(Cause),
}

/// How far a party has come; one for each arrival.
#[derive(Debug, Default)]
pub struct Arrival {
    /// Its generation, and its number in that.
    place: Option<(u32, u32)>,
}

impl Barrier {
    /// One for nobody, until it is [set up](Self::set_up).
    #[expect(clippy::new_without_default, reason = "shared memory is made in place, never by default")]
    pub fn new() -> Self {
        Self { phase: Word32::new(0), parties: Word32::new(0), endings: Word64::new(0), died: Word32::new(0) }
    }

    /// Bytes of a barrier and of the table that follows it.
    #[must_use]
    pub const fn size(parties: usize) -> usize {
        size_of::<Self>() + (parties * size_of::<Word64>()).next_multiple_of(64)
    }

    /// Sets how many must arrive; before anybody else sees it.
    pub fn set_up(&self, parties: u32) {
        self.parties.store(parties, Ordering::Relaxed);
    }

    /// How many must arrive.
    pub fn parties(&self) -> u32 {
        self.parties.load(Ordering::Relaxed)
    }

    /// How many have arrived and wait; `places` has one for each party.
    pub fn waiting(&self, places: &[Word64]) -> u32 {
        let phase = self.phase();
        if phase & BROKEN != 0 { 0 } else { arrived(places, generation(phase)).count() as u32 }
    }

    /// Whether it is broken.
    pub fn is_broken(&self) -> bool {
        self.phase() & BROKEN != 0
    }

    /// Arrives, and is done when all have, or it is broken; or tells what to sleep on.
    pub fn attempt(
        &self,
        places: &[Word64],
        caller: Caller<'_>,
        arrival: &mut Arrival,
        ask: bool,
    ) -> Attempt<'_, Passage> {
        loop {
            let phase = self.phase();
            let current = generation(phase);
            if arrival.place.is_none() && phase & BROKEN == 0 && self.arrive(places, caller.tag, phase, arrival) {
                continue;
            }
            let number = match arrival.place {
                Some((own, number)) if own != current => return Attempt::Done(self.ending(phase, own, number)),
                place => place.map(|(_, number)| number),
            };
            if phase & BROKEN != 0 {
                return Attempt::Done(Passage::Broken(self.cause(phase)));
            }
            let last = number.filter(|number| *number as usize + 1 == places.len());
            let dead = || arrived(places, current).find(|tag| *tag != caller.tag && !caller.living.is_alive(*tag));
            if let Some(dead) = if ask || last.is_some() { dead() } else { None } {
                self.break_up(current, Cause::Died(dead));
                continue;
            }
            return match last {
                Some(number) => Attempt::Done(Passage::Last(number)),
                // Without a number: all places are taken, and the last one has not let them go yet.
                None => Attempt::Wait(Sleep { word: &self.phase, expected: phase }),
            };
        }
    }

    /// Takes the first free place, if there is one; says whether to look at the phase again.
    fn arrive(&self, places: &[Word64], me: Tag, phase: u32, arrival: &mut Arrival) -> bool {
        let own = generation(phase);
        let number = arrived(places, own).count();
        let Some(place) = places.get(number) else { return false };
        // Acquire [barrier.place]: who sees a place taken in a later generation sees the phase of that, too.
        let seen = place.load(Ordering::Acquire);
        let since = ((seen >> 32) as u32).wrapping_sub(own) & GENERATIONS;
        if (1..GENERATIONS / 2).contains(&since) && self.phase() != phase {
            return true;
        }
        let taken = u64::from(own) << 32 | u64::from(me.word());
        // Release [barrier.place]: the one that lets all go has seen all of them arrive, and what they did before.
        // Where another takes this very place meanwhile, there may be a next one.
        if owner(seen, own).is_none()
            && place.compare_exchange(seen, taken, Ordering::Release, Ordering::Relaxed).is_ok()
        {
            arrival.place = Some((own, number as u32));
        }
        true
    }

    /// Lets all go, if all have arrived; the last to arrive does. It may be broken meanwhile.
    pub fn trip(&self, places: &[Word64], me: Tag) -> Passage {
        loop {
            let phase = self.phase();
            if phase & BROKEN != 0 {
                return Passage::Broken(self.cause(phase));
            }
            let (number, last) = arrived(places, generation(phase)).enumerate().last().unzip();
            // Only the last one lets them go: after a reset there is another generation, which is not the caller's.
            let Some(number) = number.filter(|number| number + 1 == places.len() && last == Some(me)) else {
                return Passage::Broken(Cause::Reset);
            };
            if self.move_on(phase, TRIPPED) {
                return Passage::Through(number as u32);
            }
        }
    }

    /// Makes it whole and empty; those who wait find it broken.
    pub fn reset(&self, places: &[Word64]) {
        loop {
            let phase = self.phase();
            let is_new = phase & BROKEN == 0 && arrived(places, generation(phase)).next().is_none();
            if is_new || self.move_on(phase, 0) {
                return;
            }
        }
    }

    /// Ends the generation, if the phase is still as it was seen.
    fn move_on(&self, phase: u32, mark: u32) -> bool {
        let own = generation(phase);
        let endings = self.endings.load(Ordering::Relaxed);
        if (endings >> 32) as u32 == own.wrapping_sub(1) & GENERATIONS {
            let kept = u64::from(own) << 32 | u64::from((endings as u32) << 1 | phase & TRIPPED);
            // Another may have kept the same.
            let _ = self.endings.compare_exchange(endings, kept, Ordering::Relaxed, Ordering::Relaxed);
        }
        self.change(phase, ((own.wrapping_add(1) & GENERATIONS) * ONE) | mark)
    }

    /// Breaks it: those who wait, and those who come, are told.
    pub fn abort(&self) {
        loop {
            let phase = self.phase();
            if phase & BROKEN != 0 || self.change(phase, phase | ABORTED) {
                return;
            }
        }
    }

    /// Gives up an arrival, which breaks it for the others; unless it has ended meanwhile, which this tells.
    ///
    /// `None`: nobody counted on it.
    pub fn abandon(&self, arrival: &Arrival) -> Option<Passage> {
        let (own, number) = arrival.place?;
        let phase = self.break_up(own, Cause::Timeout);
        Some(if generation(phase) == own {
            Passage::Broken(self.cause(phase))
        } else {
            self.ending(phase, own, number)
        })
    }

    /// Breaks that generation, unless it is over or broken; returns the phase then.
    fn break_up(&self, own: u32, cause: Cause) -> u32 {
        loop {
            let phase = self.phase();
            if generation(phase) != own || phase & BROKEN != 0 {
                return phase;
            }
            let mark = match cause {
                Cause::Timeout => TIMED_OUT,
                Cause::Aborted | Cause::Reset => ABORTED,
                Cause::Died(tag) => {
                    // Of several who have found a dead one, the last names it: they have all died.
                    self.died.store(tag.word(), Ordering::Relaxed);
                    DIED
                }
            };
            if self.change(phase, phase | mark) {
                return phase | mark;
            }
        }
    }

    fn phase(&self) -> u32 {
        // Acquire [barrier.phase]: who gets through sees what all did before they arrived.
        self.phase.load(Ordering::Acquire)
    }

    /// Changes the phase if it is as it was seen, and wakes all who sleep on it.
    fn change(&self, phase: u32, to: u32) -> bool {
        // Release [barrier.phase]
        let changed = self.phase.compare_exchange(phase, to, Ordering::Release, Ordering::Relaxed).is_ok();
        if changed {
            wake(&self.phase, u32::MAX);
        }
        changed
    }

    fn cause(&self, phase: u32) -> Cause {
        match (phase & BROKEN, Tag::read(self.died.load(Ordering::Relaxed))) {
            (TIMED_OUT, _) => Cause::Timeout,
            (DIED, Some(tag)) => Cause::Died(tag),
            _ => Cause::Aborted,
        }
    }

    /// How generation `own` ended, which is over.
    fn ending(&self, phase: u32, own: u32, number: u32) -> Passage {
        let tripped = if generation(phase) == own.wrapping_add(1) & GENERATIONS {
            phase & TRIPPED != 0
        } else {
            // Relaxed: it was kept before the phase moved on from the generation after it, which this thread has seen.
            let endings = self.endings.load(Ordering::Relaxed);
            let since = ((endings >> 32) as u32).wrapping_sub(own).wrapping_sub(1) & GENERATIONS;
            (endings as u32).checked_shr(since).is_some_and(|kept| kept & 1 != 0)
        };
        if tripped { Passage::Through(number) } else { Passage::Broken(Cause::Reset) }
    }
}

fn generation(phase: u32) -> u32 {
    phase / ONE
}

/// Who has taken the place in that generation.
fn owner(place: u64, generation: u32) -> Option<Tag> {
    // The tag is in the lower half.
    if place >> 32 == u64::from(generation) { Tag::read(place as u32) } else { None }
}

/// Those who have arrived in a generation, in the order in which they did.
fn arrived(places: &[Word64], generation: u32) -> impl Iterator<Item = Tag> {
    // Acquire [barrier.place]
    places.iter().map_while(move |place| owner(place.load(Ordering::Acquire), generation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tag::Living;

    /// Participants 0 to 7 live.
    struct Low;

    impl Living for Low {
        fn is_present(&self, _tag: Tag) -> bool {
            true
        }

        fn is_alive(&self, tag: Tag) -> bool {
            tag.index() < 8
        }
    }

    fn tag(index: usize) -> Tag {
        Tag::new(index, 1)
    }

    fn meeting() -> (Barrier, [Word64; 2]) {
        let barrier = Barrier::new();
        barrier.set_up(2);
        (barrier, [Word64::new(0), Word64::new(0)])
    }

    /// What one attempt comes to; `None` for a sleep.
    fn attempt(
        barrier: &Barrier,
        places: &[Word64],
        index: usize,
        arrival: &mut Arrival,
        ask: bool,
    ) -> Option<Passage> {
        match barrier.attempt(places, Caller { tag: tag(index), living: &Low }, arrival, ask) {
            Attempt::Done(passage) => Some(passage),
            Attempt::Wait(_) => None,
        }
    }

    fn arrive(barrier: &Barrier, places: &[Word64], index: usize) -> (Arrival, Option<Passage>) {
        let mut arrival = Arrival::default();
        let passage = attempt(barrier, places, index, &mut arrival, false);
        (arrival, passage)
    }

    fn trips(barrier: &Barrier, places: &[Word64]) {
        let (mut first, none) = arrive(barrier, places, 0);
        assert_eq!((none, barrier.waiting(places)), (None, 1));
        assert_eq!(arrive(barrier, places, 1).1, Some(Passage::Last(1)));
        assert_eq!(attempt(barrier, places, 0, &mut first, true), None, "the action comes first");
        assert_eq!(barrier.trip(places, tag(1)), Passage::Through(1));
        assert_eq!(attempt(barrier, places, 0, &mut first, false), Some(Passage::Through(0)));
        assert_eq!((barrier.waiting(places), barrier.is_broken()), (0, false));
    }

    #[test]
    fn who_died_waiting_alone_has_not_come() {
        let (barrier, places) = meeting();
        let _ = arrive(&barrier, &places, 9);
        let died = Some(Passage::Broken(Cause::Died(tag(9))));
        assert_eq!(arrive(&barrier, &places, 0).1, died);
        assert_eq!(arrive(&barrier, &places, 0).1, died, "until somebody resets it");
        barrier.reset(&places);
        trips(&barrier, &places);
    }

    #[test]
    fn the_last_one_that_dies_in_its_action_breaks_it_also_for_those_who_come() {
        let (barrier, places) = meeting();
        let (mut first, _) = arrive(&barrier, &places, 0);
        assert_eq!(arrive(&barrier, &places, 9).1, Some(Passage::Last(1)));
        let (mut third, none) = arrive(&barrier, &places, 2);
        assert_eq!(none, None, "it waits for the next generation");
        let died = Some(Passage::Broken(Cause::Died(tag(9))));
        assert_eq!(attempt(&barrier, &places, 2, &mut third, true), died);
        assert_eq!(attempt(&barrier, &places, 0, &mut first, false), died);
    }

    #[test]
    fn who_is_slow_to_leave_learns_how_its_own_generation_ended() {
        let (barrier, places) = meeting();
        let mut slow: Vec<(Arrival, Passage)> = Vec::new();
        for generation in 0..31 {
            let (first, _) = arrive(&barrier, &places, 0);
            if generation % 3 == 0 {
                barrier.reset(&places);
                slow.push((first, Passage::Broken(Cause::Reset)));
            } else {
                assert_eq!(arrive(&barrier, &places, 1).1, Some(Passage::Last(1)));
                assert_eq!(barrier.trip(&places, tag(1)), Passage::Through(1));
                slow.push((first, Passage::Through(0)));
            }
            for (arrival, ended) in &mut slow {
                assert_eq!(attempt(&barrier, &places, 0, arrival, true), Some(*ended), "{generation}: {arrival:?}");
            }
        }
        for _ in 0..3 {
            trips(&barrier, &places);
        }
        let mut oldest_tripped = slow.swap_remove(1).0;
        assert_eq!(attempt(&barrier, &places, 0, &mut oldest_tripped, true), Some(Passage::Through(0)));
        trips(&barrier, &places);
        let beyond = attempt(&barrier, &places, 0, &mut oldest_tripped, true);
        assert_eq!(beyond, Some(Passage::Broken(Cause::Reset)), "too long ago to be known");
    }

    #[test]
    fn who_ends_a_generation_after_one_that_was_killed_doing_so_keeps_the_same() {
        let (barrier, places) = meeting();
        let (mut tripped, _) = arrive(&barrier, &places, 0);
        assert_eq!(arrive(&barrier, &places, 1).1, Some(Passage::Last(1)));
        barrier.trip(&places, tag(1));
        let _ = arrive(&barrier, &places, 0);
        // As far as a resetter came: the ending of generation 0 is kept, and generation 1 is not over.
        barrier.endings.store(1 << 32 | 1, Ordering::Relaxed);
        barrier.reset(&places);
        assert_eq!(barrier.endings.load(Ordering::Relaxed), 1 << 32 | 1);
        assert_eq!(attempt(&barrier, &places, 0, &mut tripped, false), Some(Passage::Through(0)));
        trips(&barrier, &places);
    }

    #[test]
    fn generations_wrap_around_into_no_other_bit() {
        let (barrier, places) = meeting();
        barrier.phase.store(GENERATIONS * ONE, Ordering::Relaxed);
        barrier.endings.store(u64::from(GENERATIONS) << 32, Ordering::Relaxed);
        let (mut waiting, _) = arrive(&barrier, &places, 0);
        assert_eq!(arrive(&barrier, &places, 1).1, Some(Passage::Last(1)));
        assert_eq!(barrier.trip(&places, tag(1)), Passage::Through(1));
        assert_eq!(barrier.phase(), TRIPPED);
        trips(&barrier, &places);
        assert_eq!(attempt(&barrier, &places, 0, &mut waiting, false), Some(Passage::Through(0)));
    }

    #[test]
    fn any_bits_come_to_an_end() {
        for bits in [u64::MAX, 0xFFFF_FFFF, 7, 1 << 63, 0x5555_5555_5555_5555, 0xAAAA_AAAA_AAAA_AAAA] {
            for phase in [u32::MAX, 7, ONE, 0x5555_5555, 0xAAAA_AAAA] {
                let (barrier, places) = meeting();
                barrier.phase.store(phase, Ordering::Relaxed);
                barrier.endings.store(bits, Ordering::Relaxed);
                barrier.died.store(bits as u32, Ordering::Relaxed);
                for (word, flip) in places.iter().zip([0, 1 << 40]) {
                    word.store(bits ^ flip, Ordering::Relaxed);
                }
                let (arrival, _) = arrive(&barrier, &places, 0);
                barrier.trip(&places, tag(0));
                barrier.abandon(&arrival);
                barrier.abandon(&Arrival { place: Some((bits as u32, bits as u32)) });
                barrier.abort();
                barrier.reset(&places);
                assert!(!barrier.is_broken());
                barrier.reset(&places);
                trips(&barrier, &places);
                assert!(matches!(arrive(&barrier, &[], 0).1, None | Some(Passage::Broken(_))), "no places at all");
                assert_eq!(barrier.trip(&[], tag(0)), Passage::Broken(Cause::Reset));
            }
        }
    }
}
