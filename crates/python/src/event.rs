//! `samemap._core.Event`, the base of `samemap.Event`.

use pyo3::prelude::*;
use samemap_core::event;
use samemap_core::operation::Wanted;

use crate::arguments::Timeout;
use crate::drive::{check_open, drive, look};
use crate::object::{Object, closing};
use crate::pending::Pending;
use crate::segment::Segment;

/// A flag to wait for; `samemap.Event` adds names and more.
#[pyclass(subclass, frozen, weakref, module = "samemap._core")]
pub(crate) struct Event {
    pub(crate) object: Object,
    spin: samemap_core::spin::Spin,
}

closing!(Event);

impl Event {
    /// The generation that a wait begins in.
    pub(crate) fn generation(&self) -> PyResult<u32> {
        self.object.tag()?;
        Ok(self.object.cell::<event::Event>()?.begin())
    }
}

#[pymethods]
impl Event {
    #[new]
    fn new(segment: &Segment, offset: usize) -> PyResult<Self> {
        Ok(Self { object: Object::new::<event::Event>(segment, offset)?, spin: samemap_core::spin::Spin::default() })
    }

    /// Set the flag, and wake all who wait for it.
    ///
    /// Raises:
    ///     TypeError: It is mapped read-only.
    ///     ValueError: It is closed.
    ///
    /// Example:
    ///     >>> from samemap import Event
    ///     >>> event = Event()
    ///     >>> event.set()
    ///     >>> event.is_set()
    ///     True
    fn set(&self) -> PyResult<()> {
        self.object.tag()?;
        self.object.cell::<event::Event>()?.set();
        self.object.check()
    }

    /// Clear the flag. Whoever was woken by `set` is not held up by it.
    ///
    /// Raises:
    ///     TypeError: It is mapped read-only.
    ///     ValueError: It is closed.
    ///
    /// Example:
    ///     >>> from samemap import Event
    ///     >>> event = Event()
    ///     >>> event.set()
    ///     >>> event.clear()
    ///     >>> event.is_set()
    ///     False
    fn clear(&self) -> PyResult<()> {
        self.object.tag()?;
        self.object.cell::<event::Event>()?.clear();
        self.object.check()
    }

    /// Return whether the flag is set.
    ///
    /// Raises:
    ///     ValueError: It is closed.
    ///
    /// Example:
    ///     >>> from samemap import Event
    ///     >>> Event().is_set()
    ///     False
    pub(crate) fn is_set(&self) -> PyResult<bool> {
        check_open(&self.object.handle)?;
        let is_set = self.object.cell::<event::Event>()?.is_set();
        self.object.check()?;
        Ok(is_set)
    }

    /// Sleep until the flag is set.
    ///
    /// A flag that is set and cleared at once still ends the waits that had begun before; but not of those who opened it
    /// read-only: they cannot ask to be woken, and look every 5 ms.
    ///
    /// Args:
    ///     timeout: Seconds; ``None`` waits for ever, 0 only looks.
    ///
    /// Returns:
    ///     True when it was set; False after the timeout.
    ///
    /// Raises:
    ///     KeyboardInterrupt: Ctrl-C, at once; likewise whatever another signal handler raises.
    ///     SegmentTruncated: Somebody truncated the file.
    ///     ValueError: It is closed, also by another thread meanwhile; or the timeout makes no sense.
    ///
    /// Example:
    ///     >>> from samemap import Event
    ///     >>> Event().wait(timeout=0.01)
    ///     False
    #[pyo3(signature = (timeout = None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let timeout = Timeout::new(timeout)?;
        if self.is_set()? {
            return Ok(true);
        }
        if !self.object.handle.segment().is_writable() {
            return Ok(look(py, &self.object.handle, timeout, || Ok(self.is_set()?.then_some(())))?.is_some());
        }
        let cell = self.object.cell::<event::Event>()?;
        let begun = cell.begin();
        if !matches!(timeout, Timeout::Now) && self.spin.look(|| cell.is_set() || cell.begin() != begun) {
            return Ok(true);
        }
        let mut operation = self.object.operation(Wanted::Event(begun));
        Ok(drive(py, &self.object.handle, timeout, &mut operation)?.is_some())
    }

    fn _begin_wait(&self) -> PyResult<Pending> {
        self.object.tag()?;
        let begun = self.object.cell::<event::Event>()?.begin();
        let operation = self.object.operation(Wanted::Event(begun));
        Pending::new(&self.object.handle, operation, |_, _| Ok(true))
    }
}
