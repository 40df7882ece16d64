//! What consumers do with what they have taken: acknowledging, giving back, going on for longer; and the replies to calls.

use super::{Grip, Memory, Store};
use crate::atomic::{Ordering, fence};
use crate::bell::Attempt;
use crate::job::{Job, Phase, State};
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
    // Ending

    /// Tells those who wait until all is done, if there is nothing left to take: else whoever takes that tells them.
    #[inline]
    pub(super) fn tell_finished(&self) {
        if self.queue.finished.is_heard() && self.look(0).is_none() {
            self.queue.finished.ring();
        }
    }

    /// Ends a job that `me` has leased; it stays as it is until it is [cleared](Self::clear). `None`: the lease was lost.
    #[inline]
    pub fn acknowledge(&self, grip: Grip, me: Tag) -> Option<Grip> {
        let held = grip.state.held(me);
        self.jobs[grip.at].change(grip.state, held).then_some(Grip { at: grip.at, state: held })
    }

    /// Frees a job that `me` holds and has no views of.
    #[inline]
    pub fn clear(&self, grip: Grip, me: Tag) {
        let kept_by = self.jobs[grip.at].keeper(grip.state.generation()).filter(|keeper| *keeper != me);
        if let Some(grip) = kept_by.map_or(Some(grip), |keeper| self.leave_to(grip, keeper)) {
            let label = self.jobs[grip.at].read();
            self.jobs[grip.at].forget();
            if label.blocks != 0 {
                self.free_run(grip, label.first, label.blocks);
            }
            self.free_place(grip);
        }
    }

    /// Frees a job that `me` holds for others, or for itself as it was before: whoever has views of it keeps it, `me` too. Not
    /// by its label, which may be that of the job before.
    #[cold]
    pub(super) fn clear_by_name(&self, grip: Grip) {
        let keeper = self.jobs[grip.at].keeper(grip.state.generation());
        if let Some(grip) = keeper.map_or(Some(grip), |keeper| self.leave_to(grip, keeper)) {
            self.jobs[grip.at].forget();
            self.free_all(grip);
            self.free_place(grip);
        }
    }

    /// Leaves a job in the caller's hands to who has views of it; returns it if there are none any more.
    #[cold]
    fn leave_to(&self, grip: Grip, keeper: Tag) -> Option<Grip> {
        let job = &self.jobs[grip.at];
        let (theirs, mine) = (grip.state.left(keeper), grip.state.going());
        if !job.change(grip.state, theirs) {
            return None;
        }
        // SeqCst: and then looks whether they still keep it, as they cease to keep it and then look whether it is theirs.
        fence(Ordering::SeqCst);
        let is_kept = job.keeper(theirs.generation()) == Some(keeper);
        (!is_kept && job.change(theirs, mine)).then_some(Grip { at: grip.at, state: mine })
    }

    #[inline(always)]
    fn free_place(&self, grip: Grip) {
        self.jobs[grip.at].change(grip.state, grip.state.free_again());
        self.queue.room.ring_behind_exchange();
        self.tell_finished();
    }

    /// Counts a job that `me` has got. Before it is acknowledged.
    #[inline(always)]
    pub fn count_get(&self, me: Tag) {
        if let Some(worker) = self.workers.get(me.index()) {
            worker.count_get(me);
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
        let (job, generation) = (&self.jobs[grip.at], grip.state.generation());
        if has_views && !job.keep(generation, me, false) {
            return if job.state() == grip.state { Ended::NotYet } else { Ended::Lost };
        }
        if !job.change(grip.state, self.after(grip.state)) {
            return Ended::Lost;
        }
        if !has_views {
            // Whoever has looked at a lease that was over may have guessed that there are views.
            self.let_go(grip.at, generation, me);
        }
        if let Some(worker) = self.workers.get(me.index()) {
            worker.count_returned(me);
        }
        self.tell_returned();
        Ended::Done
    }

    /// Puts a job that `me` has leased among the dead letters.
    pub fn put_away(&self, grip: Grip, me: Tag, has_views: bool) -> Ended {
        let (job, generation) = (&self.jobs[grip.at], grip.state.generation());
        if has_views && !job.keep(generation, me, false) {
            return if job.state() == grip.state { Ended::NotYet } else { Ended::Lost };
        }
        if !job.change(grip.state, grip.state.dead()) {
            return Ended::Lost;
        }
        self.tell_finished();
        Ended::Done
    }

    /// What a job becomes that was delivered in vain.
    pub(super) fn after(&self, state: State) -> State {
        let most = self.shape.max_attempts;
        if most != 0 && state.attempt() >= most { state.dead() } else { state.ready() }
    }

    pub(super) fn tell_returned(&self) {
        // Release [queue.returned]
        self.queue.returned.fetch_add(1, Ordering::SeqCst);
        self.lanes[0].news().ring_one();
        self.tell_finished();
    }

    /// `me` has no views of that generation's job any more, which was given back or taken away.
    pub fn let_go(&self, at: usize, generation: u32, me: Tag) {
        let job = &self.jobs[at];
        job.unkeep(generation, me, false);
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
        let job = &self.jobs[grip.at];
        // Before, too: else it would be the lease of who has it by now.
        if job.state() != grip.state {
            return false;
        }
        job.extend(until);
        job.state() == grip.state
    }

    /// Whether a job is still leased as it was.
    pub fn is_leased(&self, grip: Grip) -> bool {
        self.jobs[grip.at].state() == grip.state
    }

    // What has come back

    /// The oldest job that is ready and may have come back.
    pub(super) fn oldest_returned(&self) -> Option<Grip> {
        // Acquire [queue.returned]: sees what has come back.
        if self.queue.returned.load(Ordering::Acquire) == 0 {
            return None;
        }
        let ready = |(at, job): (usize, &Job)| {
            let state = job.state();
            (state.phase() == Phase::Ready && job.read().lane == 0).then(|| (job.seq(), Grip { at, state }))
        };
        self.jobs.iter().enumerate().filter_map(ready).min_by_key(|(seq, _)| *seq).map(|(_, grip)| grip)
    }

    #[cold]
    pub(super) fn take_returned(&self, memory: &mut Memory, me: Tag, now: u64, until: u64) -> Option<(Grip, u64)> {
        // Acquire [queue.returned]
        let returned = self.queue.returned.load(Ordering::Acquire);
        // A turn more for each time that somebody else was faster; whoever that was has its job, so this ends.
        for _ in 0..=self.jobs.len() {
            let Some(found) = self.oldest_returned() else {
                memory.returned = returned;
                break;
            };
            let job = &self.jobs[found.at];
            // Those that the lane has before it come in their order, from the lane. This one is looked for again then: the
            // lane may not find it any more, when others move its head.
            let seq = job.seq();
            if self.look(0).is_some_and(|(_, next)| next <= seq) {
                break;
            }
            let leased = found.state.leased(me);
            if job.change(found.state, leased) {
                job.note_taken(now, until);
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

    /// Gives a lane back: nobody waits for replies to this call any more.
    pub fn release_lane(&self, lane: usize, number: u32, me: Tag) {
        if lane != 0 && self.lanes[lane].release(me, number) {
            self.drain(lane, me);
            // For those who wait for room in it, and for a lane.
            self.queue.room.ring();
        }
    }

    /// Throws away what is in a lane for replies.
    fn drain(&self, lane: usize, me: Tag) {
        let mut memory = Memory::default();
        for _ in 0..=self.jobs.len() {
            let Some((grip, _)) = self.take(&mut memory, lane, me, 0, 0) else { break };
            if let Some(held) = self.acknowledge(grip, me) {
                self.clear(held, me);
            }
        }
    }

    /// Whether somebody waits for the replies to a call.
    pub fn is_awaited(&self, lane: usize, number: u32) -> bool {
        self.lanes.get(lane).is_some_and(|lane| matches!(lane.owner(), (Some(_), now) if now == number))
    }

    /// Who waits for the replies to a call.
    pub fn awaited_by(&self, lane: usize, number: u32) -> Option<Tag> {
        let (owner, now) = self.lanes.get(lane)?.owner();
        owner.filter(|_| now == number)
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
        if let Some(answer) = self.answer(lane, (at, generation), had, caller, ask) {
            return Attempt::Done(answer);
        }
        let sleep = self.lanes[lane].news().listen();
        self.answer(lane, (at, generation), had, caller, ask).map_or(Attempt::Wait(sleep), Attempt::Done)
    }

    fn answer(
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
