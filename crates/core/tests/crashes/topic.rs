//! Topics and the newest value.
//!
//! Each message is its own number, four times; so nothing that counts may have other bytes, whoever died when.

use samemap_core::arrangement::Arrangement;
use samemap_core::bell::Attempt;
use samemap_core::layout::Kind;
use samemap_core::segment::Segment;
use samemap_core::slot::Slot;
use samemap_core::subscriber::Policy;
use samemap_core::topic::audience::Start;
use samemap_core::topic::supply::Supply;
use samemap_core::topic::{Channel, Wanted};

use crate::process::{End, run};
use crate::scene::{Scene, until_done};

const SLOTS: i64 = 4;
const PLACES: i64 = 2;
const LENGTH: usize = 32;

fn arrangement(segment: &Segment) -> Arrangement {
    Arrangement::of(segment).expect("it is whole")
}

fn channel(segment: &Segment) -> Channel<'_> {
    arrangement(segment).channel(segment).expect("it is there")
}

fn message(seq: u64) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&seq.to_le_bytes()));
    bytes
}

/// A slot, with the next message in it.
fn take(segment: &Segment, supply: &mut Supply) -> Option<usize> {
    let channel = channel(segment);
    let slot = segment.as_caller(|caller| channel.take(supply, caller)).expect("it can join")?;
    let bytes = message(channel.newest() + 1);
    // SAFETY: the bytes live through the call, and the slot is in this process's hands.
    let written = unsafe { arrangement(segment).write(segment, slot, 0, bytes.as_ptr(), LENGTH) };
    written.expect("it fits");
    Some(slot)
}

fn commit(segment: &Segment, slot: usize) -> u64 {
    let (channel, me) = (channel(segment), segment.tag().expect("it can join"));
    channel.label(slot, me, LENGTH, 1);
    channel.commit(slot, 0).expect("it is not damaged")
}

/// Publishes if there is a slot.
fn publish_now(segment: &Segment, supply: &mut Supply) -> Option<u64> {
    let (channel, me) = (channel(segment), segment.tag().expect("it can join"));
    let slot = take(segment, supply)?;
    let seq = commit(segment, slot);
    channel.let_go(slot, me);
    channel.announce(seq);
    channel.count(me, 1, LENGTH as u64, 1);
    Some(seq)
}

/// Publishes, asleep until there is a slot.
fn publish_in_time(segment: &Segment, supply: &mut Supply) -> u64 {
    loop {
        if let Some(seq) = publish_now(segment, supply) {
            return seq;
        }
        let channel = channel(segment);
        until_done(segment, |caller, ask| channel.attempt_room(caller, ask));
    }
}

fn publish(segment: &Segment) {
    publish_in_time(segment, &mut Supply::default());
}

fn publish_two(segment: &Segment) {
    let mut supply = Supply::default();
    publish_in_time(segment, &mut supply);
    publish_in_time(segment, &mut supply);
}

fn publish_if_it_can(segment: &Segment) {
    publish_now(segment, &mut Supply::default());
}

/// Two messages that are announced together, as of many in a row.
fn publish_a_batch(segment: &Segment) {
    let (channel, me) = (channel(segment), segment.tag().expect("it can join"));
    let (mut supply, mut last) = (Supply::default(), 0);
    for _ in 0..2 {
        let slot = take(segment, &mut supply).expect("nobody holds it up");
        last = commit(segment, slot);
        channel.let_go(slot, me);
    }
    channel.announce(last);
    channel.count(me, 2, 2 * LENGTH as u64, 1);
}

/// A message that counts before its slot is given back, as of a loan that is viewed to the end.
fn publish_a_loan(segment: &Segment) {
    let (channel, me) = (channel(segment), segment.tag().expect("it can join"));
    let slot = take(segment, &mut Supply::default()).expect("nobody holds it up");
    channel.slots()[slot].note_held(1);
    channel.announce(commit(segment, slot));
    channel.let_go(slot, me);
    channel.ring_for_room();
}

fn fill(segment: &Segment) {
    (0..=SLOTS).for_each(|_| publish(segment));
}

fn die_with_two_loans(segment: &Segment) {
    let mut supply = Supply::default();
    take(segment, &mut supply).expect("nobody holds it up");
    let slot = take(segment, &mut supply).expect("nobody holds it up");
    commit(segment, slot);
}

fn subscribe(segment: &Segment, policy: Policy, history: u64) -> Option<(usize, u64)> {
    let channel = channel(segment);
    segment.as_caller(|caller| channel.subscribe(caller, policy, Start::History(history), 1)).expect("it can join")
}

fn subscribe_and_block(segment: &Segment) {
    subscribe(segment, Policy::Block, 2).expect("there is a place");
}

/// The next message, copied: its number.
fn copy(segment: &Segment, cursor: &mut u64, wanted: Wanted) -> Option<u64> {
    let (arrangement, channel) = (arrangement(segment), channel(segment));
    let mut bytes = [0; LENGTH];
    let found = channel.receive(cursor, wanted, |at, slot, label, seq| {
        arrangement.read(segment, at, &mut bytes).expect("it is inside");
        slot.is_still(seq).then_some(label.length)
    });
    let (seq, length) = found?;
    assert_eq!((length, bytes), (LENGTH as u64, message(seq)), "message {seq}");
    Some(seq)
}

fn receive_and_advance(segment: &Segment) {
    let channel = channel(segment);
    let (place, mut cursor) = subscribe(segment, Policy::Block, 2).expect("there is a place");
    let mut received = 0;
    while copy(segment, &mut cursor, Wanted::Some).is_some() {
        received += 1;
        channel.advance(place, cursor, received, 0, true);
        channel.count_delay(place, 1000);
    }
    assert!(received > 0);
}

/// Pins so many messages, and keeps the pins.
fn pin(segment: &Segment, most: usize) -> Vec<(usize, usize)> {
    let channel = channel(segment);
    let (place, mut cursor) = subscribe(segment, Policy::Drop, SLOTS as u64).expect("there is a place");
    let pinned =
        |_| channel.receive(&mut cursor, Wanted::Some, |at, _, _, seq| channel.pin(place, at, seq, 1).then_some(at));
    (0..most).map_while(pinned).map(|(_, at)| (place, at)).collect()
}

fn pin_and_unpin(segment: &Segment) {
    for (place, slot) in pin(segment, 2) {
        channel(segment).unpin(place, slot);
    }
}

fn die_with_pins(segment: &Segment) {
    assert_eq!(pin(segment, 3).len(), 3);
}

fn pin_and_leave(segment: &Segment) {
    let (place, _) = pin(segment, 2)[0];
    channel(segment).leave(place, segment.tag().expect("it can join"));
}

fn bury(segment: &Segment) {
    let channel = channel(segment);
    segment.as_caller(|caller| channel.bury(caller)).expect("it can join");
}

/// All slots but the newest message's are in this process's hands.
fn publish_and_loan(segment: &Segment) {
    publish(segment);
    let mut supply = Supply::default();
    (1..SLOTS).for_each(|_| _ = take(segment, &mut supply).expect("nobody holds it up"));
}

/// Messages, and one who has died with pins, a blocking subscription and loans, of which one counts.
fn fill_and_lose_one(segment: &Segment) {
    fill(segment);
    let death = run(u64::MAX, || {
        die_with_two_loans(segment);
        pin(segment, 1);
        subscribe_and_block(segment);
    });
    assert!(matches!(death, End::Done(_)));
}

/// The messages that can be had, each as it was published.
fn messages(segment: &Segment) -> Vec<u64> {
    let mut cursor = 1;
    std::iter::from_fn(|| copy(segment, &mut cursor, Wanted::Some)).collect()
}

/// Of the messages that can be had each is whole, and the newest is among them, also when the dead are buried; all slots,
/// all places and the right to publish belong to the living.
fn all_is_there(segment: &Segment) {
    let (channel, me) = (channel(segment), segment.tag().expect("it can join"));
    let (newest, found) = (channel.newest(), messages(segment));
    assert!(
        found.is_sorted() && found.last().copied().unwrap_or(0) == newest,
        "the newest of {found:?} is lost: {newest}"
    );
    assert_eq!(copy(segment, &mut 1, Wanted::Newest), found.last().copied());

    bury(segment);
    assert_eq!(messages(segment), found, "a burial has changed what counts");
    assert_eq!(channel.holdings(), vec![], "kept by the dead");
    let (mut supply, slots) = (Supply::default(), channel.slots().len() as u64);
    for seq in newest + 1..=newest + 3 * slots {
        assert_eq!(publish_now(segment, &mut supply), Some(seq));
        assert_eq!(copy(segment, &mut seq.clone(), Wanted::Some), Some(seq));
    }
    let mut seen: Vec<u64> = channel.slots().iter().map(Slot::seq).collect();
    seen.sort_unstable();
    assert_eq!(seen, (newest + 2 * slots + 1..=newest + 3 * slots).collect::<Vec<_>>(), "a slot is lost");

    let places = std::iter::from_fn(|| subscribe(segment, Policy::Drop, 0)).map(|(place, _)| place).collect::<Vec<_>>();
    assert_eq!(places.len(), if segment.kind() == Kind::Topic { PLACES as usize } else { 0 }, "a place is lost");
    places.into_iter().for_each(|place| channel.leave(place, me));
}

/// Nobody has buried them, and a publisher needs what they have: it waits, asks, and goes on.
fn one_can_publish_and_all_is_there(segment: &Segment) {
    let (mut supply, newest) = (Supply::default(), channel(segment).newest());
    for seq in newest + 1..=newest + 3 * SLOTS as u64 {
        assert_eq!(publish_in_time(segment, &mut supply), seq);
    }
    all_is_there(segment);
}

/// Whoever has died asleep keeps nothing from those who publish when there are slots again.
fn the_loans_come_back(segment: &Segment) {
    let (channel, me) = (channel(segment), segment.tag().expect("it can join"));
    for at in (0..channel.slots().len()).filter(|at| channel.slots()[*at].owner() == Some(me)) {
        channel.let_go(at, me);
    }
    channel.ring_for_room();
    one_can_publish_and_all_is_there(segment);
}

/// This process has a subscription that blocks, and has read nothing.
fn subscribe_and_fill(segment: &Segment) {
    subscribe(segment, Policy::Block, 0).expect("there is a place");
    (0..SLOTS - 1).for_each(|_| publish(segment));
}

/// Every message since then is there, in order; then it ends, and others can go on.
fn none_was_lost(segment: &Segment) {
    let (channel, mut cursor) = (channel(segment), 1);
    for expected in 1..=channel.newest() {
        assert_eq!(copy(segment, &mut cursor, Wanted::Some), Some(expected));
    }
    assert!(cursor > SLOTS as u64 - 1);
    channel.leave(0, segment.tag().expect("it can join"));
    one_can_publish_and_all_is_there(segment);
}

/// This process has two messages pinned, at place 0.
fn fill_and_pin(segment: &Segment) {
    fill(segment);
    assert_eq!(pin(segment, 2).len(), 2);
}

/// They are what they were; then they are let go.
fn the_pinned_are_whole(segment: &Segment) {
    let channel = channel(segment);
    let pinned: Vec<usize> = (0..channel.slots().len()).filter(|at| channel.slots()[*at].is_pinned()).collect();
    assert_eq!(pinned.len(), 2);
    for (at, seq) in pinned.iter().zip(2..) {
        let mut bytes = [0; LENGTH];
        arrangement(segment).read(segment, *at, &mut bytes).expect("it is inside");
        assert_eq!(bytes, message(seq));
        channel.unpin(0, *at);
    }
    channel.leave(0, segment.tag().expect("it can join"));
    one_can_publish_and_all_is_there(segment);
}

/// Announces a sleeper, for a message and for a slot.
fn sleep(segment: &Segment) {
    let channel = channel(segment);
    let waits = segment.as_caller(|caller| {
        matches!(channel.attempt_news(1 << 30), Attempt::Wait(_))
            && matches!(channel.attempt_room(caller, false), Attempt::Wait(_))
    });
    assert!(waits.expect("it can join"));
}

fn nothing(segment: &Segment) {
    segment.tag().expect("it can join");
}

pub(crate) fn scenes() -> Vec<Scene> {
    let scene = |name, before, victim, recovery, after| Scene {
        name,
        kind: Kind::Topic,
        parameters: [SLOTS, LENGTH as i64, PLACES],
        before,
        victim,
        recovery,
        after,
    };
    let latest = |name, before, victim| Scene {
        kind: Kind::Latest,
        parameters: [2, LENGTH as i64, 0],
        ..scene(name, before, victim, publish, one_can_publish_and_all_is_there)
    };
    let go_on = one_can_publish_and_all_is_there;
    vec![
        scene("topic: publish the first two", nothing, publish_two, publish, all_is_there),
        scene("topic: publish over old ones", fill, publish_two, publish, all_is_there),
        scene("topic: publish over old ones, unburied", fill, publish_two, publish, go_on),
        scene("topic: publish a batch", fill, publish_a_batch, publish_a_batch, all_is_there),
        scene("topic: publish a loan", fill, publish_a_loan, publish_a_loan, go_on),
        scene("topic: die with two loans", fill, die_with_two_loans, publish_two, go_on),
        scene("topic: publish what is needed", subscribe_and_fill, publish_if_it_can, publish_if_it_can, none_was_lost),
        scene("topic: publish around pins", fill_and_pin, publish_two, publish, the_pinned_are_whole),
        scene("topic: subscribe, and block", fill, subscribe_and_block, subscribe_and_block, go_on),
        scene("topic: receive and advance", fill, receive_and_advance, publish, go_on),
        scene("topic: pin and unpin", fill, pin_and_unpin, publish, go_on),
        scene("topic: die with pins", fill, die_with_pins, bury, go_on),
        scene("topic: pin and leave", fill, pin_and_leave, subscribe_and_block, go_on),
        scene("topic: sleep", publish_and_loan, sleep, publish_if_it_can, the_loans_come_back),
        scene("topic: bury the dead", fill_and_lose_one, bury, bury, go_on),
        scene("topic: publish after a death", fill_and_lose_one, publish, subscribe_and_block, go_on),
        latest("topic: set the newest value", publish, publish_two),
        latest("topic: set the first value", nothing, publish),
    ]
}
