//! The lock that its holder can take again.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use samemap_core::lock::{Dead, Taken};
use samemap_core::rlock::{NotOwner, RLock};

use crate::drive::{Roster, tag, until_done};

struct Guarded {
    lock: RLock,
    roster: Roster,
    value: UnsafeCell<u32>,
}

// SAFETY: the lock is what the test proves to be enough; loom reports every unordered access of the cell.
unsafe impl Sync for Guarded {}
// SAFETY: as above.
unsafe impl Send for Guarded {}

fn guarded() -> Arc<Guarded> {
    Arc::new(Guarded { lock: RLock::new(), roster: Roster::new(), value: UnsafeCell::new(0) })
}

impl Guarded {
    fn acquire(&self, index: usize, thread: u64, dead: Dead) -> Taken {
        if self.lock.try_acquire(tag(index), thread).unwrap() {
            return Taken::Free;
        }
        until_done(|| self.lock.attempt(self.roster.caller(index), thread, dead))
    }

    /// Takes it twice, changes what it guards in between, and gives it back twice.
    fn enter_twice(&self, index: usize, thread: u64) {
        self.acquire(index, thread, Dead::DontAsk);
        assert_eq!(self.lock.try_acquire(tag(index), thread), Ok(true), "its holder can take it again");
        assert_eq!(self.lock.release(tag(index), thread), Ok(false));
        self.add_one();
        assert_eq!(self.lock.release(tag(index), thread), Ok(true));
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

fn bounded(preemptions: usize, check: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(check);
}

#[test]
fn threads_of_one_process_and_of_another_exclude_each_other() {
    bounded(2, || {
        let guarded = guarded();
        let threads: Vec<_> = [(0, 2), (1, 3)]
            .into_iter()
            .map(|(index, thread)| {
                let guarded = Arc::clone(&guarded);
                thread::spawn(move || guarded.enter_twice(index, thread))
            })
            .collect();
        guarded.enter_twice(0, 1);
        for thread in threads {
            thread.join().unwrap();
        }
        guarded.acquire(0, 1, Dead::DontAsk);
        assert_eq!(guarded.read(), 3);
    });
}

#[test]
fn one_who_held_it_before_is_not_taken_for_the_thread_that_holds_it_now() {
    bounded(3, || {
        let guarded = guarded();
        guarded.acquire(0, 1, Dead::DontAsk);
        let sibling = {
            let guarded = Arc::clone(&guarded);
            thread::spawn(move || {
                guarded.acquire(0, 2, Dead::DontAsk);
                guarded.add_one();
                guarded.lock.release(tag(0), 2).unwrap();
            })
        };
        guarded.add_one();
        assert_eq!(guarded.lock.release(tag(0), 1), Ok(true));
        if guarded.lock.try_acquire(tag(0), 1).unwrap() {
            guarded.add_one();
            guarded.lock.release(tag(0), 1).unwrap();
        }
        assert!(matches!(guarded.lock.release(tag(0), 1), Err(NotOwner { .. })), "it holds it no more");
        sibling.join().unwrap();
        assert_eq!(guarded.lock.lock().holder(), None);
    });
}

#[test]
fn an_heir_holds_it_once_however_deep_the_dead_one_was() {
    loom::model(|| {
        let guarded = guarded();
        let holder = {
            let guarded = Arc::clone(&guarded);
            thread::spawn(move || {
                if guarded.lock.try_acquire(tag(0), 1).unwrap() {
                    guarded.lock.try_acquire(tag(0), 1).unwrap();
                    guarded.add_one();
                    guarded.roster.die(tag(0));
                }
            })
        };
        let first = guarded.lock.poll(guarded.roster.caller(1), 2, Dead::TakeOver);
        let is_first = first == Some(Taken::Free);
        if is_first {
            guarded.add_one();
            assert_eq!(guarded.lock.release(tag(1), 2), Ok(true));
        }
        holder.join().unwrap();
        let died = guarded.lock.lock().holder() == Some(tag(0));
        let taken = match first {
            Some(recovered @ Taken::Recovered(_)) => Some(recovered),
            _ => guarded.lock.poll(guarded.roster.caller(1), 2, Dead::TakeOver),
        };
        assert!(is_first || taken == Some(Taken::Recovered(tag(0))));
        assert!(!died || taken == Some(Taken::Recovered(tag(0))));
        assert_eq!((guarded.lock.depth(), guarded.lock.thread()), (1, 2));
        assert!(guarded.read() >= 1);
        assert_eq!(guarded.lock.release(tag(1), 2), Ok(true), "once is enough");
        assert_eq!(guarded.lock.lock().holder(), None);
    });
}

#[test]
fn given_back_entirely_it_lets_a_sleeper_in_and_is_as_deep_afterwards() {
    bounded(3, || {
        let guarded = guarded();
        guarded.acquire(0, 1, Dead::DontAsk);
        guarded.acquire(0, 1, Dead::DontAsk);
        let sleeper = {
            let guarded = Arc::clone(&guarded);
            thread::spawn(move || guarded.enter_twice(1, 2))
        };
        guarded.add_one();
        let depth = guarded.lock.release_all(tag(0), 1).unwrap();
        guarded.acquire(0, 1, Dead::DontAsk);
        guarded.lock.restore(depth);
        assert_eq!(guarded.lock.release(tag(0), 1), Ok(false));
        guarded.add_one();
        assert_eq!(guarded.lock.release(tag(0), 1), Ok(true));
        sleeper.join().unwrap();
        guarded.acquire(0, 1, Dead::DontAsk);
        assert_eq!(guarded.read(), 3);
    });
}
