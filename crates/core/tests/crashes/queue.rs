//! Queues: putting, taking, leasing, and looking after the dead.

use std::sync::Mutex;

use samemap_core::bell::Attempt;
use samemap_core::job::Phase;
use samemap_core::layout::Kind;
use samemap_core::queue::{Ended, Shut};
use samemap_core::segment::Segment;

use crate::hand::{Hand, LARGE, SMALL, Taken};
use crate::ledger::ledger;
use crate::process::{End, run};
use crate::scene::{Scene, until_done};

const JOBS: u64 = 4;
/// Room for two large messages.
const BYTES: i64 = 4 * 4096;
/// Deliveries before a job is a dead letter.
const ATTEMPTS: u32 = 3;
/// The end of a lease that is over, and of one that never is.
const PAST: u64 = 256;
const FUTURE: u64 = u64::MAX;

/// What this process has leased, and keeps while others die.
static LEASED: Mutex<Option<Taken>> = Mutex::new(None);

fn leased() -> Taken {
    LEASED.lock().expect("nobody panics with it").expect("there is one")
}

/// In a process that comes through, and dies then.
pub(crate) fn lose(segment: &Segment, work: impl FnOnce(&mut Hand<'_>)) {
    assert!(matches!(run(u64::MAX, || work(&mut Hand::new(segment))), End::Done(_)));
}

// Before

fn nothing(segment: &Segment) {
    segment.tag().expect("it can join");
    ledger().clear();
}

fn small_ones(segment: &Segment) {
    nothing(segment);
    let mut hand = Hand::new(segment);
    (0..JOBS).for_each(|_| _ = hand.put_now(SMALL).expect("there is room"));
}

fn large_ones(segment: &Segment) {
    nothing(segment);
    let mut hand = Hand::new(segment);
    (0..2).for_each(|_| _ = hand.put_now(LARGE).expect("there is room"));
}

/// Others have taken what came first, so that the ring is written over.
fn second_turn(segment: &Segment) {
    small_ones(segment);
    let mut hand = Hand::new(segment);
    (0..2 * JOBS).for_each(|_| {
        get_and_say_so(&mut hand);
        hand.put_now(SMALL).expect("there is room");
    });
    get_and_say_so(&mut hand);
    get_and_say_so(&mut hand);
}

fn get_and_say_so(hand: &mut Hand<'_>) {
    hand.get().expect("it was put");
    assert!(hand.as_caller(|caller| hand.store.task_done(caller)));
}

fn lease(segment: &Segment, until: u64) {
    let mut hand = Hand::new(segment);
    *LEASED.lock().expect("nobody panics with it") = Some(hand.take(until).expect("it was put"));
}

/// This process has leased a large one, and its time is over.
fn an_overdue_lease(segment: &Segment) {
    large_ones(segment);
    lease(segment, PAST);
}

/// It was taken away.
fn a_lost_lease(segment: &Segment) {
    an_overdue_lease(segment);
    lose(segment, |hand| hand.bury());
}

/// This process has views of a large one, and has given it back.
fn views_of_what_was_given_back(segment: &Segment) {
    large_ones(segment);
    lease(segment, FUTURE);
    assert_eq!(Hand::new(segment).give_back(leased(), true), Ended::Done);
}

/// This process has put a large one that it filled in place, and sees it still; another one waits behind it.
fn views_of_what_was_lent(segment: &Segment) {
    nothing(segment);
    let mut hand = Hand::new(segment);
    *LEASED.lock().expect("nobody panics with it") = Some(hand.put_in_place(LARGE).expect("there is room"));
    hand.put_now(LARGE).expect("there is room");
}

/// Others have got and acknowledged what this process has views of: it was left to this process.
fn views_of_what_is_done(segment: &Segment) {
    views_of_what_was_given_back(segment);
    lose(segment, |hand| assert!(hand.get().is_some()));
}

/// This process has views of a large one, and has put it away; the other one is taken.
fn views_of_a_dead_letter(segment: &Segment) {
    large_ones(segment);
    lease(segment, FUTURE);
    let mut hand = Hand::new(segment);
    assert_eq!(hand.store.put_away(leased().grip, hand.me, true), Ended::Done);
    get_and_say_so(&mut hand);
}

fn dead_letters(segment: &Segment) {
    small_ones(segment);
    let mut hand = Hand::new(segment);
    get_and_say_so(&mut hand);
    hand.put_now(LARGE).expect("there is room");
    for _ in 0..JOBS {
        let taken = hand.take(0).expect("it was put");
        assert_eq!(hand.store.put_away(taken.grip, hand.me, false), Ended::Done);
    }
}

/// One has died with all that one can have.
fn one_is_dead(segment: &Segment) {
    small_ones(segment);
    lose(segment, |hand| {
        hand.get().expect("it was put");
        hand.put_now(LARGE).expect("there is room");
        let given_back = hand.take(FUTURE).expect("it was put");
        assert_eq!(hand.give_back(given_back, true), Ended::Done);
        hand.take(0).expect("it was put");
        hand.take(PAST).expect("it was put");
        hand.take(0).map(|taken| hand.acknowledge(taken)).expect("it was put");
        hand.put_now(SMALL).expect("there is room");
        let untold = hand.fill((0, 0), SMALL).expect("there is room");
        hand.commit(untold).expect("there is room");
        hand.fill((0, 0), LARGE).expect("there is room");
    });
}

/// It has had the last delivery that there may be.
fn one_is_dead_for_the_last_time(segment: &Segment) {
    nothing(segment);
    Hand::new(segment).put_now(LARGE).expect("there is room");
    for _ in 1..ATTEMPTS {
        let mut hand = Hand::new(segment);
        let taken = hand.take(0).expect("it was put");
        assert_eq!(hand.give_back(taken, false), Ended::Done);
    }
    lose(segment, |hand| _ = hand.take(0).expect("it was put"));
}

// What is died at

fn put_two(segment: &Segment, length: usize) {
    let mut hand = Hand::new(segment);
    (0..2).for_each(|_| _ = hand.put(length));
}

fn put_two_small(segment: &Segment) {
    put_two(segment, SMALL);
}

fn put_two_large(segment: &Segment) {
    put_two(segment, LARGE);
}

fn put_if_it_can(segment: &Segment) {
    let mut hand = Hand::new(segment);
    hand.put_now(LARGE);
    hand.put_now(SMALL);
}

/// All that there are, of which none is copied before all are leased.
fn get_many(segment: &Segment) {
    Hand::new(segment).get_many();
}

/// Many at once, of which others are told together.
fn put_many(segment: &Segment) {
    let mut hand = Hand::new(segment);
    // All are filled before the first counts.
    let filled: Vec<_> = [SMALL, LARGE, SMALL].into_iter().filter_map(|length| hand.fill((0, 0), length)).collect();
    let (mut last, mut filled) = (None, filled.into_iter());
    while let Some(seq) = filled.next().and_then(|filled| hand.commit(filled)) {
        last = Some(seq);
    }
    filled.for_each(|(grip, ..)| hand.store.abandon(grip, hand.me));
    if let Some(seq) = last {
        hand.store.announce(0, seq, true);
        hand.store.count_puts(hand.me, 3, 1);
    }
}

/// A place that is given up before its message is labelled, and one that is given up because the queue is full.
fn put_in_vain(segment: &Segment) {
    let mut hand = Hand::new(segment);
    let (grip, ..) = hand.fill((0, 0), LARGE).expect("there is room");
    hand.store.abandon(grip, hand.me);
    let filled = hand.fill((0, 0), LARGE).expect("there is room");
    (0..JOBS).for_each(|_| _ = hand.put_now(SMALL).expect("there is room"));
    assert_eq!(hand.commit(filled), None);
}

/// Fills messages in place, and sees them for a while.
fn put_in_place(segment: &Segment) {
    let mut hand = Hand::new(segment);
    for length in [LARGE, SMALL] {
        if let Some(put) = hand.put_in_place(length) {
            hand.let_go(put.grip);
        }
    }
}

/// One that was filled in place and is given up, and one that may not be put by then.
fn lend_in_vain(segment: &Segment) {
    let mut hand = Hand::new(segment);
    let (lent, _) = hand.lend(LARGE).expect("there is room");
    hand.store.clear(lent, hand.me);
    let (lent, filled) = hand.lend(LARGE).expect("there is room");
    (0..JOBS).for_each(|_| _ = hand.put_now(SMALL).expect("there is room"));
    assert!(hand.send(lent, filled).is_none());
    hand.store.clear(lent, hand.me);
}

fn get_two(segment: &Segment) {
    let mut hand = Hand::new(segment);
    hand.get();
    hand.get();
}

fn get_two_and_say_that_one_is_done(segment: &Segment) {
    get_two(segment);
    let hand = Hand::new(segment);
    assert!(hand.as_caller(|caller| hand.store.task_done(caller)));
}

fn lease_and_end(segment: &Segment) {
    let mut hand = Hand::new(segment);
    for until in [0, FUTURE - 1] {
        let taken = hand.take(until).expect("there is one");
        if until != 0 {
            assert!(hand.store.extend(taken.grip, FUTURE));
        }
        assert!(hand.end(taken));
    }
}

fn lease_and_give_back(segment: &Segment) {
    let mut hand = Hand::new(segment);
    let first = hand.take(FUTURE).expect("there is one");
    let second = hand.take(0).expect("there is one");
    assert_eq!(hand.give_back(second, false), Ended::Done);
    assert_eq!(hand.give_back(first, true), Ended::Done);
    hand.let_go(first.grip);
}

/// The same process gets again what it has views of, and is done with it before them.
fn give_back_and_get_again(segment: &Segment) {
    let mut hand = Hand::new(segment);
    let first = hand.take(FUTURE).expect("there is one");
    assert_eq!(hand.give_back(first, true), Ended::Done);
    let again = hand.take(0).expect("there is one");
    assert_eq!(again.job, first.job);
    assert!(hand.store.is_kept_by(again.grip, hand.me));
    assert!(hand.end(again));
}

/// Its lease is over, and was taken away: it learns so, lets go, and has it once more; its views are its own meanwhile.
fn lose_a_lease(segment: &Segment) {
    let mut hand = Hand::new(segment);
    let lost = hand.take(PAST).expect("there is one");
    hand.bury();
    assert_eq!(hand.give_back(lost, true), Ended::Lost);
    let again = hand.take(PAST).expect("there is one");
    assert_eq!(again.job, lost.job);
    assert!(!hand.store.extend(lost.grip, FUTURE));
    assert_eq!(hand.store.jobs()[again.grip.at].until(), Some(PAST), "the lease of another one was changed");
    assert!(hand.store.extend(again.grip, FUTURE));
    hand.bury();
    assert!(hand.end(again));
    hand.let_go(lost.grip);
    let other = hand.take(PAST).expect("there is one");
    hand.bury();
    assert!(!hand.end(other));
}

fn put_away(segment: &Segment) {
    let mut hand = Hand::new(segment);
    for has_views in [false, true] {
        let taken = hand.take(0).expect("there is one");
        assert_eq!(hand.store.put_away(taken.grip, hand.me, has_views), Ended::Done);
        if has_views {
            hand.let_go(taken.grip);
        }
    }
}

fn bury(segment: &Segment) {
    Hand::new(segment).bury();
}

fn bury_and_put(segment: &Segment) {
    let mut hand = Hand::new(segment);
    hand.bury();
    hand.put_now(LARGE);
    hand.put_now(LARGE);
}

fn bury_and_get(segment: &Segment) {
    let mut hand = Hand::new(segment);
    hand.bury();
    hand.get();
}

/// Gets all that there is.
fn get_all(segment: &Segment) {
    let mut hand = Hand::new(segment);
    while hand.get().is_some() {}
}

fn replay(segment: &Segment) {
    Hand::new(segment).replay();
}

fn discard(segment: &Segment) {
    Hand::new(segment).discard();
}

fn shut_down(segment: &Segment) {
    Hand::new(segment).store.shut_down(false);
}

fn shut_down_at_once(segment: &Segment) {
    Hand::new(segment).store.shut_down(true);
}

fn shut_down_and_throw_away(segment: &Segment) {
    let hand = Hand::new(segment);
    hand.store.shut_down(true);
    hand.store.throw_away(hand.me);
}

/// Announces sleepers of all kinds.
fn sleep(segment: &Segment) {
    let hand = Hand::new(segment);
    let store = hand.store;
    hand.as_caller(|caller| {
        assert!(matches!(store.attempt_room(0, 0, 3, caller, false), Attempt::Wait(_)));
        assert!(matches!(store.attempt_finished(caller, false), Attempt::Wait(_)));
    });
}

// After

/// Takes what there is until all is done, dead letters too; asleep while there is nothing.
fn work_to_the_end(hand: &mut Hand<'_>) {
    loop {
        while let Some(taken) = hand.take(FUTURE) {
            assert!(hand.end(taken));
        }
        let store = hand.store;
        let is_done = until_done(hand.segment, |caller, ask| {
            if ask && store.is_news(0) {
                store.bury(caller);
                return Attempt::Done(false);
            }
            match store.attempt_finished(caller, ask) {
                Attempt::Done(()) => Attempt::Done(true),
                Attempt::Wait(sleep) => Attempt::Wait(sleep),
            }
        });
        if is_done && store.dead_letters().is_empty() {
            break;
        }
        hand.replay();
    }
    hand.as_caller(|caller| assert_eq!(hand.store.unfinished(caller.living, true), 0));
}

/// All places and all blocks belong to nobody.
pub(crate) fn all_is_free(hand: &Hand<'_>) {
    // What is found to count by the first is looked at by the second.
    hand.bury();
    hand.bury();
    let (totals, shape) = (hand.store.totals(), hand.store.shape());
    assert_eq!((totals.free, totals.free_blocks), (shape.jobs, shape.blocks), "{totals:?}");
}

/// As many jobs as may wait can be put and are got in their order, again and again; then there is no room.
pub(crate) fn goes_on(hand: &mut Hand<'_>) {
    let mut last = 0;
    for length in [SMALL, SMALL, LARGE] {
        let most = if length == LARGE { 2 } else { JOBS };
        let seqs: Vec<u64> = (0..most).map(|_| hand.put_now(length).expect("there is room")).collect();
        assert_eq!(hand.put_now(length), None, "there is no room");
        for seq in seqs {
            assert!(seq > last);
            last = seq;
            assert_eq!(hand.get(), Some(seq));
            assert!(hand.as_caller(|caller| hand.store.task_done(caller)));
        }
        assert_eq!(hand.get(), None);
    }
    hand.as_caller(|caller| assert!(matches!(hand.store.attempt_finished(caller, true), Attempt::Done(()))));
}

/// Every job that counts is delivered and done, all is free, and others can go on.
fn none_is_lost(segment: &Segment) {
    let mut hand = Hand::new(segment);
    work_to_the_end(&mut hand);
    ledger().close();
    all_is_free(&hand);
    goes_on(&mut hand);
    ledger().close();
    all_is_free(&hand);
}

/// The same where a producer, which needs what the dead have, comes first.
fn a_producer_goes_on(segment: &Segment) {
    let mut hand = Hand::new(segment);
    for length in [LARGE, SMALL] {
        while hand.put_now(length).is_none() {
            if let Some(taken) = hand.take(0) {
                assert!(hand.end(taken));
            }
            let store = hand.store;
            until_done(segment, |caller, ask| {
                if store.is_news(0) { Attempt::Done(()) } else { store.attempt_room(0, 0, 2, caller, ask) }
            });
            hand.bury();
        }
    }
    none_is_lost(segment);
}

/// This process had it, and ends it if it still has it.
fn the_lease_ends(segment: &Segment) {
    let hand = Hand::new(segment);
    hand.end(leased());
    none_is_lost(segment);
}

/// The views are what they were, whatever others have done to their job; then they are let go.
fn the_views_are_whole(segment: &Segment) {
    let hand = Hand::new(segment);
    let at = leased().grip.at;
    hand.bury();
    assert_eq!(hand.read(at), leased().job, "somebody has its place");
    let mut other = Hand::new(segment);
    // What is free is written over.
    let put = other.put_now(LARGE);
    assert_eq!(hand.read(at), leased().job, "somebody has its blocks");
    if put.is_some() {
        assert_eq!(other.put_now(LARGE), None, "its blocks were given away");
    }
    hand.let_go(leased().grip);
    none_is_lost(segment);
}

/// The same, where this process itself throws away what it has views of.
fn the_views_of_a_dead_letter_are_whole(segment: &Segment) {
    discard(segment);
    the_views_are_whole(segment);
}

/// All that was put is given out, unless nobody knows that it is shut; then it is over.
fn it_ends(segment: &Segment) {
    let mut hand = Hand::new(segment);
    shut_down(segment);
    assert_eq!(hand.put_now(SMALL), None);
    while let Some(taken) = hand.take_in_time(0) {
        assert!(hand.end(taken));
    }
    let store = hand.store;
    until_done(segment, |caller, ask| store.attempt_finished(caller, ask));
    ledger().close();
    all_is_free(&hand);
}

/// Nothing is taken in or given out; what was not given out is thrown away, also when nobody lives who would have done so.
fn it_ends_at_once(segment: &Segment) {
    let mut hand = Hand::new(segment);
    shut_down_at_once(segment);
    assert_eq!(hand.store.shut(), Shut::Out);
    assert_eq!((hand.put_now(SMALL), hand.take_in_time(0)), (None, None));
    hand.bury();
    hand.bury();
    let (totals, (_, all)) = (hand.store.totals(), ledger().open());
    assert!(totals.dead <= all, "{totals:?}: at most {all}");
    assert_eq!(totals.depth, 0, "who looks after the dead throws away what waits: {totals:?}");
    assert_eq!(totals.free + totals.dead, hand.store.shape().jobs, "{totals:?}");
}

/// What the dead had comes back, and is thrown away with the rest.
fn nothing_is_left(segment: &Segment) {
    let hand = Hand::new(segment);
    hand.bury();
    shut_down_and_throw_away(segment);
    all_is_free(&hand);
}

/// The dead letter is one, or it was delivered as often as it may be and will be one.
fn it_is_a_dead_letter(segment: &Segment) {
    let hand = Hand::new(segment);
    hand.bury();
    let letters = hand.store.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].state.attempt(), ATTEMPTS);
    assert_eq!(letters[0].state.phase(), Phase::Dead);
    none_is_lost(segment);
}

pub(crate) fn scenes() -> Vec<Scene> {
    let scene = |name, before, victim, recovery, after| Scene {
        name,
        kind: Kind::Queue,
        parameters: [JOBS as i64, BYTES, i64::from(ATTEMPTS)],
        before,
        victim,
        recovery,
        after,
    };
    let (go_on, views, views_of_one) = (none_is_lost, the_views_are_whole, the_views_of_a_dead_letter_are_whole);
    vec![
        scene("queue: put the first two", nothing, put_two_small, bury, go_on),
        scene("queue: put over old ones", second_turn, put_two_small, bury_and_get, go_on),
        scene("queue: put two large ones", nothing, put_two_large, bury_and_put, a_producer_goes_on),
        scene("queue: put many", nothing, put_many, put_many, a_producer_goes_on),
        scene("queue: put in vain", nothing, put_in_vain, bury, a_producer_goes_on),
        scene("queue: put in place", nothing, put_in_place, bury_and_put, a_producer_goes_on),
        scene("queue: lend in vain", nothing, lend_in_vain, bury, a_producer_goes_on),
        scene("queue: get what its producer sees", views_of_what_was_lent, get_two, bury_and_put, views),
        scene("queue: lease what its producer sees", views_of_what_was_lent, lease_and_end, bury_and_put, views),
        scene("queue: put where there is no room", large_ones, put_if_it_can, get_two, a_producer_goes_on),
        scene("queue: get small ones", small_ones, get_two, bury_and_get, go_on),
        scene("queue: get many", small_ones, get_many, bury_and_get, go_on),
        scene("queue: get large ones", large_ones, get_two, bury_and_put, a_producer_goes_on),
        scene("queue: get, and say what is done", small_ones, get_two_and_say_that_one_is_done, bury_and_get, go_on),
        scene("queue: lease and end", large_ones, lease_and_end, bury_and_put, a_producer_goes_on),
        scene("queue: lease and give back", large_ones, lease_and_give_back, bury_and_get, go_on),
        scene("queue: give back and get again", large_ones, give_back_and_get_again, bury_and_get, a_producer_goes_on),
        scene("queue: lose a lease", large_ones, lose_a_lease, bury_and_get, a_producer_goes_on),
        scene("queue: put away", large_ones, put_away, bury_and_get, go_on),
        scene("queue: take an overdue lease away", an_overdue_lease, bury, bury_and_get, the_lease_ends),
        scene("queue: get what was taken away", a_lost_lease, get_two, bury_and_get, the_lease_ends),
        scene("queue: get what others see", views_of_what_was_given_back, get_two, bury_and_put, views),
        scene("queue: go on beside what others see", views_of_what_is_done, get_two, bury_and_put, views),
        scene("queue: replay dead letters", dead_letters, replay, bury_and_get, go_on),
        scene("queue: discard dead letters", dead_letters, discard, bury_and_put, go_on),
        scene("queue: discard what others see", views_of_a_dead_letter, discard, bury_and_put, views_of_one),
        scene("queue: shut down", small_ones, shut_down, bury_and_get, it_ends),
        scene("queue: shut down while others put", nothing, put_two_small, shut_down, it_ends),
        scene("queue: shut down at once", small_ones, shut_down_at_once, get_two, it_ends_at_once),
        scene("queue: throw away", large_ones, shut_down_and_throw_away, shut_down_and_throw_away, nothing_is_left),
        scene("queue: put before it is shut at once", nothing, put_two_large, shut_down_at_once, it_ends_at_once),
        scene("queue: sleep", large_ones, sleep, get_all, go_on),
        scene("queue: bury the dead", one_is_dead, bury, bury, go_on),
        scene("queue: get after a death", one_is_dead, bury_and_get, bury_and_put, a_producer_goes_on),
        scene("queue: bury the last delivery", one_is_dead_for_the_last_time, bury, bury, it_is_a_dead_letter),
    ]
}
