//! `samemap._core.RLock`, the base of `samemap.RLock`.

use pyo3::prelude::*;
use samemap_core::lock::Dead;
use samemap_core::operation::Wanted;
use samemap_core::process::thread_number;
use samemap_core::rlock;

use crate::arguments::{Timeout, Truth, acquire_timeout};
use crate::drive::{check_open, drive};
use crate::errors;
use crate::lock::{Grip, Held, held, too_deep};
use crate::object::{Object, closing};
use crate::pending::Pending;
use crate::segment::Segment;

/// A lock that the thread which holds it can take again; `samemap.RLock` adds names and more.
#[pyclass(subclass, frozen, weakref, module = "samemap._core")]
pub(crate) struct RLock {
    pub(crate) object: Object,
    grip: Grip,
}

closing!(RLock);

impl RLock {
    #[inline(always)]
    pub(crate) fn cell(&self) -> PyResult<&rlock::RLock> {
        self.object.cell()
    }

    /// Takes it at once, if it can be had.
    #[inline(always)]
    fn try_acquire(&self, cell: &rlock::RLock, owner: u64) -> PyResult<bool> {
        let again = cell.try_acquire(self.object.tag()?, owner).map_err(|_| too_deep())?;
        // Not when it is taken again: it is held, and was recovered or not, since the first time.
        if again && cell.depth() == 1 {
            self.grip.note(cell.lock(), false);
        }
        self.object.check()?;
        Ok(again)
    }

    #[cold]
    pub(crate) fn wait(&self, py: Python<'_>, owner: u64, timeout: Timeout, dead: Dead) -> PyResult<bool> {
        let mut operation = self.object.operation(Wanted::RLock(owner, dead));
        let outcome = drive(py, &self.object.handle, timeout, &mut operation)?;
        self.grip.finish(py, &self.object, self.cell()?.lock(), outcome)
    }

    #[inline(always)]
    pub(crate) fn acquire_by(&self, py: Python<'_>, owner: u64, timeout: Timeout) -> PyResult<bool> {
        if self.try_acquire(self.cell()?, owner)? { Ok(true) } else { self.wait(py, owner, timeout, self.grip.dead()) }
    }

    #[inline(always)]
    pub(crate) fn release_by(&self, owner: u64) -> PyResult<()> {
        let me = self.object.tag()?;
        let released = self.cell()?.release(me, owner);
        self.object.check()?;
        released.map(drop).map_err(|not| errors::not_owner(self.object.handle.segment(), me, not))
    }
}

#[pymethods]
impl RLock {
    #[new]
    fn new(segment: &Segment, offset: usize, raises: bool) -> PyResult<Self> {
        Ok(Self { object: Object::new::<rlock::RLock>(segment, offset)?, grip: Grip::new(raises) })
    }

    /// Take the lock, waiting for whoever has it; at once where this thread does.
    ///
    /// A holder that died is noticed within 100 ms; then the lock is the caller's, and `recovered` says so.
    ///
    /// Args:
    ///     blocking: Wait; else only look.
    ///     timeout: Seconds; ``None`` and -1 wait for ever.
    ///
    /// Returns:
    ///     Whether the calling thread holds it now, once more than before.
    ///
    /// Raises:
    ///     KeyboardInterrupt: Ctrl-C, at once; likewise whatever another signal handler raises.
    ///     OwnerDied: Its holder died, and this handle was opened with ``on_owner_death="raise"``.
    ///     RuntimeError: This thread has taken it 4294967295 times.
    ///     SegmentTruncated: Somebody truncated the file.
    ///     TypeError: It is mapped read-only.
    ///     ValueError: It is closed, also by another thread meanwhile; or the timeout makes no sense.
    ///
    /// Example:
    ///     >>> from samemap import RLock
    ///     >>> lock = RLock()
    ///     >>> lock.acquire(), lock.acquire(), lock.depth
    ///     (True, True, 2)
    #[pyo3(
        signature = (blocking = Truth(true), timeout = None),
        text_signature = "($self, blocking=True, timeout=None)"
    )]
    fn acquire(&self, py: Python<'_>, blocking: Truth, timeout: Option<f64>) -> PyResult<bool> {
        let timeout = acquire_timeout(blocking.0, timeout)?;
        self.acquire_by(py, thread_number(), timeout)
    }

    /// Give the lock back once; it is free when that was done as often as it was taken.
    ///
    /// Raises:
    ///     RuntimeError: This thread does not hold it; the message says who does.
    ///     ValueError: It is closed.
    ///
    /// Example:
    ///     >>> from samemap import RLock
    ///     >>> lock = RLock()
    ///     >>> with lock, lock:
    ///     ...     lock.depth
    ///     2
    fn release(&self) -> PyResult<()> {
        self.release_by(thread_number())
    }

    /// Take the lock, also from the dead where ``on_owner_death="raise"``: for whoever is to repair what it guards.
    ///
    /// Args:
    ///     timeout: Seconds; ``None`` waits for ever.
    ///
    /// Returns:
    ///     Whether the calling thread holds it now; `recovered` says whether its last holder died with it.
    ///
    /// Raises:
    ///     ValueError: It is closed, or the timeout makes no sense.
    ///
    /// Example:
    ///     >>> from samemap import RLock
    ///     >>> lock = RLock(on_owner_death="raise")
    ///     >>> lock.recover(), lock.recovered
    ///     (True, False)
    #[pyo3(signature = (timeout = None))]
    fn recover(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        self.object.tag()?;
        self.wait(py, thread_number(), acquire_timeout(true, timeout)?, Dead::TakeOver)
    }

    /// Return whether anybody holds it, dead or alive.
    ///
    /// Raises:
    ///     ValueError: It is closed.
    ///
    /// Example:
    ///     >>> from samemap import RLock
    ///     >>> RLock().locked()
    ///     False
    fn locked(&self) -> PyResult<bool> {
        Ok(self._holder()?.is_some())
    }

    /// Whether the last acquisition by this object took it from a holder that had died.
    #[getter]
    fn recovered(&self) -> bool {
        self.grip.recovered()
    }

    /// How many times its holder, whoever that is, has taken it; 0 when it is free.
    #[getter]
    fn depth(&self) -> PyResult<u32> {
        check_open(&self.object.handle)?;
        let depth = self.cell()?.depth();
        self.object.check()?;
        Ok(depth)
    }

    fn _holder(&self) -> PyResult<Option<Held>> {
        check_open(&self.object.handle)?;
        let cell = self.cell()?;
        let found = held(cell.lock(), cell.thread());
        self.object.check()?;
        Ok(found)
    }

    /// Whether the calling thread holds it.
    fn _is_owned(&self) -> PyResult<bool> {
        let is_owned = self.cell()?.is_held_by(self.object.tag()?, thread_number());
        self.object.check()?;
        Ok(is_owned)
    }

    /// How often it was taken over from the dead, and how often somebody went to sleep for it.
    fn counts(&self) -> PyResult<(u32, u32)> {
        check_open(&self.object.handle)?;
        let counts = self.cell()?.lock().counts();
        self.object.check()?;
        Ok(counts)
    }

    fn _acquire_as(&self, py: Python<'_>, owner: u64) -> PyResult<bool> {
        self.acquire_by(py, owner, Timeout::Now)
    }

    fn _release_as(&self, owner: u64) -> PyResult<()> {
        self.release_by(owner)
    }

    fn _begin_acquire(slf: Bound<'_, Self>, owner: u64) -> PyResult<Pending> {
        let lock = slf.get();
        lock.object.tag()?;
        let operation = lock.object.operation(Wanted::RLock(owner, lock.grip.dead()));
        let handle = &lock.object.handle;
        let lock: Py<Self> = slf.clone().unbind();
        Pending::new(handle, operation, move |py, outcome| {
            let lock = lock.get();
            lock.grip.finish(py, &lock.object, lock.cell()?.lock(), Some(outcome))
        })
    }

    fn __enter__(&self, py: Python<'_>) -> PyResult<bool> {
        self.acquire_by(py, thread_number(), Timeout::Never)
    }

    fn __exit__(&self, _kind: &Bound<'_, PyAny>, _error: &Bound<'_, PyAny>, _trace: &Bound<'_, PyAny>) -> PyResult<()> {
        self.release()
    }
}
