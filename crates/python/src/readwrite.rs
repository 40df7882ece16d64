//! `samemap._core.ReadWriteLock`, the base of `samemap.ReadWriteLock`.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use samemap_core::holdings::Holding;
use samemap_core::lock::Taken;
use samemap_core::objects;
use samemap_core::operation::{Outcome, Wanted};
use samemap_core::rwlock::{self, Writing};

use crate::arguments::{Truth, acquire_timeout};
use crate::drive::{check_open, drive, raise};
use crate::errors;
use crate::lock::{Grip, Held, held};
use crate::object::{Object, closing};
use crate::pending::Pending;
use crate::segment::Segment;

/// Many readers or one writer; `samemap.ReadWriteLock` adds names and more.
#[pyclass(subclass, frozen, weakref, module = "samemap._core")]
pub(crate) struct ReadWriteLock {
    pub(crate) object: Object,
    grip: Grip,
}

closing!(ReadWriteLock);

impl ReadWriteLock {
    #[inline(always)]
    fn parts(&self) -> PyResult<(&rwlock::ReadWriteLock, &[Holding])> {
        let segment = self.object.handle.segment();
        objects::read_write_lock(segment, self.object.offset).map_err(|error| raise(segment, &error))
    }

    /// What an operation to read came to. A reader does not note since when: that is for the writer.
    fn finish_read(&self, py: Python<'_>, outcome: Option<Outcome>) -> PyResult<bool> {
        match outcome {
            None => Ok(false),
            Some(Outcome::Taken(Taken::Abandoned(tag))) => {
                Err(errors::owner_died(py, self.object.handle.segment(), tag))
            }
            Some(outcome) => {
                self.grip.note_recovered(matches!(outcome, Outcome::Taken(Taken::Recovered(_))));
                Ok(true)
            }
        }
    }

    fn begin(slf: Bound<'_, Self>, wanted: Wanted, is_read: bool) -> PyResult<Pending> {
        let lock = slf.get();
        lock.object.tag()?;
        let operation = lock.object.operation(wanted);
        let handle = &lock.object.handle;
        let lock: Py<Self> = slf.clone().unbind();
        Pending::new(handle, operation, move |py, outcome| {
            let lock = lock.get();
            if is_read {
                lock.finish_read(py, Some(outcome))
            } else {
                lock.grip.finish(py, &lock.object, lock.parts()?.0.lock(), Some(outcome))
            }
        })
    }
}

#[pymethods]
impl ReadWriteLock {
    #[new]
    fn new(segment: &Segment, offset: usize, raises: bool) -> PyResult<Self> {
        let lock = Self { object: Object::new::<rwlock::ReadWriteLock>(segment, offset)?, grip: Grip::new(raises) };
        lock.parts()?;
        Ok(lock)
    }

    /// Begin to read, waiting for a writer to end.
    ///
    /// Any number may read at once, and writers go first: a thread that reads must not begin to read once more before it
    /// has ended, because a writer that came in between would wait for it, and it for the writer.
    ///
    /// Args:
    ///     blocking: Wait; else only look.
    ///     timeout: Seconds; ``None`` and -1 wait for ever.
    ///
    /// Returns:
    ///     Whether the caller reads now.
    ///
    /// Raises:
    ///     OwnerDied: A writer died inside, and this handle was opened with ``on_owner_death="raise"``.
    ///     RuntimeError: This process reads 4294967295 times already.
    ///     TypeError: It is mapped read-only.
    ///     ValueError: It is closed, also by another thread meanwhile; or the timeout makes no sense.
    ///
    /// Example:
    ///     >>> from samemap import ReadWriteLock
    ///     >>> table = ReadWriteLock()
    ///     >>> table.acquire_read(), table.acquire_write(timeout=0.01)
    ///     (True, False)
    #[pyo3(
        signature = (blocking = Truth(true), timeout = None),
        text_signature = "($self, blocking=True, timeout=None)"
    )]
    fn acquire_read(&self, py: Python<'_>, blocking: Truth, timeout: Option<f64>) -> PyResult<bool> {
        let timeout = acquire_timeout(blocking.0, timeout)?;
        let me = self.object.tag()?;
        let (lock, held) = self.parts()?;
        if lock.try_read(held, me) {
            self.grip.note_recovered(false);
            self.object.check()?;
            return Ok(true);
        }
        let mut operation = self.object.operation(Wanted::Read(self.grip.dead()));
        let outcome = drive(py, &self.object.handle, timeout, &mut operation)?;
        self.finish_read(py, outcome)
    }

    /// End to read.
    ///
    /// Raises:
    ///     RuntimeError: This process does not read.
    ///     ValueError: It is closed.
    ///
    /// Example:
    ///     >>> from samemap import ReadWriteLock
    ///     >>> ReadWriteLock().release_read()
    ///     Traceback (most recent call last):
    ///     RuntimeError: this process ... does not read, so it cannot end to
    fn release_read(&self) -> PyResult<()> {
        let me = self.object.tag()?;
        let (lock, held) = self.parts()?;
        let not_held = |_| {
            let pid = std::process::id();
            PyRuntimeError::new_err(format!("this process (pid {pid}) does not read, so it cannot end to"))
        };
        lock.release_read(held, me).map_err(not_held)?;
        self.object.check()
    }

    /// Begin to write, waiting for readers and another writer to end.
    ///
    /// Args:
    ///     blocking: Wait; else only look.
    ///     timeout: Seconds; ``None`` and -1 wait for ever.
    ///
    /// Returns:
    ///     Whether the caller writes now.
    ///
    /// Raises:
    ///     OwnerDied: A writer died inside, and this handle was opened with ``on_owner_death="raise"``.
    ///     TypeError: It is mapped read-only.
    ///     ValueError: It is closed, also by another thread meanwhile; or the timeout makes no sense.
    ///
    /// Example:
    ///     >>> from samemap import ReadWriteLock
    ///     >>> table = ReadWriteLock()
    ///     >>> table.acquire_write(), table.acquire_read(blocking=False)
    ///     (True, False)
    #[pyo3(
        signature = (blocking = Truth(true), timeout = None),
        text_signature = "($self, blocking=True, timeout=None)"
    )]
    fn acquire_write(&self, py: Python<'_>, blocking: Truth, timeout: Option<f64>) -> PyResult<bool> {
        let timeout = acquire_timeout(blocking.0, timeout)?;
        let me = self.object.tag()?;
        let (lock, held) = self.parts()?;
        let segment = self.object.handle.segment();
        let roster = segment.roster().map_err(|error| raise(segment, &error))?;
        if lock.try_write(held, me, &roster) {
            self.grip.note(lock.lock(), false);
            self.object.check()?;
            return Ok(true);
        }
        let mut operation = self.object.operation(Wanted::Write(Writing::default(), self.grip.dead()));
        let outcome = drive(py, &self.object.handle, timeout, &mut operation)?;
        self.grip.finish(py, &self.object, self.parts()?.0.lock(), outcome)
    }

    /// End to write.
    ///
    /// Raises:
    ///     RuntimeError: This process does not write; the message says who does.
    ///     ValueError: It is closed.
    ///
    /// Example:
    ///     >>> from samemap import ReadWriteLock
    ///     >>> table = ReadWriteLock()
    ///     >>> table.acquire_write()
    ///     True
    ///     >>> table.release_write()
    fn release_write(&self) -> PyResult<()> {
        let me = self.object.tag()?;
        let released = self.parts()?.0.release_write(me);
        self.object.check()?;
        released.map_err(|holder| errors::not_held(self.object.handle.segment(), holder))
    }

    /// Take the lock to write, also from the dead where ``on_owner_death="raise"``: for whoever repairs what it guards.
    ///
    /// Args:
    ///     timeout: Seconds; ``None`` waits for ever.
    ///
    /// Returns:
    ///     Whether the caller writes now; `recovered` says whether the last writer died inside.
    ///
    /// Raises:
    ///     ValueError: It is closed, or the timeout makes no sense.
    ///
    /// Example:
    ///     >>> from samemap import ReadWriteLock
    ///     >>> table = ReadWriteLock(on_owner_death="raise")
    ///     >>> table.recover(), table.recovered
    ///     (True, False)
    #[pyo3(signature = (timeout = None))]
    fn recover(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let timeout = acquire_timeout(true, timeout)?;
        self.object.tag()?;
        let dead = samemap_core::lock::Dead::TakeOver;
        let mut operation = self.object.operation(Wanted::Write(Writing::default(), dead));
        let outcome = drive(py, &self.object.handle, timeout, &mut operation)?;
        self.grip.finish(py, &self.object, self.parts()?.0.lock(), outcome)
    }

    /// Whether the last acquisition by this object came after a writer that had died inside.
    #[getter]
    fn recovered(&self) -> bool {
        self.grip.recovered()
    }

    /// The writer, if one is inside or waits for readers to leave.
    fn _writer(&self) -> PyResult<Option<Held>> {
        check_open(&self.object.handle)?;
        let found = held(self.parts()?.0.lock(), 0);
        self.object.check()?;
        Ok(found)
    }

    /// Whether the writer waits for readers to leave.
    fn _is_draining(&self) -> PyResult<bool> {
        check_open(&self.object.handle)?;
        let is_draining = self.parts()?.0.is_draining();
        self.object.check()?;
        Ok(is_draining)
    }

    /// Who reads, and how many times.
    fn _readers(&self) -> PyResult<Vec<(u32, u32)>> {
        check_open(&self.object.handle)?;
        let segment = self.object.handle.segment();
        let (lock, held) = self.parts()?;
        let roster = segment.roster().map_err(|error| raise(segment, &error))?;
        let found = lock.readers(held, &roster).into_iter().map(|(tag, count)| (tag.word(), count)).collect();
        self.object.check()?;
        Ok(found)
    }

    /// How often it was taken over from the dead, and how often somebody went to sleep to write.
    fn counts(&self) -> PyResult<(u32, u32)> {
        check_open(&self.object.handle)?;
        let counts = self.parts()?.0.lock().counts();
        self.object.check()?;
        Ok(counts)
    }

    fn _begin_read(slf: Bound<'_, Self>) -> PyResult<Pending> {
        let dead = slf.get().grip.dead();
        Self::begin(slf, Wanted::Read(dead), true)
    }

    fn _begin_write(slf: Bound<'_, Self>) -> PyResult<Pending> {
        let dead = slf.get().grip.dead();
        Self::begin(slf, Wanted::Write(Writing::default(), dead), false)
    }
}
