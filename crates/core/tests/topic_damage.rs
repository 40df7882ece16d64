//! Topics with every word of their tables changed, one at a time, to what makes arithmetic run over, and several at a time:
//! every operation ends, in an answer or an error, and never in a panic, an overflow, an endless loop or an access outside.
//!
//! What changes at random places of a segment do is for `damage.rs`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use samemap_core::arrangement::Arrangement;
use samemap_core::bell::Attempt;
use samemap_core::layout::Kind;
use samemap_core::objects::{self, Parameters};
use samemap_core::publisher::Publisher;
use samemap_core::segment::{Handle, New, Segment};
use samemap_core::slot::Slot;
use samemap_core::subscriber::{Policy, Subscriber};
use samemap_core::tag::Tag;
use samemap_core::topic::audience::Start;
use samemap_core::topic::supply::Supply;
use samemap_core::topic::{Channel, Topic, Wanted};

const PARTICIPANTS: usize = 3;
const SIZE: usize = 40;
/// Bits of a ring's word below the number.
const SLOT_BITS: u32 = 20;

/// What a word is changed to: limits of arithmetic, numbers near the newest and far from it, and whose it may be.
fn values() -> Vec<u64> {
    let tags = [Tag::new(0, 1), Tag::new(0, 2), Tag::new(2, 9), Tag::new(Tag::MOST - 1, 0)].map(Tag::word);
    let marked = [Tag::MARK, Tag::SECOND_MARK, tags[0] | Tag::MARK, tags[2] | Tag::MARK];
    let both = |half: u32| u64::from(half) << 32 | u64::from(half);
    let seqs = [0, 1, 7, 1000, u64::MAX, u64::MAX - 9, (1 << 63) - 1, 1 << 44, 1 << 43, 1 << 20];
    let packed =
        [0, 7, 1000, u64::MAX, u64::MAX - 9, 1 << 43].map(|seq| [seq << SLOT_BITS | 1, seq << SLOT_BITS | 0xf_ffff]);
    seqs.into_iter().chain(packed.into_iter().flatten()).chain(tags.into_iter().chain(marked).map(both)).collect()
}

fn make(kind: Kind, parameters: [i64; 3]) -> Handle {
    let parameters = Parameters(parameters);
    let body_size = objects::size(kind, PARTICIPANTS, parameters).expect("the parameters are valid");
    let new = New { kind, body_size, participants: PARTICIPANTS, schema: "", perm: 0o600 };
    Segment::create(None, new, |segment| objects::initialise(segment, 0, kind, parameters)).expect("it can be made")
}

/// Changes a word of the body.
fn write(segment: &Segment, word: usize, value: u64) {
    let file = File::from(segment.file().try_clone_to_owned().expect("there are descriptors"));
    file.write_all_at(&value.to_le_bytes(), segment.header().body + 8 * word as u64).expect("it can be written");
}

/// A topic in use: messages, a subscription that blocks and one that does not, pins, a loan.
fn topic(kind: Kind) -> Handle {
    let handle = make(kind, if kind == Kind::Topic { [4, SIZE as i64, 3] } else { [3, SIZE as i64, 0] });
    let segment = handle.segment();
    let channel = channel(segment).expect("it is whole");
    let mut supply = Supply::default();
    for _ in 0..6 {
        publish(segment, &channel, &mut supply, 0).expect("it is whole");
    }
    for policy in [Policy::Drop, Policy::Block] {
        segment.as_caller(|caller| channel.subscribe(caller, policy, Start::History(2), 1)).expect("it can join");
    }
    let newest = channel.newest();
    channel.pin(0, channel.find(newest).expect("it is there"), newest, 1);
    // One slot is in this process's hands, and one is empty.
    let taken = [(); 2]
        .map(|()| segment.as_caller(|caller| channel.take(&mut Supply::default(), caller)).expect("it can join"));
    if let Some(slot) = taken[1] {
        channel.let_go(slot, segment.tag().expect("it can join"));
    }
    handle
}

fn channel(segment: &Segment) -> Option<Channel<'_>> {
    Arrangement::of(segment).ok()?.channel(segment).ok()
}

/// Publishes as a process does that does not wait; `None` when the ring makes no sense, or there is no slot.
fn publish(segment: &Segment, channel: &Channel<'_>, supply: &mut Supply, hope: u64) -> Option<u64> {
    let me = segment.tag().expect("it can join");
    let mut taken = segment.as_caller(|caller| channel.take(supply, caller)).expect("it can join");
    if taken.is_none() {
        let room = segment.as_caller(|caller| channel.attempt_room(caller, true)).expect("it can join");
        if matches!(room, Attempt::Wait(_)) {
            return None;
        }
        taken = segment.as_caller(|caller| channel.take(supply, caller)).expect("it can join");
        assert!(taken.is_some(), "who is told that there is a slot finds one, or would ask for ever");
    }
    let slot = taken?;
    channel.label(slot, me, SIZE, 1);
    let seq = channel.commit(slot, hope);
    channel.let_go(slot, me);
    match seq {
        Ok(seq) => channel.announce(seq),
        Err(_) => channel.ring_for_room(),
    }
    channel.count(me, 1, SIZE as u64, 1);
    seq.ok()
}

fn receive(segment: &Segment, channel: &Channel<'_>, mut cursor: u64, wanted: Wanted) {
    let arrangement = Arrangement::of(segment).expect("it was, a moment ago");
    // Each goes on, so it comes to an end of what is there.
    for _ in 0..8 {
        let before = cursor;
        let found = channel.receive(&mut cursor, wanted, |at, slot, label, seq| {
            let mut bytes = [0; SIZE];
            let _ = arrangement.read(segment, at, &mut bytes[..SIZE.min(label.length as usize)]);
            assert!(at < channel.slots().len());
            slot.is_still(seq).then_some(at)
        });
        let Some((seq, at)) = found else { return };
        assert!(seq >= before && cursor >= seq, "{before} {seq} {cursor}");
        if channel.pin(2, at, seq, 1) {
            channel.unpin(2, at);
        }
    }
}

/// Everything that can be done with it, from small numbers to large ones or the other way round.
fn use_it(segment: &Segment, is_backwards: bool) {
    let Some(channel) = channel(segment) else { return };
    let newest = channel.newest();
    let mut numbers = [0, newest, newest.wrapping_add(1), 1 << 44, u64::MAX - 9, u64::MAX];
    if is_backwards {
        numbers.reverse();
    }
    for number in numbers {
        for wanted in [Wanted::Some, Wanted::Newest] {
            receive(segment, &channel, number, wanted);
        }
        let _ = (channel.is_news(number), channel.attempt_news(number), channel.find(number));
        let mut supply = Supply::default();
        for _ in 0..3 {
            publish(segment, &channel, &mut supply, number);
        }
    }
    for start in [Start::History(0), Start::History(3), Start::History(u64::MAX), Start::At(0), Start::At(u64::MAX)] {
        for policy in [Policy::Latest, Policy::Drop, Policy::Block] {
            let joined = segment.as_caller(|caller| channel.subscribe(caller, policy, start, 1)).expect("it can join");
            let Some((place, cursor)) = joined else { continue };
            receive(segment, &channel, cursor, Wanted::Some);
            channel.advance(place, cursor, 1, 1, true);
            channel.count_delay(place, cursor);
            let _ = channel.is_subscribed(place, segment.tag().expect("it can join"));
            publish(segment, &channel, &mut Supply::default(), 0);
            channel.leave(place, segment.tag().expect("it can join"));
        }
    }
    segment.as_caller(|caller| channel.bury(caller)).expect("it can join");
    let _ = segment.as_caller(|caller| channel.attempt_audience(caller, 2)).expect("it can join");
    let _ = (channel.holdings(), channel.progress().count(), channel.outputs().count());
    let mut supply = Supply::default();
    for _ in 0..20 {
        publish(segment, &channel, &mut supply, 0);
    }
    assert!(segment.check().is_ok());
}

/// Changes the words at these places of the body, and uses it; panics when that takes too long.
fn endure(kind: Kind, changes: &[(usize, u64)], is_backwards: bool) {
    let handle = topic(kind);
    let segment = handle.segment();
    changes.iter().for_each(|(at, value)| write(segment, *at, *value));
    let begun = Instant::now();
    use_it(segment, is_backwards);
    assert!(begun.elapsed() < Duration::from_secs(20), "it takes too long: {changes:x?}");
}

/// Words of everything but the payloads.
fn words(kind: Kind) -> usize {
    let handle = topic(kind);
    let shape = handle.segment().at::<Topic>(0).expect("it is there").shape();
    (handle.segment().body_size() - shape.slots * shape.slot_size.next_multiple_of(64)) / 8
}

#[test]
fn every_word_can_be_anything() {
    for kind in [Kind::Topic, Kind::Latest] {
        for at in 0..words(kind) {
            for (value, is_backwards) in values().into_iter().flat_map(|value| [(value, false), (value, true)]) {
                let told = std::panic::catch_unwind(|| endure(kind, &[(at, value)], is_backwards));
                assert!(told.is_ok(), "{kind:?}: word {at} is {value:x}, {is_backwards}");
            }
        }
    }
}

/// Where a field of a slot is, as a word of the body.
fn slot_word(segment: &Segment, slot: usize, field: &str) -> usize {
    let shape = segment.at::<Topic>(0).expect("it is there").shape();
    let tables = [
        (1, Topic::LAYOUT),
        (shape.publishers, Publisher::LAYOUT),
        (shape.subscribers, Subscriber::LAYOUT),
        (slot, Slot::LAYOUT),
    ];
    let start: usize = tables.iter().map(|(count, layout)| count * layout.size).sum();
    let field = Slot::LAYOUT.fields.iter().find(|known| known.name == field).expect("it is a field");
    (start + field.offset) / 8
}

/// One dies between numbering its slot and having it count, and a reader that came too late has its pin there just then:
/// the slot must not be left with a number that nobody has.
#[test]
fn a_number_of_the_dead_is_taken_back_under_a_late_pin() {
    let handle = make(Kind::Topic, [2, SIZE as i64, 1]);
    let (segment, channel) = (handle.segment(), channel(handle.segment()).expect("it is whole"));
    let mut supply = Supply::default();
    assert_eq!(publish(segment, &channel, &mut supply, 0), Some(1));
    let slot = 1 - channel.find(1).expect("it is there");
    let write = |field, value| write(segment, slot_word(segment, slot, field), value);
    write("seq", 2);
    write("owner", u64::from(Tag::new(2, 9).word()));
    write("pins", 1);
    segment.as_caller(|caller| channel.bury(caller)).expect("it can join");
    write("pins", 0);
    for seq in 2..9 {
        assert_eq!(publish(segment, &channel, &mut supply, 0), Some(seq), "the slot is lost");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn several_words_can_be_anything(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 2..12),
        is_backwards: bool,
    ) {
        let (words, values) = (words(Kind::Topic), values());
        let changes: Vec<(usize, u64)> = changes.iter().map(|(at, value)| (at.index(words), *value.get(&values))).collect();
        endure(Kind::Topic, &changes, is_backwards);
    }
}
