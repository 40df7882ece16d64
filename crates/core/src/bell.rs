//! Floor 1: sleeping on a 32-bit word that other processes change, and waking them.
//!
//! A shared futex (`futex(2)`, without `FUTEX_PRIVATE_FLAG`): the kernel knows the word by file and offset, so that
//! C programs which map the same file take part. It compares the word with what the sleeper expects and enqueues the
//! sleeper in one step, so a change before the sleep is never slept over.

use std::num::NonZeroU32;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::futex;
use rustix::time::{ClockId, Timespec, clock_gettime};

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
