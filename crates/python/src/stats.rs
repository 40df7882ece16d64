//! `samemap.RegionStats`.

use pyo3::prelude::*;
use samemap_core::region;

/// What a `Region` knows of itself, at one moment.
///
/// Attributes:
///     size: Length of the file or memory, in bytes.
///     max_size: Bytes of address space reserved: how far it may grow while views live.
///     resident: Bytes of it that are in memory now, in whole pages (``mincore(2)``).
///     allocated: Bytes that the file system holds for it (fewer than ``size`` where it is sparse).
///     views: Live buffer exports of this object in this process.
///     truncated: Whether this process has touched pages that somebody truncated away, and nothing has mended it.
#[pyclass(frozen, eq, hash, module = "samemap")]
#[derive(PartialEq, Hash)]
pub(crate) struct RegionStats {
    pub(crate) stats: region::Stats,
}

#[pymethods]
impl RegionStats {
    #[getter]
    fn size(&self) -> usize {
        self.stats.size
    }

    #[getter]
    fn max_size(&self) -> usize {
        self.stats.max_size
    }

    #[getter]
    fn resident(&self) -> usize {
        self.stats.resident
    }

    #[getter]
    fn allocated(&self) -> usize {
        self.stats.allocated
    }

    #[getter]
    fn views(&self) -> usize {
        self.stats.views
    }

    #[getter]
    fn truncated(&self) -> bool {
        self.stats.truncated
    }

    fn __repr__(&self) -> String {
        let region::Stats { size, max_size, resident, allocated, views, truncated } = self.stats;
        let truncated = if truncated { "True" } else { "False" };
        format!(
            "RegionStats(size={size}, max_size={max_size}, resident={resident}, allocated={allocated}, \
             views={views}, truncated={truncated})"
        )
    }
}
