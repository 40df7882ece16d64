//! Jobs that come back, by those who had them or because their time is over.

use loom::sync::Arc;
use loom::thread;
use samemap_core::queue::Ended;

use super::{Hand, OVER, bounded, join_all, line, shape};
use crate::drive::tag;

/// Two jobs are given back by two, while a third takes what there is, until it has both.
#[test]
fn what_is_given_back_is_taken_again() {
    bounded(2, || {
        let line = line(shape(2, 2, 0));
        let mut first = Hand::new(0);
        for value in 1..=2 {
            first.put(&line, value).unwrap();
        }
        let leases = [1, 2].map(|who| (who, Hand::new(who).lease(&line).unwrap().0));
        let holders = leases.map(|(who, grip)| {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                assert_eq!(line.store().give_back(grip, tag(who), false), Ended::Done);
            })
        });
        line.order.point();
        let mut got = [1, 2].map(|_| first.get_in_time(&line));
        got.sort_unstable();
        assert_eq!(got, [(1, 1), (2, 2)]);
        join_all(holders);
        line.is_as_new();
    });
}

/// Two take while one gives back and a producer puts: nothing is got twice, and nothing is forgotten.
#[test]
fn what_is_given_back_is_got_once() {
    bounded(2, || {
        let line = line(shape(2, 3, 0));
        let mut first = Hand::new(0);
        first.put(&line, 1).unwrap();
        let (grip, _) = first.lease(&line).unwrap();
        first.put(&line, 2).unwrap();
        let consumers = [1, 2].map(|who| {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                Hand::new(who).get(&line)
            })
        });
        line.order.point();
        assert_eq!(line.store().give_back(grip, tag(0), false), Ended::Done);
        let mut got: Vec<_> = join_all(consumers).into_iter().flatten().collect();
        got.extend(std::iter::from_fn(|| first.get(&line)));
        got.sort_unstable();
        assert_eq!(got, [(1, 1), (2, 2)]);
        line.is_as_new();
    });
}

/// One who has taken a job lost it before it raised the lane's head: what has come back is found whether the lane has it or
/// not, also by one who looked in between.
#[test]
fn what_comes_back_is_found_whoever_raises_the_head() {
    bounded(3, || {
        let line = line(shape(1, 1, 0));
        let mut first = Hand::new(0);
        first.put(&line, 7).unwrap();
        let slow = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                let mut slow = Hand::new(1);
                // Without a look at what is in it: that may be another's by now.
                let taken = line.store().take(&mut slow.memory, 0, tag(1), 0, OVER);
                taken.is_some_and(|(grip, _)| slow.end(&line, grip, || {}))
            })
        };
        line.order.point();
        line.bury(0);
        let got = first.get(&line);
        let is_ended = slow.join().unwrap();
        let last = first.get(&line);
        assert!(is_ended || got.or(last).is_some(), "forgotten");
        line.is_as_new();
    });
}

/// A lease that is over: either its holder ends the job, or another one gets it.
#[test]
fn a_lease_that_is_over_is_ended_once() {
    bounded(3, || {
        let line = line(shape(1, 1, 2));
        let mut holder = Hand::new(0);
        holder.put(&line, 9).unwrap();
        let (grip, _) = holder.lease_until(&line, OVER).unwrap();
        let burier = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                line.bury(1);
                Hand::new(1).get(&line)
            })
        };
        line.order.point();
        let ended = holder.end(&line, grip, || {});
        let got = burier.join().unwrap();
        assert_eq!((ended, got), if ended { (true, None) } else { (false, Some((1, 9))) });
        line.is_as_new();
    });
}

/// The same where it gives it back: it comes back once.
#[test]
fn a_lease_that_is_over_is_given_back_once() {
    bounded(3, || {
        let line = line(shape(1, 1, 2));
        let mut holder = Hand::new(0);
        holder.put(&line, 9).unwrap();
        let (grip, _) = holder.lease_until(&line, OVER).unwrap();
        let burier = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                line.bury(1);
            })
        };
        line.order.point();
        if line.store().give_back(grip, tag(0), false) == Ended::Lost {
            line.store().let_go(grip.at, grip.state.generation(), tag(0));
        }
        burier.join().unwrap();
        let mut other = Hand::new(2);
        assert_eq!(other.get(&line), Some((1, 9)));
        assert_eq!(other.get(&line), None);
        line.is_as_new();
    });
}

/// Whoever gets a job whose last lease was over has it for as long as it said, and not for as long as the last one had.
#[test]
fn a_lease_is_not_over_because_the_last_one_was() {
    bounded(3, || {
        let line = line(shape(1, 1, 0));
        let mut holder = Hand::new(0);
        holder.put(&line, 5).unwrap();
        holder.lease_until(&line, OVER).unwrap();
        line.bury(1);
        let burier = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                line.bury(2);
            })
        };
        let mut other = Hand::new(3);
        line.order.point();
        let before = other.lease(&line);
        let ended = before.map(|(grip, _)| other.end(&line, grip, || {}));
        burier.join().unwrap();
        assert!(ended.is_none_or(|ended| ended), "taken away");
    });
}

/// One that has lost its job wants it for longer: that is not the next one's affair.
#[test]
fn a_lease_is_extended_by_its_holder_only() {
    bounded(3, || {
        let line = line(shape(1, 1, 0));
        let mut holder = Hand::new(0);
        holder.put(&line, 5).unwrap();
        let (grip, _) = holder.lease_until(&line, OVER).unwrap();
        let late = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                line.store().extend(grip, OVER)
            })
        };
        line.order.point();
        line.bury(1);
        let mut other = Hand::new(1);
        let (grip, _) = other.lease(&line).unwrap();
        line.order.point();
        let is_extended = late.join().unwrap();
        line.bury(2);
        assert!(other.end(&line, grip, || {}), "taken away, {is_extended}");
    });
}
