//! Sleeping, with an eye on signals.

use std::path::PathBuf;

use pyo3::prelude::*;
use samemap_core::arrival;
use samemap_core::bell::Woken;
use samemap_core::region::{self, Error};

use crate::arguments::Timeout;

/// Waits until the word at `offset` is not `expected` or somebody rings (true), or the timeout passes (false).
pub(crate) fn wait(
    py: Python<'_>,
    region: &region::Region,
    offset: usize,
    expected: u32,
    timeout: Timeout,
    raise: impl Fn(Error) -> PyErr,
) -> PyResult<bool> {
    if let Timeout::Now = timeout {
        return Ok(region.load_u32(offset).map_err(raise)? != expected);
    }
    if region.spin(offset, expected).map_err(&raise)? {
        return Ok(true);
    }
    loop {
        match py.detach(|| region.wait(offset, expected, timeout.deadline())).map_err(&raise)? {
            Woken::Rung | Woken::Changed => return Ok(true),
            Woken::TimedOut if timeout.has_passed() => return Ok(false),
            // Timed out before its time: a signal that came just before a sleep does not end it.
            Woken::TimedOut | Woken::Interrupted => py.check_signals()?,
        }
    }
}

/// Wait until a path is a file that is not empty.
///
/// Args:
///     path: The path.
///     timeout: Seconds.
///
/// Returns:
///     Whether it is there now; false after the timeout.
///
/// Raises:
///     ValueError: The timeout is negative or NaN.
///
/// Example:
///     >>> wait_for_file("/proc/self/missing", 0.01)
///     False
#[pyfunction]
pub(crate) fn wait_for_file(py: Python<'_>, path: PathBuf, timeout: f64) -> PyResult<bool> {
    let timeout = Timeout::new(Some(timeout))?;
    loop {
        match py.detach(|| arrival::wait_for_file(&path, timeout.deadline())) {
            Woken::Changed => return Ok(true),
            _ if timeout.has_passed() => return Ok(false),
            _ => py.check_signals()?,
        }
    }
}
