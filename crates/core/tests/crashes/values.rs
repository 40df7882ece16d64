//! The objects whose every change is one store: event, counter, and the lock that its holder can take again.

use samemap_core::counter::Counter;
use samemap_core::event::Event;
use samemap_core::layout::Kind;
use samemap_core::lock::{Dead, Taken};
use samemap_core::rlock::RLock;
use samemap_core::segment::Segment;
use samemap_core::tag::Tag;

use crate::scene::{Scene, until_done};

fn rlock(segment: &Segment) -> &RLock {
    segment.at(0).expect("it is there")
}

fn me(segment: &Segment) -> Tag {
    segment.tag().expect("it can join")
}

/// A number of its own for the one thread of each process, as the binding has it.
fn thread() -> u64 {
    u64::from(std::process::id())
}

fn take_twice(segment: &Segment) {
    let lock = rlock(segment);
    let dead = |ask| if ask { Dead::TakeOver } else { Dead::DontAsk };
    if lock.try_acquire(me(segment), thread()) != Ok(true) {
        let taken = until_done(segment, |caller, ask| lock.attempt(caller, thread(), dead(ask)));
        assert!(!matches!(taken, Taken::Abandoned(_)));
    }
    assert_eq!(lock.try_acquire(me(segment), thread()), Ok(true));
    assert_eq!(lock.depth(), 2);
}

fn take_and_release_twice(segment: &Segment) {
    take_twice(segment);
    let lock = rlock(segment);
    assert_eq!(lock.release(me(segment), thread()), Ok(false));
    assert_eq!(lock.release(me(segment), thread()), Ok(true));
    assert_eq!((lock.depth(), lock.lock().holder()), (0, None));
}

fn event(segment: &Segment) -> &Event {
    segment.at(0).expect("it is there")
}

fn set_clear_set(segment: &Segment) {
    me(segment);
    event(segment).set();
    event(segment).clear();
    event(segment).set();
}

fn listen(segment: &Segment) {
    let begun = event(segment).begin();
    assert!(matches!(event(segment).attempt(begun), samemap_core::bell::Attempt::Wait(_)));
}

/// Whatever it was left at, it can be set and waited for.
fn it_can_be_waited_for(segment: &Segment) {
    event(segment).clear();
    let begun = event(segment).begin();
    event(segment).set();
    until_done(segment, |_, _| event(segment).attempt(begun));
    assert!(event(segment).is_set());
}

fn counter(segment: &Segment) -> &Counter {
    segment.at(0).expect("it is there")
}

/// By powers of two, so that the sum tells which of them came to be.
fn count(segment: &Segment) {
    me(segment);
    for power in 0..4 {
        counter(segment).add(1 << power).expect("it fits");
    }
}

fn count_on(segment: &Segment) {
    me(segment);
    counter(segment).add(16).expect("it fits");
}

fn wait_for_the_counter(segment: &Segment) {
    assert!(matches!(counter(segment).attempt(|value| value == -1), samemap_core::bell::Attempt::Wait(_)));
}

/// What was added before the death is there, and nothing after it.
fn the_sum_is_of_the_first_ones(segment: &Segment) {
    let value = counter(segment).value();
    assert!((value & 15).count_ones() == (value & 15).trailing_ones() && value >> 5 == 0, "{value}");
    assert_eq!(counter(segment).add(32), Ok(value + 32));
    let reached = until_done(segment, |_, _| counter(segment).attempt(|now| now >= 32));
    assert_eq!(reached, value + 32);
}

fn nothing(_segment: &Segment) {}

pub(crate) fn scenes() -> Vec<Scene> {
    let scene = |name, kind, before, victim, recovery, after| Scene {
        name,
        kind,
        parameters: [0; 3],
        before,
        victim,
        recovery,
        after,
    };
    vec![
        scene(
            "rlock: take and release twice",
            Kind::RLock,
            nothing,
            take_and_release_twice,
            take_and_release_twice,
            take_and_release_twice,
        ),
        scene("rlock: die with it", Kind::RLock, nothing, take_twice, take_twice, take_and_release_twice),
        scene("event: set, clear, set", Kind::Event, listen, set_clear_set, set_clear_set, it_can_be_waited_for),
        scene("event: wait for it", Kind::Event, nothing, listen, listen, it_can_be_waited_for),
        scene("counter: add", Kind::Counter, wait_for_the_counter, count, count_on, the_sum_is_of_the_first_ones),
        scene(
            "counter: wait for it",
            Kind::Counter,
            nothing,
            wait_for_the_counter,
            count_on,
            the_sum_is_of_the_first_ones,
        ),
    ]
}
