//! `samemap._core.Barrier`, the base of `samemap.Barrier`.

use pyo3::prelude::*;
use samemap_core::atomic::Word64;
use samemap_core::barrier::{self, Arrival, Cause, Passage};
use samemap_core::objects;
use samemap_core::operation::{Outcome, Wanted};

use crate::arguments::Timeout;
use crate::drive::{check_open, drive, raise};
use crate::errors;
use crate::object::{Object, closing};
use crate::pending::Pending;
use crate::segment::Segment;

/// A place to wait for each other; `samemap.Barrier` adds names and more.
#[pyclass(subclass, frozen, weakref, module = "samemap._core")]
pub(crate) struct Barrier {
    pub(crate) object: Object,
}

closing!(Barrier);

impl Barrier {
    fn parts(&self) -> PyResult<(&barrier::Barrier, &[Word64])> {
        let segment = self.object.handle.segment();
        objects::barrier(segment, self.object.offset).map_err(|error| raise(segment, &error))
    }

    /// The number of an arrival, and whether it is the last; or why it failed.
    fn passed(&self, py: Python<'_>, passage: Passage) -> PyResult<(u32, bool)> {
        match passage {
            Passage::Through(number) => Ok((number, false)),
            Passage::Last(number) => Ok((number, true)),
            Passage::Broken(cause) => Err(self.broken_because(py, cause)),
        }
    }

    #[cold]
    fn broken_because(&self, py: Python<'_>, cause: Cause) -> PyErr {
        let cure = "; reset() makes it whole again";
        let why = match cause {
            Cause::Timeout => format!("the barrier is broken: somebody waited for too long, or gave up{cure}"),
            Cause::Aborted => format!("the barrier is broken: somebody called abort(), or its action failed{cure}"),
            Cause::Reset => "the barrier was reset while this call waited".to_owned(),
            Cause::Died(tag) => {
                let who = errors::in_words(self.object.handle.segment(), Some(tag));
                format!("the barrier is broken: {who} died while it waited{cure}")
            }
        };
        errors::broken_barrier(py, &why)
    }
}

#[pymethods]
impl Barrier {
    #[new]
    fn new(segment: &Segment, offset: usize) -> PyResult<Self> {
        let barrier = Self { object: Object::new::<barrier::Barrier>(segment, offset)? };
        barrier.parts()?;
        Ok(barrier)
    }

    /// How many must wait for all to go on.
    #[getter]
    fn parties(&self) -> PyResult<u32> {
        let parties = self.parts()?.0.parties();
        self.object.check()?;
        Ok(parties)
    }

    /// How many wait.
    ///
    /// Raises:
    ///     ValueError: It is closed.
    #[getter]
    fn n_waiting(&self) -> PyResult<u32> {
        check_open(&self.object.handle)?;
        let (barrier, places) = self.parts()?;
        let waiting = barrier.waiting(places);
        self.object.check()?;
        Ok(waiting)
    }

    /// Whether it is broken.
    ///
    /// Raises:
    ///     ValueError: It is closed.
    #[getter]
    fn broken(&self) -> PyResult<bool> {
        check_open(&self.object.handle)?;
        let is_broken = self.parts()?.0.is_broken();
        self.object.check()?;
        Ok(is_broken)
    }

    /// Break it: whoever waits, and whoever comes, gets `BrokenBarrierError`, until it is reset.
    ///
    /// Raises:
    ///     TypeError: It is mapped read-only.
    ///     ValueError: It is closed.
    ///
    /// Example:
    ///     >>> from samemap import Barrier
    ///     >>> barrier = Barrier(None, 2)
    ///     >>> barrier.abort()
    ///     >>> barrier.broken
    ///     True
    fn abort(&self) -> PyResult<()> {
        self.object.tag()?;
        self.parts()?.0.abort();
        self.object.check()
    }

    /// Make it whole and empty: whoever waits gets `BrokenBarrierError`, and then it can be used again.
    ///
    /// Raises:
    ///     TypeError: It is mapped read-only.
    ///     ValueError: It is closed.
    ///
    /// Example:
    ///     >>> from samemap import Barrier
    ///     >>> barrier = Barrier(None, 2)
    ///     >>> barrier.abort()
    ///     >>> barrier.reset()
    ///     >>> barrier.broken
    ///     False
    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        self.object.tag()?;
        let mut operation = self.object.operation(Wanted::Reset);
        drive(py, &self.object.handle, Timeout::Never, &mut operation)?;
        self.object.check()
    }

    fn _arrive(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<(u32, bool)> {
        let timeout = Timeout::new(timeout)?;
        self.object.tag()?;
        let mut operation = self.object.operation(Wanted::Parties(Arrival::default()));
        match drive(py, &self.object.handle, timeout, &mut operation)? {
            Some(Outcome::Passage(passage)) => self.passed(py, passage),
            _ => {
                // It was given up, which broke it, unless it ended in that very moment.
                let Wanted::Parties(arrival) = &operation.wanted else {
                    return Err(self.broken_because(py, Cause::Timeout));
                };
                let ended = self.parts()?.0.abandon(arrival);
                self.passed(py, ended.unwrap_or(Passage::Broken(Cause::Timeout)))
            }
        }
    }

    fn _trip(&self, py: Python<'_>) -> PyResult<()> {
        self.object.tag()?;
        let mut operation = self.object.operation(Wanted::Trip);
        match drive(py, &self.object.handle, Timeout::Never, &mut operation)? {
            Some(Outcome::Passage(passage)) => self.passed(py, passage).map(drop),
            _ => Ok(()),
        }
    }

    fn _begin_arrive(slf: Bound<'_, Self>) -> PyResult<Pending> {
        let barrier = slf.get();
        barrier.object.tag()?;
        let operation = barrier.object.operation(Wanted::Parties(Arrival::default()));
        let handle = &barrier.object.handle;
        let barrier: Py<Self> = slf.clone().unbind();
        Pending::new(handle, operation, move |py, outcome| match outcome {
            Outcome::Passage(passage) => barrier.get().passed(py, passage).map(Some),
            _ => Ok(None),
        })
    }
}
