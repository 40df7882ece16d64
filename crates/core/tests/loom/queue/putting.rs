//! Producers among themselves.

use loom::sync::Arc;
use loom::thread;
use samemap_core::queue::Unput;

use super::{Hand, bounded, join_all, line, shape};

#[test]
fn two_jobs_at_once_both_count() {
    for values in [[1, 2], [9, 10]] {
        bounded(2, move || {
            let line = line(shape(2, 3, 6));
            let other = {
                let line = Arc::clone(&line);
                thread::spawn(move || {
                    line.order.point();
                    Hand::new(1).put_in_time(&line, values[1])
                })
            };
            line.order.point();
            // In time: who meets another one among the blocks may find none for a moment.
            let seqs = [Hand::new(0).put_in_time(&line, values[0]), other.join().unwrap()];
            let mut consumer = Hand::new(2);
            let got = [1, 2].map(|seq| {
                let (number, value) = consumer.get(&line).unwrap();
                assert_eq!(number, seq);
                value
            });
            assert_eq!(got, if seqs[0] == 1 { values } else { [values[1], values[0]] });
            assert_eq!(consumer.get(&line), None);
            line.is_as_new();
        });
    }
}

/// One more may wait, and two try.
#[test]
fn no_more_jobs_wait_than_may() {
    bounded(2, || {
        let line = line(shape(2, 4, 0));
        Hand::new(0).put(&line, 1).unwrap();
        let producers = [1, 2].map(|who| {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                Hand::new(who).put(&line, 2)
            })
        });
        let puts = join_all(producers);
        assert_eq!(puts.iter().filter(|put| put.is_ok()).count(), 1, "{puts:?}");
        assert!(puts.contains(&Err(Unput::Full)));
        assert_eq!(line.store().depth(), 2);
    });
}

/// Two want the same blocks; at most one has them.
#[test]
fn a_block_is_of_one_message() {
    bounded(2, || {
        let line = line(shape(2, 3, 3));
        let producers = [0, 1].map(|who| {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.order.point();
                Hand::new(who).put(&line, 10).is_ok()
            })
        });
        let puts = join_all(producers).into_iter().filter(|put| *put).count();
        assert!(puts < 2);
        let mut consumer = Hand::new(2);
        for _ in 0..puts {
            assert_eq!(consumer.get(&line).map(|got| got.1), Some(10));
        }
        line.is_as_new();
        assert!(consumer.put(&line, 24).is_ok(), "all three");
    });
}
