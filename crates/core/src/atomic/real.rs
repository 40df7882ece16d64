//! The processor's own atomics, and the kernel's futexes.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
pub use std::sync::atomic::{Ordering, fence};
pub(crate) use std::thread::yield_now;

use std::sync::atomic::compiler_fence;

use rustix::thread::futex;

use super::Word32;

/// Wakes up to `count` of those who sleep on `word`, in all processes; returns how many.
#[cold]
pub fn wake(word: &Word32, count: u32) -> usize {
    // The kernel takes a signed count. It fails only where the page is gone, and with it all who could sleep there.
    futex::wake(word.futex(), futex::Flags::empty(), count.min(i32::MAX as u32)).unwrap_or(0)
}

/// A sequentially consistent fence right behind a sequentially consistent exchange: on x86_64 the processor has had it with
/// that, and a second one costs as much again.
#[inline(always)]
pub(crate) fn fence_behind_exchange() {
    if cfg!(target_arch = "x86_64") {
        compiler_fence(Ordering::SeqCst);
    } else {
        fence(Ordering::SeqCst);
    }
}
