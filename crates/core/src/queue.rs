//! Floor 3: jobs from many to many, each for one: in order, and again when who had it has died.
//!
//! A table of jobs (`job.rs`), lanes that name them in order (`lane.rs`, `ring.rs`), and a heap of blocks for messages that
//! are too long for their job's cell (`heap.rs`). A queue has one lane. A service has one for requests, and one for the
//! replies to each call that is in flight.
//!
//! | step of putting | killed before it |
//! | --- | --- |
//! | a free place is taken | nothing has happened |
//! | blocks are claimed, in the name of the place and its generation | a place that a dead one fills, which `recovery.rs` frees with its blocks |
//! | the message is written, labelled and numbered | the same |
//! | the ring's word names it | the same |
//! | filling → ready | a job that counts: consumers take it from the ring as it is |
//! | `next`, the bell | the same; those who sleep look again when their slice ends |
//!
//! | step of taking | killed before it |
//! | --- | --- |
//! | ready, or filling and named by the ring → leased | nothing has happened |
//! | `head` | the others pass over what is taken |
//! | leased → free, of the next generation, when it is acknowledged and has no blocks | the job of a dead one, which is ready again |
//! | leased → held, when it has | the same |
//! | the blocks are freed | what a dead one held, which `recovery.rs` frees |
//! | held → free | the same |
//!
//! | step of giving back, or of looking after the dead | killed before it |
//! | --- | --- |
//! | leased → ready | nothing has happened, or the job is that of a dead one |
//! | `returned`, the bell | a job that the lane does not find: who looks after the dead sees that, and says that it has come back |
//!
//! Numbers in order are only a hint of what to take next: what counts is the state of each job, so one that comes back
//! is found by looking at all of them, which is done when `returned` says that there may be one.

mod ending;
mod heap;
mod leases;
mod recovery;

use crate::atomic::{Ordering, Word32, Word64, fence_behind_exchange, will_write};
use crate::bell::{Attempt, Bell};
use crate::job::{Job, Label, Phase, State};
use crate::lane::Lane;
use crate::layout::shared;
use crate::ring::{MOST_PLACES, Place, Refused, Ring};
use crate::tag::{Caller, Tag};
use crate::worker::{Work, Worker};

pub use leases::{Answer, Ended};
pub use recovery::Totals;

/// The most jobs of a queue.
pub const MOST_JOBS: usize = MOST_PLACES;

/// Jobs that a lane for replies has room for.
pub const REPLIES: usize = 16;

shared! {
    /// What a queue is, and where it has come to, as it lies in shared memory.
    pub struct Queue(256) {
        /// Jobs that may wait in the first lane. Written once, as the next eight.
        maxsize: Word32,
        /// Places for jobs.
        jobs: Word32,
        /// Lanes.
        lanes: Word32,
        /// Words of the first lane's ring, a power of two; the others have [`REPLIES`].
        ring: Word32,
        /// Entries of the table of workers.
        workers: Word32,
        /// Deliveries after which a job is a dead letter; 0 for never.
        max_attempts: Word32,
        /// 1 if the jobs of the dead are not delivered again.
        once: Word32,
        /// Bytes of a job's cell.
        cell: Word32,
        /// Blocks of the heap.
        blocks: Word64,
        /// Bytes of a block.
        block_size: Word64,
        /// 1 when no more jobs are taken in, 2 when none are given out either.
        shut: Word32,
        /// How often a job has come back.
        returned: Word32,
        /// Zeros.
        reserved: [Word64; 1],
        /// For those who wait for room.
        room: Bell,
        /// Zeros.
        reserved_room: [Word64; 7],
        /// For those who wait until all is done.
        finished: Bell,
        /// Zeros.
        reserved_finished: [Word64; 15],
    }
}

/// How many there are of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Jobs that may wait.
    pub maxsize: usize,
    /// Places for jobs.
    pub jobs: usize,
    /// Lanes.
    pub lanes: usize,
    /// Words of the first lane's ring.
    pub ring: usize,
    /// Entries of the table of workers.
    pub workers: usize,
    /// Bytes of a cell.
    pub cell: usize,
    /// Blocks of the heap.
    pub blocks: usize,
    /// Bytes of a block.
    pub block_size: usize,
    /// Deliveries after which a job is a dead letter; 0 for never.
    pub max_attempts: u32,
    /// Whether the jobs of the dead are not delivered again.
    pub once: bool,
}

/// What goes on for a while and then ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shut {
    /// It is open.
    Open,
    /// No more jobs are taken in.
    In,
    /// None are given out, either.
    Out,
}

/// What a producer or consumer remembers; it only saves time.
#[derive(Debug, Default)]
pub struct Memory {
    /// Where to look for a free place.
    place: usize,
    /// Where to look for free blocks.
    block: usize,
    /// The number that the next job may get.
    pub hope: u64,
    /// How many had come back when none was found.
    returned: u32,
}

/// A job in the caller's hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grip {
    /// Its place.
    pub at: usize,
    /// Its state, which only the caller may change; or whoever finds its lease over.
    pub state: State,
}

/// Why a job was not put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unput {
    /// There is no room.
    Full,
    /// No more jobs are taken in.
    Shut,
    /// Somebody has overwritten what the queue needs.
    Damaged,
}

/// A queue and its tables; the bytes of messages are elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct Store<'a> {
    queue: &'a Queue,
    shape: Shape,
    lanes: &'a [Lane],
    words: &'a [Word64],
    jobs: &'a [Job],
    blocks: &'a [Word64],
    workers: &'a [Worker],
}

impl Queue {
    /// A queue without jobs.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        let word = || Word32::new(0);
        let queue = Self {
            maxsize: word(),
            jobs: word(),
            lanes: word(),
            ring: word(),
            workers: word(),
            max_attempts: word(),
            once: word(),
            cell: word(),
            blocks: Word64::new(0),
            block_size: Word64::new(0),
            shut: word(),
            returned: word(),
            reserved: std::array::from_fn(|_| Word64::new(0)),
            room: Bell::new(),
            reserved_room: std::array::from_fn(|_| Word64::new(0)),
            finished: Bell::new(),
            reserved_finished: std::array::from_fn(|_| Word64::new(0)),
        };
        queue.set_up(shape);
        queue
    }

    /// Makes it a queue without jobs, where there are zeros and nobody sees it yet.
    pub fn set_up(&self, shape: Shape) {
        let once = usize::from(shape.once);
        let numbers = [shape.maxsize, shape.jobs, shape.lanes, shape.ring, shape.workers, once, shape.cell];
        let words = [&self.maxsize, &self.jobs, &self.lanes, &self.ring, &self.workers, &self.once, &self.cell];
        for (word, number) in words.into_iter().zip(numbers) {
            word.store(number as u32, Ordering::Relaxed);
        }
        self.max_attempts.store(shape.max_attempts, Ordering::Relaxed);
        self.blocks.store(shape.blocks as u64, Ordering::Relaxed);
        self.block_size.store(shape.block_size as u64, Ordering::Relaxed);
    }

    /// How many there are of everything, as the memory says.
    pub fn shape(&self) -> Shape {
        let small = |word: &Word32| word.load(Ordering::Relaxed) as usize;
        let large = |word: &Word64| usize::try_from(word.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        Shape {
            maxsize: small(&self.maxsize),
            jobs: small(&self.jobs),
            lanes: small(&self.lanes),
            ring: small(&self.ring),
            workers: small(&self.workers),
            cell: small(&self.cell),
            blocks: large(&self.blocks),
            block_size: large(&self.block_size),
            max_attempts: self.max_attempts.load(Ordering::Relaxed),
            once: self.once.load(Ordering::Relaxed) != 0,
        }
    }
}

impl<'a> Store<'a> {
    /// A queue of that shape and its tables, each as long as the shape says.
    #[inline(always)]
    pub fn new(
        queue: &'a Queue,
        shape: Shape,
        (lanes, words): (&'a [Lane], &'a [Word64]),
        (jobs, blocks): (&'a [Job], &'a [Word64]),
        workers: &'a [Worker],
    ) -> Self {
        Self { queue, shape, lanes, words, jobs, blocks, workers }
    }

    /// How many there are of everything.
    #[inline(always)]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Its jobs.
    pub fn jobs(&self) -> &'a [Job] {
        self.jobs
    }

    /// Its lanes.
    pub fn lanes(&self) -> &'a [Lane] {
        self.lanes
    }

    #[inline(always)]
    fn ring(&self, lane: usize) -> Ring<'a> {
        let words = if lane == 0 {
            &self.words[..self.shape.ring]
        } else {
            let start = self.shape.ring + (lane - 1) * REPLIES;
            &self.words[start..start + REPLIES]
        };
        Ring::new(words, self.lanes[lane].next(), self.jobs.len())
    }

    fn most(&self, lane: usize) -> usize {
        if lane == 0 { self.shape.maxsize } else { REPLIES }
    }

    // Putting

    /// Takes a free place to fill; `None` when there is none.
    #[inline]
    pub fn take_place(&self, memory: &mut Memory, me: Tag) -> Option<Grip> {
        let count = self.jobs.len();
        let mut at = if memory.place < count { memory.place } else { 0 };
        for _ in 0..count {
            let job = &self.jobs[at];
            let next = if at + 1 < count { at + 1 } else { 0 };
            let state = job.state();
            if state.phase() == Phase::Free {
                let filling = state.filling(me);
                if job.change(state, filling) {
                    memory.place = next;
                    // The consumers have its line: to have it alone takes as long as all the rest.
                    will_write(&raw const self.jobs[next]);
                    return Some(Grip { at, state: filling });
                }
            }
            at = next;
        }
        None
    }

    /// Where the message of a job in the caller's hands goes: its cell (no blocks), or a run of blocks that is claimed for it.
    /// `None` when there is no such run now.
    #[inline]
    pub fn reserve(&self, memory: &mut Memory, grip: Grip, length: usize) -> Option<(u32, u32)> {
        if length <= self.shape.cell {
            return Some((0, 0));
        }
        let count = length.div_ceil(self.shape.block_size.max(1));
        self.claim_run(memory, grip, count).map(|first| (first as u32, count as u32))
    }

    /// Labels the message of a job in the caller's hands.
    #[inline(always)]
    pub fn label(&self, grip: Grip, label: Label, now: u64) {
        self.jobs[grip.at].label(label, now);
    }

    /// Says where the replies to a request in the caller's hands go.
    pub fn expect_replies(&self, grip: Grip, lane: u16, number: u32) {
        self.jobs[grip.at].expect_replies(lane, number);
    }

    /// Has the job in the caller's hands count, in its lane; returns its number.
    ///
    /// # Errors
    ///
    /// [`Unput`]: it is still in the caller's hands.
    #[inline]
    pub fn commit(&self, memory: &mut Memory, lane: usize, grip: Grip, me: Tag) -> Result<u64, Unput> {
        // The place was taken before, by an exchange; as those who shut it say so before they look for places that are being
        // filled.
        fence_behind_exchange();
        if lane == 0 && self.queue.shut.load(Ordering::SeqCst) != 0 {
            return Err(Unput::Shut);
        }
        let (job, ring, most) = (&self.jobs[grip.at], self.ring(lane), self.most(lane) as u64);
        let head = self.lanes[lane].head();
        let numbered = |seq: u64| {
            // Acquire [lane.head]: what was taken was taken before; so what a word of the ring named is not needed there.
            if seq >= head.load(Ordering::Acquire).saturating_add(most) {
                return false;
            }
            job.number(me, grip.state.generation(), seq);
            true
        };
        let hope = if lane == 0 { memory.hope } else { ring.next_known() };
        let seq = match ring.commit(grip.at, hope, numbered) {
            Ok(seq) => seq,
            Err(Refused::Full) => return Err(Unput::Full),
            Err(Refused::Damaged) => return Err(Unput::Damaged),
        };
        if lane == 0 {
            memory.hope = seq + 1;
        }
        // It may be leased by now.
        job.change(grip.state, grip.state.ready());
        Ok(seq)
    }

    /// Lets everybody know of the jobs up to `seq`, of which `many` are new.
    #[inline]
    pub fn announce(&self, lane: usize, seq: u64, many: bool) {
        self.ring(lane).announce(seq);
        self.tell_of_end();
        let news = self.lanes[lane].news();
        if many {
            news.ring_behind_exchange();
        } else {
            news.ring_one_behind_exchange();
        }
    }

    /// Counts jobs that `me` has put.
    #[inline(always)]
    pub fn count_puts(&self, me: Tag, jobs: u64, bytes: u64) {
        if let Some(worker) = self.workers.get(me.index()) {
            worker.count_puts(me, jobs, bytes);
        }
    }

    /// Gives up a place in the caller's hands that was not committed.
    pub fn abandon(&self, grip: Grip, me: Tag) {
        if let Some(held) = self.seize(grip, me) {
            // Not by its label, which it may not have yet.
            self.recover(held);
            self.tell_of_end();
        }
    }

    // Taking

    /// The first job of the lane that can be taken; moves `head` past those that are taken.
    #[inline]
    fn look(&self, lane: usize) -> Option<(Grip, u64)> {
        let (ring, head) = (self.ring(lane), self.lanes[lane].head());
        // Acquire [lane.head]
        let start = head.load(Ordering::Acquire).max(1);
        let mut seq = start;
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
                }
            }
        }
        if seq > start {
            self.raise_head(lane, start, seq);
        }
        found
    }

    #[inline(always)]
    fn raise_head(&self, lane: usize, from: u64, to: u64) {
        // Release [lane.head]. When another one was faster, the next who looks goes on from there.
        let _ = self.lanes[lane].head().compare_exchange(from, to, Ordering::SeqCst, Ordering::Relaxed);
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
            let (found, seq) = self.look(lane)?;
            let leased = found.state.leased(me);
            // When it fails, somebody else has it, or its producer says that it is ready: look again. Others have gone on
            // each time, so this ends.
            if self.jobs[found.at].change(found.state, leased) {
                self.raise_head(lane, seq, seq.saturating_add(1));
                self.jobs[found.at].note_taken(leased, now, until);
                // Not for each of many: who waits for room is best woken for several.
                let stride = (self.most(lane) as u64 / 8).clamp(1, 64);
                if seq.is_multiple_of(stride) || self.ring(lane).place(seq.saturating_add(1)) == Place::Ahead {
                    self.queue.room.ring_behind_exchange();
                }
                return Some((Grip { at: found.at, state: leased }, seq));
            }
        }
    }

    /// Wakes all who wait for a job, to look again.
    pub fn wake_all(&self, lane: usize) {
        self.lanes[lane].news().ring();
    }

    /// Whether there is a job to take, also one that has come back.
    pub fn is_news(&self, lane: usize) -> bool {
        self.look(lane).is_some() || lane == 0 && self.oldest_returned().is_some()
    }

    /// Whether a look at the lane alone finds one: quick, and may miss one that has come back.
    #[inline(always)]
    pub fn is_next(&self, lane: usize) -> bool {
        self.look(lane).is_some()
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

    /// Whether as many jobs wait in the lane as may.
    #[inline]
    pub fn is_full(&self, lane: usize) -> bool {
        let (head, most) = (self.lanes[lane].head(), self.most(lane) as u64);
        let is_full =
            || self.ring(lane).newest() >= head.load(Ordering::Acquire).saturating_add(most).saturating_sub(1);
        // What was taken by those who did not say so is found by a look.
        is_full() && {
            let _ = self.look(lane);
            is_full()
        }
    }

    /// Whether a job of `blocks` blocks could be put into the lane.
    pub fn is_room(&self, lane: usize, blocks: usize) -> bool {
        !self.is_full(lane) && self.jobs.iter().any(|job| job.state().phase() == Phase::Free) && self.has_run(blocks)
    }

    /// Is done when a job of so many blocks could be put into the lane, or none will be; or tells what to sleep on.
    pub fn attempt_room(
        &self,
        lane: usize,
        number: u32,
        blocks: usize,
        caller: Caller<'_>,
        ask: bool,
    ) -> Attempt<'a, ()> {
        if ask {
            self.bury(caller);
        }
        let is_over = || if lane == 0 { self.shut() != Shut::Open } else { !self.is_awaited(lane, number) };
        self.queue.room.attempt(|| (is_over() || self.is_room(lane, blocks)).then_some(()))
    }

    /// What the participants have done, by their places in the roster.
    pub fn work(&self) -> impl Iterator<Item = Work> + use<'a> {
        self.workers.iter().map(Worker::work)
    }
}
