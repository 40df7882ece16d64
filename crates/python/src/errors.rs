//! Core errors as Python exceptions.

use std::path::Path;

use pyo3::create_exception;
use pyo3::exceptions::{PyBufferError, PyIndexError, PyOSError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use samemap_core::bell::wall_clock;
use samemap_core::error::Error;
use samemap_core::rlock::NotOwner;
use samemap_core::segment::Segment;
use samemap_core::tag::Tag;

use crate::participant::seconds;

create_exception!(
    samemap,
    SegmentTruncated,
    PyOSError,
    "Somebody truncated the file under a mapping, and this process has touched, or asked for, what is gone.\n\n\
     The bytes read there were zeros, and those written there are lost; the process lives on.\n\
     ``errno`` is ``EFAULT``, ``filename`` the file; the message names the length that was known and the one now.\n\
     ``resize()`` gives the length back; opening the region again takes it as it is."
);

create_exception!(
    samemap,
    SegmentMismatch,
    PyValueError,
    "A file is not the segment that was asked for, or this version of samemap does not understand it.\n\n\
     The message names the field that disagrees, the two values, and what helps."
);

/// The exception for `error`, about the file `path`.
#[cold]
pub(crate) fn raise(error: &Error, path: Option<&Path>) -> PyErr {
    let text = error.to_string();
    let about = || match path {
        Some(path) => format!("{text} ({})", path.display()),
        None => text.clone(),
    };
    let filename = path.map(|path| path.as_os_str().to_owned());
    match (error, error.errno()) {
        (Error::Truncated { .. } | Error::Cut { .. }, errno) => SegmentTruncated::new_err((errno, text, filename)),
        (_, Some(errno)) => PyOSError::new_err((errno, text, filename)),
        (Error::Mismatch(_), _) => SegmentMismatch::new_err(about()),
        (Error::OutOfRange { .. }, _) => PyIndexError::new_err(about()),
        (Error::ReadOnly, _) => PyTypeError::new_err(about()),
        (Error::Viewed { .. }, _) => PyBufferError::new_err(about()),
        _ => PyValueError::new_err(about()),
    }
}

/// Which file a message is about, as its end; nothing where there is none.
pub(crate) fn in_file(segment: &Segment) -> String {
    segment.path().map(|path| format!(" ({})", path.display())).unwrap_or_default()
}

/// Who a participant is, for people to read.
pub(crate) fn in_words(segment: &Segment, tag: Option<Tag>) -> String {
    let Some(tag) = tag else { return "nobody".to_owned() };
    match segment.roster().ok().and_then(|roster| roster.describe(tag)) {
        Some(found) => format!("pid {} ({})", found.pid, found.command),
        None => "a process that is gone".to_owned(),
    }
}

/// The exception for a release by somebody who does not hold it.
#[cold]
pub(crate) fn not_held(segment: &Segment, holder: Option<Tag>) -> PyErr {
    let (me, holder) = (std::process::id(), in_words(segment, holder));
    PyRuntimeError::new_err(format!("this process (pid {me}) cannot release what it does not hold: {holder} holds it"))
}

/// `samemap.OwnerDied`, about a holder that died.
#[cold]
pub(crate) fn owner_died(py: Python<'_>, segment: &Segment, tag: Tag) -> PyErr {
    let found = segment.roster().ok().and_then(|roster| roster.describe(tag));
    let raised = || {
        let (pid, command, when) = match &found {
            Some(dead) => (Some(dead.pid), Some(dead.command.as_str()), dead.died),
            None => (None, None, None),
        };
        let when = seconds(when.unwrap_or_else(wall_clock));
        let path = segment.path().map(|path| path.display().to_string());
        py.import("samemap.errors")?.getattr("OwnerDied")?.call1((path, pid, command, when))
    };
    raised().map_or_else(|error| error, PyErr::from_value)
}

/// The exception for a release of an `RLock` by a thread that does not hold it.
#[cold]
pub(crate) fn not_owner(segment: &Segment, me: Tag, not: NotOwner) -> PyErr {
    if not.holder != Some(me) {
        return not_held(segment, not.holder);
    }
    // The low half of a thread's number is what the system calls it.
    let thread = not.thread & u64::from(u32::MAX);
    // Above all that the kernel gives to threads are the numbers of tasks: see aio.py.
    let holder = if thread < 1 << 31 { format!("thread {thread}") } else { "an asyncio task".to_owned() };
    PyRuntimeError::new_err(format!(
        "this thread cannot release what it does not hold: {holder} of this process (pid {}) holds it",
        std::process::id()
    ))
}

/// `samemap.BrokenBarrierError`, with its reason.
#[cold]
pub(crate) fn broken_barrier(py: Python<'_>, why: &str) -> PyErr {
    let raised = || py.import("samemap.brokenbarrier")?.getattr("BrokenBarrierError")?.call1((why,));
    raised().map_or_else(|error| error, PyErr::from_value)
}
