//! Blocks for messages that are too long for a cell: each message lies in one run of them, so that arrays can be seen where
//! they are.
//!
//! A block's word says in whose name it is taken: a job's place, and its generation. So nobody has to keep a list: what
//! is in the name of a generation that is over is free.

use super::{Grip, Memory, Store};
use crate::atomic::{Ordering, Word64};

/// Runs of at least so many blocks are looked for from the end, so that small ones do not cut up the room for large ones.
const LONG: usize = 16;

fn name(grip: Grip) -> u64 {
    u64::from(grip.state.generation()) << 32 | (grip.at as u64 + 1)
}

impl Store<'_> {
    fn is_free(&self, block: &Word64) -> bool {
        // Acquire [block.word]: sees the end of all that was done with it.
        block.load(Ordering::Acquire) == 0
    }

    /// The first block of a free run, from `from` on.
    fn find_run(&self, from: usize, to: usize, count: usize) -> Option<usize> {
        let mut free = 0;
        for (at, block) in self.blocks.iter().enumerate().take(to).skip(from) {
            free = if self.is_free(block) { free + 1 } else { 0 };
            if free == count {
                return Some(at + 1 - count);
            }
        }
        None
    }

    fn find_run_from_end(&self, count: usize) -> Option<usize> {
        let mut free = 0;
        for (at, block) in self.blocks.iter().enumerate().rev() {
            free = if self.is_free(block) { free + 1 } else { 0 };
            if free == count {
                return Some(at);
            }
        }
        None
    }

    /// Whether there is a free run of that many blocks.
    pub(super) fn has_run(&self, count: usize) -> bool {
        count == 0 || self.find_run(0, self.blocks.len(), count).is_some()
    }

    /// Claims a run for a job in the caller's hands; returns its first block.
    pub(super) fn claim_run(&self, memory: &mut Memory, grip: Grip, count: usize) -> Option<usize> {
        let all = self.blocks.len();
        if count > all {
            return None;
        }
        // A turn more for each time that somebody else was faster; whoever that was has its run, so this ends.
        for _ in 0..=all {
            let found = if count >= LONG {
                self.find_run_from_end(count)?
            } else {
                let from = memory.block.min(all);
                self.find_run(from, all, count).or_else(|| self.find_run(0, (from + count).min(all), count))?
            };
            if self.claim_blocks(found, count, name(grip)) {
                memory.block = found + count;
                return Some(found);
            }
            // Whoever looked meanwhile may have missed what was given back, and sleep.
            self.queue.room.ring();
        }
        None
    }

    fn claim_blocks(&self, first: usize, count: usize, name: u64) -> bool {
        for (claimed, block) in self.blocks[first..first + count].iter().enumerate() {
            if block.compare_exchange(0, name, Ordering::Acquire, Ordering::Relaxed).is_err() {
                self.free_blocks(first, claimed);
                return false;
            }
        }
        true
    }

    fn free_blocks(&self, first: usize, count: usize) {
        for block in &self.blocks[first..first + count] {
            // Release [block.word]
            block.store(0, Ordering::Release);
        }
    }

    /// Frees the run of a job in the caller's hands, as its label has it.
    pub(super) fn free_run(&self, grip: Grip, first: u32, count: u32) {
        let (first, count, name) = (first as usize, count as usize, name(grip));
        // From the end, where long runs are looked for from: one that is half freed is not taken then, and cut up the rest.
        for block in self.blocks.iter().skip(first).take(count).rev() {
            // Only what is in its name: the label is memory that others write.
            let _ = block.compare_exchange(name, 0, Ordering::Release, Ordering::Relaxed);
        }
    }

    /// Frees all that is in the name of a job in the caller's hands, whatever its label says.
    pub(super) fn free_all(&self, grip: Grip) {
        let name = name(grip);
        for block in self.blocks {
            if block.load(Ordering::Relaxed) == name {
                let _ = block.compare_exchange(name, 0, Ordering::Release, Ordering::Relaxed);
            }
        }
    }

    /// How many blocks are free.
    pub(super) fn count_free(&self) -> usize {
        self.blocks.iter().filter(|block| self.is_free(block)).count()
    }
}
