//! The barrier.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use samemap_core::barrier::{Arrival, Barrier, Broken, Outcome};
use samemap_core::bell::Attempt;
use samemap_core::waiters::Waiter;

use crate::drive::{Roster, tag, until_done};

struct Meeting<const ENTRIES: usize> {
    barrier: Barrier,
    waiters: [Waiter; ENTRIES],
    roster: Roster,
    values: [UnsafeCell<u32>; 3],
}

// SAFETY: the barrier is what the tests prove to be enough; loom reports every unordered access of the cells.
unsafe impl<const ENTRIES: usize> Sync for Meeting<ENTRIES> {}
// SAFETY: as above.
unsafe impl<const ENTRIES: usize> Send for Meeting<ENTRIES> {}

fn meeting<const ENTRIES: usize>(parties: u32) -> Arc<Meeting<ENTRIES>> {
    Arc::new(Meeting {
        barrier: Barrier::new(parties),
        waiters: std::array::from_fn(|_| Waiter::new()),
        roster: Roster::new(),
        values: std::array::from_fn(|_| UnsafeCell::new(0)),
    })
}

impl<const ENTRIES: usize> Meeting<ENTRIES> {
    fn attempt(&self, index: usize, arrival: &mut Arrival, ask: bool) -> Attempt<'_, Outcome> {
        self.barrier.attempt(&self.waiters, self.roster.caller(index), arrival, ask)
    }

    /// Waits, and lets the others through if it is the last.
    fn wait(&self, index: usize, action: impl FnOnce()) -> Outcome {
        let mut arrival = Arrival::new();
        match until_done(|| self.attempt(index, &mut arrival, false)) {
            Outcome::Last(_) => {
                action();
                self.barrier.trip(&self.waiters, tag(index), &mut arrival)
            }
            other => other,
        }
    }

    /// Waits as one whose patience ends where it would sleep.
    fn wait_shortly(&self, index: usize) -> Outcome {
        let mut arrival = Arrival::new();
        match self.attempt(index, &mut arrival, true) {
            Attempt::Wait(_) => self.barrier.abandon(&self.waiters, tag(index), &mut arrival, Broken::TimedOut),
            Attempt::Done(Outcome::Last(_)) => self.barrier.trip(&self.waiters, tag(index), &mut arrival),
            Attempt::Done(other) => other,
        }
    }

    fn add_one(&self, index: usize) {
        self.values[index].with_mut(|value| {
            // SAFETY: the caller is alone with it, which is what the test proves.
            unsafe { *value += 1 }
        });
    }

    fn read(&self, index: usize) -> u32 {
        self.values[index].with(|value| {
            // SAFETY: nobody writes meanwhile, which is what the test proves.
            unsafe { *value }
        })
    }
}

fn bounded(preemptions: usize, check: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(check);
}

fn number(outcome: Outcome) -> u32 {
    let Outcome::Tripped(number) = outcome else { panic!("{outcome:?}") };
    number
}

#[test]
fn what_each_did_before_all_see_afterwards_and_the_action_comes_between() {
    bounded(2, || {
        let meeting = meeting::<4>(2);
        let party = |index: usize| {
            let meeting = Arc::clone(&meeting);
            move || {
                meeting.add_one(index);
                let outcome = meeting.wait(index, || {
                    assert_eq!((meeting.read(0), meeting.read(1)), (1, 1));
                    meeting.add_one(2);
                });
                assert_eq!([0, 1, 2].map(|at| meeting.read(at)), [1, 1, 1]);
                number(outcome)
            }
        };
        let other = thread::spawn(party(0));
        let mut numbers = [party(1)(), other.join().unwrap()];
        numbers.sort_unstable();
        assert_eq!((numbers, meeting.barrier.trips()), ([0, 1], 1));
    });
}

#[test]
fn it_serves_one_generation_after_the_other() {
    bounded(2, || {
        // No entry more than there are parties: whoever is slow to leave does not get in the way of the quick.
        let meeting = meeting::<2>(2);
        let party = |index: usize| {
            let meeting = Arc::clone(&meeting);
            move || {
                for generation in 1..3 {
                    meeting.add_one(index);
                    number(meeting.wait(index, || {
                        assert_eq!((meeting.read(0), meeting.read(1)), (generation, generation));
                    }));
                }
            }
        };
        let other = thread::spawn(party(0));
        party(1)();
        other.join().unwrap();
        assert_eq!(meeting.barrier.trips(), 2);
    });
}

#[test]
fn who_comes_while_the_last_one_acts_waits_for_the_next_generation() {
    bounded(2, || {
        let meeting = meeting::<4>(1);
        let party = |index: usize| {
            let meeting = Arc::clone(&meeting);
            move || number(meeting.wait(index, || meeting.add_one(0)))
        };
        let others = [thread::spawn(party(0)), thread::spawn(party(1))];
        assert_eq!(party(2)(), 0);
        for other in others {
            assert_eq!(other.join().unwrap(), 0);
        }
        assert_eq!((meeting.read(0), meeting.barrier.trips()), (3, 3));
    });
}

#[test]
fn who_finds_no_free_entry_is_woken_when_there_is_one() {
    bounded(3, || {
        let meeting = meeting::<1>(1);
        let party = |index: usize| {
            let meeting = Arc::clone(&meeting);
            move || number(meeting.wait(index, || meeting.add_one(0)))
        };
        let other = thread::spawn(party(0));
        assert_eq!(party(1)(), 0);
        assert_eq!(other.join().unwrap(), 0);
        assert_eq!(meeting.read(0), 2);
    });
}

#[test]
fn a_waiter_that_dies_breaks_it_for_the_others() {
    bounded(3, || {
        let meeting = meeting::<4>(2);
        let victim = {
            let meeting = Arc::clone(&meeting);
            thread::spawn(move || {
                let mut arrival = Arrival::new();
                let was_last = matches!(meeting.attempt(0, &mut arrival, false), Attempt::Done(Outcome::Last(_)));
                // Waiting, or in the middle of the action.
                meeting.roster.die(tag(0));
                was_last
            })
        };
        let mut arrival = Arrival::new();
        let first_look = match meeting.attempt(1, &mut arrival, false) {
            Attempt::Done(Outcome::Last(_)) => Some(meeting.barrier.trip(&meeting.waiters, tag(1), &mut arrival)),
            Attempt::Done(other) => Some(other),
            Attempt::Wait(_) => None,
        };
        let was_last = victim.join().unwrap();
        let died = Outcome::Broken(Broken::Died(tag(0)));
        match first_look {
            None => {
                assert!(was_last);
                assert!(matches!(meeting.attempt(1, &mut arrival, true), Attempt::Done(outcome) if outcome == died));
            }
            Some(outcome) => assert!(!was_last && (outcome == died || outcome == Outcome::Tripped(1)), "{outcome:?}"),
        }
        let tripped = matches!(first_look, Some(Outcome::Tripped(_)));
        assert_eq!(meeting.barrier.broken(), (!tripped).then_some(Broken::Died(tag(0))));
        meeting.barrier.reset(&meeting.waiters);
        assert_eq!((meeting.barrier.broken(), meeting.barrier.arrived()), (None, 0));
    });
}

#[test]
fn when_one_finds_the_dead_the_sleepers_hear_of_it() {
    bounded(3, || {
        let meeting = meeting::<4>(3);
        let mut dead = Arrival::new();
        assert!(matches!(meeting.attempt(0, &mut dead, false), Attempt::Wait(_)));
        meeting.roster.die(tag(0));
        let sleeper = {
            let meeting = Arc::clone(&meeting);
            thread::spawn(move || meeting.wait(1, || ()))
        };
        let mut arrival = Arrival::new();
        let died = Outcome::Broken(Broken::Died(tag(0)));
        assert!(matches!(meeting.attempt(2, &mut arrival, true), Attempt::Done(outcome) if outcome == died));
        assert_eq!(sleeper.join().unwrap(), died);
    });
}

#[test]
fn the_heir_of_an_entry_is_not_taken_for_the_dead_one_that_had_it() {
    loom::model(|| {
        let meeting = meeting::<2>(3);
        let (mut dead, mut waiting) = (Arrival::new(), Arrival::new());
        assert!(matches!(meeting.attempt(0, &mut dead, false), Attempt::Wait(_)));
        meeting.barrier.reset(&meeting.waiters);
        meeting.roster.die(tag(0));
        assert!(matches!(meeting.attempt(1, &mut waiting, false), Attempt::Wait(_)));
        let heir = {
            let meeting = Arc::clone(&meeting);
            thread::spawn(move || assert!(matches!(meeting.attempt(2, &mut Arrival::new(), true), Attempt::Wait(_))))
        };
        assert!(matches!(meeting.attempt(1, &mut waiting, true), Attempt::Wait(_)));
        heir.join().unwrap();
        assert_eq!(meeting.barrier.arrived(), 2);
    });
}

#[test]
fn one_who_gives_up_and_one_who_comes_agree_on_the_outcome() {
    bounded(3, || {
        let meeting = meeting::<4>(2);
        let other = {
            let meeting = Arc::clone(&meeting);
            thread::spawn(move || meeting.wait_shortly(0))
        };
        let outcomes = [meeting.wait_shortly(1), other.join().unwrap()];
        let mut expected = [Outcome::Broken(Broken::TimedOut); 2];
        if meeting.barrier.trips() == 1 {
            assert_eq!(outcomes.iter().map(|outcome| number(*outcome)).sum::<u32>(), 1);
            expected = outcomes;
        }
        assert_eq!(outcomes, expected);
    });
}

#[test]
fn a_reset_and_the_last_to_come_agree_on_the_outcome() {
    bounded(3, || {
        let meeting = meeting::<4>(2);
        let mut waiting = Arrival::new();
        assert!(matches!(meeting.attempt(0, &mut waiting, false), Attempt::Wait(_)));
        let resetter = {
            let meeting = Arc::clone(&meeting);
            thread::spawn(move || meeting.barrier.reset(&meeting.waiters))
        };
        let last = meeting.wait_shortly(1);
        let first = until_done(|| meeting.attempt(0, &mut waiting, false));
        match first {
            Outcome::Tripped(0) => assert_eq!(last, Outcome::Tripped(1)),
            Outcome::Broken(Broken::Reset) => assert!(
                // During its action, or before it came: then it waited alone, in the next generation.
                matches!(last, Outcome::Broken(Broken::Reset | Broken::TimedOut)),
                "{last:?}"
            ),
            other => panic!("{other:?}"),
        }
        resetter.join().unwrap();
        meeting.barrier.reset(&meeting.waiters);
        assert_eq!((meeting.barrier.broken(), meeting.barrier.arrived()), (None, 0));
    });
}

#[test]
fn two_who_reset_it_tell_the_waiter_once_and_leave_the_next_generation_alone() {
    bounded(2, || {
        let meeting = meeting::<4>(2);
        let mut waiting = Arrival::new();
        assert!(matches!(meeting.attempt(0, &mut waiting, false), Attempt::Wait(_)));
        let resetters: [_; 2] = std::array::from_fn(|_| {
            let meeting = Arc::clone(&meeting);
            thread::spawn(move || meeting.barrier.reset(&meeting.waiters))
        });
        assert_eq!(until_done(|| meeting.attempt(0, &mut waiting, false)), Outcome::Broken(Broken::Reset));
        // The same process comes again at once, and gets the same entry.
        let mut again = Arrival::new();
        let outcome = match meeting.attempt(0, &mut again, false) {
            Attempt::Done(outcome) => outcome,
            Attempt::Wait(_) => {
                for resetter in resetters {
                    resetter.join().unwrap();
                }
                match meeting.attempt(1, &mut Arrival::new(), false) {
                    // The second reset was for it, too.
                    Attempt::Wait(_) => Outcome::Broken(Broken::Reset),
                    Attempt::Done(last) => {
                        assert_eq!(last, Outcome::Last(1));
                        return;
                    }
                }
            }
        };
        assert_eq!(outcome, Outcome::Broken(Broken::Reset));
    });
}
