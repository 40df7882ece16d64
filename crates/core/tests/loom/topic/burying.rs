//! The dead: a subscription with a pin, and a slot in dead hands, found by two at once.

use loom::sync::Arc;
use loom::thread;
use samemap_core::subscriber::Policy;
use samemap_core::topic::audience::Start;

use super::{Publisher, bounded, feed, join_all};
use crate::drive::tag;

#[test]
fn two_who_find_the_dead_lose_nothing() {
    bounded(2, || {
        let feed = feed(3, 4, 1);
        let mut publisher = Publisher::new(0);
        publisher.publish(&feed, 1);
        let (place, _) = feed.subscribe(2, Policy::Block, Start::History(1));
        let slot = feed.channel().find(1).unwrap();
        assert!(feed.channel().pin(place, slot, 1, 0));
        let mut dead = Publisher::new(2);
        let taken = dead.take(&feed).unwrap();
        feed.write(taken, 2);
        dead.commit(&feed, taken, 2);
        feed.roster.die(tag(2));
        join_all([0, 1].map(|who| {
            let feed = Arc::clone(&feed);
            thread::spawn(move || feed.channel().bury(feed.roster.caller(who)))
        }));
        assert_eq!(feed.look(&mut 2), Some((2, 2)), "what the dead one has committed counts");
        feed.all_slots_are_there(0);
    });
}
