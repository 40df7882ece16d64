//! Floor 1: the gate between the many who use a mapping and the one who moves or removes it.
//!
//! Every access holds a [`Pin`] for as long as it touches memory: two uncontended atomic additions.
//! Whoever moves the mapping [shuts](Gate::shut) the gate, which waits until nobody is inside.
//!
//! It is a reader-writer lock in which a reader never waits by itself: a refused reader is told so, and decides how
//! to wait (`region` waits on the process-wide lock that every shutter holds).

use crate::atomic::{AtomicUsize, Ordering, yield_now};

const SHUT: usize = 1 << (usize::BITS - 1);

/// How many are inside, and whether it is shut, in one word.
#[derive(Debug)]
pub struct Gate {
    word: AtomicUsize,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// An open gate with nobody inside.
    pub fn new() -> Self {
        Self { word: AtomicUsize::new(0) }
    }

    /// Goes inside, or says that the gate is shut.
    #[inline]
    pub fn try_pin(&self) -> Option<Pin<'_>> {
        // Acquire [gate.open]: sees all that the last shutter changed before it opened the gate.
        if self.word.fetch_add(1, Ordering::Acquire) & SHUT == 0 {
            return Some(Pin { gate: self });
        }
        self.refuse();
        None
    }

    #[cold]
    fn refuse(&self) {
        // Relaxed: nothing was touched, so there is nothing to show to anyone.
        self.word.fetch_sub(1, Ordering::Relaxed);
    }

    /// Shuts the gate and waits until nobody is inside.
    ///
    /// `nudge` is called between looks, to wake those who sleep inside. Only one thread at a time may shut a gate.
    pub fn shut(&self, mut nudge: impl FnMut()) -> Shut<'_> {
        self.word.fetch_or(SHUT, Ordering::Relaxed);
        // Acquire [gate.leave]: whatever those inside did has happened before what the shutter does next.
        while self.word.load(Ordering::Acquire) & !SHUT != 0 {
            nudge();
            yield_now();
        }
        Shut { gate: self }
    }

    /// Whether somebody wants everyone out.
    pub fn is_shut(&self) -> bool {
        // Relaxed: a hint to leave; leaving and coming back in is what synchronises.
        self.word.load(Ordering::Relaxed) & SHUT != 0
    }

    /// Forgets those inside: a forked child has none of its parent's other threads.
    pub fn empty_after_fork(&self) {
        // Relaxed: there is one thread.
        self.word.store(0, Ordering::Relaxed);
    }
}

/// Somebody is inside: the mapping stays where it is.
#[derive(Debug)]
pub struct Pin<'a> {
    gate: &'a Gate,
}

impl Pin<'_> {
    /// Whether somebody waits for this pin to go.
    pub fn is_unwelcome(&self) -> bool {
        self.gate.is_shut()
    }
}

impl Drop for Pin<'_> {
    #[inline]
    fn drop(&mut self) {
        // Release [gate.leave]
        self.gate.word.fetch_sub(1, Ordering::Release);
    }
}

/// Nobody is inside, and nobody comes in, until this is dropped.
#[derive(Debug)]
pub struct Shut<'a> {
    gate: &'a Gate,
}

impl Drop for Shut<'_> {
    fn drop(&mut self) {
        // Release [gate.open]
        self.gate.word.fetch_and(!SHUT, Ordering::Release);
    }
}
