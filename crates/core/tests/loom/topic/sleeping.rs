//! Nobody sleeps through what it waits for: a wake-up that gets lost is a deadlock.

use loom::sync::Arc;
use loom::thread;
use samemap_core::subscriber::Policy;
use samemap_core::topic::Wanted;
use samemap_core::topic::audience::Start;

use super::{Feed, Publisher, bounded, feed, join_all};
use crate::drive::{tag, until_done};

impl Publisher {
    /// Publishes, asleep until there is a slot.
    fn publish_in_time(&mut self, feed: &Feed, value: u64) -> u64 {
        loop {
            if let Some(seq) = self.publish(feed, value) {
                return seq;
            }
            until_done(|| feed.channel().attempt_room(feed.roster.caller(self.who), false));
        }
    }
}

/// Two slots with a message each, and a publisher who needs one of them, while somebody does something about it.
fn a_publisher_is_woken(
    preemptions: usize,
    prepare: fn(&Feed, &mut Publisher),
    change: impl Fn(&Feed, &mut Publisher) + Send + Sync + Copy + 'static,
) {
    bounded(preemptions, move || {
        let feed = feed(2, 2, 1);
        let mut first = Publisher::new(0);
        prepare(&feed, &mut first);
        let sleeper = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                feed.order.point();
                Publisher::new(1).publish_in_time(&feed, 9)
            })
        };
        feed.order.point();
        change(&feed, &mut first);
        sleeper.join().unwrap();
    });
}

#[test]
fn all_who_wait_for_a_message_are_woken() {
    bounded(2, || {
        let feed = feed(2, 2, 0);
        let sleepers = [1, 2].map(|_| {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                let mut cursor = 1;
                until_done(|| feed.channel().attempt_news(cursor));
                assert_eq!(feed.copy(&mut cursor, Wanted::Some), Some((1, 5)), "it is whole");
            })
        });
        assert_eq!(Publisher::new(0).publish(&feed, 5), Some(1));
        join_all(sleepers);
    });
}

/// Two publish, and one of them announces what both have; a subscriber sleeps until it has both.
#[test]
fn one_who_waits_for_two_messages_of_two_publishers_is_woken() {
    bounded(2, || {
        let feed = feed(3, 4, 0);
        let publishers = [0, 1].map(|who| {
            let feed = Arc::clone(&feed);
            thread::spawn(move || assert!(Publisher::new(who).publish(&feed, 5).is_some()))
        });
        let mut cursor = 1;
        for seq in 1..=2 {
            until_done(|| feed.channel().attempt_news(cursor));
            assert_eq!(feed.copy(&mut cursor, Wanted::Some), Some((seq, 5)));
        }
        join_all(publishers);
    });
}

fn two_messages(feed: &Feed, publisher: &mut Publisher) {
    for value in 1..=2 {
        publisher.publish(feed, value).unwrap();
    }
}

#[test]
fn one_who_waits_for_a_slot_is_woken_when_a_pin_is_cleared() {
    let pin = |feed: &Feed, publisher: &mut Publisher| {
        two_messages(feed, publisher);
        let (place, _) = feed.subscribe(2, Policy::Drop, Start::History(2));
        assert!(feed.channel().pin(place, 0, 1, 0));
    };
    a_publisher_is_woken(3, pin, |feed, _| feed.channel().unpin(0, 0));
}

/// The pin came too late, and is taken back; but the publisher may have seen it.
#[test]
fn one_who_waits_for_a_slot_is_woken_when_a_pin_fails() {
    let subscribe = |feed: &Feed, publisher: &mut Publisher| {
        two_messages(feed, publisher);
        feed.subscribe(2, Policy::Drop, Start::History(2));
    };
    a_publisher_is_woken(3, subscribe, |feed, _| {
        if feed.channel().pin(0, 0, 1, 0) {
            feed.channel().unpin(0, 0);
        }
    });
}

#[test]
fn one_who_waits_for_a_slot_is_woken_when_a_subscription_goes_on() {
    let block = |feed: &Feed, publisher: &mut Publisher| {
        feed.subscribe(2, Policy::Block, Start::History(0));
        two_messages(feed, publisher);
    };
    a_publisher_is_woken(3, block, |feed, _| feed.channel().advance(0, 2, 1, 0, true));
}

#[test]
fn one_who_waits_for_a_slot_is_woken_when_a_subscription_ends() {
    let block = |feed: &Feed, publisher: &mut Publisher| {
        feed.subscribe(2, Policy::Block, Start::History(0));
        two_messages(feed, publisher);
    };
    a_publisher_is_woken(3, block, |feed, _| feed.channel().end(0, tag(2)));
    a_publisher_is_woken(2, block, |feed, _| feed.channel().leave(0, tag(2)));
}

/// One of two slots is the newest message's, and the other one in somebody's hands, who publishes or does not.
#[test]
fn one_who_waits_for_a_slot_is_woken_when_another_publishes() {
    let one_message = |feed: &Feed, publisher: &mut Publisher| {
        publisher.publish(feed, 1).unwrap();
    };
    a_publisher_is_woken(2, one_message, |feed, publisher| {
        publisher.publish(feed, 2);
    });
    a_publisher_is_woken(2, one_message, |feed, publisher| {
        if let Some(slot) = publisher.take(feed) {
            feed.channel().let_go(slot, tag(0));
            feed.channel().ring_for_room();
        }
    });
}

/// A message that counts, and of which others have told already when its slot is let go of.
#[test]
fn one_who_waits_for_a_slot_is_woken_when_others_have_told_of_a_later_message() {
    bounded(3, || {
        let feed = feed(3, 4, 1);
        let (mut first, mut second) = (Publisher::new(0), Publisher::new(1));
        first.publish(&feed, 1).unwrap();
        let (place, _) = feed.subscribe(2, Policy::Drop, Start::History(1));
        assert!(feed.channel().pin(place, 0, 1, 0));
        let (slot, other) = (first.take(&feed).unwrap(), second.take(&feed).unwrap());
        assert_eq!((first.commit(&feed, slot, 1), second.finish(&feed, other, 1)), (2, 3));
        let sleeper = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                feed.order.point();
                Publisher::new(3).publish_in_time(&feed, 9)
            })
        };
        feed.order.point();
        feed.channel().let_go(slot, tag(0));
        feed.channel().announce(2);
        sleeper.join().unwrap();
    });
}

/// With two slots only one can publish at a time; both come to it.
#[test]
fn two_who_wait_for_the_same_slot_both_get_it() {
    bounded(1, || {
        let feed = feed(2, 2, 0);
        Publisher::new(2).publish(&feed, 1).unwrap();
        let publishers = [0, 1].map(|who| {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                feed.order.point();
                Publisher::new(who).publish_in_time(&feed, 5)
            })
        });
        let mut seen = publishers.map(|publisher| publisher.join().unwrap());
        seen.sort_unstable();
        assert_eq!(seen, [2, 3]);
    });
}

#[test]
fn one_who_waits_for_subscribers_is_woken() {
    bounded(3, || {
        let feed = feed(2, 2, 1);
        let joiner = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                feed.order.point();
                feed.subscribe(1, Policy::Drop, Start::History(0));
            })
        };
        feed.order.point();
        until_done(|| feed.channel().attempt_audience(feed.roster.caller(0), 1));
        joiner.join().unwrap();
    });
}
