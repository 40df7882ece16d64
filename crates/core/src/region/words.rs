//! Atomic words, and sleeping on them.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rustix::io::Errno;

use super::{Held, Region};
use crate::bell::{self, Deadline, Woken};
use crate::error::Error;
use crate::file;
use crate::process::Asleep;

/// The longest sleep in one piece: so late, at most, is noticed what cannot ring, such as a signal that came just before
/// the sleep, or the closing of a region whose page was truncated away.
pub const LONGEST_SLEEP: Duration = Duration::from_secs(1);

impl Region {
    /// Gives `f` the 32-bit word at `offset`.
    #[inline(always)]
    fn word_u32<T>(&self, offset: usize, f: impl FnOnce(&AtomicU32) -> T) -> Result<T, Error> {
        let held = self.reach_word(offset, 4)?;
        let value = f(word_u32(&held, offset));
        self.finish(held, value)
    }

    #[inline(always)]
    fn word_u64<T>(&self, offset: usize, f: impl FnOnce(&AtomicU64) -> T) -> Result<T, Error> {
        let held = self.reach_word(offset, 8)?;
        let word = held.base().wrapping_add(offset).cast::<u64>();
        // SAFETY: `reach_word` has shown the word to be mapped and aligned, and the pin keeps it so. Every process
        // accesses it atomically, or takes the risk that C takes; a read-only word is only loaded.
        let value = f(unsafe { AtomicU64::from_ptr(word) });
        self.finish(held, value)
    }

    #[inline(always)]
    fn reach_word(&self, offset: usize, width: usize) -> Result<Held<'_>, Error> {
        if !offset.is_multiple_of(width) {
            return Err(Error::Misaligned { offset, alignment: width });
        }
        self.reach(offset, width)
    }

    /// The 32-bit word at `offset`. All word operations are sequentially consistent, as C11's defaults are.
    ///
    /// # Errors
    ///
    /// As [`Region::get`], and [`Error::Misaligned`].
    #[inline(always)]
    pub fn load_u32(&self, offset: usize) -> Result<u32, Error> {
        self.word_u32(offset, |word| word.load(Ordering::SeqCst))
    }

    /// Stores the 32-bit word at `offset`.
    ///
    /// # Errors
    ///
    /// As [`Region::load_u32`], and [`Error::ReadOnly`].
    #[inline(always)]
    pub fn store_u32(&self, offset: usize, value: u32) -> Result<(), Error> {
        self.check_writable()?;
        self.word_u32(offset, |word| word.store(value, Ordering::SeqCst))
    }

    /// Adds to the 32-bit word at `offset`, wrapping; returns what it was.
    ///
    /// # Errors
    ///
    /// As [`Region::store_u32`].
    #[inline(always)]
    pub fn fetch_add_u32(&self, offset: usize, delta: u32) -> Result<u32, Error> {
        self.check_writable()?;
        self.word_u32(offset, |word| word.fetch_add(delta, Ordering::SeqCst))
    }

    /// Stores `desired` in the 32-bit word at `offset` if it is `expected`; returns what it was.
    ///
    /// # Errors
    ///
    /// As [`Region::store_u32`].
    #[inline(always)]
    pub fn compare_exchange_u32(&self, offset: usize, expected: u32, desired: u32) -> Result<u32, Error> {
        self.check_writable()?;
        self.word_u32(offset, |word| {
            word.compare_exchange(expected, desired, Ordering::SeqCst, Ordering::SeqCst).unwrap_or_else(|was| was)
        })
    }

    /// The 64-bit word at `offset`.
    ///
    /// # Errors
    ///
    /// As [`Region::load_u32`].
    #[inline(always)]
    pub fn load_u64(&self, offset: usize) -> Result<u64, Error> {
        self.word_u64(offset, |word| word.load(Ordering::SeqCst))
    }

    /// Stores the 64-bit word at `offset`.
    ///
    /// # Errors
    ///
    /// As [`Region::store_u32`].
    #[inline(always)]
    pub fn store_u64(&self, offset: usize, value: u64) -> Result<(), Error> {
        self.check_writable()?;
        self.word_u64(offset, |word| word.store(value, Ordering::SeqCst))
    }

    /// Adds to the 64-bit word at `offset`, wrapping; returns what it was.
    ///
    /// # Errors
    ///
    /// As [`Region::store_u32`].
    #[inline(always)]
    pub fn fetch_add_u64(&self, offset: usize, delta: u64) -> Result<u64, Error> {
        self.check_writable()?;
        self.word_u64(offset, |word| word.fetch_add(delta, Ordering::SeqCst))
    }

    /// Stores `desired` in the 64-bit word at `offset` if it is `expected`; returns what it was.
    ///
    /// # Errors
    ///
    /// As [`Region::store_u32`].
    #[inline(always)]
    pub fn compare_exchange_u64(&self, offset: usize, expected: u64, desired: u64) -> Result<u64, Error> {
        self.check_writable()?;
        self.word_u64(offset, |word| {
            word.compare_exchange(expected, desired, Ordering::SeqCst, Ordering::SeqCst).unwrap_or_else(|was| was)
        })
    }

    /// Looks for a moment whether the word at `offset` stops being `expected`, without giving the processor away.
    ///
    /// # Errors
    ///
    /// As [`Region::load_u32`].
    pub fn spin(&self, offset: usize, expected: u32) -> Result<bool, Error> {
        self.word_u32(offset, |word| self.spin.look(|| word.load(Ordering::SeqCst) != expected))
    }

    /// Sleeps while the word at `offset` is `expected`, until somebody rings, or the deadline or a signal; for
    /// [`LONGEST_SLEEP`] at most, whatever the deadline.
    ///
    /// # Errors
    ///
    /// As [`Region::load_u32`]; [`Error::Closed`] also when another thread closes the region meanwhile.
    pub fn wait(&self, offset: usize, expected: u32, deadline: Option<Deadline>) -> Result<Woken, Error> {
        let soon = Deadline::after(LONGEST_SLEEP);
        let deadline = deadline.zip(soon).map(|(deadline, soon)| deadline.min(soon)).or(deadline).or(soon);
        let held = self.reach_word(offset, 4)?;
        let word = word_u32(&held, offset);
        let slept = {
            let _asleep = Asleep::on(&self.gate, word);
            // Looked at after the thread is listed: whoever shuts the gate now finds it in the list, and keeps ringing.
            if held.pin.is_unwelcome() { Ok(Woken::Rung) } else { bell::sleep(word, expected, deadline) }
        };
        let unwelcome = held.pin.is_unwelcome();
        let woken = match slept {
            Ok(woken) => self.finish(held, woken)?,
            Err(errno) => return Err(self.missing(held, errno)),
        };
        if unwelcome {
            // Waits for whoever wants it closed or moved.
            self.hold()?;
        }
        Ok(woken)
    }

    /// Wakes up to `count` of those who wait on the word at `offset`, in all processes; returns how many.
    ///
    /// # Errors
    ///
    /// As [`Region::load_u32`].
    pub fn ring(&self, offset: usize, count: u32) -> Result<usize, Error> {
        let held = self.reach_word(offset, 4)?;
        match bell::wake(word_u32(&held, offset), count) {
            Ok(woken) => self.finish(held, woken),
            Err(errno) => Err(self.missing(held, errno)),
        }
    }

    /// The error for a word that the kernel could not reach.
    #[cold]
    fn missing(&self, held: Held<'_>, errno: Errno) -> Error {
        if errno != Errno::FAULT {
            return file::refused(errno, "the futex call failed");
        }
        held.ground().mapping.mark_faulted();
        self.fault(held)
    }
}

#[inline(always)]
fn word_u32<'a>(held: &'a Held<'_>, offset: usize) -> &'a AtomicU32 {
    let word = held.base().wrapping_add(offset).cast::<u32>();
    // SAFETY: `reach_word` has shown the word to be mapped and aligned, and the pin keeps it so. Every process accesses
    // it atomically, or takes the risk that C takes; a read-only word is only loaded.
    unsafe { AtomicU32::from_ptr(word) }
}
