//! `samemap._core.Condition`, the base of `samemap.Condition`.

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use samemap_core::objects::{self, ConditionParts};
use samemap_core::operation::{Operation, Wanted};
use samemap_core::process::thread_number;

use crate::arguments::{Count, Timeout};
use crate::drive::{check_open, drive, raise};
use crate::lock::Lock;
use crate::object::{Object, closing};
use crate::pending::Pending;
use crate::rlock::RLock;
use crate::segment::Segment;

/// Waiting for news, with a lock; `samemap.Condition` adds names and more.
#[pyclass(subclass, frozen, weakref, module = "samemap._core")]
pub(crate) struct Condition {
    pub(crate) object: Object,
}

closing!(Condition);

/// The lock that guards what the news is about.
#[derive(FromPyObject)]
enum Guard<'py> {
    Lock(Bound<'py, Lock>),
    RLock(Bound<'py, RLock>),
}

impl Guard<'_> {
    /// Refuses a caller that does not hold it; `owner` is its thread or task.
    fn check(&self, owner: u64) -> PyResult<()> {
        let held = match self {
            Self::Lock(lock) => {
                lock.get().object.cell::<samemap_core::lock::Lock>()?.is_held_by(lock.get().object.tag()?)
            }
            Self::RLock(lock) => lock.get().cell()?.is_held_by(lock.get().object.tag()?, owner),
        };
        if held {
            Ok(())
        } else {
            Err(PyRuntimeError::new_err("the lock of a condition must be held to wait or to notify"))
        }
    }

    /// Gives it back entirely; returns how many times it was taken.
    fn release(&self, owner: u64) -> PyResult<u32> {
        match self {
            Self::Lock(lock) => lock.get().release().map(|()| 1),
            Self::RLock(lock) => {
                let me = lock.get().object.tag()?;
                let not_held = |_| PyRuntimeError::new_err("the lock of a condition was lost");
                lock.get().cell()?.release_all(me, owner).map_err(not_held)
            }
        }
    }

    /// Whether it cannot be had any more, whoever tries: it was closed, or the file is gone.
    fn is_lost(&self) -> bool {
        let object = match self {
            Self::Lock(lock) => &lock.get().object,
            Self::RLock(lock) => &lock.get().object,
        };
        object.tag().is_err() || object.check().is_err()
    }

    /// Takes it again, as many times, whatever signals say meanwhile; the first exception that came is raised then.
    fn acquire(&self, py: Python<'_>, owner: u64, depth: u32) -> PyResult<()> {
        let mut interrupted = None;
        loop {
            let taken = match self {
                Self::Lock(lock) => lock.get().wait(py, Timeout::Never, samemap_core::lock::Dead::TakeOver),
                Self::RLock(lock) => lock.get().wait(py, owner, Timeout::Never, samemap_core::lock::Dead::TakeOver),
            };
            match taken {
                Ok(_) => break,
                // Not by the kind of the error: a signal handler may raise any.
                Err(error) if self.is_lost() => return Err(interrupted.unwrap_or(error)),
                // Whoever leaves a `with` block releases the lock, so it must have it.
                Err(error) => interrupted = interrupted.or(Some(error)),
            }
        }
        if let Self::RLock(lock) = self {
            lock.get().cell()?.restore(depth);
        }
        interrupted.map_or(Ok(()), Err)
    }
}

impl Condition {
    fn parts(&self) -> PyResult<ConditionParts<'_>> {
        let segment = self.object.handle.segment();
        objects::condition(segment, self.object.offset).map_err(|error| raise(segment, &error))
    }

    fn guard<'py>(lock: &Bound<'py, PyAny>) -> PyResult<Guard<'py>> {
        lock.extract().map_err(|_| PyTypeError::new_err("a condition's lock is a samemap Lock or RLock"))
    }

    /// Joins the queue.
    fn begin(&self) -> PyResult<Operation> {
        self.object.tag()?;
        let segment = self.object.handle.segment();
        let (_, condition, waiters) = self.parts()?;
        let begun = segment.as_caller(|caller| condition.begin_wait(waiters, caller));
        let begun = begun.map_err(|error| raise(segment, &error))?;
        let most = waiters.len();
        let full = || {
            PyRuntimeError::new_err(format!(
                "{most} calls wait for this condition already, as many as it has room for: make it with max_participants={} or more",
                most
            ))
        };
        Ok(self.object.operation(Wanted::News(Some(begun.ok_or_else(full)?))))
    }

    /// Ends the wait; says whether it was notified.
    fn end(&self, operation: &mut Operation) -> PyResult<bool> {
        let Wanted::News(waiting) = &mut operation.wanted else { return Ok(false) };
        let Some(waiting) = waiting.take() else { return Ok(false) };
        let segment = self.object.handle.segment();
        let (_, condition, waiters) = self.parts()?;
        let notified = segment.as_caller(|caller| condition.end_wait(waiters, waiting, caller.tag));
        notified.map_err(|error| raise(segment, &error))
    }
}

#[pymethods]
impl Condition {
    #[new]
    fn new(segment: &Segment, offset: usize) -> PyResult<Self> {
        let condition = Self { object: Object::new::<samemap_core::rlock::RLock>(segment, offset)? };
        condition.parts()?;
        Ok(condition)
    }

    /// Where its own lock is: bytes from the start of the segment's body.
    #[getter]
    fn _lock_offset(&self) -> usize {
        self.object.offset
    }

    fn _wait(&self, py: Python<'_>, lock: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<bool> {
        let timeout = Timeout::new(timeout)?;
        let (guard, owner) = (Self::guard(lock)?, thread_number());
        check_open(&self.object.handle)?;
        guard.check(owner)?;
        let mut operation = self.begin()?;
        let depth = match guard.release(owner) {
            Ok(depth) => depth,
            Err(error) => {
                // Left in the queue, it would get news that nobody reads.
                self.end(&mut operation)?;
                return Err(error);
            }
        };
        let waited = drive(py, &self.object.handle, timeout, &mut operation);
        let taken = guard.acquire(py, owner, depth);
        let notified = self.end(&mut operation);
        if notified.as_ref().is_ok_and(|notified| *notified) && (waited.is_err() || taken.is_err()) {
            // The exception takes the caller elsewhere: the news is for another one. It is what the caller must hear of, and
            // whether the lock is held or lost by now makes no difference to the news.
            let _ = self.notify(Count(1));
        }
        waited?;
        taken?;
        notified
    }

    fn _notify(&self, lock: &Bound<'_, PyAny>, n: Count) -> PyResult<u32> {
        check_open(&self.object.handle)?;
        Self::guard(lock)?.check(thread_number())?;
        self.notify(n)
    }

    fn _notify_as(&self, lock: &Bound<'_, PyAny>, owner: u64, n: Count) -> PyResult<u32> {
        check_open(&self.object.handle)?;
        Self::guard(lock)?.check(owner)?;
        self.notify(n)
    }

    /// Who waits: a tag for each wait.
    fn _waiters(&self) -> PyResult<Vec<u32>> {
        check_open(&self.object.handle)?;
        let (_, condition, waiters) = self.parts()?;
        let found = condition.waiting(waiters).into_iter().map(samemap_core::tag::Tag::word).collect();
        self.object.check()?;
        Ok(found)
    }

    /// Join the queue as a task that holds the lock, and will give it back now.
    fn _begin_wait(slf: Bound<'_, Self>, lock: &Bound<'_, PyAny>, owner: u64) -> PyResult<Pending> {
        let condition = slf.get();
        check_open(&condition.object.handle)?;
        Self::guard(lock)?.check(owner)?;
        let operation = condition.begin()?;
        Pending::new(&condition.object.handle, operation, |_, _| Ok(true))
    }

    /// End a task's wait, now that it has the lock again; return whether it was notified.
    fn _end_wait(&self, pending: &Pending) -> PyResult<bool> {
        pending.with_operation(|operation| self.end(operation))
    }
}

impl Condition {
    fn notify(&self, n: Count) -> PyResult<u32> {
        self.object.tag()?;
        let segment = self.object.handle.segment();
        let (_, condition, waiters) = self.parts()?;
        let notified = segment.as_caller(|caller| condition.notify(waiters, n.0, caller));
        let notified = notified.map_err(|error| raise(segment, &error))?;
        self.object.check()?;
        Ok(notified)
    }
}
