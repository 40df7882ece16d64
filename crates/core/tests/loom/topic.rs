//! Topics: two publishers, publishers against readers, joining, sleeping, and the dead.

mod burying;
mod joining;
mod publishing;
mod reading;
mod sleeping;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread::JoinHandle;
use samemap_core::atomic::{Ordering, Word64};
use samemap_core::slot::Slot;
use samemap_core::subscriber::{Policy, Subscriber};
use samemap_core::topic::audience::Start;
use samemap_core::topic::supply::Supply;
use samemap_core::topic::{Channel, Shape, Topic, Wanted};

use crate::drive::{Order, Roster, tag};

/// A topic, and what is in its slots.
struct Feed {
    topic: Topic,
    ring: Vec<Word64>,
    slots: Vec<Slot>,
    subscribers: Vec<Subscriber>,
    roster: Roster,
    order: Order,
    /// For readers who rely on nobody writing while they read: loom reports every unordered access.
    cells: Vec<UnsafeCell<u64>>,
    /// For readers who copy, and look afterwards whether that was in order. Two words, so that they can be torn.
    words: Vec<[Word64; 2]>,
}

// SAFETY: the topic is what the tests prove to be enough; loom reports every unordered access of the cells.
unsafe impl Sync for Feed {}
// SAFETY: as above.
unsafe impl Send for Feed {}

/// A topic of so many slots, words of the ring, and places for subscriptions.
fn feed(slots: usize, ring: usize, subscribers: usize) -> Arc<Feed> {
    Arc::new(Feed {
        topic: Topic::new(Shape { slots, slot_size: 16, ring, subscribers, publishers: 0 }),
        ring: (0..ring).map(|_| Word64::new(0)).collect(),
        slots: (0..slots).map(|_| Slot::new()).collect(),
        subscribers: (0..subscribers).map(|_| Subscriber::new()).collect(),
        roster: Roster::new(),
        order: Order::new(),
        cells: (0..slots).map(|_| UnsafeCell::new(0)).collect(),
        words: (0..slots).map(|_| std::array::from_fn(|_| Word64::new(0))).collect(),
    })
}

fn bounded(preemptions: usize, check: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(check);
}

/// A participant who publishes.
struct Publisher {
    who: usize,
    supply: Supply,
    hope: u64,
}

impl Publisher {
    fn new(who: usize) -> Self {
        Self { who, supply: Supply::default(), hope: 0 }
    }

    fn take(&mut self, feed: &Feed) -> Option<usize> {
        self.supply.hope = self.supply.hope.max(self.hope);
        feed.channel().take(&mut self.supply, feed.roster.caller(self.who))
    }

    fn commit(&mut self, feed: &Feed, slot: usize, length: usize) -> u64 {
        assert_eq!(feed.slots[slot].owner(), Some(tag(self.who)), "somebody else has let go of it");
        feed.channel().label(slot, tag(self.who), length, 0);
        let seq = feed.channel().commit(slot, self.hope).unwrap();
        self.hope = seq + 1;
        seq
    }

    /// Publishes what has been written, as the binding does.
    fn finish(&mut self, feed: &Feed, slot: usize, length: usize) -> u64 {
        let seq = self.commit(feed, slot, length);
        feed.channel().let_go(slot, tag(self.who));
        feed.channel().announce(seq);
        seq
    }

    /// Publishes `value`, which its length says too.
    fn publish(&mut self, feed: &Feed, value: u64) -> Option<u64> {
        let slot = self.take(feed)?;
        feed.write(slot, value);
        Some(self.finish(feed, slot, value as usize))
    }
}

fn join_all<T: 'static, const N: usize>(threads: [JoinHandle<T>; N]) {
    for thread in threads {
        thread.join().unwrap();
    }
}

impl Feed {
    fn channel(&self) -> Channel<'_> {
        Channel::new(&self.topic, &self.ring, &self.slots, &self.subscribers, &[])
    }

    fn subscribe(&self, who: usize, policy: Policy, start: Start) -> (usize, u64) {
        self.channel().subscribe(self.roster.caller(who), policy, start, 0).unwrap()
    }

    /// Fills a slot, which is in the caller's hands.
    fn write(&self, slot: usize, value: u64) {
        self.cells[slot].with_mut(|cell| {
            // SAFETY: the slot is in this participant's hands.
            unsafe { *cell = value }
        });
        for word in &self.words[slot] {
            word.store(value, Ordering::Relaxed);
        }
    }

    fn read_cell(&self, slot: usize) -> u64 {
        self.cells[slot].with(|cell| {
            // SAFETY: the slot is pinned, or its message is left to this participant.
            unsafe { *cell }
        })
    }

    /// The next message by a copy: its number and value.
    fn copy(&self, cursor: &mut u64, wanted: Wanted) -> Option<(u64, u64)> {
        self.channel().receive(cursor, wanted, |at, slot, label, seq| {
            let copied = [0, 1].map(|word| self.words[at][word].load(Ordering::Relaxed));
            slot.is_still(seq).then(|| {
                assert_eq!(copied, [label.length; 2], "torn, or of another message");
                label.length
            })
        })
    }

    /// The next message by a pin of the subscription at `place`, which is cleared again: its number and value.
    fn pin(&self, place: usize, cursor: &mut u64) -> Option<(u64, u64)> {
        let channel = self.channel();
        channel.receive(cursor, Wanted::Some, |at, _, label, seq| {
            if !channel.pin(place, at, seq, 0) {
                return None;
            }
            let value = self.read_cell(at);
            assert_eq!(value, label.length, "of another message");
            channel.unpin(place, at);
            Some(value)
        })
    }

    /// The next message by a look at what must be left to the caller: its number and value.
    fn look(&self, cursor: &mut u64) -> Option<(u64, u64)> {
        self.channel().receive(cursor, Wanted::Some, |at, _, label, _| {
            let value = self.read_cell(at);
            assert_eq!(value, label.length, "of another message");
            Some(value)
        })
    }

    /// Every slot can be had, by one who publishes and whom nobody holds up.
    fn all_slots_are_there(&self, who: usize) {
        let mut publisher = Publisher::new(who);
        for _ in 0..=self.slots.len() {
            publisher.publish(self, 1).unwrap();
        }
        let mut seen: Vec<u64> = self.slots.iter().map(Slot::seq).collect();
        seen.sort_unstable();
        let newest = self.channel().newest();
        let slots = self.slots.len() as u64;
        assert_eq!(seen, (newest - slots + 1..=newest).collect::<Vec<_>>(), "a slot is lost");
    }
}
