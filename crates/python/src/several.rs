//! Waiting for several objects at once.

use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use samemap_core::bell::{Attempt, Deadline, Sleep, Woken, sleep_on_any};
use samemap_core::lock::Turn;
use samemap_core::operation::{Asking, Operation, Outcome, Wanted};
use samemap_core::process::thread_number;
use samemap_core::segment::Handle;

use crate::arguments::Timeout;
use crate::drive::{SLICE, check_open, raise};
use crate::event::Event;
use crate::latest::Latest;
use crate::lock::Lock;
use crate::pending::Pending;
use crate::queue::Queue;
use crate::readwrite::ReadWriteLock;
use crate::rlock::RLock;
use crate::semaphore::Semaphore;
use crate::service::{Call, Service};
use crate::subscription::Subscription;

/// What can be waited for together with others.
#[derive(FromPyObject)]
enum Waitable<'py> {
    Lock(Bound<'py, Lock>),
    RLock(Bound<'py, RLock>),
    Semaphore(Bound<'py, Semaphore>),
    Event(Bound<'py, Event>),
    ReadWriteLock(Bound<'py, ReadWriteLock>),
    Subscription(Bound<'py, Subscription>),
    Latest(Bound<'py, Latest>),
    Queue(Bound<'py, Queue>),
    Service(Bound<'py, Service>),
    Call(Bound<'py, Call>),
}

impl Waitable<'_> {
    fn handle(&self) -> &Handle {
        match self {
            Self::Lock(lock) => &lock.get().object.handle,
            Self::RLock(lock) => &lock.get().object.handle,
            Self::Semaphore(semaphore) => &semaphore.get().object.handle,
            Self::Event(event) => &event.get().object.handle,
            Self::ReadWriteLock(lock) => &lock.get().object.handle,
            Self::Subscription(subscription) => &subscription.get().handle,
            Self::Latest(latest) => latest.get().handle(),
            Self::Queue(queue) => &queue.get().depot.object.handle,
            Self::Service(service) => &service.get().requests.object.handle,
            Self::Call(call) => call.get().handle(),
        }
    }

    /// Refuses what was closed, or is over.
    fn check(&self) -> PyResult<()> {
        if let Self::Call(call) = self {
            call.get().check()?;
        }
        check_open(self.handle())
    }

    /// Keeps what the wait has found out.
    fn note(&self, operation: &Operation) {
        if let Self::Call(call) = self {
            call.get().note(&operation.wanted);
        }
    }

    /// To know that it is ready, without taking anything.
    fn operation(&self, owner: u64) -> PyResult<Operation> {
        self.check()?;
        Ok(match self {
            Self::Lock(lock) => lock.get().object.operation(Wanted::FreeLock),
            Self::RLock(lock) => lock.get().object.operation(Wanted::FreeRLock(owner)),
            Self::Semaphore(semaphore) => semaphore.get().object.operation(Wanted::FreePermit),
            Self::ReadWriteLock(lock) => lock.get().object.operation(Wanted::FreeToWrite),
            Self::Subscription(subscription) => subscription.get().operation(subscription.py())?,
            Self::Latest(latest) => latest.get().operation()?,
            Self::Queue(queue) => queue.get().depot.object.operation(Wanted::Job(0)),
            Self::Service(service) => service.get().requests.object.operation(Wanted::Job(0)),
            Self::Call(call) => call.get().operation(),
            Self::Event(event) => event.get().object.operation(Wanted::Event(event.get().generation()?)),
        })
    }
}

impl<'py> Waitable<'py> {
    fn new(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        object.extract().map_err(|_| {
            let kind = object.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string());
            PyTypeError::new_err(format!(
                "cannot wait for a {kind}: Lock, RLock, ReadWriteLock, Semaphore, Event, Subscription, Latest, Queue, \
                 Service and the streams of a Client can be waited for together"
            ))
        })
    }
}

/// Begin to wait until an object is ready, for a task; `owner` is its number.
#[pyfunction]
pub(crate) fn begin_wait(thing: &Bound<'_, PyAny>, owner: u64) -> PyResult<Pending> {
    let waited = Waitable::new(thing)?;
    let call = if let Waitable::Call(call) = &waited { Some(call.clone().unbind()) } else { None };
    Pending::new(waited.handle(), waited.operation(owner)?, move |_, outcome| {
        if let (Some(call), Outcome::Died(Some(who))) = (&call, outcome) {
            call.get().note_lessee(who);
        }
        Ok(())
    })
}

/// Sleep until some objects are ready.
///
/// Args:
///     objects: Locks, semaphores, events, subscriptions, newest values, queues, services and calls.
///     timeout: Seconds; ``None`` waits for ever, 0 only looks.
///
/// Returns:
///     The indexes of those that are ready; none after the timeout.
#[pyfunction]
#[pyo3(signature = (objects, timeout = None))]
pub(crate) fn wait_any(py: Python<'_>, objects: Vec<Bound<'_, PyAny>>, timeout: Option<f64>) -> PyResult<Vec<usize>> {
    let timeout = Timeout::new(timeout)?;
    let waited: Vec<Waitable<'_>> = objects.iter().map(Waitable::new).collect::<PyResult<_>>()?;
    let owner = thread_number();
    let mut operations: Vec<Operation> =
        waited.iter().map(|waited| waited.operation(owner)).collect::<PyResult<_>>()?;
    let ready = look(py, &waited, &mut operations, timeout);
    for (waited, operation) in waited.iter().zip(&mut operations) {
        waited.note(operation);
        let segment = waited.handle().segment();
        // Best effort: what went wrong before is what counts, and the others look by themselves after a while.
        let _ = segment.as_caller(|caller| operation.give_up(segment, caller));
    }
    ready
}

fn look(
    py: Python<'_>,
    waited: &[Waitable<'_>],
    operations: &mut [Operation],
    timeout: Timeout,
) -> PyResult<Vec<usize>> {
    let mut ask = matches!(timeout, Timeout::Now);
    // By the clock, not when a sleep ends by it: of several words one may always be rung.
    let mut next = Deadline::after(SLICE);
    let offsets = operations.iter().map(|operation| operation.offset);
    let segments: Vec<_> = waited.iter().map(|waited| Arc::clone(waited.handle().segment())).zip(offsets).collect();
    loop {
        let (mut ready, mut sleeps) = (Vec::new(), Vec::<Sleep<'_>>::new());
        for (index, (waited, operation)) in waited.iter().zip(&mut *operations).enumerate() {
            waited.check()?;
            let segment = waited.handle().segment();
            let asking = Asking { ask, turn: Turn::Again };
            let attempted = segment.as_caller(|caller| operation.attempt(segment, caller, asking));
            let attempted = segment.check().and(attempted.and_then(|attempted| attempted));
            match attempted.map_err(|error| raise(segment, &error))? {
                Attempt::Done(_) => ready.push(index),
                Attempt::Wait(sleep) => sleeps.push(sleep),
            }
        }
        if !ready.is_empty() {
            return Ok(ready);
        }
        if timeout.has_passed() {
            if ask {
                return Ok(ready);
            }
            ask = true;
            continue;
        }
        let until = timeout.deadline().zip(next).map(|(deadline, next)| deadline.min(next)).or(next);
        // Whatever ends it, the next attempts find out.
        let _ = py.detach(|| {
            let _asleep: Vec<_> = segments.iter().map(|(segment, offset)| segment.asleep(*offset)).collect();
            if sleeps.is_empty() {
                // There is nothing to wait for, but the time.
                std::thread::sleep(until.map_or(SLICE, Deadline::left));
                return Ok(Woken::TimedOut);
            }
            sleep_on_any(&sleeps, until)
        });
        ask = next.is_some_and(Deadline::has_passed);
        if ask {
            next = Deadline::after(SLICE);
        }
        // However it ended: a signal that comes just before a sleep does not end it.
        py.check_signals()?;
    }
}
