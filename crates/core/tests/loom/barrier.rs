//! The barrier.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use samemap_core::atomic::Word64;
use samemap_core::barrier::{Arrival, Barrier, Cause, Passage};
use samemap_core::bell::Attempt;

use crate::drive::{Order, Roster, tag, until_done};

struct Meeting<const PARTIES: usize> {
    barrier: Barrier,
    places: [Word64; PARTIES],
    roster: Roster,
    order: Order,
    values: [UnsafeCell<u32>; 3],
}

// SAFETY: the barrier is what the tests prove to be enough; loom reports every unordered access of the cells.
unsafe impl<const PARTIES: usize> Sync for Meeting<PARTIES> {}
// SAFETY: as above.
unsafe impl<const PARTIES: usize> Send for Meeting<PARTIES> {}

fn meeting<const PARTIES: usize>() -> Arc<Meeting<PARTIES>> {
    let barrier = Barrier::new();
    barrier.set_up(PARTIES as u32);
    Arc::new(Meeting {
        barrier,
        places: std::array::from_fn(|_| Word64::new(0)),
        roster: Roster::new(),
        order: Order::new(),
        values: std::array::from_fn(|_| UnsafeCell::new(0)),
    })
}

impl<const PARTIES: usize> Meeting<PARTIES> {
    fn attempt(&self, index: usize, arrival: &mut Arrival, ask: bool) -> Attempt<'_, Passage> {
        self.barrier.attempt(&self.places, self.roster.caller(index), arrival, ask)
    }

    /// Waits, and lets the others go if it is the last.
    fn wait(&self, index: usize, action: impl FnOnce()) -> Passage {
        let mut arrival = Arrival::default();
        match until_done(|| self.attempt(index, &mut arrival, false)) {
            Passage::Last(_) => {
                action();
                self.barrier.trip(&self.places, tag(index))
            }
            other => other,
        }
    }

    /// Waits as one whose patience ends where it would sleep.
    fn wait_shortly(&self, index: usize) -> Passage {
        let mut arrival = Arrival::default();
        self.order.point();
        let attempt = self.attempt(index, &mut arrival, true);
        self.order.point();
        match attempt {
            Attempt::Wait(_) => self.barrier.abandon(&arrival).unwrap_or(Passage::Broken(Cause::Timeout)),
            Attempt::Done(Passage::Last(_)) => self.barrier.trip(&self.places, tag(index)),
            Attempt::Done(other) => other,
        }
    }

    /// Arrives as one that is not the last.
    fn arrive(&self, index: usize) -> Arrival {
        let mut arrival = Arrival::default();
        assert!(matches!(self.attempt(index, &mut arrival, false), Attempt::Wait(_)));
        arrival
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

fn number(passage: Passage) -> u32 {
    let Passage::Through(number) = passage else { panic!("{passage:?}") };
    number
}

#[test]
fn what_each_did_before_all_see_afterwards_and_the_action_comes_between() {
    bounded(3, || {
        let meeting = meeting::<3>();
        let party = |index: usize| {
            let meeting = Arc::clone(&meeting);
            move || {
                meeting.add_one(index);
                let passage = meeting.wait(index, || {
                    assert_eq!([0, 1, 2].map(|at| meeting.read(at)), [1; 3]);
                    meeting.add_one(0);
                });
                assert_eq!([0, 1, 2].map(|at| meeting.read(at)), [2, 1, 1]);
                number(passage)
            }
        };
        let others = [0, 1].map(|index| thread::spawn(party(index)));
        let mut numbers = vec![party(2)()];
        numbers.extend(others.map(|other| other.join().unwrap()));
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 1, 2]);
    });
}

#[test]
fn it_serves_one_generation_after_the_other() {
    bounded(3, || {
        let meeting = meeting::<2>();
        let party = |index: usize| {
            let meeting = Arc::clone(&meeting);
            move || {
                for generation in 1..4 {
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
    });
}

#[test]
fn who_comes_while_the_last_one_acts_waits_for_the_next_generation() {
    bounded(2, || {
        let meeting = meeting::<1>();
        let party = |index: usize| {
            let meeting = Arc::clone(&meeting);
            move || number(meeting.wait(index, || meeting.add_one(0)))
        };
        let others = [0, 1].map(|index| thread::spawn(party(index)));
        assert_eq!(party(2)(), 0);
        for other in others {
            assert_eq!(other.join().unwrap(), 0);
        }
        assert_eq!(meeting.read(0), 3);
    });
}

#[test]
fn a_waiter_that_dies_breaks_it_for_the_others() {
    loom::model(|| {
        let meeting = meeting::<2>();
        let victim = {
            let meeting = Arc::clone(&meeting);
            thread::spawn(move || {
                let attempt = meeting.attempt(0, &mut Arrival::default(), false);
                meeting.order.point();
                // Waiting, or in the middle of the action.
                meeting.roster.die(tag(0));
                matches!(attempt, Attempt::Done(Passage::Last(_)))
            })
        };
        let mut arrival = Arrival::default();
        meeting.order.point();
        let passage = match meeting.attempt(1, &mut arrival, false) {
            Attempt::Done(Passage::Last(_)) => Some(meeting.barrier.trip(&meeting.places, tag(1))),
            Attempt::Done(other) => Some(other),
            Attempt::Wait(_) => None,
        };
        let was_last = victim.join().unwrap();
        let died = Passage::Broken(Cause::Died(tag(0)));
        match passage {
            None => {
                assert!(was_last);
                assert!(matches!(meeting.attempt(1, &mut arrival, true), Attempt::Done(passage) if passage == died));
            }
            Some(passage) => assert!(!was_last && (passage == died || passage == Passage::Through(1)), "{passage:?}"),
        }
        assert_eq!(meeting.barrier.is_broken(), passage != Some(Passage::Through(1)));
        meeting.barrier.reset(&meeting.places);
        assert_eq!((meeting.barrier.is_broken(), meeting.barrier.waiting(&meeting.places)), (false, 0));
    });
}

#[test]
fn when_one_finds_the_dead_the_sleepers_hear_of_it_and_of_whom() {
    loom::model(|| {
        let meeting = meeting::<3>();
        let _dead = meeting.arrive(0);
        meeting.roster.die(tag(0));
        let sleeper = {
            let meeting = Arc::clone(&meeting);
            thread::spawn(move || meeting.wait(1, || ()))
        };
        let died = Passage::Broken(Cause::Died(tag(0)));
        assert_eq!(until_done(|| meeting.attempt(2, &mut Arrival::default(), true)), died);
        assert_eq!(sleeper.join().unwrap(), died);
    });
}

#[test]
fn one_who_gives_up_and_one_who_comes_agree_on_the_outcome() {
    loom::model(|| {
        let meeting = meeting::<2>();
        let other = {
            let meeting = Arc::clone(&meeting);
            thread::spawn(move || meeting.wait_shortly(0))
        };
        let passages = [meeting.wait_shortly(1), other.join().unwrap()];
        if meeting.barrier.is_broken() {
            assert_eq!(passages, [Passage::Broken(Cause::Timeout); 2]);
        } else {
            assert_eq!(passages.map(number).iter().sum::<u32>(), 1);
        }
    });
}

#[test]
fn it_is_broken_once_somebody_has_broken_it_and_nobody_sleeps_on() {
    loom::model(|| {
        let meeting = meeting::<2>();
        let sleeper = {
            let meeting = Arc::clone(&meeting);
            thread::spawn(move || meeting.wait(0, || ()))
        };
        let passage = meeting.wait_shortly(1);
        meeting.barrier.abort();
        assert!(meeting.barrier.is_broken());
        let other = sleeper.join().unwrap();
        let both_through = matches!((passage, other), (Passage::Through(_), Passage::Through(_)));
        let neither = matches!((passage, other), (Passage::Broken(_), Passage::Broken(_)));
        assert!(both_through || neither, "{passage:?} {other:?}");
    });
}

#[test]
fn one_who_breaks_it_while_the_others_go_has_broken_it() {
    loom::model(|| {
        let meeting = meeting::<1>();
        let party = {
            let meeting = Arc::clone(&meeting);
            thread::spawn(move || meeting.wait_shortly(0))
        };
        meeting.order.point();
        meeting.barrier.abort();
        let passage = party.join().unwrap();
        assert!(matches!(passage, Passage::Through(0) | Passage::Broken(Cause::Aborted)), "{passage:?}");
        assert!(meeting.barrier.is_broken());
    });
}

#[test]
fn a_reset_and_the_last_to_come_agree_on_the_outcome() {
    loom::model(|| {
        let meeting = meeting::<2>();
        let mut waiting = meeting.arrive(0);
        let resetter = {
            let meeting = Arc::clone(&meeting);
            thread::spawn(move || {
                meeting.order.point();
                meeting.barrier.reset(&meeting.places);
                meeting.order.point();
            })
        };
        let last = meeting.wait_shortly(1);
        let first = until_done(|| meeting.attempt(0, &mut waiting, false));
        match first {
            Passage::Through(0) => assert_eq!(last, Passage::Through(1)),
            // During its action, or before it came: then it waited alone, in the next generation.
            Passage::Broken(Cause::Reset) => {
                assert!(matches!(last, Passage::Broken(Cause::Reset | Cause::Timeout)), "{last:?}");
            }
            other => panic!("{other:?}"),
        }
        resetter.join().unwrap();
        meeting.barrier.reset(&meeting.places);
        assert_eq!((meeting.barrier.is_broken(), meeting.barrier.waiting(&meeting.places)), (false, 0));
    });
}

#[test]
fn who_looks_two_generations_later_learns_how_its_own_ended() {
    bounded(2, || {
        let meeting = meeting::<1>();
        let mut waiting = Arrival::default();
        assert!(matches!(meeting.attempt(0, &mut waiting, false), Attempt::Done(Passage::Last(0))));
        assert_eq!(meeting.barrier.trip(&meeting.places, tag(0)), Passage::Through(0));
        // Two end the next generation, one of them by a reset, and then there is one more.
        let resetter = {
            let meeting = Arc::clone(&meeting);
            thread::spawn(move || meeting.barrier.reset(&meeting.places))
        };
        let trip = {
            let meeting = Arc::clone(&meeting);
            thread::spawn(move || meeting.wait(1, || ()))
        };
        assert_eq!(until_done(|| meeting.attempt(0, &mut waiting, true)), Passage::Through(0));
        let mut next = Arrival::default();
        let passage = match until_done(|| meeting.attempt(2, &mut next, false)) {
            Passage::Last(_) => meeting.barrier.trip(&meeting.places, tag(2)),
            other => other,
        };
        resetter.join().unwrap();
        let tripped = trip.join().unwrap();
        assert!(matches!(passage, Passage::Through(0) | Passage::Broken(Cause::Reset)), "{passage:?}");
        assert!(matches!(tripped, Passage::Through(0) | Passage::Broken(Cause::Reset)), "{tripped:?}");
        if let Passage::Through(_) = passage {
            assert_eq!(until_done(|| meeting.attempt(2, &mut next, true)), passage, "also later");
        }
    });
}

#[test]
fn two_who_reset_it_leave_no_trace_in_the_next_generation() {
    bounded(3, || {
        let meeting = meeting::<2>();
        let mut waiting = meeting.arrive(0);
        let resetters: [_; 2] = std::array::from_fn(|_| {
            let meeting = Arc::clone(&meeting);
            thread::spawn(move || meeting.barrier.reset(&meeting.places))
        });
        assert_eq!(until_done(|| meeting.attempt(0, &mut waiting, false)), Passage::Broken(Cause::Reset));
        // The same process comes again at once. The second reset may be for it, too.
        let mut again = Arrival::default();
        let mut passage = meeting.attempt(0, &mut again, false);
        for resetter in resetters {
            resetter.join().unwrap();
        }
        if let Attempt::Wait(_) = passage {
            passage = meeting.attempt(0, &mut again, false);
        }
        if let Attempt::Done(passage) = passage {
            assert_eq!(passage, Passage::Broken(Cause::Reset));
            return;
        }
        assert_eq!(until_done(|| meeting.attempt(1, &mut Arrival::default(), false)), Passage::Last(1));
        assert_eq!(meeting.barrier.trip(&meeting.places, tag(1)), Passage::Through(1));
        assert_eq!(until_done(|| meeting.attempt(0, &mut again, false)), Passage::Through(0));
    });
}

#[test]
fn who_comes_late_takes_no_place_of_the_next_generation() {
    loom::model(|| {
        let meeting = meeting::<2>();
        let late = {
            let meeting = Arc::clone(&meeting);
            thread::spawn(move || {
                let mut arrival = Arrival::default();
                let _ = meeting.attempt(0, &mut arrival, false);
                arrival
            })
        };
        meeting.barrier.abort();
        meeting.barrier.reset(&meeting.places);
        let mut arrival = Arrival::default();
        let _ = meeting.attempt(1, &mut arrival, false);
        let counts = |index, arrival: &mut Arrival| match meeting.attempt(index, arrival, false) {
            Attempt::Done(Passage::Last(_)) | Attempt::Wait(_) => 1,
            Attempt::Done(_) => 0,
        };
        assert_eq!(counts(1, &mut arrival), 1);
        let mut late = late.join().unwrap();
        // Broken by the abort, or reset: it comes again, like everybody else.
        let came = meeting.barrier.waiting(&meeting.places);
        assert_eq!(came, 1 + if came == 2 { counts(0, &mut late) } else { 0 });
    });
}
