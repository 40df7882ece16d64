//! Publishers among themselves, and what a look at the ring shows.

use loom::sync::Arc;
use loom::thread;
use samemap_core::topic::Wanted;

use super::{Publisher, bounded, feed};

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
            }
        };
        let others = [thread::spawn(publisher(1)), thread::spawn(publisher(2))];
        let newest = feed.channel().newest();
        let mut cursor = 1;
        for seq in 1..=newest {
            assert_eq!(feed.copy(&mut cursor, Wanted::Some).map(|(seq, _)| seq), Some(seq), "of {newest}");
        }
        for other in others {
            other.join().unwrap();
        }
    });
}
