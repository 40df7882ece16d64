//! `samemap._core.Service`, `Call` and `Request`: calls between processes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use samemap_core::atomic::monotonic;
use samemap_core::operation::{Operation, Outcome, Wanted};
use samemap_core::queue::Answer;
use samemap_core::segment::Handle;
use samemap_core::spin::Spin;
use samemap_core::tag::Tag;

use crate::arguments::Timeout;
use crate::depot::{Depot, FLAGS, Route, Taken, raw_flag};
use crate::drive::{drive, raise};
use crate::errors::{in_file, in_words};
use crate::exhaustion;
use crate::job::Job;
use crate::lent::{Draft, Drafts};
use crate::loan::{Lender, Loan};
use crate::object::closing;
use crate::pending::Pending;
use crate::segment::Segment;
use crate::workload::{JobRow, LeaseRow, TotalsRow, WorkerRow};

/// Nanoseconds between two questions whether who has a request lives, by one who asks for the reply all the time.
const ASK_AFTER: u64 = 5_000_000;

const NO_REPLY: &str = "no reply came in time";

/// Requests and their replies; `samemap.Service` and `samemap.Client` add names, codecs and more.
#[pyclass(subclass, frozen, weakref, module = "samemap._core")]
pub(crate) struct Service {
    pub(crate) requests: Arc<Depot>,
    replies: Arc<Depot>,
    /// Requests that are filled in place.
    drafts: Arc<Drafts>,
}

closing!(Service, requests.object);

#[pymethods]
impl Service {
    #[new]
    fn new(segment: &Segment, codec: Py<PyAny>, way: &str, reply_codec: Py<PyAny>, reply_way: &str) -> PyResult<Self> {
        let requests = Arc::new(Depot::new(segment, codec, way)?);
        let replies = Arc::new(Depot::new(segment, reply_codec, reply_way)?);
        Ok(Self { requests, replies, drafts: Arc::default() })
    }

    #[pyo3(name = "_call", signature = (value, timeout = None))]
    fn call(&self, py: Python<'_>, value: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<Call> {
        let timeout = Timeout::new(timeout)?;
        if let Some(draft) = self.drafts.take(value) {
            return self.call_with(py, draft, timeout);
        }
        let (message, flags) = self.requests.message(value)?;
        let mut call = self.claim(py, timeout)?;
        let reply = Some((call.lane as u16, call.number));
        let put = self.requests.put(py, &message, Route { flags, reply, ..Route::default() }, timeout)?;
        let Some((grip, seq)) = put else {
            return Err(PyValueError::new_err("the request was refused"));
        };
        (call.request, call.seq) = ((grip.at, grip.state.generation()), seq);
        Ok(call)
    }

    /// A loan for a request; as that of a queue.
    #[pyo3(name = "_loan")]
    fn loan(
        &self,
        py: Python<'_>,
        length: usize,
        head: &[u8],
        codec: Py<PyAny>,
        raw: bool,
        timeout: Option<f64>,
    ) -> PyResult<Loan> {
        let lender = Lender::Call { drafts: Arc::clone(&self.drafts), kept: false };
        let (depot, route) = (&self.requests, Route { flags: raw_flag(raw), ..Route::default() });
        Loan::of_job(py, lender, depot, route, (length, head), codec, Timeout::new(timeout)?)
    }

    #[pyo3(name = "_take", signature = (timeout = None))]
    fn take(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<Request>> {
        let taken = self.requests.take(py, Timeout::new(timeout)?, || 0)?;
        let (lane, number) = self.requests.store()?.jobs()[taken.grip.at].reply_to();
        let job = Job::new(&self.requests, taken)?;
        let (replies, drafts) = (Arc::clone(&self.replies), Arc::default());
        let request = Request { replies, lane: usize::from(lane), number, drafts };
        Py::new(py, PyClassInitializer::from(job).add_subclass(request))
    }

    #[pyo3(name = "_begin_take")]
    fn begin_take(&self) -> PyResult<Pending> {
        self.requests.object.tag()?;
        Pending::new(&self.requests.object.handle, self.requests.object.operation(Wanted::Job(0)), |_, _| Ok(()))
    }

    #[pyo3(name = "_begin_call")]
    fn begin_call(&self, size: usize) -> PyResult<Pending> {
        self.requests.object.tag()?;
        let blocks = self.requests.storage.blocks_for(size);
        let wanted = Wanted::CallSpace(blocks);
        Pending::new(&self.requests.object.handle, self.requests.object.operation(wanted), |_, _| Ok(()))
    }

    /// How many bytes the message of an object has, for `_begin_call`.
    fn _size_of(&self, value: &Bound<'_, PyAny>) -> PyResult<usize> {
        Ok(self.requests.message(value)?.0.len())
    }

    /// How many requests wait for a server. Others may change that at any time.
    ///
    /// Raises:
    ///     ValueError: It is closed.
    fn qsize(&self) -> PyResult<usize> {
        self.requests.depth()
    }

    /// How many requests may wait.
    #[getter]
    fn maxsize(&self) -> usize {
        self.requests.storage.shape().maxsize
    }

    /// How many bytes there are for messages of more than 128 bytes, requests and replies together.
    #[getter]
    fn max_bytes(&self) -> usize {
        self.requests.max_bytes()
    }

    /// Shut the service down, for all processes and for good: nothing can be asked any more.
    ///
    /// Args:
    ///     immediate: What waits is thrown away. Else servers go on until nothing waits.
    ///
    /// Raises:
    ///     TypeError: It is mapped read-only.
    ///     ValueError: It is closed.
    #[pyo3(signature = (immediate = false))]
    fn shutdown(&self, immediate: bool) -> PyResult<()> {
        self.requests.shut_down(immediate)
    }

    /// Whether it was shut down.
    #[getter]
    fn is_shut_down(&self) -> PyResult<bool> {
        self.requests.is_shut_down()
    }

    fn _jobs(&self) -> PyResult<Vec<JobRow>> {
        self.requests.job_rows()
    }

    fn _leases(&self) -> PyResult<Vec<LeaseRow>> {
        self.requests.lease_rows()
    }

    fn _workers(&self) -> PyResult<Vec<WorkerRow>> {
        self.requests.worker_rows()
    }

    fn _totals(&self) -> PyResult<TotalsRow> {
        self.requests.totals_row()
    }
}

impl Service {
    /// Calls with what was filled in place; it is still to be sent when this fails.
    fn call_with(&self, py: Python<'_>, draft: Draft, timeout: Timeout) -> PyResult<Call> {
        self.drafts.using(draft, |draft| {
            let mut call = self.claim(py, timeout)?;
            if let Some((grip, seq)) = draft.send(py, 0, Some((call.lane as u16, call.number)), timeout)? {
                (call.request, call.seq) = ((grip.at, grip.state.generation()), seq);
            }
            Ok(call)
        })
    }

    /// A call that has a lane for its replies, and no request yet.
    fn claim(&self, py: Python<'_>, timeout: Timeout) -> PyResult<Call> {
        let mut over = false;
        loop {
            let tag = self.requests.object.tag()?;
            let (segment, store) = (self.requests.segment(), self.requests.store()?);
            let claimed = segment.as_caller_with(tag, |caller| store.claim_lane(caller));
            if let Some((lane, number)) = claimed.map_err(|error| raise(segment, &error))? {
                let replies = Arc::clone(&self.replies);
                let (request, seq, ended, had) = ((0, 0), 0, AtomicBool::new(false), Mutex::new(None));
                let (asked, spin) = (AtomicU64::new(0), Spin::default());
                return Ok(Call { replies, lane, number, tag, request, seq, ended, had, asked, spin });
            }
            if over {
                return Err(exhaustion::full_queue(py, segment, &store));
            }
            let mut operation = self.requests.object.operation(Wanted::CallSpace(0));
            let came = drive(py, &self.requests.object.handle, timeout, &mut operation)?.is_some();
            over = !came || timeout.has_passed();
        }
    }
}

/// A call that is in flight. Dropped, it is cancelled.
#[pyclass(frozen, weakref, module = "samemap._core")]
pub(crate) struct Call {
    replies: Arc<Depot>,
    lane: usize,
    number: u32,
    tag: Tag,
    /// The place of the request, and its generation.
    request: (usize, u32),
    /// The number of the request.
    #[pyo3(get)]
    seq: u64,
    ended: AtomicBool,
    /// Who had the request when that was last seen.
    had: Mutex<Option<Tag>>,
    /// When it was last asked whether that one lives, on the monotonic clock in nanoseconds.
    asked: AtomicU64,
    spin: Spin,
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end();
    }
}

impl Call {
    fn end(&self) {
        // Not in a fork's child: it is its parent's.
        if !self.ended.swap(true, Ordering::Relaxed)
            && self.replies.segment().seated() == Some(self.tag)
            && let Ok(store) = self.replies.store()
        {
            if self.seq != 0 {
                store.withdraw(self.request, self.tag);
            }
            store.release_lane(self.lane, self.number, self.tag);
        }
    }

    fn had(&self) -> MutexGuard<'_, Option<Tag>> {
        self.had.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wanted(&self) -> Wanted {
        Wanted::Reply(self.lane, self.request, *self.had())
    }

    /// Keeps what a wait for the reply has found out.
    pub(crate) fn note(&self, wanted: &Wanted) {
        if let Wanted::Reply(_, _, Some(had)) = wanted {
            self.note_lessee(*had);
        }
    }

    /// Notes who has the request.
    pub(crate) fn note_lessee(&self, who: Tag) {
        *self.had() = Some(who);
    }

    /// What it is in.
    pub(crate) fn handle(&self) -> &Handle {
        &self.replies.object.handle
    }

    /// To know that there is a reply, or will be none.
    pub(crate) fn operation(&self) -> Operation {
        self.replies.object.operation(self.wanted())
    }

    /// Refuses one that was cancelled: its lane is another's.
    pub(crate) fn check(&self) -> PyResult<()> {
        if self.ended.load(Ordering::Relaxed) {
            return Err(PyValueError::new_err("the call was cancelled"));
        }
        Ok(())
    }

    /// Looks whether there is a reply, or will be none, and notes who has the request.
    fn look(&self, ask: bool) -> PyResult<Option<Answer>> {
        let (segment, store) = (self.replies.segment(), self.replies.store()?);
        let tag = self.replies.object.tag()?;
        let answer = segment
            .as_caller_with(tag, |caller| store.answer(self.lane, self.request, &mut self.had(), caller, ask))
            .map_err(|error| raise(segment, &error))?;
        self.replies.object.check()?;
        Ok(answer)
    }

    /// The reply of one who has no time to wait for it; or an error that says that there is none now, or will be none.
    #[cold]
    fn last_look(&self, py: Python<'_>) -> PyResult<(u16, Py<PyAny>)> {
        let moment = monotonic();
        // Relaxed, both: should two threads ask at once, that costs a system call.
        let ask = moment.wrapping_sub(self.asked.load(Ordering::Relaxed)) >= ASK_AFTER;
        match self.look(ask)? {
            Some(Answer::Died(who)) => Err(self.died(py, who)),
            // It came just now; or it was for an earlier call, by somebody who was late.
            Some(Answer::There) => self.try_recv(py)?.ok_or_else(|| exhaustion::empty(py, NO_REPLY)),
            None => {
                // Not where it has died: what was said once is said again.
                if ask {
                    self.asked.store(moment, Ordering::Relaxed);
                }
                Err(exhaustion::empty(py, NO_REPLY))
            }
        }
    }

    /// The next reply, if it is there.
    fn try_recv(&self, py: Python<'_>) -> PyResult<Option<(u16, Py<PyAny>)>> {
        self.check()?;
        while let Some(taken) = self.replies.try_take(py, self.lane, 0)? {
            let Taken { grip, label, content, .. } = taken;
            let store = self.replies.store()?;
            let value = if label.number == self.number {
                Some(self.replies.value(py, &content, label.flags))
            } else {
                // For an earlier call, by somebody who was late.
                None
            };
            match store.acknowledge(grip, self.tag) {
                Some(held) => content.clear(&store, held, self.tag),
                None => content.let_go(&store, grip, self.tag),
            }
            if let Some(value) = value {
                return Ok(Some((label.flags & FLAGS, value?)));
            }
        }
        Ok(None)
    }

    #[cold]
    fn died(&self, py: Python<'_>, who: Option<Tag>) -> PyErr {
        let segment = self.replies.segment();
        let path = in_file(segment);
        let who = match who {
            Some(tag) => in_words(segment, Some(tag)),
            None => "whoever had it".to_owned(),
        };
        let text = format!("call {} will have no reply{path}: {who} died with it, or ended it without one", self.seq);
        exhaustion::peer_died(py, &text)
    }
}

#[pymethods]
impl Call {
    /// Receive the next part of the reply, with the number that the server gave to it.
    ///
    /// Args:
    ///     timeout: Seconds to wait; ``None`` waits for ever, 0 only looks, also after who has the request.
    ///
    /// Raises:
    ///     Empty: None came in time.
    ///     PeerDied: There will be none: who had the request died, or ended it without a reply.
    ///     ValueError: It was cancelled; or the timeout makes no sense.
    #[pyo3(signature = (timeout = None))]
    fn recv(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<(u16, Py<PyAny>)> {
        let timeout = Timeout::new(timeout)?;
        let mut over = matches!(timeout, Timeout::Now);
        if over && !self.ended.load(Ordering::Relaxed) {
            // To look for a reply may end a dead one's request: who had it is to be known before.
            self.look(false)?;
        }
        if let Some(reply) = self.try_recv(py)? {
            return Ok(reply);
        }
        let store = self.replies.store()?;
        loop {
            if !over && self.spin.look(|| store.is_next(self.lane)) {
                py.check_signals()?;
            } else if !over {
                let mut operation = self.operation();
                let outcome = drive(py, self.handle(), timeout, &mut operation)?;
                self.note(&operation.wanted);
                over = outcome.is_none() || timeout.has_passed();
                if let Some(Outcome::Died(who)) = outcome {
                    // It may have replied just before.
                    return self.try_recv(py)?.map_or_else(|| Err(self.died(py, who)), Ok);
                }
            }
            match self.try_recv(py)? {
                Some(reply) => return Ok(reply),
                None if over => return self.last_look(py),
                None => over = timeout.has_passed(),
            }
        }
    }

    #[pyo3(name = "_begin_recv")]
    fn begin_recv(slf: &Bound<'_, Self>) -> PyResult<Pending> {
        let call = slf.clone().unbind();
        let this = slf.get();
        this.replies.object.tag()?;
        Pending::new(this.handle(), this.operation(), move |py, outcome| match outcome {
            // Unless it has replied just before.
            Outcome::Died(who) if !call.get().replies.store()?.is_next(call.get().lane) => {
                Err(call.get().died(py, who))
            }
            _ => Ok(()),
        })
    }

    /// Let the server know that nobody waits any more. Cancelling twice is fine.
    fn cancel(&self) {
        self.end();
    }
}

/// A request that is being served: done at the end of a ``with`` block.
#[pyclass(frozen, extends = Job, module = "samemap")]
pub(crate) struct Request {
    replies: Arc<Depot>,
    lane: usize,
    number: u32,
    /// Replies that are filled in place.
    drafts: Arc<Drafts>,
}

#[pymethods]
impl Request {
    /// A loan for a reply; as that of a queue.
    #[pyo3(name = "_loan")]
    fn loan(
        &self,
        py: Python<'_>,
        length: usize,
        head: &[u8],
        codec: Py<PyAny>,
        raw: bool,
        timeout: Option<f64>,
    ) -> PyResult<Loan> {
        let lender = Lender::Call { drafts: Arc::clone(&self.drafts), kept: true };
        let route = Route { lane: self.lane, number: self.number, flags: raw_flag(raw), reply: None };
        Loan::of_job(py, lender, &self.replies, route, (length, head), codec, Timeout::new(timeout)?)
    }

    /// Whether nobody waits for the reply any more: the caller gave up, or died, which is seen some 20 ms later.
    #[getter]
    fn cancelled(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let (this, requests) = (slf.get(), &slf.as_super().get().depot);
        let store = this.replies.store()?;
        let is_awaited = || store.is_awaited(this.lane, this.number);
        // Whoever closed the service, or is a fork's child, only looks.
        if let Some(tag) = requests.segment().seated()
            && is_awaited()
        {
            // With that of the requests, by which one who serves looks after them anyway.
            requests.look_after_the_dead(tag)?;
        }
        let is_awaited = is_awaited();
        requests.object.check()?;
        Ok(!is_awaited)
    }

    /// Send a part of the reply, and wait while the client is behind.
    ///
    /// Args:
    ///     flags: A number for the client, 0 to 255.
    ///     value: The part.
    ///     timeout: Seconds to wait; ``None`` waits for ever, 0 only looks.
    ///
    /// Returns:
    ///     ``False`` when nobody waits for it any more.
    ///
    /// Raises:
    ///     Full: There was no room in time.
    #[pyo3(signature = (flags, value, timeout = None))]
    fn reply(&self, py: Python<'_>, flags: u8, value: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<bool> {
        if let Some(draft) = self.drafts.take(value) {
            let sent = self.drafts.using(draft, |draft| draft.send(py, u16::from(flags), None, Timeout::new(timeout)?));
            return Ok(sent?.is_some());
        }
        let (message, made) = self.replies.message(value)?;
        let route = Route { lane: self.lane, number: self.number, flags: made | u16::from(flags), reply: None };
        Ok(self.replies.put(py, &message, route, Timeout::new(timeout)?)?.is_some())
    }

    #[pyo3(name = "_begin_reply")]
    fn begin_reply(&self, size: usize) -> PyResult<Pending> {
        self.replies.object.tag()?;
        let wanted = Wanted::Space(self.lane, self.number, self.replies.storage.blocks_for(size));
        Pending::new(&self.replies.object.handle, self.replies.object.operation(wanted), |_, _| Ok(()))
    }

    /// How many bytes the message of a part has, for `_begin_reply`.
    fn _size_of(&self, value: &Bound<'_, PyAny>) -> PyResult<usize> {
        Ok(self.replies.message(value)?.0.len())
    }
}
