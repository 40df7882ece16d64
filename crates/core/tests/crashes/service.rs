//! Services: calls, the lanes for their replies, and those who serve. What a dead server had is not delivered again.

use std::sync::Mutex;

use samemap_core::bell::Attempt;
use samemap_core::layout::Kind;
use samemap_core::queue::Answer;
use samemap_core::segment::Segment;

use crate::hand::{Call, Hand, LARGE, SMALL};
use crate::ledger::ledger;
use crate::queue::{all_is_free, goes_on, lose};
use crate::scene::{Scene, until_done};

const JOBS: i64 = 4;
const BYTES: i64 = 4 * 4096;

/// What this process waits for, while others die.
static CALLED: Mutex<Vec<Call>> = Mutex::new(Vec::new());

// Before

fn nothing(segment: &Segment) {
    segment.tag().expect("it can join");
    ledger().clear();
}

/// This process waits for the replies to two calls.
fn two_calls(segment: &Segment) {
    nothing(segment);
    let mut hand = Hand::new(segment);
    let calls = [SMALL, LARGE].map(|length| hand.call(length).expect("there is room"));
    *CALLED.lock().expect("nobody panics with it") = calls.to_vec();
}

/// One who has called has died, and was served since; another one has died that called it again and again.
fn dead_callers(segment: &Segment) {
    nothing(segment);
    lose(segment, |hand| _ = hand.call(LARGE).expect("there is room"));
    assert!(Hand::new(segment).serve(LARGE));
    lose(segment, |hand| _ = hand.call(SMALL).expect("there is room"));
}

/// One has died with a request, and one while it wrote its reply.
fn dead_servers(segment: &Segment) {
    two_calls(segment);
    lose(segment, |hand| _ = hand.take(0).expect("it was sent"));
    lose(segment, |hand| {
        let request = hand.take(0).expect("it was sent");
        let (lane, number) = hand.store.jobs()[request.grip.at].reply_to();
        hand.fill((usize::from(lane), number), LARGE).expect("there is room");
    });
}

// What is died at

fn call(segment: &Segment) {
    Hand::new(segment).call(SMALL);
}

/// Calls, is served by itself, and takes the reply.
fn call_and_be_served(segment: &Segment) {
    let mut hand = Hand::new(segment);
    let Some((lane, request)) = hand.call(LARGE) else { return };
    while hand.serve(SMALL) {}
    hand.wait_for_reply((lane, request));
    hand.store.release_lane(lane.0, lane.1, hand.me);
}

/// Calls, and goes away without the reply, which is there by then.
fn call_and_go_away(segment: &Segment) {
    let mut hand = Hand::new(segment);
    let Some(((lane, number), _)) = hand.call(SMALL) else { return };
    while hand.serve(LARGE) {}
    hand.store.release_lane(lane, number, hand.me);
}

/// Calls, and takes the request back before anybody has it.
fn call_and_withdraw(segment: &Segment) {
    let mut hand = Hand::new(segment);
    let Some(((lane, number), request)) = hand.call(LARGE) else { return };
    hand.store.withdraw(request, hand.me);
    hand.store.release_lane(lane, number, hand.me);
}

/// Replies to one who has gone away meanwhile; who calls next finds that in its lane.
fn reply_too_late(segment: &Segment) {
    let mut hand = Hand::new(segment);
    let Some(((lane, number), _)) = hand.call(SMALL) else { return };
    let late = hand.fill((lane, number), LARGE);
    hand.store.release_lane(lane, number, hand.me);
    if let Some(seq) = late.and_then(|filled| hand.commit(filled)) {
        hand.store.announce(lane, seq, false);
    }
    call_and_be_served(segment);
}

fn serve(segment: &Segment) {
    while Hand::new(segment).serve(LARGE) {}
}

fn bury(segment: &Segment) {
    Hand::new(segment).bury();
}

fn bury_and_serve(segment: &Segment) {
    bury(segment);
    Hand::new(segment).serve(SMALL);
}

fn bury_and_call(segment: &Segment) {
    bury(segment);
    call(segment);
}

/// Announces one who waits for a reply.
fn sleep(segment: &Segment) {
    let mut hand = Hand::new(segment);
    let Some(((lane, _), request)) = hand.call(SMALL) else { return };
    let (store, mut had) = (hand.store, None);
    hand.as_caller(|caller| {
        assert!(matches!(store.attempt_reply(lane, request, &mut had, caller, false), Attempt::Wait(_)));
    });
}

// After

/// All requests are served, all lanes can be claimed, all is free, and others can call.
fn calls_go_on(segment: &Segment) {
    let mut hand = Hand::new(segment);
    hand.bury();
    while hand.serve(SMALL) {}
    all_is_free(&hand);
    let lanes: Vec<_> = std::iter::from_fn(|| hand.as_caller(|caller| hand.store.claim_lane(caller))).collect();
    assert_eq!(lanes.len() + 1, hand.store.shape().lanes, "a lane is lost");
    for (lane, number) in lanes {
        hand.store.release_lane(lane, number, hand.me);
    }
    for length in [SMALL, LARGE] {
        let ((lane, number), request) = hand.call(length).expect("there is room");
        assert!(hand.serve(length));
        assert!(hand.wait_for_reply(((lane, number), request)));
        hand.store.release_lane(lane, number, hand.me);
    }
    all_is_free(&hand);
    goes_on(&mut hand);
    all_is_free(&hand);
}

/// Who waits gets the reply, or learns that there is none because who had the request is dead.
fn all_are_answered(segment: &Segment) {
    let mut hand = Hand::new(segment);
    let called = std::mem::take(&mut *CALLED.lock().expect("nobody panics with it"));
    for ((lane, number), request) in called {
        let (store, mut had) = (hand.store, None);
        let answer = loop {
            let attempt = |caller: samemap_core::tag::Caller<'_>, ask| {
                if store.is_news(0) {
                    return Attempt::Done(None);
                }
                match store.attempt_reply(lane, request, &mut had, caller, ask) {
                    Attempt::Done(answer) => Attempt::Done(Some(answer)),
                    Attempt::Wait(sleep) => Attempt::Wait(sleep),
                }
            };
            if let Some(answer) = until_done(segment, attempt) {
                break answer;
            }
            hand.serve(SMALL);
        };
        if answer == Answer::There {
            assert!(hand.wait_for_reply(((lane, number), request)));
        }
        hand.store.release_lane(lane, number, hand.me);
    }
    calls_go_on(segment);
}

pub(crate) fn scenes() -> Vec<Scene> {
    let scene = |name, before, victim, recovery, after| Scene {
        name,
        kind: Kind::Service,
        parameters: [JOBS, BYTES, 0],
        before,
        victim,
        recovery,
        after,
    };
    vec![
        scene("queue: call", nothing, call, bury_and_serve, calls_go_on),
        scene("queue: call and be served", nothing, call_and_be_served, bury, calls_go_on),
        scene("queue: call and go away", nothing, call_and_go_away, bury, calls_go_on),
        scene("queue: call and withdraw", nothing, call_and_withdraw, bury_and_serve, calls_go_on),
        scene("queue: reply too late", nothing, reply_too_late, bury, calls_go_on),
        scene("queue: serve", two_calls, serve, bury_and_serve, all_are_answered),
        scene("queue: sleep for a reply", nothing, sleep, serve, calls_go_on),
        scene("queue: bury dead callers", dead_callers, bury, bury_and_serve, calls_go_on),
        scene("queue: call after deaths", dead_callers, bury_and_call, bury_and_serve, calls_go_on),
        scene("queue: bury dead servers", dead_servers, bury, bury, all_are_answered),
    ]
}
