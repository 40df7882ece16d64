//! Floor 1: sleeping on a 32-bit word that other processes change, and waking them.
//!
//! A shared futex (`futex(2)`, without `FUTEX_PRIVATE_FLAG`): the kernel knows the word by file and offset, so that
//! C programs which map the same file take part. It compares the word with what the sleeper expects and enqueues the
//! sleeper in one step, so a change before the sleep is never slept over.
//!
//! Algorithms never sleep: an [`Attempt`] that cannot be done yet tells what to sleep on, and whoever drives it does so
//! in a way that suits it: a thread that lets go of the interpreter, a watcher for many tasks, a wait for several.

use crate::atomic::{Ordering, Word32, fence, fence_behind_exchange, needs_kernel, wake as wake_word};

/// What an attempt came to.
#[derive(Debug)]
pub enum Attempt<'a, T> {
    /// It is done.
    Done(T),
    /// Not yet: try again after this.
    Wait(Sleep<'a>),
}

/// What to sleep on, and what it must be for the sleep to begin.
#[derive(Debug, Clone, Copy)]
pub struct Sleep<'a> {
    /// The word.
    pub word: &'a Word32,
    /// What it was.
    pub expected: u32,
}

/// Wakes sleepers, at the cost of one fence and one load when there are none.
///
/// The ringer first changes what the sleepers wait for, then [rings](Bell::ring). A sleeper first
/// [listens](Bell::listen), then looks at what it waits for once more, and then sleeps. Either the ringer sees that
/// somebody listens, or the sleeper sees the change: both put a sequentially consistent fence between their two steps.
#[derive(Debug)]
#[repr(C)]
pub struct Bell {
    /// How often it was rung with somebody listening: what sleepers sleep on.
    rings: Word32,
    /// How many have begun to listen since it was last rung for all.
    listeners: Word32,
}

impl Bell {
    /// A bell that nobody listens to.
    #[expect(clippy::new_without_default, reason = "shared memory is made in place, never by default")]
    pub fn new() -> Self {
        Self { rings: Word32::new(0), listeners: Word32::new(0) }
    }

    /// Announces a sleeper, who must look once more at what it waits for before it sleeps as it is told here.
    pub fn listen(&self) -> Sleep<'_> {
        // Acquire [bell.rings]: who sees the word of a ring for all is not among those whom that has ceased to count.
        let expected = self.rings.load(Ordering::Acquire);
        self.listeners.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        Sleep { word: &self.rings, expected }
    }

    /// Is done when there is what is waited for, as `find` finds it; or tells what to sleep on. It is looked for once more after
    /// the sleeper has announced itself.
    pub fn attempt<T>(&self, mut find: impl FnMut() -> Option<T>) -> Attempt<'_, T> {
        if let Some(found) = find() {
            return Attempt::Done(found);
        }
        let sleep = self.listen();
        find().map_or(Attempt::Wait(sleep), Attempt::Done)
    }

    /// Wakes all who listen, after a change of what they wait for.
    #[inline]
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.listeners.load(Ordering::Relaxed) != 0 {
            self.ring_all();
        }
    }

    /// As [`ring`](Self::ring), where the change was a sequentially consistent exchange, and nothing came after it.
    #[inline(always)]
    pub(crate) fn ring_behind_exchange(&self) {
        fence_behind_exchange();
        if self.listeners.load(Ordering::Relaxed) != 0 {
            self.ring_all();
        }
    }

    #[cold]
    fn ring_all(&self) {
        // Before the word changes: whoever announces itself from here on either sees the new word, or is counted anew.
        self.listeners.swap(0, Ordering::SeqCst);
        // Release [bell.rings]
        self.rings.fetch_add(1, Ordering::SeqCst);
        wake_word(&self.rings, u32::MAX);
    }

    /// Whether anybody may listen, after a sequentially consistent exchange of what they wait for.
    #[inline(always)]
    pub(crate) fn is_heard(&self) -> bool {
        fence_behind_exchange();
        self.listeners.load(Ordering::Relaxed) != 0
    }

    /// Wakes one of those who listen, if any, after a change that only one of them can use.
    ///
    /// Should that one be killed before it looks, the others find out when they have slept for a while.
    #[inline]
    pub fn ring_one(&self) {
        fence(Ordering::SeqCst);
        if self.listeners.load(Ordering::Relaxed) != 0 {
            self.ring_first();
        }
    }

    /// As [`ring_one`](Self::ring_one), where the change was a sequentially consistent exchange, and nothing came after it.
    #[inline(always)]
    pub(crate) fn ring_one_behind_exchange(&self) {
        fence_behind_exchange();
        if self.listeners.load(Ordering::Relaxed) != 0 {
            self.ring_first();
        }
    }

    #[cold]
    fn ring_first(&self) {
        self.rings.fetch_add(1, Ordering::SeqCst);
        if wake_word(&self.rings, 1) == 0 {
            // Nobody slept, so nobody need be counted any more. To forget them only if they are as many as before would not
            // do: they may be others by now, asleep, whom nobody would ring for.
            self.ring_all();
        }
    }
}

needs_kernel! {
    use std::num::NonZeroU32;
    use std::sync::atomic::AtomicU32;
    use std::time::Duration;

    use rustix::io::Errno;
    use rustix::thread::futex;
    use rustix::time::{ClockId, Timespec, clock_gettime};

    impl Bell {
        /// Where its words are, each of 4 bytes: rings, listeners.
        pub const OFFSETS: [usize; 2] = [std::mem::offset_of!(Self, rings), std::mem::offset_of!(Self, listeners)];
    }

    /// A moment of the monotonic clock.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Deadline(Timespec);

    impl Deadline {
        /// The moment `after` from now; `None` when that is beyond what the clock can name.
        pub fn after(after: Duration) -> Option<Self> {
            let now = clock_gettime(ClockId::Monotonic);
            let span = Timespec::try_from(after).ok()?;
            now.checked_add(span).map(Self)
        }

        /// Whether it has passed.
        pub fn has_passed(self) -> bool {
            clock_gettime(ClockId::Monotonic) >= self.0
        }

        /// The time left, zero when it has passed.
        pub fn left(self) -> Duration {
            let left = self.0.checked_sub(clock_gettime(ClockId::Monotonic));
            left.and_then(|left| Duration::try_from(left).ok()).unwrap_or_default()
        }

        /// The earlier of two.
        pub fn min(self, other: Self) -> Self {
            if other.0 < self.0 { other } else { self }
        }
    }

    /// The wall clock as of the last tick, in nanoseconds since 1970: some milliseconds late, and cheap.
    #[inline]
    #[must_use]
    pub fn wall_clock() -> u64 {
        let now = clock_gettime(ClockId::RealtimeCoarse);
        now.tv_sec.cast_unsigned().wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec.cast_unsigned())
    }

    /// The wall clock, in nanoseconds since 1970.
    #[inline]
    #[must_use]
    pub fn now() -> u64 {
        let now = clock_gettime(ClockId::Realtime);
        now.tv_sec.cast_unsigned().wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec.cast_unsigned())
    }

    /// Why a sleep ended.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Woken {
        /// Somebody rang.
        Rung,
        /// The word is not, or no longer, what was expected.
        Changed,
        /// The deadline passed.
        TimedOut,
        /// A signal handler ran.
        Interrupted,
    }

    /// Sleeps while `word` is `expected`, until somebody [wakes](wake), or the deadline or a signal.
    ///
    /// # Errors
    ///
    /// `EFAULT`: the page of the word is gone.
    pub(crate) fn sleep(word: &AtomicU32, expected: u32, deadline: Option<Deadline>) -> Result<Woken, Errno> {
        let until = deadline.map(|deadline| deadline.0);
        match futex::wait_bitset(word, futex::Flags::empty(), expected, until.as_ref(), NonZeroU32::MAX) {
            Ok(()) => Ok(Woken::Rung),
            Err(Errno::AGAIN) => Ok(Woken::Changed),
            Err(Errno::TIMEDOUT) => Ok(Woken::TimedOut),
            Err(Errno::INTR) => Ok(Woken::Interrupted),
            Err(other) => Err(other),
        }
    }

    /// Wakes up to `count` of those who sleep on `word`, in all processes, and says how many.
    ///
    /// # Errors
    ///
    /// `EFAULT`: the page of the word is gone.
    pub(crate) fn wake(word: &AtomicU32, count: u32) -> Result<usize, Errno> {
        // Asked for none, the kernel wakes one all the same.
        if count == 0 {
            return Ok(0);
        }
        // The kernel takes a signed count.
        futex::wake(word, futex::Flags::empty(), count.min(i32::MAX as u32))
    }

    /// The most words that can be slept on at once: `FUTEX_WAITV_MAX`.
    pub const MOST_AT_ONCE: usize = 128;

    /// Sleeps on several words, until somebody rings one of them, or one is not what was expected, or the deadline or a
    /// signal. Of more than [`MOST_AT_ONCE`], and on kernels before 5.16, only the first are slept on, and not for long.
    ///
    /// Source: futex_waitv(2).
    ///
    /// # Errors
    ///
    /// `EFAULT`: the page of a word is gone.
    pub fn sleep_on_any(sleeps: &[Sleep<'_>], deadline: Option<Deadline>) -> Result<Woken, Errno> {
        /// How long the words that are not slept on may go without a look.
        const GLANCE: Duration = Duration::from_millis(5);
        let glance = Deadline::after(GLANCE);
        let soon = deadline.zip(glance).map(|(deadline, glance)| deadline.min(glance)).or(glance);
        let until = if sleeps.len() > MOST_AT_ONCE { soon } else { deadline };
        let waits: Vec<futex::Wait> = sleeps.iter().take(MOST_AT_ONCE).map(Sleep::wait).collect();
        let moment = until.map(|until| until.0);
        match futex::waitv(&waits, futex::WaitvFlags::empty(), moment.as_ref(), ClockId::Monotonic) {
            Ok(_) => Ok(Woken::Rung),
            Err(Errno::AGAIN) => Ok(Woken::Changed),
            Err(Errno::TIMEDOUT) => Ok(Woken::TimedOut),
            Err(Errno::INTR) => Ok(Woken::Interrupted),
            Err(Errno::NOSYS) => sleeps.first().map_or(Ok(Woken::Changed), |first| first.until(soon)),
            Err(other) => Err(other),
        }
    }

    impl Sleep<'_> {
        fn wait(&self) -> futex::Wait {
            let mut wait = futex::Wait::new();
            wait.val = u64::from(self.expected);
            wait.uaddr = futex::WaitPtr::new(self.word.futex().as_ptr().cast());
            wait.flags = futex::WaitFlags::SIZE_U32;
            wait
        }

        /// Sleeps, until somebody rings, or the deadline or a signal.
        ///
        /// # Errors
        ///
        /// `EFAULT`: the page of the word is gone.
        pub fn until(self, deadline: Option<Deadline>) -> Result<Woken, Errno> {
            sleep(self.word.futex(), self.expected, deadline)
        }
    }
}
