//! The event.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use samemap_core::event::Event;

use crate::drive::until_done;

struct Announced {
    event: Event,
    value: UnsafeCell<u32>,
}

// SAFETY: the event is what the test proves to be enough; loom reports every unordered access of the cell.
unsafe impl Sync for Announced {}
// SAFETY: as above.
unsafe impl Send for Announced {}

/// With three threads, every interleaving would take minutes.
fn bounded(check: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(check);
}

fn announced() -> Arc<Announced> {
    Arc::new(Announced { event: Event::new(), value: UnsafeCell::new(0) })
}

impl Announced {
    fn write(&self) {
        self.value.with_mut(|value| {
            // SAFETY: nobody has been told yet.
            unsafe { *value = 1 }
        });
    }

    fn read(&self) -> u32 {
        self.value.with(|value| {
            // SAFETY: the event was set, so nobody writes any more.
            unsafe { *value }
        })
    }

    fn wait(&self) {
        let begun = self.event.begin();
        until_done(|| self.event.attempt(begun));
    }
}

#[test]
fn all_who_wait_are_woken_and_see_what_was_done_before() {
    bounded(|| {
        let announced = announced();
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let announced = Arc::clone(&announced);
                thread::spawn(move || {
                    announced.wait();
                    assert_eq!(announced.read(), 1);
                })
            })
            .collect();
        announced.write();
        assert!(announced.event.set());
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}

#[test]
fn one_who_sees_it_set_sees_what_was_done_before() {
    loom::model(|| {
        let announced = announced();
        let other = {
            let announced = Arc::clone(&announced);
            thread::spawn(move || {
                if announced.event.is_set() {
                    assert_eq!(announced.read(), 1);
                }
            })
        };
        announced.write();
        announced.event.set();
        other.join().unwrap();
    });
}

#[test]
fn a_waiter_is_woken_also_when_it_is_cleared_at_once() {
    bounded(|| {
        let announced = announced();
        let begun = announced.event.begin();
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let announced = Arc::clone(&announced);
                thread::spawn(move || {
                    until_done(|| announced.event.attempt(begun));
                    assert_eq!(announced.read(), 1);
                })
            })
            .collect();
        announced.write();
        announced.event.set();
        announced.event.clear();
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert!(!announced.event.is_set());
    });
}

#[test]
fn of_two_who_set_it_one_changes_it_and_no_sleeper_is_forgotten() {
    bounded(|| {
        let announced = announced();
        let begun = announced.event.begin();
        let setter = {
            let announced = Arc::clone(&announced);
            thread::spawn(move || announced.event.set())
        };
        let waiter = {
            let announced = Arc::clone(&announced);
            thread::spawn(move || until_done(|| announced.event.attempt(begun)))
        };
        let changed = announced.event.set();
        assert!(changed != setter.join().unwrap());
        waiter.join().unwrap();
        assert_eq!(announced.event.generation(), 1);
    });
}

#[test]
fn one_who_clears_it_sees_the_work_or_finds_it_set_afterwards() {
    loom::model(|| {
        let announced = announced();
        let work = Arc::new(AtomicBool::new(false));
        announced.event.set();
        let worker = {
            let (announced, work) = (Arc::clone(&announced), Arc::clone(&work));
            thread::spawn(move || {
                work.store(true, Ordering::Relaxed);
                announced.event.set();
            })
        };
        announced.event.clear();
        let is_seen = work.load(Ordering::Relaxed);
        worker.join().unwrap();
        assert!(is_seen || announced.event.is_set());
    });
}
