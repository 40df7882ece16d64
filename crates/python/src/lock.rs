//! `samemap._core.Lock`, the base of `samemap.Lock`.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;
use samemap_core::bell::wall_clock;
use samemap_core::lock::{self, Dead, Taken};
use samemap_core::segment::Handle;
use samemap_core::spin::Spin;
use samemap_core::tag::Tag;

use crate::arguments::{Timeout, acquire_timeout};
use crate::drive::{check_open, drive, raise};
use crate::errors;
use crate::segment::Segment;

/// One holder at a time; `samemap.Lock` adds names and more.
#[pyclass(subclass, frozen, module = "samemap._core")]
pub(crate) struct Lock {
    pub(crate) handle: Handle,
    pub(crate) offset: usize,
    raises: bool,
    recovered: AtomicBool,
    spin: Spin,
}

impl Lock {
    #[inline(always)]
    pub(crate) fn cell(&self) -> PyResult<&lock::Lock> {
        let segment = self.handle.segment();
        segment.at(self.offset).map_err(|error| raise(segment, &error))
    }

    #[inline(always)]
    fn tag(&self) -> PyResult<Tag> {
        let segment = self.handle.segment();
        check_open(&self.handle)?;
        segment.tag().map_err(|error| raise(segment, &error))
    }

    /// Notes what an acquisition brought.
    #[inline(always)]
    fn taken(&self, cell: &lock::Lock, recovered: bool) -> PyResult<bool> {
        cell.note_since(wall_clock());
        if self.recovered.load(Ordering::Relaxed) != recovered {
            self.recovered.store(recovered, Ordering::Relaxed);
        }
        let segment = self.handle.segment();
        segment.check().map_err(|error| raise(segment, &error))?;
        Ok(true)
    }

    #[cold]
    pub(crate) fn wait(&self, py: Python<'_>, timeout: Timeout, dead: Dead) -> PyResult<bool> {
        let cell = self.cell()?;
        let me = self.tag()?;
        let is_ours = cell.is_held_by(me);
        // Another thread of this process needs the interpreter to let go of the lock.
        if !matches!(timeout, Timeout::Now) && !is_ours && self.spin.look(|| cell.try_acquire(me)) {
            return self.taken(cell, false);
        }
        let taken = drive(py, &self.handle, self.offset, timeout, |_, caller, asking| {
            cell.attempt_in_turn(caller, asking.about(dead), asking.turn)
        })?;
        match taken {
            None => Ok(false),
            Some(Taken::Free) => self.taken(cell, false),
            Some(Taken::Recovered(_)) => self.taken(cell, true),
            Some(Taken::Abandoned(tag)) => Err(errors::owner_died(py, self.handle.segment(), tag)),
        }
    }

    fn dead(&self) -> Dead {
        if self.raises { Dead::Report } else { Dead::TakeOver }
    }
}

#[pymethods]
impl Lock {
    #[new]
    fn new(segment: &Segment, offset: usize, raises: bool) -> PyResult<Self> {
        let handle = segment.again()?;
        let lock = Self { handle, offset, raises, recovered: AtomicBool::new(false), spin: Spin::default() };
        lock.cell()?;
        Ok(lock)
    }

    #[pyo3(signature = (blocking = true, timeout = None))]
    fn acquire(&self, py: Python<'_>, blocking: bool, timeout: Option<f64>) -> PyResult<bool> {
        let me = self.tag()?;
        let cell = self.cell()?;
        if !blocking || timeout.is_some() {
            let timeout = acquire_timeout(blocking, timeout)?;
            return if cell.try_acquire(me) { self.taken(cell, false) } else { self.wait(py, timeout, self.dead()) };
        }
        if cell.try_acquire(me) { self.taken(cell, false) } else { self.wait(py, Timeout::Never, self.dead()) }
    }

    fn release(&self) -> PyResult<()> {
        let me = self.tag()?;
        self.cell()?.release(me).map_err(|holder| errors::not_held(self.handle.segment(), holder))
    }

    fn __enter__(&self, py: Python<'_>) -> PyResult<bool> {
        self.acquire(py, true, None)
    }

    fn __exit__(&self, _kind: &Bound<'_, PyAny>, _error: &Bound<'_, PyAny>, _trace: &Bound<'_, PyAny>) -> PyResult<()> {
        self.release()
    }
}
