//! What Python gives, checked: offsets, words, timeouts.

use std::time::Duration;

use pyo3::exceptions::{PyIndexError, PyOverflowError, PyValueError};
use pyo3::prelude::*;
use samemap_core::bell::Deadline;
use samemap_core::region::Advice;

/// An offset in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Offset(pub(crate) usize);

impl<'py> FromPyObject<'_, 'py> for Offset {
    type Error = PyErr;

    #[inline]
    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let signed: isize = given.extract()?;
        match usize::try_from(signed) {
            Ok(offset) => Ok(Self(offset)),
            Err(_) => Err(PyIndexError::new_err(format!("offset {signed} is negative: offsets count from the start"))),
        }
    }
}

/// A number of bytes.
#[derive(Clone, Copy)]
pub(crate) struct Length(pub(crate) usize);

impl<'py> FromPyObject<'_, 'py> for Length {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let signed: isize = given.extract()?;
        match usize::try_from(signed) {
            Ok(length) => Ok(Self(length)),
            Err(_) => Err(PyValueError::new_err(format!("a number of bytes is not negative, as {signed} is"))),
        }
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
        _ => PyOverflowError::new_err(format!(
            "{given} does not fit into {bits} bits: at least -2**{}, less than 2**{bits}",
            bits - 1
        )),
    }
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
#[derive(Clone, Copy)]
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

    /// The end of the next sleep, `longest` from now at most.
    pub(crate) fn next_sleep(self, longest: Duration) -> Option<Deadline> {
        let slice = Deadline::after(longest);
        match (self, slice) {
            (Self::At(deadline), Some(slice)) => Some(deadline.min(slice)),
            (Self::At(deadline), None) => Some(deadline),
            _ => slice,
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
