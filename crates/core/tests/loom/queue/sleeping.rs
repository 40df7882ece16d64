//! Nobody sleeps through what it waits for: a wake-up that gets lost is a deadlock.

use loom::sync::Arc;
use loom::thread;
use samemap_core::atomic::sleep;
use samemap_core::bell::Attempt;

use super::{Hand, Line, bounded, join_all, line, shape};
use crate::drive::tag;

/// A queue that is full, and a producer who waits, while somebody does something about it.
fn a_producer_is_woken(change: impl Fn(&Line, &mut Hand) + Send + Sync + Copy + 'static) {
    bounded(3, move || {
        let line = line(shape(1, 2, 2));
        Hand::new(0).put(&line, 9).unwrap();
        let producer = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                Hand::new(1).put_in_time(&line, 2)
            })
        };
        line.order.point();
        change(&line, &mut Hand::new(2));
        assert_eq!(producer.join().unwrap(), 2);
    });
}

#[test]
fn one_who_waits_for_room_is_woken_when_a_job_is_got() {
    a_producer_is_woken(|line, consumer| assert_eq!(consumer.get(line), Some((1, 9))));
}

#[test]
fn one_who_waits_for_room_is_woken_when_a_job_is_leased() {
    a_producer_is_woken(|line, consumer| assert!(consumer.lease(line).is_some()));
}

#[test]
fn one_who_waits_for_a_place_or_for_blocks_is_woken_when_a_job_is_done() {
    for (places, blocks) in [(1, 4), (2, 2)] {
        bounded(3, move || {
            let line = line(shape(1, places, blocks));
            let mut consumer = Hand::new(2);
            Hand::new(0).put(&line, 9).unwrap();
            let (grip, _) = consumer.lease(&line).unwrap();
            let producer = {
                let line = Arc::clone(&line);
                thread::spawn(move || {
                    line.order.point();
                    Hand::new(1).put_in_time(&line, 10)
                })
            };
            line.order.point();
            assert!(consumer.end(&line, grip, || {}));
            assert_eq!(producer.join().unwrap(), 2);
        });
    }
}

/// Two producers fill a queue for one, and one consumer empties it.
#[test]
fn two_who_wait_for_room_both_come_to_it() {
    bounded(1, || {
        let line = line(shape(1, 2, 0));
        let producers = [1, 2].map(|who| {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                Hand::new(who).put_in_time(&line, who as u64)
            })
        });
        let mut consumer = Hand::new(0);
        let mut got = [1, 2].map(|_| consumer.get_in_time(&line).1);
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
        join_all(producers);
        line.is_as_new();
    });
}

/// There are blocks for one message at a time.
#[test]
fn two_who_wait_for_the_same_blocks_both_get_them() {
    bounded(1, || {
        let line = line(shape(2, 3, 3));
        let producers = [1, 2].map(|who| {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                Hand::new(who).put_in_time(&line, 8 + who as u64)
            })
        });
        let mut consumer = Hand::new(0);
        let mut got = [1, 2].map(|_| consumer.get_in_time(&line).1);
        got.sort_unstable();
        assert_eq!(got, [9, 10]);
        join_all(producers);
        line.is_as_new();
    });
}

#[test]
fn two_who_wait_for_a_job_both_get_one() {
    bounded(2, || {
        let line = line(shape(2, 3, 0));
        let consumers = [1, 2].map(|who| {
            let line = Arc::clone(&line);
            thread::spawn(move || Hand::new(who).get_in_time(&line).0)
        });
        let mut producer = Hand::new(0);
        for value in 1..=2 {
            line.order.point();
            producer.put(&line, value).unwrap();
        }
        let mut got = join_all(consumers);
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
        line.is_as_new();
    });
}

/// The same with two producers, one of whom tells of what both have put.
#[test]
fn one_who_waits_for_the_jobs_of_two_producers_gets_both() {
    bounded(2, || {
        let line = line(shape(2, 3, 0));
        let producers = [1, 2].map(|who| {
            let line = Arc::clone(&line);
            thread::spawn(move || Hand::new(who).put(&line, who as u64).unwrap())
        });
        let mut consumer = Hand::new(0);
        assert_eq!([1, 2].map(|_| consumer.get_in_time(&line).0), [1, 2]);
        join_all(producers);
        line.is_as_new();
    });
}

/// The first is woken, and does not want the job any more.
#[test]
fn one_who_gives_up_passes_the_wake_up_on() {
    bounded(3, || {
        let line = line(shape(2, 2, 0));
        let Attempt::Wait(on) = line.store().attempt_news(0, line.roster.caller(1), false) else {
            panic!("of nothing")
        };
        let consumer = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                assert_eq!(Hand::new(2).get_in_time(&line), (1, 7));
                // The first one may have been left to sleep.
                line.store().wake_all(0);
            })
        };
        let producer = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                Hand::new(0).put(&line, 7).unwrap();
            })
        };
        line.order.point();
        sleep(on.word, on.expected);
        line.store().pass_on(0);
        join_all([consumer, producer]);
    });
}

#[test]
fn one_who_waits_for_a_job_is_woken_when_one_comes_back() {
    bounded(3, || {
        let line = line(shape(2, 2, 0));
        let mut first = Hand::new(0);
        first.put(&line, 7).unwrap();
        let (grip, _) = first.lease(&line).unwrap();
        let consumer = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                assert_eq!(Hand::new(1).get_in_time(&line), (1, 7));
            })
        };
        line.order.point();
        line.store().give_back(grip, tag(0), false);
        consumer.join().unwrap();
        line.is_as_new();
    });
}
