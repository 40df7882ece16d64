//! Topics and newest values: publishing, receiving, pinning, joining, leaving, and clearing away the dead.

use samemap_core::arrangement::Arrangement;
use samemap_core::bell::Attempt;
use samemap_core::layout::Kind;
use samemap_core::segment::Segment;
use samemap_core::subscriber::Policy;
use samemap_core::tag::Tag;
use samemap_core::topic::audience::Start;
use samemap_core::topic::supply::Supply;
use samemap_core::topic::{Channel, Wanted};

use crate::scene::{Scene, until_done};

const SLOTS: i64 = 4;
const SIZE: usize = 64;

fn me(segment: &Segment) -> Tag {
    segment.tag().expect("it can join")
}

fn with<T>(segment: &Segment, work: impl FnOnce(&Arrangement, Channel<'_>) -> T) -> T {
    let arrangement = Arrangement::of(segment).expect("it is whole");
    work(&arrangement, arrangement.channel(segment).expect("it is there"))
}

/// Writes a message into a slot that is found to be free, and has it count, but tells nobody.
fn commit(segment: &Segment, supply: &mut Supply) -> u64 {
    with(segment, |arrangement, channel| {
        let mut taken = segment.as_caller(|caller| channel.take(supply, caller)).expect("it can join");
        if taken.is_none() {
            until_done(segment, |caller, ask| channel.attempt_room(caller, ask));
            taken = segment.as_caller(|caller| channel.take(supply, caller)).expect("it can join");
        }
        let slot = taken.expect("there is room");
        // What it will be is not known before; so all bytes are alike, and the length tells them.
        let mark = [slot as u8 + 1; SIZE];
        // SAFETY: an array that lives through the call.
        unsafe { arrangement.write(segment, slot, 0, mark.as_ptr(), SIZE) }.expect("it fits");
        channel.label(slot, me(segment), SIZE, 1);
        let seq = channel.commit(slot, supply.hope).expect("it is not damaged");
        supply.hope = seq + 1;
        channel.let_go(slot, me(segment));
        seq
    })
}

fn publish(segment: &Segment) -> u64 {
    let seq = commit(segment, &mut Supply::default());
    with(segment, |_, channel| {
        channel.announce(seq);
        channel.count(me(segment), 1, SIZE as u64, 1);
    });
    seq
}

fn publish_one(segment: &Segment) {
    publish(segment);
}

/// More than there are slots, so that old ones go.
fn publish_many(segment: &Segment) {
    for _ in 0..2 * SLOTS {
        publish(segment);
    }
}

/// Several that count before anybody is told.
fn publish_batch(segment: &Segment) {
    let mut supply = Supply::default();
    let mut last = 0;
    for _ in 0..3 {
        last = commit(segment, &mut supply);
    }
    with(segment, |_, channel| channel.announce(last));
}

/// Takes a slot, and dies or ends with it in its hands.
fn take_a_slot(segment: &Segment) {
    with(segment, |_, channel| {
        let taken = segment.as_caller(|caller| channel.take(&mut Supply::default(), caller)).expect("it can join");
        channel.slots()[taken.expect("there is room")].note_held(1);
    });
}

fn join(segment: &Segment, policy: Policy, history: u64) -> (usize, u64) {
    with(segment, |_, channel| {
        let joined = segment.as_caller(|caller| channel.subscribe(caller, policy, Start::History(history), 1));
        joined.expect("it can join").expect("there is a place")
    })
}

/// Receives all that is there from `cursor` on, by copying; the numbers.
fn receive(segment: &Segment, place: Option<usize>, cursor: &mut u64) -> Vec<u64> {
    with(segment, |arrangement, channel| {
        let mut found = Vec::new();
        while let Some((seq, ())) = channel.receive(cursor, Wanted::Some, |at, slot, label, seq| {
            let mut bytes = [0; SIZE];
            arrangement.read(segment, at, &mut bytes).expect("it is there");
            assert_eq!((label.length, bytes), (SIZE as u64, [at as u8 + 1; SIZE]), "message {seq} is torn");
            slot.is_still(seq).then_some(())
        }) {
            found.push(seq);
            if let Some(place) = place {
                channel.advance(place, *cursor, found.len() as u64, 0, true);
            }
        }
        found
    })
}

fn subscribe_and_receive(segment: &Segment) {
    let (place, mut cursor) = join(segment, Policy::Block, 2);
    receive(segment, Some(place), &mut cursor);
    with(segment, |_, channel| channel.leave(place, me(segment)));
}

fn subscribe_and_pin(segment: &Segment) {
    let (place, cursor) = join(segment, Policy::Drop, 2);
    with(segment, |_, channel| {
        let slot = channel.find(cursor).expect("it is there");
        assert!(channel.pin(place, slot, cursor, 1));
        channel.unpin(place, slot);
        channel.leave(place, me(segment));
    });
}

/// Is left with a pin, a place that holds publishers up, and a slot in its hands.
fn hold_all(segment: &Segment) {
    let (place, cursor) = join(segment, Policy::Block, 2);
    with(segment, |_, channel| {
        let slot = channel.find(cursor).expect("it is there");
        assert!(channel.pin(place, slot, cursor, 1));
    });
    take_a_slot(segment);
}

fn bury(segment: &Segment) {
    with(segment, |_, channel| segment.as_caller(|caller| channel.bury(caller)).expect("it can join"));
}

fn sleep_for_a_message(segment: &Segment) {
    me(segment);
    with(segment, |_, channel| assert!(matches!(channel.attempt_news(1 << 30), Attempt::Wait(_))));
}

fn two_before(segment: &Segment) {
    publish(segment);
    publish(segment);
}

fn many_before(segment: &Segment) {
    for _ in 0..SLOTS + 1 {
        publish(segment);
    }
}

/// Numbers have no gap, what counts is whole, and after a look at the dead every slot can be had again.
fn all_goes_on(segment: &Segment) {
    let before = with(segment, |_, channel| channel.newest());
    let there = receive(segment, None, &mut 1);
    assert!(there.windows(2).all(|pair| pair[0] < pair[1]), "{there:?}");
    assert_eq!(there.last().copied().unwrap_or(0), before, "the newest is there");
    assert_eq!(publish(segment), before + 1, "numbers have no gap");
    bury(segment);
    let (place, mut cursor) = join(segment, Policy::Block, 0);
    with(segment, |_, channel| {
        let held = channel.slots().iter().filter(|slot| slot.owner().is_some() || slot.is_pinned()).count();
        assert_eq!((held, channel.progress().count()), (0, 1), "the dead have nothing any more");
    });
    for round in 1..=3 * SLOTS as u64 {
        assert_eq!(publish(segment), before + 1 + round);
        assert_eq!(receive(segment, Some(place), &mut cursor), [before + 1 + round]);
    }
    let last = with(segment, |_, channel| channel.newest());
    let there = receive(segment, None, &mut 1);
    let expected: Vec<u64> = (last + 1 - SLOTS as u64..=last).collect();
    assert_eq!(there, expected, "every slot has one of the last messages");
    until_done(segment, |_, _| {
        with(segment, |_, channel| channel.is_news(last))
            .then_some(())
            .map_or_else(|| panic!("the newest is news to who has not seen it"), Attempt::Done)
    });
    with(segment, |_, channel| channel.leave(place, me(segment)));
}

fn the_newest_is_there(segment: &Segment) {
    let before = with(segment, |_, channel| channel.newest());
    let newest = with(segment, |_, channel| channel.receive(&mut 1, Wanted::Newest, |_, _, _, seq| Some(seq)));
    assert_eq!(newest.map_or(0, |(seq, _)| seq), before);
    bury(segment);
    for round in 1..=3 * SLOTS as u64 {
        assert_eq!(publish(segment), before + round);
    }
}

pub(crate) fn scenes() -> Vec<Scene> {
    let scene = |name, before, victim, recovery| Scene {
        name,
        kind: Kind::Topic,
        parameters: [SLOTS, SIZE as i64, 4],
        before,
        victim,
        recovery,
        after: all_goes_on,
    };
    vec![
        scene("topic: publish", two_before, publish_one, publish_one),
        scene("topic: publish over old messages", many_before, publish_many, publish_one),
        scene("topic: publish several at once", many_before, publish_batch, publish_batch),
        scene("topic: die with a slot", two_before, take_a_slot, bury),
        scene("topic: subscribe, receive, leave", two_before, subscribe_and_receive, subscribe_and_receive),
        scene("topic: subscribe, pin, leave", two_before, subscribe_and_pin, subscribe_and_pin),
        scene("topic: die with a pin, a place and a slot", two_before, hold_all, bury),
        scene("topic: sleep for a message", two_before, sleep_for_a_message, publish_one),
        Scene {
            kind: Kind::Latest,
            parameters: [SLOTS, SIZE as i64, 0],
            after: the_newest_is_there,
            ..scene("latest: set", two_before, publish_many, publish_one)
        },
    ]
}
