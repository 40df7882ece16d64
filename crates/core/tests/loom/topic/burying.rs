//! The dead: what they had is given back once, and what counts stays.

use loom::sync::Arc;
use loom::thread;
use samemap_core::subscriber::Policy;
use samemap_core::topic::Wanted;
use samemap_core::topic::audience::Start;

use super::{Feed, Publisher, bounded, feed, join_all};
use crate::drive::{tag, until_done};

/// Where a publisher dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    /// With a slot in its hands.
    Taken,
    /// With a message that counts, and the slot still in its hands, before anybody was told.
    Committed,
}

fn die_publishing(feed: &Feed, who: usize, death: Death) {
    let mut publisher = Publisher::new(who);
    if let Some(slot) = publisher.take(feed) {
        feed.write(slot, 7);
        if death == Death::Committed {
            publisher.commit(feed, slot, 7);
        }
    }
    feed.roster.die(tag(who));
}

/// Two bury one who dies meanwhile, and one of them publishes.
#[test]
fn what_a_dead_publisher_had_comes_back_once() {
    for death in [Death::Taken, Death::Committed] {
        bounded(2, move || {
            let feed = feed(3, 4, 0);
            let mut publisher = Publisher::new(0);
            publisher.publish(&feed, 7).unwrap();
            die_publishing(&feed, 1, death);
            let counted = feed.channel().newest();
            assert_eq!(counted, if death == Death::Committed { 2 } else { 1 });
            let other = {
                let feed = Arc::clone(&feed);
                thread::spawn(move || {
                    feed.order.point();
                    feed.channel().bury(feed.roster.caller(2));
                    feed.order.point();
                    // Whatever is in a slot that counts, it is the message of that number.
                    let mut cursor = counted;
                    assert!(feed.copy(&mut cursor, Wanted::Some).is_some());
                })
            };
            feed.order.point();
            feed.channel().bury(feed.roster.caller(0));
            feed.order.point();
            assert_eq!(publisher.publish(&feed, 7), Some(counted + 1));
            other.join().unwrap();
            feed.all_slots_are_there(0);
        });
    }
}

/// One dies while the other one looks after it: before, or after, or never found.
#[test]
fn a_death_at_any_time_leaves_what_counts() {
    for death in [Death::Taken, Death::Committed] {
        bounded(2, move || {
            let feed = feed(2, 2, 0);
            Publisher::new(0).publish(&feed, 7).unwrap();
            let victim = {
                let feed = Arc::clone(&feed);
                thread::spawn(move || {
                    feed.order.point();
                    die_publishing(&feed, 1, death);
                })
            };
            feed.order.point();
            feed.channel().bury(feed.roster.caller(2));
            victim.join().unwrap();
            feed.channel().bury(feed.roster.caller(2));
            let mut cursor = 1;
            while feed.copy(&mut cursor, Wanted::Some).is_some() {}
            assert_eq!(cursor, if death == Death::Committed { 3 } else { 2 });
            feed.all_slots_are_there(2);
        });
    }
}

/// Two bury a dead subscription with a pin while another one takes its place.
#[test]
fn the_pins_of_a_dead_subscription_go_and_those_of_the_next_stay() {
    bounded(2, || {
        let feed = feed(2, 2, 1);
        let mut publisher = Publisher::new(0);
        publisher.publish(&feed, 1).unwrap();
        let (place, _) = feed.subscribe(1, Policy::Block, Start::History(1));
        assert!(feed.channel().pin(place, 0, 1, 0));
        feed.roster.die(tag(1));
        let burier = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                feed.order.point();
                feed.channel().bury(feed.roster.caller(2));
            })
        };
        let joiner = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                feed.order.point();
                // It may find that another one is just clearing the place, and that there is none.
                let joined = feed.channel().subscribe(feed.roster.caller(3), Policy::Drop, Start::History(1), 0);
                let place = joined?.0;
                feed.order.point();
                assert!(feed.channel().pin(place, 0, 1, 0));
                Some(place)
            })
        };
        feed.order.point();
        feed.channel().bury(feed.roster.caller(0));
        burier.join().unwrap();
        let joined = joiner.join().unwrap();
        assert_eq!(feed.slots[0].pinned_by().collect::<Vec<_>>(), Vec::from_iter(joined));
        if let Some(place) = joined {
            assert!(feed.channel().is_subscribed(place, tag(3)));
            feed.channel().unpin(place, 0);
        }
        feed.all_slots_are_there(0);
    });
}

/// A publisher waits for a subscription that dies; others find out.
#[test]
fn one_who_waits_for_a_dead_subscription_is_woken_by_who_buries_it() {
    bounded(2, || {
        let feed = feed(2, 2, 1);
        feed.subscribe(1, Policy::Block, Start::History(0));
        let mut publisher = Publisher::new(0);
        for value in 1..=2 {
            publisher.publish(&feed, value).unwrap();
        }
        feed.roster.die(tag(1));
        let burier = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                feed.order.point();
                feed.channel().bury(feed.roster.caller(2));
            })
        };
        feed.order.point();
        until_done(|| feed.channel().attempt_room(feed.roster.caller(0), false));
        assert_eq!(publisher.publish(&feed, 3), Some(3));
        burier.join().unwrap();
    });
}

/// A publisher waits for the slot of one who died; others find out.
#[test]
fn one_who_waits_for_the_slot_of_the_dead_is_woken_by_who_buries_it() {
    bounded(3, || {
        let feed = feed(2, 2, 0);
        Publisher::new(0).publish(&feed, 7).unwrap();
        die_publishing(&feed, 1, Death::Taken);
        let burier = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                feed.order.point();
                feed.channel().bury(feed.roster.caller(2));
            })
        };
        feed.order.point();
        until_done(|| feed.channel().attempt_room(feed.roster.caller(0), false));
        assert_eq!(Publisher::new(0).publish(&feed, 7), Some(2));
        burier.join().unwrap();
    });
}

/// One who dies as it buries is buried by the next.
#[test]
fn one_who_dies_burying_is_buried() {
    bounded(2, || {
        let feed = feed(2, 2, 0);
        Publisher::new(0).publish(&feed, 7).unwrap();
        die_publishing(&feed, 1, Death::Taken);
        let others = [2, 3].map(|who| {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                feed.order.point();
                feed.channel().bury(feed.roster.caller(who));
                feed.roster.die(tag(who));
            })
        });
        feed.order.point();
        feed.channel().bury(feed.roster.caller(0));
        join_all(others);
        feed.channel().bury(feed.roster.caller(0));
        feed.all_slots_are_there(0);
    });
}
