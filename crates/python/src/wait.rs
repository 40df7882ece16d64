//! Sleeping, with an eye on signals.

use std::path::PathBuf;
use std::time::Duration;

use pyo3::prelude::*;
use samemap_core::arrival;
use samemap_core::bell::Woken;
use samemap_core::region::{self, Error};

use crate::arguments::Timeout;

/// The longest sleep without a look at signals.
///
/// A signal ends a sleep at once, but one that comes between the last look and the sleep would go unnoticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

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
        let until = timeout.next_sleep(LONGEST_SLEEP);
        match py.detach(|| region.wait(offset, expected, until)).map_err(&raise)? {
            Woken::Rung | Woken::Changed => return Ok(true),
            Woken::TimedOut if timeout.has_passed() => return Ok(false),
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
        let until = timeout.next_sleep(LONGEST_SLEEP);
        match py.detach(|| arrival::wait_for_file(&path, until)) {
            Woken::Changed => return Ok(true),
            _ if timeout.has_passed() => return Ok(false),
            _ => py.check_signals()?,
        }
    }
}
