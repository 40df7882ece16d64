//! Putting messages into a topic: what publishing, loans and newest values have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use samemap_core::arrangement::Arrangement;
use samemap_core::bell::now;
use samemap_core::error::Error;
use samemap_core::layout::Kind;
use samemap_core::operation::{Operation, Wanted};
use samemap_core::segment::{Handle, Segment};
use samemap_core::spin::Spin;
use samemap_core::tag::{Caller, Tag};
use samemap_core::topic::supply::Supply;
use samemap_core::topic::{Channel, Damaged, Topic};

use crate::arguments::Timeout;
use crate::callback;
use crate::drive::{COUNTS_ALONE, drive, raise};
use crate::errors::in_file;
use crate::exhaustion;
use crate::in_turn::InTurn;
use crate::object::Object;
use crate::reception::Payload;
use crate::sample::Origin;
use crate::view::{BIG, Borrowed, InSlot, Message, Source};

/// What to do when no slot can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenFull {
    Wait,
    Raise,
    Drop,
}

impl WhenFull {
    fn new(name: &str) -> PyResult<Self> {
        match name {
            "wait" => Ok(Self::Wait),
            "raise" => Ok(Self::Raise),
            "drop" => Ok(Self::Drop),
            other => Err(PyValueError::new_err(format!("when_full is 'wait', 'raise' or 'drop', not {other:?}"))),
        }
    }
}

/// A topic, as somebody who publishes has it.
pub(crate) struct Outlet {
    pub(crate) object: Object,
    pub(crate) arrangement: Arrangement,
    /// How objects become bytes and come back, among other things.
    pub(crate) origin: Py<Origin>,
    when_full: WhenFull,
    supply: InTurn<Supply>,
    spin: Spin,
    /// The number that the next message may get.
    hope: AtomicU64,
}

/// A slot in this process's hands.
pub(crate) struct Held {
    handle: Handle,
    arrangement: Arrangement,
    tag: Tag,
    pub(crate) slot: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        let segment = self.handle.segment();
        // Not in a fork's child: it is its parent's.
        if segment.seated() == Some(self.tag)
            && let Ok(channel) = self.arrangement.channel(segment)
        {
            channel.let_go(self.slot, self.tag);
            channel.ring_for_room();
        }
    }
}

impl Held {
    /// Where its payload is, of which `length` bytes are wanted.
    pub(crate) fn payload(&self, length: usize) -> Result<*mut u8, Error> {
        self.arrangement.payload(self.handle.segment(), self.slot, length)
    }
}

#[cold]
pub(crate) fn damaged(segment: &Segment) -> PyErr {
    raise(segment, &Error::damaged("ring", "numbers that cannot be", "those of its messages"))
}

impl Outlet {
    pub(crate) fn new(
        py: Python<'_>,
        segment: &crate::segment::Segment,
        (codec, is_raw): (Py<PyAny>, bool),
        when_full: &str,
    ) -> PyResult<Self> {
        let object = Object::new::<Topic>(segment, 0)?;
        let arrangement =
            Arrangement::of(object.handle.segment()).map_err(|error| raise(object.handle.segment(), &error))?;
        let segment = Arc::clone(object.handle.segment());
        Ok(Self {
            object,
            arrangement,
            origin: Py::new(py, Origin { segment, codec, is_raw })?,
            when_full: WhenFull::new(when_full)?,
            supply: InTurn::default(),
            spin: Spin::default(),
            hope: AtomicU64::new(0),
        })
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        self.object.handle.segment()
    }

    #[inline(always)]
    pub(crate) fn channel(&self) -> PyResult<Channel<'_>> {
        let segment = self.segment();
        match self.arrangement.channel(segment) {
            Ok(channel) => Ok(channel.alone(COUNTS_ALONE)),
            Err(error) => Err(raise(segment, &error)),
        }
    }

    pub(crate) fn when_full(&self) -> WhenFull {
        self.when_full
    }

    pub(crate) fn slot_size(&self) -> usize {
        self.arrangement.shape().slot_size
    }

    #[cold]
    pub(crate) fn too_large(&self, length: usize) -> PyErr {
        let most = self.slot_size();
        let (what, option) = match self.segment().kind() {
            Kind::Latest => ("value", "max_size"),
            _ => ("message", "max_message"),
        };
        PyValueError::new_err(format!(
            "a {what} of {length} bytes does not fit: the largest that this one takes has {most} \
             ({option}, when it was made); make it anew with {option}={} or more{}",
            length.next_power_of_two(),
            in_file(self.segment()),
        ))
    }

    /// Takes a slot; `None` when there is none, and the policy is to drop.
    #[inline]
    pub(crate) fn take(
        &self,
        py: Python<'_>,
        channel: &Channel<'_>,
        tag: Tag,
        timeout: Timeout,
    ) -> PyResult<Option<usize>> {
        match self.try_take(py, channel, tag)? {
            Some(slot) => Ok(Some(slot)),
            None => self.wait_to_take(py, tag, timeout),
        }
    }

    #[inline]
    fn try_take(&self, py: Python<'_>, channel: &Channel<'_>, tag: Tag) -> PyResult<Option<usize>> {
        let mut supply = self.supply.take(py);
        supply.hope = supply.hope.max(self.hope.load(Ordering::Relaxed));
        let segment = self.segment();
        let taken = segment.as_caller_with(tag, |caller| channel.take(&mut supply, caller));
        if let Some(coming) = supply.coming {
            self.arrangement.will_write(segment, coming);
        }
        taken.map_err(|error| raise(segment, &error))
    }

    #[cold]
    fn wait_to_take(&self, py: Python<'_>, tag: Tag, timeout: Timeout) -> PyResult<Option<usize>> {
        let timeout = if self.when_full == WhenFull::Wait { timeout } else { Timeout::Now };
        loop {
            let came = self.comes_soon(tag, timeout)? || {
                let mut operation = Operation { offset: self.object.offset, wanted: Wanted::Room };
                drive(py, &self.object.handle, timeout, &mut operation)?.is_some()
            };
            if let Some(slot) = self.try_take(py, &self.channel()?, tag)? {
                return Ok(Some(slot));
            }
            // Others were faster, perhaps again and again; or the segment is damaged, and another thread may mend it.
            let came = came && !timeout.has_passed();
            py.detach(std::thread::yield_now);
            py.check_signals()?;
            if !came && self.when_full == WhenFull::Drop {
                self.channel()?.count_dropped(tag);
                return Ok(None);
            }
            if !came {
                return Err(exhaustion::full(py, self.segment(), &self.channel()?));
            }
        }
    }

    /// Looks for a slot for a moment, where there are few: then one is awaited for nearly every message, and if readers are
    /// about as quick, it comes before a sleep would have begun.
    fn comes_soon(&self, tag: Tag, timeout: Timeout) -> PyResult<bool> {
        const FEW: usize = 16;
        if matches!(timeout, Timeout::Now) || self.arrangement.shape().slots > FEW {
            return Ok(false);
        }
        let (segment, channel) = (self.segment(), self.channel()?);
        let look = |caller: Caller<'_>| self.spin.look(|| channel.is_room(caller.living));
        segment.as_caller_with(tag, look).map_err(|error| raise(segment, &error))
    }

    /// A slot of this process's own to fill; `None` when there is none, and the policy is to drop.
    pub(crate) fn hold(&self, py: Python<'_>, timeout: Timeout) -> PyResult<Option<Held>> {
        let tag = self.object.tag()?;
        let handle = self.object.handle.again().map_err(|error| raise(self.segment(), &error))?;
        let Some(slot) = self.take(py, &self.channel()?, tag, timeout)? else { return Ok(None) };
        let held = Held { handle, arrangement: self.arrangement, tag, slot };
        if let Some(head) = self.channel()?.slots().get(slot) {
            head.note_held(now());
        }
        self.object.check()?;
        Ok(Some(held))
    }

    /// Has the message of `length` bytes in `held` count.
    pub(crate) fn publish_held(&self, held: &Held, length: usize) -> PyResult<u64> {
        let tag = self.object.tag()?;
        if tag != held.tag {
            return Err(PyValueError::new_err(
                "a loan belongs to the process that took it: a fork's child takes its own",
            ));
        }
        self.object.check()?;
        let channel = self.channel()?;
        let moment = now();
        let seq = self.commit(&channel, held.slot, tag, length, moment)?;
        channel.announce(seq);
        channel.count(tag, 1, length as u64, moment);
        Ok(seq)
    }

    #[inline]
    fn commit(&self, channel: &Channel<'_>, slot: usize, tag: Tag, length: usize, moment: u64) -> PyResult<u64> {
        channel.label(slot, tag, length, moment);
        match channel.commit(slot, self.hope.load(Ordering::Relaxed)) {
            Ok(seq) => {
                // A hint, which threads may overwrite for each other.
                self.hope.store(seq + 1, Ordering::Relaxed);
                Ok(seq)
            }
            Err(Damaged) => Err(damaged(self.segment())),
        }
    }

    /// Publishes an object; 0 when it was dropped.
    #[inline]
    pub(crate) fn publish(&self, py: Python<'_>, value: &Bound<'_, PyAny>, timeout: Timeout) -> PyResult<u64> {
        if self.origin.get().is_raw
            && let Ok(bytes) = value.cast_exact::<PyBytes>()
        {
            return self.publish_message(py, &Message::One(Source::Bytes(bytes.clone())), timeout);
        }
        let message = self.message(value)?;
        self.publish_message(py, &message, timeout)
    }

    /// The object that was published, of a message that was received.
    #[inline]
    pub(crate) fn value(&self, py: Python<'_>, payload: Payload) -> PyResult<Py<PyAny>> {
        let origin = self.origin.get();
        let bytes = match payload {
            Payload::Copied(bytes) if origin.is_raw => return Ok(bytes.into_any()),
            Payload::Copied(bytes) => bytes.into_any(),
            Payload::Pinned(pin) => pin.into_any(),
        };
        callback::method(origin.codec.bind(py), pyo3::intern!(py, "decode"), bytes.bind(py)).map(Bound::unbind)
    }

    fn message<'py>(&self, value: &Bound<'py, PyAny>) -> PyResult<Message<'py>> {
        let encoded =
            callback::method(self.origin.get().codec.bind(value.py()), pyo3::intern!(value.py(), "encode"), value)?;
        Message::new(&encoded)
    }

    #[inline]
    fn publish_message(&self, py: Python<'_>, message: &Message<'_>, timeout: Timeout) -> PyResult<u64> {
        let tag = self.object.tag()?;
        let length = message.len();
        if length > self.slot_size() {
            return Err(self.too_large(length));
        }
        let channel = self.channel()?;
        let Some(slot) = self.take(py, &channel, tag, timeout)? else { return Ok(0) };
        let written = self.write(py, slot, message).and_then(|()| self.object.check());
        let moment = now();
        let published = written.and_then(|()| self.commit(&channel, slot, tag, length, moment));
        // Committed or not: an empty slot is free again, and one with a message is in nobody's hands. Before the bells are
        // rung: somebody may wait for this very slot.
        channel.let_go(slot, tag);
        match &published {
            Ok(seq) => channel.announce(*seq),
            Err(_) => channel.ring_for_room(),
        }
        let seq = published?;
        channel.count(tag, 1, length as u64, moment);
        Ok(seq)
    }

    fn write(&self, py: Python<'_>, slot: usize, message: &Message<'_>) -> PyResult<()> {
        // Large copies let other threads run, and one of them may close the topic: the slot must stay this process's.
        let _joined = if message.len() < BIG { None } else { Some(self.object.handle.again()) };
        let done = message.write_to(py, &InSlot(&self.arrangement, self.segment(), slot));
        done.map_err(|error| raise(self.segment(), &error))
    }

    /// Publishes messages of `each` bytes that lie one behind the other; returns how many.
    pub(crate) fn publish_rows(
        &self,
        py: Python<'_>,
        rows: &Bound<'_, PyAny>,
        each: usize,
        timeout: Timeout,
    ) -> PyResult<usize> {
        /// So many at once, before signals are looked at.
        const STRETCH: usize = 4096;
        if each > self.slot_size() {
            return Err(self.too_large(each));
        }
        let rows = Borrowed::new(rows)?;
        let count = rows.len().checked_div(each).unwrap_or(0);
        let waits = if self.when_full == WhenFull::Wait { timeout } else { Timeout::Now };
        let mut done = 0;
        while done < count {
            let tag = self.object.tag()?;
            let end = count.min(done + STRETCH);
            done += self.publish_stretch(py, tag, (&rows, each), done, end)?;
            py.check_signals()?;
            if done == end {
                continue;
            }
            let mut operation = Operation { offset: self.object.offset, wanted: Wanted::Room };
            let came = drive(py, &self.object.handle, waits, &mut operation)?.is_some();
            // Once more, and then in time or not.
            let more = if came { self.publish_stretch(py, tag, (&rows, each), done, end)? } else { 0 };
            done += more;
            py.detach(std::thread::yield_now);
            if !came || more == 0 && waits.has_passed() {
                if self.when_full == WhenFull::Drop {
                    let channel = self.channel()?;
                    (done..count).for_each(|_| channel.count_dropped(tag));
                } else if done == 0 {
                    return Err(exhaustion::full(py, self.segment(), &self.channel()?));
                }
                break;
            }
        }
        Ok(done)
    }

    fn publish_stretch(
        &self,
        py: Python<'_>,
        tag: Tag,
        (rows, each): (&Borrowed, usize),
        from: usize,
        to: usize,
    ) -> PyResult<usize> {
        let (segment, channel) = (self.segment(), self.channel()?);
        let mut supply = self.supply.take(py);
        // Others must find the newest message not far behind the number that everybody knows.
        let often = (self.arrangement.shape().ring / 4).max(1);
        let (mut hope, moment) = (self.hope.load(Ordering::Relaxed), now());
        let published = segment.as_caller_with(tag, |caller| {
            for row in from..to {
                supply.hope = supply.hope.max(hope);
                let Some(slot) = channel.take(&mut supply, caller) else { return Ok(row - from) };
                let written = rows.write_row(&self.arrangement, segment, slot, row * each, each);
                channel.label(slot, tag, each, moment);
                let committed = written.and_then(|()| segment.check()).map(|()| channel.commit(slot, hope));
                channel.let_go(slot, tag);
                match committed? {
                    Ok(seq) => hope = seq + 1,
                    Err(Damaged) => return Ok(usize::MAX),
                }
                if (row - from + 1).is_multiple_of(often) {
                    channel.announce(hope - 1);
                }
            }
            Ok(to - from)
        });
        self.hope.store(hope, Ordering::Relaxed);
        channel.announce(hope.saturating_sub(1));
        match published.and_then(|published| published).map_err(|error| raise(segment, &error))? {
            usize::MAX => Err(damaged(segment)),
            count => {
                channel.count(tag, count as u64, (count * each) as u64, moment);
                Ok(count)
            }
        }
    }
}
