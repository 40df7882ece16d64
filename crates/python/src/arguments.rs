//! What Python gives, checked: offsets, words, timeouts.

use std::time::Duration;

use pyo3::exceptions::{PyIndexError, PyOverflowError, PyValueError};
use pyo3::prelude::*;
use samemap_core::bell::Deadline;
use samemap_core::region::Advice;

/// An integer that is not negative; of others, says what it would have been.
///
/// Integers too large for any machine become the largest: the checks that follow find them outside of everything.
#[inline]
fn not_negative(given: &Bound<'_, PyAny>) -> PyResult<Result<usize, isize>> {
    match given.extract::<isize>() {
        Ok(signed) => Ok(usize::try_from(signed).map_err(|_| signed)),
        Err(error) => not_negative_but_large(given, error),
    }
}

#[cold]
fn not_negative_but_large(given: &Bound<'_, PyAny>, error: PyErr) -> PyResult<Result<usize, isize>> {
    if !error.is_instance_of::<PyOverflowError>(given.py()) {
        return Err(error);
    }
    Ok(if given.lt(0)? { Err(isize::MIN) } else { Ok(isize::MAX.cast_unsigned()) })
}

/// An offset in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Offset(pub(crate) usize);

impl<'py> FromPyObject<'_, 'py> for Offset {
    type Error = PyErr;

    #[inline]
    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        not_negative(&given)?.map(Self).map_err(|signed| {
            PyIndexError::new_err(format!("offset {signed} is negative: offsets count from the start"))
        })
    }
}

/// A number of bytes.
#[derive(Clone, Copy)]
pub(crate) struct Length(pub(crate) usize);

impl<'py> FromPyObject<'_, 'py> for Length {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        not_negative(&given)?
            .map(Self)
            .map_err(|signed| PyValueError::new_err(format!("a number of bytes is not negative, as {signed} is")))
    }
}

/// What to return instead of raising; `None` when nothing was given, not even Python's ``None``.
pub(crate) struct Fallback(pub(crate) Option<Py<PyAny>>);

impl<'py> FromPyObject<'_, 'py> for Fallback {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        Ok(Self(Some(given.to_owned().unbind())))
    }
}

/// The number of a message.
#[derive(Clone, Copy)]
pub(crate) struct Seq(pub(crate) u64);

impl<'py> FromPyObject<'_, 'py> for Seq {
    type Error = PyErr;

    #[inline]
    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        given.extract().map(Self).map_err(|error| {
            if !error.is_instance_of::<PyOverflowError>(given.py()) {
                return error;
            }
            PyValueError::new_err(format!("seq is 0 to {}, not {}", u64::MAX, *given))
        })
    }
}

/// How many to wake.
#[derive(Clone, Copy)]
pub(crate) struct Count(pub(crate) u32);

impl<'py> FromPyObject<'_, 'py> for Count {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        not_negative(&given)?
            .map(|count| Self(u32::try_from(count).unwrap_or(u32::MAX)))
            .map_err(|signed| PyValueError::new_err(format!("count is not negative, as {signed} is")))
    }
}

/// A 32-bit word: unsigned, or negative as two's complement.
#[derive(Clone, Copy)]
pub(crate) struct Word32(pub(crate) u32);

impl<'py> FromPyObject<'_, 'py> for Word32 {
    type Error = PyErr;

    #[inline]
    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(value) = given.extract::<i64>() {
            if let Ok(value) = u32::try_from(value) {
                return Ok(Self(value));
            }
            if let Ok(value) = i32::try_from(value) {
                return Ok(Self(value.cast_unsigned()));
            }
        }
        Err(too_wide(&given, 32))
    }
}

/// A 64-bit word: unsigned, or negative as two's complement.
#[derive(Clone, Copy)]
pub(crate) struct Word64(pub(crate) u64);

impl<'py> FromPyObject<'_, 'py> for Word64 {
    type Error = PyErr;

    #[inline]
    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(value) = given.extract::<i64>() {
            return Ok(Self(value.cast_unsigned()));
        }
        if let Ok(value) = given.extract::<u64>() {
            return Ok(Self(value));
        }
        Err(too_wide(&given, 64))
    }
}

/// The error for what is no number of that width: the interpreter's own for what is no integer.
#[cold]
fn too_wide(given: &Bound<'_, PyAny>, bits: u32) -> PyErr {
    match given.extract::<i64>() {
        Err(error) if !error.is_instance_of::<PyOverflowError>(given.py()) => error,
        Ok(value) => PyOverflowError::new_err(format!("{value} does not fit: {}", range(bits))),
        Err(_) => PyOverflowError::new_err(format!("an integer does not fit: {}", range(bits))),
    }
}

fn range(bits: u32) -> String {
    format!("a word of {bits} bits is at least -2**{}, and less than 2**{bits}", bits - 1)
}

/// What madvise(2) calls it, in lower case: all that can neither change bytes nor take memory away under somebody.
/// (`MADV_DONTFORK` would: a forked child would fault on its region.)
pub(crate) fn advice(name: &str) -> Option<Advice> {
    Some(match name {
        "normal" => Advice::Normal,
        "random" => Advice::Random,
        "sequential" => Advice::Sequential,
        "willneed" => Advice::WillNeed,
        "dontneed" => Advice::LinuxDontNeed,
        "hugepage" => Advice::LinuxHugepage,
        "nohugepage" => Advice::LinuxNoHugepage,
        "cold" => Advice::LinuxCold,
        "pageout" => Advice::LinuxPageOut,
        "dontdump" => Advice::LinuxDontDump,
        "dodump" => Advice::LinuxDoDump,
        _ => return None,
    })
}

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Timeout {
    Never,
    Now,
    At(Deadline),
}

impl Timeout {
    /// `None` waits for ever, 0 polls.
    pub(crate) fn new(seconds: Option<f64>) -> PyResult<Self> {
        let Some(seconds) = seconds else { return Ok(Self::Never) };
        if seconds.is_nan() || seconds < 0.0 {
            return Err(PyValueError::new_err(format!(
                "timeout must be a number of seconds that is not negative, or None to wait for ever, not {seconds}"
            )));
        }
        if seconds == 0.0 {
            return Ok(Self::Now);
        }
        // What the clock cannot name is some centuries away.
        Ok(Duration::try_from_secs_f64(seconds).ok().and_then(Deadline::after).map_or(Self::Never, Self::At))
    }

    /// The end of it; never for `None`.
    pub(crate) fn deadline(self) -> Option<Deadline> {
        match self {
            Self::Never => None,
            Self::Now => Deadline::after(Duration::ZERO),
            Self::At(deadline) => Some(deadline),
        }
    }

    pub(crate) fn has_passed(self) -> bool {
        match self {
            Self::Never => false,
            Self::Now => true,
            Self::At(deadline) => deadline.has_passed(),
        }
    }
}

/// Yes or no, by the truth of what is given, as `threading` takes it: `acquire(0)` is an old habit.
#[derive(Clone, Copy)]
pub(crate) struct Truth(pub(crate) bool);

impl<'py> FromPyObject<'_, 'py> for Truth {
    type Error = PyErr;

    #[inline]
    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        given.is_truthy().map(Self)
    }
}

/// The timeout of an acquire, as `threading` has it: -1 and `None` wait for ever, and without blocking there is none.
#[inline]
pub(crate) fn acquire_timeout(blocking: bool, timeout: Option<f64>) -> PyResult<Timeout> {
    if blocking && timeout.is_none() {
        return Ok(Timeout::Never);
    }
    // Exact on purpose: it is a word for "for ever", not a number.
    let timeout = timeout.filter(|seconds| *seconds != -1.0);
    match (blocking, timeout) {
        (true, timeout) => Timeout::new(timeout),
        (false, None) => Ok(Timeout::Now),
        (false, Some(_)) => {
            Err(PyValueError::new_err("a timeout is for an acquire that blocks: blocking=False only looks"))
        }
    }
}
