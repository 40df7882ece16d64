//! What the threads of a process use one after the other.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::yield_now;

use pyo3::prelude::*;

use crate::drive::COUNTS_ALONE;

/// A value for one thread at a time, which has to be attached to the interpreter: so where that has a lock, none of its own
/// is needed, and no fork finds it taken.
#[derive(Default)]
pub(crate) struct InTurn<T> {
    is_taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: a reference to the value is had only by way of a `Turn`, of which there is one at a time.
unsafe impl<T: Send> Sync for InTurn<T> {}

/// The value, until this is dropped.
pub(crate) struct Turn<'a, T> {
    of: &'a InTurn<T>,
    // It stays with its thread, and that is attached when it ends: `detach` does not let it in.
    _attached: Python<'a>,
}

impl<T> InTurn<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { is_taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Waits for the caller's turn, which is at once, nearly always: nobody waits for anything while it has it.
    #[inline(always)]
    pub(crate) fn take<'a>(&'a self, py: Python<'a>) -> Turn<'a, T> {
        if !self.try_take() {
            self.wait(py);
        }
        Turn { of: self, _attached: py }
    }

    /// The value, of which nobody else knows any more.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    #[inline(always)]
    fn try_take(&self) -> bool {
        if !COUNTS_ALONE {
            // Acquire [in_turn.is_taken]
            return self.is_taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok();
        }
        // Relaxed, and in two steps: no other thread does anything here in between, nor before it has got the interpreter's
        // lock from this one.
        let is_free = !self.is_taken.load(Ordering::Relaxed);
        if is_free {
            self.is_taken.store(true, Ordering::Relaxed);
        }
        is_free
    }

    #[cold]
    fn wait(&self, py: Python<'_>) {
        while !self.try_take() {
            py.detach(yield_now);
        }
    }
}

impl<T> Deref for Turn<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: there is no other `Turn`, and through this one nobody writes while the reference lives.
        unsafe { &*self.of.value.get() }
    }
}

impl<T> DerefMut for Turn<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: there is no other `Turn`, and this one is borrowed for as long as the reference lives.
        unsafe { &mut *self.of.value.get() }
    }
}

impl<T> Drop for Turn<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        // Release [in_turn.is_taken]
        self.of.is_taken.store(false, Ordering::Release);
    }
}
