//! Views of a job that is another's by now: the job is freed once, and never while a view lives.

use loom::sync::Arc;
use loom::thread;
use samemap_core::queue::{Ended, Grip};

use super::{Hand, Line, OVER, Route, bounded, join_all, line, shape};
use crate::drive::tag;

/// Looks at a job once more, and lets go of it.
fn look_and_let_go(line: &Line, who: usize, grip: Grip) {
    let label = line.jobs[grip.at].read();
    line.look_at(grip.at, label);
    line.store().let_go(grip.at, grip.state.generation(), tag(who));
}

/// Given back with views, and acknowledged by another one while the first lets go; then the place is used anew.
#[test]
fn what_was_given_back_with_views_is_freed_once() {
    bounded(3, || {
        let line = line(shape(1, 1, 2));
        let mut keeper = Hand::new(0);
        keeper.put(&line, 9).unwrap();
        let (grip, _) = keeper.lease(&line).unwrap();
        assert_eq!(line.store().give_back(grip, tag(0), true), Ended::Done);
        let other = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                let mut other = Hand::new(1);
                line.order.point();
                assert_eq!(other.get(&line), Some((1, 9)));
                line.order.point();
                // Into what is free by now.
                other.put(&line, 10).is_ok()
            })
        };
        line.order.point();
        look_and_let_go(&line, 0, grip);
        if other.join().unwrap() {
            assert_eq!(keeper.get(&line), Some((2, 10)));
        }
        line.is_as_new();
    });
}

/// The same while it is being given back.
#[test]
fn one_who_gives_back_with_views_has_them_still() {
    bounded(2, || {
        let line = line(shape(1, 1, 2));
        let mut keeper = Hand::new(0);
        keeper.put(&line, 9).unwrap();
        let (grip, _) = keeper.lease(&line).unwrap();
        let other = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                let mut other = Hand::new(1);
                line.order.point();
                let got = other.get(&line).is_some();
                got && other.put(&line, 10).is_ok()
            })
        };
        line.order.point();
        assert_eq!(line.store().give_back(grip, tag(0), true), Ended::Done);
        look_and_let_go(&line, 0, grip);
        let is_anew = other.join().unwrap();
        assert_eq!(keeper.get(&line).is_some_and(|(_, value)| value == 10), is_anew);
        line.is_as_new();
    });
}

/// A lease that is over, with views, which two find out while a third gets the job and uses its place anew.
#[test]
fn views_of_a_lease_that_is_over_live_on() {
    bounded(2, || {
        let line = line(shape(1, 1, 2));
        let mut keeper = Hand::new(0);
        keeper.put(&line, 9).unwrap();
        let (grip, _) = keeper.lease_until(&line, OVER).unwrap();
        let others = [1, 2].map(|who| {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                let mut other = Hand::new(who);
                line.order.point();
                line.bury(who);
                if who == 2 && other.get(&line).is_some() {
                    let _ = other.put(&line, 10);
                }
            })
        });
        line.order.point();
        let label = line.jobs[grip.at].read();
        let ended = keeper.end(&line, grip, || line.look_at(grip.at, label));
        join_all(others);
        let left: Vec<_> = std::iter::from_fn(|| keeper.get(&line)).collect();
        assert!(!ended || left.is_empty());
        line.is_as_new();
    });
}

/// Views outlive the lease by far: two find out, and one of them frees it, before the holder knows.
#[test]
fn views_live_on_also_where_two_find_out() {
    bounded(2, || {
        let line = line(shape(1, 1, 2));
        let mut keeper = Hand::new(0);
        keeper.put(&line, 9).unwrap();
        let (grip, _) = keeper.lease_until(&line, OVER).unwrap();
        let label = line.jobs[grip.at].read();
        let others = [1, 2].map(|who| {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                let mut other = Hand::new(who);
                line.order.point();
                line.bury(who);
                line.order.point();
                if other.get(&line).is_some() {
                    let _ = other.put(&line, 10);
                }
            })
        });
        join_all(others);
        assert!(!keeper.end(&line, grip, || line.look_at(grip.at, label)));
        line.is_as_new();
    });
}

/// One who looked long ago, at another job in the same place, does not touch what is known of the present one.
#[test]
fn views_live_on_whoever_looks_at_the_job_before() {
    bounded(2, || {
        let line = line(shape(1, 1, 2));
        let mut keeper = Hand::new(0);
        keeper.put(&line, 9).unwrap();
        let (grip, _) = keeper.lease_until(&line, OVER).unwrap();
        let late = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                line.bury(1);
            })
        };
        line.order.point();
        if !keeper.end(&line, grip, || {}) {
            late.join().unwrap();
            return;
        }
        keeper.put(&line, 10).unwrap();
        let mut second = Hand::new(3);
        if let Some((grip, _)) = second.lease_until(&line, OVER) {
            let label = line.jobs[grip.at].read();
            line.bury(2);
            let mut other = Hand::new(2);
            if other.get(&line).is_some() {
                let _ = other.put(&line, 11);
            }
            late.join().unwrap();
            assert!(!second.end(&line, grip, || line.look_at(grip.at, label)));
        } else {
            late.join().unwrap();
        }
        while keeper.get(&line).is_some() {}
        line.is_as_new();
    });
}

/// What was filled in place, and is seen by its producer, is freed once: by the one who is done with it last.
#[test]
fn what_its_producer_sees_is_freed_once() {
    bounded(3, || {
        let line = line(shape(1, 1, 2));
        let mut producer = Hand::new(0);
        let filling = producer.fill(&line, 9, Route::default()).unwrap();
        let lent = line.store().lend(filling, line.jobs[filling.at].read(), 0, tag(0)).unwrap();
        let filling = line.store().resume(lent, tag(0)).unwrap();
        line.store().keep_views(filling, tag(0));
        let seq = producer.commit(&line, 0, filling).unwrap();
        let other = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                let mut other = Hand::new(1);
                line.order.point();
                let got = other.win(&line);
                line.order.point();
                // Into what is free by now.
                (got.is_some(), got.is_some() && other.put(&line, 10).is_ok())
            })
        };
        line.order.point();
        line.store().announce(0, seq, false);
        look_and_let_go(&line, 0, filling);
        let (got, is_anew) = other.join().unwrap();
        assert!(got, "it counted before the other began");
        assert_eq!(producer.get(&line).is_some_and(|(_, value)| value == 10), is_anew);
        line.is_as_new();
    });
}
