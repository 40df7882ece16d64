//! Many readers or one writer.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use samemap_core::holdings::Holding;
use samemap_core::lock::{Dead, Taken};
use samemap_core::rwlock::{ReadWriteLock, Writing};

use crate::drive::{Roster, tag, until_done};

struct Guarded {
    lock: ReadWriteLock,
    held: [Holding; 3],
    roster: Roster,
    value: UnsafeCell<u32>,
}

// SAFETY: the lock is what the test proves to be enough; loom reports every unordered access of the cell.
unsafe impl Sync for Guarded {}
// SAFETY: as above.
unsafe impl Send for Guarded {}

fn guarded() -> Arc<Guarded> {
    Arc::new(Guarded {
        lock: ReadWriteLock::new(),
        held: std::array::from_fn(|_| Holding::new()),
        roster: Roster::new(),
        value: UnsafeCell::new(0),
    })
}

impl Guarded {
    fn begin_read(&self, index: usize, dead: Dead) -> Taken {
        if self.lock.try_read(&self.held, tag(index)) {
            return Taken::Free;
        }
        until_done(|| self.lock.attempt_read(&self.held, self.roster.caller(index), dead))
    }

    fn end_read(&self, index: usize) {
        self.lock.release_read(&self.held, tag(index)).unwrap();
    }

    fn begin_write(&self, index: usize, dead: Dead) -> Taken {
        if self.lock.try_write(&self.held, tag(index), &self.roster) {
            return Taken::Free;
        }
        let mut progress = Writing::default();
        until_done(|| self.lock.attempt_write(&self.held, self.roster.caller(index), &mut progress, dead))
    }

    fn end_write(&self, index: usize) {
        self.lock.release_write(tag(index)).unwrap();
    }

    fn read_once(&self, index: usize) -> u32 {
        self.begin_read(index, Dead::DontAsk);
        let seen = self.look();
        self.end_read(index);
        seen
    }

    fn write_once(&self, index: usize) {
        self.begin_write(index, Dead::DontAsk);
        self.add_one();
        self.end_write(index);
    }

    fn add_one(&self) {
        self.value.with_mut(|value| {
            // SAFETY: the caller writes.
            unsafe { *value += 1 }
        });
    }

    fn look(&self) -> u32 {
        self.value.with(|value| {
            // SAFETY: the caller reads or writes.
            unsafe { *value }
        })
    }
}

fn bounded(preemptions: usize, check: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(check);
}

/// Runs each of these with an index of its own, the first in this thread.
fn at_once(guarded: &Arc<Guarded>, works: &[fn(&Guarded, usize)]) {
    let threads: Vec<_> = works
        .iter()
        .enumerate()
        .skip(1)
        .map(|(index, work)| {
            let (guarded, work) = (Arc::clone(guarded), *work);
            thread::spawn(move || work(&guarded, index))
        })
        .collect();
    works[0](guarded, 0);
    for thread in threads {
        thread.join().unwrap();
    }
}

fn reads(guarded: &Guarded, index: usize) {
    guarded.read_once(index);
}

fn writes(guarded: &Guarded, index: usize) {
    guarded.write_once(index);
}

#[test]
fn readers_never_meet_the_writer_and_nobody_is_forgotten() {
    bounded(2, || {
        let guarded = guarded();
        at_once(&guarded, &[writes, reads, reads]);
        assert_eq!(guarded.read_once(0), 1);
    });
}

#[test]
fn writers_meet_neither_each_other_nor_a_reader() {
    bounded(2, || {
        let guarded = guarded();
        at_once(&guarded, &[writes, writes, reads]);
        assert_eq!(guarded.read_once(0), 2);
    });
}

#[test]
fn one_reader_and_one_writer_in_many_more_orders() {
    bounded(4, || {
        let guarded = guarded();
        at_once(&guarded, &[writes, reads]);
        assert_eq!(guarded.read_once(0), 1);
    });
}

#[test]
fn one_who_waits_in_the_slow_way_only_is_not_forgotten() {
    bounded(3, || {
        let guarded = guarded();
        fn reads_slowly(guarded: &Guarded, index: usize) {
            until_done(|| guarded.lock.attempt_read(&guarded.held, guarded.roster.caller(index), Dead::DontAsk));
            guarded.look();
            guarded.end_read(index);
        }
        fn writes_slowly(guarded: &Guarded, index: usize) {
            let mut progress = Writing::default();
            let attempt = || {
                guarded.lock.attempt_write(&guarded.held, guarded.roster.caller(index), &mut progress, Dead::DontAsk)
            };
            until_done(attempt);
            guarded.add_one();
            guarded.end_write(index);
        }
        at_once(&guarded, &[reads_slowly, writes_slowly]);
    });
}

#[test]
fn threads_of_one_process_read_together_and_keep_a_writer_out() {
    bounded(2, || {
        let guarded = guarded();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let guarded = Arc::clone(&guarded);
                thread::spawn(move || guarded.read_once(1))
            })
            .collect();
        guarded.write_once(0);
        for thread in threads {
            assert!(thread.join().unwrap() <= 1);
        }
        assert_eq!(guarded.lock.readers(&guarded.held, &guarded.roster), []);
    });
}

#[test]
fn a_writer_that_gives_up_lets_the_readers_in() {
    bounded(3, || {
        let guarded = guarded();
        guarded.begin_read(0, Dead::DontAsk);
        let reader = {
            let guarded = Arc::clone(&guarded);
            thread::spawn(move || guarded.read_once(1))
        };
        let mut progress = Writing::default();
        let caller = guarded.roster.caller(2);
        let _ = guarded.lock.attempt_write(&guarded.held, caller, &mut progress, Dead::DontAsk);
        guarded.lock.abandon_write(&mut progress, tag(2));
        assert_eq!(reader.join().unwrap(), 0);
        guarded.end_read(0);
        guarded.write_once(2);
    });
}

#[test]
fn a_dead_reader_is_waited_for_by_nobody_who_asks() {
    bounded(3, || {
        let guarded = guarded();
        let reader = {
            let guarded = Arc::clone(&guarded);
            thread::spawn(move || {
                if guarded.lock.try_read(&guarded.held, tag(1)) {
                    guarded.look();
                    guarded.roster.die(tag(1));
                }
            })
        };
        let polled = guarded.lock.poll_write(&guarded.held, guarded.roster.caller(0), Dead::TakeOver);
        if polled.is_some() {
            guarded.add_one();
            guarded.end_write(0);
        }
        reader.join().unwrap();
        let taken = guarded.lock.poll_write(&guarded.held, guarded.roster.caller(2), Dead::TakeOver);
        assert_eq!(taken, Some(Taken::Free));
        guarded.add_one();
    });
}

#[test]
fn of_a_writer_that_died_reader_and_writer_are_told() {
    bounded(3, || {
        let guarded = guarded();
        guarded.begin_write(0, Dead::DontAsk);
        guarded.add_one();
        guarded.roster.die(tag(0));
        let reader = {
            let guarded = Arc::clone(&guarded);
            thread::spawn(move || {
                let taken = guarded.begin_read(1, Dead::TakeOver);
                let seen = guarded.look();
                guarded.end_read(1);
                (taken, seen)
            })
        };
        let taken = guarded.begin_write(2, Dead::TakeOver);
        guarded.add_one();
        guarded.end_write(2);
        assert_eq!(taken, Taken::Recovered(tag(0)), "the first writer after the death, whoever came before");
        let (told, seen) = reader.join().unwrap();
        assert_eq!(told, if seen == 1 { Taken::Recovered(tag(0)) } else { Taken::Free });
    });
}

#[test]
fn nobody_reads_untold_what_a_dead_writer_left() {
    bounded(3, || {
        let guarded = guarded();
        let reader = {
            let guarded = Arc::clone(&guarded);
            thread::spawn(move || {
                if guarded.lock.try_read(&guarded.held, tag(1)) {
                    assert_eq!(guarded.look(), 0, "the short way tells nothing, so there is nothing to tell");
                    guarded.end_read(1);
                }
            })
        };
        guarded.begin_write(0, Dead::DontAsk);
        guarded.add_one();
        guarded.roster.die(tag(0));
        assert_eq!(guarded.begin_read(2, Dead::TakeOver), Taken::Recovered(tag(0)));
        guarded.end_read(2);
        reader.join().unwrap();
    });
}

#[test]
fn a_reader_that_takes_over_and_dies_is_taken_over_from() {
    bounded(3, || {
        let guarded = guarded();
        guarded.begin_write(0, Dead::DontAsk);
        guarded.add_one();
        guarded.roster.die(tag(0));
        let heir = {
            let guarded = Arc::clone(&guarded);
            thread::spawn(move || {
                // As far as a reader comes before it is killed: it has the lock.
                if guarded.lock.lock().poll(guarded.roster.caller(1), Dead::TakeOver).is_some() {
                    guarded.roster.die(tag(1));
                }
            })
        };
        let first = guarded.lock.poll_read(&guarded.held, guarded.roster.caller(2), Dead::TakeOver);
        if first.is_some() {
            guarded.look();
            guarded.end_read(2);
        }
        heir.join().unwrap();
        let taken = guarded.lock.poll_write(&guarded.held, guarded.roster.caller(2), Dead::TakeOver);
        assert!(matches!(taken, Some(Taken::Recovered(_))), "{first:?} {taken:?}");
        assert!(!matches!(first, Some(Taken::Free)), "{first:?} {taken:?}");
        guarded.add_one();
    });
}

#[test]
fn of_a_writer_that_died_while_it_waited_nobody_is_told() {
    bounded(3, || {
        let guarded = guarded();
        guarded.begin_read(0, Dead::DontAsk);
        let mut progress = Writing::default();
        let _ = guarded.lock.attempt_write(&guarded.held, guarded.roster.caller(1), &mut progress, Dead::DontAsk);
        guarded.roster.die(tag(1));
        let reader = {
            let guarded = Arc::clone(&guarded);
            thread::spawn(move || guarded.begin_read(2, Dead::TakeOver))
        };
        guarded.end_read(0);
        assert_eq!(guarded.begin_read(0, Dead::TakeOver), Taken::Free);
        assert_eq!(reader.join().unwrap(), Taken::Free);
    });
}
