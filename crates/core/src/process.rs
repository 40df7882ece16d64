//! Floor 2: what this process keeps about all of its regions and segments, and puts right around a fork.
//!
//! A fork copies locks and counts as they are, but only the forking thread. So the fork waits until no other thread
//! is in the middle of moving a mapping or of joining a roster, and the child forgets the other threads (those inside a
//! gate, and those asleep) and its parent's places in rosters. Source: pthread_atfork(3), "Threads cannot be implemented as a library" notwithstanding.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError, Weak};

use rustix::rand::{GetRandomFlags, getrandom};

use crate::bell;
use crate::gate::{Gate, Shut};
use crate::guard::{self, FreeNodes};

/// All gates of this process. Its lock is held while one of them is shut, by the thread that shuts it.
static GATES: Mutex<Vec<Weak<Gate>>> = Mutex::new(Vec::new());

/// Who sleeps on which word, so that a shutter can wake them.
static SLEEPERS: Mutex<Vec<Sleeper>> = Mutex::new(Vec::new());

/// The open segments of this process. Its lock is the right to open, join and leave one.
static SEGMENTS: Mutex<Segments> = Mutex::new(Vec::new());

/// Weak, so that a segment goes with its last user.
pub(crate) type Segments = Vec<Weak<dyn Inherited>>;

/// What a fork's child inherits but must not use as it is.
pub(crate) trait Inherited: Any + Send + Sync {
    /// Called in the child, which has one thread.
    fn forget_parent(&self);
}

/// The right to open, join and leave segments, and those that are open.
pub(crate) fn segments() -> MutexGuard<'static, Segments> {
    register_hooks();
    lock(&SEGMENTS)
}

/// How many forks this process descends from, since the first one loaded this library.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// A number that no other thread of any process has, and not 0: its low half is the thread's id, the high half tells
/// processes apart whose threads have the same ids, in pid namespaces of their own.
#[inline]
#[must_use]
pub fn thread_number() -> u64 {
    thread_local! {
        /// The number, and the generation in which it is right: a fork's child has another id.
        static NUMBER: Cell<(u32, u64)> = const { Cell::new((0, 0)) };
    }
    let generation = GENERATION.load(Ordering::Relaxed);
    let (of, number) = NUMBER.get();
    if number != 0 && of == generation {
        return number;
    }
    register_hooks();
    let number = u64::from(nonce()) << 32 | u64::from(rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned());
    NUMBER.set((generation, number));
    number
}

/// A random number of this process, and of those that it forked: their threads differ by their ids.
fn nonce() -> u32 {
    static NONCE: OnceLock<u32> = OnceLock::new();
    *NONCE.get_or_init(|| {
        let mut bytes = [0; 4];
        // Without entropy, which only a machine that boots lacks, ids alone must do.
        let _ = getrandom(&mut bytes, GetRandomFlags::empty());
        u32::from_ne_bytes(bytes)
    })
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
struct Sleeper {
    gate: usize,
    word: usize,
}

fn lock<T>(mutex: &'static Mutex<T>) -> MutexGuard<'static, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Registers what must be done around forks, once.
pub(crate) fn register_hooks() {
    static HOOKS: Once = Once::new();
    HOOKS.call_once(|| {
        // SAFETY: the handlers take and release locks of this module, and live as long as the process: the extension
        // is never unloaded. It fails only without memory, and then forks go on as without us.
        unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(after_fork_in_child)) };
    });
}

/// Makes a gate that survives forks.
pub(crate) fn gate() -> Arc<Gate> {
    register_hooks();
    let gate = Arc::new(Gate::new());
    let mut gates = lock(&GATES);
    if gates.len() == gates.capacity() {
        gates.retain(|gate| gate.strong_count() > 0);
        let live = gates.len();
        gates.reserve(live.max(16));
    }
    gates.push(Arc::downgrade(&gate));
    gate
}

/// A gate that is shut, and the process-wide right to have done so.
pub(crate) struct Alone<'a> {
    // Dropped in this order: the gate opens before the next one may shut it.
    _shut: Shut<'a>,
    _right: MutexGuard<'static, Vec<Weak<Gate>>>,
}

/// Shuts the gate: waits for those inside, and wakes those of them who sleep.
pub(crate) fn shut(gate: &Gate) -> Alone<'_> {
    let right = lock(&GATES);
    let mut looks = 0_u32;
    let shut = gate.shut(|| {
        wake_sleepers(gate);
        looks += 1;
        // Those inside are a few instructions away from leaving, or in a long flush.
        if looks > 64 {
            std::thread::sleep(std::time::Duration::from_micros(50));
        }
    });
    Alone { _shut: shut, _right: right }
}

/// Waits until whoever shut a gate is done.
#[cold]
pub(crate) fn wait_for_shutter() {
    drop(lock(&GATES));
}

fn wake_sleepers(gate: &Gate) {
    let gate = std::ptr::from_ref(gate).addr();
    for sleeper in lock(&SLEEPERS).iter().filter(|sleeper| sleeper.gate == gate) {
        let word: *const AtomicU32 = std::ptr::with_exposed_provenance(sleeper.word);
        // SAFETY: a sleeper is listed only while it holds a pin of its gate, so its word is mapped; the list is locked.
        let word = unsafe { &*word };
        // EFAULT where somebody truncated the page away: its sleepers look again when they have slept the longest.
        let _ = bell::wake(word, u32::MAX);
    }
}

/// This thread is about to sleep on a word, until dropped.
pub(crate) struct Asleep(Sleeper);

impl Asleep {
    /// Lists the thread. It must be inside `gate`, and look whether that was shut before it sleeps.
    pub(crate) fn on(gate: &Gate, word: &AtomicU32) -> Self {
        let word = std::ptr::from_ref(word).expose_provenance();
        let sleeper = Sleeper { gate: std::ptr::from_ref(gate).addr(), word };
        lock(&SLEEPERS).push(sleeper);
        Self(sleeper)
    }
}

impl Drop for Asleep {
    fn drop(&mut self) {
        let mut sleepers = lock(&SLEEPERS);
        if let Some(at) = sleepers.iter().position(|sleeper| *sleeper == self.0) {
            sleepers.swap_remove(at);
        }
    }
}

struct Held {
    segments: MutexGuard<'static, Segments>,
    gates: MutexGuard<'static, Vec<Weak<Gate>>>,
    sleepers: MutexGuard<'static, Vec<Sleeper>>,
    _free: FreeNodes,
}

thread_local! {
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
}

extern "C" fn before_fork() {
    // The order in which everyone takes them.
    let segments = lock(&SEGMENTS);
    let gates = lock(&GATES);
    let sleepers = lock(&SLEEPERS);
    let held = Held { segments, gates, sleepers, _free: guard::lock_free_nodes() };
    HELD.with_borrow_mut(|place| *place = Some(held));
}

extern "C" fn after_fork() {
    HELD.with_borrow_mut(|place| *place = None);
}

extern "C" fn after_fork_in_child() {
    let Some(mut held) = HELD.with_borrow_mut(Option::take) else { return };
    held.sleepers.clear();
    // Relaxed: there is one thread.
    GENERATION.fetch_add(1, Ordering::Relaxed);
    for gate in held.gates.iter().filter_map(Weak::upgrade) {
        gate.empty_after_fork();
    }
    for segment in held.segments.iter().filter_map(Weak::upgrade) {
        segment.forget_parent();
    }
}
