//! `samemap._core.Lock`, the base of `samemap.Lock`.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use samemap_core::bell::wall_clock;
use samemap_core::lock::{self, Dead, Taken};
use samemap_core::operation::{Outcome, Wanted};
use samemap_core::spin::Spin;

use crate::arguments::{Timeout, Truth, acquire_timeout};
use crate::drive::drive;
use crate::errors;
use crate::object::{Object, closing};
use crate::participant::seconds;
use crate::pending::Pending;
use crate::segment::Segment;

/// What a handle of a lock knows beside the lock itself.
pub(crate) struct Grip {
    raises: bool,
    recovered: AtomicBool,
    pub(crate) spin: Spin,
}

impl Grip {
    pub(crate) fn new(raises: bool) -> Self {
        Self { raises, recovered: AtomicBool::new(false), spin: Spin::default() }
    }

    /// What to do about a holder that died.
    pub(crate) fn dead(&self) -> Dead {
        if self.raises { Dead::Report } else { Dead::TakeOver }
    }

    pub(crate) fn recovered(&self) -> bool {
        self.recovered.load(Ordering::Relaxed)
    }

    /// Notes an acquisition.
    #[inline(always)]
    pub(crate) fn note(&self, cell: &lock::Lock, recovered: bool) {
        cell.note_since(wall_clock());
        self.note_recovered(recovered);
    }

    /// Notes whether an acquisition came after a death.
    #[inline(always)]
    pub(crate) fn note_recovered(&self, recovered: bool) {
        // Relaxed: for whoever holds the lock. Stored only where it changes, because it seldom does.
        if self.recovered.load(Ordering::Relaxed) != recovered {
            self.recovered.store(recovered, Ordering::Relaxed);
        }
    }

    /// What an operation on a lock came to, for its caller.
    #[cold]
    pub(crate) fn finish(
        &self,
        py: Python<'_>,
        object: &Object,
        cell: &lock::Lock,
        outcome: Option<Outcome>,
    ) -> PyResult<bool> {
        match outcome {
            None => return Ok(false),
            Some(Outcome::Taken(Taken::Abandoned(tag))) => {
                return Err(errors::owner_died(py, object.handle.segment(), tag));
            }
            Some(Outcome::Taken(Taken::Recovered(_))) => self.note(cell, true),
            Some(_) => self.note(cell, false),
        }
        Ok(true)
    }
}

/// Who holds a lock: tag, since when in seconds since 1970, and the thread's number.
pub(crate) type Held = (u32, f64, u64);

pub(crate) fn held(cell: &lock::Lock, thread: u64) -> Option<Held> {
    cell.holder().map(|tag| (tag.word(), seconds(cell.since()), thread))
}

/// One holder at a time; `samemap.Lock` adds names and more.
#[pyclass(subclass, frozen, weakref, module = "samemap._core")]
pub(crate) struct Lock {
    pub(crate) object: Object,
    grip: Grip,
}

closing!(Lock);

impl Lock {
    #[inline(always)]
    fn cell(&self) -> PyResult<&lock::Lock> {
        self.object.cell()
    }

    #[inline(always)]
    fn taken(&self, cell: &lock::Lock) -> PyResult<bool> {
        self.grip.note(cell, false);
        self.object.check()?;
        Ok(true)
    }

    #[cold]
    pub(crate) fn wait(&self, py: Python<'_>, timeout: Timeout, dead: Dead) -> PyResult<bool> {
        let cell = self.cell()?;
        let me = self.object.tag()?;
        // Another thread of this process needs the interpreter to let go of the lock.
        let look = !matches!(timeout, Timeout::Now) && !cell.is_held_by(me);
        if look && self.grip.spin.look(|| cell.try_acquire(me)) {
            return self.taken(cell);
        }
        let mut operation = self.object.operation(Wanted::Lock(dead));
        let outcome = drive(py, &self.object.handle, timeout, &mut operation)?;
        self.grip.finish(py, &self.object, cell, outcome)
    }
}

#[pymethods]
impl Lock {
    #[new]
    fn new(segment: &Segment, offset: usize, raises: bool) -> PyResult<Self> {
        Ok(Self { object: Object::new::<lock::Lock>(segment, offset)?, grip: Grip::new(raises) })
    }

    /// Take the lock, waiting for whoever has it.
    ///
    /// A holder that died is noticed within 100 ms; then the lock is the caller's, and `recovered` says so.
    ///
    /// Args:
    ///     blocking: Wait; else only look.
    ///     timeout: Seconds; ``None`` and -1 wait for ever.
    ///
    /// Returns:
    ///     Whether the caller holds it now.
    ///
    /// Raises:
    ///     KeyboardInterrupt: Ctrl-C, at once; likewise whatever another signal handler raises.
    ///     OwnerDied: Its holder died, and this handle was opened with ``on_owner_death="raise"``.
    ///     SegmentTruncated: Somebody truncated the file.
    ///     TypeError: It is mapped read-only.
    ///     ValueError: It is closed, also by another thread meanwhile; or the timeout makes no sense.
    ///
    /// Example:
    ///     >>> from samemap import Lock
    ///     >>> lock = Lock()
    ///     >>> lock.acquire(), lock.acquire(timeout=0.01)
    ///     (True, False)
    #[pyo3(
        signature = (blocking = Truth(true), timeout = None),
        text_signature = "($self, blocking=True, timeout=None)"
    )]
    pub(crate) fn acquire(&self, py: Python<'_>, blocking: Truth, timeout: Option<f64>) -> PyResult<bool> {
        let me = self.object.tag()?;
        let cell = self.cell()?;
        let timeout = acquire_timeout(blocking.0, timeout)?;
        if cell.try_acquire(me) { self.taken(cell) } else { self.wait(py, timeout, self.grip.dead()) }
    }

    /// Give the lock back; any thread of the process that holds it may.
    ///
    /// Raises:
    ///     RuntimeError: This process does not hold it; the message says who does.
    ///     ValueError: It is closed.
    ///
    /// Example:
    ///     >>> from samemap import Lock
    ///     >>> lock = Lock()
    ///     >>> lock.release()
    ///     Traceback (most recent call last):
    ///     RuntimeError: this process ... cannot release what it does not hold: nobody holds it
    pub(crate) fn release(&self) -> PyResult<()> {
        let me = self.object.tag()?;
        let released = self.cell()?.release(me);
        // First: in a file that was cut nobody holds anything, and that is not what is wrong.
        self.object.check()?;
        released.map_err(|holder| errors::not_held(self.object.handle.segment(), holder))
    }

    /// Take the lock, also from the dead where ``on_owner_death="raise"``: for whoever is to repair what it guards.
    ///
    /// Args:
    ///     timeout: Seconds; ``None`` waits for ever.
    ///
    /// Returns:
    ///     Whether the caller holds it now; `recovered` says whether its last holder died with it.
    ///
    /// Raises:
    ///     ValueError: It is closed, or the timeout makes no sense.
    ///
    /// Example:
    ///     >>> from samemap import Lock
    ///     >>> lock = Lock(on_owner_death="raise")
    ///     >>> lock.recover(), lock.recovered
    ///     (True, False)
    #[pyo3(signature = (timeout = None))]
    fn recover(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        self.wait(py, acquire_timeout(true, timeout)?, Dead::TakeOver)
    }

    /// Return whether anybody holds it, dead or alive.
    ///
    /// Raises:
    ///     ValueError: It is closed.
    ///
    /// Example:
    ///     >>> from samemap import Lock
    ///     >>> lock = Lock()
    ///     >>> with lock:
    ///     ...     lock.locked()
    ///     True
    fn locked(&self) -> PyResult<bool> {
        Ok(self._holder()?.is_some())
    }

    /// Whether the last acquisition by this object took it from a holder that had died.
    #[getter]
    fn recovered(&self) -> bool {
        self.grip.recovered()
    }

    fn _holder(&self) -> PyResult<Option<Held>> {
        crate::drive::check_open(&self.object.handle)?;
        let found = held(self.cell()?, 0);
        self.object.check()?;
        Ok(found)
    }

    /// How often it was taken over from the dead, and how often somebody went to sleep for it.
    fn counts(&self) -> PyResult<(u32, u32)> {
        crate::drive::check_open(&self.object.handle)?;
        let counts = self.cell()?.counts();
        self.object.check()?;
        Ok(counts)
    }

    fn _begin_acquire(slf: Bound<'_, Self>) -> PyResult<Pending> {
        let lock = slf.get();
        lock.object.tag()?;
        let operation = lock.object.operation(Wanted::Lock(lock.grip.dead()));
        let handle = &lock.object.handle;
        let lock: Py<Self> = slf.clone().unbind();
        Pending::new(handle, operation, move |py, outcome| {
            let lock = lock.get();
            lock.grip.finish(py, &lock.object, lock.cell()?, Some(outcome))
        })
    }

    fn __enter__(&self, py: Python<'_>) -> PyResult<bool> {
        self.acquire(py, Truth(true), None)
    }

    fn __exit__(&self, _kind: &Bound<'_, PyAny>, _error: &Bound<'_, PyAny>, _trace: &Bound<'_, PyAny>) -> PyResult<()> {
        self.release()
    }
}

/// The exception for a count that has reached its end.
#[cold]
pub(crate) fn too_deep() -> PyErr {
    PyRuntimeError::new_err("it is taken 4294967295 times already, which is as far as its count goes")
}
