//! Driving an operation to its end: trying, sleeping without the interpreter, looking after the dead, answering signals.

use std::time::Duration;

use pyo3::prelude::*;
use samemap_core::bell::{Attempt, Deadline, Woken};
use samemap_core::error::Error;
use samemap_core::lock::Turn;
use samemap_core::operation::{Asking, Operation, Outcome, Wanted};
use samemap_core::segment::{Handle, Segment};

use crate::arguments::Timeout;
use crate::errors;

/// The first sleep: a holder that died just before is noticed soon, and most waits are shorter.
const FIRST_SLICE: Duration = Duration::from_millis(5);

/// Every further sleep. A death is noticed within one of them, after which the kernel is asked.
pub(crate) const SLICE: Duration = Duration::from_millis(50);

/// Every further sleep of one who waits for a reply.
const REPLY_SLICE: Duration = Duration::from_millis(10);

/// How long one waits before others must let it go first.
pub(crate) const PATIENCE: Duration = Duration::from_millis(4);

/// The exception for `error`, about the segment's file.
#[cold]
pub(crate) fn raise(segment: &Segment, error: &Error) -> PyErr {
    errors::raise(error, segment.path())
}

/// Whether at most one thread of this process counts at a time: who counts is attached to the interpreter, which lets only one
/// thread be that, where it has a lock for it.
pub(crate) const COUNTS_ALONE: bool = cfg!(not(Py_GIL_DISABLED));

/// Refuses a closed object.
#[inline(always)]
pub(crate) fn check_open(handle: &Handle) -> PyResult<()> {
    if handle.is_closed() { Err(raise(handle.segment(), &Error::Closed)) } else { Ok(()) }
}

/// Drives the operation until it is done (`Some`) or the timeout has passed (`None`).
///
/// An attempt asks the kernel about the dead when a slice of sleep is over, and always before the answer is that it cannot
/// be had in time. What is not done in the end is given up.
pub(crate) fn drive(
    py: Python<'_>,
    handle: &Handle,
    timeout: Timeout,
    operation: &mut Operation,
) -> PyResult<Option<Outcome>> {
    let driven = drive_on(py, handle, timeout, operation);
    if !matches!(driven, Ok(Some(_))) {
        let segment = handle.segment();
        segment
            .as_caller(|caller| operation.give_up(segment, caller))
            .and_then(|given_up| given_up)
            .or_else(|error| if driven.is_err() { Ok(()) } else { Err(raise(segment, &error)) })?;
    }
    driven
}

fn drive_on(py: Python<'_>, handle: &Handle, timeout: Timeout, operation: &mut Operation) -> PyResult<Option<Outcome>> {
    let segment: &Segment = handle.segment();
    let mut asking = match timeout {
        Timeout::Now => Asking::THOROUGHLY,
        _ => Asking { ask: false, turn: Turn::New },
    };
    let mut next = Deadline::after(FIRST_SLICE);
    let overdue = Deadline::after(PATIENCE);
    loop {
        check_open(handle)?;
        let attempted = segment.as_caller(|caller| operation.attempt(segment, caller, asking));
        // What is gone is told first: it reads as zeros, which make no sense.
        let attempted = segment.check().and(attempted.and_then(|attempted| attempted));
        let sleep = match attempted.map_err(|error| raise(segment, &error))? {
            Attempt::Done(outcome) => return Ok(Some(outcome)),
            Attempt::Wait(sleep) => sleep,
        };
        if timeout.has_passed() {
            if asking.ask {
                return Ok(None);
            }
            asking = Asking::THOROUGHLY;
            continue;
        }
        let until = timeout.deadline().zip(next).map(|(deadline, next)| deadline.min(next)).or(next);
        let slept = py.detach(|| {
            let _asleep = handle.segment().asleep(operation.offset);
            sleep.until(until)
        });
        let turn = if overdue.is_some_and(Deadline::has_passed) { Turn::Overdue } else { Turn::Again };
        // By the clock, not when a sleep ends by it: others may ring all the time for what this one cannot use.
        asking = Asking { ask: next.is_some_and(Deadline::has_passed), turn };
        if asking.ask {
            // Who waits for a reply wants to know at once.
            next = Deadline::after(if matches!(operation.wanted, Wanted::Reply(..)) { REPLY_SLICE } else { SLICE });
        }
        if !matches!(slept, Ok(Woken::Rung | Woken::Changed)) {
            segment.stay_guarded();
        }
        // However it ended: a signal that comes just before a sleep does not end it, and the next may not be long enough.
        py.check_signals()?;
    }
}

/// Looks until there is something, for a segment that this process may only read: it cannot ask to be woken.
pub(crate) fn look<T>(
    py: Python<'_>,
    handle: &Handle,
    timeout: Timeout,
    found: impl Fn() -> PyResult<Option<T>>,
) -> PyResult<Option<T>> {
    loop {
        check_open(handle)?;
        if let Some(found) = found()? {
            return Ok(Some(found));
        }
        if timeout.has_passed() {
            return Ok(None);
        }
        py.detach(|| std::thread::sleep(FIRST_SLICE));
        py.check_signals()?;
    }
}
