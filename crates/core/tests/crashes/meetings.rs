//! The objects where processes meet: the barrier, and the directory of a namespace.

use samemap_core::barrier::{Arrival, Passage};
use samemap_core::bell::Attempt;
use samemap_core::counter::Counter;
use samemap_core::layout::Kind;
use samemap_core::objects::{self, Parameters};
use samemap_core::segment::Segment;

use crate::scene::{Scene, until_done};

const NAMESPACE: i64 = 64 << 10;

fn arrive(segment: &Segment, arrival: &mut Arrival) -> Passage {
    let (barrier, places) = objects::barrier(segment, 0).expect("it is there");
    until_done(segment, |caller, ask| barrier.attempt(places, caller, arrival, ask))
}

/// Arrives as the second of two, and lets the first one go.
fn arrive_last_and_trip(segment: &Segment) {
    let (barrier, places) = objects::barrier(segment, 0).expect("it is there");
    match arrive(segment, &mut Arrival::default()) {
        Passage::Last(1) => {
            let tripped = barrier.trip(places, segment.tag().expect("it can join"));
            assert!(matches!(tripped, Passage::Through(1) | Passage::Broken(_)), "{tripped:?}");
        }
        Passage::Broken(_) => {}
        other => panic!("{other:?}"),
    }
}

/// Arrives as the first of two, as far as one comes without sleeping.
fn arrive_first(segment: &Segment) {
    let (barrier, places) = objects::barrier(segment, 0).expect("it is there");
    let mut arrival = Arrival::default();
    let waits =
        segment.as_caller(|caller| matches!(barrier.attempt(places, caller, &mut arrival, false), Attempt::Wait(_)));
    assert!(waits.expect("it can join"));
}

fn abort(segment: &Segment) {
    segment.tag().expect("it can join");
    objects::barrier(segment, 0).expect("it is there").0.abort();
}

fn reset(segment: &Segment) {
    let (barrier, places) = objects::barrier(segment, 0).expect("it is there");
    segment.tag().expect("it can join");
    barrier.reset(places);
}

/// Whoever waits is let through or told, and after a reset two can meet.
fn two_can_meet(segment: &Segment) {
    let (barrier, places) = objects::barrier(segment, 0).expect("it is there");
    // Whatever the dead have left: it ends, because one of two has died, or all is as if it had not come.
    let mut arrival = Arrival::default();
    let first = segment.as_caller(|caller| barrier.attempt(places, caller, &mut arrival, false)).expect("it can join");
    match first {
        Attempt::Done(Passage::Through(_)) => panic!("alone through a barrier for two"),
        Attempt::Done(Passage::Last(_) | Passage::Broken(_)) => {}
        Attempt::Wait(_) => {
            barrier.abandon(&arrival);
        }
    }
    reset(segment);
    assert!(!barrier.is_broken());
    assert_eq!(barrier.waiting(places), 0);
    for _ in 0..3 {
        let (mut one, mut other) = (Arrival::default(), Arrival::default());
        let waits = segment.as_caller(|caller| barrier.attempt(places, caller, &mut one, true)).expect("it can join");
        assert!(matches!(waits, Attempt::Wait(_)));
        assert_eq!(barrier.waiting(places), 1);
        assert_eq!(arrive(segment, &mut other), Passage::Last(1));
        assert_eq!(barrier.trip(places, segment.tag().expect("it can join")), Passage::Through(1));
        assert_eq!(arrive(segment, &mut one), Passage::Through(0));
    }
}

fn add(segment: &Segment, name: &str, value: i64) -> usize {
    let parameters = Parameters([value, 0, 0]);
    let found = until_done(segment, |caller, ask| {
        objects::find_or_add(segment, caller, ask, name, Kind::Counter, parameters).expect("there is room")
    });
    found.offset
}

fn add_two(segment: &Segment) {
    add(segment, "one", 1);
    add(segment, "two", 2);
}

/// What is listed is whole, and what is not can be made: each once, none on top of another.
fn the_directory_is_whole(segment: &Segment) {
    for (name, kind, offset) in objects::list(segment).expect("it is not damaged") {
        assert_eq!(kind, Kind::Counter);
        let value = segment.at::<Counter>(offset).expect("it is inside").value();
        assert_eq!(value, if name == "one" { 1 } else { 2 }, "{name}");
    }
    let (two, three) = (add(segment, "two", 2), add(segment, "three", 3));
    assert_eq!(add(segment, "two", 9), two);
    segment.at::<Counter>(three).expect("it is inside").add(4).expect("it fits");
    assert_eq!(segment.at::<Counter>(two).expect("it is inside").value(), 2);
    let mut offsets: Vec<usize> = objects::list(segment).expect("it is whole").into_iter().map(|(.., at)| at).collect();
    let count = offsets.len();
    offsets.dedup();
    assert_eq!(offsets.len(), count, "two objects in one place");
    assert!((2..=3).contains(&count));
}

fn nothing(_segment: &Segment) {}

pub(crate) fn scenes() -> Vec<Scene> {
    let scene = |name, kind, parameters, before, victim, recovery, after| Scene {
        name,
        kind,
        parameters,
        before,
        victim,
        recovery,
        after,
    };
    let (barrier, two) = (Kind::Barrier, [2, 0, 0]);
    let (namespace, bytes) = (Kind::Namespace, [NAMESPACE, 0, 0]);
    vec![
        scene("barrier: arrive first", barrier, two, nothing, arrive_first, reset, two_can_meet),
        scene("barrier: arrive last, and trip", barrier, two, arrive_first, arrive_last_and_trip, reset, two_can_meet),
        scene("barrier: abort", barrier, two, arrive_first, abort, reset, two_can_meet),
        scene("barrier: reset", barrier, two, arrive_first, reset, arrive_first_or_not, two_can_meet),
        scene("namespace: add two", namespace, bytes, nothing, add_two, add_two, the_directory_is_whole),
    ]
}

/// Arrives; first or last, as it happens to be.
fn arrive_first_or_not(segment: &Segment) {
    let (barrier, places) = objects::barrier(segment, 0).expect("it is there");
    let mut arrival = Arrival::default();
    let attempted =
        segment.as_caller(|caller| matches!(barrier.attempt(places, caller, &mut arrival, true), Attempt::Done(_)));
    attempted.expect("it can join");
}
