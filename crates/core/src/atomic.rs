//! Floor 0: atomics, real ones or loom's, and the words of shared memory; the only file that says `cfg(loom)`.
//!
//! [`Word32`] and [`Word64`] are what every algorithm of this crate is written over. In the `crash-points` build each
//! change of one is numbered, and a process can be told to die just before any of them (see `atomic/crash.rs`).

/// Takes the modules that need a real kernel out of a loom build, which checks only interleavings of memory.
macro_rules! needs_kernel {
    ($($item:item)*) => { $(#[cfg(not(loom))] $item)* };
}
pub(crate) use needs_kernel;

#[cfg(feature = "crash-points")]
pub mod crash;
#[cfg(not(feature = "crash-points"))]
mod crash;
#[cfg(loom)]
mod modelled;
#[cfg(not(loom))]
mod real;

#[cfg(loom)]
use modelled as imp;
#[cfg(not(loom))]
use real as imp;

#[cfg(not(loom))]
pub(crate) use imp::will_read;
pub(crate) use imp::{AtomicU32, AtomicU64, AtomicUsize, fence_behind_exchange, will_write, yield_now};
pub use imp::{Ordering, fence, monotonic, wake};

#[cfg(loom)]
pub use modelled::sleep;

macro_rules! word {
    ($name:ident, $atomic:ident, $value:ty, $bits:literal) => {
        #[doc = concat!("A word of ", $bits, " bits in memory that other processes see and change.")]
        #[derive(Debug)]
        #[repr(transparent)]
        pub struct $name($atomic);

        impl $name {
            /// A word that nobody else sees yet.
            pub fn new(value: $value) -> Self {
                Self($atomic::new(value))
            }

            /// What it is.
            #[inline(always)]
            pub fn load(&self, ordering: Ordering) -> $value {
                self.0.load(ordering)
            }

            /// Makes it `value`.
            #[inline(always)]
            pub fn store(&self, value: $value, ordering: Ordering) {
                crash::point();
                self.0.store(value, ordering);
            }

            /// Makes it `value`; returns what it was.
            #[inline(always)]
            pub fn swap(&self, value: $value, ordering: Ordering) -> $value {
                crash::point();
                self.0.swap(value, ordering)
            }

            /// Makes it `new` if it is `current`.
            ///
            /// # Errors
            ///
            /// What it is, when that is something else: then nothing has changed.
            #[inline(always)]
            pub fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                crash::point();
                self.0.compare_exchange(current, new, success, failure)
            }

            /// Adds, wrapping around; returns what it was.
            #[inline(always)]
            pub fn fetch_add(&self, value: $value, ordering: Ordering) -> $value {
                crash::point();
                self.0.fetch_add(value, ordering)
            }

            /// Sets the bits of `value`; returns what it was.
            #[inline(always)]
            pub fn fetch_or(&self, value: $value, ordering: Ordering) -> $value {
                crash::point();
                self.0.fetch_or(value, ordering)
            }

            /// Keeps only the bits of `value`; returns what it was.
            #[inline(always)]
            pub fn fetch_and(&self, value: $value, ordering: Ordering) -> $value {
                crash::point();
                self.0.fetch_and(value, ordering)
            }
        }
    };
}

word!(Word32, AtomicU32, u32, "32");
word!(Word64, AtomicU64, u64, "64");

impl Word64 {
    /// Adds to a count that only this process writes, wrapping around; `alone`, if no other of its threads does meanwhile.
    /// Relaxed: counts order nothing.
    #[inline(always)]
    pub(crate) fn add_own(&self, more: u64, alone: bool) {
        if alone {
            self.store(self.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
        } else {
            self.fetch_add(more, Ordering::Relaxed);
        }
    }
}

needs_kernel! {
    impl Word32 {
        /// The atomic inside, for the kernel to sleep on.
        #[inline(always)]
        pub(crate) fn futex(&self) -> &AtomicU32 {
            &self.0
        }
    }
}
