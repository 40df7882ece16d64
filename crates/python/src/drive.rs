//! Driving an attempt to its end: trying, sleeping without the interpreter, looking after the dead, answering signals.

use std::time::Duration;

use pyo3::prelude::*;
use samemap_core::bell::{Attempt, Deadline, Woken};
use samemap_core::error::Error;
use samemap_core::lock::{Dead, Turn};
use samemap_core::segment::{Handle, Segment};
use samemap_core::tag::Caller;

use crate::arguments::Timeout;
use crate::errors;

/// The first sleep: a holder that died just before is noticed soon, and most waits are shorter.
const FIRST_SLICE: Duration = Duration::from_millis(5);

/// Every further sleep. A death is noticed within one of them, after which the kernel is asked.
pub(crate) const SLICE: Duration = Duration::from_millis(50);

/// How long one waits before others must let it go first.
const PATIENCE: Duration = Duration::from_millis(4);

/// The exception for `error`, about the segment's file.
#[cold]
pub(crate) fn raise(segment: &Segment, error: &Error) -> PyErr {
    errors::raise(error, segment.path())
}

/// Refuses a closed object.
#[inline(always)]
pub(crate) fn check_open(handle: &Handle) -> PyResult<()> {
    if handle.is_closed() { Err(raise(handle.segment(), &Error::Closed)) } else { Ok(()) }
}

/// What an attempt is to go by.
#[derive(Clone, Copy)]
pub(crate) struct Asking {
    /// Whether to ask the kernel about the dead.
    pub(crate) ask: bool,
    /// How long the caller has waited already.
    pub(crate) turn: Turn,
}

impl Asking {
    /// What to do about a dead holder that is found, if it is looked for at all.
    pub(crate) fn about(self, dead: Dead) -> Dead {
        if self.ask { dead } else { Dead::DontAsk }
    }
}

/// Attempts until it is done (`Some`) or the timeout has passed (`None`).
///
/// `attempt` is told whether to ask the kernel about the dead: it is when a sleep ended without anybody waking it, and
/// always before the answer is that it cannot be had in time. `offset` is what is waited for, for others to see.
pub(crate) fn drive<'s, T: Send>(
    py: Python<'_>,
    handle: &'s Handle,
    offset: usize,
    timeout: Timeout,
    mut attempt: impl FnMut(&'s Segment, Caller<'_>, Asking) -> Attempt<'s, T>,
) -> PyResult<Option<T>> {
    let segment: &'s Segment = handle.segment();
    let mut ask = matches!(timeout, Timeout::Now);
    let mut slice = FIRST_SLICE;
    let mut turn = if ask { Turn::Again } else { Turn::New };
    let overdue = Deadline::after(PATIENCE);
    loop {
        check_open(handle)?;
        let attempted = segment.as_caller(|caller| attempt(segment, caller, Asking { ask, turn })).map_err(|error| raise(segment, &error))?;
        segment.check().map_err(|error| raise(segment, &error))?;
        let sleep = match attempted {
            Attempt::Done(done) => return Ok(Some(done)),
            Attempt::Wait(sleep) => sleep,
        };
        if timeout.has_passed() {
            if ask {
                return Ok(None);
            }
            ask = true;
            continue;
        }
        let soon = Deadline::after(slice);
        let until = timeout.deadline().zip(soon).map(|(deadline, soon)| deadline.min(soon)).or(soon);
        let slept = py.detach(|| {
            let _asleep = segment.asleep(offset);
            sleep.until(until)
        });
        turn = if overdue.is_some_and(Deadline::has_passed) { Turn::Overdue } else { Turn::Again };
        ask = matches!(slept, Ok(Woken::TimedOut));
        if ask {
            slice = SLICE;
        }
        if !matches!(slept, Ok(Woken::Rung | Woken::Changed)) {
            // Also after a slice: a signal that comes just before a sleep does not end it.
            segment.stay_guarded();
            py.check_signals()?;
        }
    }
}
