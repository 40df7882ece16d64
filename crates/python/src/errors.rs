//! Core errors as Python exceptions.

use std::path::Path;

use pyo3::create_exception;
use pyo3::exceptions::{PyBufferError, PyIndexError, PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use samemap_core::error::Error;

create_exception!(
    samemap,
    SegmentTruncated,
    PyOSError,
    "Somebody truncated the file under a mapping, and this process has touched, or asked for, what is gone.\n\n\
     The bytes read there were zeros, and those written there are lost; the process lives on.\n\
     ``errno`` is ``EFAULT``, ``filename`` the file; the message names the length that was known and the one now.\n\
     ``resize()`` gives the length back; opening the region again takes it as it is."
);

/// The exception for `error`, about the file `path`.
#[cold]
pub(crate) fn raise(error: &Error, path: Option<&Path>) -> PyErr {
    let text = error.to_string();
    let about = || match path {
        Some(path) => format!("{text} ({})", path.display()),
        None => text.clone(),
    };
    let filename = path.map(|path| path.as_os_str().to_owned());
    match (error, error.errno()) {
        (Error::Truncated { .. }, errno) => SegmentTruncated::new_err((errno, text, filename)),
        (_, Some(errno)) => PyOSError::new_err((errno, text, filename)),
        (Error::OutOfRange { .. }, _) => PyIndexError::new_err(about()),
        (Error::ReadOnly, _) => PyTypeError::new_err(about()),
        (Error::Viewed { .. }, _) => PyBufferError::new_err(about()),
        _ => PyValueError::new_err(about()),
    }
}
