//! `samemap._core.Semaphore`, the base of `samemap.Semaphore` and `samemap.BoundedSemaphore`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use samemap_core::bell::Attempt;
use samemap_core::holdings::Holding;
use samemap_core::objects;
use samemap_core::operation::{Outcome, Wanted};
use samemap_core::semaphore::{self, UNBOUNDED};
use samemap_core::tag::Caller;

use crate::arguments::{Count, Timeout, Truth, acquire_timeout};
use crate::drive::{check_open, drive, raise};
use crate::object::{Object, closing};
use crate::pending::Pending;
use crate::segment::Segment;

/// Permits; `samemap.Semaphore` adds names and more.
#[pyclass(subclass, frozen, weakref, module = "samemap._core")]
pub(crate) struct Semaphore {
    pub(crate) object: Object,
}

closing!(Semaphore);

impl Semaphore {
    fn parts(&self) -> PyResult<(&semaphore::Semaphore, &[Holding])> {
        let segment = self.object.handle.segment();
        objects::semaphore(segment, self.object.offset).map_err(|error| raise(segment, &error))
    }
}

impl Semaphore {
    /// Does something that needs no waiting.
    fn at_once<'s, T>(
        &'s self,
        attempt: impl FnOnce(&'s semaphore::Semaphore, &'s [Holding], Caller<'_>) -> T,
    ) -> PyResult<T> {
        let segment = self.object.handle.segment();
        let (semaphore, held) = self.parts()?;
        let attempted = segment.as_caller(|caller| attempt(semaphore, held, caller));
        let attempted = attempted.map_err(|error| raise(segment, &error))?;
        self.object.check()?;
        Ok(attempted)
    }

    #[cold]
    fn too_many(&self, n: Count, bound: u32) -> PyErr {
        let free = self.value().unwrap_or(bound);
        PyValueError::new_err(format!(
            "semaphore released too many times: {free} of at most {bound} permits are free, and {} more were given back",
            n.0
        ))
    }
}

#[pymethods]
impl Semaphore {
    #[new]
    fn new(segment: &Segment, offset: usize) -> PyResult<Self> {
        let semaphore = Self { object: Object::new::<semaphore::Semaphore>(segment, offset)? };
        semaphore.parts()?;
        Ok(semaphore)
    }

    /// Take a permit, waiting until there is one.
    ///
    /// Permits of processes that have died come back within 100 ms, unless ``on_owner_death="keep"``.
    ///
    /// Args:
    ///     blocking: Wait; else only look.
    ///     timeout: Seconds; ``None`` and -1 wait for ever.
    ///
    /// Returns:
    ///     Whether the caller has one more permit now.
    ///
    /// Raises:
    ///     KeyboardInterrupt: Ctrl-C, at once; likewise whatever another signal handler raises.
    ///     SegmentTruncated: Somebody truncated the file.
    ///     TypeError: It is mapped read-only.
    ///     ValueError: It is closed, also by another thread meanwhile; or the timeout makes no sense.
    ///
    /// Example:
    ///     >>> from samemap import Semaphore
    ///     >>> gpu = Semaphore(value=1)
    ///     >>> gpu.acquire(), gpu.acquire(blocking=False)
    ///     (True, False)
    #[pyo3(
        signature = (blocking = Truth(true), timeout = None),
        text_signature = "($self, blocking=True, timeout=None)"
    )]
    fn acquire(&self, py: Python<'_>, blocking: Truth, timeout: Option<f64>) -> PyResult<bool> {
        let timeout = acquire_timeout(blocking.0, timeout)?;
        self.object.tag()?;
        if self.at_once(|semaphore, held, caller| semaphore.try_acquire(held, caller))? {
            return Ok(true);
        }
        if let Timeout::Now = timeout {
            return self.at_once(|semaphore, held, caller| semaphore.poll_acquire(held, caller));
        }
        let mut operation = self.object.operation(Wanted::Permit);
        Ok(drive(py, &self.object.handle, timeout, &mut operation)?.is_some())
    }

    /// Give permits back, or add some.
    ///
    /// First those that this process has taken; what is more is new, or, where there is a bound, given back for others.
    ///
    /// Args:
    ///     n: How many.
    ///
    /// Raises:
    ///     TypeError: It is mapped read-only.
    ///     ValueError: There would be more than its bound allows; nothing has changed. Or ``n`` is below 1, or it is
    ///         closed.
    ///
    /// Example:
    ///     >>> from samemap import Semaphore
    ///     >>> ready = Semaphore(value=0)
    ///     >>> ready.release(3)
    ///     >>> ready.value
    ///     3
    #[pyo3(signature = (n = Count(1)), text_signature = "($self, n=1)")]
    fn release(&self, py: Python<'_>, n: Count) -> PyResult<()> {
        if n.0 == 0 {
            return Err(PyValueError::new_err("n must be one or more"));
        }
        self.object.tag()?;
        match self.at_once(|semaphore, held, caller| semaphore.attempt_release(held, caller, false, n.0))? {
            Attempt::Done(Ok(())) => return Ok(()),
            Attempt::Done(Err(too_many)) => return Err(self.too_many(n, too_many.bound)),
            Attempt::Wait(_) => {}
        }
        let mut operation = self.object.operation(Wanted::Release(n.0));
        match drive(py, &self.object.handle, Timeout::Never, &mut operation)? {
            Some(Outcome::TooMany(bound)) => Err(self.too_many(n, bound)),
            _ => Ok(()),
        }
    }

    /// How many permits are left, as far as is known without asking whether their holders live.
    ///
    /// Raises:
    ///     ValueError: It is closed.
    #[getter]
    fn value(&self) -> PyResult<u32> {
        check_open(&self.object.handle)?;
        let segment = self.object.handle.segment();
        let (semaphore, held) = self.parts()?;
        let roster = segment.roster().map_err(|error| raise(segment, &error))?;
        let value = semaphore.value(held, &roster);
        self.object.check()?;
        Ok(value)
    }

    /// How many permits there were at the start.
    #[getter]
    fn initial(&self) -> PyResult<u32> {
        let initial = self.parts()?.0.initial();
        self.object.check()?;
        Ok(initial)
    }

    /// How many permits there can be at most; ``None`` where there is no bound.
    #[getter]
    fn bound(&self) -> PyResult<Option<u32>> {
        let bound = self.parts()?.0.bound();
        self.object.check()?;
        Ok(Some(bound).filter(|bound| *bound != UNBOUNDED))
    }

    /// Whether permits that the dead have taken stay taken.
    #[getter]
    fn keep(&self) -> PyResult<bool> {
        let keeps = self.parts()?.0.keeps();
        self.object.check()?;
        Ok(keeps)
    }

    fn _holders(&self) -> PyResult<Vec<(u32, u32)>> {
        check_open(&self.object.handle)?;
        let segment = self.object.handle.segment();
        let (semaphore, held) = self.parts()?;
        let roster = segment.roster().map_err(|error| raise(segment, &error))?;
        let found = semaphore.table(held).present(&roster, false);
        let found = found.map(|(tag, count)| (tag.word(), count)).collect();
        self.object.check()?;
        Ok(found)
    }

    fn _begin_acquire(&self) -> PyResult<Pending> {
        self.object.tag()?;
        let operation = self.object.operation(Wanted::Permit);
        Pending::new(&self.object.handle, operation, |_, _| Ok(true))
    }

    fn __enter__(&self, py: Python<'_>) -> PyResult<bool> {
        self.acquire(py, Truth(true), None)
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        _kind: &Bound<'_, PyAny>,
        _error: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.release(py, Count(1))
    }
}
