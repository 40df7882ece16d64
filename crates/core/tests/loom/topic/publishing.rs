//! Publishers among themselves, and what a look at the ring shows.

use loom::sync::Arc;
use loom::thread;
use samemap_core::topic::Wanted;

use super::{Publisher, bounded, feed, join_all};
use crate::drive::tag;

/// Two publish at the same time; what is there afterwards.
#[test]
fn two_messages_at_once_both_count() {
    bounded(2, || {
        let feed = feed(3, 4, 0);
        let other = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || Publisher::new(1).publish(&feed, 11).unwrap())
        };
        let mine = Publisher::new(0).publish(&feed, 10).unwrap();
        let others = other.join().unwrap();
        assert_ne!(mine, others);
        assert_eq!(feed.channel().newest(), 2);
        let (mut cursor, mut seen) = (1, [0; 2]);
        for _ in 0..2 {
            let (seq, value) = feed.look(&mut cursor).unwrap();
            seen[seq as usize - 1] = value;
        }
        assert_eq!(seen, if mine == 1 { [10, 11] } else { [11, 10] });
        feed.all_slots_are_there(2);
    });
}

/// Numbers are seen in order: who knows of a later one finds the earlier one.
#[test]
fn no_message_is_seen_before_the_one_before_it() {
    bounded(2, || {
        let feed = feed(3, 4, 0);
        let publisher = |who: usize| {
            let feed = Arc::clone(&feed);
            move || {
                Publisher::new(who).publish(&feed, 10).unwrap();
                feed.order.point();
            }
        };
        let others = [thread::spawn(publisher(1)), thread::spawn(publisher(2))];
        feed.order.point();
        let newest = feed.channel().newest();
        let mut cursor = 1;
        for seq in 1..=newest {
            assert_eq!(feed.copy(&mut cursor, Wanted::Some).map(|(seq, _)| seq), Some(seq), "of {newest}");
        }
        join_all(others);
    });
}

/// The same where nobody has told the number, and the ring has gone round since.
#[test]
fn no_message_is_seen_before_those_that_nobody_has_told_of() {
    bounded(3, || {
        let feed = feed(2, 2, 0);
        let publisher = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                let mut publisher = Publisher::new(0);
                for _ in 0..3 {
                    let slot = publisher.take(&feed).unwrap();
                    publisher.commit(&feed, slot, 1);
                    feed.channel().let_go(slot, tag(0));
                    feed.order.point();
                }
            })
        };
        feed.order.point();
        let newest = feed.channel().newest();
        for seq in 1..=newest {
            assert!(feed.channel().is_news(seq), "{seq} of {newest}");
        }
        publisher.join().unwrap();
        assert_eq!(feed.channel().newest(), 3);
        assert_eq!(Publisher::new(1).publish(&feed, 1), Some(4));
    });
}
