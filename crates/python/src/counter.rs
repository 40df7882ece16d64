//! `samemap._core.Counter`, the base of `samemap.Counter`.

use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use samemap_core::counter;
use samemap_core::operation::{Comparison, Outcome, Wanted};

use crate::arguments::Timeout;
use crate::drive::{check_open, drive, look};
use crate::object::{Object, closing};
use crate::pending::Pending;
use crate::segment::Segment;

/// A 64-bit integer that processes count together; `samemap.Counter` adds names and more.
#[pyclass(subclass, frozen, weakref, module = "samemap._core")]
pub(crate) struct Counter {
    pub(crate) object: Object,
}

closing!(Counter);

fn comparison(op: &str) -> PyResult<Comparison> {
    Ok(match op {
        ">=" => Comparison::AtLeast,
        "<=" => Comparison::AtMost,
        "==" => Comparison::Equal,
        "!=" => Comparison::NotEqual,
        _ => return Err(PyValueError::new_err(format!("op is one of '>=', '<=', '==' and '!=', not {op:?}"))),
    })
}

impl Counter {
    #[inline(always)]
    fn cell(&self) -> PyResult<&counter::Counter> {
        self.object.cell()
    }

    /// The counter, for a caller that changes it.
    #[inline(always)]
    fn own(&self) -> PyResult<&counter::Counter> {
        self.object.tag()?;
        self.cell()
    }

    #[inline(always)]
    fn done(&self, value: i64) -> PyResult<i64> {
        self.object.check()?;
        Ok(value)
    }
}

#[pymethods]
impl Counter {
    #[new]
    fn new(segment: &Segment, offset: usize) -> PyResult<Self> {
        Ok(Self { object: Object::new::<counter::Counter>(segment, offset)? })
    }

    /// The value now.
    ///
    /// Raises:
    ///     ValueError: It is closed.
    #[getter]
    fn value(&self) -> PyResult<i64> {
        check_open(&self.object.handle)?;
        self.done(self.cell()?.value())
    }

    /// Add, atomically.
    ///
    /// Args:
    ///     n: How much; a negative number takes away.
    ///
    /// Returns:
    ///     The value after it.
    ///
    /// Raises:
    ///     OverflowError: The sum does not fit into 64 bits; nothing has changed.
    ///     TypeError: It is mapped read-only.
    ///     ValueError: It is closed.
    ///
    /// Example:
    ///     >>> from samemap import Counter
    ///     >>> counter = Counter(value=40)
    ///     >>> counter.add(), counter.add(2), counter.value
    ///     (41, 43, 43)
    #[pyo3(signature = (n = 1))]
    fn add(&self, n: i64) -> PyResult<i64> {
        match self.own()?.add(n) {
            Ok(value) => self.done(value),
            Err(counter::Overflow { value, delta }) => Err(PyOverflowError::new_err(format!(
                "{value} + {delta} does not fit into 64 bits; the counter stays as it is"
            ))),
        }
    }

    /// Set the value.
    ///
    /// Args:
    ///     value: What it becomes.
    ///
    /// Returns:
    ///     What it was.
    ///
    /// Raises:
    ///     OverflowError: It does not fit into 64 bits.
    ///     TypeError: It is mapped read-only.
    ///     ValueError: It is closed.
    ///
    /// Example:
    ///     >>> from samemap import Counter
    ///     >>> Counter(value=7).set(0)
    ///     7
    fn set(&self, value: i64) -> PyResult<i64> {
        self.done(self.own()?.set(value))
    }

    /// Raise the value to another, if that is higher.
    ///
    /// Args:
    ///     value: What it becomes at least.
    ///
    /// Returns:
    ///     The value after it.
    ///
    /// Raises:
    ///     OverflowError: It does not fit into 64 bits.
    ///     TypeError: It is mapped read-only.
    ///     ValueError: It is closed.
    ///
    /// Example:
    ///     >>> from samemap import Counter
    ///     >>> counter = Counter(value=5)
    ///     >>> counter.max(3), counter.max(8)
    ///     (5, 8)
    fn max(&self, value: i64) -> PyResult<i64> {
        self.done(self.own()?.max(value))
    }

    /// Lower the value to another, if that is lower.
    ///
    /// Args:
    ///     value: What it becomes at most.
    ///
    /// Returns:
    ///     The value after it.
    ///
    /// Raises:
    ///     OverflowError: It does not fit into 64 bits.
    ///     TypeError: It is mapped read-only.
    ///     ValueError: It is closed.
    ///
    /// Example:
    ///     >>> from samemap import Counter
    ///     >>> counter = Counter(value=5)
    ///     >>> counter.min(8), counter.min(3)
    ///     (5, 3)
    fn min(&self, value: i64) -> PyResult<i64> {
        self.done(self.own()?.min(value))
    }

    /// Replace the value if it is what is expected, atomically.
    ///
    /// Args:
    ///     expected: What it must be.
    ///     desired: What it becomes then.
    ///
    /// Returns:
    ///     What it was before: it was replaced exactly if that equals ``expected``.
    ///
    /// Raises:
    ///     OverflowError: A value does not fit into 64 bits.
    ///     TypeError: It is mapped read-only.
    ///     ValueError: It is closed.
    ///
    /// Example:
    ///     >>> from samemap import Counter
    ///     >>> counter = Counter()
    ///     >>> counter.compare_exchange(0, 7), counter.compare_exchange(0, 8), counter.value
    ///     (0, 7, 7)
    fn compare_exchange(&self, expected: i64, desired: i64) -> PyResult<i64> {
        let (Ok(before) | Err(before)) = self.own()?.compare_exchange(expected, desired);
        self.done(before)
    }

    fn _wait_until(&self, py: Python<'_>, op: &str, value: i64, timeout: Option<f64>) -> PyResult<Option<i64>> {
        let timeout = Timeout::new(timeout)?;
        let comparison = comparison(op)?;
        if !self.object.handle.segment().is_writable() {
            let satisfied = || self.value().map(|now| comparison.holds(now, value).then_some(now));
            return look(py, &self.object.handle, timeout, satisfied);
        }
        check_open(&self.object.handle)?;
        let mut operation = self.object.operation(Wanted::Counter(comparison, value));
        match drive(py, &self.object.handle, timeout, &mut operation)? {
            Some(Outcome::Value(value)) => Ok(Some(value)),
            _ => Ok(None),
        }
    }

    fn _begin_wait_until(&self, op: &str, value: i64) -> PyResult<Pending> {
        self.object.tag()?;
        let operation = self.object.operation(Wanted::Counter(comparison(op)?, value));
        Pending::new(&self.object.handle, operation, |_, outcome| match outcome {
            Outcome::Value(value) => Ok(Some(value)),
            _ => Ok(None),
        })
    }
}
