//! Floor 0: atomics, real ones or loom's; the only file that says `cfg(loom)`.

/// Takes the modules that need a real kernel out of a loom build, which checks only interleavings of memory.
macro_rules! needs_kernel {
    ($($item:item)*) => { $(#[cfg(not(loom))] $item)* };
}
pub(crate) use needs_kernel;

#[cfg(not(loom))]
mod imp {
    pub(crate) use std::sync::atomic::{AtomicUsize, Ordering};
    pub(crate) use std::thread::yield_now;
}

#[cfg(loom)]
mod imp {
    pub(crate) use loom::sync::atomic::{AtomicUsize, Ordering};
    pub(crate) use loom::thread::yield_now;
}

pub(crate) use imp::{AtomicUsize, Ordering, yield_now};
