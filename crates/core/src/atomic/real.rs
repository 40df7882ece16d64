//! The processor's own atomics, and the kernel's futexes.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
pub use std::sync::atomic::{Ordering, fence};
pub(crate) use std::thread::yield_now;

use rustix::thread::futex;

use super::Word32;

/// Wakes up to `count` of those who sleep on `word`, in all processes; returns how many.
#[cold]
pub fn wake(word: &Word32, count: u32) -> usize {
    // The kernel takes a signed count. It fails only where the page is gone, and with it all who could sleep there.
    futex::wake(word.futex(), futex::Flags::empty(), count.min(i32::MAX as u32)).unwrap_or(0)
}
