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
//! | filling → ready, in a service; in a queue it stays as it is | a job that counts: consumers take it from the ring as it is |
//! | `next`, now and then; the bell | the same; those who sleep look again when their slice ends |
//!
//! | step of taking | killed before it |
//! | --- | --- |
//! | ready, or filling and named by the ring → leased | nothing has happened |
//! | `head`, now and then | the others pass over what is taken |
//! | or at once → free, by who has copied a small message before | nothing has happened |
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
mod lending;
mod recovery;
mod taking;

use crate::atomic::{Ordering, Word32, Word64, fence_behind_exchange, will_write};
use crate::bell::{Attempt, Bell};
use crate::job::{Job, Label, Phase, State};
use crate::lane::Lane;
use crate::layout::shared;
use crate::ring::{MOST_PLACES, Refused, Ring};
use crate::tag::{Caller, Tag};
use crate::worker::{Work, Worker};

pub use leases::{Answer, Ended};
pub use recovery::Totals;
pub use taking::Next;

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
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Where to look for a free place.
    pub place: usize,
    /// Where to look for free blocks.
    pub block: usize,
    /// The number that the next job in the first lane may get.
    pub hope: u64,
    /// All jobs of the first lane up to this number were taken, as far as is known from the last look.
    pub head: u64,
    /// All jobs of the first lane up to this number were taken, or have come back.
    pub cursor: u64,
    /// How many had come back when none was found.
    pub returned: u32,
}

impl Default for Memory {
    /// It knows nothing.
    fn default() -> Self {
        Self { place: usize::MAX, block: 0, hope: 0, head: 0, cursor: 0, returned: 0 }
    }
}

/// Of so many jobs in a row, one says how far the ring has come. A power of two.
const STRIDE: u64 = 16;

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
    /// Whether at most one thread of this process counts at a time.
    alone: bool,
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
        Self { queue, shape, alone: false, lanes, words, jobs, blocks, workers }
    }

    /// The same, where at most one thread of this process counts at a time; that is quicker.
    #[inline(always)]
    #[must_use]
    pub fn alone(self, alone: bool) -> Self {
        Self { alone, ..self }
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
        // Each begins elsewhere: those who go over the same places get in each other's way.
        let mut at =
            if memory.place < count { memory.place } else { me.index().wrapping_mul(0x9E37_79B1) % count.max(1) };
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
        let (hope, mut head) = if lane == 0 { (memory.hope, memory.head) } else { (ring.next_known(), 0) };
        let mut tried = hope;
        let numbered = |seq: u64| {
            tried = seq;
            // What is known from before may do, and saves a look at a line that consumers write.
            if seq >= head.saturating_add(most) {
                head = self.known_head(lane, seq, most);
                if seq >= head.saturating_add(most) {
                    return false;
                }
            }
            job.number(me, grip.state.generation(), seq);
            true
        };
        let seq = match ring.commit(grip.at, hope, numbered) {
            Ok(seq) => seq,
            Err(refused) => {
                if lane == 0 {
                    (memory.hope, memory.head) = (tried, head);
                }
                return Err(if refused == Refused::Full { Unput::Full } else { Unput::Damaged });
            }
        };
        if lane == 0 {
            (memory.hope, memory.head) = (seq + 1, head);
        }
        if self.lanes.len() > 1 {
            // It may be leased by now. Who calls takes back what is ready. A queue goes without: the ring names it, and its
            // line is the consumer's from here on.
            job.change(grip.state, grip.state.ready());
        }
        if lane == 0 {
            self.drop_what_came_too_late(me);
        }
        Ok(seq)
    }

    /// All before this number were taken; enough of them for `seq`, if there are.
    fn known_head(&self, lane: usize, seq: u64, most: u64) -> u64 {
        let head = self.lanes[lane].head();
        // Acquire [lane.head]: what was taken was taken before; so what a word of the ring named is not needed there.
        let known = head.load(Ordering::Acquire);
        if seq < known.saturating_add(most) {
            return known;
        }
        // What was taken by those who did not say so is found by a look.
        let _ = self.look(lane);
        // Acquire [lane.head]
        head.load(Ordering::Acquire)
    }

    /// Lets everybody know of the jobs up to `seq`, of which `many` are new.
    #[inline]
    pub fn announce(&self, lane: usize, seq: u64, many: bool) {
        // Not for each: consumers look at the words of the ring, and whoever wants the newest goes on from the last that was
        // told of.
        if many || lane != 0 || seq.is_multiple_of(STRIDE) {
            self.ring(lane).announce(seq);
        }
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
            worker.count_puts(me, jobs, bytes, self.alone);
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

    // Room

    /// Whether as many jobs wait in the first lane as may, when `filled` more do, as far as the caller remembers: if not, that
    /// is not sure yet.
    #[inline(always)]
    pub fn seems_full(&self, memory: &Memory, filled: u64) -> bool {
        memory.hope.saturating_add(filled) >= memory.head.saturating_add(self.shape.maxsize as u64)
            && (filled > 0 || self.is_full(0))
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

    /// As [`is_full`](Self::is_full), for one who only reads.
    pub fn looks_full(&self, lane: usize) -> bool {
        // Acquire [lane.head]
        let head = self.lanes[lane].head().load(Ordering::Acquire);
        let (_, taken, _) = self.look_from(lane, head);
        self.ring(lane).newest() >= taken.saturating_add(self.most(lane) as u64).saturating_sub(1)
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
