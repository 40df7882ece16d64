//! The processor's own atomics, and the kernel's futexes.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
pub use std::sync::atomic::{Ordering, fence};
pub(crate) use std::thread::yield_now;

use std::sync::atomic::compiler_fence;

use rustix::thread::futex;
use rustix::time::{ClockId, clock_gettime};

use super::Word32;

/// Wakes up to `count` of those who sleep on `word`, in all processes; returns how many.
#[cold]
pub fn wake(word: &Word32, count: u32) -> usize {
    // The kernel takes a signed count. It fails only where the page is gone, and with it all who could sleep there.
    futex::wake(word.futex(), futex::Flags::empty(), count.min(i32::MAX as u32)).unwrap_or(0)
}

/// The monotonic clock as of the last tick, in nanoseconds: some milliseconds late, and cheap; the same for all processes.
#[inline]
#[must_use]
pub fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    now.tv_sec.cast_unsigned().wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec.cast_unsigned())
}

/// Tells the processor that this cache line will be written soon, so that it need not wait for it then. Nothing else: it
/// neither reads nor writes, and may name any address.
#[inline(always)]
pub(crate) fn will_write<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults, wherever it points, and changes neither memory nor flags. Processors that do not know
    // it take it for no operation.
    unsafe {
        std::arch::asm!("prefetchw [{place}]", place = in(reg) place, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// Tells the processor that this cache line will be read soon, likewise.
#[inline(always)]
pub(crate) fn will_read<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as above.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
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
