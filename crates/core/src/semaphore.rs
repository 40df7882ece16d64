//! Floor 3: permits, which come back when their holder dies.
//!
//! There is no word that says how many permits are left. There is a limit, how many there are in all, and a [`Table`]
//! of who holds how many; what is left is the difference. To take a permit is one store, which says at once that it is
//! gone and who has it, and so is to give it back. When a participant dies, its entry stops to count, and that is all
//! that it takes for its permits to come back.
//!
//! Two who take at the same time must not both take the last one, so takers look and take under a guard, a [`Lock`].
//! Under it too there is one store at most, so whoever takes the guard over from the dead has nothing to repair.
//!
//! Giving back needs no guard: it only makes more permits free, which a taker under the guard cannot mind. The one
//! exception is a bounded semaphore and a process that gives back what others hold (as `threading` allows): it takes
//! from their entries on their behalf, those of the dead first, and has to know before the first that there are enough.
//! The guard keeps other such givers and all takers out. It does not keep out a holder that gives its own back, and so
//! takes away one that the giver has counted on: then the giver puts back what it took, and is refused. Nobody can have
//! taken those permits meanwhile. Killed in the midst of it, it has given back some of what it meant to.
//!
//! An unbounded semaphore has another way for a process that gives back more than it holds: the limit grows. First
//! its own are given back, then the limit is raised; killed in between, it has not come to the second half.
//!
//! Where permits are signals, and taking one means to use it up, the dead must not bring them back. Then nobody is
//! recorded as a holder, and taking a permit lowers the limit (`keep`).
//!
//! Wake-ups: who gives one permit back wakes one sleeper, who gives back several wakes all. A woken one that finds the
//! guard taken sleeps on that, and looks again when it is free. One that is killed before it looks leaves the others
//! asleep until their slice ends; they look then.

use crate::atomic::{Ordering, Word32, yield_now};
use crate::bell::{Attempt, Bell};
use crate::holdings::{Holding, Table};
use crate::layout::shared;
use crate::lock::{Dead, Lock};
use crate::tag::{Caller, Living, Tag};

/// The bound of an unbounded semaphore: as many permits as can be counted.
pub const UNBOUNDED: u32 = u32::MAX;

/// How often to look for the guard where sleeping is not allowed: it is held for a fraction of a microsecond. In this
/// time a holder that is only waiting for a processor gets one.
const LOOKS: usize = 1000;

shared! {
/// Permits, as they lie in shared memory; the table of who holds them follows.
pub struct Semaphore(128) {
    /// Who is about to take a permit.
    guard: Lock,
    /// How many permits there are in all; with `keep`, how many are left.
    limit: Word32,
    /// How many there were at the start.
    initial: Word32,
    /// How many may be left at most; 4,294,967,295 for an unbounded semaphore.
    bound: Word32,
    /// 1 when what was taken stays taken, whatever becomes of who took it.
    keep: Word32,
    /// How many entries of the table, from the first, may be in use.
    extent: Word32,
    /// For those who wait for a permit.
    bell: Bell,
}
}

/// More permits were given back than can be; nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany {
    /// How many may be left at most.
    pub bound: u32,
}

impl Semaphore {
    /// One without permits, until it is [set up](Self::set_up).
    #[expect(clippy::new_without_default, reason = "shared memory is made in place, never by default")]
    pub fn new() -> Self {
        Self {
            guard: Lock::new(),
            limit: Word32::new(0),
            initial: Word32::new(0),
            bound: Word32::new(0),
            keep: Word32::new(0),
            extent: Word32::new(0),
            bell: Bell::new(),
        }
    }

    /// Bytes of a semaphore and of the table that follows it.
    #[must_use]
    pub const fn size(participants: usize) -> usize {
        size_of::<Self>() + participants * size_of::<Holding>()
    }

    /// Gives it its permits; before anybody else sees it.
    ///
    /// At most `bound` can be left ([`UNBOUNDED`]: as many as can be counted). With `keep`, what was taken stays taken
    /// when who took it dies.
    pub fn set_up(&self, permits: u32, bound: u32, keep: bool) {
        self.limit.store(permits, Ordering::Relaxed);
        self.initial.store(permits, Ordering::Relaxed);
        self.bound.store(bound, Ordering::Relaxed);
        self.keep.store(keep.into(), Ordering::Relaxed);
    }

    /// Takes a permit, the short way: for one who has not slept for it.
    ///
    /// It is `false` when none is left, and also when somebody is just taking one.
    #[inline]
    pub fn try_acquire(&self, held: &[Holding], caller: Caller<'_>) -> bool {
        let table = Table::new(&self.extent, held);
        // It looks first, so that those who try again and again keep nobody from the guard.
        if self.left(table, caller.living, false) == 0 || !self.guard.try_acquire(caller.tag) {
            return false;
        }
        let is_taken = self.take(table, caller, false);
        self.leave(caller.tag);
        is_taken
    }

    /// Takes a permit, or tells what to sleep on; with `ask`, asks about the dead before it does.
    pub fn attempt_acquire(&self, held: &[Holding], caller: Caller<'_>, ask: bool) -> Attempt<'_, ()> {
        let table = Table::new(&self.extent, held);
        loop {
            if let Attempt::Wait(sleep) = self.enter(caller, ask) {
                return Attempt::Wait(sleep);
            }
            let is_taken = self.take_also_from_the_dead(table, caller, ask);
            self.leave(caller.tag);
            if is_taken {
                return Attempt::Done(());
            }
            let sleep = self.bell.listen();
            // Who cannot be recorded as a holder never gets a permit, and must not try for ever.
            if self.left(table, caller.living, false) == 0 || !self.can_hold(table, caller.tag) {
                return Attempt::Wait(sleep);
            }
        }
    }

    /// Takes a permit if one is left, or if one comes back from the dead, without waiting; says whether it did.
    ///
    /// It is for one who has not slept for it. It is also `false` when somebody is held up (stopped, say) just while it
    /// takes a permit itself.
    pub fn poll_acquire(&self, held: &[Holding], caller: Caller<'_>) -> bool {
        let table = Table::new(&self.extent, held);
        let has_guard = (0..LOOKS).any(|_| {
            let is_in = self.guard.poll(caller, Dead::TakeOver).is_some();
            if !is_in {
                yield_now();
            }
            is_in
        });
        if !has_guard {
            return false;
        }
        let is_taken = self.take_also_from_the_dead(table, caller, true);
        self.leave(caller.tag);
        is_taken
    }

    /// Is done when a permit could be had, without taking it; or tells what to sleep on. Whoever only looks must
    /// [pass on](Self::pass_on) the wake-up that it may have had.
    pub fn look(&self, held: &[Holding], caller: Caller<'_>, ask: bool) -> Attempt<'_, ()> {
        let table = Table::new(&self.extent, held);
        if self.left(table, caller.living, ask) > 0 {
            return Attempt::Done(());
        }
        let sleep = self.bell.listen();
        if self.left(table, caller.living, false) > 0 { Attempt::Done(()) } else { Attempt::Wait(sleep) }
    }

    /// Wakes another one if a permit is left: for a waiter that gives up, and may have been woken just then.
    #[cold]
    pub fn pass_on(&self, held: &[Holding], living: &dyn Living) {
        if self.value(held, living) > 0 {
            self.bell.ring_one();
        }
        self.guard.pass_on();
    }

    /// Gives `count` permits back, those of the caller's process first; or tells what to sleep on.
    ///
    /// It waits only where the caller gives back what others hold, and only for somebody who takes a permit just then.
    ///
    /// # Errors
    ///
    /// More would be left than the bound allows; none was given back.
    pub fn attempt_release(
        &self,
        held: &[Holding],
        caller: Caller<'_>,
        ask: bool,
        count: u32,
    ) -> Attempt<'_, Result<(), TooMany>> {
        let table = Table::new(&self.extent, held);
        let bound = self.bound.load(Ordering::Relaxed);
        let released = if self.keeps() {
            self.raise(count, bound)
        } else if table.take_back(caller.tag, count) {
            Ok(())
        } else if bound == UNBOUNDED {
            self.release_beyond(table, caller.tag, count)
        } else {
            match self.enter(caller, ask) {
                Attempt::Wait(sleep) => return Attempt::Wait(sleep),
                Attempt::Done(()) => {
                    let released = release_for_others(table, caller, count);
                    self.leave(caller.tag);
                    if released { Ok(()) } else { Err(TooMany { bound }) }
                }
            }
        };
        if released.is_ok() {
            match count {
                0 => {}
                1 => self.bell.ring_one(),
                _ => self.bell.ring(),
            }
        }
        Attempt::Done(released)
    }

    /// How many permits are left, as far as is known without asking about the dead.
    pub fn value(&self, held: &[Holding], living: &dyn Living) -> u32 {
        self.left(Table::new(&self.extent, held), living, false)
    }

    /// How many there were at the start.
    pub fn initial(&self) -> u32 {
        self.initial.load(Ordering::Relaxed)
    }

    /// How many may be left at most; [`UNBOUNDED`] for as many as can be counted.
    pub fn bound(&self) -> u32 {
        self.bound.load(Ordering::Relaxed)
    }

    /// Whether what was taken stays taken when who took it dies.
    pub fn keeps(&self) -> bool {
        self.keep.load(Ordering::Relaxed) != 0
    }

    /// Who holds how many; nobody where it [keeps](Self::keeps) what was taken.
    pub fn table<'a>(&'a self, held: &'a [Holding]) -> Table<'a> {
        Table::new(&self.extent, held)
    }

    /// The guard of those who take: who holds it, and what has become of it.
    pub fn guard(&self) -> &Lock {
        &self.guard
    }

    /// Takes the guard, with `ask` also from the dead; or tells what to sleep on.
    ///
    /// Never in the short way: who has slept for the guard must leave the mark of the others who sleep, and only the
    /// guard's own attempt does.
    fn enter(&self, caller: Caller<'_>, ask: bool) -> Attempt<'_, ()> {
        match self.guard.attempt(caller, if ask { Dead::TakeOver } else { Dead::DontAsk }) {
            Attempt::Done(_) => Attempt::Done(()),
            Attempt::Wait(sleep) => Attempt::Wait(sleep),
        }
    }

    fn leave(&self, me: Tag) {
        // It fails only when somebody has overwritten the word, and then the guard is not the caller's to give back.
        let _ = self.guard.release(me);
    }

    fn left(&self, table: Table<'_>, living: &dyn Living, ask: bool) -> u32 {
        // Acquire [semaphore.limit]
        let limit = self.limit.load(Ordering::Acquire);
        if self.keeps() { limit } else { limit.saturating_sub(table.sum(living, ask)) }
    }

    /// Whether taking a permit can be recorded: always, unless the table was made for fewer participants.
    fn can_hold(&self, table: Table<'_>, me: Tag) -> bool {
        self.keeps() || table.has(me)
    }

    /// Takes one if one is left, and with `ask`, one that comes back from the dead; the caller has the guard.
    fn take_also_from_the_dead(&self, table: Table<'_>, caller: Caller<'_>, ask: bool) -> bool {
        if self.take(table, caller, false) {
            return true;
        }
        let is_taken = ask && self.take(table, caller, true);
        if is_taken && self.left(table, caller.living, false) > 0 {
            // One death brings back all that the dead one held, and nobody else rings for it.
            self.bell.ring();
        }
        is_taken
    }

    /// Takes one if one is left; the caller has the guard.
    fn take(&self, table: Table<'_>, caller: Caller<'_>, ask: bool) -> bool {
        if self.left(table, caller.living, ask) == 0 {
            return false;
        }
        if self.keeps() { self.lower() } else { table.add(caller.tag) }
    }

    /// Lowers the limit by one, if it is not 0.
    fn lower(&self) -> bool {
        let mut seen = self.limit.load(Ordering::Relaxed);
        while let Some(less) = seen.checked_sub(1) {
            // Relaxed: what made this permit free was seen when the caller looked how many are left.
            match self.limit.compare_exchange(seen, less, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Raises the limit by `count`, but not above `bound`.
    fn raise(&self, count: u32, bound: u32) -> Result<(), TooMany> {
        let mut seen = self.limit.load(Ordering::Relaxed);
        loop {
            let more = seen.checked_add(count).filter(|more| *more <= bound).ok_or(TooMany { bound })?;
            // Release [semaphore.limit]: who takes one of these sees all that was done before.
            match self.limit.compare_exchange(seen, more, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => seen = now,
            }
        }
    }

    /// Gives back what `me` holds, and raises the limit by what is missing from `count`.
    fn release_beyond(&self, table: Table<'_>, me: Tag, count: u32) -> Result<(), TooMany> {
        let own = table.take_up_to(me, count);
        let raised = self.raise(count - own, UNBOUNDED);
        if raised.is_err() {
            table.add_many(me, own);
        }
        raised
    }
}

/// Takes `count` from the entries of all: the caller's own first, then those of the dead; all or none.
///
/// The caller has the guard.
fn release_for_others(table: Table<'_>, caller: Caller<'_>, count: u32) -> bool {
    if table.sum(caller.living, false) < count {
        return false;
    }
    let (dead, others): (Vec<Tag>, Vec<Tag>) =
        table.present(caller.living, false).map(|(tag, _)| tag).partition(|tag| !caller.living.is_alive(*tag));
    let mut left = count;
    let mut taken = Vec::new();
    for tag in [caller.tag].into_iter().chain(dead).chain(others) {
        let some = table.take_up_to(tag, left);
        left -= some;
        taken.push((tag, some));
        if left == 0 {
            return true;
        }
    }
    for (tag, some) in taken.into_iter().filter(|(_, some)| *some > 0) {
        // The entry is still that participant's, or was cleared: to make it that of another takes the guard.
        table.add_many(tag, some);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTICIPANTS: usize = 3;

    /// Participants of epoch 1; those of `dead` died.
    struct Few {
        dead: &'static [usize],
    }

    impl Living for Few {
        fn is_present(&self, tag: Tag) -> bool {
            tag.epoch() == 1 && tag.index() < PARTICIPANTS
        }

        fn is_alive(&self, tag: Tag) -> bool {
            self.is_present(tag) && !self.dead.contains(&tag.index())
        }
    }

    const ALL: Few = Few { dead: &[] };

    struct Permits {
        semaphore: Semaphore,
        held: [Holding; PARTICIPANTS],
    }

    impl Permits {
        fn new(permits: u32, bound: u32, keep: bool) -> Self {
            let semaphore = Semaphore::new();
            semaphore.set_up(permits, bound, keep);
            Self { semaphore, held: std::array::from_fn(|_| Holding::new()) }
        }

        fn take(&self, index: usize, living: &Few) -> bool {
            self.semaphore.poll_acquire(&self.held, Caller { tag: Tag::new(index, 1), living })
        }

        fn release(&self, index: usize, living: &Few, count: u32) -> Result<(), TooMany> {
            let caller = Caller { tag: Tag::new(index, 1), living };
            match self.semaphore.attempt_release(&self.held, caller, true, count) {
                Attempt::Done(released) => released,
                Attempt::Wait(_) => unreachable!("nobody has the guard"),
            }
        }

        fn value(&self) -> u32 {
            self.semaphore.value(&self.held, &ALL)
        }

        fn holds(&self, index: usize) -> u32 {
            self.semaphore.table(&self.held).mine(Tag::new(index, 1))
        }
    }

    #[test]
    fn permits_run_out_and_come_back() {
        let permits = Permits::new(2, UNBOUNDED, false);
        assert!(permits.take(0, &ALL) && permits.take(1, &ALL) && !permits.take(2, &ALL));
        assert_eq!(permits.release(0, &ALL, 1), Ok(()));
        assert_eq!((permits.value(), permits.holds(0), permits.holds(1)), (1, 0, 1));
        assert!(permits.take(2, &ALL) && !permits.take(2, &ALL));
    }

    #[test]
    fn the_permits_of_the_dead_come_back_to_those_who_ask() {
        let permits = Permits::new(2, UNBOUNDED, false);
        assert!(permits.take(0, &ALL) && permits.take(0, &ALL) && !permits.take(1, &ALL));
        assert!(permits.take(1, &Few { dead: &[0] }));
        assert_eq!((permits.value(), permits.holds(0)), (1, 0));
    }

    #[test]
    fn what_is_kept_dies_with_its_taker() {
        let permits = Permits::new(1, UNBOUNDED, true);
        assert!(permits.take(0, &ALL));
        assert!(!permits.take(1, &Few { dead: &[0] }));
        assert_eq!(permits.release(1, &ALL, 2), Ok(()));
        assert_eq!((permits.value(), permits.holds(0)), (2, 0));
    }

    #[test]
    fn an_unbounded_one_grows_by_what_its_giver_did_not_hold() {
        let permits = Permits::new(1, UNBOUNDED, false);
        assert!(permits.take(0, &ALL));
        assert_eq!(permits.release(0, &ALL, 3), Ok(()));
        assert_eq!((permits.value(), permits.holds(0)), (3, 0));
        assert!(permits.take(0, &ALL));
        assert_eq!(permits.release(0, &ALL, u32::MAX), Err(TooMany { bound: UNBOUNDED }));
        assert_eq!((permits.value(), permits.holds(0)), (2, 1), "all or none");
    }

    #[test]
    fn a_bounded_one_gives_back_for_others_first_for_the_dead_and_never_too_many() {
        for keep in [false, true] {
            let permits = Permits::new(2, 2, keep);
            assert_eq!(permits.release(0, &ALL, 1), Err(TooMany { bound: 2 }));
            assert!(permits.take(0, &ALL) && permits.take(1, &ALL));
            assert_eq!(permits.release(2, &ALL, 3), Err(TooMany { bound: 2 }));
            assert_eq!((permits.value(), permits.holds(0), permits.holds(1)), (0, u32::from(!keep), u32::from(!keep)));
            assert_eq!(permits.release(2, &Few { dead: &[1] }, 1), Ok(()));
            assert_eq!((permits.value(), permits.holds(0), permits.holds(1)), (1, u32::from(!keep), 0));
            assert_eq!(permits.release(2, &ALL, 2), Err(TooMany { bound: 2 }));
            assert_eq!(permits.release(2, &ALL, 1), Ok(()));
            assert_eq!((permits.value(), permits.holds(0)), (2, 0));
        }
    }

    #[test]
    fn any_bits_are_a_semaphore() {
        for bits in [0, 1, u32::MAX, 0x8000_0001, 0x5555_5555] {
            let permits = Permits::new(bits, bits, bits & 1 == 1);
            permits.semaphore.extent.store(bits, Ordering::Relaxed);
            permits.semaphore.initial.store(bits, Ordering::Relaxed);
            let taken = permits.take(0, &ALL);
            assert_eq!(taken, bits != 0);
            let _ = permits.release(1, &ALL, bits);
            let _ = permits.release(2, &ALL, 1);
            let outside = Caller { tag: Tag::new(PARTICIPANTS, 1), living: &ALL };
            let _ = permits.semaphore.attempt_acquire(&permits.held, outside, true);
        }
    }
}
