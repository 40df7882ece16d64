//! Producers against consumers: each job is got once, whole, and in order.

use loom::sync::Arc;
use loom::thread;

use super::{Hand, bounded, join_all, line, shape};

#[test]
fn a_job_is_got_once() {
    bounded(3, || {
        let line = line(shape(2, 2, 2));
        Hand::new(0).put(&line, 9).unwrap();
        let consumers = [1, 2].map(|who| {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                Hand::new(who).get(&line)
            })
        });
        let got = join_all(consumers);
        assert_eq!(got.iter().flatten().collect::<Vec<_>>(), [&(1, 9)], "{got:?}");
        line.is_as_new();
    });
}

/// All that was put is got, by two who come at any time; each gets it in order.
#[test]
fn every_job_is_got_by_one_of_two() {
    bounded(2, || {
        let line = line(shape(2, 3, 0));
        let consumers = [1, 2].map(|who| {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                let mut consumer = Hand::new(who);
                line.order.point();
                let first = consumer.get(&line);
                line.order.point();
                [first, consumer.get(&line)]
            })
        });
        let mut producer = Hand::new(0);
        for value in 1..=2 {
            line.order.point();
            assert_eq!(producer.put(&line, value), Ok(value));
        }
        let mut seen = Vec::new();
        for got in join_all(consumers) {
            let got: Vec<_> = got.into_iter().flatten().collect();
            assert!(got.is_sorted());
            seen.extend(got);
        }
        seen.extend(std::iter::from_fn(|| Hand::new(3).get(&line)));
        seen.sort_unstable();
        assert_eq!(seen, [(1, 1), (2, 2)]);
        line.is_as_new();
    });
}

/// One gets many while another wins them one by one, and a third is put meanwhile.
#[test]
fn who_gets_many_gets_what_others_do_not() {
    bounded(2, || {
        let line = line(shape(2, 3, 2));
        let mut producer = Hand::new(0);
        producer.put(&line, 1).unwrap();
        producer.put(&line, 2).unwrap();
        let many = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                Hand::new(1).get_many(&line, 2)
            })
        };
        let one = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                Vec::from_iter(Hand::new(2).win(&line))
            })
        };
        // There may be room by now, or not.
        let third = producer.put(&line, 3);
        let mut seen = Vec::new();
        for got in join_all([many, one]) {
            assert!(got.is_sorted());
            seen.extend(got);
        }
        seen.extend(std::iter::from_fn(|| Hand::new(3).get(&line)));
        seen.sort_unstable();
        assert_eq!(seen, [(1, 1), (2, 2), (3, 3)][..if third.is_ok() { 3 } else { 2 }]);
        line.is_as_new();
    });
}

/// With two producers, too; who gets the second job has seen that there is none before it any more.
#[test]
fn jobs_of_two_producers_come_in_order() {
    bounded(2, || {
        let line = line(shape(2, 3, 0));
        let producers = [1, 2].map(|who| {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                Hand::new(who).put(&line, who as u64).unwrap()
            })
        });
        let mut consumer = Hand::new(0);
        line.order.point();
        let mut got = Vec::from_iter(consumer.get(&line));
        line.order.point();
        got.extend(consumer.get(&line));
        let seqs = join_all(producers);
        got.extend(std::iter::from_fn(|| consumer.get(&line)));
        assert_eq!(got.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(got.iter().map(|(_, value)| seqs[*value as usize - 1]).collect::<Vec<_>>(), [1, 2]);
        line.is_as_new();
    });
}

/// The place and the ring's word are used again, while consumers look.
#[test]
fn a_place_is_written_to_when_nobody_reads_it() {
    bounded(2, || {
        let line = line(shape(1, 1, 2));
        let mut producer = Hand::new(0);
        producer.put(&line, 9).unwrap();
        let consumers = [1, 2].map(|who| {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                Hand::new(who).get(&line)
            })
        });
        line.order.point();
        let second = producer.put(&line, 10);
        let mut got: Vec<_> = join_all(consumers).into_iter().flatten().collect();
        got.extend(producer.get(&line));
        got.sort_unstable();
        assert_eq!(got, if second.is_ok() { vec![(1, 9), (2, 10)] } else { vec![(1, 9)] });
        line.is_as_new();
    });
}

/// What is got in one step is got once and whole, while its place is used anew.
#[test]
fn a_small_job_is_won_by_one_of_two() {
    bounded(3, || {
        let line = line(shape(2, 2, 0));
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
        let third = producer.put(&line, 3).is_ok();
        let mut seen: Vec<_> = join_all(consumers).into_iter().flatten().collect();
        assert_eq!(seen.len(), 2, "each found one");
        seen.extend(std::iter::from_fn(|| Hand::new(3).win(&line)));
        seen.sort_unstable();
        assert_eq!(seen, (1..=2 + u64::from(third)).map(|number| (number, number)).collect::<Vec<_>>());
        line.is_as_new();
    });
}

/// What is won in one step is not leased by another, and what is given back is won.
#[test]
fn a_small_job_is_won_or_leased() {
    bounded(3, || {
        let line = line(shape(2, 2, 0));
        Hand::new(0).put(&line, 1).unwrap();
        let other = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                let mut worker = Hand::new(1);
                line.order.point();
                let (grip, _) = worker.lease(&line)?;
                line.order.point();
                line.store().give_back(grip, crate::drive::tag(1), false);
                Some(())
            })
        };
        let mut consumer = Hand::new(2);
        line.order.point();
        let got = consumer.win(&line);
        let was_leased = other.join().unwrap().is_some();
        let rest = consumer.win(&line);
        assert_eq!([got, rest].into_iter().flatten().collect::<Vec<_>>(), [(1, 1)], "{was_leased}");
        line.is_as_new();
    });
}
