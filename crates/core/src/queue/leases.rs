//! What consumers do with what they have taken: acknowledging, giving back, going on for longer; and the replies to calls.

use super::{Grip, Memory, Shut, Store};
use crate::atomic::{Ordering, fence};
use crate::bell::Attempt;
use crate::job::{Job, Label, Phase, State};
use crate::tag::{Caller, Tag};

/// How it ended for a job that a consumer had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As was wanted.
    Done,
    /// Another has it by now, or had: the lease was over.
    Lost,
    /// Not yet, because others have views of it, too.
    NotYet,
}

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// There is a reply.
    There,
    /// There will be none: who had the request has died, if that is known.
    Died(Option<Tag>),
}

impl<'a> Store<'a> {
    /// Throws away what waits in the first lane.
    #[cold]
    pub fn throw_away(&self, me: Tag) {
        // SeqCst: whose job counts too late to be seen here sees that it is shut.
        fence(Ordering::SeqCst);
        while let Some((found, seq)) = self.look(0) {
            if let Some(held) = self.seize(found, me) {
                self.raise_head(0, seq.saturating_add(1));
                self.release(held);
            }
        }
        while let Some(found) = self.oldest_returned(u64::MAX) {
            if let Some(held) = self.seize(found, me) {
                self.release(held);
            }
        }
    }

    /// Has `me` hold a job, to free it, that is as it was found; `None`: it is not any more.
    #[inline(always)]
    pub(super) fn seize(&self, found: Grip, me: Tag) -> Option<Grip> {
        let held = found.state.held(me);
        self.jobs[found.at].change(found.state, held).then_some(Grip { at: found.at, state: held })
    }

    // Ending

    /// Tells those who wait until all is done, if there is nothing left to take: else whoever takes that tells them.
    #[inline]
    pub fn tell_finished(&self) {
        if self.queue.finished.is_heard() && self.look(0).is_none() {
            self.queue.finished.ring();
        }
    }

    /// Ends a job that `me` has leased; it stays as it is until it is [cleared](Self::clear). `None`: the lease was lost.
    #[inline]
    pub fn acknowledge(&self, grip: Grip, me: Tag) -> Option<Grip> {
        self.seize(grip, me)
    }

    /// Ends a job that `me` has leased, and frees it at once if that is one step; else says how it is held, to be
    /// [cleared](Self::clear). `None`: the lease was lost.
    #[inline]
    pub fn finish(&self, grip: Grip, label: Label, me: Tag) -> Option<Option<Grip>> {
        let job = &self.jobs[grip.at];
        if label.blocks != 0 || !job.is_unkept() {
            return self.acknowledge(grip, me).map(Some);
        }
        // Nobody guesses from here on that there are views: that is done for leases that end by themselves.
        job.change(grip.state, grip.state.free_again()).then_some(None)
    }

    /// Tells those who wait for room, or until all is done, that jobs were freed.
    #[inline(always)]
    pub fn tell_freed(&self) {
        self.queue.room.ring_behind_exchange();
        self.tell_finished();
    }

    /// Frees a job that `me` holds and has no views of.
    #[inline]
    pub fn clear(&self, grip: Grip, me: Tag) {
        self.free_or_leave(grip, Some(me), false);
    }

    /// Frees a job that the caller holds; its process may have views from before.
    pub fn release(&self, grip: Grip) {
        self.free_or_leave(grip, None, false);
    }

    /// As [`release`](Self::release), of one that a dead one had: its label may be half written, and its blocks half freed.
    pub(super) fn recover(&self, grip: Grip) {
        self.free_or_leave(grip, None, true);
    }

    #[inline]
    fn free_or_leave(&self, grip: Grip, without_views: Option<Tag>, thoroughly: bool) {
        let job = &self.jobs[grip.at];
        let mut grip = grip;
        if let Some(keeper) = job.keeper(grip.state.generation())
            && Some(keeper) != without_views
        {
            let theirs = grip.state.left(keeper);
            if !job.change(grip.state, theirs) {
                return;
            }
            // SeqCst: and then looks whether they still keep it, as they cease to keep it and then look whether it is theirs.
            fence(Ordering::SeqCst);
            if job.keeper(theirs.generation()) == Some(keeper) || !job.change(theirs, grip.state.going()) {
                return;
            }
            grip.state = grip.state.going();
        }
        let label = job.read();
        job.forget();
        if thoroughly {
            self.free_all(grip);
        } else if label.blocks != 0 {
            self.free_run(grip, label.first, label.blocks);
        }
        job.change(grip.state, grip.state.free_again());
        self.tell_freed();
    }

    /// Counts a lease of `me`'s.
    #[inline(always)]
    pub fn count_lease(&self, me: Tag) {
        if let Some(worker) = self.workers.get(me.index()) {
            worker.count_lease(me);
        }
    }

    /// Counts jobs that `me` has got. Before it is acknowledged.
    #[inline(always)]
    pub fn count_gets(&self, me: Tag, jobs: u64) {
        if let Some(worker) = self.workers.get(me.index()) {
            worker.count_gets(me, jobs, self.alone);
        }
    }

    /// Takes back that `me` has got a job, which another was faster to get.
    #[cold]
    pub(super) fn uncount_get(&self, me: Tag) {
        if let Some(worker) = self.workers.get(me.index()) {
            worker.uncount_get(self.alone);
            fence(Ordering::SeqCst);
            self.tell_finished();
        }
    }

    /// Counts a lease that `me` has acknowledged.
    #[inline(always)]
    pub fn count_acknowledged(&self, me: Tag) {
        if let Some(worker) = self.workers.get(me.index()) {
            worker.count_acknowledged(me);
        }
    }

    /// Gives a job back that `me` has leased, for others. `has_views`: this process has some of it.
    pub fn give_back(&self, grip: Grip, me: Tag, has_views: bool) -> Ended {
        let ended = self.leave(grip, me, has_views, self.after(grip.state));
        if ended == Ended::Done {
            if !has_views {
                // Whoever has looked at a lease that was over may have guessed that there are views.
                self.let_go(grip.at, grip.state.generation(), me);
            }
            self.tell_returned(me, me);
        }
        ended
    }

    /// Puts a job that `me` has leased among the dead letters.
    pub fn put_away(&self, grip: Grip, me: Tag, has_views: bool) -> Ended {
        let ended = self.leave(grip, me, has_views, grip.state.dead());
        if ended == Ended::Done {
            self.tell_finished();
        }
        ended
    }

    /// Leaves a job that `me` has leased in another state, and notes first that this process has views of it.
    fn leave(&self, grip: Grip, me: Tag, has_views: bool, then: State) -> Ended {
        let job = &self.jobs[grip.at];
        if has_views && !job.keep(grip.state.generation(), me) {
            return if job.state() == grip.state { Ended::NotYet } else { Ended::Lost };
        }
        if job.change(grip.state, then) { Ended::Done } else { Ended::Lost }
    }

    /// What a job becomes that was delivered in vain.
    pub(super) fn after(&self, state: State) -> State {
        let most = self.shape.max_attempts;
        if most != 0 && state.attempt() >= most { state.dead() } else { state.ready() }
    }

    /// Tells that a job is ready again which `of` had.
    pub(super) fn tell_returned(&self, of: Tag, me: Tag) {
        if let Some(worker) = self.workers.get(of.index()) {
            worker.count_returned();
        }
        self.tell_ready(me);
    }

    /// Tells that a job is ready which no lane names.
    pub(super) fn tell_ready(&self, me: Tag) {
        // Nobody will get it any more.
        self.drop_what_came_too_late(me);
        // Release [queue.returned]
        self.queue.returned.fetch_add(1, Ordering::SeqCst);
        self.lanes[0].news().ring_one();
        self.tell_finished();
    }

    /// `me` has no views of that generation's job any more, which was given back or taken away.
    pub fn let_go(&self, at: usize, generation: u32, me: Tag) {
        let job = &self.jobs[at];
        job.unkeep(generation, me);
        // SeqCst: see `clear`.
        fence(Ordering::SeqCst);
        let state = job.state();
        if state.generation() == generation && state.is_left_to(me) && job.change(state, state.going()) {
            self.clear(Grip { at, state: state.going() }, me);
        }
    }

    /// Has the lease of a job that `me` has end later: at `until`, on the monotonic clock in nanoseconds. Says whether it
    /// still has it.
    pub fn extend(&self, grip: Grip, until: u64) -> bool {
        self.jobs[grip.at].extend(grip.state, until)
    }

    /// Whether a job is still leased as it was.
    pub fn is_leased(&self, grip: Grip) -> bool {
        self.jobs[grip.at].state() == grip.state
    }

    // What has come back

    /// The oldest job before that number which is ready and may have come back.
    pub(super) fn oldest_returned(&self, before: u64) -> Option<Grip> {
        // Acquire [queue.returned]: sees what has come back.
        if self.queue.returned.load(Ordering::Acquire) == 0 {
            return None;
        }
        let ready = |(at, job): (usize, &Job)| {
            let state = job.state();
            let is_ready = state.phase() == Phase::Ready && job.read().lane == 0;
            (is_ready && job.seq() < before).then(|| (job.seq(), Grip { at, state }))
        };
        self.jobs.iter().enumerate().filter_map(ready).min_by_key(|(seq, _)| *seq).map(|(_, grip)| grip)
    }

    #[cold]
    pub(super) fn take_returned(&self, memory: &mut Memory, me: Tag, now: u64, until: u64) -> Option<(Grip, u64)> {
        // Acquire [queue.returned]
        let returned = self.queue.returned.load(Ordering::Acquire);
        // A turn more for each time that somebody else was faster; whoever that was has its job, so this ends.
        for _ in 0..=self.jobs.len() {
            // Acquire [lane.head]. What is not before that is found in the lane.
            let passed = self.lanes[0].head().load(Ordering::Acquire).max(memory.cursor);
            let Some(found) = self.oldest_returned(passed) else {
                memory.returned = returned;
                return None;
            };
            let job = &self.jobs[found.at];
            let seq = job.seq();
            let leased = found.state.leased(me);
            if job.change(found.state, leased) {
                job.note_taken(leased, now, until);
                return Some((Grip { at: found.at, state: leased }, seq));
            }
        }
        None
    }

    /// Whether `me` may have views of a job from before.
    #[inline]
    pub fn is_kept_by(&self, grip: Grip, me: Tag) -> bool {
        self.jobs[grip.at].keeper(grip.state.generation()) == Some(me)
    }

    // Replies

    /// Claims a lane for the replies to a call; returns it, and the number of the call.
    pub fn claim_lane(&self, caller: Caller<'_>) -> Option<(usize, u32)> {
        let claim = || self.lanes.iter().enumerate().skip(1).find_map(|(at, lane)| Some((at, lane.claim(caller.tag)?)));
        let (lane, number) = claim().or_else(|| {
            self.bury(caller);
            claim()
        })?;
        self.drain(lane, caller.tag);
        Some((lane, number))
    }

    /// Is done when a call could be made, with a request of so many blocks, or none can be any more; or tells what to sleep on.
    pub fn attempt_call(&self, blocks: usize, caller: Caller<'_>, ask: bool) -> Attempt<'a, ()> {
        if ask {
            self.bury(caller);
        }
        let is_free = || self.lanes.iter().skip(1).any(|lane| lane.owner().0.is_none());
        self.queue.room.attempt(|| (self.shut() != Shut::Open || is_free() && self.is_room(0, blocks)).then_some(()))
    }

    /// Gives a lane back: nobody waits for replies to this call any more.
    pub fn release_lane(&self, lane: usize, number: u32, me: Tag) {
        if lane != 0 && self.lanes[lane].release(me, number) {
            self.drain(lane, me);
            // For those who wait for room in it, and for a lane.
            self.queue.room.ring();
        }
    }

    /// Takes a request back that nobody has taken.
    pub fn withdraw(&self, (at, generation): (usize, u32), me: Tag) {
        let state = self.jobs[at].state();
        if state.generation() == generation
            && state.phase() == Phase::Ready
            && let Some(held) = self.seize(Grip { at, state }, me)
        {
            self.release(held);
        }
    }

    /// Throws away what is in a lane for replies, up to what somebody waits for: who has given it back may be late, and the
    /// lane another's.
    fn drain(&self, lane: usize, me: Tag) {
        for _ in 0..=self.jobs.len() {
            let Some((found, seq)) = self.look(lane) else { break };
            // Before it is anybody's: that it still is as it was found is seen by the exchange.
            if self.is_awaited(lane, self.jobs[found.at].read().number) {
                break;
            }
            if let Some(held) = self.seize(found, me) {
                self.raise_head(lane, seq.saturating_add(1));
                self.release(held);
            }
        }
    }

    /// Whether somebody waits for the replies to a call.
    pub fn is_awaited(&self, lane: usize, number: u32) -> bool {
        self.lanes.get(lane).is_some_and(|lane| matches!(lane.owner(), (Some(_), now) if now == number))
    }

    /// Who works on a request: `Ok` while it is there, ready or leased; else it was ended.
    ///
    /// # Errors
    ///
    /// It was ended.
    fn lessee(&self, at: usize, generation: u32) -> Result<Option<Tag>, ()> {
        let state = self.jobs[at].state();
        match state.phase() {
            _ if state.generation() != generation => Err(()),
            Phase::Leased => Ok(state.tag()),
            Phase::Ready | Phase::Filling => Ok(None),
            Phase::Free | Phase::Held | Phase::Dead => Err(()),
        }
    }

    /// Is done when there is a reply in the lane, or there will be none, as the request in place `at` shows, of which `had`
    /// notes who has it; or tells what to sleep on.
    pub fn attempt_reply(
        &self,
        lane: usize,
        (at, generation): (usize, u32),
        had: &mut Option<Tag>,
        caller: Caller<'_>,
        ask: bool,
    ) -> Attempt<'a, Answer> {
        self.lanes[lane].news().attempt(|| self.answer(lane, (at, generation), had, caller, ask))
    }

    /// As [`attempt_reply`](Self::attempt_reply), for one who will not sleep; `None`: neither, so far.
    pub fn answer(
        &self,
        lane: usize,
        (at, generation): (usize, u32),
        had: &mut Option<Tag>,
        caller: Caller<'_>,
        ask: bool,
    ) -> Option<Answer> {
        // The request first: replies come before it is ended.
        let lessee = self.lessee(at, generation);
        if self.look(lane).is_some() {
            return Some(Answer::There);
        }
        match lessee {
            Err(()) => Some(Answer::Died(*had)),
            Ok(None) => None,
            Ok(Some(tag)) => {
                *had = Some(tag);
                let is_gone = ask && tag != caller.tag && !caller.living.is_alive(tag);
                // It may have replied just before.
                (is_gone && self.look(lane).is_none()).then_some(Answer::Died(Some(tag)))
            }
        }
    }
}
