//! `samemap._core.Topic`, the base of `samemap.Topic`.

use pyo3::prelude::*;
use samemap_core::operation::Wanted;

use crate::arguments::Timeout;
use crate::drive::{check_open, drive, raise};
use crate::loan::{Borrowed, Lender, Loan};
use crate::object::closing;
use crate::outlet::{Outlet, WhenFull};
use crate::pending::Pending;
use crate::reception::Reader;
use crate::sample::Sample;
use crate::segment::Segment;
use crate::subscription::policy_name;

/// Messages from many to many; `samemap.Topic` adds names, codecs and more.
#[pyclass(subclass, frozen, weakref, module = "samemap._core")]
pub(crate) struct Topic {
    pub(crate) outlet: Outlet,
}

closing!(Topic, outlet.object);

/// A subscription: tag, policy, cursor, received, missed, pinned slots, when it joined, delays.
type SubscriberRow = (u32, &'static str, u64, u64, u64, usize, u64, Vec<u32>);

/// A publisher: tag; its own messages, bytes and drops; those of all who had its place; when it last published.
type PublisherRow = (u32, [u64; 3], [u64; 3], u64);

#[pymethods]
impl Topic {
    #[new]
    fn new(py: Python<'_>, segment: &Segment, codec: Py<PyAny>, is_raw: bool, when_full: &str) -> PyResult<Self> {
        Ok(Self { outlet: Outlet::new(py, segment, (codec, is_raw), when_full)? })
    }

    /// Publish a message: to everybody who subscribes, and to those who look later, for as long as its slot is not needed.
    ///
    /// Args:
    ///     value: What the topic takes: an array of its shape and dtype, an object of its type, or bytes.
    ///     timeout: Seconds to wait while no slot is free; ``None`` waits for ever, 0 only looks. Only with
    ///         ``when_full="wait"``.
    ///
    /// Returns:
    ///     The number of the message, from 1; 0 when it was dropped, with ``when_full="drop"``.
    ///
    /// Raises:
    ///     Full: No slot was free in time; the message names who keeps which; a ``queue.Full`` and a ``TimeoutError``.
    ///     KeyboardInterrupt: Ctrl-C while it waits; likewise whatever another signal handler raises.
    ///     OSError: ``ENOSPC`` and others, as `SegmentTruncated`.
    ///     TypeError: It is not what the topic takes, or the topic is mapped read-only.
    ///     ValueError: It is closed, or the value does not fit.
    ///
    /// Example:
    ///     >>> from samemap import Topic
    ///     >>> with Topic() as topic:
    ///     ...     topic.publish(b"one"), topic.publish(b"two"), topic.seq
    ///     (1, 2, 2)
    #[pyo3(signature = (value, timeout = None))]
    fn publish(&self, py: Python<'_>, value: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<u64> {
        self.outlet.publish(py, value, Timeout::new(timeout)?)
    }

    /// Publish a message, or raise at once where no slot is free.
    ///
    /// Args:
    ///     value: As for `publish`.
    ///
    /// Returns:
    ///     As `publish`.
    ///
    /// Raises:
    ///     Full: No slot is free; the message names who keeps which; a ``queue.Full`` and a ``TimeoutError``.
    ///     TypeError: It is not what the topic takes, or the topic is mapped read-only.
    ///     ValueError: It is closed, or the value does not fit.
    ///
    /// Example:
    ///     >>> from samemap import Topic
    ///     >>> Topic().publish_nowait(b"now")
    ///     1
    fn publish_nowait(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<u64> {
        self.outlet.publish(py, value, Timeout::Now)
    }

    /// The number of the newest message, which is how many were published; 0 before the first.
    #[getter]
    fn seq(&self) -> PyResult<u64> {
        check_open(&self.outlet.object.handle)?;
        let newest = self.outlet.channel()?.newest();
        self.outlet.object.check()?;
        Ok(newest)
    }

    /// How many messages there is room for.
    #[getter]
    fn slots(&self) -> usize {
        self.outlet.arrangement.shape().slots
    }

    /// How many bytes the largest message has.
    #[getter]
    fn max_message(&self) -> usize {
        self.outlet.slot_size()
    }

    /// What this handle does when no slot is free: ``"wait"``, ``"raise"`` or ``"drop"``.
    #[getter]
    fn when_full(&self) -> &'static str {
        match self.outlet.when_full() {
            WhenFull::Wait => "wait",
            WhenFull::Raise => "raise",
            WhenFull::Drop => "drop",
        }
    }

    /// How many subscriptions there is room for.
    #[getter]
    fn max_subscribers(&self) -> usize {
        self.outlet.arrangement.shape().subscribers
    }

    /// Publish messages of so many bytes that lie one behind the other; return how many.
    fn _publish_rows(
        &self,
        py: Python<'_>,
        rows: &Bound<'_, PyAny>,
        each: usize,
        timeout: Option<f64>,
    ) -> PyResult<usize> {
        self.outlet.publish_rows(py, rows, each, Timeout::new(timeout)?)
    }

    /// A loan of so many bytes.
    fn _loan(slf: Bound<'_, Self>, length: usize, timeout: Option<f64>) -> PyResult<Loan> {
        let outlet = &slf.get().outlet;
        if length > outlet.slot_size() {
            return Err(outlet.too_large(length));
        }
        let held = outlet.hold(slf.py(), Timeout::new(timeout)?)?;
        let (codec, borrowed) =
            (outlet.origin.get().codec.clone_ref(slf.py()), held.map_or(Borrowed::Nothing, Borrowed::Slot));
        Ok(Loan::new(Lender::Topic(slf.unbind()), borrowed, codec, 0, length))
    }

    /// The last messages that are still there, copied, the oldest first.
    fn _last(&self, py: Python<'_>, most: u64) -> PyResult<Vec<Sample>> {
        check_open(&self.outlet.object.handle)?;
        let (outlet, segment) = (&self.outlet, self.outlet.segment());
        let newest = outlet.channel()?.newest();
        outlet.object.check()?;
        let reader = Reader { py, segment, arrangement: &outlet.arrangement, reception: None };
        let ring = outlet.arrangement.shape().ring as u64;
        let mut found = Vec::new();
        // From the newest back, because the oldest are those that go meanwhile; and gaps are passed over.
        for seq in (newest.saturating_sub(ring)..newest).rev().map(|before| before + 1) {
            if found.len() as u64 >= most {
                break;
            }
            if let Some(message) = reader.one(seq)? {
                found.push(Sample::new(outlet, py, message, 0));
            }
        }
        found.reverse();
        Ok(found)
    }

    /// Wait for so many subscriptions.
    fn _wait_for_subscribers(&self, py: Python<'_>, count: usize, timeout: Option<f64>) -> PyResult<bool> {
        self.outlet.object.tag()?;
        let mut operation = self.outlet.object.operation(Wanted::Audience(count));
        Ok(drive(py, &self.outlet.object.handle, Timeout::new(timeout)?, &mut operation)?.is_some())
    }

    /// Begin to wait for a slot, for a task.
    fn _begin_room(&self) -> PyResult<Pending> {
        self.outlet.object.tag()?;
        let operation = self.outlet.object.operation(Wanted::Room);
        Pending::new(&self.outlet.object.handle, operation, |_, _| Ok(true))
    }

    /// Begin to wait for so many subscriptions, for a task.
    fn _begin_audience(&self, count: usize) -> PyResult<Pending> {
        self.outlet.object.tag()?;
        let operation = self.outlet.object.operation(Wanted::Audience(count));
        Pending::new(&self.outlet.object.handle, operation, |_, _| Ok(true))
    }

    /// Slots that are in somebody's hands, and slots that are pinned.
    fn _counts(&self) -> PyResult<(usize, usize)> {
        check_open(&self.outlet.object.handle)?;
        let slots = self.outlet.channel()?.slots();
        let counts = (
            slots.iter().filter(|slot| slot.owner().is_some()).count(),
            slots.iter().filter(|slot| slot.is_pinned()).count(),
        );
        self.outlet.object.check()?;
        Ok(counts)
    }

    /// The subscriptions.
    fn _subscribers(&self) -> PyResult<Vec<SubscriberRow>> {
        check_open(&self.outlet.object.handle)?;
        let channel = self.outlet.channel()?;
        let pins = |place| channel.slots().iter().filter(|slot| slot.pinned_by().any(|found| found == place)).count();
        let rows = channel
            .progress()
            .map(|(place, p)| {
                let policy = policy_name(p.policy);
                (p.tag.word(), policy, p.cursor, p.received, p.missed, pins(place), p.joined, p.delays.to_vec())
            })
            .collect();
        self.outlet.object.check()?;
        Ok(rows)
    }

    /// What was published by whom.
    fn _publishers(&self) -> PyResult<Vec<PublisherRow>> {
        check_open(&self.outlet.object.handle)?;
        let rows = self
            .outlet
            .channel()?
            .outputs()
            .filter_map(|output| Some((output.tag?.word(), output.own, output.all, output.last)))
            .collect();
        self.outlet.object.check()?;
        Ok(rows)
    }

    /// Give back what the dead had.
    fn _bury(&self, py: Python<'_>) -> PyResult<()> {
        self.outlet.object.tag()?;
        let (segment, channel) = (self.outlet.segment(), self.outlet.channel()?);
        py.detach(|| segment.as_caller(|caller| channel.bury(caller))).map_err(|error| raise(segment, &error))?;
        self.outlet.object.check()
    }

    /// Wake all who wait for a message, so that they notice that it was closed.
    fn _wake(&self) -> PyResult<()> {
        // Whoever only reads may not write, and nobody who sleeps waits for it.
        if self.outlet.segment().is_writable() {
            self.outlet.channel()?.wake_all();
        }
        self.outlet.object.check()
    }
}
