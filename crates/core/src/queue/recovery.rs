//! Looking after the dead, and after leases that are over; and telling how things stand.

use super::{Grip, Store};
use crate::atomic::{Ordering, fence, monotonic};
use crate::bell::Attempt;
use crate::job::{Job, Phase, State};
use crate::ring::Place;
use crate::tag::{Caller, Living, Tag};
use crate::worker::Worker;

/// How things stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Jobs that wait for a consumer in the first lane.
    pub depth: usize,
    /// Jobs that somebody works on.
    pub leased: usize,
    /// Jobs that are done, and of which there are views.
    pub held: usize,
    /// Dead letters.
    pub dead: usize,
    /// Free places.
    pub free: usize,
    /// Free blocks.
    pub free_blocks: usize,
}

impl<'a> Store<'a> {
    /// Whether the ring names a job that is still in the hands of who fills it, as it was found.
    pub fn is_committed(&self, at: usize, found: State) -> bool {
        let job = &self.jobs[at];
        let lane = job.read().lane as usize;
        // No job has the number 0, which the first word of a new ring names.
        let seq = job.seq_of(found.generation()).filter(|seq| *seq != 0);
        seq.is_some_and(|seq| lane < self.lanes.len() && self.ring(lane).place(seq) == Place::At(at))
    }

    /// Gives back what the dead had, and what living ones have for too long.
    ///
    /// Each thing is taken over by one compare-and-swap that names the dead: of many who find it one goes on, and whoever is
    /// killed in the middle of it leaves what it found, or something that is its own.
    #[cold]
    pub fn bury(&self, caller: Caller<'_>) {
        let now = monotonic();
        let mut known: Vec<(Tag, bool)> = Vec::new();
        let mut is_gone = |tag: Tag| {
            if tag == caller.tag {
                return false;
            }
            // The kernel is asked about each once.
            if let Some((_, gone)) = known.iter().find(|(other, _)| *other == tag) {
                return *gone;
            }
            let gone = !caller.living.is_alive(tag);
            known.push((tag, gone));
            gone
        };
        for lane in self.lanes.iter().skip(1) {
            if let (Some(owner), number) = lane.owner()
                && is_gone(owner)
                && lane.release(owner, number)
            {
                self.queue.room.ring();
            }
        }
        let mut is_forgotten = false;
        for (at, job) in self.jobs.iter().enumerate() {
            let state = job.state();
            if state.phase() == Phase::Free {
                continue;
            }
            if let Some(keeper) = job.keeper(state.generation())
                && is_gone(keeper)
            {
                job.unkeep(state.generation(), keeper);
            }
            match state.tag() {
                Some(tag) if is_gone(tag) => self.bury_job(at, job, state, tag, caller.tag),
                Some(tag) => self.end_lease((at, job), state, tag, now, caller.tag),
                None if state.phase() == Phase::Ready => {
                    is_forgotten |= self.is_behind_head(job, state);
                    self.drop_unwanted(Grip { at, state }, caller.tag);
                }
                None => {}
            }
        }
        if is_forgotten {
            // Whoever made it ready may have died before it told of that.
            self.tell_ready(caller.tag);
        }
        // Likewise whoever shut it, or put a job meanwhile.
        self.drop_what_came_too_late(caller.tag);
    }

    /// Whether a ready job is found by looking at all of them only.
    fn is_behind_head(&self, job: &Job, ready: State) -> bool {
        // Acquire [lane.head]
        let is_behind = job.read().lane == 0 && job.seq() < self.lanes[0].head().load(Ordering::Acquire);
        // Not one that was taken meanwhile.
        is_behind && job.state() == ready
    }

    fn bury_job(&self, at: usize, job: &Job, state: State, gone: Tag, me: Tag) {
        let is_reply = job.read().lane != 0;
        match state.phase() {
            Phase::Filling if self.is_committed(at, state) => {
                if job.change(state, state.ready()) {
                    self.lanes[job.read().lane as usize % self.lanes.len()].news().ring_one();
                }
            }
            Phase::Leased if !self.shape.once && !is_reply => {
                // It has no views any more, whatever it kept.
                job.unkeep(state.generation(), gone);
                if job.change(state, self.after(state)) {
                    self.tell_returned(gone, me);
                }
            }
            Phase::Filling | Phase::Leased | Phase::Held => {
                let held = state.held(me).going();
                if job.change(state, held) {
                    // Before it is another one.
                    let (lane, _) = job.reply_to();
                    self.recover(Grip { at, state: held });
                    // For those who wait for the reply to it.
                    if let Some(lane) = self.lanes.get(lane as usize) {
                        lane.news().ring();
                    }
                    self.tell_of_end();
                }
            }
            Phase::Free | Phase::Ready | Phase::Dead => {}
        }
    }

    /// Takes a job away from one who lives, when its lease is over.
    fn end_lease(&self, (at, job): (usize, &Job), state: State, tag: Tag, now: u64, me: Tag) {
        if state.phase() != Phase::Leased || job.end_of(state).is_none_or(|until| now < until) {
            return;
        }
        let generation = state.generation();
        // It may have views, and cannot be asked.
        if !job.guess(state) {
            return;
        }
        if job.change(state, self.after(state)) {
            self.tell_returned(tag, me);
        } else {
            job.unguess(state);
            // SeqCst: see `clear`. In its name: it may have been left the job because of the guess.
            fence(Ordering::SeqCst);
            let left = job.state();
            let held = left.held(me).going();
            if left.generation() == generation
                && left.is_left_to(tag)
                && job.keeper(generation).is_none()
                && job.change(left, held)
            {
                self.release(Grip { at, state: held });
            }
        }
    }

    /// Throws a reply away that nobody waits for.
    fn drop_unwanted(&self, found: Grip, me: Tag) {
        let label = self.jobs[found.at].read();
        if label.lane != 0
            && !self.is_awaited(label.lane as usize, label.number)
            && let Some(held) = self.seize(found, me)
        {
            self.release(held);
        }
    }

    // How things stand

    /// How things stand.
    pub fn totals(&self) -> Totals {
        Totals { free_blocks: self.count_free(), ..self.count_jobs() }
    }

    /// How it stands with the jobs; their blocks are not counted.
    fn count_jobs(&self) -> Totals {
        let mut totals = Totals::default();
        for (at, job) in self.jobs.iter().enumerate() {
            let (state, is_there) = self.found(at, job);
            let count = match state.phase() {
                Phase::Free => &mut totals.free,
                Phase::Ready if job.read().lane == 0 => &mut totals.depth,
                Phase::Filling if is_there && job.read().lane == 0 => &mut totals.depth,
                Phase::Leased => &mut totals.leased,
                Phase::Held => &mut totals.held,
                Phase::Dead => &mut totals.dead,
                Phase::Filling | Phase::Ready => continue,
            };
            *count += 1;
        }
        totals
    }

    /// The state of a job, and whether it is one that is filled and counts already.
    fn found(&self, at: usize, job: &Job) -> (State, bool) {
        let mut state = job.state();
        // What was taken between two looks must not be missed: it may be worked on now. Each turn somebody has gone on by a
        // step; more of them than there are places would be no use of a queue.
        for _ in 0..=self.jobs.len() {
            let is_there = state.phase() == Phase::Filling && self.is_committed(at, state);
            if is_there || state.phase() != Phase::Filling {
                return (state, is_there);
            }
            // Acquire [job.seq]
            fence(Ordering::Acquire);
            let now = job.state();
            if now == state {
                break;
            }
            state = now;
        }
        (state, false)
    }

    /// How many jobs wait for a consumer in the first lane.
    pub fn depth(&self) -> usize {
        self.count_jobs().depth
    }

    /// How many jobs were got, and not said to be done. What the dead have got counts until their places in the roster are
    /// taken; with `ask`, it does not.
    fn open(&self, living: &dyn Living, ask: bool) -> i64 {
        /// While others say so all the time, there is something to be done.
        const TURNS: usize = 64;
        let counts = |tag: Tag| if ask { living.is_alive(tag) } else { living.is_present(tag) };
        for _ in 0..TURNS {
            let said = self.said_done();
            // The kernel is asked only about those with whom it matters.
            let open =
                self.workers.iter().map(Worker::open).filter(|(tag, open)| *open != 0 && tag.is_some_and(counts));
            // Read from memory that others write.
            let open = open.fold(0, |sum: i64, (_, open)| sum.saturating_add(open));
            fence(Ordering::Acquire);
            // One may have been got where it was looked already, and said to be done where it was not yet: it would hide another
            // one. More than there are does no harm: whoever says that one is done tells those who wait.
            if open > 0 || self.said_done() == said {
                return open;
            }
        }
        1
    }

    /// How many jobs were said to be done, by all.
    fn said_done(&self) -> u64 {
        self.workers.iter().map(Worker::done).fold(0, u64::wrapping_add)
    }

    /// How many jobs are not done: those that wait, those that are leased, and those that were got and not said to be done,
    /// unless by the dead: `ask` finds out who is.
    pub fn unfinished(&self, living: &dyn Living, ask: bool) -> i64 {
        let ring = self.ring(0);
        let before = ring.newest();
        let totals = self.count_jobs();
        // Not below 0: what one has got and another has said to be done may be forgotten by half.
        let unfinished = self.open(living, ask).max(0).saturating_add((totals.depth + totals.leased) as i64);
        // Acquire [worker.done]: and of the states, as they were seen: what was put before something was done is seen.
        fence(Ordering::Acquire);
        // What was put meanwhile may be in a place that was free when it was looked at, and whoever has put it may have been
        // done since with what it had.
        if ring.newest() == before { unfinished } else { unfinished.max(1) }
    }

    /// Counts a job of `me`'s as done; says whether there was one.
    pub fn task_done(&self, caller: Caller<'_>) -> bool {
        if self.open(caller.living, false) <= 0 {
            return false;
        }
        self.count_done(caller.tag);
        self.tell_finished();
        true
    }

    /// Counts a job that `me` has got as done.
    pub fn count_done(&self, me: Tag) {
        if let Some(worker) = self.workers.get(me.index()) {
            worker.count_done(me);
        }
    }

    /// Is done when all jobs are; or tells what to sleep on.
    pub fn attempt_finished(&self, caller: Caller<'_>, ask: bool) -> Attempt<'a, ()> {
        if ask {
            self.bury(caller);
        }
        self.queue.finished.attempt(|| (self.unfinished(caller.living, ask) <= 0).then_some(()))
    }

    // Dead letters

    /// The dead letters, the oldest first.
    pub fn dead_letters(&self) -> Vec<Grip> {
        let dead = |(at, job): (usize, &Job)| {
            let state = job.state();
            (state.phase() == Phase::Dead).then(|| (job.seq(), Grip { at, state }))
        };
        let mut found: Vec<(u64, Grip)> = self.jobs.iter().enumerate().filter_map(dead).collect();
        found.sort_by_key(|(seq, _)| *seq);
        found.into_iter().map(|(_, grip)| grip).collect()
    }

    /// Has a dead letter delivered again, as if for the first time; says whether it was still there.
    pub fn replay(&self, grip: Grip, me: Tag) -> bool {
        self.jobs[grip.at].forget_lease(grip.state);
        let is_there = self.jobs[grip.at].change(grip.state, grip.state.ready_anew());
        if is_there {
            self.tell_ready(me);
        }
        is_there
    }

    /// Takes a dead letter into `me`'s hands, to look at it or to throw it away; `None`: it is gone.
    pub fn take_dead(&self, grip: Grip, me: Tag) -> Option<Grip> {
        self.seize(grip, me)
    }
}
