//! Floor 1: the guard against bus errors.
//!
//! Touching a page that somebody truncated away (or that a full tmpfs cannot provide) is `SIGBUS`, which kills.
//! For addresses in a watched range the handler maps a page of zeros over the hole, marks the range, and lets the
//! instruction go on; the next call that uses the range reports the mark. Every other `SIGBUS` goes to whoever was
//! there before: a handler, `faulthandler`, or the default.
//!
//! The table is a list of nodes that are never freed, so that the handler, which may take no lock, can walk it at any
//! time. Sources: sigaction(2), signal-safety(7).

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

pub(crate) struct Node {
    /// First address; 0 while the node is free.
    start: AtomicUsize,
    end: AtomicUsize,
    writable: AtomicBool,
    faulted: AtomicBool,
    /// How often it was covered since it was last whole.
    covers: AtomicU32,
    next: AtomicPtr<Node>,
}

/// So many holes of a range are covered page by page; a further one with all that follows it, because each hole may
/// cost the process two of its mappings, and at the limit on those (vm.max_map_count) nothing could be covered any more.
const SINGLE_COVERS: u32 = 256;

static HEAD: AtomicPtr<Node> = AtomicPtr::new(ptr::null_mut());

/// Free nodes. Its lock also serialises the installation of the handler; the fork hooks hold it (see `process`).
static FREE: Mutex<Vec<&'static Node>> = Mutex::new(Vec::new());

pub(crate) type FreeNodes = MutexGuard<'static, Vec<&'static Node>>;

pub(crate) fn lock_free_nodes() -> FreeNodes {
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A range of addresses under guard, until dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    node: &'static Node,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({:#x}..{:#x})", self.start.load(Ordering::Relaxed), self.end.load(Ordering::Relaxed))
    }
}

impl Watch {
    /// Guards `start..start + length`; its owner must drop the watch before it unmaps the range.
    pub(crate) fn new(start: usize, length: usize, writable: bool) -> Result<Self, Errno> {
        let mut free = lock_free_nodes();
        install()?;
        let node = free.pop().unwrap_or_else(|| {
            let node: &'static Node = Box::leak(Box::new(Node {
                start: AtomicUsize::new(0),
                end: AtomicUsize::new(0),
                writable: AtomicBool::new(false),
                faulted: AtomicBool::new(false),
                covers: AtomicU32::new(0),
                next: AtomicPtr::new(HEAD.load(Ordering::Relaxed)),
            }));
            // Release [guard.list]: whoever sees the node sees its fields. Only the holder of FREE stores.
            HEAD.store(ptr::from_ref(node).cast_mut(), Ordering::Release);
            node
        });
        node.faulted.store(false, Ordering::Relaxed);
        node.covers.store(0, Ordering::Relaxed);
        node.writable.store(writable, Ordering::Relaxed);
        node.end.store(start + length, Ordering::Relaxed);
        // Release [guard.range]
        node.start.store(start, Ordering::Release);
        Ok(Self { node })
    }

    /// Whether a page of the range was found missing since [`Watch::clear`].
    pub(crate) fn faulted(&self) -> &'static AtomicBool {
        &self.node.faulted
    }

    /// Forgets the mark.
    pub(crate) fn clear(&self) {
        self.node.covers.store(0, Ordering::Relaxed);
        self.node.faulted.store(false, Ordering::Relaxed);
    }

    /// Marks the range as a fault does: for system calls that report `EFAULT` instead of faulting.
    pub(crate) fn mark(&self) {
        self.node.faulted.store(true, Ordering::Relaxed);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Relaxed: the owner no longer touches the range, and a node's range changes again only under FREE.
        self.node.start.store(0, Ordering::Relaxed);
        lock_free_nodes().push(self.node);
    }
}

fn find(address: usize) -> Option<(&'static Node, usize)> {
    // Acquire [guard.list]
    let mut at = HEAD.load(Ordering::Acquire);
    // SAFETY: nodes are leaked, so a pointer from the list is valid for ever, or null at its end.
    while let Some(node) = unsafe { at.as_ref() } {
        // Acquire [guard.range]
        let start = node.start.load(Ordering::Acquire);
        let end = node.end.load(Ordering::Relaxed);
        // Looked at again, so that start and end are of one range: a node is free before it gets another.
        if start != 0 && (start..end).contains(&address) && node.start.load(Ordering::Acquire) == start {
            return Some((node, end));
        }
        at = node.next.load(Ordering::Relaxed);
    }
    None
}

/// What was there before us. Written before our handler is installed, under FREE; read by the handler.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// Who put itself in front of us after that, and whom we then stepped in front of again: leaked, so that the handler
/// can read it at any time.
static IN_FRONT: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());

/// The thread that is inside somebody else's handler, called by ours.
static CHAINING: AtomicI32 = AtomicI32::new(0);

/// Whether a `SIGBUS` that this process sent itself was let pass, with no fault since.
static LET_PASS: AtomicBool = AtomicBool::new(false);

type Action = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

fn current_action() -> Result<libc::sigaction, Errno> {
    // SAFETY: all zeros is a valid sigaction: plain integers and null pointers.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a query: no new action, and a valid place for the old one.
    let done = unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), &mut action) };
    if done == 0 { Ok(action) } else { Err(last_errno()) }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

fn set_action(action: &libc::sigaction) -> bool {
    // SAFETY: `action` is either ours, with an async-signal-safe handler, or one that the kernel gave us.
    unsafe { libc::sigaction(libc::SIGBUS, action, ptr::null_mut()) == 0 }
}

/// Puts our handler in front again, where others have stepped in front of it, or taken it away, since the last time.
///
/// Asked at each new mapping, and wherever a region makes a system call anyway.
pub(crate) fn stay_in_front() {
    let _free = lock_free_nodes();
    // It has succeeded before, and the kernel has no reason to refuse it now.
    let _ = install();
}

/// Puts our handler in front, unless it is. The caller holds FREE.
fn install() -> Result<(), Errno> {
    let found = current_action()?;
    let handler = on_sigbus as Action as libc::sighandler_t;
    if found.sa_sigaction == handler {
        return Ok(());
    }
    // Where nobody is in front, somebody has taken us away by putting back who was there before: nobody new.
    if BEFORE.set(found).is_err() && found.sa_sigaction != libc::SIG_DFL {
        // Leaked: the handler may be reading the one before it.
        IN_FRONT.store(Box::leak(Box::new(found)), Ordering::Release);
    }
    // SAFETY: all zeros is a valid sigaction: an empty mask, no flags.
    let mut ours: libc::sigaction = unsafe { std::mem::zeroed() };
    ours.sa_sigaction = handler;
    // NODEFER: whom we call may raise the signal again to reach the default action, as faulthandler does.
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
    if set_action(&ours) { Ok(()) } else { Err(last_errno()) }
}

extern "C" fn on_sigbus(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo to SA_SIGINFO handlers, and it stays for as long as the handler runs.
    let about = unsafe { &*info };
    let code = about.si_code;
    if code == libc::BUS_ADRERR {
        LET_PASS.store(false, Ordering::Relaxed);
        // SAFETY: BUS_ADRERR is a fault, for which the kernel fills in si_addr.
        let address = unsafe { about.si_addr() } as usize;
        if let Some((node, end)) = find(address)
            && cover(node, address, end)
        {
            node.faulted.store(true, Ordering::Relaxed);
            return;
        }
    }
    pass_on(signal, info, context, code);
}

/// Maps zeros over the page of `address`, or from there to the end of the range.
fn cover(node: &Node, address: usize, end: usize) -> bool {
    let page = rustix::param::page_size();
    let readable = ProtFlags::READ;
    let access = if node.writable.load(Ordering::Relaxed) { readable | ProtFlags::WRITE } else { readable };
    let start = address & !(page - 1);
    let single = node.covers.fetch_add(1, Ordering::Relaxed) < SINGLE_COVERS;
    let length = if single { page } else { end - start };
    let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
    // SAFETY: the pages lie inside a mapping of ours (they are whole pages), whose owner is using it and so keeps it
    // mapped. No file loses anything: at worst this process sees zeros for pages that are there, in a range that is
    // marked, until it is mapped again.
    let covered = unsafe { mmap_anonymous(start as *mut libc::c_void, length, access, flags) };
    covered.is_ok()
}

/// Gives the signal to whoever was there before us.
#[cold]
fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void, code: libc::c_int) {
    let me = rustix::thread::gettid().as_raw_nonzero().get();
    // Acquire: pairs with the Release of `install`.
    let in_front = IN_FRONT.load(Ordering::Acquire);
    // Whom we called has raised the signal again, so that its own predecessor gets it; or has returned without mending
    // anything, as faulthandler does once it is disabled, and the instruction has faulted again.
    let again = CHAINING.load(Ordering::Relaxed) == me;
    let futile = if code > 0 { repeats(info, me) } else { 0 };
    // SAFETY: null, or leaked by `install`.
    let next = match unsafe { in_front.as_ref() } {
        Some(action) if !again && futile < FUTILE => Some(action),
        _ if futile < 2 * FUTILE => BEFORE.get(),
        _ => None,
    };
    match next.map(|action| (action.sa_sigaction, action)) {
        Some((libc::SIG_IGN, _)) if code <= 0 => {}
        Some((handler, action)) if handler != libc::SIG_DFL && handler != libc::SIG_IGN => {
            CHAINING.store(me, Ordering::Relaxed);
            call(action, signal, info, context);
            CHAINING.store(0, Ordering::Relaxed);
        }
        _ => {
            // A handler that stood in front of us (faulthandler, enabled after our last mapping) may have put us back
            // and raised the signal for a fault that is ours to mend: if so, the instruction will fault again.
            if code == libc::SI_TKILL && !again && !LET_PASS.swap(true, Ordering::Relaxed) {
                return;
            }
            default_action(signal, code);
        }
    }
}

/// So many times in a row may a fault come back before somebody else is asked to handle it.
const FUTILE: u32 = 8;

/// How often this very fault has come back to this thread, without another in between.
fn repeats(info: *mut libc::siginfo_t, thread: i32) -> u32 {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    static TIMES: AtomicU32 = AtomicU32::new(0);
    // SAFETY: the kernel's siginfo, of a fault, for which it fills in si_addr.
    let about = unsafe { &*info };
    // SAFETY: as above.
    let address = unsafe { about.si_addr() } as usize;
    // Two threads at once only make each other's counts start anew.
    let fault = address.rotate_left(24) ^ thread.unsigned_abs() as usize;
    if LAST.swap(fault, Ordering::Relaxed) == fault {
        TIMES.fetch_add(1, Ordering::Relaxed) + 1
    } else {
        TIMES.store(0, Ordering::Relaxed);
        0
    }
}

fn call(action: &libc::sigaction, signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    if action.sa_flags & libc::SA_SIGINFO != 0 {
        // SAFETY: whoever installed it with SA_SIGINFO gave a function of three arguments.
        let handler: Action = unsafe { std::mem::transmute(action.sa_sigaction) };
        handler(signal, info, context);
    } else {
        // SAFETY: without SA_SIGINFO it is a function of one argument.
        let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(action.sa_sigaction) };
        handler(signal);
    }
}

/// Dies as if nobody had ever handled the signal.
fn default_action(signal: libc::c_int, code: libc::c_int) {
    // SAFETY: all zeros is SIG_DFL with no flags.
    let default: libc::sigaction = unsafe { std::mem::zeroed() };
    set_action(&default);
    if code <= 0 {
        // Sent, not a fault: returning would not bring it back.
        // SAFETY: async-signal-safe, no pointers.
        unsafe { libc::raise(signal) };
    }
}
