//! Topics, in one thread, against what is said of them: every message in order, every miss counted, the newest never lost,
//! nothing taken that somebody needs, and no slot or place lost, whoever dies with what.
//!
//! What happens between two threads is for loom, and what is left in the middle of a step for the crash points.

use std::cell::Cell;
use std::collections::BTreeSet;

use proptest::prelude::*;
use samemap_core::atomic::Word64;
use samemap_core::bell::Attempt;
use samemap_core::publisher::Publisher;
use samemap_core::slot::Slot;
use samemap_core::subscriber::{Policy, Subscriber};
use samemap_core::tag::{Caller, Living, Tag};
use samemap_core::topic::audience::Start;
use samemap_core::topic::supply::{Holding, Supply};
use samemap_core::topic::{Channel, Shape, Topic, Wanted};

const PEOPLE: usize = 4;
const PLACES: usize = 3;

/// Who lives: of each place in the roster, the epoch of its present owner, and whether that is alive.
struct Census([(Cell<u32>, Cell<bool>); PEOPLE]);

impl Living for Census {
    fn is_present(&self, tag: Tag) -> bool {
        self.0.get(tag.index()).is_some_and(|(epoch, _)| epoch.get() == tag.epoch())
    }

    fn is_alive(&self, tag: Tag) -> bool {
        self.is_present(tag) && self.0[tag.index()].1.get()
    }
}

/// A subscription of the living.
struct Reader {
    tag: Tag,
    place: usize,
    policy: Policy,
    start: u64,
    cursor: u64,
    received: u64,
    missed: u64,
}

/// What a participant does.
#[derive(Debug, Clone)]
enum Step {
    /// Publishes so many, and announces them at the end, or never, as if it was stopped before that.
    Publish {
        who: usize,
        count: usize,
        announces: bool,
    },
    /// Takes a slot, and keeps it.
    Loan {
        who: usize,
    },
    /// Publishes the loan, or lets go of it.
    Return {
        which: usize,
        publishes: bool,
    },
    Subscribe {
        who: usize,
        policy: Policy,
        history: u64,
    },
    /// Receives a message by a copy, or by a pin that stays.
    Receive {
        which: usize,
        pins: bool,
    },
    Unpin {
        which: usize,
    },
    Leave {
        which: usize,
    },
    /// Dies with all that it has; somebody else gets the place in the roster, or nobody does.
    Die {
        who: usize,
        is_replaced: bool,
    },
    Bury {
        who: usize,
    },
}

struct World {
    topic: Topic,
    ring: Vec<Word64>,
    slots: Vec<Slot>,
    subscribers: Vec<Subscriber>,
    publishers: Vec<Publisher>,
    census: Census,
    supplies: [Supply; PEOPLE],
    /// The number after the last that each has published.
    hopes: [u64; PEOPLE],
    /// What is in each slot, for those who look.
    payloads: Vec<u64>,
    newest: u64,
    readers: Vec<Reader>,
    /// Slots in the hands of the living.
    loans: Vec<(Tag, usize)>,
    /// Pins of the living: whose, the place, the slot, the message.
    pins: Vec<(Tag, usize, usize, u64)>,
    /// Whether a slot was ever kept from being taken in its turn.
    was_held: bool,
}

impl World {
    fn new(slots: usize, ring: usize) -> Self {
        let shape = Shape { slots, slot_size: 8, ring, subscribers: PLACES, publishers: PEOPLE };
        Self {
            topic: Topic::new(shape),
            ring: (0..ring).map(|_| Word64::new(0)).collect(),
            slots: (0..slots).map(|_| Slot::new()).collect(),
            subscribers: (0..PLACES).map(|_| Subscriber::new()).collect(),
            publishers: (0..PEOPLE).map(|_| Publisher::new()).collect(),
            census: Census(std::array::from_fn(|_| (Cell::new(1), Cell::new(true)))),
            supplies: std::array::from_fn(|_| Supply::default()),
            hopes: [0; PEOPLE],
            payloads: vec![0; slots],
            newest: 0,
            readers: Vec::new(),
            loans: Vec::new(),
            pins: Vec::new(),
            was_held: false,
        }
    }

    fn channel(&self) -> Channel<'_> {
        Channel::new(&self.topic, &self.ring, &self.slots, &self.subscribers, &self.publishers)
    }

    fn tag(&self, who: usize) -> Tag {
        Tag::new(who, self.census.0[who].0.get())
    }

    fn lives(&self, who: usize) -> bool {
        self.census.0[who].1.get()
    }

    fn caller(&self, who: usize) -> Caller<'_> {
        Caller { tag: self.tag(who), living: &self.census }
    }

    /// Whether a tag in memory may still be there: it is a living one's, or, before anybody has looked, a dead one's.
    fn counts(&self, tag: Option<Tag>, is_buried: bool) -> bool {
        tag.is_some_and(|tag| !is_buried || self.census.is_alive(tag))
    }

    /// The slots that may be taken, as the memory is, or as it would be without the dead.
    fn room(&self, is_buried: bool) -> BTreeSet<usize> {
        let channel = self.channel();
        let blocking = channel.progress().map(|(_, progress)| progress).filter(|progress| {
            progress.policy == Policy::Block
                && self.census.is_present(progress.tag)
                && self.counts(Some(progress.tag), is_buried)
        });
        let limit = blocking.map(|progress| progress.cursor).min().unwrap_or(u64::MAX).min(self.newest);
        let is_free = |(at, slot): &(usize, &Slot)| {
            let pinned = slot.pinned_by().any(|place| self.counts(channel.subscriber_tag(place), is_buried));
            !self.counts(slot.owner(), is_buried)
                && !pinned
                && (slot.seq() == 0 || slot.seq() < limit)
                && *at < self.slots.len()
        };
        self.slots.iter().enumerate().filter(is_free).map(|(at, _)| at).collect()
    }

    /// Whether message `seq` can be had.
    fn is_there(&self, seq: u64) -> bool {
        seq > 0 && seq + self.ring.len() as u64 > self.newest && self.slots.iter().any(|slot| slot.seq() == seq)
    }

    fn take(&mut self, who: usize) -> Option<usize> {
        let (before, after) = (self.room(false), self.room(true));
        let mut supply = std::mem::take(&mut self.supplies[who]);
        let oldest = before.iter().map(|at| self.slots[*at].seq()).min();
        let is_first = supply.hope == 0;
        supply.hope = supply.hope.max(self.hopes[who]);
        let seqs: Vec<u64> = self.slots.iter().map(Slot::seq).collect();
        let mut taken = self.channel().take(&mut supply, self.caller(who));
        if taken.is_none() {
            assert!(before.is_empty(), "{before:?} could have been had");
            let is_room = matches!(self.channel().attempt_room(self.caller(who), true), Attempt::Done(()));
            assert_eq!(is_room, !after.is_empty());
            taken = self.channel().take(&mut supply, self.caller(who));
            assert_eq!(taken.is_some(), is_room);
        }
        self.supplies[who] = supply;
        assert!(taken.is_none_or(|slot| after.contains(&slot)), "{taken:?} is needed: {after:?}");
        if let (true, Some(oldest)) = (is_first, oldest) {
            assert_eq!(taken.map(|slot| seqs[slot]), Some(oldest), "the oldest goes first");
        }
        taken
    }

    /// Has what is in the slot count as the next message.
    fn commit(&mut self, who: usize, slot: usize) {
        let seq = self.newest + 1;
        self.payloads[slot] = seq;
        self.channel().label(slot, self.tag(who), 8, seq);
        assert_eq!(self.channel().commit(slot, self.hopes[who]), Ok(seq));
        self.newest = seq;
        self.hopes[who] = seq + 1;
        self.channel().let_go(slot, self.tag(who));
        self.channel().count(self.tag(who), 1, 8, seq);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Publish { who, .. } | Step::Loan { who } | Step::Subscribe { who, .. } | Step::Bury { who }
                if !self.lives(who) => {}
            Step::Publish { who, count, announces } => {
                for _ in 0..count {
                    let Some(slot) = self.take(who) else { break };
                    self.commit(who, slot);
                }
                if announces {
                    self.channel().announce(self.newest);
                }
            }
            Step::Loan { who } => {
                if let Some(slot) = self.take(who) {
                    self.payloads[slot] = u64::MAX;
                    self.loans.push((self.tag(who), slot));
                    self.was_held = true;
                }
            }
            Step::Return { which, publishes } => {
                if self.loans.is_empty() {
                    return;
                }
                let (tag, slot) = self.loans.swap_remove(which % self.loans.len());
                if publishes {
                    self.commit(tag.index(), slot);
                    self.channel().announce(self.newest);
                } else {
                    self.channel().let_go(slot, tag);
                    self.channel().ring_for_room();
                }
            }
            Step::Subscribe { who, policy, history } => self.subscribe(who, policy, history),
            Step::Receive { which, pins } => {
                if !self.readers.is_empty() {
                    self.receive(which % self.readers.len(), pins);
                }
            }
            Step::Unpin { which } => {
                if !self.pins.is_empty() {
                    let (_, place, slot, _) = self.pins.swap_remove(which % self.pins.len());
                    self.channel().unpin(place, slot);
                }
            }
            Step::Leave { which } => {
                if !self.readers.is_empty() {
                    let reader = self.readers.swap_remove(which % self.readers.len());
                    self.channel().leave(reader.place, reader.tag);
                    self.pins.retain(|(_, place, ..)| *place != reader.place);
                    assert!(!self.channel().is_subscribed(reader.place, reader.tag));
                }
            }
            Step::Die { who, is_replaced } => {
                let (gone, place) = (self.tag(who), &self.census.0[who]);
                place.1.set(is_replaced);
                place.0.set(place.0.get() + u32::from(is_replaced));
                self.supplies[who] = Supply::default();
                self.hopes[who] = 0;
                self.readers.retain(|reader| reader.tag != gone);
                self.loans.retain(|loan| loan.0 != gone);
                self.pins.retain(|pin| pin.0 != gone);
                self.was_held = true;
            }
            Step::Bury { who } => {
                self.channel().bury(self.caller(who));
                let channel = self.channel();
                assert!(self.slots.iter().filter_map(Slot::owner).all(|tag| self.census.is_alive(tag)));
                assert!((0..PLACES).filter_map(|at| channel.subscriber_tag(at)).all(|tag| self.census.is_alive(tag)));
                let pinned: usize = self.slots.iter().map(|slot| slot.pinned_by().count()).sum();
                assert_eq!(pinned, self.pins.len(), "pins of nobody");
            }
        }
    }

    fn subscribe(&mut self, who: usize, policy: Policy, history: u64) {
        let free = (0..PLACES).filter(|at| !self.counts(self.channel().subscriber_tag(*at), true)).count();
        let joined = self.channel().subscribe(self.caller(who), policy, Start::History(history), 0);
        assert_eq!(joined.is_some(), free > 0, "a place is lost");
        let Some((place, start)) = joined else { return };
        let first = self.newest.saturating_sub(history) + 1;
        let may_stay = |seq: u64| {
            let loaned = self.slots.iter().any(|slot| slot.seq() == seq && slot.owner().is_some());
            self.is_there(seq) && (seq == self.newest || !loaned)
        };
        let expected = if policy == Policy::Block {
            (first..=self.newest).rev().take_while(|seq| may_stay(*seq)).last()
        } else {
            (first..=self.newest).find(|seq| self.is_there(*seq))
        };
        assert_eq!(start, expected.unwrap_or(self.newest + 1));
        let tag = self.tag(who);
        self.readers.push(Reader { tag, place, policy, start, cursor: start, received: 0, missed: 0 });
    }

    fn receive(&mut self, which: usize, pins: bool) {
        let Reader { tag, place, policy, cursor: before, .. } = self.readers[which];
        let expected = match policy {
            Policy::Latest => Some(self.newest).filter(|newest| *newest >= before),
            _ => (before..=self.newest).find(|seq| self.is_there(*seq)),
        };
        let wanted = if policy == Policy::Latest { Wanted::Newest } else { Wanted::Some };
        let mut cursor = before;
        let channel = self.channel();
        let found = channel.receive(&mut cursor, wanted, |at, slot, label, seq| {
            assert_eq!((label.length, label.published, self.payloads[at]), (8, seq, seq));
            (if pins { channel.pin(place, at, seq, 1) } else { slot.is_still(seq) }).then_some(at)
        });
        assert_eq!(found.map(|(seq, _)| seq), expected);
        assert_eq!(cursor, expected.map_or(before.max(self.newest + 1), |seq| seq + 1));
        assert!(policy != Policy::Block || expected.is_none_or(|seq| seq == before), "it got each");
        let is_news = matches!(channel.attempt_news(before), Attempt::Done(()));
        assert_eq!(is_news, self.newest >= before);
        let reader = &mut self.readers[which];
        reader.cursor = cursor;
        reader.received += u64::from(found.is_some());
        reader.missed += cursor - before - u64::from(found.is_some());
        assert_eq!(reader.received + reader.missed, reader.cursor - reader.start);
        let (received, missed) = (reader.received, reader.missed);
        self.channel().advance(place, cursor, received, missed, true);
        if let Some((seq, slot)) = found.filter(|_| pins) {
            if !self.pins.contains(&(tag, place, slot, seq)) {
                self.pins.push((tag, place, slot, seq));
            }
            self.was_held = true;
        }
    }

    /// What must be true after every step.
    fn check(&self) {
        let channel = self.channel();
        assert_eq!(channel.newest(), self.newest);
        assert!(self.newest == 0 || self.is_there(self.newest), "the newest is lost");
        for (tag, slot) in &self.loans {
            assert_eq!((self.slots[*slot].owner(), self.payloads[*slot]), (Some(*tag), u64::MAX));
        }
        for (_, place, slot, seq) in &self.pins {
            assert_eq!((self.slots[*slot].seq(), self.payloads[*slot]), (*seq, *seq), "written while pinned");
            assert!(self.slots[*slot].pinned_by().any(|by| by == *place));
        }
        for reader in self.readers.iter().filter(|reader| reader.policy == Policy::Block) {
            assert!((reader.cursor..=self.newest).all(|seq| self.is_there(seq)), "what is needed is gone");
        }
        if !self.was_held {
            let oldest = self.newest.saturating_sub(self.slots.len() as u64) + 1;
            assert!((oldest..=self.newest).all(|seq| self.is_there(seq)), "the oldest goes first");
        }
        let progress: Vec<_> = channel.progress().filter(|(_, progress)| self.census.is_alive(progress.tag)).collect();
        assert_eq!(progress.len(), self.readers.len());
        for reader in &self.readers {
            let told = progress.iter().find(|(place, _)| *place == reader.place).map(|(_, told)| told);
            let told = told.map(|told| (told.tag, told.policy, told.cursor, told.received, told.missed));
            assert_eq!(told, Some((reader.tag, reader.policy, reader.cursor, reader.received, reader.missed)));
        }
        let sums = channel.outputs().map(|output| output.all[0]).sum::<u64>();
        assert_eq!(sums, self.newest);
        let watched = self.census.0.iter().enumerate().find(|(_, (_, lives))| lives.get());
        if let Some((who, _)) = watched {
            let enough = |count| matches!(channel.attempt_audience(self.caller(who), count), Attempt::Done(()));
            assert!(enough(self.readers.len()) && !enough(self.readers.len() + 1));
        }
        self.check_holdings();
    }

    fn check_holdings(&self) {
        let told: BTreeSet<(usize, String)> = self
            .channel()
            .holdings()
            .into_iter()
            .flat_map(|(at, _, _, held)| held.into_iter().map(move |holding| (at, holding)))
            .filter(|(_, holding)| match holding {
                Holding::Loaned(tag) => self.census.is_alive(*tag),
                Holding::Pinned(_, tag) | Holding::Unread(_, tag) => self.counts(*tag, true),
            })
            .map(|(at, holding)| (at, format!("{holding:?}")))
            .collect();
        let loaned = self.loans.iter().map(|(tag, slot)| (*slot, Holding::Loaned(*tag)));
        let pinned = self.pins.iter().map(|(tag, place, slot, _)| (*slot, Holding::Pinned(*place, Some(*tag))));
        let blocking = self.readers.iter().filter(|reader| reader.policy == Policy::Block);
        let unread = blocking.flat_map(|reader| {
            let slots = self.slots.iter().enumerate().filter(|(_, slot)| slot.seq() >= reader.cursor && slot.seq() > 0);
            slots.map(|(at, _)| (at, Holding::Unread(reader.place, Some(reader.tag))))
        });
        let expected = loaned.chain(pinned).chain(unread).map(|(at, holding)| (at, format!("{holding:?}"))).collect();
        assert_eq!(told, expected);
    }

    /// Everybody dies, and one comes who finds all slots and all places.
    fn end(&mut self) {
        for who in 0..PEOPLE {
            self.step(&Step::Die { who, is_replaced: who == 0 });
        }
        for _ in 0..3 * self.slots.len() {
            assert!(!self.room(true).is_empty());
            self.step(&Step::Publish { who: 0, count: 1, announces: true });
            self.check();
        }
        self.step(&Step::Bury { who: 0 });
        // Publishers look only now and then for slots that they have passed over.
        self.step(&Step::Publish { who: 0, count: 20 * self.slots.len(), announces: true });
        let seen: BTreeSet<u64> = self.slots.iter().map(Slot::seq).collect();
        assert_eq!(seen, (self.newest + 1 - self.slots.len() as u64..=self.newest).collect(), "a slot is lost");
        for _ in 0..=PLACES {
            self.subscribe(0, Policy::Latest, 0);
        }
        assert_eq!(self.readers.len(), PLACES, "a place is lost");
    }
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..PEOPLE;
    let policy = prop_oneof![Just(Policy::Latest), Just(Policy::Drop), Just(Policy::Drop), Just(Policy::Block)];
    prop_oneof![
        8 => who.clone().prop_map(|who| Step::Publish { who, count: 1, announces: true }),
        2 => (who.clone(), 1..20_usize, any::<bool>())
            .prop_map(|(who, count, announces)| Step::Publish { who, count, announces }),
        1 => who.clone().prop_map(|who| Step::Loan { who }),
        2 => (0..9_usize, any::<bool>()).prop_map(|(which, publishes)| Step::Return { which, publishes }),
        2 => (who.clone(), policy, 0..12_u64).prop_map(|(who, policy, history)| Step::Subscribe { who, policy, history }),
        8 => (0..9_usize, proptest::bool::weighted(0.2)).prop_map(|(which, pins)| Step::Receive { which, pins }),
        2 => (0..9_usize).prop_map(|which| Step::Unpin { which }),
        1 => (0..9_usize).prop_map(|which| Step::Leave { which }),
        1 => (who.clone(), any::<bool>()).prop_map(|(who, is_replaced)| Step::Die { who, is_replaced }),
        1 => who.prop_map(|who| Step::Bury { who }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn every_message_is_had_or_missed_and_nothing_is_lost(
        slots in 2..7_usize,
        spare in 0..2_u32,
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let mut world = World::new(slots, slots.next_power_of_two() << spare);
        for step in &steps {
            world.step(step);
            world.check();
        }
        world.end();
    }
}
