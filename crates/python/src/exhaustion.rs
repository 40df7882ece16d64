//! `samemap.Full` and `samemap.Empty`: nothing free, nothing there.

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use samemap_core::bell::now;
use samemap_core::job::Phase;
use samemap_core::queue::Store;
use samemap_core::segment::Segment;
use samemap_core::tag::Tag;
use samemap_core::topic::Channel;
use samemap_core::topic::supply::Holding;

use crate::callback;
use crate::errors::{in_file, in_words};

/// So many slots are told about.
const SHOWN: usize = 4;

fn error(py: Python<'_>, class: &str, text: &str) -> PyErr {
    let raised = || {
        let class = py.import("samemap.exhaustion")?.getattr(class)?;
        callback::call(&class, &PyTuple::new(py, [text])?)
    };
    raised().map_or_else(|error| error, PyErr::from_value)
}

/// The exception for a message that did not come in time.
#[cold]
pub(crate) fn empty(py: Python<'_>, text: &str) -> PyErr {
    error(py, "Empty", text)
}

/// The exception for a queue that was shut down.
#[cold]
pub(crate) fn shut_down(py: Python<'_>, segment: &Segment) -> PyErr {
    let path = in_file(segment);
    error(py, "ShutDown", &format!("the {} was shut down{path}", segment.kind().name().to_lowercase()))
}

/// The exception for a job that another has by now.
#[cold]
pub(crate) fn lease_lost(py: Python<'_>, text: &str) -> PyErr {
    error(py, "LeaseLost", text)
}

/// The exception for a call whose other side has died.
#[cold]
pub(crate) fn peer_died(py: Python<'_>, text: &str) -> PyErr {
    error(py, "PeerDied", text)
}

/// Whether an exception says that there is no room.
pub(crate) fn is_full(py: Python<'_>, raised: &PyErr) -> bool {
    let class = py.import("samemap.exhaustion").and_then(|module| module.getattr("Full"));
    class.is_ok_and(|class| raised.matches(py, class).unwrap_or(false))
}

/// The exception for want of room in a queue: what takes it.
#[cold]
pub(crate) fn full_queue(py: Python<'_>, segment: &Segment, store: &Store<'_>) -> PyErr {
    let (totals, shape) = (store.totals(), store.shape());
    let path = in_file(segment);
    let mut lines = String::new();
    let busy = store.jobs().iter().filter(|job| matches!(job.state().phase(), Phase::Leased | Phase::Held));
    for job in busy.clone().take(SHOWN) {
        let state = job.state();
        let what = if state.phase() == Phase::Leased { "leased by" } else { "done, and seen by" };
        let since = now().saturating_sub(job.taken()) / 100_000_000;
        let who = in_words(segment, state.tag());
        lines += &format!("\n  job {}: {what} {who} for {}.{} s", job.seq(), since / 10, since % 10);
    }
    let more = match busy.count().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!("\n  and {more} more"),
    };
    let free = totals.free_blocks * shape.block_size;
    error(
        py,
        "Full",
        &format!(
            "no room{path}: {} of {} jobs wait, {} are leased, {} are seen, {} are dead letters; {free} bytes are free for \
             long messages{lines}{more}\nlet more workers take them, replay or discard dead letters, or make it with a \
             larger maxsize or max_bytes",
            totals.depth, shape.maxsize, totals.leased, totals.held, totals.dead
        ),
    )
}

/// The exception for want of a slot: who keeps which, and since when.
#[cold]
pub(crate) fn full(py: Python<'_>, segment: &Segment, channel: &Channel<'_>) -> PyErr {
    error(py, "Full", &in_detail(segment, channel))
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn in_detail(segment: &Segment, channel: &Channel<'_>) -> String {
    let holdings = channel.holdings();
    let who = |tag: Option<Tag>| in_words(segment, tag);
    let lines = holdings.iter().take(SHOWN).map(|(slot, seq, since, held)| {
        let since = match since {
            0 => String::new(),
            since => format!(" for {:.1} s", now().saturating_sub(*since) as f64 / 1e9),
        };
        let held: Vec<String> = held
            .iter()
            .map(|holding| match holding {
                Holding::Loaned(tag) => format!("in the hands of {}{since}", who(Some(*tag))),
                Holding::Pinned(_, tag) => format!("pinned by {}{since}", who(*tag)),
                Holding::Unread(_, tag) => format!("not yet read by {}, which blocks", who(*tag)),
            })
            .collect();
        format!("\n  slot {slot} (message {seq}): {}", held.join(", "))
    });
    let lines: String = lines.collect();
    let more = match holdings.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!("\n  and {more} more"),
    };
    let slots = channel.slots().len();
    let path = in_file(segment);
    format!(
        "no free slot of {slots}{path}:{lines}{more}\nrelease samples sooner, read faster, or make it with more slots"
    )
}
