//! Publishers who take a slot again, against readers who copy and readers who pin.

use loom::sync::Arc;
use loom::thread;
use samemap_core::subscriber::Policy;
use samemap_core::topic::Wanted;
use samemap_core::topic::audience::Start;

use super::{Feed, Publisher, bounded, feed, join_all};
use crate::drive::tag;

/// Two slots, and a message in each, of participant 0: 1 and 2.
fn two_messages(subscribers: usize) -> (Arc<Feed>, Publisher) {
    let feed = feed(2, 2, subscribers);
    let mut publisher = Publisher::new(0);
    for value in 1..=2 {
        assert_eq!(publisher.publish(&feed, value), Some(value));
    }
    (feed, publisher)
}

#[test]
fn a_copy_is_whole_or_of_no_message() {
    bounded(3, || {
        let (feed, mut publisher) = two_messages(0);
        let reader = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                let mut cursor = 1;
                feed.order.point();
                let mut before = 0;
                while let Some((seq, value)) = feed.copy(&mut cursor, Wanted::Some) {
                    assert_eq!(seq, value);
                    assert!(seq > before, "in order");
                    before = seq;
                }
                before
            })
        };
        feed.order.point();
        assert_eq!(publisher.publish(&feed, 3), Some(3));
        let last = reader.join().unwrap();
        assert!(last >= 2, "the newest is never gone");
    });
}

/// The one who empties the slot is not the one who writes into it.
#[test]
fn a_copy_is_whole_when_a_slot_was_emptied_by_another() {
    bounded(2, || {
        let (feed, mut first) = two_messages(0);
        let reader = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                feed.order.point();
                if let Some((seq, value)) = feed.copy(&mut 1, Wanted::Some) {
                    assert_eq!(seq, value);
                }
            })
        };
        let second = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                feed.order.point();
                if let Some(slot) = Publisher::new(1).take(&feed) {
                    feed.write(slot, 3);
                }
            })
        };
        feed.order.point();
        // It gives it back without having published anything.
        if let Some(slot) = first.take(&feed) {
            feed.channel().let_go(slot, tag(0));
        }
        join_all([reader, second]);
    });
}

/// Overtaken while it reads, it finds a newer one.
#[test]
fn the_newest_can_always_be_had() {
    bounded(3, || {
        let (feed, mut publisher) = two_messages(0);
        let reader = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                let mut cursor = 1;
                feed.order.point();
                match feed.copy(&mut cursor, Wanted::Newest) {
                    Some((seq, value)) => assert_eq!((seq, cursor), (value, seq + 1)),
                    // Overtaken each time that it looked.
                    None => assert!(feed.channel().newest() > 2),
                }
            })
        };
        for value in 3..=4 {
            feed.order.point();
            assert_eq!(publisher.publish(&feed, value), Some(value));
        }
        reader.join().unwrap();
    });
}

#[test]
fn nobody_writes_into_what_is_pinned() {
    bounded(3, || {
        let (feed, mut publisher) = two_messages(1);
        let (place, _) = feed.subscribe(1, Policy::Drop, Start::History(2));
        let reader = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                let mut cursor = 1;
                feed.order.point();
                while let Some((seq, value)) = feed.pin(place, &mut cursor) {
                    assert_eq!(seq, value);
                }
            })
        };
        feed.order.point();
        // It finds no slot when the other one is pinned just now.
        assert!(matches!(publisher.publish(&feed, 3), None | Some(3)));
        reader.join().unwrap();
        let newest = feed.channel().newest();
        assert_eq!(publisher.publish(&feed, newest + 1), Some(newest + 1), "no pin is left");
    });
}

/// Of two who have a message pinned, the last one to let go sets the slot free.
#[test]
fn a_slot_stays_until_the_last_pin_is_gone() {
    bounded(2, || {
        let (feed, mut publisher) = two_messages(2);
        let places = [1, 2].map(|who| feed.subscribe(who, Policy::Drop, Start::History(2)).0);
        let others = places.map(|place| {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                let mut cursor = 1;
                feed.order.point();
                feed.pin(place, &mut cursor);
            })
        });
        feed.order.point();
        assert!(matches!(publisher.publish(&feed, 3), None | Some(3)));
        join_all(others);
    });
}

/// A look at a slot, or a pin, without the ring: who sees the number sees the message and its label.
#[test]
fn a_number_comes_after_its_message() {
    for pins in [false, true] {
        bounded(3, move || {
            let feed = feed(2, 2, 1);
            let reader = {
                let feed = Arc::clone(&feed);
                thread::spawn(move || {
                    if pins && feed.channel().pin(0, 0, 1, 0) {
                        assert_eq!(feed.read_cell(0), 1);
                    }
                    if let Some(label) = feed.slots[0].read(1) {
                        assert_eq!((label.length, label.publisher), (1, Some(tag(0))));
                        assert_eq!(feed.read_cell(0), 1);
                    }
                })
            };
            assert_eq!(Publisher::new(0).publish(&feed, 1), Some(1));
            reader.join().unwrap();
        });
    }
}

/// A message that was put back, because it is pinned, is as good as it was.
#[test]
fn a_message_that_is_put_back_is_whole() {
    bounded(3, || {
        let (feed, mut publisher) = two_messages(1);
        let (place, _) = feed.subscribe(1, Policy::Drop, Start::History(2));
        let reader = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                feed.order.point();
                let is_pinned = feed.channel().pin(place, 0, 1, 0);
                if is_pinned {
                    assert_eq!(feed.read_cell(0), 1);
                }
                is_pinned
            })
        };
        feed.order.point();
        let published = publisher.publish(&feed, 3);
        let is_pinned = reader.join().unwrap();
        assert!(!is_pinned || published.is_none());
        if published.is_none() {
            assert_eq!(feed.slots[0].read(1).map(|label| label.length), Some(1), "it is back");
        }
    });
}
