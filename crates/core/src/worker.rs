//! Floor 2: what each participant has done in a queue: for monitors, which only read, and to know when all work is done.
//!
//! A participant counts in the entry that has the number of its place in the roster. Who gets that place next counts on
//! from there, so that the sums over all entries only ever grow.

use crate::atomic::{Ordering, Word32, Word64, fence, yield_now};
use crate::layout::shared;
use crate::tag::Tag;

shared! {
    /// What a participant has done, as it lies in shared memory.
    pub struct Worker(128) {
        /// Jobs that it has put.
        puts: Word64,
        /// Bytes of them.
        bytes: Word64,
        /// The tag of the participant; marked until it has noted what was `before`.
        tag: Word32,
        /// Zeros.
        reserved: Word32,
        /// Zeros: what it takes is on a line of its own.
        reserved_puts: [Word64; 5],
        /// Jobs that it has got, and that are not in the queue any more.
        gets: Word64,
        /// Jobs that it has got and says are done.
        done: Word64,
        /// Leases that it has acknowledged.
        acknowledged: Word64,
        /// Leases that it has given back, or that were taken from it.
        returned: Word64,
        /// The first two of those who had this place before.
        before: [Word64; 2],
        /// How often it has leased a job.
        leases: Word64,
        /// Zeros.
        reserved_gets: Word64,
    }
}

/// What a participant has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// The tag of the participant; `None` when there never was one.
    pub tag: Option<Tag>,
    /// Jobs put, and bytes of them; of all who had this place, as the next three.
    pub puts: u64,
    /// Bytes.
    pub bytes: u64,
    /// Jobs got.
    pub gets: u64,
    /// Jobs got and done.
    pub done: u64,
    /// Leases acknowledged.
    pub acknowledged: u64,
    /// Leases given back, or taken away.
    pub returned: u64,
    /// Jobs leased.
    pub leases: u64,
    /// Jobs that this participant has got, less those that it says are done.
    pub open: i64,
}

impl Worker {
    /// An entry that counts nothing yet.
    #[expect(clippy::new_without_default, reason = "shared memory is made in place, never by default")]
    pub fn new() -> Self {
        let zero = || Word64::new(0);
        Self {
            puts: zero(),
            bytes: zero(),
            tag: Word32::new(0),
            reserved: Word32::new(0),
            reserved_puts: std::array::from_fn(|_| zero()),
            gets: zero(),
            done: zero(),
            acknowledged: zero(),
            returned: zero(),
            before: std::array::from_fn(|_| zero()),
            leases: zero(),
            reserved_gets: zero(),
        }
    }

    #[inline(always)]
    fn enter(&self, me: Tag) {
        // Acquire [worker.tag]: what is counted from here on comes after what was counted before was noted.
        if self.tag.load(Ordering::Acquire) != me.word() {
            self.enter_anew(me);
        }
    }

    /// Notes what was counted before, once for each participant: of its threads one does so, behind a mark, and the others wait
    /// until it has. To note it twice would be to forget what was counted in between.
    #[cold]
    fn enter_anew(&self, me: Tag) {
        /// It takes two stores; so it is not a thread of this process that has left the mark, but damage.
        const LONG: u32 = 1 << 16;
        let (mut turns, marked) = (0, me.word() | Tag::MARK);
        loop {
            // Acquire [worker.tag]
            let seen = self.tag.load(Ordering::Acquire);
            if seen == me.word() {
                return;
            }
            if seen == marked && turns < LONG {
                turns += 1;
                yield_now();
            } else if self.tag.compare_exchange(seen, marked, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                break;
            }
        }
        for (word, now) in self.before.iter().zip([&self.gets, &self.done]) {
            // Release [worker.before]
            word.store(now.load(Ordering::Relaxed), Ordering::Release);
        }
        // Release [worker.tag]
        self.tag.store(me.word(), Ordering::Release);
    }

    /// Counts jobs that were put; `alone`, if no other thread of this process counts meanwhile.
    #[inline(always)]
    pub(crate) fn count_puts(&self, me: Tag, jobs: u64, bytes: u64, alone: bool) {
        self.enter(me);
        self.puts.add_own(jobs, alone);
        self.bytes.add_own(bytes, alone);
    }

    /// Counts jobs that were got; `alone`, likewise.
    #[inline(always)]
    pub(crate) fn count_gets(&self, me: Tag, jobs: u64, alone: bool) {
        self.enter(me);
        self.gets.add_own(jobs, alone);
    }

    /// Takes back that a job was got.
    pub(crate) fn uncount_get(&self, alone: bool) {
        self.gets.add_own(u64::MAX, alone);
    }

    /// Counts a job that was got, and is done.
    pub(crate) fn count_done(&self, me: Tag) {
        self.enter(me);
        // Release [worker.done]
        self.done.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts a lease that was acknowledged.
    #[inline(always)]
    pub(crate) fn count_acknowledged(&self, me: Tag) {
        self.enter(me);
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a job that was leased.
    #[inline(always)]
    pub(crate) fn count_lease(&self, me: Tag) {
        self.enter(me);
        self.leases.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a lease that was given back, or taken from whose this is.
    pub(crate) fn count_returned(&self) {
        self.returned.fetch_add(1, Ordering::Relaxed);
    }

    /// How many jobs it says are done. What was got before that is seen after it, whoever got it.
    pub(crate) fn done(&self) -> u64 {
        // Acquire [worker.done]
        self.done.load(Ordering::Acquire)
    }

    /// Whose it is, and how many jobs that one has got and not said to be done.
    pub(crate) fn open(&self) -> (Option<Tag>, i64) {
        /// Nobody enters so often.
        const TURNS: usize = 8;
        // Acquire [worker.tag]
        let mut seen = self.tag.load(Ordering::Acquire);
        let mut open = 0;
        for _ in 0..TURNS {
            // Who has not noted yet what was before has counted nothing, either.
            open = if seen & Tag::MARK == 0 { self.open_now() } else { 0 };
            // All of it is of that participant, unless there is another one by now.
            fence(Ordering::Acquire);
            // Acquire [worker.tag]
            let now = self.tag.load(Ordering::Acquire);
            if now == seen {
                break;
            }
            seen = now;
        }
        (Tag::read(seen), open)
    }

    fn open_now(&self) -> i64 {
        // Acquire [worker.before]: who sees what a later one has noted sees that there is one.
        let [gets_before, done_before] = [0, 1].map(|at: usize| self.before[at].load(Ordering::Acquire));
        // Before what was got: so none looks done that was got later.
        let done = self.done().wrapping_sub(done_before).cast_signed();
        self.gets.load(Ordering::Relaxed).wrapping_sub(gets_before).cast_signed().wrapping_sub(done)
    }

    /// What it says.
    pub fn work(&self) -> Work {
        let (tag, open) = self.open();
        let [puts, bytes, gets, done, acknowledged, returned, leases] =
            [&self.puts, &self.bytes, &self.gets, &self.done, &self.acknowledged, &self.returned, &self.leases]
                .map(|word| word.load(Ordering::Relaxed));
        Work { tag, puts, bytes, gets, done, acknowledged, returned, leases, open }
    }
}
