//! Death at every change of shared memory: `cargo test -p samemap-core --features crash-points --test crashes`.
//!
//! Every change that an algorithm makes is a point before which a process can die. For each scene, real processes die
//! (`SIGKILL`) before the first change, before the second, and so on until one comes through; after each death the
//! survivors must be able to go on, with everything that was committed in place. Then the recovery itself is killed, at
//! every change that it makes, and others must recover from that.
#![allow(clippy::panic, reason = "a test fails by panicking")]

mod hand;
mod ledger;
mod lock;
mod meetings;
mod process;
mod queue;
mod roster;
mod scene;
mod service;
mod tables;
mod topic;
mod values;

use scene::Scene;

fn main() {
    let families = [
        lock::scenes,
        roster::scenes,
        values::scenes,
        tables::scenes,
        meetings::scenes,
        topic::scenes,
        queue::scenes,
        service::scenes,
    ];
    let scenes: Vec<Scene> = families.into_iter().flat_map(|scenes| scenes()).collect();
    let only = std::env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    let (mut points, mut kills) = (0, 0);
    for scene in scenes.iter().filter(|scene| only.as_deref().is_none_or(|only| scene.name.contains(only))) {
        let played = scene.play();
        println!("{:<60} {:>4} points {:>6} kills", scene.name, played.points, played.kills);
        points += played.points;
        kills += played.kills;
    }
    println!(
        "{points} points at which a process can die, {kills} processes killed there: the others went on each time"
    );
    assert!(kills > 0 || only.is_some(), "nothing was killed: the build does not count");
}
