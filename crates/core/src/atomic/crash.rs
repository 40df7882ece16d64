//! The points at which a process can die: just before each change of shared memory.
//!
//! In the `crash-points` build every change of a [`Word32`](super::Word32) or `Word64` is counted, and a test
//! can have the process killed (`SIGKILL`) before the n-th. In every other build [`point`] is nothing at all.

#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub(crate) fn point() {}

#[cfg(feature = "crash-points")]
pub(crate) use counted::point;
#[cfg(feature = "crash-points")]
pub use counted::{arm, passed};

#[cfg(feature = "crash-points")]
mod counted {
    use std::sync::atomic::{AtomicU64, Ordering};

    static PASSED: AtomicU64 = AtomicU64::new(0);
    static FATAL: AtomicU64 = AtomicU64::new(u64::MAX);

    /// Counts from zero again, and dies before change `fatal` (the first is 0); `u64::MAX` only counts.
    pub fn arm(fatal: u64) {
        PASSED.store(0, Ordering::SeqCst);
        FATAL.store(fatal, Ordering::SeqCst);
    }

    /// Changes made since [`arm`].
    #[must_use]
    pub fn passed() -> u64 {
        PASSED.load(Ordering::SeqCst)
    }

    pub(crate) fn point() {
        if PASSED.fetch_add(1, Ordering::SeqCst) == FATAL.load(Ordering::SeqCst) {
            // Not abort or exit, which would run handlers: this is how the kernel's out-of-memory killer does it.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }
}
