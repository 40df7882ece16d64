//! Drives attempts as a process does, over a roster that the model decides on.

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use samemap_core::atomic::sleep;
use samemap_core::bell::Attempt;
use samemap_core::tag::{Caller, Living, Tag};

/// Who lives, as the model says. A participant that dies does so at a point of its thread of its own choice.
pub(crate) struct Roster {
    dead: [AtomicBool; 4],
}

impl Roster {
    pub(crate) fn new() -> Self {
        Self { dead: std::array::from_fn(|_| AtomicBool::new(false)) }
    }

    pub(crate) fn die(&self, tag: Tag) {
        self.dead[tag.index()].store(true, Ordering::SeqCst);
    }

    pub(crate) fn caller(&self, index: usize) -> Caller<'_> {
        Caller { tag: tag(index), living: self }
    }
}

impl Living for Roster {
    fn is_present(&self, tag: Tag) -> bool {
        tag.epoch() == 1 && tag.index() < self.dead.len()
    }

    fn is_alive(&self, tag: Tag) -> bool {
        self.is_present(tag) && !self.dead[tag.index()].load(Ordering::SeqCst)
    }
}

pub(crate) fn tag(index: usize) -> Tag {
    Tag::new(index, 1)
}

/// Points of threads that a model puts in every order.
///
/// loom remembers only the last access to a word. Where a thread first reads a word and then exchanges it, its own read
/// hides what another thread read before, and loom does not try the exchange before that (nor anything before the first
/// read of the thread that has just spawned another). Two threads that pass points are tried in both orders. A point
/// orders nothing else: it is relaxed.
pub(crate) struct Order(AtomicUsize);

impl Order {
    pub(crate) fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    pub(crate) fn point(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Tries until it is done, asleep in between, without ever giving up: a wake-up that gets lost is a deadlock, which
/// loom reports.
pub(crate) fn until_done<'a, T>(mut attempt: impl FnMut() -> Attempt<'a, T>) -> T {
    loop {
        match attempt() {
            Attempt::Done(done) => return done,
            Attempt::Wait(on) => sleep(on.word, on.expected),
        }
    }
}
