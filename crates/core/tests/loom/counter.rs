//! The counter.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use samemap_core::counter::Counter;

use crate::drive::until_done;

struct Counted {
    counter: Counter,
    value: UnsafeCell<u32>,
}

// SAFETY: the counter is what the test proves to be enough; loom reports every unordered access of the cell.
unsafe impl Sync for Counted {}
// SAFETY: as above.
unsafe impl Send for Counted {}

fn counted() -> Arc<Counted> {
    Arc::new(Counted { counter: Counter::new(), value: UnsafeCell::new(0) })
}

impl Counted {
    fn write(&self) {
        self.value.with_mut(|value| {
            // SAFETY: the counter says that it is this thread's turn.
            unsafe { *value += 1 }
        });
    }

    fn read(&self) -> u32 {
        self.value.with(|value| {
            // SAFETY: the counter says that nobody writes any more.
            unsafe { *value }
        })
    }
}

fn bounded(preemptions: usize, check: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(check);
}

/// Runs `change` while a thread waits until the counter satisfies `satisfied` and then reads what was written before.
fn a_waiter_sees(change: fn(&Counter), satisfied: fn(i64) -> bool) {
    loom::model(move || {
        let counted = counted();
        let waiter = {
            let counted = Arc::clone(&counted);
            thread::spawn(move || {
                assert!(satisfied(until_done(|| counted.counter.attempt(satisfied))));
                assert_eq!(counted.read(), 1);
            })
        };
        counted.write();
        change(&counted.counter);
        waiter.join().unwrap();
    });
}

#[test]
fn no_addition_is_lost_and_who_waits_for_the_sum_is_woken() {
    bounded(3, || {
        let counted = counted();
        let waiter = {
            let counted = Arc::clone(&counted);
            thread::spawn(move || until_done(|| counted.counter.attempt(|value| value == 2)))
        };
        let adder = {
            let counted = Arc::clone(&counted);
            thread::spawn(move || counted.counter.add(1).unwrap())
        };
        let sums = [counted.counter.add(1).unwrap(), adder.join().unwrap()];
        assert!(sums == [1, 2] || sums == [2, 1]);
        assert_eq!(waiter.join().unwrap(), 2);
    });
}

#[test]
fn all_who_wait_are_woken() {
    bounded(2, || {
        let counted = counted();
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let counted = Arc::clone(&counted);
                thread::spawn(move || until_done(|| counted.counter.attempt(|value| value > 0)))
            })
            .collect();
        counted.counter.add(1).unwrap();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), 1);
        }
    });
}

#[test]
fn every_kind_of_change_wakes_and_shows_what_was_done_before() {
    a_waiter_sees(|counter| _ = counter.add(2), |value| value == 2);
    a_waiter_sees(|counter| _ = counter.set(3), |value| value == 3);
    a_waiter_sees(|counter| _ = counter.max(4), |value| value == 4);
    a_waiter_sees(|counter| _ = counter.min(-1), |value| value < 0);
    a_waiter_sees(|counter| _ = counter.compare_exchange(0, 5), |value| value == 5);
}

#[test]
fn a_value_that_is_passed_on_carries_what_all_its_makers_did() {
    loom::model(|| {
        let counted = counted();
        let second = {
            let counted = Arc::clone(&counted);
            thread::spawn(move || {
                // Takes over from the first, who has written and counted to 1.
                if counted.counter.compare_exchange(1, 2).is_ok() {
                    counted.write();
                    counted.counter.set(3);
                }
            })
        };
        counted.write();
        counted.counter.add(1).unwrap();
        if counted.counter.compare_exchange(3, 4) == Ok(3) {
            assert_eq!(counted.read(), 2);
        }
        second.join().unwrap();
    });
}

#[test]
fn one_who_is_refused_an_exchange_sees_what_was_done_before() {
    loom::model(|| {
        let counted = counted();
        let other = {
            let counted = Arc::clone(&counted);
            thread::spawn(move || {
                if counted.counter.compare_exchange(7, 8) == Err(1) {
                    assert_eq!(counted.read(), 1);
                }
            })
        };
        counted.write();
        counted.counter.add(1).unwrap();
        other.join().unwrap();
    });
}

/// Runs `exchange` while another thread counts to 1; it says whether it found the 1, and leaves it as it is, so that no
/// bell adds an order of its own.
fn one_who_finds_it_sees(exchange: fn(&Counter) -> bool) {
    loom::model(move || {
        let counted = counted();
        let other = {
            let counted = Arc::clone(&counted);
            thread::spawn(move || {
                if exchange(&counted.counter) {
                    assert_eq!(counted.read(), 1);
                }
            })
        };
        counted.write();
        counted.counter.add(1).unwrap();
        other.join().unwrap();
    });
}

#[test]
fn one_who_replaces_the_value_by_itself_sees_what_was_done_before() {
    one_who_finds_it_sees(|counter| counter.set(1) == 1);
    one_who_finds_it_sees(|counter| counter.compare_exchange(1, 1) == Ok(1));
}
