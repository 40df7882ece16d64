//! A process that puts jobs into a queue and takes them out, as the binding does it; each job says which it is in all its
//! bytes, so that one with other bytes is found.

use samemap_core::job::{Label, Phase};
use samemap_core::queue::{Answer, Ended, Grip, Memory, Next, Store};
use samemap_core::segment::Segment;
use samemap_core::storage::Storage;
use samemap_core::tag::{Caller, Tag};

use crate::ledger::ledger;
use crate::scene::until_done;

/// Bytes that fit into a cell.
pub(crate) const SMALL: usize = 24;
/// Bytes that take two blocks.
pub(crate) const LARGE: usize = 5000;

/// Where a call waits for its reply: the lane and the number of the call; the place of the request and its generation.
pub(crate) type Call = ((usize, u32), (usize, u32));

pub(crate) struct Hand<'s> {
    pub(crate) segment: &'s Segment,
    pub(crate) store: Store<'s>,
    pub(crate) me: Tag,
    storage: Storage,
    memory: Memory,
}

/// A job that was taken: where it is, and which.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Taken {
    pub(crate) grip: Grip,
    pub(crate) seq: u64,
    pub(crate) job: u64,
}

/// Which job a message is of, all of whose bytes say so.
fn job_of(bytes: &[u8]) -> u64 {
    let job = u64::from_le_bytes(bytes[..8].try_into().expect("they are eight"));
    assert_eq!(bytes, message(job, bytes.len()), "job {job}");
    job
}

fn message(job: u64, length: usize) -> Vec<u8> {
    job.to_le_bytes().iter().copied().cycle().take(length).collect()
}

impl<'s> Hand<'s> {
    pub(crate) fn new(segment: &'s Segment) -> Self {
        let storage = Storage::of(segment).expect("it is whole");
        let store = storage.store(segment).expect("it is there");
        Self { segment, store, me: segment.tag().expect("it can join"), storage, memory: Memory::default() }
    }

    pub(crate) fn as_caller<T>(&self, work: impl FnOnce(Caller<'_>) -> T) -> T {
        self.segment.as_caller(work).expect("it can join")
    }

    pub(crate) fn bury(&self) {
        self.as_caller(|caller| self.store.bury(caller));
    }

    // Putting

    /// A place for a job, with its bytes, not labelled yet.
    pub(crate) fn fill(&mut self, (lane, number): (usize, u32), length: usize) -> Option<(Grip, Label, u64)> {
        if self.store.is_full(lane) {
            return None;
        }
        let grip = self.store.take_place(&mut self.memory, self.me)?;
        let Some((first, blocks)) = self.store.reserve(&mut self.memory, grip, length) else {
            self.store.abandon(grip, self.me);
            return None;
        };
        let job = ledger().begin();
        let lane = u16::try_from(lane).expect("there are not so many");
        let label = Label { length: length as u64, first, blocks, lane, flags: 0, number };
        let bytes = message(job, length);
        // SAFETY: the bytes live through the call, and the place is in this process's hands.
        let written = unsafe { self.storage.write(self.segment, (grip.at, label), 0, bytes.as_ptr(), length) };
        written.expect("it fits");
        Some((grip, label, job))
    }

    /// Has it count; its number, or `None` when there is no room, or the queue is shut.
    pub(crate) fn commit(&mut self, (grip, label, job): (Grip, Label, u64)) -> Option<u64> {
        self.store.label(grip, label, 1);
        assert_eq!(self.store.jobs()[grip.at].until(), None, "it has the lease of the job before");
        match self.store.commit(&mut self.memory, usize::from(label.lane), grip, self.me) {
            Ok(seq) => {
                ledger().committed(job);
                Some(seq)
            }
            Err(_) => {
                self.store.abandon(grip, self.me);
                None
            }
        }
    }

    /// Puts if there is room.
    pub(crate) fn put_now(&mut self, length: usize) -> Option<u64> {
        let filled = self.fill((0, 0), length)?;
        let seq = self.commit(filled)?;
        self.store.announce(0, seq, false);
        self.store.count_puts(self.me, 1, length as u64);
        Some(seq)
    }

    /// A place that is filled for as long as it takes; and what it will be.
    pub(crate) fn lend(&mut self, length: usize) -> Option<(Grip, (Label, u64))> {
        let (grip, label, job) = self.fill((0, 0), length)?;
        Some((self.store.lend(grip, label, 1, self.me)?, (label, job)))
    }

    /// Sends what was lent, of which this process has views; if it may not be sent, it is still lent.
    pub(crate) fn send(&mut self, lent: Grip, (label, job): (Label, u64)) -> Option<Taken> {
        let filling = self.store.resume(lent, self.me).expect("it is its own");
        self.store.label(filling, label, 1);
        self.store.keep_views(filling, self.me);
        match self.store.commit(&mut self.memory, 0, filling, self.me) {
            Ok(seq) => {
                ledger().committed(job);
                self.store.announce(0, seq, false);
                self.store.count_puts(self.me, 1, label.length);
                Some(Taken { grip: filling, seq, job })
            }
            Err(_) => {
                assert_eq!(self.store.lend(filling, label, 1, self.me), Some(lent));
                None
            }
        }
    }

    /// Puts what it fills in place, if there is room, and has views of it.
    pub(crate) fn put_in_place(&mut self, length: usize) -> Option<Taken> {
        let (lent, filled) = self.lend(length)?;
        self.send(lent, filled)
    }

    /// Puts, asleep until there is room.
    pub(crate) fn put(&mut self, length: usize) -> u64 {
        loop {
            if let Some(seq) = self.put_now(length) {
                return seq;
            }
            let (store, blocks) = (self.store, self.storage.blocks_for(length));
            until_done(self.segment, |caller, ask| store.attempt_room(0, 0, blocks, caller, ask));
        }
    }

    // Taking

    pub(crate) fn read(&self, at: usize) -> u64 {
        job_of(&self.copy(at, self.store.jobs()[at].read()))
    }

    fn copy(&self, at: usize, label: Label) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(label.length).expect("it is small")];
        self.storage.read(self.segment, at, label, &mut bytes).expect("it is whole");
        bytes
    }

    pub(crate) fn take_from(&mut self, lane: usize, until: u64) -> Option<Taken> {
        let (grip, seq) = self.store.take(&mut self.memory, lane, self.me, 2, until)?;
        let job = self.read(grip.at);
        ledger().delivered(job, grip.state.attempt());
        Some(Taken { grip, seq, job })
    }

    pub(crate) fn take(&mut self, until: u64) -> Option<Taken> {
        self.take_from(0, until)
    }

    /// Takes, asleep until there is one; `None`: there will be none.
    pub(crate) fn take_in_time(&mut self, until: u64) -> Option<Taken> {
        loop {
            self.bury();
            if let Some(taken) = self.take(until) {
                return Some(taken);
            }
            if self.store.is_over() {
                return None;
            }
            let store = self.store;
            until_done(self.segment, |caller, ask| store.attempt_news(0, caller, ask));
        }
    }

    /// Acknowledges what was leased; `None`: the lease was over.
    pub(crate) fn acknowledge(&self, taken: Taken) -> Option<Grip> {
        let held = self.store.acknowledge(taken.grip, self.me)?;
        ledger().ended(taken.job);
        Some(held)
    }

    pub(crate) fn let_go(&self, grip: Grip) {
        self.store.let_go(grip.at, grip.state.generation(), self.me);
    }

    /// Ends what was leased; says whether it was not another's by then.
    pub(crate) fn end(&self, taken: Taken) -> bool {
        match self.acknowledge(taken) {
            Some(held) => {
                self.store.count_acknowledged(self.me);
                self.store.clear(held, self.me);
                true
            }
            None => {
                self.let_go(taken.grip);
                false
            }
        }
    }

    /// Takes all small ones out, as those do who get many.
    pub(crate) fn get_many(&mut self) {
        let mut leased = Vec::new();
        while let Next::Small(found, seq, label) = self.store.find_small(&mut self.memory, 1, |_| {}) {
            if let Some(grip) = self.store.lease_small(&mut self.memory, (found, seq), self.me, 2) {
                let job = self.read(grip.at);
                ledger().delivered(job, grip.state.attempt());
                leased.push((grip, label, job));
            }
        }
        self.store.count_gets(self.me, leased.len() as u64);
        for (grip, label, job) in leased {
            assert_eq!(self.store.finish(grip, label, self.me), Some(None), "it has no end, and no keeper");
            ledger().ended(job);
        }
        self.store.tell_freed();
    }

    /// Takes one out, as those do who do not lease.
    pub(crate) fn get(&mut self) -> Option<u64> {
        loop {
            match self.store.find_small(&mut self.memory, 1, |_| {}) {
                Next::Small(found, seq, label) => {
                    let bytes = self.copy(found.at, label);
                    if self.store.win(found, self.me) {
                        ledger().ended(job_of(&bytes));
                        self.store.tell_won(&mut self.memory, seq);
                        return Some(seq);
                    }
                }
                Next::Nothing => return None,
                Next::Another => break,
            }
        }
        let taken = self.take(0)?;
        self.store.count_gets(self.me, 1);
        let label = self.store.jobs()[taken.grip.at].read();
        let finished = self.store.finish(taken.grip, label, self.me).expect("it has no end");
        ledger().ended(taken.job);
        match finished {
            Some(held) => self.store.clear(held, self.me),
            None => self.store.tell_freed(),
        }
        Some(taken.seq)
    }

    pub(crate) fn give_back(&self, taken: Taken, has_views: bool) -> Ended {
        self.store.give_back(taken.grip, self.me, has_views)
    }

    /// Has all dead letters delivered again.
    pub(crate) fn replay(&self) {
        for letter in self.store.dead_letters() {
            let job = self.read(letter.at);
            // Before: whoever dies in it may have replayed it.
            ledger().replayed(job);
            assert!(self.store.replay(letter, self.me));
        }
    }

    /// Throws all dead letters away.
    pub(crate) fn discard(&self) {
        for letter in self.store.dead_letters() {
            let job = self.read(letter.at);
            // Before: whoever dies in it may have thrown it away, or not.
            ledger().discarding(job);
            let held = self.store.take_dead(letter, self.me).expect("nobody else looks at it");
            self.store.release(held);
            ledger().ended(job);
        }
    }

    // Calls

    /// Sends a request, and says where the reply to it comes.
    pub(crate) fn call(&mut self, length: usize) -> Option<Call> {
        let (lane, number) = self.as_caller(|caller| self.store.claim_lane(caller))?;
        let Some(filled) = self.fill((0, 0), length) else {
            self.store.release_lane(lane, number, self.me);
            return None;
        };
        let grip = filled.0;
        self.store.expect_replies(grip, u16::try_from(lane).expect("there are not so many"), number);
        let Some(seq) = self.commit(filled) else {
            self.store.release_lane(lane, number, self.me);
            return None;
        };
        self.store.announce(0, seq, false);
        Some(((lane, number), (grip.at, grip.state.generation())))
    }

    /// Waits for the reply to a call: whether there is one, which is taken and ended then.
    pub(crate) fn wait_for_reply(&mut self, ((lane, number), request): Call) -> bool {
        loop {
            let (store, mut had) = (self.store, None);
            match until_done(self.segment, |caller, ask| store.attempt_reply(lane, request, &mut had, caller, ask)) {
                Answer::Died(_) => return false,
                Answer::There => {
                    let Some(taken) = self.take_from(lane, 0) else { continue };
                    let is_mine = store.jobs()[taken.grip.at].read().number == number;
                    assert!(self.end(taken));
                    if is_mine {
                        return true;
                    }
                }
            }
        }
    }

    /// Serves one request, if there is one: replies, then ends it.
    pub(crate) fn serve(&mut self, length: usize) -> bool {
        let Some(request) = self.take(0) else { return false };
        assert_eq!(self.store.jobs()[request.grip.at].state().phase(), Phase::Leased);
        let (lane, number) = self.store.jobs()[request.grip.at].reply_to();
        let lane = usize::from(lane);
        if self.store.is_awaited(lane, number)
            && let Some(filled) = self.fill((lane, number), length)
            && let Some(seq) = self.commit(filled)
        {
            self.store.announce(lane, seq, false);
        }
        self.end(request)
    }
}
