//! `samemap._core.Pending` and `Watcher`: operations that tasks wait for, any number of them on one thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use samemap_core::atomic::{self, Word32};
use samemap_core::bell::{Attempt, Deadline, Sleep, sleep_on_any};
use samemap_core::error::Error;
use samemap_core::lock::{Taken, Turn};
use samemap_core::operation::{Asking, Operation, Outcome};
use samemap_core::segment::{Asleep, Handle};

use crate::drive::{PATIENCE, SLICE, raise};

/// What a task gets in the end.
type Finish = Box<dyn Fn(Python<'_>, Outcome) -> PyResult<Py<PyAny>> + Send + Sync>;

/// An operation that is not done yet, or whose outcome nobody has fetched.
struct Waiting {
    handle: Handle,
    state: Mutex<State>,
}

struct State {
    operation: Operation,
    stage: Stage,
    overdue: Option<Deadline>,
    slept: bool,
}

enum Stage {
    Trying,
    Over(Result<Outcome, Error>),
    GivenUp,
}

impl Waiting {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries once; `None` when there is nothing left to try.
    fn attempt(&self, ask: bool) -> Option<Sleep<'_>> {
        let mut state = self.state();
        let State { operation, stage, overdue, slept } = &mut *state;
        if !matches!(stage, Stage::Trying) {
            return None;
        }
        let turn = match (*slept, overdue.is_some_and(Deadline::has_passed)) {
            (false, _) => Turn::New,
            (true, false) => Turn::Again,
            (true, true) => Turn::Overdue,
        };
        let segment = self.handle.segment();
        let attempted = if self.handle.is_closed() {
            Err(Error::Closed)
        } else {
            let asking = Asking { ask, turn };
            segment.as_caller(|caller| operation.attempt(segment, caller, asking)).and_then(|attempted| attempted)
        };
        match segment.check().and(attempted) {
            Ok(Attempt::Wait(sleep)) => {
                *slept = true;
                return Some(sleep);
            }
            Ok(Attempt::Done(outcome)) => *stage = Stage::Over(Ok(outcome)),
            Err(error) => *stage = Stage::Over(Err(error)),
        }
        None
    }

    /// Gives up, or gives back what was got meanwhile.
    fn cancel(&self) -> Result<(), Error> {
        let mut state = self.state();
        let State { operation, stage, .. } = &mut *state;
        let segment = self.handle.segment();
        let before = std::mem::replace(stage, Stage::GivenUp);
        let done = segment.as_caller(|caller| match before {
            Stage::Trying => operation.give_up(segment, caller),
            // It got nothing, and what the process holds is another thread's.
            Stage::Over(Ok(Outcome::Taken(Taken::Abandoned(_)))) => Ok(()),
            Stage::Over(Ok(_)) => operation.undo(segment, caller),
            Stage::Over(Err(_)) | Stage::GivenUp => Ok(()),
        });
        done.and_then(|done| done)
    }
}

/// An operation that a task waits for.
#[pyclass(frozen, module = "samemap._core")]
pub(crate) struct Pending {
    waiting: Arc<Waiting>,
    finish: Finish,
}

impl Pending {
    pub(crate) fn new<T: for<'py> IntoPyObject<'py>>(
        handle: &Handle,
        operation: Operation,
        finish: impl Fn(Python<'_>, Outcome) -> PyResult<T> + Send + Sync + 'static,
    ) -> PyResult<Self> {
        let handle = handle.again().map_err(|error| raise(handle.segment(), &error))?;
        let overdue = Deadline::after(PATIENCE);
        let state = State { operation, stage: Stage::Trying, overdue, slept: false };
        let finish = Box::new(move |py: Python<'_>, outcome| finish(py, outcome)?.into_py_any(py));
        Ok(Self { waiting: Arc::new(Waiting { handle, state: Mutex::new(state) }), finish })
    }
}

impl Pending {
    /// Lets `work` do something with the operation.
    pub(crate) fn with_operation<T>(&self, work: impl FnOnce(&mut Operation) -> T) -> T {
        work(&mut self.waiting.state().operation)
    }
}

#[pymethods]
impl Pending {
    /// Try once, asking about the dead; return whether it is over.
    fn attempt(&self, py: Python<'_>) -> bool {
        py.detach(|| self.waiting.attempt(true).is_none())
    }

    /// Return what it came to.
    fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let over = match &self.waiting.state().stage {
            Stage::Over(over) => over.clone(),
            Stage::Trying | Stage::GivenUp => return Err(PyRuntimeError::new_err("it is not done")),
        };
        match over {
            Ok(outcome) => (self.finish)(py, outcome),
            Err(error) => Err(raise(self.waiting.handle.segment(), &error)),
        }
    }

    /// Give up, or give back what was got meanwhile.
    fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        let done = py.detach(|| self.waiting.cancel());
        match done {
            // Nothing to give back where nothing can be had.
            Ok(()) | Err(Error::Closed) => Ok(()),
            Err(error) => Err(raise(self.waiting.handle.segment(), &error)),
        }
    }
}

struct Watched {
    key: u64,
    waiting: Arc<Waiting>,
    _asleep: Asleep,
}

/// Waits for any number of pending operations at once.
#[pyclass(frozen, module = "samemap._core")]
pub(crate) struct Watcher {
    watched: Mutex<Vec<Watched>>,
    /// Rung when what is watched has changed.
    changed: Word32,
    woken: AtomicBool,
}

impl Watcher {
    fn watched(&self) -> MutexGuard<'_, Vec<Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        // Release [watcher.changed]: whoever sees the new number sees what is watched now, behind its lock anyway.
        self.changed.fetch_add(1, Ordering::Release);
        atomic::wake(&self.changed, u32::MAX);
    }

    /// Looks at all, and sleeps when none is over; returns the keys of those that are.
    fn look(&self, ask: bool, until: Option<Deadline>) -> Vec<u64> {
        // Acquire [watcher.changed]: read before the list, so a change after the list is read is not slept over.
        let expected = self.changed.load(Ordering::Acquire);
        let waiting: Vec<(u64, Arc<Waiting>)> =
            self.watched().iter().map(|watched| (watched.key, Arc::clone(&watched.waiting))).collect();
        let mut sleeps = vec![Sleep { word: &self.changed, expected }];
        let mut over = Vec::new();
        for (key, waiting) in &waiting {
            match waiting.attempt(ask) {
                None => over.push(*key),
                Some(sleep) if sleeps.iter().any(|other| std::ptr::eq(other.word, sleep.word)) => {}
                Some(sleep) => sleeps.push(sleep),
            }
        }
        if !over.is_empty() {
            self.watched().retain(|watched| !over.contains(&watched.key));
            return over;
        }
        let until = if waiting.is_empty() { None } else { until };
        // Whatever ends it, a page that is gone included, is noticed by the next attempt.
        let _ = sleep_on_any(&sleeps, until);
        over
    }
}

#[pymethods]
impl Watcher {
    #[new]
    fn new() -> Self {
        Self { watched: Mutex::new(Vec::new()), changed: Word32::new(0), woken: AtomicBool::new(false) }
    }

    /// Watch a pending operation, under a number of the caller's choice.
    fn add(&self, pending: &Pending, key: u64) {
        let waiting = Arc::clone(&pending.waiting);
        let offset = waiting.state().operation.offset;
        let asleep = waiting.handle.segment().asleep(offset);
        self.watched().push(Watched { key, waiting, _asleep: asleep });
        self.ring();
    }

    /// Watch it no more.
    fn remove(&self, key: u64) {
        self.watched().retain(|watched| watched.key != key);
        self.ring();
    }

    /// End the present, or the next, `run` with nothing.
    fn wake(&self) {
        self.woken.store(true, Ordering::Relaxed);
        self.ring();
    }

    /// Sleep until some are over, and return their keys; nothing when woken.
    fn run(&self, py: Python<'_>) -> Vec<u64> {
        py.detach(|| {
            // By the clock, not when a sleep ends by it: of many words some may always be rung.
            let mut next = Deadline::after(SLICE);
            loop {
                if self.woken.swap(false, Ordering::Relaxed) {
                    return Vec::new();
                }
                let ask = next.is_some_and(Deadline::has_passed);
                if ask {
                    next = Deadline::after(SLICE);
                }
                let over = self.look(ask, next);
                if !over.is_empty() {
                    return over;
                }
            }
        })
    }
}
