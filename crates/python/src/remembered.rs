//! What a process remembers of a queue, between one use and the next.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use samemap_core::queue::Memory;

/// What this process remembers of a queue. All of it only saves time, so threads may overwrite what others have noted.
pub(crate) struct Remembered {
    place: AtomicUsize,
    block: AtomicUsize,
    hope: AtomicU64,
    head: AtomicU64,
    cursor: AtomicU64,
    returned: AtomicU32,
    /// Where it had come to when it last waited for a job.
    awaited: AtomicU64,
}

impl Remembered {
    pub(crate) fn new(Memory { place, block, hope, head, cursor, returned }: Memory) -> Self {
        Self {
            place: place.into(),
            block: block.into(),
            hope: hope.into(),
            head: head.into(),
            cursor: cursor.into(),
            returned: returned.into(),
            awaited: cursor.into(),
        }
    }

    #[inline(always)]
    pub(crate) fn recall(&self) -> Memory {
        Memory {
            place: self.place.load(Ordering::Relaxed),
            block: self.block.load(Ordering::Relaxed),
            hope: self.hope.load(Ordering::Relaxed),
            head: self.head.load(Ordering::Relaxed),
            cursor: self.cursor.load(Ordering::Relaxed),
            returned: self.returned.load(Ordering::Relaxed),
        }
    }

    #[inline(always)]
    pub(crate) fn note(&self, memory: &Memory) {
        self.place.store(memory.place, Ordering::Relaxed);
        self.block.store(memory.block, Ordering::Relaxed);
        self.hope.store(memory.hope, Ordering::Relaxed);
        self.head.store(memory.head, Ordering::Relaxed);
        self.cursor.store(memory.cursor, Ordering::Relaxed);
        self.returned.store(memory.returned, Ordering::Relaxed);
    }

    /// How many jobs were taken since it last waited for one, as far as it knows.
    pub(crate) fn begin_to_wait(&self) -> u64 {
        let cursor = self.cursor.load(Ordering::Relaxed);
        let awaited = self.awaited.load(Ordering::Relaxed);
        self.awaited.store(cursor, Ordering::Relaxed);
        cursor.saturating_sub(awaited)
    }
}
