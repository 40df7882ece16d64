//! The objects with a table of who holds what: semaphore, read-write lock, condition.

use samemap_core::bell::Attempt;
use samemap_core::condition::Waiting;
use samemap_core::layout::Kind;
use samemap_core::lock::{Dead, Taken};
use samemap_core::objects;
use samemap_core::rwlock::Writing;
use samemap_core::segment::Segment;

use crate::scene::{Scene, until_done};

fn take(segment: &Segment) {
    let (semaphore, held) = objects::semaphore(segment, 0).expect("it is there");
    until_done(segment, |caller, ask| semaphore.attempt_acquire(held, caller, ask));
}

fn give(segment: &Segment, count: u32) {
    let (semaphore, held) = objects::semaphore(segment, 0).expect("it is there");
    until_done(segment, |caller, ask| semaphore.attempt_release(held, caller, ask, count)).expect("it is not too many");
}

fn take_two_and_give_one(segment: &Segment) {
    take(segment);
    take(segment);
    give(segment, 1);
}

fn take_and_give(segment: &Segment) {
    take(segment);
    give(segment, 1);
}

fn give_for_others(segment: &Segment) {
    give(segment, 1);
}

/// All permits can be had, and not one more, and they can all be given back.
fn all_permits_are_there(segment: &Segment, permits: u32) {
    let (semaphore, held) = objects::semaphore(segment, 0).expect("it is there");
    for _ in 0..permits {
        take(segment);
    }
    let more = segment.as_caller(|caller| semaphore.poll_acquire(held, caller)).expect("it can join");
    assert!(!more, "a permit too many");
    give(segment, permits);
    let roster = segment.roster().expect("it is there");
    assert_eq!(semaphore.value(held, &roster), permits);
    let over = segment.as_caller(|caller| semaphore.attempt_release(held, caller, true, 1)).expect("it can join");
    assert!(matches!(over, Attempt::Done(Err(_))), "one more can be given back than there is");
}

fn two_permits_are_there(segment: &Segment) {
    all_permits_are_there(segment, 2);
}

/// This process has both permits; a victim has given one back on its behalf, or not.
fn none_is_lost(segment: &Segment) {
    let (semaphore, held) = objects::semaphore(segment, 0).expect("it is there");
    let roster = segment.roster().expect("it is there");
    let value = semaphore.value(held, &roster);
    assert!(value <= 2);
    if value < 2 {
        give(segment, 2 - value);
    }
    all_permits_are_there(segment, 2);
}

/// Signals: what was taken stays taken.
fn signals_are_counted(segment: &Segment) {
    let (semaphore, held) = objects::semaphore(segment, 0).expect("it is there");
    let roster = segment.roster().expect("it is there");
    let value = semaphore.value(held, &roster);
    // The victim took two of three and gave one; its heir took one and gave one.
    assert!(value <= 3, "{value}");
    for _ in 0..value {
        take(segment);
    }
    let more = segment.as_caller(|caller| semaphore.poll_acquire(held, caller)).expect("it can join");
    assert!(!more);
}

fn dead(ask: bool) -> Dead {
    if ask { Dead::TakeOver } else { Dead::DontAsk }
}

fn read(segment: &Segment) {
    let (lock, held) = objects::read_write_lock(segment, 0).expect("it is there");
    let taken = until_done(segment, |caller, ask| lock.attempt_read(held, caller, dead(ask)));
    assert!(!matches!(taken, Taken::Abandoned(_)));
}

fn read_and_end(segment: &Segment) {
    read(segment);
    let (lock, held) = objects::read_write_lock(segment, 0).expect("it is there");
    lock.release_read(held, segment.tag().expect("it can join")).expect("it reads");
}

fn write(segment: &Segment) {
    let (lock, held) = objects::read_write_lock(segment, 0).expect("it is there");
    let mut progress = Writing::default();
    until_done(segment, |caller, ask| lock.attempt_write(held, caller, &mut progress, dead(ask)));
}

fn write_and_end(segment: &Segment) {
    write(segment);
    let (lock, _) = objects::read_write_lock(segment, 0).expect("it is there");
    lock.release_write(segment.tag().expect("it can join")).expect("it writes");
}

/// Takes the lock, and finds a reader inside: as far as a writer comes without sleeping.
fn wait_to_write(segment: &Segment) {
    let (lock, held) = objects::read_write_lock(segment, 0).expect("it is there");
    let mut progress = Writing::default();
    let waits = segment.as_caller(|caller| {
        matches!(lock.attempt_write(held, caller, &mut progress, Dead::TakeOver), Attempt::Wait(_))
    });
    assert!(waits.expect("it can join"));
}

fn both_can_be_done(segment: &Segment) {
    read_and_end(segment);
    write_and_end(segment);
    read(segment);
    read(segment);
    let (lock, held) = objects::read_write_lock(segment, 0).expect("it is there");
    let me = segment.tag().expect("it can join");
    assert!(segment.as_caller(|caller| lock.poll_write(held, caller, Dead::TakeOver)).expect("it can join").is_none());
    for _ in 0..2 {
        lock.release_read(held, me).expect("it reads");
    }
    assert_eq!(lock.lock().holder(), None);
}

fn end_reading_and_do_both(segment: &Segment) {
    let (lock, held) = objects::read_write_lock(segment, 0).expect("it is there");
    lock.release_read(held, segment.tag().expect("it can join")).expect("it reads");
    both_can_be_done(segment);
}

fn begin_wait(segment: &Segment) -> Waiting {
    let (_, condition, waiters) = objects::condition(segment, 0).expect("it is there");
    segment.as_caller(|caller| condition.begin_wait(waiters, caller)).expect("it can join").expect("there is room")
}

/// Waits without sleeping: it is notified, or not, and ends.
fn wait_a_moment(segment: &Segment) {
    let (_, condition, waiters) = objects::condition(segment, 0).expect("it is there");
    let mut waiting = begin_wait(segment);
    let attempted = segment
        .as_caller(|caller| matches!(condition.attempt_wait(waiters, &mut waiting, caller, true), Attempt::Done(())));
    attempted.expect("it can join");
    condition.end_wait(waiters, waiting, segment.tag().expect("it can join"));
}

fn notify_one(segment: &Segment) {
    let (_, condition, waiters) = objects::condition(segment, 0).expect("it is there");
    segment.as_caller(|caller| condition.notify(waiters, 1, caller)).expect("it can join");
}

/// Who begins to wait now is notified by one notification, whatever the dead have left in the queue; and no more.
fn news_reaches_the_living(segment: &Segment) {
    let (_, condition, waiters) = objects::condition(segment, 0).expect("it is there");
    let mut waiting = begin_wait(segment);
    // News that a dead one never passed on may come first, once. Then it waits.
    let inherited = segment
        .as_caller(|caller| matches!(condition.attempt_wait(waiters, &mut waiting, caller, true), Attempt::Done(())));
    if inherited.expect("it can join") {
        assert!(condition.end_wait(waiters, waiting, segment.tag().expect("it can join")));
        waiting = begin_wait(segment);
    }
    notify_one(segment);
    until_done(segment, |caller, ask| condition.attempt_wait(waiters, &mut waiting, caller, ask));
    assert!(condition.end_wait(waiters, waiting, segment.tag().expect("it can join")));
    let mut waiting = begin_wait(segment);
    let again = segment
        .as_caller(|caller| matches!(condition.attempt_wait(waiters, &mut waiting, caller, true), Attempt::Done(())));
    assert!(!again.expect("it can join"), "news out of nothing");
    assert!(!condition.end_wait(waiters, waiting, segment.tag().expect("it can join")));
}

fn nothing(_segment: &Segment) {}

fn take_both(segment: &Segment) {
    take(segment);
    take(segment);
}

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
    let (bounded, signals, none) = ([2, 2, 0], [3, -1, 1], [0; 3]);
    let (permits, readers, news) = (Kind::Semaphore, Kind::ReadWriteLock, Kind::Condition);
    vec![
        scene(
            "semaphore: take two, give one",
            permits,
            bounded,
            nothing,
            take_two_and_give_one,
            take_and_give,
            two_permits_are_there,
        ),
        scene("semaphore: give for others", permits, bounded, take_both, give_for_others, nothing, none_is_lost),
        scene(
            "semaphore: signals",
            permits,
            signals,
            nothing,
            take_two_and_give_one,
            take_and_give,
            signals_are_counted,
        ),
        scene("read-write lock: read", readers, none, nothing, read_and_end, read_and_end, both_can_be_done),
        scene("read-write lock: die reading", readers, none, nothing, read, write_and_end, both_can_be_done),
        scene("read-write lock: write", readers, none, nothing, write_and_end, read_and_end, both_can_be_done),
        scene("read-write lock: die writing", readers, none, nothing, write, read_and_end, both_can_be_done),
        scene(
            "read-write lock: wait to write",
            readers,
            none,
            read,
            wait_to_write,
            read_and_end,
            end_reading_and_do_both,
        ),
        scene("condition: wait", news, none, nothing, wait_a_moment, wait_a_moment, news_reaches_the_living),
        scene(
            "condition: die waiting, notify",
            news,
            none,
            nothing,
            |s| drop(begin_wait(s)),
            notify_one,
            news_reaches_the_living,
        ),
    ]
}
