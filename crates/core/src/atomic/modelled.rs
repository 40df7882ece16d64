//! loom's atomics, and a stand-in for the kernel's futexes: first come, first woken, and nobody without being asked.

pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
pub use loom::sync::atomic::{Ordering, fence};
pub(crate) use loom::thread::yield_now;

use loom::sync::{Condvar, Mutex};

use super::Word32;

#[derive(Default)]
struct Queue {
    next: usize,
    /// Word and ticket of each sleeper, in the order of arrival.
    sleepers: Vec<(usize, usize)>,
}

loom::lazy_static! {
    static ref KERNEL: (Mutex<Queue>, Condvar) = (Mutex::new(Queue::default()), Condvar::new());
}

fn address(word: &Word32) -> usize {
    std::ptr::from_ref(word).addr()
}

/// Sleeps while `word` is `expected`, until somebody [wakes](wake).
pub fn sleep(word: &Word32, expected: u32) {
    let (queue, rung) = &*KERNEL;
    let Ok(mut queue) = queue.lock() else { return };
    // Under the lock that wakers take, as in the kernel: a change before the sleep is never slept over.
    if word.load(Ordering::SeqCst) != expected {
        return;
    }
    let ticket = queue.next;
    queue.next += 1;
    queue.sleepers.push((address(word), ticket));
    while queue.sleepers.iter().any(|sleeper| sleeper.1 == ticket) {
        match rung.wait(queue) {
            Ok(again) => queue = again,
            Err(_) => return,
        }
    }
}

/// Wakes up to `count` of those who sleep on `word`; returns how many.
pub fn wake(word: &Word32, count: u32) -> usize {
    let (queue, rung) = &*KERNEL;
    let Ok(mut queue) = queue.lock() else { return 0 };
    let mut woken = 0;
    queue.sleepers.retain(|sleeper| {
        let is_one = sleeper.0 == address(word) && woken < count as usize;
        woken += usize::from(is_one);
        !is_one
    });
    drop(queue);
    rung.notify_all();
    woken
}

/// Always the same moment: what ends before it is over, and what ends after it never is.
#[must_use]
pub fn monotonic() -> u64 {
    1 << 40
}

/// See the real one.
pub(crate) fn will_write<T>(_place: *const T) {}

/// See the real one. loom takes exchanges for less than they are, so here it is a fence.
pub(crate) fn fence_behind_exchange() {
    fence(Ordering::SeqCst);
}
