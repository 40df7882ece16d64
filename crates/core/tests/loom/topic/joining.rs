//! Joining as one whom publishers wait for, while one of them takes slots.

use loom::sync::Arc;
use loom::thread;
use samemap_core::subscriber::Policy;
use samemap_core::topic::audience::Start;

use super::{Publisher, bounded, feed};

#[test]
fn from_its_first_message_on_nothing_is_lost() {
    bounded(2, || {
        let feed = feed(2, 2, 1);
        let mut publisher = Publisher::new(0);
        publisher.publish(&feed, 1);
        publisher.publish(&feed, 2);
        let reader = {
            let feed = Arc::clone(&feed);
            thread::spawn(move || {
                let (_, first) = feed.subscribe(1, Policy::Block, Start::History(2));
                let mut cursor = first;
                // The message that it begins with is left to it, if it is there already.
                if let Some((seq, value)) = feed.look(&mut cursor) {
                    assert_eq!((seq, value), (first, first));
                }
            })
        };
        publisher.publish(&feed, 3);
        reader.join().unwrap();
    });
}
