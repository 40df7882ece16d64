//! Sleeping for a message, and for a slot. A wake-up that gets lost is a deadlock, which loom reports.

use loom::sync::Arc;
use loom::thread;
use samemap_core::subscriber::Policy;
use samemap_core::topic::audience::Start;

use super::{Publisher, bounded, feed};
use crate::drive::{tag, until_done};

#[test]
fn who_sleeps_for_a_message_is_woken() {
    bounded(3, || {
        let feed = feed(2, 2, 0);
        let sleeper = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                until_done(|| feed.channel().attempt_news(1));
                assert_eq!(feed.look(&mut 1), Some((1, 1)));
            })
        };
        Publisher::new(0).publish(&feed, 1);
        sleeper.join().unwrap();
    });
}

#[test]
fn who_sleeps_for_a_slot_is_woken_by_a_reader() {
    bounded(2, || {
        let feed = feed(2, 2, 1);
        let mut publisher = Publisher::new(0);
        let (place, mut cursor) = feed.subscribe(1, Policy::Block, Start::History(0));
        publisher.publish(&feed, 1);
        publisher.publish(&feed, 2);
        let reader = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                assert_eq!(feed.look(&mut cursor), Some((1, 1)));
                feed.channel().advance(place, cursor, 1, 0, true);
            })
        };
        loop {
            if publisher.publish(&feed, 3).is_some() {
                break;
            }
            until_done(|| feed.channel().attempt_room(feed.roster.caller(0), false));
        }
        reader.join().unwrap();
    });
}

#[test]
fn who_sleeps_for_a_slot_is_woken_by_an_unpin() {
    bounded(2, || {
        let feed = feed(2, 2, 1);
        let mut publisher = Publisher::new(0);
        publisher.publish(&feed, 1);
        let (place, _) = feed.subscribe(1, Policy::Drop, Start::History(1));
        publisher.publish(&feed, 2);
        let slot = feed.channel().find(1).unwrap();
        assert!(feed.channel().pin(place, slot, 1, 0));
        let reader = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                assert_eq!(feed.read_cell(slot), 1);
                feed.channel().unpin(place, slot);
                feed.channel().leave(place, tag(1));
            })
        };
        loop {
            if publisher.publish(&feed, 3).is_some() {
                break;
            }
            until_done(|| feed.channel().attempt_room(feed.roster.caller(0), false));
        }
        reader.join().unwrap();
    });
}
