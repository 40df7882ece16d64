//! What consumers do to find the next job and to take it.

use super::{Grip, Memory, Shut, Store};
use crate::atomic::{Ordering, will_write};
use crate::bell::Attempt;
use crate::job::{Label, Phase};
use crate::ring::Place;
use crate::tag::{Caller, Tag};

/// What comes next for one who gets small jobs in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A job as it was found, whose message is in its cell: its number, and its label.
    Small(Grip, u64, Label),
    /// There is none.
    Nothing,
    /// It must be [taken](Store::take) first.
    Another,
}

/// So many jobs are looked at one by one, even if all of them were taken once.
const NEAR: u64 = 64;

impl<'a> Store<'a> {
    /// The first job of the lane that can be taken; moves `head` past those that are taken.
    #[inline]
    pub(super) fn look(&self, lane: usize) -> Option<(Grip, u64)> {
        // Acquire [lane.head]
        let start = self.lanes[lane].head().load(Ordering::Acquire);
        let (found, seq, _) = self.look_from(lane, start);
        self.raise_head(lane, seq);
        found
    }

    /// The first job of the lane from a number on that can be taken; the number up to which there is none; and whether there
    /// were some in between that the ring has forgotten.
    #[inline(always)]
    pub(super) fn look_from(&self, lane: usize, start: u64) -> (Option<(Grip, u64)>, u64, bool) {
        let (ring, head) = (self.ring(lane), self.lanes[lane].head());
        let (mut seq, mut leapt) = (start.max(1), false);
        let mut found = None;
        // Each turn goes on by one at least, or by as many as the ring has forgotten, so it ends.
        for _ in 0..=2 * ring.len() {
            match ring.place(seq) {
                Place::Ahead => break,
                Place::At(at) => {
                    let job = &self.jobs[at];
                    let state = job.state();
                    let is_there = matches!(state.phase(), Phase::Ready | Phase::Filling);
                    if is_there && job.seq_of(state.generation()) == Some(seq) {
                        found = Some((Grip { at, state }, seq));
                        break;
                    }
                    seq = seq.saturating_add(1);
                }
                Place::Behind => {
                    let newest = ring.newest();
                    if newest < seq {
                        // Behind by its low bits only: it is very far ahead, or the ring is damaged.
                        break;
                    }
                    let oldest = newest.saturating_sub(ring.len() as u64).wrapping_add(1);
                    seq = oldest.max(seq.saturating_add(1)).max(head.load(Ordering::Acquire));
                    leapt = true;
                }
            }
        }
        (found, seq, leapt)
    }

    #[inline(always)]
    pub(super) fn raise_head(&self, lane: usize, to: u64) {
        let head = self.lanes[lane].head();
        let now = head.load(Ordering::Relaxed);
        if now < to {
            // Release [lane.head]. When another one was faster, the next who looks goes on from there.
            let _ = head.compare_exchange(now, to, Ordering::SeqCst, Ordering::Relaxed);
        }
    }

    /// The next job of the lane, as the caller remembers how far it has come.
    #[inline(always)]
    fn next(&self, memory: &mut Memory, lane: usize) -> Option<(Grip, u64)> {
        if lane != 0 {
            return self.look(lane);
        }
        // Acquire [lane.head]
        let head = self.lanes[0].head().load(Ordering::Acquire);
        let is_near = head <= memory.cursor.saturating_add(NEAR);
        let (found, seq, leapt) = self.look_from(0, if is_near { memory.cursor } else { head });
        memory.cursor = seq;
        if !is_near || leapt {
            // What has come back may be among those that were not looked at.
            memory.returned = 0;
        }
        // Where there is no more: what has come back, and whoever saw to it died before it said so.
        if found.is_none() && head < seq { self.look(0) } else { found }
    }

    /// Notes that the job with that number was taken.
    #[inline(always)]
    fn pass(&self, memory: &mut Memory, lane: usize, seq: u64) {
        let next = seq.saturating_add(1);
        if lane == 0 {
            memory.cursor = memory.cursor.max(next);
        }
        // Neither is done for each of many: `head` is a line that all look at, and who waits for room is best woken for
        // several: to be woken takes as long as to put dozens. Who is not woken looks again when its slice ends.
        let (most, is_last) = (self.most(lane) as u64, self.ring(lane).place(next) == Place::Ahead);
        if is_last || seq.is_multiple_of((most / 8).clamp(1, 64)) {
            self.raise_head(lane, next);
        }
        if is_last || seq.is_multiple_of((most / 4).max(1)) {
            self.queue.room.ring_behind_exchange();
        }
    }

    /// Takes the next job of the lane; `until` is when the lease ends, on the monotonic clock in nanoseconds, 0 for never.
    #[inline]
    pub fn take(&self, memory: &mut Memory, lane: usize, me: Tag, now: u64, until: u64) -> Option<(Grip, u64)> {
        if self.shut() == Shut::Out && lane == 0 {
            return None;
        }
        if lane == 0
            && self.queue.returned.load(Ordering::Relaxed) != memory.returned
            && let Some(found) = self.take_returned(memory, me, now, until)
        {
            return Some(found);
        }
        loop {
            let (found, seq) = self.next(memory, lane)?;
            // When it fails, somebody else has it, or its producer says that it is ready: look again. Others have gone on
            // each time, so this ends.
            if let Some(grip) = self.lease(found, me, now, until) {
                self.pass(memory, lane, seq);
                return Some((grip, seq));
            }
        }
    }

    #[inline(always)]
    fn lease(&self, found: Grip, me: Tag, now: u64, until: u64) -> Option<Grip> {
        let (job, leased) = (&self.jobs[found.at], found.state.leased(me));
        let is_leased = job.change(found.state, leased);
        if is_leased {
            job.note_taken(leased, now, until);
        }
        is_leased.then_some(Grip { at: found.at, state: leased })
    }

    /// The next job of the first lane, for one who copies its message and then [wins](Self::win) it, in one step: so a small
    /// message costs one exchange where to take and to end it costs two; or who [leases](Self::lease_small) several, before it
    /// copies them. `ahead` is told the place of the job that comes as many later as it says.
    #[inline(always)]
    pub fn find_small(&self, memory: &mut Memory, later: u64, ahead: impl FnOnce(usize)) -> Next {
        if self.shut() == Shut::Out {
            return Next::Nothing;
        }
        if self.queue.returned.load(Ordering::Relaxed) != memory.returned {
            return Next::Another;
        }
        let Some((found, seq)) = self.next(memory, 0) else { return Next::Nothing };
        let job = &self.jobs[found.at];
        // Its line and its message lie with its producer, and to get them takes as long as all the rest.
        if let Place::At(soon) = self.ring(0).place(seq.saturating_add(later)) {
            will_write(&raw const self.jobs[soon]);
            ahead(soon);
        }
        let label = job.read();
        if label.blocks == 0 && job.is_unkept() { Next::Small(found, seq, label) } else { Next::Another }
    }

    /// Leases a job that was [found](Self::find_small), for ever; `None` when another was faster.
    #[inline(always)]
    pub fn lease_small(&self, memory: &mut Memory, (found, seq): (Grip, u64), me: Tag, now: u64) -> Option<Grip> {
        let leased = self.lease(found, me, now, 0)?;
        self.pass(memory, 0, seq);
        Some(leased)
    }

    /// Has `me` win a job whose message it has copied: it is out of the queue then, and counted as got. If not, another has it,
    /// and the copy may be of anything.
    #[inline(always)]
    pub fn win(&self, found: Grip, me: Tag) -> bool {
        // Before it is gone: whoever waits until all is done must not miss it.
        self.count_gets(me, 1);
        // Release [job.state]: what was copied was copied before. Nobody writes to a job that waits, and each use of its place
        // has a generation of its own; so if the job is as it was found, that was its message.
        let won = self.jobs[found.at].change(found.state, found.state.free_again());
        if !won {
            self.uncount_get(me);
        }
        won
    }

    /// Tells of a job that `me` has won.
    #[inline(always)]
    pub fn tell_won(&self, memory: &mut Memory, seq: u64) {
        self.pass(memory, 0, seq);
        self.tell_finished();
    }

    /// Wakes all who wait for a job, to look again.
    pub fn wake_all(&self, lane: usize) {
        self.lanes[lane].news().ring();
    }

    /// Whether there is a job to take, also one that has come back.
    pub fn is_news(&self, lane: usize) -> bool {
        self.look(lane).is_some() || lane == 0 && self.oldest_returned(u64::MAX).is_some()
    }

    /// Whether a look at the lane alone finds one: quick, and may miss one that has come back.
    #[inline(always)]
    pub fn is_next(&self, lane: usize) -> bool {
        self.look(lane).is_some()
    }

    /// Whether a job was put into the first lane behind all that the caller remembers as taken: it reads a word that nobody
    /// writes before that.
    #[inline(always)]
    pub fn is_put(&self, memory: &Memory) -> bool {
        self.ring(0).place(memory.cursor.max(1)) != Place::Ahead
    }

    /// Is done when there is a job in the lane, or there will not be any; or tells what to sleep on.
    pub fn attempt_news(&self, lane: usize, caller: Caller<'_>, ask: bool) -> Attempt<'a, ()> {
        if ask {
            self.bury(caller);
        }
        self.lanes[lane].news().attempt(|| (self.is_news(lane) || self.is_over()).then_some(()))
    }

    /// Passes a wake-up on that the caller does not use.
    pub fn pass_on(&self, lane: usize) {
        if self.is_news(lane) {
            self.lanes[lane].news().ring_one();
        }
    }
}
