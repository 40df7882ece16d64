//! Receiving many messages at once, as rows of an array.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use samemap_core::bell::now;

use super::Subscription;
use crate::drive::raise;
use crate::view::Writable;

impl Subscription {
    /// How many messages it can get now, at most; 1 where there is none.
    pub(super) fn within_reach(&self, py: Python<'_>) -> PyResult<usize> {
        self.check_open()?;
        let outlet = self.outlet();
        let newest = outlet.channel()?.newest();
        let lag = newest.saturating_add(1).saturating_sub(self.state.take(py).cursor);
        Ok(usize::try_from(lag).unwrap_or(usize::MAX).clamp(1, outlet.arrangement.shape().slots))
    }

    /// Copies messages of `each` bytes into the rows; returns how many.
    pub(super) fn fill(&self, py: Python<'_>, rows: &mut Writable, each: usize) -> PyResult<usize> {
        let mut state = self.settled(py)?;
        let (state, outlet, segment) = (&mut *state, self.outlet(), self.handle.segment());
        let channel = outlet.channel()?;
        let most = rows.len().checked_div(each).unwrap_or(0);
        // Publishers who wait are let on before all is read.
        let often = (outlet.arrangement.shape().slots / 4).max(1);
        let (mut done, mut wrong, mut published) = (0, None, 0);
        while done < most && wrong.is_none() {
            let before = state.cursor;
            let found = channel.receive(&mut state.cursor, self.wanted(), |at, slot, label, seq| {
                if label.length != each as u64 {
                    return slot.is_still(seq).then(|| wrong = Some((seq, label.length)));
                }
                let copied = outlet.arrangement.read(segment, at, rows.row(done, each));
                published = label.published;
                (copied.is_ok() && slot.is_still(seq)).then_some(())
            });
            let Some((seq, ())) = found else {
                state.gone += state.cursor.saturating_sub(before);
                break;
            };
            if wrong.is_some() {
                state.cursor = seq;
                break;
            }
            state.missed += state.gone + seq.saturating_sub(before);
            state.gone = 0;
            state.received += 1;
            done += 1;
            if done.is_multiple_of(often) {
                self.note(&channel, state, None);
            }
        }
        segment.check().map_err(|error| raise(segment, &error))?;
        if done > 0 {
            self.note(&channel, state, None);
            if let Some(reception) = &state.reception {
                channel.count_delay(reception.place, now().saturating_sub(published));
            }
        }
        match wrong {
            Some((seq, length)) if done == 0 => Err(PyValueError::new_err(format!(
                "message {seq} has {length} bytes, and {each} were expected: somebody publishes something else here"
            ))),
            _ => Ok(done),
        }
    }
}
