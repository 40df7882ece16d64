//! What is known of a queue or a service, as rows, for monitors.

use pyo3::prelude::*;
use samemap_core::atomic::monotonic;
use samemap_core::job::Phase;

use crate::depot::Depot;
use crate::participant::seconds;

/// A job: place, number, state, tag, attempt, bytes, put, taken, seconds left of the lease, lane.
pub(crate) type JobRow = (usize, u64, &'static str, u32, u32, u64, f64, f64, Option<f64>, u16);

/// A job or request that somebody has in hands: tag, number, attempt, since when.
pub(crate) type LeaseRow = (u32, u64, u32, f64);

/// A worker: tag, puts, jobs taken, those of them that are done, returned, bytes.
pub(crate) type WorkerRow = (u32, u64, u64, u64, u64, u64);

/// Puts, jobs taken, those of them that are done, returned, bytes, depth, leased, held, dead letters, free places, free
/// bytes.
pub(crate) type TotalsRow = (u64, u64, u64, u64, u64, usize, usize, usize, usize, usize, usize);

impl Depot {
    pub(crate) fn job_rows(&self) -> PyResult<Vec<JobRow>> {
        self.check_open()?;
        let moment = monotonic();
        let store = self.store()?;
        let rows = store.jobs().iter().enumerate().filter_map(|(at, job)| {
            let (state, label) = (job.state(), job.read());
            let called = match state.phase() {
                Phase::Free => return None,
                Phase::Filling if store.is_committed(at, state) => "ready",
                Phase::Filling => "filling",
                Phase::Ready => "ready",
                Phase::Leased => "leased",
                Phase::Held => "held",
                Phase::Dead => "dead",
            };
            let left = job.until().filter(|_| state.phase() == Phase::Leased).map(|until| {
                #[expect(clippy::cast_precision_loss, reason = "seconds are a float, as everywhere in Python")]
                let left = until.cast_signed().wrapping_sub(moment.cast_signed()) as f64 / 1e9;
                left
            });
            let tag = state.tag().filter(|_| called != "ready").map_or(0, |tag| tag.word());
            let taken = if matches!(state.phase(), Phase::Leased | Phase::Held) { seconds(job.taken()) } else { 0.0 };
            Some((
                at,
                job.seq(),
                called,
                tag,
                state.attempt(),
                label.length,
                seconds(job.put()),
                taken,
                left,
                label.lane,
            ))
        });
        let rows = rows.collect();
        self.object.check()?;
        Ok(rows)
    }

    /// What workers have in their hands: only that, because the jobs that wait may be many thousands.
    pub(crate) fn lease_rows(&self) -> PyResult<Vec<LeaseRow>> {
        self.check_open()?;
        let rows = self.store()?.jobs().iter().filter_map(|job| {
            let state = job.state();
            // A lane of another number is one of a service's replies.
            let is_lease = state.phase() == Phase::Leased && job.read().lane == 0;
            let row = (state.tag()?.word(), job.seq(), state.attempt(), seconds(job.taken()));
            is_lease.then_some(row)
        });
        let rows = rows.collect();
        self.object.check()?;
        Ok(rows)
    }

    pub(crate) fn worker_rows(&self) -> PyResult<Vec<WorkerRow>> {
        self.check_open()?;
        let rows = self.store()?.work().filter_map(|work| {
            let done = work.gets.wrapping_add(work.acknowledged);
            let takes = work.gets.wrapping_add(work.leases);
            Some((work.tag?.word(), work.puts, takes, done, work.returned, work.bytes))
        });
        let rows = rows.collect();
        self.object.check()?;
        Ok(rows)
    }

    pub(crate) fn totals_row(&self) -> PyResult<TotalsRow> {
        self.check_open()?;
        let store = self.store()?;
        let rows = self.worker_rows()?;
        let sum = |of: fn(&WorkerRow) -> u64| rows.iter().map(of).fold(0, u64::wrapping_add);
        let (puts, gets, done) = (sum(|row| row.1), sum(|row| row.2), sum(|row| row.3));
        let (returned, bytes) = (sum(|row| row.4), sum(|row| row.5));
        let totals = store.totals();
        let free = totals.free_blocks * store.shape().block_size;
        self.object.check()?;
        Ok((
            puts,
            gets,
            done,
            returned,
            bytes,
            totals.depth,
            totals.leased,
            totals.held,
            totals.dead,
            totals.free,
            free,
        ))
    }
}
