//! The lock.

use samemap_core::bell::Attempt;
use samemap_core::layout::Kind;
use samemap_core::lock::{Dead, Lock, Taken};
use samemap_core::segment::Segment;

use crate::scene::{Scene, until_done};

fn lock(segment: &Segment) -> &Lock {
    segment.at(0).expect("it is there")
}

fn acquire(segment: &Segment) -> Taken {
    let dead = |ask| if ask { Dead::TakeOver } else { Dead::DontAsk };
    until_done(segment, |caller, ask| lock(segment).attempt(caller, dead(ask)))
}

fn release(segment: &Segment) {
    lock(segment).release(segment.tag().expect("it can join")).expect("it is held");
}

fn nothing(_segment: &Segment) {}

fn hold(segment: &Segment) {
    acquire(segment);
}

fn acquire_and_release(segment: &Segment) {
    acquire(segment);
    release(segment);
}

/// Announces a sleeper, as if it slept from then on.
fn wait_for_it(segment: &Segment) {
    let waits = segment.as_caller(|caller| matches!(lock(segment).attempt(caller, Dead::DontAsk), Attempt::Wait(_)));
    assert!(waits.expect("it can join"));
}

fn it_can_be_had(segment: &Segment) {
    acquire(segment);
    assert!(lock(segment).is_held_by(segment.tag().expect("it can join")));
    release(segment);
    assert_eq!(lock(segment).holder(), None);
}

fn release_and_take_again(segment: &Segment) {
    release(segment);
    it_can_be_had(segment);
}

pub(crate) fn scenes() -> Vec<Scene> {
    let scene = |name, before, victim, after| Scene {
        name,
        kind: Kind::Lock,
        parameters: [0; 3],
        before,
        victim,
        recovery: acquire_and_release,
        after,
    };
    vec![
        scene("lock: acquire and release", nothing, acquire_and_release, it_can_be_had),
        scene("lock: die with it", nothing, hold, it_can_be_had),
        Scene { recovery: wait_for_it, ..scene("lock: wait for it", hold, wait_for_it, release_and_take_again) },
    ]
}
