//! `samemap._core.Latest`, the base of `samemap.Latest`.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use samemap_core::operation::{Operation, Wanted};
use samemap_core::spin::Spin;
use samemap_core::topic;

use crate::arguments::{Fallback, Seq, Timeout};
use crate::drive::{check_open, drive, look};
use crate::errors::in_file;
use crate::exhaustion;
use crate::object::closing;
use crate::outlet::{Outlet, damaged};
use crate::pending::Pending;
use crate::reception::{Found, Reader};
use crate::sample::Sample;
use crate::segment::Segment;

/// How often one looks for the newest value while its number stays the same, before it is said not to be there.
const PATIENCE: u32 = 1000;

/// Numbers are told apart if they are not further from each other than this: see `Channel::is_news`.
const FURTHEST: u64 = 1 << 43;

/// The newest value; `samemap.Latest` adds names, codecs and more.
#[pyclass(subclass, frozen, weakref, module = "samemap._core")]
pub(crate) struct Latest {
    outlet: Outlet,
    /// The number of the newest value that was got here.
    seen: AtomicU64,
    spin: Spin,
}

closing!(Latest, outlet.object);

impl Latest {
    /// The newest value, if it is number `from` at least.
    #[inline]
    fn find(&self, py: Python<'_>, from: u64) -> PyResult<Option<Found>> {
        check_open(&self.outlet.object.handle)?;
        let (segment, arrangement) = (self.outlet.segment(), &self.outlet.arrangement);
        let reader = Reader { py, segment, arrangement, reception: None };
        let channel = self.outlet.channel()?;
        let mut newest = channel.newest();
        self.outlet.object.check()?;
        if newest < from {
            return Ok(None);
        }
        let mut patience = PATIENCE;
        while patience > 0 {
            let mut cursor = from;
            if let Some(found) = reader.next(&channel, &mut cursor, topic::Wanted::Newest)? {
                self.seen.fetch_max(found.seq, Ordering::Relaxed);
                return Ok(Some(found));
            }
            // Overwritten while it was read: there is a newer one by now, for the newest is never taken.
            let now = channel.newest();
            patience = if now == newest { patience - 1 } else { PATIENCE };
            newest = now;
            py.check_signals()?;
        }
        Err(damaged(segment))
    }

    fn wait(&self, py: Python<'_>, from: u64, timeout: Timeout) -> PyResult<bool> {
        let handle = &self.outlet.object.handle;
        let channel = self.outlet.channel()?;
        if !self.outlet.segment().is_writable() {
            return Ok(look(py, handle, timeout, || Ok(channel.is_news(from).then_some(())))?.is_some());
        }
        if !matches!(timeout, Timeout::Now) && self.spin.look(|| channel.is_news(from)) {
            return Ok(true);
        }
        let mut operation = Operation { offset: 0, wanted: Wanted::Message(from) };
        Ok(drive(py, handle, timeout, &mut operation)?.is_some())
    }

    /// The number from which on values are newer than number `seq`, or than the last that was got here.
    #[inline]
    fn newer(&self, seq: Option<Seq>) -> PyResult<u64> {
        match seq {
            None => Ok(self.seen.load(Ordering::Relaxed).saturating_add(1)),
            Some(Seq(seq)) if seq < FURTHEST => Ok(seq + 1),
            Some(Seq(seq)) => self.newer_by_far(seq),
        }
    }

    #[cold]
    fn newer_by_far(&self, seq: u64) -> PyResult<u64> {
        check_open(&self.outlet.object.handle)?;
        let newest = self.outlet.channel()?.newest();
        self.outlet.object.check()?;
        let most = newest.saturating_add(FURTHEST - 1);
        if seq > most {
            return Err(PyValueError::new_err(format!(
                "seq is 0 to {most}, not {seq}: the newest value is number {newest}, and one that far ahead never comes"
            )));
        }
        Ok(seq.saturating_add(1))
    }

    /// What `samemap.wait` waits for.
    pub(crate) fn operation(&self) -> PyResult<Operation> {
        self.outlet.object.tag()?;
        Ok(self.outlet.object.operation(Wanted::Message(self.newer(None)?)))
    }

    pub(crate) fn handle(&self) -> &samemap_core::segment::Handle {
        &self.outlet.object.handle
    }

    #[cold]
    fn empty(&self, py: Python<'_>, from: u64) -> PyErr {
        let path = in_file(self.outlet.segment());
        let text = match from {
            0 | 1 => format!("nothing was ever set{path}"),
            from => format!("nothing newer than number {} was set in time{path}", from - 1),
        };
        exhaustion::empty(py, &text)
    }
}

#[pymethods]
impl Latest {
    #[new]
    fn new(py: Python<'_>, segment: &Segment, codec: Py<PyAny>, is_raw: bool) -> PyResult<Self> {
        let outlet = Outlet::new(py, segment, (codec, is_raw), "wait")?;
        Ok(Self { outlet, seen: AtomicU64::new(0), spin: Spin::default() })
    }

    /// Set the value: all who look from now on get this one.
    ///
    /// Args:
    ///     value: What it takes: an array of its shape and dtype, an object of its type, or bytes.
    ///
    /// Returns:
    ///     The number of the value, from 1.
    ///
    /// Raises:
    ///     SegmentTruncated: Somebody truncated the file.
    ///     TypeError: The value is not what it takes, or it is mapped read-only.
    ///     ValueError: It is closed, or the value does not fit.
    ///
    /// Example:
    ///     >>> from samemap import Latest
    ///     >>> latest = Latest()
    ///     >>> latest.set(b"on"), latest.set(b"off"), latest.get()
    ///     (1, 2, b'off')
    fn set(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<u64> {
        self.outlet.publish(py, value, Timeout::Never)
    }

    /// Get the newest value.
    ///
    /// Args:
    ///     default: What to return when nothing was ever set, instead of raising.
    ///
    /// Returns:
    ///     The value, as a copy of its own; arrays are read-only.
    ///
    /// Raises:
    ///     Empty: Nothing was ever set, and there is no default; a ``queue.Empty``.
    ///     SegmentTruncated: Somebody truncated the file.
    ///     ValueError: It is closed.
    ///
    /// Example:
    ///     >>> from samemap import Latest
    ///     >>> with Latest() as latest:
    ///     ...     latest.get(default=None) is None
    ///     True
    #[pyo3(signature = (default = Fallback(None)), text_signature = "($self, default=...)")]
    fn get(&self, py: Python<'_>, default: Fallback) -> PyResult<Py<PyAny>> {
        match self.find(py, 1)? {
            Some(found) => self.outlet.value(py, found.payload),
            None => default.0.ok_or_else(|| self.empty(py, 0)),
        }
    }

    /// The newest value and what is known of it, as a sample; ``None`` when nothing was ever set.
    fn _sample(&self, py: Python<'_>) -> PyResult<Option<Sample>> {
        let found = self.find(py, 1)?;
        Ok(found.map(|found| Sample::new(&self.outlet, py, found, 0)))
    }

    /// The newest value, once it is newer than number `seq`, as a sample; ``None`` after the timeout.
    fn _newer(&self, py: Python<'_>, seq: u64, timeout: Option<f64>) -> PyResult<Option<Sample>> {
        let (timeout, from) = (Timeout::new(timeout)?, seq.saturating_add(1));
        let mut over = false;
        loop {
            if let Some(found) = self.find(py, from)? {
                return Ok(Some(Sample::new(&self.outlet, py, found, 0)));
            }
            if over || !self.wait(py, from, timeout)? {
                return Ok(None);
            }
            over = timeout.has_passed();
        }
    }

    /// Wake all who wait for a value, so that they notice that it was closed.
    fn _wake(&self) -> PyResult<()> {
        // Whoever only reads may not write, and nobody who sleeps waits for it.
        if self.outlet.segment().is_writable() {
            self.outlet.channel()?.wake_all();
        }
        self.outlet.object.check()
    }

    /// The number of the newest value; 0 when nothing was ever set.
    #[getter]
    fn seq(&self) -> PyResult<u64> {
        check_open(&self.outlet.object.handle)?;
        let newest = self.outlet.channel()?.newest();
        self.outlet.object.check()?;
        Ok(newest)
    }

    /// How many bytes the largest value has.
    #[getter]
    fn max_size(&self) -> usize {
        self.outlet.slot_size()
    }

    /// Sleep until there is a value newer than one.
    ///
    /// Args:
    ///     seq: The number of that one; ``None`` for the last that was got here.
    ///     timeout: Seconds; ``None`` waits for ever, 0 only looks.
    ///
    /// Returns:
    ///     The newest value then.
    ///
    /// Raises:
    ///     Empty: None was set in time; a ``queue.Empty`` and a ``TimeoutError``.
    ///     KeyboardInterrupt: Ctrl-C, at once; likewise whatever another signal handler raises.
    ///     SegmentTruncated: Somebody truncated the file.
    ///     ValueError: It is closed, also by another thread meanwhile; or ``seq`` or the timeout makes no sense.
    ///
    /// Example:
    ///     >>> from samemap import Latest
    ///     >>> latest = Latest()
    ///     >>> seen = latest.set(b"1")
    ///     >>> latest.set(b"2")
    ///     2
    ///     >>> latest.wait_newer(seen)
    ///     b'2'
    #[pyo3(signature = (seq = None, timeout = None))]
    fn wait_newer(&self, py: Python<'_>, seq: Option<Seq>, timeout: Option<f64>) -> PyResult<Py<PyAny>> {
        let (timeout, from) = (Timeout::new(timeout)?, self.newer(seq)?);
        let mut over = false;
        loop {
            if let Some(found) = self.find(py, from)? {
                return self.outlet.value(py, found.payload);
            }
            if over || !self.wait(py, from, timeout)? {
                return Err(self.empty(py, from));
            }
            over = timeout.has_passed();
        }
    }

    /// Begin to wait for a value newer than one, for a task.
    fn _begin_newer(&self, seq: Option<Seq>) -> PyResult<Pending> {
        self.outlet.object.tag()?;
        let operation = self.outlet.object.operation(Wanted::Message(self.newer(seq)?));
        Pending::new(&self.outlet.object.handle, operation, |_, _| Ok(true))
    }

    /// The number of the newest value that was got here.
    #[getter]
    fn _seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Messages, bytes and drops, in all.
    fn _published(&self) -> PyResult<[u64; 3]> {
        check_open(&self.outlet.object.handle)?;
        let sums = self
            .outlet
            .channel()?
            .outputs()
            .fold([0_u64; 3], |sums, output| std::array::from_fn(|at| sums[at].wrapping_add(output.all[at])));
        self.outlet.object.check()?;
        Ok(sums)
    }
}
