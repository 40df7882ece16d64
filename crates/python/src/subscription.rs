//! `samemap._core.Subscription`, the base of `samemap.Subscription`.

mod rows;
mod values;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use samemap_core::bell::now;
use samemap_core::error::Error;
use samemap_core::operation::{Operation, Wanted};
use samemap_core::segment::Handle;
use samemap_core::slot::MOST_PINS;
use samemap_core::spin::Spin;
use samemap_core::subscriber::Policy;
use samemap_core::topic::{self, Channel, audience::Start};

use crate::arguments::{Fallback, Timeout};
use crate::callback;
use crate::drive::{check_open, drive, look, raise};
use crate::errors::in_file;
use crate::exhaustion;
use crate::in_turn::{InTurn, Turn};
use crate::outlet::Outlet;
use crate::pending::Pending;
use crate::reception::{Found, Reader, Reception};
use crate::sample::Sample;
use crate::topic::Topic;
use crate::view::Writable;
use values::Values;

/// Every so many small messages, how long they took is counted.
const DELAYS_EVERY: u64 = 16;

/// A reader of a topic; `samemap.Subscription` adds asyncio and more.
#[pyclass(subclass, frozen, weakref, module = "samemap._core")]
pub(crate) struct Subscription {
    topic: Py<Topic>,
    pub(crate) handle: Handle,
    policy: Policy,
    history: u64,
    state: InTurn<State>,
    spin: Spin,
    closed: AtomicBool,
}

/// How far it has come.
#[derive(Default)]
struct State {
    /// Its place; `None` for one that only looks, and when it is closed.
    reception: Option<Arc<Reception>>,
    /// The number of the message that it gets next.
    cursor: u64,
    /// Messages that are gone, since the last one that it got.
    gone: u64,
    received: u64,
    missed: u64,
    /// What it had received when it last waited.
    awaited: u64,
}

impl State {
    /// The number of the message that it waits for, and how many it got since it last waited.
    fn begin_to_wait(&mut self) -> (u64, u64) {
        (self.cursor, self.received - std::mem::replace(&mut self.awaited, self.received))
    }
}

fn policy_of(name: &str) -> PyResult<Policy> {
    match name {
        "latest" => Ok(Policy::Latest),
        "drop" => Ok(Policy::Drop),
        "block" => Ok(Policy::Block),
        other => Err(PyValueError::new_err(format!("policy is 'latest', 'drop' or 'block', not {other:?}"))),
    }
}

/// What a policy is called.
pub(crate) fn policy_name(policy: Policy) -> &'static str {
    match policy {
        Policy::Latest => "latest",
        Policy::Drop => "drop",
        Policy::Block => "block",
        Policy::Ended => "ended",
    }
}

impl Subscription {
    fn outlet(&self) -> &Outlet {
        &self.topic.get().outlet
    }

    /// Takes a place in the table, from where it has come to.
    fn join(&self, state: &mut State, start: Start) -> PyResult<()> {
        let segment = self.handle.segment();
        let arrangement = self.outlet().arrangement;
        let channel = arrangement.channel(segment).map_err(|error| raise(segment, &error))?;
        if !segment.is_writable() {
            if self.policy == Policy::Block {
                return Err(raise(segment, &Error::ReadOnly));
            }
            let newest = channel.newest();
            state.cursor = match start {
                Start::History(history) => newest.saturating_sub(history.min(newest)) + 1,
                Start::At(cursor) => cursor,
            };
            return Ok(());
        }
        let tag = segment.tag().map_err(|error| raise(segment, &error))?;
        let joined = segment.as_caller(|caller| channel.subscribe(caller, self.policy, start, now()));
        let Some((place, cursor)) = joined.map_err(|error| raise(segment, &error))? else {
            let most = arrangement.shape().subscribers;
            let cure = match most {
                MOST_PINS.. => String::new(),
                _ => format!("make it with max_subscribers={}, or ", (most * 2).clamp(1, MOST_PINS)),
            };
            return Err(PyValueError::new_err(format!(
                "it has room for {most} subscriptions, and all are taken by living processes: \
                 {cure}close some (see subscribers())"
            )));
        };
        let handle = self.handle.again().map_err(|error| raise(segment, &error))?;
        state.reception = Some(Arc::new(Reception { handle, arrangement, tag, place }));
        state.cursor = cursor;
        Ok(())
    }

    fn wanted(&self) -> topic::Wanted {
        match self.policy {
            Policy::Latest => topic::Wanted::Newest,
            Policy::Drop | Policy::Block | Policy::Ended => topic::Wanted::Some,
        }
    }

    fn check_open(&self) -> PyResult<()> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(raise(self.handle.segment(), &Error::Closed));
        }
        check_open(&self.outlet().object.handle)
    }

    /// Its place in the table, as this process's own; joins anew in a fork's child.
    #[inline]
    fn settle(&self, state: &mut State) -> PyResult<()> {
        let segment = self.handle.segment();
        match &state.reception {
            None => Ok(()),
            Some(reception) if segment.seated() == Some(reception.tag) => Ok(()),
            // The parent's stays until there is one of this process's own: without any, it would go on as one that only
            // looks.
            Some(_) => {
                self.join(state, Start::At(state.cursor))?;
                self.note(&self.outlet().channel()?, state, None);
                Ok(())
            }
        }
    }

    /// How far it has come, for one who reads on; refuses a closed one.
    #[inline(always)]
    fn settled<'a>(&'a self, py: Python<'a>) -> PyResult<Turn<'a, State>> {
        self.check_open()?;
        let mut state = self.state.take(py);
        self.settle(&mut state)?;
        Ok(state)
    }

    /// The next message, if it is there, and how many were gone before it.
    #[inline(always)]
    fn find(&self, py: Python<'_>) -> PyResult<Option<(Found, u64)>> {
        let mut state = self.settled(py)?;
        let (state, outlet, segment) = (&mut *state, self.outlet(), self.handle.segment());
        let before = state.cursor;
        let reader = Reader { py, segment, arrangement: &outlet.arrangement, reception: state.reception.as_ref() };
        let channel = outlet.channel()?;
        let found = reader.next(&channel, &mut state.cursor, self.wanted())?;
        let Some(found) = found else {
            state.gone += state.cursor.saturating_sub(before);
            return Ok(None);
        };
        let missed = state.gone + found.seq.saturating_sub(before);
        state.gone = 0;
        state.received += 1;
        state.missed += missed;
        self.note(&channel, state, Some(&found));
        Ok(Some((found, missed)))
    }

    /// A sample of the next message, if it is there.
    #[inline]
    fn next(&self, py: Python<'_>) -> PyResult<Option<Sample>> {
        Ok(self.find(py)?.map(|(found, missed)| Sample::new(self.outlet(), py, found, missed)))
    }

    /// The next message, which was not there yet.
    #[cold]
    fn find_in_time(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<(Found, u64)> {
        let timeout = Timeout::new(timeout)?;
        loop {
            let over = self.wait_once(py, timeout)?;
            match self.find(py)? {
                Some(found) => return Ok(found),
                None if over => return Err(self.empty(py, timeout)),
                None => {}
            }
        }
    }

    /// What a loop is given; nothing at the end.
    fn or_end<T>(&self, py: Python<'_>, received: PyResult<T>) -> PyResult<Option<T>> {
        match received {
            Ok(received) => Ok(Some(received)),
            // Whatever else is raised is for the caller, also when it was closed: by a signal handler, say, that then raises.
            Err(error) if error.is_instance_of::<PyValueError>(py) && self.check_open().is_err() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lets monitors, and publishers who wait for it, know how far it has come.
    #[inline]
    fn note(&self, channel: &Channel<'_>, state: &State, found: Option<&Found>) {
        let Some(reception) = &state.reception else { return };
        let outlet = self.outlet();
        // Not for each of many: who waits for a slot is best woken for several.
        let stride = (outlet.arrangement.shape().slots as u64 / 8).max(1);
        let tell = self.policy == Policy::Block
            && (state.cursor.is_multiple_of(stride) || found.is_none() || !channel.is_news(state.cursor));
        channel.advance(reception.place, state.cursor, state.received, state.missed, tell);
        if let Some(found) = found
            && (state.received.is_multiple_of(DELAYS_EVERY) || found.label.length > crate::reception::SMALL as u64)
        {
            channel.count_delay(reception.place, now().saturating_sub(found.label.published));
        }
    }

    /// Waits until there is a message to look for; false after the timeout.
    #[cold]
    fn wait(&self, py: Python<'_>, timeout: Timeout) -> PyResult<bool> {
        let segment = self.handle.segment();
        let (cursor, came) = self.state.take(py).begin_to_wait();
        let channel = self.outlet().channel()?;
        if !segment.is_writable() {
            let is_there = || self.check_open().map(|()| channel.is_news(cursor).then_some(()));
            return Ok(look(py, &self.handle, timeout, is_there)?.is_some());
        }
        if matches!(timeout, Timeout::Now) {
            return Ok(false);
        }
        if self.spin.look_on(came, || channel.is_news(cursor)) {
            return Ok(true);
        }
        let mut operation = Operation { offset: 0, wanted: Wanted::Message(cursor) };
        Ok(drive(py, &self.handle, timeout, &mut operation)?.is_some())
    }

    /// Waits until it is worth to look once more; says whether that is for the last time. What was there may be gone by
    /// then, perhaps again and again.
    fn wait_once(&self, py: Python<'_>, timeout: Timeout) -> PyResult<bool> {
        let came = self.wait(py, timeout)?;
        py.check_signals()?;
        Ok(!came || timeout.has_passed())
    }

    /// What `samemap.wait` waits for.
    pub(crate) fn operation(&self, py: Python<'_>) -> PyResult<Operation> {
        let state = self.settled(py)?;
        if state.reception.is_none() {
            return Err(raise(self.handle.segment(), &Error::ReadOnly));
        }
        Ok(Operation { offset: 0, wanted: Wanted::Message(state.cursor) })
    }

    /// Receives until one is there, `most` are, or none is left; `take` says what to do with each.
    fn many(
        &self,
        py: Python<'_>,
        most: usize,
        timeout: Timeout,
        mut take: impl FnMut(Sample) -> PyResult<()>,
    ) -> PyResult<usize> {
        let (mut done, mut over) = (0, false);
        while done < most {
            match self.next(py)? {
                Some(sample) => {
                    take(sample)?;
                    done += 1;
                }
                None if done > 0 => break,
                None if over => return Err(self.empty(py, timeout)),
                None => over = self.wait_once(py, timeout)?,
            }
        }
        self.outlet().object.check()?;
        Ok(done)
    }

    #[cold]
    fn empty(&self, py: Python<'_>, timeout: Timeout) -> PyErr {
        let newest = self.outlet().channel().map(|channel| channel.newest()).unwrap_or_default();
        let when = if matches!(timeout, Timeout::Now) { "now" } else { "in time" };
        let path = in_file(self.handle.segment());
        exhaustion::empty(py, &format!("no message {when}: the newest is number {newest}, which it has seen{path}"))
    }
}

#[pymethods]
impl Subscription {
    #[new]
    fn new(py: Python<'_>, topic: Py<Topic>, policy: &str, history: u64) -> PyResult<Self> {
        let outlet = &topic.get().outlet;
        check_open(&outlet.object.handle)?;
        let handle = outlet.object.handle.again().map_err(|error| raise(outlet.segment(), &error))?;
        let policy = policy_of(policy)?;
        let made = Self {
            topic,
            handle,
            policy,
            history,
            state: InTurn::new(State::default()),
            spin: Spin::default(),
            closed: AtomicBool::new(false),
        };
        made.join(&mut made.state.take(py), Start::History(history))?;
        made.outlet().object.check()?;
        Ok(made)
    }

    /// Receive the next message, and wait for it.
    ///
    /// Args:
    ///     timeout: Seconds; ``None`` waits for ever, 0 only looks.
    ///
    /// Returns:
    ///     The message: the newest with the policy ``"latest"``, else the oldest that it has not got and can still be had.
    ///
    /// Raises:
    ///     Empty: None came in time; a ``queue.Empty`` and a ``TimeoutError``.
    ///     KeyboardInterrupt: Ctrl-C, at once; likewise whatever another signal handler raises.
    ///     SegmentTruncated: Somebody truncated the file.
    ///     ValueError: It is closed, also by another thread meanwhile; or the timeout makes no sense.
    ///
    /// Example:
    ///     >>> from samemap import Topic
    ///     >>> topic = Topic()
    ///     >>> sub = topic.subscribe()
    ///     >>> topic.publish(b"hello")
    ///     1
    ///     >>> bytes(sub.recv())
    ///     b'hello'
    #[pyo3(signature = (timeout = None))]
    fn recv(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Sample> {
        let (found, missed) = match self.find(py)? {
            Some(found) => found,
            None => self.find_in_time(py, timeout)?,
        };
        Ok(Sample::new(self.outlet(), py, found, missed))
    }

    /// Receive the next message if it is there.
    ///
    /// Returns:
    ///     As `recv`.
    ///
    /// Raises:
    ///     Empty: There is none; a ``queue.Empty`` and a ``TimeoutError``.
    ///     SegmentTruncated: Somebody truncated the file.
    ///     ValueError: It is closed.
    ///
    /// Example:
    ///     >>> from samemap import Empty, Topic
    ///     >>> sub = Topic().subscribe()
    ///     >>> try:
    ///     ...     sub.recv_nowait()
    ///     ... except Empty:
    ///     ...     print("nothing yet")
    ///     nothing yet
    fn recv_nowait(&self, py: Python<'_>) -> PyResult<Sample> {
        self.next(py)?.ok_or_else(|| self.empty(py, Timeout::Now))
    }

    /// Of a closed one too: it ends at once, as ``async for`` does.
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Sample>> {
        self.or_end(py, self.recv(py, None))
    }

    /// Get what the next message says, and wait for it: for those who need no more of it than its value.
    ///
    /// That is `recv` without the sample, and quicker for small messages.
    ///
    /// Args:
    ///     timeout: Seconds; ``None`` waits for ever, 0 only looks.
    ///
    /// Returns:
    ///     What was published, as ``recv().value`` has it: a large array is read-only, and keeps its slot while any view of it
    ///     lives.
    ///
    /// Raises:
    ///     Empty: None came in time; a ``queue.Empty`` and a ``TimeoutError``.
    ///     KeyboardInterrupt: Ctrl-C, at once; likewise whatever another signal handler raises.
    ///     SegmentTruncated: Somebody truncated the file.
    ///     ValueError: It is closed, also by another thread meanwhile; or the timeout makes no sense.
    ///
    /// Example:
    ///     >>> from samemap import Topic
    ///     >>> topic = Topic()
    ///     >>> sub = topic.subscribe()
    ///     >>> topic.publish(b"hello")
    ///     1
    ///     >>> sub.get()
    ///     b'hello'
    #[pyo3(signature = (timeout = None))]
    fn get(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<PyAny>> {
        match self.find(py)? {
            Some((found, _)) => self.outlet().value(py, found.payload),
            None => self.outlet().value(py, self.find_in_time(py, timeout)?.0.payload),
        }
    }

    /// Get what the next message says, if it is there.
    ///
    /// Args:
    ///     default: What to return when it is not, instead of raising: for loops that poll.
    ///
    /// Returns:
    ///     As `get`.
    ///
    /// Raises:
    ///     Empty: There is none, and no default; a ``queue.Empty`` and a ``TimeoutError``.
    ///     SegmentTruncated: Somebody truncated the file.
    ///     ValueError: It is closed.
    ///
    /// Example:
    ///     >>> from samemap import Topic
    ///     >>> sub = Topic().subscribe()
    ///     >>> sub.get_nowait(default=b"nothing yet")
    ///     b'nothing yet'
    #[pyo3(signature = (default = Fallback(None)), text_signature = "($self, default=...)")]
    fn get_nowait(&self, py: Python<'_>, default: Fallback) -> PyResult<Py<PyAny>> {
        match self.find(py)? {
            Some((found, _)) => self.outlet().value(py, found.payload),
            None => default.0.ok_or_else(|| self.empty(py, Timeout::Now)),
        }
    }

    /// What the messages say, one after the other, for loops that need no more of them: as `get`.
    ///
    /// Example:
    ///     >>> from samemap import Topic
    ///     >>> topic = Topic()
    ///     >>> values = topic.subscribe().values()
    ///     >>> topic.publish(b"hello")
    ///     1
    ///     >>> next(values)
    ///     b'hello'
    fn values(slf: Py<Self>) -> Values {
        Values { subscription: slf }
    }

    /// Receive the next message if it is there, without an exception when it is not: for loops that poll.
    ///
    /// Returns:
    ///     As `recv`; ``None`` when there is none.
    ///
    /// Raises:
    ///     SegmentTruncated: Somebody truncated the file.
    ///     ValueError: It is closed.
    ///
    /// Example:
    ///     >>> from samemap import Topic
    ///     >>> sub = Topic().subscribe()
    ///     >>> sub.poll() is None
    ///     True
    fn poll(&self, py: Python<'_>) -> PyResult<Option<Sample>> {
        self.next(py)
    }

    /// Bytes of the messages that are there, as a list, and wait for one at least.
    fn _recv_bytes(&self, py: Python<'_>, most: usize, timeout: Option<f64>) -> PyResult<Py<PyList>> {
        let list = PyList::empty(py);
        self.many(py, most, Timeout::new(timeout)?, |sample| {
            list.append(Py::new(py, sample)?.call_method0(py, "__bytes__")?)
        })?;
        Ok(list.unbind())
    }

    /// The samples that are there, as a list, and wait for one at least.
    fn _recv_samples(&self, py: Python<'_>, most: usize, timeout: Option<f64>) -> PyResult<Py<PyList>> {
        let list = PyList::empty(py);
        self.many(py, most, Timeout::new(timeout)?, |sample| list.append(Py::new(py, sample)?))?;
        Ok(list.unbind())
    }

    /// Copy the messages that are there, of so many bytes each, and wait for one at least; return what `make` made for as
    /// many as there can be, and how many it has.
    fn _recv_rows<'py>(
        &self,
        py: Python<'py>,
        make: &Bound<'py, PyAny>,
        most: usize,
        each: usize,
        timeout: Option<f64>,
    ) -> PyResult<(Bound<'py, PyAny>, usize)> {
        let timeout = Timeout::new(timeout)?;
        let mut over = false;
        loop {
            let made = callback::call(make, &PyTuple::new(py, [most.min(self.within_reach(py)?)])?)?;
            let mut rows = Writable::new(&made)?;
            match self.fill(py, &mut rows, each)? {
                0 if rows.len() < each.max(1) => return Ok((made, 0)),
                0 if over => return Err(self.empty(py, timeout)),
                0 => over = self.wait_once(py, timeout)?,
                count => return Ok((made, count)),
            }
        }
    }

    /// Begin to wait for a message, for a task.
    fn _begin_wait(&self, py: Python<'_>) -> PyResult<Pending> {
        Pending::new(&self.handle, self.operation(py)?, |_, _| Ok(true))
    }

    /// How many messages it has got.
    #[getter]
    fn received(&self, py: Python<'_>) -> u64 {
        self.state.take(py).received
    }

    /// How many messages were gone before it could get them.
    #[getter]
    fn missed(&self, py: Python<'_>) -> u64 {
        let state = self.state.take(py);
        state.missed + state.gone
    }

    /// How many messages were published that it has not got yet, those that are gone by now included.
    #[getter]
    fn lag(&self, py: Python<'_>) -> PyResult<u64> {
        self.check_open()?;
        let newest = self.outlet().channel()?.newest();
        self.outlet().object.check()?;
        Ok(newest.wrapping_add(1).saturating_sub(self.state.take(py).cursor))
    }

    /// How it is treated when it cannot follow: ``"latest"``, ``"drop"`` or ``"block"``.
    #[getter]
    fn policy(&self) -> &'static str {
        policy_name(self.policy)
    }

    /// How many of the last messages it asked for when it began.
    #[getter]
    fn history(&self) -> u64 {
        self.history
    }

    /// Whether `close` was called, or its topic was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.check_open().is_err()
    }

    /// The topic that it reads.
    #[getter]
    fn topic(&self) -> &Py<Topic> {
        &self.topic
    }

    /// End it: publishers wait for it no more. Samples that were received stay good. Closing twice is fine.
    ///
    /// Example:
    ///     >>> from samemap import Topic
    ///     >>> with Topic().subscribe() as sub:
    ///     ...     pass
    ///     >>> sub.closed
    ///     True
    fn close(&self, py: Python<'_>) {
        self.closed.store(true, Ordering::Relaxed);
        let reception = self.state.take(py).reception.take();
        if let Some(reception) = reception {
            reception.end();
        }
        self.handle.close();
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // Its place stays taken for as long as samples of it live, but nobody waits for it any more.
        if let Some(reception) = &self.state.get_mut().reception {
            reception.end();
        }
    }
}
