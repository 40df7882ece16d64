//! The roster.

use samemap_core::layout::Kind;
use samemap_core::segment::Segment;
use samemap_core::tag::Living;

use crate::scene::Scene;

fn join(segment: &Segment) {
    segment.tag().expect("there is a place");
}

/// Of four places this process has one. Whoever died may still be listed, but never as one who lives, and its place can
/// be had: by three at once.
fn the_living_are_listed(segment: &Segment) {
    let roster = segment.roster().expect("it is there");
    let me = segment.tag().expect("it has joined");
    assert!(roster.is_alive(me));
    let listed = roster.participants();
    assert!(listed.iter().all(|found| found.alive == (found.tag == me)), "{listed:?}");
    segment.bury().expect("it can join");
    let listed = roster.participants();
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!((listed[0].pid, listed[0].tag), (std::process::id(), me));
}

fn bury(segment: &Segment) {
    segment.bury().expect("it can join");
}

pub(crate) fn scenes() -> Vec<Scene> {
    let scene = |name, victim, recovery| Scene {
        name,
        kind: Kind::Lock,
        parameters: [0; 3],
        before: join,
        victim,
        recovery,
        after: the_living_are_listed,
    };
    vec![scene("roster: join", join, join), scene("roster: join, and bury the dead", join, bury)]
}
