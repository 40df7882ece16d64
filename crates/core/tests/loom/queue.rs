//! Queues: producers against consumers, sleeping, leases and who keeps what was leased, the end, replies, and the dead.

mod burying;
mod counting;
mod ending;
mod keeping;
mod leasing;
mod putting;
mod replying;
mod sleeping;
mod taking;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread::JoinHandle;
use samemap_core::atomic::{Ordering, Word64};
use samemap_core::job::{Job, Label};
use samemap_core::lane::Lane;
use samemap_core::queue::{Grip, Memory, Next, Queue, REPLIES, Shape, Store, Unput};
use samemap_core::worker::Worker;

use crate::drive::{Order, Roster, tag, until_done};

/// Longer messages than this need blocks, of as many bytes.
const CELL: usize = 8;

/// When a lease ends that is over already.
const OVER: u64 = 1;

/// A queue, and what is in its jobs' cells and blocks.
struct Line {
    queue: Queue,
    shape: Shape,
    lanes: Vec<Lane>,
    words: Vec<Word64>,
    jobs: Vec<Job>,
    blocks: Vec<Word64>,
    workers: Vec<Worker>,
    roster: Roster,
    order: Order,
    /// loom reports every unordered access.
    cells: Vec<UnsafeCell<u64>>,
    /// What is in the cells once more, for those who copy before they have won: that may be of anything, and is not in order.
    copies: Vec<Word64>,
    /// As the cells, for the heap.
    heap: Vec<UnsafeCell<u64>>,
}

// SAFETY: the queue is what the tests prove to be enough; loom reports every unordered access of the cells.
unsafe impl Sync for Line {}
// SAFETY: as above.
unsafe impl Send for Line {}

/// So many jobs may wait, there are so many places, and so many blocks.
fn shape(maxsize: usize, jobs: usize, blocks: usize) -> Shape {
    Shape {
        maxsize,
        jobs,
        lanes: 1,
        ring: maxsize.next_power_of_two(),
        workers: 0,
        cell: CELL,
        blocks,
        block_size: CELL,
        max_attempts: 0,
        once: false,
    }
}

fn line(shape: Shape) -> Arc<Line> {
    let words = shape.ring + (shape.lanes - 1) * REPLIES;
    Arc::new(Line {
        queue: Queue::new(shape),
        shape,
        lanes: (0..shape.lanes).map(|_| Lane::new()).collect(),
        words: (0..words).map(|_| Word64::new(0)).collect(),
        jobs: (0..shape.jobs).map(|_| Job::new()).collect(),
        blocks: (0..shape.blocks).map(|_| Word64::new(0)).collect(),
        workers: (0..shape.workers).map(|_| Worker::new()).collect(),
        roster: Roster::new(),
        order: Order::new(),
        cells: (0..shape.jobs).map(|_| UnsafeCell::new(0)).collect(),
        copies: (0..shape.jobs).map(|_| Word64::new(0)).collect(),
        heap: (0..shape.blocks).map(|_| UnsafeCell::new(0)).collect(),
    })
}

fn bounded(preemptions: usize, check: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    // Each look at all workers is many loads.
    model.max_branches = 10_000;
    model.check(check);
}

fn join_all<T: 'static, const N: usize>(threads: [JoinHandle<T>; N]) -> [T; N] {
    threads.map(|thread| thread.join().unwrap())
}

/// A participant.
struct Hand {
    who: usize,
    memory: Memory,
}

/// Where a message goes.
#[derive(Clone, Copy, Default)]
struct Route {
    lane: usize,
    number: u32,
    reply: Option<(u16, u32)>,
}

impl Hand {
    fn new(who: usize) -> Self {
        Self { who, memory: Memory::default() }
    }

    /// A place with a message in it, `value`, which its length says too: above [`CELL`] it is in the heap.
    fn fill(&mut self, line: &Line, value: u64, route: Route) -> Option<Grip> {
        let (store, me) = (line.store(), tag(self.who));
        if store.is_full(route.lane) {
            return None;
        }
        let grip = store.take_place(&mut self.memory, me)?;
        let Some((first, blocks)) = store.reserve(&mut self.memory, grip, value as usize) else {
            store.abandon(grip, me);
            return None;
        };
        let Route { lane, number, reply } = route;
        let label = Label { length: value, first, blocks, lane: lane as u16, flags: 0, number };
        line.write(grip.at, label);
        store.label(grip, label, 0);
        if let Some((lane, number)) = reply {
            store.expect_replies(grip, lane, number);
        }
        Some(grip)
    }

    fn commit(&mut self, line: &Line, lane: usize, grip: Grip) -> Result<u64, Unput> {
        line.store().commit(&mut self.memory, lane, grip, tag(self.who)).inspect_err(|_| {
            line.store().abandon(grip, tag(self.who));
        })
    }

    fn send(&mut self, line: &Line, value: u64, route: Route) -> Result<(Grip, u64), Unput> {
        let grip = self.fill(line, value, route).ok_or(Unput::Full)?;
        let seq = self.commit(line, route.lane, grip)?;
        line.store().announce(route.lane, seq, false);
        Ok((grip, seq))
    }

    /// Puts `value`, as the binding does; returns its number.
    fn put(&mut self, line: &Line, value: u64) -> Result<u64, Unput> {
        self.send(line, value, Route::default()).map(|(_, seq)| seq)
    }

    /// Puts `value`, asleep until there is room.
    fn put_in_time(&mut self, line: &Line, value: u64) -> u64 {
        loop {
            match self.put(line, value) {
                Ok(seq) => return seq,
                Err(refused) => assert_eq!(refused, Unput::Full),
            }
            let blocks = line.blocks_for(value);
            until_done(|| line.store().attempt_room(0, 0, blocks, line.roster.caller(self.who), false));
        }
    }

    fn lease_until(&mut self, line: &Line, until: u64) -> Option<(Grip, u64)> {
        let taken = line.store().take(&mut self.memory, 0, tag(self.who), 0, until);
        if let Some((grip, _)) = taken {
            line.read(grip);
        }
        taken
    }

    fn lease(&mut self, line: &Line) -> Option<(Grip, u64)> {
        self.lease_until(line, 0)
    }

    /// Acknowledges a lease; says whether this participant still had it. `look` is what it does with its views.
    fn end(&self, line: &Line, grip: Grip, look: impl FnOnce()) -> bool {
        let (store, me) = (line.store(), tag(self.who));
        let held = store.acknowledge(grip, me);
        look();
        match held {
            Some(held) => store.clear(held, me),
            None => store.let_go(grip.at, grip.state.generation(), me),
        }
        held.is_some()
    }

    /// Takes a job out: its number and value. Where others may take it away again, it counts only if they have not.
    fn get(&mut self, line: &Line) -> Option<(u64, u64)> {
        let (grip, seq) = self.lease(line)?;
        let value = line.read(grip);
        self.end(line, grip, || {}).then_some((seq, value))
    }

    /// Gets a job in one step if it is small, as the binding does: its number and value.
    fn win(&mut self, line: &Line) -> Option<(u64, u64)> {
        loop {
            let store = line.store();
            match store.find_small(&mut self.memory, 1, |_| {}) {
                Next::Small(found, seq, label) => {
                    // Relaxed: if it is won, it must be of this job all the same.
                    let copied = line.copies[found.at].load(Ordering::Relaxed);
                    if store.win(found, tag(self.who)) {
                        store.tell_won(&mut self.memory, seq);
                        assert_eq!(copied, label.length, "of another job");
                        return Some((seq, copied));
                    }
                }
                Next::Nothing => return None,
                Next::Another => return self.get(line),
            }
        }
    }

    /// Leases small jobs, up to so many, and then ends the leases, as the binding does for many: their numbers and values.
    fn get_many(&mut self, line: &Line, most: usize) -> Vec<(u64, u64)> {
        let (store, me) = (line.store(), tag(self.who));
        let mut leased = Vec::new();
        while leased.len() < most
            && let Next::Small(found, seq, label) = store.find_small(&mut self.memory, 1, |_| {})
        {
            leased.extend(store.lease_small(&mut self.memory, (found, seq), me, 0).map(|grip| (grip, seq, label)));
        }
        store.count_gets(me, leased.len() as u64);
        let end = |(grip, seq, label)| {
            let value = line.read(grip);
            assert_eq!((value, store.finish(grip, label, me)), (label.length, Some(None)));
            (seq, value)
        };
        let got = leased.into_iter().map(end).collect();
        store.tell_freed();
        got
    }

    /// Takes a job out, asleep until there is one.
    fn get_in_time(&mut self, line: &Line) -> (u64, u64) {
        loop {
            if let Some(got) = self.get(line) {
                return got;
            }
            until_done(|| line.store().attempt_news(0, line.roster.caller(self.who), false));
            loom::thread::yield_now();
        }
    }
}

impl Line {
    fn store(&self) -> Store<'_> {
        Store::new(&self.queue, self.shape, (&self.lanes, &self.words), (&self.jobs, &self.blocks), &self.workers)
    }

    fn blocks_for(&self, value: u64) -> usize {
        if value as usize > CELL { (value as usize).div_ceil(CELL) } else { 0 }
    }

    fn bury(&self, who: usize) {
        self.store().bury(self.roster.caller(who));
    }

    fn cells(&self, at: usize, label: Label) -> &[UnsafeCell<u64>] {
        if label.blocks == 0 {
            return &self.cells[at..=at];
        }
        &self.heap[label.first as usize..(label.first + label.blocks) as usize]
    }

    fn write(&self, at: usize, label: Label) {
        if label.blocks == 0 {
            self.copies[at].store(label.length, Ordering::Relaxed);
        }
        for cell in self.cells(at, label) {
            cell.with_mut(|cell| {
                // SAFETY: the place is in this participant's hands.
                unsafe { *cell = label.length }
            });
        }
    }

    /// Looks at a message.
    fn look_at(&self, at: usize, label: Label) {
        for cell in self.cells(at, label) {
            let value = cell.with(|cell| {
                // SAFETY: the job is this participant's, or kept by it.
                unsafe { *cell }
            });
            assert_eq!(value, label.length, "of another job");
        }
    }

    /// What is in a leased job.
    fn read(&self, grip: Grip) -> u64 {
        let label = self.jobs[grip.at].read();
        self.look_at(grip.at, label);
        label.length
    }

    /// Nothing is left, and nothing is lost.
    fn is_as_new(&self) {
        let totals = self.store().totals();
        assert_eq!((totals.free, totals.free_blocks), (self.jobs.len(), self.blocks.len()), "{totals:?}");
    }
}
