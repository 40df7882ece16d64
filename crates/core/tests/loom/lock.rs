//! The lock.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use samemap_core::atomic::{sleep, wake};
use samemap_core::bell::Attempt;
use samemap_core::lock::{Dead, Lock, Taken, Turn};

use crate::drive::{Roster, tag, until_done};

struct Guarded {
    lock: Lock,
    roster: Roster,
    value: UnsafeCell<u32>,
}

// SAFETY: the lock is what the test proves to be enough; loom reports every unordered access of the cell.
unsafe impl Sync for Guarded {}
// SAFETY: as above.
unsafe impl Send for Guarded {}

fn guarded() -> Arc<Guarded> {
    Arc::new(Guarded { lock: Lock::new(), roster: Roster::new(), value: UnsafeCell::new(0) })
}

impl Guarded {
    fn acquire(&self, index: usize, dead: Dead) -> Taken {
        if self.lock.try_acquire(tag(index)) {
            return Taken::Free;
        }
        until_done(|| self.lock.attempt(self.roster.caller(index), dead))
    }

    fn add_one(&self) {
        self.value.with_mut(|value| {
            // SAFETY: the caller holds the lock.
            unsafe { *value += 1 }
        });
    }

    fn read(&self) -> u32 {
        self.value.with(|value| {
            // SAFETY: the caller holds the lock.
            unsafe { *value }
        })
    }
}

#[test]
fn one_at_a_time_and_nobody_is_forgotten() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let guarded = guarded();
        let threads: Vec<_> = (1..3)
            .map(|index| {
                let guarded = Arc::clone(&guarded);
                thread::spawn(move || {
                    guarded.acquire(index, Dead::DontAsk);
                    guarded.add_one();
                    guarded.lock.release(tag(index)).unwrap();
                })
            })
            .collect();
        guarded.acquire(0, Dead::DontAsk);
        guarded.add_one();
        guarded.lock.release(tag(0)).unwrap();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(guarded.lock.holder(), None);
        guarded.acquire(0, Dead::DontAsk);
        assert_eq!(guarded.read(), 3);
    });
}

#[test]
fn one_who_has_waited_long_goes_before_one_who_comes() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let guarded = guarded();
        guarded.acquire(0, Dead::DontAsk);
        let overdue = guarded.lock.attempt_in_turn(guarded.roster.caller(1), Dead::DontAsk, Turn::Overdue);
        let Attempt::Wait(on) = overdue else { unreachable!() };
        // Released first: a newcomer that slept already would be one of those who have waited.
        guarded.lock.release(tag(0)).unwrap();
        let newcomer = {
            let guarded = Arc::clone(&guarded);
            thread::spawn(move || {
                let mut turn = Turn::New;
                until_done(|| {
                    let turn = std::mem::replace(&mut turn, Turn::Again);
                    guarded.lock.attempt_in_turn(guarded.roster.caller(2), Dead::DontAsk, turn)
                });
                guarded.add_one();
                guarded.lock.release(tag(2)).unwrap();
            })
        };
        assert!(!guarded.lock.try_acquire(tag(3)), "it is not for those who only come");
        sleep(on.word, on.expected);
        until_done(|| guarded.lock.attempt(guarded.roster.caller(1), Dead::DontAsk));
        guarded.add_one();
        guarded.lock.release(tag(1)).unwrap();
        newcomer.join().unwrap();
        assert_eq!(guarded.lock.holder(), None);
    });
}

#[test]
fn of_two_heirs_one_is_told_of_the_death() {
    loom::model(|| {
        let guarded = guarded();
        guarded.acquire(0, Dead::DontAsk);
        guarded.add_one();
        guarded.roster.die(tag(0));
        let heir = |index| {
            let guarded = Arc::clone(&guarded);
            move || {
                let taken = guarded.acquire(index, Dead::TakeOver);
                guarded.add_one();
                guarded.lock.release(tag(index)).unwrap();
                taken
            }
        };
        let other = thread::spawn(heir(1));
        let told = [heir(2)(), other.join().unwrap()];
        assert_eq!(told.iter().filter(|taken| **taken == Taken::Recovered(tag(0))).count(), 1);
        assert_eq!(guarded.lock.counts().0, 1);
        guarded.acquire(1, Dead::DontAsk);
        assert_eq!(guarded.read(), 3);
    });
}

#[test]
fn an_heir_that_dies_is_inherited_from() {
    loom::model(|| {
        let guarded = guarded();
        guarded.acquire(0, Dead::DontAsk);
        guarded.roster.die(tag(0));
        let heir = {
            let guarded = Arc::clone(&guarded);
            thread::spawn(move || {
                let taken = guarded.lock.poll(guarded.roster.caller(1), Dead::TakeOver);
                if taken.is_some() {
                    guarded.add_one();
                    guarded.roster.die(tag(1));
                }
            })
        };
        let first = guarded.lock.poll(guarded.roster.caller(2), Dead::TakeOver);
        heir.join().unwrap();
        let taken = match first {
            Some(taken) => taken,
            // The other one was faster, and has died since.
            None => guarded.lock.poll(guarded.roster.caller(2), Dead::TakeOver).unwrap(),
        };
        assert!(matches!(taken, Taken::Recovered(_)));
        guarded.read();
    });
}

#[test]
fn a_report_changes_nothing() {
    loom::model(|| {
        let guarded = guarded();
        guarded.acquire(0, Dead::DontAsk);
        guarded.roster.die(tag(0));
        let reporter = {
            let guarded = Arc::clone(&guarded);
            thread::spawn(move || guarded.lock.poll(guarded.roster.caller(1), Dead::Report))
        };
        assert_eq!(guarded.lock.poll(guarded.roster.caller(2), Dead::Report), Some(Taken::Abandoned(tag(0))));
        assert_eq!(reporter.join().unwrap(), Some(Taken::Abandoned(tag(0))));
        assert_eq!(guarded.lock.holder(), Some(tag(0)));
    });
}

#[test]
fn a_sleeper_that_looks_again_heals_the_wake_up_that_died() {
    loom::model(|| {
        let guarded = guarded();
        guarded.acquire(0, Dead::DontAsk);
        let Attempt::Wait(on) = guarded.lock.attempt(guarded.roster.caller(1), Dead::DontAsk) else { unreachable!() };
        let sleeper = {
            let guarded = Arc::clone(&guarded);
            thread::spawn(move || guarded.acquire(2, Dead::TakeOver))
        };
        // The wake-up may go to participant 1, which is dead by now, and then its slice of sleep ends by the clock.
        guarded.lock.release(tag(0)).unwrap();
        wake(on.word, u32::MAX);
        assert_eq!(sleeper.join().unwrap(), Taken::Free);
    });
}

/// One only looks, and so must pass its wake-up on, while somebody else takes the lock in the short way.
#[test]
fn one_who_only_looks_takes_no_wake_up_along() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let guarded = guarded();
        guarded.acquire(0, Dead::DontAsk);
        let looker = {
            let guarded = Arc::clone(&guarded);
            thread::spawn(move || {
                until_done(|| guarded.lock.look(guarded.roster.caller(1), false));
                guarded.lock.pass_on();
            })
        };
        let sleeper = {
            let guarded = Arc::clone(&guarded);
            thread::spawn(move || {
                guarded.acquire(2, Dead::DontAsk);
                guarded.lock.release(tag(2)).unwrap();
            })
        };
        guarded.lock.release(tag(0)).unwrap();
        if guarded.lock.try_acquire(tag(0)) {
            guarded.lock.release(tag(0)).unwrap();
        }
        looker.join().unwrap();
        sleeper.join().unwrap();
    });
}
