//! Readers against a publisher that takes slots from under them.

use loom::sync::Arc;
use loom::thread;
use samemap_core::subscriber::Policy;
use samemap_core::topic::Wanted;
use samemap_core::topic::audience::Start;

use super::{Publisher, bounded, feed};

/// Two slots and two messages: the next message goes over the first one.
fn over_the_first(read: fn(&super::Feed, usize, &mut u64) -> Option<(u64, u64)>) {
    bounded(3, move || {
        let feed = feed(2, 2, 1);
        let mut publisher = Publisher::new(0);
        publisher.publish(&feed, 1);
        publisher.publish(&feed, 2);
        let (place, mut cursor) = feed.subscribe(1, Policy::Drop, Start::History(2));
        assert_eq!(cursor, 1);
        let reader = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                if let Some((seq, value)) = read(&feed, place, &mut cursor) {
                    assert_eq!(seq, value, "every message says its number");
                }
            })
        };
        publisher.publish(&feed, 3);
        reader.join().unwrap();
    });
}

#[test]
fn a_copy_is_never_torn() {
    over_the_first(|feed, _, cursor| feed.copy(cursor, Wanted::Some));
}

#[test]
fn what_is_pinned_is_not_written() {
    over_the_first(|feed, place, cursor| feed.pin(place, cursor));
}

#[test]
fn the_newest_is_always_there() {
    bounded(3, || {
        let feed = feed(2, 2, 0);
        let mut publisher = Publisher::new(0);
        publisher.publish(&feed, 1);
        let reader = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                let found = feed.copy(&mut 1, Wanted::Newest);
                // Overtaken twice while it read is the one way to find nothing.
                assert!(found.is_some() || feed.channel().newest() > 1);
            })
        };
        publisher.publish(&feed, 2);
        publisher.publish(&feed, 3);
        reader.join().unwrap();
    });
}
