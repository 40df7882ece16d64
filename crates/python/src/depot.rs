//! Putting jobs into a queue and taking them out: what queues and services have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use samemap_core::atomic::monotonic;
use samemap_core::bell::wall_clock;
use samemap_core::job::Label;
use samemap_core::layout::Kind;
use samemap_core::operation::{Operation, Wanted};
use samemap_core::queue::{Grip, Memory, Queue, Shut, Store, Unput};
use samemap_core::segment::Segment;
use samemap_core::spin::Spin;
use samemap_core::storage::Storage;
use samemap_core::tag::Tag;

use crate::arguments::Timeout;
use crate::drive::{COUNTS_ALONE, check_open, drive, raise};
use crate::errors::in_file;
use crate::exhaustion;
use crate::frames::Hold;
use crate::holding::{Content, Holding};
use crate::object::Object;
use crate::outlet::damaged;
use crate::pickling::{self, Pickled};
use crate::reception::SMALL;
use crate::remembered::Remembered;
use crate::view::{BIG, InJob, Message, Source, bytes_with};

/// How messages are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// They are bytes, as they are.
    Bytes,
    /// They are pickles.
    Pickle,
    /// The codec makes them.
    Codec,
}

/// The message is bytes as they are, in a queue of pickles.
pub(crate) const RAW: u16 = 1 << 15;

/// The flag of a message that may be such bytes.
pub(crate) fn raw_flag(is_raw: bool) -> u16 {
    if is_raw { RAW } else { 0 }
}

/// The message is a pickle, and has no buffers beside it.
const PLAIN: u16 = 1 << 14;

/// What is left of the flags for others.
pub(crate) const FLAGS: u16 = PLAIN - 1;

/// Nanoseconds between two looks after the dead by one who is busy.
const LOOK_AFTER: u64 = 20_000_000;

/// A queue, as somebody has it who puts or takes.
pub(crate) struct Depot {
    pub(crate) object: Object,
    pub(crate) storage: Storage,
    /// How objects become bytes and come back.
    pub(crate) codec: Py<PyAny>,
    pub(crate) way: Way,
    pub(crate) memory: Remembered,
    spin: Spin,
    /// When this process looks after the dead again, on the monotonic clock in nanoseconds.
    bury_again: AtomicU64,
    /// When it last got a job, likewise, as the clock ticks.
    last_got: AtomicU64,
}

/// Where a message goes, and what is known of it beside its bytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Route {
    pub(crate) lane: usize,
    pub(crate) number: u32,
    pub(crate) flags: u16,
    /// The lane for replies to it, and the number of the call.
    pub(crate) reply: Option<(u16, u32)>,
}

/// What was put: where, its number, and what is needed to tell of it.
pub(crate) struct Put<'a> {
    pub(crate) grip: Grip,
    pub(crate) seq: u64,
    store: Store<'a>,
    tag: Tag,
}

/// What was taken.
pub(crate) struct Taken {
    pub(crate) grip: Grip,
    pub(crate) seq: u64,
    pub(crate) label: Label,
    pub(crate) content: Content,
}

impl Depot {
    pub(crate) fn new(segment: &crate::segment::Segment, codec: Py<PyAny>, way: &str) -> PyResult<Self> {
        let way = match way {
            "bytes" => Way::Bytes,
            "pickle" => Way::Pickle,
            "codec" => Way::Codec,
            other => return Err(PyValueError::new_err(format!("way is 'bytes', 'pickle' or 'codec', not {other:?}"))),
        };
        let object = Object::new::<Queue>(segment, 0)?;
        let storage = Storage::of(object.handle.segment()).map_err(|error| raise(object.handle.segment(), &error))?;
        let (memory, bury_again) = (Remembered::new(Memory::default()), AtomicU64::new(0));
        Ok(Self { object, storage, codec, way, memory, spin: Spin::default(), bury_again, last_got: AtomicU64::new(0) })
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        self.object.handle.segment()
    }

    #[inline(always)]
    pub(crate) fn store(&self) -> PyResult<Store<'_>> {
        let segment = self.segment();
        match self.storage.store(segment) {
            Ok(store) => Ok(store.alone(COUNTS_ALONE)),
            Err(error) => Err(raise(segment, &error)),
        }
    }

    /// Does something with what this process remembers of it.
    #[inline(always)]
    pub(crate) fn remembering<T>(&self, work: impl FnOnce(&mut Memory) -> T) -> T {
        let mut memory = self.memory.recall();
        let done = work(&mut memory);
        self.memory.note(&memory);
        done
    }

    #[cold]
    pub(crate) fn too_large(&self, length: usize) -> PyErr {
        let (most, what) = (self.storage.longest(), self.segment().kind().name().to_lowercase());
        PyValueError::new_err(format!(
            "a message of {length} bytes does not fit: the largest that this {what} takes has {most} (max_bytes, when it \
             was made); make it anew with max_bytes={} or more{}",
            length.next_power_of_two(),
            in_file(self.segment()),
        ))
    }

    // Putting

    /// What is sent for an object, and how it was made.
    #[inline]
    pub(crate) fn message<'py>(&self, value: &Bound<'py, PyAny>) -> PyResult<(Message<'py>, u16)> {
        if self.way != Way::Codec
            && let Ok(bytes) = value.cast_exact::<PyBytes>()
        {
            let flags = if self.way == Way::Pickle { RAW } else { 0 };
            return Ok((Message::One(Source::Bytes(bytes.clone())), flags));
        }
        if self.way == Way::Pickle {
            return Ok(match pickling::dumps(value)? {
                Pickled::Plain(bytes) => (Message::One(Source::Bytes(bytes)), PLAIN),
                Pickled::Parts(parts) => (Message::new(&parts)?, 0),
            });
        }
        let encoded = crate::callback::method(self.codec.bind(value.py()), pyo3::intern!(value.py(), "encode"), value)?;
        Ok((Message::new(&encoded)?, 0))
    }

    /// A place for a message of that many bytes, and its label; `None` when there is no room now.
    #[inline]
    pub(crate) fn hold(
        store: &Store<'_>,
        memory: &mut Memory,
        tag: Tag,
        length: usize,
        route: Route,
    ) -> Option<(Grip, Label)> {
        let grip = store.take_place(memory, tag)?;
        let Some((first, blocks)) = store.reserve(memory, grip, length) else {
            store.abandon(grip, tag);
            return None;
        };
        let Route { lane, number, flags, .. } = route;
        Some((grip, Label { length: length as u64, first, blocks, lane: lane as u16, flags, number }))
    }

    /// Puts a message, and waits while there is no room; returns its place and number. `None`: nobody waits for it any more.
    #[inline]
    pub(crate) fn put(
        &self,
        py: Python<'_>,
        message: &Message<'_>,
        route: Route,
        timeout: Timeout,
    ) -> PyResult<Option<(Grip, u64)>> {
        let put = self.put_quietly(py, message, route, timeout, || Ok(()))?;
        Ok(put.map(|Put { grip, seq, store, tag }| {
            store.announce(route.lane, seq, false);
            store.count_puts(tag, 1, message.len() as u64);
            (grip, seq)
        }))
    }

    /// As [`put`](Self::put), but tells nobody; has the caller tell of earlier ones before it waits.
    #[inline]
    pub(crate) fn put_quietly(
        &self,
        py: Python<'_>,
        message: &Message<'_>,
        route: Route,
        timeout: Timeout,
        mut before_waiting: impl FnMut() -> PyResult<()>,
    ) -> PyResult<Option<Put<'_>>> {
        let length = message.len();
        if length > self.storage.longest() {
            return Err(self.too_large(length));
        }
        let mut over = false;
        loop {
            let tag = self.object.tag()?;
            let store = self.store()?;
            if !self.admits(py, &store, route.lane, route.number)? {
                return Ok(None);
            }
            let mut memory = self.memory.recall();
            let is_full = if route.lane == 0 { store.seems_full(&memory, 0) } else { store.is_full(route.lane) };
            let held = if is_full { None } else { Self::hold(&store, &mut memory, tag, length, route) };
            let put = match held {
                Some(held) => self.fill(py, (&store, &mut memory), tag, held, message, route)?,
                None => None,
            };
            self.memory.note(&memory);
            if let Some((grip, seq)) = put {
                return Ok(Some(Put { grip, seq, store, tag }));
            }
            if over {
                return Err(exhaustion::full_queue(py, self.segment(), &store));
            }
            before_waiting()?;
            over = self.wait_for_space(py, (route.lane, route.number), self.storage.blocks_for(length), timeout)?;
        }
    }

    /// Whether a message may be put: not a reply that nobody waits for any more.
    #[inline(always)]
    pub(crate) fn admits(&self, py: Python<'_>, store: &Store<'_>, lane: usize, number: u32) -> PyResult<bool> {
        if lane != 0 {
            return Ok(store.is_awaited(lane, number));
        }
        if store.shut() == Shut::Open { Ok(true) } else { Err(exhaustion::shut_down(py, self.segment())) }
    }

    /// Waits until it is worth to put once more; says whether that is for the last time.
    pub(crate) fn wait_for_space(
        &self,
        py: Python<'_>,
        (lane, number): (usize, u32),
        blocks: usize,
        timeout: Timeout,
    ) -> PyResult<bool> {
        let mut operation = self.object.operation(Wanted::Space(lane, number, blocks));
        let came = drive(py, &self.object.handle, timeout, &mut operation)?.is_some();
        Ok(!came || timeout.has_passed())
    }

    #[inline]
    fn fill(
        &self,
        py: Python<'_>,
        (store, memory): (&Store<'_>, &mut Memory),
        tag: Tag,
        (grip, label): (Grip, Label),
        message: &Message<'_>,
        route: Route,
    ) -> PyResult<Option<(Grip, u64)>> {
        let segment = self.segment();
        // Large copies let other threads run, and one of them may close the queue: the place must stay this process's.
        let _joined = if message.len() < BIG { None } else { Some(self.object.handle.again()) };
        let written = message.write_to(py, &InJob(&self.storage, segment, grip.at, label));
        if let Err(error) = written.and_then(|()| segment.check()) {
            store.abandon(grip, tag);
            return Err(raise(segment, &error));
        }
        store.label(grip, label, wall_clock());
        if let Some((lane, number)) = route.reply {
            store.expect_replies(grip, lane, number);
        }
        match store.commit(memory, route.lane, grip, tag) {
            Ok(seq) => {
                self.storage.will_write(segment, grip.at);
                Ok(Some((grip, seq)))
            }
            Err(refused) => {
                store.abandon(grip, tag);
                match refused {
                    Unput::Full => Ok(None),
                    Unput::Shut => Err(exhaustion::shut_down(py, segment)),
                    Unput::Damaged => Err(damaged(segment)),
                }
            }
        }
    }

    // Taking

    /// Before a job is got: looks after the dead, if it is time to; says whether the clock has ticked since the last time.
    #[inline(always)]
    pub(crate) fn begin_get(&self, tag: Tag) -> PyResult<bool> {
        let moment = monotonic();
        let is_later = self.last_got.load(Ordering::Relaxed) != moment;
        if is_later {
            self.last_got.store(moment, Ordering::Relaxed);
            self.look_after_the_dead_at(tag, moment)?;
        }
        Ok(is_later)
    }

    /// Looks after the dead, unless this process just did.
    #[inline(always)]
    pub(crate) fn look_after_the_dead(&self, tag: Tag) -> PyResult<()> {
        self.look_after_the_dead_at(tag, monotonic())
    }

    #[inline(always)]
    fn look_after_the_dead_at(&self, tag: Tag, moment: u64) -> PyResult<()> {
        if moment < self.bury_again.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.bury(tag, moment)
    }

    #[cold]
    fn bury(&self, tag: Tag, moment: u64) -> PyResult<()> {
        self.bury_again.store(moment + LOOK_AFTER, Ordering::Relaxed);
        let (segment, store) = (self.segment(), self.store()?);
        segment.as_caller_with(tag, |caller| store.bury(caller)).map_err(|error| raise(segment, &error))?;
        // All jobs are looked at: where they are many, that takes its time, and must not take all of it.
        let took = monotonic().saturating_sub(moment);
        self.bury_again.store(moment + LOOK_AFTER.max(took * 10), Ordering::Relaxed);
        Ok(())
    }

    /// Takes the next job of a lane; `until` is when the lease ends, on the monotonic clock in nanoseconds, 0 for never.
    #[inline]
    pub(crate) fn try_take(&self, py: Python<'_>, lane: usize, until: u64) -> PyResult<Option<Taken>> {
        let tag = self.object.tag()?;
        self.look_after_the_dead(tag)?;
        self.take_from(py, &self.store()?, tag, lane, until)
    }

    /// Takes more jobs, until there are `most` or no more now. Those that could not be read are left out.
    pub(crate) fn take_more(
        &self,
        py: Python<'_>,
        store: &Store<'_>,
        tag: Tag,
        most: usize,
        taken: &mut Vec<Taken>,
    ) -> PyResult<()> {
        while taken.len() < most {
            match self.take_from(py, store, tag, 0, 0) {
                Ok(Some(more)) => taken.push(more),
                Err(error) if taken.is_empty() => return Err(error),
                Ok(None) | Err(_) => break,
            }
        }
        Ok(())
    }

    #[inline]
    fn take_from(
        &self,
        py: Python<'_>,
        store: &Store<'_>,
        tag: Tag,
        lane: usize,
        until: u64,
    ) -> PyResult<Option<Taken>> {
        let segment = self.segment();
        let taken = self.remembering(|memory| store.take(memory, lane, tag, wall_clock(), until));
        segment.check().map_err(|error| raise(segment, &error))?;
        let Some((grip, seq)) = taken else { return Ok(None) };
        let label = store.jobs()[grip.at].read();
        match self.content(py, store, tag, grip, label, until != 0) {
            Ok(content) => Ok(Some(Taken { grip, seq, label, content })),
            Err(error) => {
                self.renounce(py, store, (grip, tag), false, &error);
                Err(error)
            }
        }
    }

    /// Lets go of a job that was taken and could not be read or brought back; says whether it is a dead letter now.
    #[cold]
    pub(crate) fn renounce(
        &self,
        py: Python<'_>,
        store: &Store<'_>,
        (grip, tag): (Grip, Tag),
        has_views: bool,
        why: &PyErr,
    ) -> bool {
        // Whoever is next may have the memory that this one had not; but nothing else that went wrong would go better.
        let is_dead = !why.is_instance_of::<PyMemoryError>(py);
        if is_dead {
            store.put_away(grip, tag, has_views);
        } else {
            store.give_back(grip, tag, has_views);
        }
        is_dead
    }

    #[inline]
    fn content(
        &self,
        py: Python<'_>,
        store: &Store<'_>,
        tag: Tag,
        grip: Grip,
        label: Label,
        ends: bool,
    ) -> PyResult<Content> {
        let segment = self.segment();
        // What this process sees of it already, because it has filled it or had it before, it sees on.
        if store.is_kept_by(grip, tag)
            && let Some(holding) = Holding::known(&self.object.handle, grip)
        {
            return Ok(Content::There(holding));
        }
        if label.length <= SMALL as u64 || self.is_raw(label.flags) {
            return self.copy(py, grip, label).map(Content::Copied);
        }
        // Before there are any views of it.
        self.storage.message(segment, grip.at, label).map_err(|error| raise(segment, &error))?;
        let handle = self.object.handle.again().map_err(|error| raise(segment, &error))?;
        let holding = Holding::new(handle, self.storage, tag, grip, label);
        if ends {
            holding.make_known();
        }
        Ok(Content::There(holding))
    }

    /// Whether a message with those flags is bytes as they are.
    #[inline(always)]
    pub(crate) fn is_raw(&self, flags: u16) -> bool {
        self.way == Way::Bytes || self.way == Way::Pickle && flags & RAW != 0
    }

    /// A copy of a job's message.
    #[inline]
    pub(crate) fn copy(&self, py: Python<'_>, grip: Grip, label: Label) -> PyResult<Py<PyBytes>> {
        let segment = self.segment();
        let (_, length) = self.storage.message(segment, grip.at, label).map_err(|error| raise(segment, &error))?;
        let copied = bytes_with(py, length, |place| {
            let mut read = || self.storage.read(segment, grip.at, label, place);
            let done = if length < BIG { read() } else { py.detach(read) };
            done.map_err(|error| raise(segment, &error))
        })?;
        segment.check().map_err(|error| raise(segment, &error))?;
        Ok(copied.unbind())
    }

    /// The object that a message stands for.
    #[inline]
    pub(crate) fn value(&self, py: Python<'_>, content: &Content, flags: u16) -> PyResult<Py<PyAny>> {
        let bytes = match content {
            Content::Copied(bytes) if self.is_raw(flags) => return Ok(bytes.clone_ref(py).into_any()),
            Content::Copied(bytes) => bytes.bind(py).clone().into_any(),
            Content::There(holding) => Bound::new(py, Hold { holding: Arc::clone(holding) })?.into_any(),
        };
        if self.way == Way::Pickle && flags & PLAIN != 0 {
            return pickling::loads(&bytes).map(Bound::unbind);
        }
        crate::callback::method(self.codec.bind(py), pyo3::intern!(py, "decode"), &bytes).map(Bound::unbind)
    }

    /// Waits until it is worth to look for a job once more; says whether that is for the last time.
    #[cold]
    pub(crate) fn wait(&self, py: Python<'_>, timeout: Timeout) -> PyResult<bool> {
        if matches!(timeout, Timeout::Now) {
            return Ok(true);
        }
        let store = self.store()?;
        let memory = self.memory.recall();
        if self.spin.look_on(self.memory.begin_to_wait(), || store.is_put(&memory)) {
            py.check_signals()?;
            return Ok(timeout.has_passed());
        }
        let mut operation = Operation { offset: 0, wanted: Wanted::Job(0) };
        let came = drive(py, &self.object.handle, timeout, &mut operation)?.is_some();
        py.check_signals()?;
        Ok(!came || timeout.has_passed())
    }

    /// Takes the next job, and waits for it.
    #[inline]
    pub(crate) fn take(&self, py: Python<'_>, timeout: Timeout, until: impl Fn() -> u64) -> PyResult<Taken> {
        let mut over = false;
        loop {
            if let Some(taken) = self.try_take(py, 0, until())? {
                return Ok(taken);
            }
            if self.store()?.is_over() {
                return Err(exhaustion::shut_down(py, self.segment()));
            }
            if over {
                return Err(self.empty(py, timeout));
            }
            over = self.wait(py, timeout)?;
        }
    }

    #[cold]
    fn empty(&self, py: Python<'_>, timeout: Timeout) -> PyErr {
        let when = if matches!(timeout, Timeout::Now) { "now" } else { "in time" };
        let what = if self.segment().kind() == Kind::Service { "request" } else { "job" };
        let path = in_file(self.segment());
        exhaustion::empty(py, &format!("no {what} {when}{path}"))
    }

    /// How many jobs wait for a consumer.
    pub(crate) fn depth(&self) -> PyResult<usize> {
        self.check_open()?;
        let depth = self.store()?.depth();
        self.object.check()?;
        Ok(depth)
    }

    /// How many bytes there are for messages that are too long for their cells.
    pub(crate) fn max_bytes(&self) -> usize {
        self.storage.shape().blocks * self.storage.shape().block_size
    }

    /// Shuts it down; `immediate` throws away what waits.
    pub(crate) fn shut_down(&self, immediate: bool) -> PyResult<()> {
        let tag = self.object.tag()?;
        let store = self.store()?;
        store.shut_down(immediate);
        if immediate {
            store.throw_away(tag);
        }
        self.object.check()
    }

    /// Whether it was shut down.
    pub(crate) fn is_shut_down(&self) -> PyResult<bool> {
        self.check_open()?;
        let is_shut = self.store()?.shut() != Shut::Open;
        self.object.check()?;
        Ok(is_shut)
    }

    /// Refuses a closed one.
    pub(crate) fn check_open(&self) -> PyResult<()> {
        check_open(&self.object.handle)
    }
}
