//! `samemap._core.Queue`, the base of `samemap.Queue`.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytesMethods, PyList};
use samemap_core::atomic::monotonic;
use samemap_core::operation::Wanted;
use samemap_core::queue::Store;
use samemap_core::tag::Tag;

use crate::arguments::Timeout;
use crate::depot::{Depot, Route, Taken, raw_flag};
use crate::drive::{drive, raise};
use crate::exhaustion;
use crate::job::{DeadLetter, Job};
use crate::loan::{Lender, Loan};
use crate::object::closing;
use crate::pending::Pending;
use crate::putting::Putting;
use crate::segment::Segment;
use crate::small::Got;
use crate::view::{Message, Source};
use crate::workload::{JobRow, LeaseRow, TotalsRow, WorkerRow};

/// Jobs from many to many; `samemap.Queue` adds names, codecs and more.
#[pyclass(subclass, frozen, weakref, module = "samemap._core")]
pub(crate) struct Queue {
    pub(crate) depot: Arc<Depot>,
}

closing!(Queue, depot.object);

/// The end of a lease, on the monotonic clock in nanoseconds; 0 for never.
pub(crate) fn end_of(lease_time: Option<f64>) -> PyResult<u64> {
    let Some(time) = lease_time else { return Ok(0) };
    if time.is_nan() || time <= 0.0 {
        return Err(PyValueError::new_err(format!("lease_time is a number of seconds above 0, or None, not {time}")));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and what is too large is for ever"
    )]
    Ok(monotonic().saturating_add((time * 1e9) as u64))
}

fn waits(block: bool, timeout: Option<f64>) -> PyResult<Timeout> {
    if block { Timeout::new(timeout) } else { Ok(Timeout::Now) }
}

impl Queue {
    #[inline]
    fn put_one(&self, py: Python<'_>, value: &Bound<'_, PyAny>, timeout: Timeout) -> PyResult<()> {
        if let Some((bytes, flags)) = self.depot.as_it_is(value)
            && self.depot.put_small(bytes, flags)?
        {
            return Ok(());
        }
        let (message, flags) = self.depot.message(value)?;
        if let Message::One(Source::Bytes(bytes)) = &message
            && self.depot.put_small(bytes.as_bytes(), flags)?
        {
            return Ok(());
        }
        self.depot.put(py, &message, Route { flags, ..Route::default() }, timeout)?;
        Ok(())
    }

    /// The object of a job that was taken and counted. A job of which none can be made becomes a dead letter, or is given back
    /// when there was no memory for it.
    #[inline]
    fn value(&self, py: Python<'_>, store: &Store<'_>, tag: Tag, taken: &Taken) -> PyResult<Py<PyAny>> {
        let Taken { grip, label, content, seq } = taken;
        self.depot.value(py, content, label.flags).inspect_err(|error| {
            let is_dead = self.depot.renounce(py, store, (*grip, tag), content.has_views(), error);
            store.count_done(tag);
            let now = if is_dead { "is among the dead letters now, because it" } else { "was given back, as it" };
            // The error itself matters more.
            let _ = error.value(py).call_method1("add_note", (format!("job {seq} {now} could not be brought back"),));
        })
    }

    /// Ends a job of which the object was made.
    #[inline]
    fn end(store: &Store<'_>, tag: Tag, Taken { grip, label, content, .. }: &Taken) {
        match store.finish(*grip, *label, tag) {
            Some(None) => {}
            Some(Some(held)) => content.clear(store, held, tag),
            None => content.let_go(store, *grip, tag),
        }
    }

    /// Adds the objects of jobs that were taken and counted to those that were found, and ends the jobs.
    fn add(
        &self,
        py: Python<'_>,
        (store, tag): (&Store<'_>, Tag),
        taken: &[Taken],
        found: &Bound<'_, PyList>,
    ) -> PyResult<()> {
        let is_only = found.is_empty() && taken.len() == 1;
        for (at, each) in taken.iter().enumerate() {
            match self.value(py, store, tag, each) {
                Ok(value) => {
                    if let Err(error) = found.append(value) {
                        for Taken { grip, content, .. } in &taken[at..] {
                            store.give_back(*grip, tag, content.has_views());
                            store.count_done(tag);
                        }
                        // What there is matters more than the error, which comes again.
                        return if found.is_empty() { Err(error) } else { Ok(()) };
                    }
                    Self::end(store, tag, each);
                }
                Err(error) if is_only => return Err(error),
                // It is a dead letter now, or was given back: the others are not lost with it.
                Err(_) => {}
            }
        }
        Ok(())
    }

    #[inline]
    fn get_one(&self, py: Python<'_>, timeout: Timeout) -> PyResult<Py<PyAny>> {
        let (store, tag) = (self.depot.store()?, self.depot.object.tag()?);
        let is_later = self.depot.begin_get(tag)?;
        if let Got::Value(value) = self.depot.get(py, &store, tag)? {
            if is_later {
                // Who waits for room is woken for every quarter of the queue; and by slow consumers for each job.
                store.tell_freed();
            }
            return Ok(value);
        }
        let taken = self.depot.take(py, timeout, || 0)?;
        // Closed meanwhile, it takes no part any more.
        let tag = self.depot.object.tag()?;
        store.count_gets(tag, 1);
        let value = self.value(py, &store, tag, &taken).inspect(|_| Self::end(&store, tag, &taken));
        store.tell_freed();
        value
    }
}

#[pymethods]
impl Queue {
    #[new]
    fn new(segment: &Segment, codec: Py<PyAny>, way: &str) -> PyResult<Self> {
        Ok(Self { depot: Arc::new(Depot::new(segment, codec, way)?) })
    }

    /// Put a job into the queue, and wait while it is full.
    ///
    /// Args:
    ///     obj: What the queue takes: any object that can be pickled; or an array of its shape and dtype, an object of its
    ///         type, or bytes. What cannot be made into a message is told here, and not to the consumer.
    ///     block: ``False`` only looks.
    ///     timeout: Seconds to wait; ``None`` waits for ever, 0 only looks.
    ///
    /// Raises:
    ///     Full: There was no room in time; the message says what takes it; a ``queue.Full`` and a ``TimeoutError``.
    ///     KeyboardInterrupt: Ctrl-C while it waits; likewise whatever another signal handler raises.
    ///     OSError: ``ENOSPC`` and others, as `SegmentTruncated`.
    ///     ShutDown: The queue was shut down.
    ///     TypeError: It is not what the queue takes, or the queue is mapped read-only.
    ///     ValueError: It is closed, or the message is larger than any can be.
    ///
    /// Example:
    ///     >>> from samemap import Queue
    ///     >>> queue = Queue()
    ///     >>> queue.put(("resize", 640, 480))
    ///     >>> queue.get()
    ///     ('resize', 640, 480)
    #[pyo3(signature = (obj, block = true, timeout = None))]
    fn put(&self, py: Python<'_>, obj: &Bound<'_, PyAny>, block: bool, timeout: Option<f64>) -> PyResult<()> {
        self.put_one(py, obj, waits(block, timeout)?)
    }

    /// Put a job into the queue if there is room.
    ///
    /// Args:
    ///     obj: As for `put`.
    ///
    /// Raises:
    ///     Full: There is no room now; a ``queue.Full`` and a ``TimeoutError``.
    ///     ShutDown: The queue was shut down.
    ///     TypeError: It is not what the queue takes, or the queue is mapped read-only.
    ///     ValueError: It is closed, or the message is larger than any can be.
    ///
    /// Example:
    ///     >>> from samemap import Full, Queue
    ///     >>> queue = Queue(maxsize=1)
    ///     >>> queue.put_nowait("one")
    ///     >>> queue.put_nowait("two")
    ///     Traceback (most recent call last):
    ///     samemap.exhaustion.Full: no room: 1 of 1 jobs wait, ...
    fn put_nowait(&self, py: Python<'_>, obj: &Bound<'_, PyAny>) -> PyResult<()> {
        self.put_one(py, obj, Timeout::Now)
    }

    /// Take the next job out of the queue, and wait for it.
    ///
    /// The job is this process's alone from now on, and is lost when it dies: `lease` keeps it until it is done.
    ///
    /// Args:
    ///     block: ``False`` only looks.
    ///     timeout: Seconds to wait; ``None`` waits for ever, 0 only looks.
    ///
    /// Returns:
    ///     What was put. Arrays in large messages are read-only views of the queue's memory, which stays theirs for as
    ///     long as they live.
    ///
    /// Raises:
    ///     Empty: None came in time; a ``queue.Empty`` and a ``TimeoutError``.
    ///     Exception: What the object's class raises when it is unpickled; the job is among the dead letters then. When there
    ///         is no memory for it, it is given back.
    ///     KeyboardInterrupt: Ctrl-C, at once; likewise whatever another signal handler raises.
    ///     ShutDown: The queue was shut down, and is empty.
    ///     ValueError: It is closed, also by another thread meanwhile.
    ///
    /// Example:
    ///     >>> from samemap import Queue
    ///     >>> queue = Queue(codec="bytes")
    ///     >>> queue.put(b"one")
    ///     >>> queue.get(timeout=1)
    ///     b'one'
    #[pyo3(signature = (block = true, timeout = None))]
    fn get(&self, py: Python<'_>, block: bool, timeout: Option<f64>) -> PyResult<Py<PyAny>> {
        self.get_one(py, waits(block, timeout)?)
    }

    /// Take the next job out of the queue if there is one.
    ///
    /// Returns:
    ///     As `get`.
    ///
    /// Raises:
    ///     Empty: There is none; a ``queue.Empty`` and a ``TimeoutError``.
    ///     Exception: As from `get`.
    ///     ShutDown: The queue was shut down, and is empty.
    ///     ValueError: It is closed.
    ///
    /// Example:
    ///     >>> from samemap import Queue
    ///     >>> Queue().get_nowait()
    ///     Traceback (most recent call last):
    ///     samemap.exhaustion.Empty: no job now
    fn get_nowait(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.get_one(py, Timeout::Now)
    }

    /// Put many jobs into the queue, which costs less than one by one.
    ///
    /// Args:
    ///     values: What `put` takes, in any iterable; a list is quickest.
    ///     timeout: Seconds to wait in all while it is full; ``None`` waits for ever.
    ///
    /// Returns:
    ///     How many were put: fewer than all when the time was over before.
    ///
    /// Raises:
    ///     Full: Not one could be put in time; a ``queue.Full`` and a ``TimeoutError``. Of an iterator also when some were:
    ///         ``published`` says how many, and ``unpublished`` has what was taken from it and not put.
    ///     ShutDown: The queue was shut down.
    ///     TypeError: One is not what the queue takes; those before it were put.
    ///     ValueError: It is closed, or a message is larger than any can be; those before it were put.
    ///
    /// Example:
    ///     >>> from samemap import Queue
    ///     >>> queue = Queue()
    ///     >>> queue.put_many(range(100)), queue.qsize()
    ///     (100, 100)
    #[pyo3(signature = (values, timeout = None))]
    fn put_many(&self, py: Python<'_>, values: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<usize> {
        let timeout = Timeout::new(timeout)?;
        let (done, ended) = Putting::new(&self.depot, timeout).all(py, values)?;
        match ended {
            // What was not put is still the caller's, who knows how many were.
            Err(error) if done > 0 && values.hasattr("__getitem__")? && exhaustion::is_full(py, &error) => Ok(done),
            Err(error) => Err(error),
            Ok(()) => Ok(done),
        }
    }

    /// Take up to `max` jobs out of the queue, which costs less than one by one.
    ///
    /// Args:
    ///     max: How many at most.
    ///     timeout: Seconds to wait for the first; ``None`` waits for ever, 0 only looks.
    ///
    /// Returns:
    ///     What there is, one at least, the oldest first.
    ///
    /// Raises:
    ///     Empty: None came in time; a ``queue.Empty`` and a ``TimeoutError``.
    ///     Exception: As from `get`, if there is only one; else one that cannot be brought back is a dead letter, and left out.
    ///     ShutDown: The queue was shut down, and is empty.
    ///     ValueError: It is closed, or ``max`` is below 1.
    ///
    /// Example:
    ///     >>> from samemap import Queue
    ///     >>> queue = Queue()
    ///     >>> queue.put_many("abc")
    ///     3
    ///     >>> queue.get_many(10)
    ///     ['a', 'b', 'c']
    #[pyo3(signature = (max, timeout = None))]
    fn get_many(&self, py: Python<'_>, max: i64, timeout: Option<f64>) -> PyResult<Py<PyList>> {
        if max < 1 {
            return Err(PyValueError::new_err(format!("max is the number of jobs to take, 1 or more, not {max}")));
        }
        /// So many at once, before signals are looked at.
        const STRETCH: usize = 256;
        let (found, timeout) = (PyList::empty(py), Timeout::new(timeout)?);
        let mut left = usize::try_from(max).unwrap_or(usize::MAX);
        let is_later = self.depot.begin_get(self.depot.object.tag()?)?;
        while left > 0 {
            let (store, tag) = (self.depot.store()?, self.depot.object.tag()?);
            let stretch = left.min(STRETCH);
            let (copied, is_empty) = self.depot.get_copied(py, (&store, tag), stretch, &found)?;
            left -= copied;
            if copied == stretch {
                py.check_signals()?;
                continue;
            }
            if is_empty && !found.is_empty() {
                break;
            }
            let mut taken = Vec::new();
            if found.is_empty() {
                taken.push(self.depot.take(py, timeout, || 0)?);
            }
            let (store, tag) = (self.depot.store()?, self.depot.object.tag()?);
            self.depot.take_more(py, &store, tag, stretch - copied, &mut taken)?;
            store.count_gets(tag, taken.len() as u64);
            left = if taken.len() + copied < stretch { 0 } else { left - taken.len() };
            self.add(py, (&store, tag), &taken, &found)?;
            store.tell_freed();
            py.check_signals()?;
        }
        if is_later {
            self.depot.store()?.tell_freed();
        }
        Ok(found.unbind())
    }

    /// Take the next job, and keep it in the queue until it is done: for a ``with`` block.
    ///
    /// At the end of the block it is done. When the block raises, or this process dies, or ``lease_time`` is over, it is
    /// delivered again, before newer ones; as often as ``max_attempts`` of the queue says, and then it is a dead letter.
    ///
    /// Args:
    ///     timeout: Seconds to wait for a job; ``None`` waits for ever, 0 only looks.
    ///     lease_time: Seconds after which another may get it, although this process lives; ``None`` for ever.
    ///
    /// Returns:
    ///     The job; ``job.value`` is what was put.
    ///
    /// Raises:
    ///     Empty: None came in time; a ``queue.Empty`` and a ``TimeoutError``.
    ///     KeyboardInterrupt: Ctrl-C, at once; likewise whatever another signal handler raises.
    ///     ShutDown: The queue was shut down, and is empty.
    ///     ValueError: It is closed, or a time makes no sense.
    ///
    /// Example:
    ///     >>> from samemap import Queue
    ///     >>> queue = Queue()
    ///     >>> queue.put("photo.jpg")
    ///     >>> with queue.lease() as job:
    ///     ...     job.value, job.attempt
    ///     ('photo.jpg', 1)
    ///     >>> queue.empty()
    ///     True
    #[pyo3(signature = (timeout = None, lease_time = None))]
    fn lease(&self, py: Python<'_>, timeout: Option<f64>, lease_time: Option<f64>) -> PyResult<Job> {
        end_of(lease_time)?;
        let taken = self.depot.take(py, Timeout::new(timeout)?, || end_of(lease_time).unwrap_or(0))?;
        Job::new(&self.depot, taken)
    }

    /// Take the next job if there is one, and keep it in the queue until it is done.
    ///
    /// Args:
    ///     lease_time: As for `lease`.
    ///
    /// Returns:
    ///     As `lease`.
    ///
    /// Raises:
    ///     Empty: There is none; a ``queue.Empty`` and a ``TimeoutError``.
    ///     ShutDown: The queue was shut down, and is empty.
    ///     ValueError: It is closed, or the time makes no sense.
    ///
    /// Example:
    ///     >>> from samemap import Queue
    ///     >>> Queue().lease_nowait()
    ///     Traceback (most recent call last):
    ///     samemap.exhaustion.Empty: no job now
    #[pyo3(signature = (lease_time = None))]
    fn lease_nowait(&self, py: Python<'_>, lease_time: Option<f64>) -> PyResult<Job> {
        self.lease(py, Some(0.0), lease_time)
    }

    /// A loan of so many bytes behind ``head``, of which ``codec`` makes the frame; ``raw`` in a queue of pickles is bytes.
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
        let timeout = Timeout::new(timeout)?;
        let route = Route { flags: raw_flag(raw), ..Route::default() };
        Loan::of_job(py, Lender::Queue(timeout), &self.depot, route, (length, head), codec, timeout)
    }

    #[pyo3(name = "_begin_put")]
    fn begin_put(&self, size: usize) -> PyResult<Pending> {
        self.depot.object.tag()?;
        let wanted = Wanted::Space(0, 0, self.depot.storage.blocks_for(size));
        Pending::new(&self.depot.object.handle, self.depot.object.operation(wanted), |_, _| Ok(()))
    }

    #[pyo3(name = "_begin_get")]
    fn begin_get(&self) -> PyResult<Pending> {
        self.depot.object.tag()?;
        Pending::new(&self.depot.object.handle, self.depot.object.operation(Wanted::Job(0)), |_, _| Ok(()))
    }

    #[pyo3(name = "_begin_join")]
    fn begin_join(&self) -> PyResult<Pending> {
        self.depot.object.tag()?;
        Pending::new(&self.depot.object.handle, self.depot.object.operation(Wanted::Finished), |_, _| Ok(()))
    }

    /// How many bytes the message of an object has, for `_begin_put`.
    fn _size_of(&self, value: &Bound<'_, PyAny>) -> PyResult<usize> {
        Ok(self.depot.message(value)?.0.len())
    }

    /// How many jobs wait for a consumer. Others may change that at any time.
    ///
    /// Raises:
    ///     ValueError: It is closed.
    fn qsize(&self) -> PyResult<usize> {
        self.depot.depth()
    }

    /// Whether no job waits for a consumer.
    ///
    /// Raises:
    ///     ValueError: It is closed.
    fn empty(&self) -> PyResult<bool> {
        self.depot.check_open()?;
        let empty = if self.depot.segment().is_writable() {
            !self.depot.store()?.is_news(0)
        } else {
            self.depot.store()?.depth() == 0
        };
        self.depot.object.check()?;
        Ok(empty)
    }

    /// Whether as many jobs wait as may, so that `put` would wait.
    ///
    /// Raises:
    ///     ValueError: It is closed.
    fn full(&self) -> PyResult<bool> {
        self.depot.check_open()?;
        let store = self.depot.store()?;
        let full = if self.depot.segment().is_writable() { store.is_full(0) } else { store.looks_full(0) };
        self.depot.object.check()?;
        Ok(full)
    }

    /// How many jobs may wait.
    #[getter]
    fn maxsize(&self) -> usize {
        self.depot.storage.shape().maxsize
    }

    /// How many bytes there are for messages of more than 128 bytes, and so how large one can be.
    #[getter]
    fn max_bytes(&self) -> usize {
        self.depot.max_bytes()
    }

    /// How often a job is delivered at most before it is a dead letter; ``None`` for any number.
    #[getter]
    fn max_attempts(&self) -> Option<u32> {
        Some(self.depot.storage.shape().max_attempts).filter(|most| *most != 0)
    }

    /// Say that a job that was taken with `get` is done, for `join`.
    ///
    /// Jobs that are leased say so themselves. What a process has taken and not said to be done is forgotten when it dies.
    ///
    /// Raises:
    ///     ValueError: It was called more often than there were jobs; or it is closed.
    ///
    /// Example:
    ///     >>> from samemap import Queue
    ///     >>> queue = Queue()
    ///     >>> queue.put("job")
    ///     >>> queue.join(timeout=0.01)
    ///     False
    ///     >>> queue.get()
    ///     'job'
    ///     >>> queue.task_done()
    ///     >>> queue.join()
    ///     True
    fn task_done(&self) -> PyResult<()> {
        let tag = self.depot.object.tag()?;
        let (segment, store) = (self.depot.segment(), self.depot.store()?);
        let done =
            segment.as_caller_with(tag, |caller| store.task_done(caller)).map_err(|error| raise(segment, &error))?;
        self.depot.object.check()?;
        if done {
            return Ok(());
        }
        Err(PyValueError::new_err("task_done() called too often: all jobs that were taken with get() are done"))
    }

    /// Wait until all jobs are done: none waits, none is leased, and `task_done` was called for each that was got.
    ///
    /// Args:
    ///     timeout: Seconds to wait; ``None`` waits for ever, 0 only looks.
    ///
    /// Returns:
    ///     Whether they are.
    ///
    /// Raises:
    ///     KeyboardInterrupt: Ctrl-C, at once; likewise whatever another signal handler raises.
    ///     ValueError: It is closed, also by another thread meanwhile; or the timeout makes no sense.
    #[pyo3(signature = (timeout = None))]
    fn join(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        self.depot.object.tag()?;
        let mut operation = self.depot.object.operation(Wanted::Finished);
        Ok(drive(py, &self.depot.object.handle, Timeout::new(timeout)?, &mut operation)?.is_some())
    }

    /// Shut the queue down, for all processes and for good: nothing can be put any more.
    ///
    /// Args:
    ///     immediate: Nothing can be taken any more, either: what waits is thrown away. Else `get` and `lease` raise as
    ///         soon as it is empty.
    ///
    /// Raises:
    ///     TypeError: It is mapped read-only.
    ///     ValueError: It is closed.
    ///
    /// Example:
    ///     >>> from samemap import Queue
    ///     >>> queue = Queue()
    ///     >>> queue.put("last")
    ///     >>> queue.shutdown()
    ///     >>> list(queue)
    ///     ['last']
    #[pyo3(signature = (immediate = false))]
    fn shutdown(&self, immediate: bool) -> PyResult<()> {
        self.depot.shut_down(immediate)
    }

    /// Whether it was shut down.
    #[getter]
    fn is_shut_down(&self) -> PyResult<bool> {
        self.depot.is_shut_down()
    }

    fn _jobs(&self) -> PyResult<Vec<JobRow>> {
        self.depot.job_rows()
    }

    fn _leases(&self) -> PyResult<Vec<LeaseRow>> {
        self.depot.lease_rows()
    }

    fn _workers(&self) -> PyResult<Vec<WorkerRow>> {
        self.depot.worker_rows()
    }

    fn _totals(&self) -> PyResult<TotalsRow> {
        self.depot.totals_row()
    }

    fn _dead_letters(&self) -> PyResult<Vec<DeadLetter>> {
        self.depot.check_open()?;
        let found = self.depot.store()?.dead_letters();
        let letters = found.into_iter().map(|grip| DeadLetter::new(&self.depot, grip)).collect::<PyResult<_>>();
        self.depot.object.check()?;
        letters
    }
}
