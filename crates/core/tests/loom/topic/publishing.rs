//! Publishers among themselves, and what a look at the ring shows.

use loom::sync::Arc;
use loom::thread;
use samemap_core::topic::Wanted;

use super::{Feed, Publisher, bounded, feed, join_all};

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

/// The same where one counts a message behind another's, which that one has told nobody of.
#[test]
fn who_counts_behind_a_message_carries_it_along() {
    bounded(3, || {
        let feed = feed(3, 4, 0);
        let (mut first, mut second) = (Publisher::new(0), Publisher::new(1));
        let slots = [first.take(&feed).unwrap(), second.take(&feed).unwrap()];
        let others = [
            {
                let feed = Arc::clone(&feed);
                thread::spawn(move || _ = first.commit(&feed, slots[0], 1))
            },
            {
                let feed = Arc::clone(&feed);
                thread::spawn(move || feed.channel().announce(second.commit(&feed, slots[1], 1)))
            },
        ];
        feed.order.point();
        if feed.channel().newest() == 2 {
            assert!(feed.channel().is_news(1));
        }
        join_all(others);
    });
}

/// The same where the ring has gone round since anybody has told of a number: who knows of the newest message finds the
/// one before it.
#[test]
fn no_message_is_seen_before_those_that_nobody_has_told_of() {
    for tells in [false, true] {
        bounded(3, move || {
            let feed = feed(3, 2, 0);
            // Counted as they come, whoever has the slots: only numbers matter here.
            let count = |feed: &Feed, slot, hope| feed.channel().commit(slot, hope).unwrap();
            assert_eq!((count(&feed, 0, 1), count(&feed, 1, 2)), (1, 2));
            let others = [
                {
                    let feed = Arc::clone(&feed);
                    thread::spawn(move || {
                        feed.order.point();
                        let (third, fourth) = (count(&feed, 0, 3), count(&feed, 1, 4));
                        assert!(third < fourth);
                        if tells {
                            feed.channel().announce(fourth);
                        }
                        feed.order.point();
                    })
                },
                {
                    let feed = Arc::clone(&feed);
                    thread::spawn(move || {
                        feed.order.point();
                        count(&feed, 2, 1);
                        feed.order.point();
                    })
                },
            ];
            feed.order.point();
            let newest = feed.channel().newest();
            assert!(feed.channel().is_news(newest - 1), "{newest}");
            join_all(others);
            assert_eq!(feed.channel().newest(), 5);
        });
    }
}
