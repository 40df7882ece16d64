//! A scene: something that a process does, what others do when it has died doing it, and what must be true then.

use std::time::{Duration, Instant};

use samemap_core::atomic::crash;
use samemap_core::bell::{Attempt, Deadline};
use samemap_core::layout::Kind;
use samemap_core::objects::{self, Parameters};
use samemap_core::segment::{Handle, New, Segment};
use samemap_core::tag::Caller;

use crate::process::{End, run};

/// How long the survivors may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// One thing that can be died at.
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) parameters: [i64; 3],
    /// What this process has done before, itself a participant.
    pub(crate) before: fn(&Segment),
    /// What the victim does.
    pub(crate) victim: fn(&Segment),
    /// What another process does after the death; it is killed too, at each of its points.
    pub(crate) recovery: fn(&Segment),
    /// What this process finds and does in the end; it panics when something is not as it must be.
    pub(crate) after: fn(&Segment),
}

/// What came of a scene.
pub(crate) struct Played {
    pub(crate) points: u64,
    pub(crate) kills: u64,
}

impl Scene {
    /// Plays the scene with a death at every point, and with two at every pair of points.
    pub(crate) fn play(&self) -> Played {
        let mut played = Played { points: 0, kills: 0 };
        for fatal in 0.. {
            let segment = self.segment();
            let end = self.run(fatal, self.victim, segment.segment());
            self.finish(&segment, fatal, None);
            match end {
                End::Killed => played.kills += 1,
                End::Done(passed) => {
                    assert_eq!(passed, fatal, "{}: the points differ from run to run", self.name);
                    played.points += passed;
                    return played;
                }
            }
            for second in 0.. {
                let segment = self.segment();
                assert_eq!(self.run(fatal, self.victim, segment.segment()), End::Killed);
                played.kills += 1;
                let end = self.run(second, self.recovery, segment.segment());
                self.finish(&segment, fatal, Some(second));
                match end {
                    End::Killed => played.kills += 1,
                    End::Done(_) => break,
                }
            }
        }
        played
    }

    /// Does `work` in a child that dies before change number `fatal`. Queues have many scenes, and joining is the same in all of
    /// them: it has scenes of its own.
    fn run(&self, fatal: u64, work: fn(&Segment), segment: &Segment) -> End {
        run(fatal, || {
            if matches!(self.kind, Kind::Queue | Kind::Service) {
                crash::arm(u64::MAX);
                segment.tag().expect("it can join");
                crash::arm(fatal);
            }
            work(segment);
        })
    }

    fn segment(&self) -> Handle {
        crash::arm(u64::MAX);
        let parameters = Parameters(self.parameters);
        let participants = 4;
        let body_size = objects::size(self.kind, participants, parameters).expect("the parameters are valid");
        let new = New { kind: self.kind, body_size, participants, schema: "", perm: 0o600 };
        let made = Segment::create(None, new, |segment| objects::initialise(segment, 0, self.kind, parameters));
        let handle = made.expect("it can be made");
        (self.before)(handle.segment());
        handle
    }

    fn finish(&self, segment: &Handle, first: u64, second: Option<u64>) {
        crash::arm(u64::MAX);
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (self.after)(segment.segment())));
        if told.is_err() {
            panic!("{}: after a death before change {first}, and in the recovery before change {second:?}", self.name);
        }
    }
}

/// Tries until it is done, as a process does; panics when that takes too long.
pub(crate) fn until_done<'s, T>(
    segment: &'s Segment,
    mut attempt: impl FnMut(Caller<'_>, bool) -> Attempt<'s, T>,
) -> T {
    let begun = Instant::now();
    let mut ask = false;
    loop {
        match segment.as_caller(|caller| attempt(caller, ask)).expect("it can join") {
            Attempt::Done(done) => return done,
            Attempt::Wait(sleep) => {
                // As short as can be, because every one of thousands of deaths costs one.
                let woken = sleep.until(Deadline::after(Duration::from_micros(200))).expect("the word is there");
                ask = woken == samemap_core::bell::Woken::TimedOut;
            }
        }
        assert!(begun.elapsed() < PATIENCE, "the survivors cannot go on");
    }
}
