//! Looping over what messages say.

use pyo3::prelude::*;

use super::Subscription;

/// The values of a subscription, one after the other.
#[pyclass(frozen, module = "samemap._core")]
pub(crate) struct Values {
    pub(super) subscription: Py<Subscription>,
}

#[pymethods]
impl Values {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let subscription = self.subscription.get();
        subscription.or_end(py, subscription.get(py, None))
    }
}
