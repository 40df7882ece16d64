//! `samemap._core`: what Python sees of `samemap-core`. No algorithm lives here: only conversion, the GIL, signals,
//! and the export of buffers.

use pyo3::prelude::*;

mod arguments;
mod barrier;
mod callback;
mod condition;
mod counter;
mod depot;
mod drive;
mod errors;
mod event;
mod exhaustion;
mod frames;
mod holding;
mod in_turn;
mod index;
mod job;
mod latest;
mod lent;
mod loan;
mod lock;
mod object;
mod outlet;
mod pages;
mod participant;
mod pending;
mod pickling;
mod putting;
mod queue;
mod readwrite;
mod reception;
mod region;
mod remembered;
mod rlock;
mod sample;
mod segment;
mod semaphore;
mod service;
mod several;
mod small;
mod stats;
mod subscription;
mod text;
mod topic;
mod view;
mod wait;
mod words;
mod workload;

/// The compiled half of samemap: mapped bytes, the bus-error guard, and futex waits.
#[pymodule(gil_used = false)]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::barrier::Barrier;
    #[pymodule_export]
    use super::condition::Condition;
    #[pymodule_export]
    use super::counter::Counter;
    #[pymodule_export]
    use super::errors::{SegmentMismatch, SegmentTruncated};
    #[pymodule_export]
    use super::event::Event;
    #[pymodule_export]
    use super::frames::{Blank, Hold, Pin};
    #[pymodule_export]
    use super::job::{DeadLetter, Job};
    #[pymodule_export]
    use super::latest::Latest;
    #[pymodule_export]
    use super::loan::Loan;
    #[pymodule_export]
    use super::lock::Lock;
    #[pymodule_export]
    use super::participant::Participant;
    #[pymodule_export]
    use super::pending::{Pending, Watcher};
    #[pymodule_export]
    use super::queue::Queue;
    #[pymodule_export]
    use super::readwrite::ReadWriteLock;
    #[pymodule_export]
    use super::region::Region;
    #[pymodule_export]
    use super::rlock::RLock;
    #[pymodule_export]
    use super::sample::Sample;
    #[pymodule_export]
    use super::segment::{Segment, leave_all};
    #[pymodule_export]
    use super::semaphore::Semaphore;
    #[pymodule_export]
    use super::service::{Call, Request, Service};
    #[pymodule_export]
    use super::several::{begin_wait, wait_any};
    #[pymodule_export]
    use super::stats::RegionStats;
    #[pymodule_export]
    use super::subscription::Subscription;
    #[pymodule_export]
    use super::topic::Topic;
    #[pymodule_export]
    use super::view::View;
    #[pymodule_export]
    use super::wait::wait_for_file;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        samemap_core::region::prepare_for_forks();
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("PAGE_SIZE", samemap_core::file::page_size())?;
        module.add("MIN_RESERVATION", samemap_core::region::MIN_RESERVATION)?;
        module.add("SERVER_OFFSET", samemap_core::layout::SERVER_OFFSET)?;
        module.add("MOST_PIDS", samemap_core::layout::MOST_PIDS)
    }
}
