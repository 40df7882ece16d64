//! Subscriptions that publishers wait for: joining and advancing, against publishers who take the oldest slot.

use loom::sync::Arc;
use loom::thread;
use samemap_core::subscriber::Policy;
use samemap_core::topic::audience::Start;

use super::{Feed, Publisher, bounded, feed, join_all};
use crate::drive::tag;

/// Joins while others publish, and gets all from its first one on, whatever they take.
fn join_and_read_all(feed: &Feed, history: u64) {
    feed.order.point();
    let (_, start) = feed.subscribe(3, Policy::Block, Start::History(history));
    feed.order.point();
    let mut cursor = start;
    for expected in start.. {
        let before = cursor;
        // Without a look afterwards: nobody writes where it has not passed.
        match feed.look(&mut cursor) {
            Some((seq, _)) => assert_eq!(seq, expected, "from {start} on"),
            None => {
                assert_eq!(cursor, before, "one is gone, from {start} on");
                break;
            }
        }
    }
}

#[test]
fn from_its_first_message_on_a_subscription_that_blocks_loses_none() {
    for (messages, history) in [(1, 2), (2, 1), (2, 0)] {
        bounded(2, move || {
            let feed = feed(2, 2, 1);
            let mut publisher = Publisher::new(0);
            for value in 1..=2 {
                publisher.publish(&feed, value).unwrap();
            }
            let reader = {
                let feed = Arc::clone(&feed);
                thread::spawn(move || join_and_read_all(&feed, history))
            };
            for value in 3..3 + messages {
                feed.order.point();
                publisher.publish(&feed, value);
            }
            reader.join().unwrap();
        });
    }
}

/// The newest message is had as history also while whoever has published it has its slot in hands.
#[test]
fn one_who_asks_for_the_newest_gets_it() {
    bounded(3, || {
        let feed = feed(2, 2, 1);
        let mut publisher = Publisher::new(0);
        publisher.publish(&feed, 1).unwrap();
        let joiner = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                feed.order.point();
                let (_, mut cursor) = feed.subscribe(1, Policy::Block, Start::History(1));
                assert!(feed.look(&mut cursor).is_some());
            })
        };
        feed.order.point();
        publisher.publish(&feed, 2).unwrap();
        joiner.join().unwrap();
    });
}

/// One has joined and left before, so that the publisher has to find out anew whom it waits for, while another one joins.
#[test]
fn a_publisher_that_is_finding_out_misses_nobody_who_joins() {
    bounded(3, || {
        let feed = feed(2, 2, 1);
        let mut publisher = Publisher::new(0);
        for value in 1..=2 {
            publisher.publish(&feed, value).unwrap();
        }
        let (place, _) = feed.subscribe(2, Policy::Block, Start::History(0));
        feed.channel().leave(place, tag(2));
        let reader = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || join_and_read_all(&feed, 1))
        };
        for value in 3..=4 {
            feed.order.point();
            publisher.publish(&feed, value);
        }
        reader.join().unwrap();
    });
}

/// Two publishers, who come to different slots: one of them may leave a gap behind.
#[test]
fn no_gap_is_left_by_one_of_two_publishers() {
    bounded(2, || {
        let feed = feed(3, 4, 1);
        let mut publisher = Publisher::new(0);
        for value in 1..=3 {
            publisher.publish(&feed, value).unwrap();
        }
        let reader = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || join_and_read_all(&feed, 3))
        };
        let other = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                let mut publisher = Publisher::new(1);
                feed.order.point();
                if let Some(slot) = publisher.take(&feed) {
                    feed.channel().let_go(slot, tag(1));
                }
            })
        };
        feed.order.point();
        if let Some(slot) = publisher.take(&feed) {
            feed.channel().let_go(slot, tag(0));
        }
        join_all([reader, other]);
    });
}

/// What a subscription has not passed is left to it, and what it has passed may be written over: it needs no pin.
#[test]
fn nobody_writes_into_what_a_subscription_has_not_passed() {
    bounded(3, || {
        let feed = feed(2, 2, 1);
        let (place, start) = feed.subscribe(1, Policy::Block, Start::History(0));
        let mut publisher = Publisher::new(0);
        for value in 1..=2 {
            assert_eq!(publisher.publish(&feed, value), Some(value));
        }
        let reader = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                let mut cursor = start;
                for expected in 1..=2 {
                    assert_eq!(feed.look(&mut cursor), Some((expected, expected)));
                    feed.channel().advance(place, cursor, expected, 0, false);
                    feed.order.point();
                }
            })
        };
        feed.order.point();
        let third = publisher.publish(&feed, 3);
        reader.join().unwrap();
        assert!(matches!(third, None | Some(3)));
        let next = feed.channel().newest() + 1;
        assert_eq!(publisher.publish(&feed, next), Some(next), "it has passed");
    });
}

/// A place that is left and taken again: who looks sees the old subscription or the new one, and no mixture.
#[test]
fn a_place_tells_of_one_subscription_at_a_time() {
    bounded(2, || {
        let feed = feed(2, 2, 1);
        let (place, _) = feed.subscribe(1, Policy::Drop, Start::At(10));
        let joiner = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                feed.channel().leave(place, tag(1));
                assert_eq!(feed.subscribe(2, Policy::Block, Start::At(20)), (place, 20));
                feed.order.point();
            })
        };
        feed.order.point();
        if let Some((_, progress)) = feed.channel().progress().next() {
            if progress.tag == tag(2) {
                assert_eq!((progress.policy, progress.cursor), (Policy::Block, 20));
            } else {
                assert_eq!(progress.tag, tag(1));
            }
        }
        joiner.join().unwrap();
    });
}

/// What the last one at a place has noted is not taken for the next one's.
#[test]
fn the_next_one_at_a_place_begins_anew() {
    bounded(3, || {
        let feed = feed(2, 2, 1);
        let (place, _) = feed.subscribe(1, Policy::Drop, Start::At(10));
        let leaver = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                feed.channel().advance(place, 11, 5, 6, false);
                feed.channel().leave(place, tag(1));
                feed.order.point();
            })
        };
        feed.order.point();
        if feed.channel().subscribe(feed.roster.caller(2), Policy::Drop, Start::At(20), 0).is_some() {
            let (_, progress) = feed.channel().progress().next().unwrap();
            assert_eq!((progress.cursor, progress.received, progress.missed), (20, 0, 0));
        }
        leaver.join().unwrap();
    });
}

/// One leaves and another joins at the same place, with a message pinned all the while.
#[test]
fn the_next_one_at_a_place_keeps_its_pin() {
    bounded(2, || {
        let feed = feed(2, 2, 1);
        let mut publisher = Publisher::new(0);
        publisher.publish(&feed, 1).unwrap();
        let (place, _) = feed.subscribe(1, Policy::Drop, Start::History(1));
        assert!(feed.channel().pin(place, 0, 1, 0));
        let leaver = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || feed.channel().leave(place, tag(1)))
        };
        feed.order.point();
        let joined = feed.channel().subscribe(feed.roster.caller(2), Policy::Drop, Start::History(1), 0);
        if let Some((place, _)) = joined {
            assert!(feed.channel().pin(place, 0, 1, 0));
        }
        leaver.join().unwrap();
        assert_eq!(feed.slots[0].is_pinned(), joined.is_some());
    });
}

/// When it leaves, publishers need not wait for it any more.
#[test]
fn one_who_leaves_holds_nobody_up() {
    bounded(2, || {
        let feed = feed(2, 2, 1);
        let (place, _) = feed.subscribe(1, Policy::Block, Start::History(0));
        let mut publisher = Publisher::new(0);
        for value in 1..=2 {
            publisher.publish(&feed, value).unwrap();
        }
        let reader = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || feed.channel().leave(place, tag(1)))
        };
        feed.order.point();
        let third = publisher.publish(&feed, 3);
        reader.join().unwrap();
        let next = third.unwrap_or(2) + 1;
        assert_eq!(publisher.publish(&feed, next), Some(next));
    });
}
