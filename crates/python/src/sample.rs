//! `samemap.Sample`: a message that was received.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use samemap_core::bell::now;
use samemap_core::segment::Segment;
use samemap_core::slot::Label;

use crate::callback;
use crate::frames::Pin;
use crate::outlet::Outlet;
use crate::participant::{Participant, seconds};
use crate::reception::{Found, Payload};

/// Where the bytes of a sample are.
pub(crate) enum Content {
    /// In an object of its own.
    Copied(Py<PyBytes>),
    /// In the slot, until it is released.
    Pinned {
        pin: Mutex<Option<Py<Pin>>>,
        /// Whether something relies on the sample itself to keep the memory.
        is_retained: AtomicBool,
    },
}

impl Content {
    #[inline(always)]
    fn new(payload: Payload) -> Self {
        match payload {
            Payload::Copied(bytes) => Self::Copied(bytes),
            Payload::Pinned(pin) => Self::Pinned { pin: Mutex::new(Some(pin)), is_retained: AtomicBool::new(false) },
        }
    }
}

/// What all samples of a topic have in common: that they all keep one is quicker than to keep each of these.
#[pyclass(frozen)]
pub(crate) struct Origin {
    pub(crate) segment: Arc<Segment>,
    /// How objects become bytes and come back.
    pub(crate) codec: Py<PyAny>,
    /// Whether messages are bytes as they are, and the codec need not be asked.
    pub(crate) is_raw: bool,
}

/// A message that was received from a `Topic`, or looked up in a `Latest`.
///
/// Large messages (of more than 4,096 bytes) are not copied: the sample, and every array and memoryview made from it, keep
/// their slot from being used again, and so does ``release()`` only let go of it when the last view is gone. Small ones
/// are copied, and hold up nothing. ``bytes(sample)``, ``memoryview(sample)`` and ``np.asarray(sample)`` give its bytes.
///
/// Example:
///     >>> from samemap import Topic
///     >>> topic = Topic(shape=3, dtype="u1")
///     >>> sub = topic.subscribe()
///     >>> topic.publish([1, 2, 3])
///     1
///     >>> sample = sub.recv()
///     >>> sample.seq, sample.missed, sample.array, bytes(sample)
///     (1, 0, array([1, 2, 3], dtype=uint8), b'\x01\x02\x03')
#[pyclass(frozen, weakref, module = "samemap")]
pub(crate) struct Sample {
    origin: Py<Origin>,
    /// The number of the message, from 1.
    #[pyo3(get)]
    seq: u64,
    /// How many messages were gone between the one received before it and this one.
    #[pyo3(get)]
    missed: u64,
    label: Label,
    content: Content,
    /// Made when somebody asks for it, once.
    array: Mutex<Option<Py<PyAny>>>,
}

impl Sample {
    /// A sample of what was found, after so many that were missed.
    #[inline]
    pub(crate) fn new(outlet: &Outlet, py: Python<'_>, found: Found, missed: u64) -> Self {
        let Found { seq, label, payload } = found;
        let (origin, content) = (outlet.origin.clone_ref(py), Content::new(payload));
        Self { origin, seq, missed, label, content, array: Mutex::default() }
    }

    /// What holds the bytes: a `bytes`, or a `Pin`. With `retain`, the sample keeps it for as long as it lives.
    pub(crate) fn content(&self, retain: bool) -> PyResult<Py<PyAny>> {
        Python::attach(|py| match &self.content {
            Content::Copied(bytes) => Ok(bytes.clone_ref(py).into_any()),
            Content::Pinned { pin, is_retained } => {
                let pin = pin.lock().unwrap_or_else(PoisonError::into_inner);
                let pin = pin.as_ref().ok_or_else(|| {
                    PyValueError::new_err(format!("message {} was released: take what you need before that", self.seq))
                })?;
                is_retained.fetch_or(retain, Ordering::Relaxed);
                Ok(pin.clone_ref(py).into_any())
            }
        })
    }

    fn convert<'py>(&self, py: Python<'py>, how: &Bound<'py, pyo3::types::PyString>) -> PyResult<Bound<'py, PyAny>> {
        callback::method(self.origin.get().codec.bind(py), how, self.content(false)?.bind(py))
    }
}

#[pymethods]
impl Sample {
    /// How many seconds ago it was published.
    #[getter]
    #[expect(clippy::cast_precision_loss, reason = "seconds are a float, as everywhere in Python")]
    fn age(&self) -> f64 {
        now().saturating_sub(self.label.published) as f64 / 1e9
    }

    /// When it was published, in seconds since 1970.
    #[getter]
    fn time(&self) -> f64 {
        seconds(self.label.published)
    }

    /// The process that published it; ``None`` where that is not known any more.
    #[getter]
    fn publisher(&self) -> PyResult<Option<Participant>> {
        let Some(tag) = self.label.publisher else { return Ok(None) };
        let segment = &self.origin.get().segment;
        let roster = segment.roster().map_err(|error| crate::drive::raise(segment, &error))?;
        Ok(roster.describe(tag).map(|participant| Participant { participant }))
    }

    /// The message as a read-only numpy array; that of a topic without a dtype has its bytes.
    #[getter]
    fn array(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if let Some(array) = &*self.array.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(array.clone_ref(py));
        }
        // Not under the lock: it calls Python.
        let array = self.convert(py, pyo3::intern!(py, "array"))?.unbind();
        *self.array.lock().unwrap_or_else(PoisonError::into_inner) = Some(array.clone_ref(py));
        Ok(array)
    }

    /// The message as an object: what was published, as the topic's codec brings it back.
    #[getter]
    fn value<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match &self.content {
            Content::Copied(bytes) if self.origin.get().is_raw => Ok(bytes.bind(py).clone().into_any()),
            _ => self.convert(py, pyo3::intern!(py, "decode")),
        }
    }

    /// Whether it keeps its slot from being used again.
    #[getter]
    fn pinned(&self) -> bool {
        match &self.content {
            Content::Copied(_) => false,
            Content::Pinned { pin, .. } => pin.lock().unwrap_or_else(PoisonError::into_inner).is_some(),
        }
    }

    /// Let go of its slot as soon as no view of it lives. Releasing twice is fine.
    ///
    /// Whoever asks it for its bare bytes, as ``hashlib``, ``write()``, ``send()`` and ``np.ndarray(buffer=sample)`` do,
    /// may go on reading them for as long as the sample lives, without a view that says so; then releasing does nothing,
    /// and the slot waits for the end of the sample itself. Give those ``memoryview(sample)``.
    ///
    /// Example:
    ///     >>> from samemap import Topic
    ///     >>> topic = Topic(max_message=10_000)
    ///     >>> sub = topic.subscribe()
    ///     >>> topic.publish(bytes(10_000))
    ///     1
    ///     >>> with sub.recv() as sample:
    ///     ...     sample.pinned, len(sample)
    ///     (True, 10000)
    ///     >>> sample.pinned
    ///     False
    fn release(&self) {
        if let Content::Pinned { pin, is_retained } = &self.content
            && !is_retained.load(Ordering::Relaxed)
        {
            let pin = pin.lock().unwrap_or_else(PoisonError::into_inner).take();
            let array = self.array.lock().unwrap_or_else(PoisonError::into_inner).take();
            // Not under the locks: what goes with them may call Python.
            drop((pin, array));
        }
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_raised))]
    fn __exit__(&self, _raised: &Bound<'_, PyTuple>) {
        self.release();
    }

    fn __len__(&self) -> usize {
        usize::try_from(self.label.length).unwrap_or(usize::MAX)
    }

    fn __bytes__<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        match &slf.get().content {
            Content::Copied(bytes) => Ok(bytes.bind(py).clone().into_any()),
            Content::Pinned { .. } => py.get_type::<PyBytes>().call1((slf.get().content(false)?,)),
        }
    }

    fn __repr__(&self) -> String {
        let (seq, length) = (self.seq, self.label.length);
        let missed = if self.missed == 0 { String::new() } else { format!(", {} missed before it", self.missed) };
        let pinned = if self.pinned() { ", pinned" } else { "" };
        format!("<samemap.Sample {seq}: {length} bytes{missed}{pinned}>")
    }
}
