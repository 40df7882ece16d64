//! Queues and services with every word of their tables changed, one at a time, to what makes arithmetic run over, and several
//! at a time: every operation ends, in an answer or an error, and never in a panic, an overflow, an endless loop or an access
//! outside.
//!
//! What changes at random places of a segment do is for `damage.rs`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use samemap_core::job::{Job, Label};
use samemap_core::lane::Lane;
use samemap_core::layout::Kind;
use samemap_core::lock::Turn;
use samemap_core::objects::{self, Parameters};
use samemap_core::operation::{Asking, Operation, Wanted};
use samemap_core::queue::{Grip, Memory, Queue, REPLIES, Shape, Store};
use samemap_core::segment::{Handle, New, Segment};
use samemap_core::storage::Storage;
use samemap_core::tag::Tag;
use samemap_core::worker::Worker;

const PARTICIPANTS: usize = 3;
const SMALL: usize = 40;
const LARGE: usize = 5000;
/// Of each table, so many entries are in use, and are changed.
const USED: usize = 7;
/// Bits of a ring's word below the number.
const PLACE_BITS: u32 = 20;

/// What a word is changed to: limits of arithmetic, numbers near the next and far from it, states, and whose it may be.
fn values() -> Vec<u64> {
    let tags = [Tag::new(0, 1), Tag::new(2, 9), Tag::new(Tag::MOST - 1, 0)].map(Tag::word);
    let marks = [0, Tag::MARK, Tag::SECOND_MARK, Tag::MARK | Tag::SECOND_MARK];
    let states = tags.into_iter().chain([0]).flat_map(|tag| marks.map(|mark| u64::from(tag | mark) | 255 << 32));
    let both = |half: u32| u64::from(half) << 32 | u64::from(half);
    let seqs = [1, 6, 1000, u64::MAX, u64::MAX - 9, (1 << 63) - 1, 1 << 43, 1 << 20];
    let packed = [0, 6, 1000, u64::MAX - 9, 1 << 43].map(|seq| [seq << PLACE_BITS | 1, seq << PLACE_BITS | 0xf_ffff]);
    let halves = [2, 64, 1 << 31, u32::MAX].into_iter().chain(tags).map(both);
    seqs.into_iter().chain(packed.into_iter().flatten()).chain(states).chain(halves).collect()
}

fn make(kind: Kind) -> Handle {
    let parameters = Parameters([4, 4 * 4096, 2]);
    let body_size = objects::size(kind, PARTICIPANTS, parameters).expect("the parameters are valid");
    let new = New { kind, body_size, participants: PARTICIPANTS, schema: "", perm: 0o600 };
    Segment::create(None, new, |segment| objects::initialise(segment, 0, kind, parameters)).expect("it can be made")
}

/// Changes a word of the body.
fn write(segment: &Segment, word: usize, value: u64) {
    let file = File::from(segment.file().try_clone_to_owned().expect("there are descriptors"));
    file.write_all_at(&value.to_le_bytes(), segment.header().body + 8 * word as u64).expect("it can be written");
}

/// One who uses a queue as it was when it was opened, whatever it says now.
struct Hand<'s> {
    segment: &'s Segment,
    storage: Storage,
    store: Store<'s>,
    memory: Memory,
    me: Tag,
}

impl<'s> Hand<'s> {
    fn new(segment: &'s Segment, storage: Storage) -> Self {
        let store = storage.store(segment).expect("it is inside");
        Self { segment, storage, store, memory: Memory::default(), me: segment.tag().expect("it can join") }
    }

    fn put(&mut self, (lane, number): (usize, u32), length: usize) -> Option<Grip> {
        let (store, me) = (self.store, self.me);
        if store.is_full(lane) {
            return None;
        }
        let grip = store.take_place(&mut self.memory, me)?;
        let Some((first, blocks)) = store.reserve(&mut self.memory, grip, length) else {
            store.abandon(grip, me);
            return None;
        };
        let label = Label { length: length as u64, first, blocks, lane: lane as u16, flags: 0, number };
        let bytes = [7; LARGE];
        // SAFETY: the bytes live through the call.
        let written = unsafe { self.storage.write(self.segment, (grip.at, label), 0, bytes.as_ptr(), length) };
        written.expect("its label is this process's own");
        store.label(grip, label, 1);
        match store.commit(&mut self.memory, lane, grip, me) {
            Ok(seq) => store.announce(lane, seq, length == LARGE),
            Err(_) => store.abandon(grip, me),
        }
        store.count_puts(me, 1, length as u64);
        Some(grip)
    }

    fn take(&mut self, lane: usize, until: u64) -> Option<Grip> {
        let (grip, _) = self.store.take(&mut self.memory, lane, self.me, 1, until)?;
        self.look_at(grip);
        Some(grip)
    }

    fn look_at(&self, grip: Grip) {
        let job = &self.store.jobs()[grip.at];
        let label = job.read();
        let mut bytes = vec![0; LARGE.min(usize::try_from(label.length).unwrap_or(usize::MAX))];
        let _ = self.storage.read(self.segment, grip.at, label, &mut bytes);
        let _ =
            (job.put(), job.origin(), job.taken(), job.until(), job.reply_to(), self.store.is_kept_by(grip, self.me));
    }

    fn end(&self, grip: Grip) {
        match self.store.acknowledge(grip, self.me) {
            Some(held) => {
                self.store.count_acknowledged(self.me);
                self.store.clear(held, self.me);
            }
            None => self.store.let_go(grip.at, grip.state.generation(), self.me),
        }
    }

    /// Takes a few, each to another end.
    fn take_all(&mut self, lane: usize) {
        for turn in 0..8 {
            let Some(grip) = self.take(lane, [0, 1, u64::MAX][turn % 3]) else { return };
            let has_views = turn % 2 == 0;
            match turn % 4 {
                0 => _ = self.store.give_back(grip, self.me, has_views),
                1 => _ = self.store.put_away(grip, self.me, has_views),
                2 => _ = (self.store.extend(grip, 1), self.store.is_leased(grip)),
                _ => self.store.count_gets(self.me, 1),
            }
            if has_views {
                self.store.let_go(grip.at, grip.state.generation(), self.me);
            }
            self.end(grip);
        }
    }

    fn call_and_serve(&mut self, length: usize) {
        let store = self.store;
        let claimed = self.segment.as_caller(|caller| store.claim_lane(caller)).expect("it can join");
        let Some((lane, number)) = claimed else { return };
        if let Some(grip) = self.put((0, 0), length) {
            store.expect_replies(grip, lane as u16, number);
            for turn in 0..2 {
                if let Some(request) = self.take(0, 0) {
                    let (lane, number) = store.jobs()[request.at].reply_to();
                    if store.is_awaited(lane as usize, number) {
                        self.put((lane as usize, number), length);
                        let _ = store.is_awaited(lane as usize, number);
                    }
                    self.end(request);
                }
                let wanted = Wanted::Reply(lane, (grip.at, grip.state.generation()), None);
                attempt(self.segment, wanted);
                let mut had = None;
                let request = (grip.at, grip.state.generation());
                let answered = self
                    .segment
                    .as_caller(|caller| _ = store.attempt_reply(lane, request, &mut had, caller, turn == 1));
                answered.expect("it can join");
                if let Some(reply) = self.take(lane, 0) {
                    self.end(reply);
                }
            }
        }
        store.release_lane(lane, number, self.me);
    }

    /// Everything that can be done with it.
    fn use_it(&mut self, kind: Kind) {
        let store = self.store;
        for length in [SMALL, LARGE] {
            self.put((0, 0), length);
            self.put((0, 0), length);
            self.take_all(0);
            if kind == Kind::Service {
                self.call_and_serve(length);
            }
            let looked = self.segment.as_caller(|caller| {
                let _ = (store.unfinished(caller.living, true), store.task_done(caller));
                let _ = (store.attempt_news(0, caller, true), store.attempt_finished(caller, true));
                let _ = store.attempt_room(0, 0, self.storage.blocks_for(length), caller, true);
                store.bury(caller);
            });
            looked.expect("it can join");
        }
        let _ = (store.totals(), store.is_over(), store.is_next(0), store.work().count());
        for (at, letter) in store.dead_letters().into_iter().enumerate() {
            self.look_at(letter);
            if at % 2 == 0 {
                store.replay(letter, self.me);
            } else if let Some(held) = store.take_dead(letter, self.me) {
                store.release(held);
            }
        }
        self.take_all(0);
        let call = self.segment.as_caller(|caller| _ = store.attempt_call(2, caller, true));
        call.expect("it can join");
        if let Some(grip) = self.put((0, 0), SMALL) {
            store.withdraw((grip.at, grip.state.generation()), self.me);
        }
        store.throw_away(self.me);
        for wanted in [Wanted::Job(0), Wanted::Space(0, 0, 2), Wanted::Space(1, 1, 0), Wanted::Job(1), Wanted::Finished]
        {
            attempt(self.segment, wanted);
        }
    }
}

/// As those do who wait, by what the segment says now.
fn attempt(segment: &Segment, wanted: Wanted) {
    let mut operation = Operation { offset: 0, wanted };
    for ask in [false, true] {
        let asking = Asking { ask, turn: Turn::Again };
        let _ = segment.as_caller(|caller| operation.attempt(segment, caller, asking).is_ok()).expect("it can join");
    }
    let _ = segment.as_caller(|caller| operation.give_up(segment, caller)).expect("it can join");
}

/// A queue in use: jobs of all states, in their places and in the heap; a lane that is claimed.
fn in_use(segment: &Segment, kind: Kind) {
    let mut hand = Hand::new(segment, Storage::of(segment).expect("it is whole"));
    for length in [SMALL, LARGE, SMALL, SMALL] {
        hand.put((0, 0), length).expect("there is room");
    }
    let taken = [0, 1, u64::MAX].map(|until| hand.take(0, until).expect("it was put"));
    hand.store.give_back(taken[0], hand.me, true);
    hand.store.put_away(taken[2], hand.me, false);
    hand.put((0, 0), LARGE).expect("there is room");
    hand.store.take_place(&mut hand.memory, hand.me).expect("there is one");
    if kind == Kind::Service {
        let claimed = segment.as_caller(|caller| hand.store.claim_lane(caller)).expect("it can join");
        hand.put(claimed.expect("there is one"), SMALL).expect("there is room");
    }
}

/// Changes the words at these places of the body, and uses it; panics when that takes too long.
fn endure(kind: Kind, changes: &[(usize, u64)]) {
    let handle = make(kind);
    let segment = handle.segment();
    in_use(segment, kind);
    let before = Storage::of(segment).expect("it is whole");
    changes.iter().for_each(|(at, value)| write(segment, *at, *value));
    let begun = Instant::now();
    // By those who have opened it before, and by those who open it now, if it can be opened.
    Hand::new(segment, before).use_it(kind);
    if let Ok(now) = Storage::of(segment) {
        Hand::new(segment, now).use_it(kind);
    }
    assert!(segment.check().is_ok());
    assert!(begun.elapsed() < Duration::from_secs(20), "it takes too long: {changes:x?}");
}

/// The words that are changed: all of the queue, and the first entries of each table.
fn words(kind: Kind) -> Vec<usize> {
    let handle = make(kind);
    let shape: Shape = handle.segment().at::<Queue>(0).expect("it is there").shape();
    let ring = shape.ring + (shape.lanes - 1) * REPLIES;
    let tables = [
        (1, Queue::LAYOUT.size),
        (shape.lanes, Lane::LAYOUT.size),
        (shape.workers, Worker::LAYOUT.size),
        (shape.jobs, Job::LAYOUT.size),
        (ring.next_multiple_of(8), 8),
        (shape.blocks.next_multiple_of(8), 8),
    ];
    let mut start = 0;
    let mut found = Vec::new();
    for (count, size) in tables {
        let used = if size == 8 { count.min(32) } else { count.min(USED) };
        found.extend(start / 8..(start + used * size) / 8);
        start += count * size;
    }
    found
}

fn every_word_of(kind: Kind) {
    for at in words(kind) {
        for value in values() {
            let told = std::panic::catch_unwind(|| endure(kind, &[(at, value)]));
            assert!(told.is_ok(), "{kind:?}: word {at} is {value:x}");
        }
    }
}

#[test]
fn every_word_of_a_queue_can_be_anything() {
    every_word_of(Kind::Queue);
}

#[test]
fn every_word_of_a_service_can_be_anything() {
    every_word_of(Kind::Service);
}

/// Where nobody has opened it anew, what the segment says of its shape is read again by those who wait: a place that is
/// outside by now is an error.
#[test]
fn who_waits_in_a_queue_that_has_shrunk_is_told() {
    let handle = make(Kind::Service);
    let segment = handle.segment();
    let mut hand = Hand::new(segment, Storage::of(segment).expect("it is whole"));
    let lane = segment.as_caller(|caller| hand.store.claim_lane(caller)).expect("it can join").expect("there is one").0;
    let grip = hand.put((0, 0), SMALL).expect("there is room");
    let at = grip.at.max(5);
    // One lane, and as many places as may wait.
    write(segment, 1, 8 << 32 | 1);
    write(segment, 0, 4 << 32 | 4);
    assert!(Storage::of(segment).is_ok());
    let wanted = [Wanted::Reply(lane, (at, 0), None), Wanted::Job(lane), Wanted::Space(lane, 1, 0)];
    for wanted in wanted {
        let mut operation = Operation { offset: 0, wanted };
        let asking = Asking { ask: true, turn: Turn::Again };
        let told = segment.as_caller(|caller| operation.attempt(segment, caller, asking).is_err());
        assert!(told.expect("it can join"), "{:?}", operation.wanted);
        let _ = segment.as_caller(|caller| operation.give_up(segment, caller)).expect("it can join");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn several_words_can_be_anything(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 2..12),
        is_service: bool,
    ) {
        let kind = if is_service { Kind::Service } else { Kind::Queue };
        let (words, values) = (words(kind), values());
        let changes: Vec<(usize, u64)> =
            changes.iter().map(|(at, value)| (*at.get(&words), *value.get(&values))).collect();
        endure(kind, &changes);
    }
}
