//! The semaphore.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use samemap_core::bell::Attempt;
use samemap_core::holdings::Holding;
use samemap_core::semaphore::{Semaphore, TooMany, UNBOUNDED};

use crate::drive::{Roster, tag, until_done};

struct Permits {
    semaphore: Semaphore,
    held: [Holding; 3],
    roster: Roster,
    inside: AtomicUsize,
    value: UnsafeCell<u32>,
}

// SAFETY: the semaphore is what the test proves to be enough; loom reports every unordered access of the cell.
unsafe impl Sync for Permits {}
// SAFETY: as above.
unsafe impl Send for Permits {}

fn permits(permits: u32, bound: u32, keep: bool) -> Arc<Permits> {
    let semaphore = Semaphore::new();
    semaphore.set_up(permits, bound, keep);
    Arc::new(Permits {
        semaphore,
        held: std::array::from_fn(|_| Holding::new()),
        roster: Roster::new(),
        inside: AtomicUsize::new(0),
        value: UnsafeCell::new(0),
    })
}

impl Permits {
    fn acquire(&self, index: usize, ask: bool) {
        if self.semaphore.try_acquire(&self.held, self.roster.caller(index)) {
            return;
        }
        until_done(|| self.semaphore.attempt_acquire(&self.held, self.roster.caller(index), ask));
    }

    fn poll(&self, index: usize) -> bool {
        self.semaphore.poll_acquire(&self.held, self.roster.caller(index))
    }

    fn release(&self, index: usize, count: u32) -> Result<(), TooMany> {
        until_done(|| self.semaphore.attempt_release(&self.held, self.roster.caller(index), false, count))
    }

    fn left(&self) -> u32 {
        self.semaphore.value(&self.held, &self.roster)
    }

    fn add_one(&self) {
        self.value.with_mut(|value| {
            // SAFETY: the caller has the only permit.
            unsafe { *value += 1 }
        });
    }

    fn read(&self) -> u32 {
        self.value.with(|value| {
            // SAFETY: the caller has the only permit.
            unsafe { *value }
        })
    }
}

fn bounded(preemptions: usize, check: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(check);
}

fn in_turn(threads: usize, preemptions: usize, keep: bool) {
    bounded(preemptions, move || {
        let permits = permits(1, UNBOUNDED, keep);
        let others: Vec<_> = (1..threads)
            .map(|index| {
                let permits = Arc::clone(&permits);
                thread::spawn(move || {
                    permits.acquire(index, false);
                    permits.add_one();
                    permits.release(index, 1).unwrap();
                })
            })
            .collect();
        permits.acquire(0, false);
        permits.add_one();
        permits.release(0, 1).unwrap();
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(permits.left(), 1);
        permits.acquire(0, false);
        assert_eq!(permits.read() as usize, threads);
    });
}

#[test]
fn with_one_permit_it_is_one_at_a_time_and_nobody_is_forgotten() {
    in_turn(2, 3, false);
    in_turn(3, 1, false);
}

#[test]
fn the_same_holds_where_permits_are_kept() {
    in_turn(2, 3, true);
    in_turn(3, 1, true);
}

#[test]
fn no_more_are_inside_than_there_are_permits() {
    bounded(1, || {
        let permits = permits(2, 2, false);
        let enter = |index| {
            let permits = Arc::clone(&permits);
            move || {
                permits.acquire(index, false);
                assert!(permits.inside.fetch_add(1, Ordering::SeqCst) < 2);
                permits.inside.fetch_sub(1, Ordering::SeqCst);
                permits.release(index, 1).unwrap();
            }
        };
        let threads = [thread::spawn(enter(1)), thread::spawn(enter(2))];
        enter(0)();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(permits.left(), 2);
    });
}

/// One gives back two permits at once, or one after the other, and two wait for them.
fn two_for_two(counts: &'static [u32], keep: bool) {
    bounded(2, move || {
        let permits = permits(0, UNBOUNDED, keep);
        let takers: Vec<_> = (1..3)
            .map(|index| {
                let permits = Arc::clone(&permits);
                thread::spawn(move || {
                    permits.acquire(index, false);
                    assert_eq!(permits.read(), 1, "what was done before the permits were there");
                })
            })
            .collect();
        permits.add_one();
        for count in counts {
            permits.release(0, *count).unwrap();
        }
        for taker in takers {
            taker.join().unwrap();
        }
        assert_eq!(permits.left(), 0);
    });
}

#[test]
fn several_permits_at_once_wake_all_who_can_have_one() {
    two_for_two(&[2], false);
    two_for_two(&[2], true);
}

#[test]
fn several_permits_one_by_one_wake_all_who_can_have_one() {
    two_for_two(&[1, 1], false);
}

#[test]
fn two_who_give_back_at_the_same_time_wake_one_each() {
    bounded(2, || {
        let permits = permits(0, UNBOUNDED, false);
        let taker = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || {
                permits.acquire(1, false);
                permits.acquire(1, false);
            })
        };
        let giver = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || permits.release(2, 1).unwrap())
        };
        permits.release(0, 1).unwrap();
        giver.join().unwrap();
        taker.join().unwrap();
    });
}

#[test]
fn of_two_who_poll_for_the_last_one_exactly_one_gets_it() {
    loom::model(|| {
        let permits = permits(1, 1, false);
        let other = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || permits.poll(1))
        };
        let is_mine = permits.poll(0);
        assert!(is_mine != other.join().unwrap());
    });
}

#[test]
fn the_permits_of_the_dead_come_back_to_all_who_wait() {
    bounded(2, || {
        let permits = permits(2, 2, false);
        assert!(permits.poll(0) && permits.poll(0));
        permits.roster.die(tag(0));
        let heir = {
            let permits = Arc::clone(&permits);
            // It sleeps before it asks, as drivers do: the other one has to wake it, if it takes both permits back.
            thread::spawn(move || permits.acquire(1, false))
        };
        permits.acquire(2, true);
        heir.join().unwrap();
        assert_eq!(permits.left(), 0);
    });
}

#[test]
fn a_permit_that_was_given_back_before_a_death_is_not_given_back_twice() {
    loom::model(|| {
        let permits = permits(1, 1, false);
        assert!(permits.poll(0));
        let holder = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || {
                permits.release(0, 1).unwrap();
                permits.roster.die(tag(0));
            })
        };
        let mut got = usize::from(permits.poll(1));
        got += usize::from(permits.poll(2));
        holder.join().unwrap();
        got += usize::from(permits.poll(1));
        assert_eq!(got, 1);
    });
}

#[test]
fn a_guard_that_died_is_taken_over_with_nothing_to_mend() {
    loom::model(|| {
        let permits = permits(1, 1, false);
        let taker = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || {
                // As far as a taker comes before it is killed: it has the guard.
                if permits.semaphore.guard().try_acquire(tag(0)) {
                    permits.roster.die(tag(0));
                }
            })
        };
        let got = permits.poll(1);
        taker.join().unwrap();
        assert!(got || permits.poll(1));
        assert!(!permits.poll(2));
    });
}

#[test]
fn all_who_sleep_for_the_guard_are_woken() {
    bounded(2, || {
        let permits = permits(2, 2, false);
        assert!(permits.semaphore.guard().try_acquire(tag(0)));
        let takers: Vec<_> = (1..3)
            .map(|index| {
                let permits = Arc::clone(&permits);
                thread::spawn(move || permits.acquire(index, false))
            })
            .collect();
        permits.semaphore.guard().release(tag(0)).unwrap();
        for taker in takers {
            taker.join().unwrap();
        }
        assert_eq!(permits.left(), 0);
    });
}

#[test]
fn of_a_holder_and_one_who_gives_back_for_it_exactly_one_does() {
    bounded(3, || {
        let permits = permits(1, 1, false);
        assert!(permits.poll(0));
        let other = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || permits.release(1, 1))
        };
        let own = permits.release(0, 1);
        let for_it = other.join().unwrap();
        assert!(own.is_ok() != for_it.is_ok(), "{own:?} {for_it:?}");
        assert_eq!(permits.left(), 1);
    });
}

#[test]
fn one_who_gives_back_for_others_gives_back_all_or_none() {
    bounded(3, || {
        let permits = permits(2, 2, false);
        assert!(permits.poll(0) && permits.poll(1));
        let holder = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || permits.release(0, 1))
        };
        let both = permits.release(2, 2);
        let own = holder.join().unwrap();
        assert!(own.is_ok() != both.is_ok(), "{own:?} {both:?}");
        assert_eq!(permits.left(), if both.is_ok() { 2 } else { 1 });
    });
}

#[test]
fn one_who_gives_up_takes_no_permit_along() {
    bounded(3, || {
        let permits = permits(0, UNBOUNDED, false);
        let quitter = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || {
                let attempted = permits.semaphore.attempt_acquire(&permits.held, permits.roster.caller(1), false);
                matches!(attempted, Attempt::Done(()))
            })
        };
        permits.release(0, 1).unwrap();
        if !quitter.join().unwrap() {
            permits.acquire(2, false);
        }
        assert_eq!(permits.left(), 0);
    });
}
