//! The end of a queue, and of the work in it.

use loom::sync::Arc;
use loom::thread;
use samemap_core::bell::Attempt;
use samemap_core::queue::{Shape, Shut, Unput};

use super::{Hand, Line, Route, bounded, join_all, line, shape};
use crate::drive::{tag, until_done};

/// Takes all that there is until there will be no more, asleep in between.
fn get_all(line: &Line, who: usize) -> Vec<u64> {
    let (mut consumer, mut got) = (Hand::new(who), Vec::new());
    loop {
        until_done(|| line.store().attempt_news(0, line.roster.caller(who), false));
        match consumer.get(line) {
            Some((_, value)) => got.push(value),
            None if line.store().is_over() => return got,
            None => loom::thread::yield_now(),
        }
    }
}

/// Whatever was put is got before it is said to be over.
#[test]
fn what_was_put_before_the_end_is_got() {
    bounded(3, || {
        let line = line(shape(2, 2, 0));
        let producer = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                Hand::new(1).put(&line, 7)
            })
        };
        line.order.point();
        line.store().shut_down(false);
        let got = get_all(&line, 0);
        match producer.join().unwrap() {
            Ok(_) => assert_eq!(got, [7]),
            Err(refused) => assert_eq!((refused, got), (Unput::Shut, vec![])),
        }
        line.is_as_new();
    });
}

/// Nothing waits for ever in a queue that gives nothing out any more, which those who wait until all is done would wait for.
#[test]
fn what_is_put_while_it_is_shut_at_once_is_thrown_away() {
    bounded(3, || {
        let line = line(shape(2, 2, 0));
        let producer = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                let _ = Hand::new(1).put(&line, 7);
            })
        };
        line.order.point();
        line.store().shut_down(true);
        line.store().throw_away(tag(0));
        producer.join().unwrap();
        assert_eq!(line.store().unfinished(&line.roster, false), 0);
        line.is_as_new();
    });
}

/// All who wait come to know that it is over, also where one of them gets the last job.
#[test]
fn all_who_wait_are_told_of_the_end() {
    bounded(1, || {
        let line = line(shape(2, 2, 0));
        let mut producer = Hand::new(0);
        let grip = producer.fill(&line, 7, Route::default()).unwrap();
        let consumers = [1, 2].map(|who| {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                get_all(&line, who)
            })
        });
        line.order.point();
        let put = producer.commit(&line, 0, grip);
        line.store().shut_down(false);
        if let Ok(seq) = put {
            line.store().announce(0, seq, false);
        }
        assert_eq!(join_all(consumers).concat(), [7]);
        line.is_as_new();
    });
}

/// The same where the last job is put by one who began before the end.
#[test]
fn all_who_wait_are_told_of_the_end_by_the_last_producer() {
    bounded(2, || {
        let line = line(shape(2, 2, 0));
        let producer = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                Hand::new(0).put(&line, 7).is_ok()
            })
        };
        let consumer = {
            let line = Arc::clone(&line);
            thread::spawn(move || get_all(&line, 1))
        };
        line.store().shut_down(false);
        let mut got = get_all(&line, 2);
        got.extend(consumer.join().unwrap());
        let is_put = producer.join().unwrap();
        assert_eq!(got, if is_put { vec![7] } else { vec![] });
        line.is_as_new();
    });
}

/// The last one who might have put a job does not.
#[test]
fn one_who_waits_is_told_of_the_end_when_a_place_is_given_up() {
    bounded(3, || {
        let line = line(shape(2, 2, 0));
        let grip = Hand::new(0).fill(&line, 7, Route::default()).unwrap();
        line.store().shut_down(false);
        let consumer = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                get_all(&line, 1)
            })
        };
        line.order.point();
        line.store().abandon(grip, tag(0));
        assert_eq!(consumer.join().unwrap(), [0; 0]);
        line.is_as_new();
    });
}

/// The same where that one is dead.
#[test]
fn one_who_waits_is_told_of_the_end_when_a_dead_producer_is_found() {
    bounded(3, || {
        let line = line(shape(2, 2, 0));
        Hand::new(2).fill(&line, 7, Route::default()).unwrap();
        line.store().shut_down(false);
        line.roster.die(tag(2));
        let consumer = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                get_all(&line, 1)
            })
        };
        line.order.point();
        line.bury(0);
        assert_eq!(consumer.join().unwrap(), [0; 0]);
        line.is_as_new();
    });
}

/// Those who wait for room are told, too.
#[test]
fn one_who_waits_for_room_is_told_of_the_end() {
    bounded(3, || {
        let line = line(shape(1, 1, 0));
        Hand::new(0).put(&line, 7).unwrap();
        let producer = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                until_done(|| line.store().attempt_room(0, 0, 0, line.roster.caller(1), false));
                assert_ne!(line.store().shut(), Shut::Open);
            })
        };
        line.order.point();
        line.store().shut_down(true);
        producer.join().unwrap();
        assert!(line.store().is_over());
        assert_eq!(Hand::new(2).get(&line), None);
    });
}

/// One job has another one done, before it is done itself: all is not done in between.
#[test]
fn all_is_done_when_nothing_is_left() {
    bounded(3, || {
        let line = line(shape(2, 2, 0));
        let mut worker = Hand::new(1);
        worker.put(&line, 1).unwrap();
        // So that the second one gets the place before the first one's.
        let (first, _) = worker.lease(&line).unwrap();
        worker.put(&line, 2).unwrap();
        let (second, _) = worker.lease(&line).unwrap();
        assert!(worker.end(&line, first, || {}));
        let other = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                worker.put(&line, 3).unwrap();
                assert!(worker.end(&line, second, || {}));
                line.order.point();
            })
        };
        line.order.point();
        assert!(line.store().unfinished(&line.roster, false) > 0);
        other.join().unwrap();
    });
}

/// Who waits until all is done is told when it is.
#[test]
fn one_who_waits_until_all_is_done_is_told() {
    bounded(3, || {
        let line = line(shape(2, 2, 0));
        let mut producer = Hand::new(0);
        for value in 1..=2 {
            producer.put(&line, value).unwrap();
        }
        let worker = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                let mut worker = Hand::new(1);
                line.order.point();
                while worker.get(&line).is_some() {}
            })
        };
        line.order.point();
        until_done(|| line.store().attempt_finished(line.roster.caller(0), false));
        assert!(matches!(line.store().attempt_finished(line.roster.caller(0), false), Attempt::Done(())));
        worker.join().unwrap();
        line.is_as_new();
    });
}

/// Nothing is done before what was won in one step is counted, and then said to be done.
#[test]
fn what_is_won_counts_until_it_is_done() {
    bounded(2, || {
        let line = line(Shape { workers: 3, ..shape(2, 2, 0) });
        let mut producer = Hand::new(0);
        producer.put(&line, 1).unwrap();
        producer.put(&line, 2).unwrap();
        let consumers = [1, 2].map(|who| {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                Hand::new(who).win(&line)
            })
        });
        line.order.point();
        assert!(line.store().unfinished(&line.roster, false) > 0);
        assert!(join_all(consumers).iter().all(Option::is_some));
        for who in [1, 2] {
            assert!(matches!(line.store().attempt_finished(line.roster.caller(0), false), Attempt::Wait(_)));
            assert!(line.store().task_done(line.roster.caller(who)));
        }
        assert!(matches!(line.store().attempt_finished(line.roster.caller(0), false), Attempt::Done(())));
        line.is_as_new();
    });
}
