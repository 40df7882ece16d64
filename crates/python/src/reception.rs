//! Taking messages out of a topic: what subscriptions and newest values have in common.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use samemap_core::arrangement::Arrangement;
use samemap_core::bell::now;
use samemap_core::error::Error;
use samemap_core::segment::{Handle, Segment};
use samemap_core::slot::{Label, Slot};
use samemap_core::tag::Tag;
use samemap_core::topic::{Channel, Wanted};

use crate::drive::raise;
use crate::frames::Pin;
use crate::view::bytes_with;

/// Messages of at most so many bytes are copied at once, and pin nothing: that costs less than a pin.
pub(crate) const SMALL: usize = 4096;

/// A place among the subscriptions of a topic, until the last sample that came by it is gone.
pub(crate) struct Reception {
    pub(crate) handle: Handle,
    pub(crate) arrangement: Arrangement,
    pub(crate) tag: Tag,
    pub(crate) place: usize,
}

impl Reception {
    fn channel(&self) -> Option<Channel<'_>> {
        let segment = self.handle.segment();
        // Not in a fork's child: it is its parent's.
        if segment.seated() == Some(self.tag) { self.arrangement.channel(segment).ok() } else { None }
    }

    /// Lets publishers know that nobody reads on.
    pub(crate) fn end(&self) {
        if let Some(channel) = self.channel() {
            channel.end(self.place, self.tag);
        }
    }
}

impl Drop for Reception {
    fn drop(&mut self) {
        if let Some(channel) = self.channel() {
            channel.leave(self.place, self.tag);
        }
    }
}

/// A slot that a subscription has pinned.
pub(crate) struct Pinned {
    reception: Arc<Reception>,
    slot: usize,
    pub(crate) length: usize,
}

impl Pinned {
    /// Where its payload is.
    pub(crate) fn payload(&self) -> Result<*mut u8, Error> {
        self.reception.arrangement.payload(self.reception.handle.segment(), self.slot, self.length)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Some(channel) = self.reception.channel() {
            channel.unpin(self.reception.place, self.slot);
        }
    }
}

/// The bytes of a message.
pub(crate) enum Payload {
    /// In an object of their own.
    Copied(Py<PyBytes>),
    /// In their slot.
    Pinned(Py<Pin>),
}

/// What a message was found to be.
pub(crate) struct Found {
    pub(crate) seq: u64,
    pub(crate) label: Label,
    pub(crate) payload: Payload,
}

/// How messages are taken out.
pub(crate) struct Reader<'a> {
    pub(crate) py: Python<'a>,
    pub(crate) segment: &'a Arc<Segment>,
    pub(crate) arrangement: &'a Arrangement,
    /// With it, large messages are pinned; without, all are copied.
    pub(crate) reception: Option<&'a Arc<Reception>>,
}

impl Reader<'_> {
    /// The first message from `cursor` on that can be had, or the newest.
    #[inline(always)]
    pub(crate) fn next(&self, channel: &Channel<'_>, cursor: &mut u64, wanted: Wanted) -> PyResult<Option<Found>> {
        let found = channel.receive(cursor, wanted, |at, slot, label, seq| self.read(channel, (at, slot), label, seq));
        self.segment.check().map_err(|error| raise(self.segment, &error))?;
        found.map(|(seq, read)| read.map(|(payload, label)| Found { seq, label, payload })).transpose()
    }

    /// Message `seq`, copied, if it can be had.
    pub(crate) fn one(&self, seq: u64) -> PyResult<Option<Found>> {
        let channel = self.arrangement.channel(self.segment).map_err(|error| raise(self.segment, &error))?;
        let slot = channel.find(seq).and_then(|at| Some((at, channel.slots().get(at)?)));
        let read = slot.and_then(|(at, slot)| self.read(&channel, (at, slot), slot.read(seq)?, seq));
        self.segment.check().map_err(|error| raise(self.segment, &error))?;
        read.map(|read| read.map(|(payload, label)| Found { seq, label, payload })).transpose()
    }

    #[inline(always)]
    fn read(
        &self,
        channel: &Channel<'_>,
        (at, slot): (usize, &Slot),
        label: Label,
        seq: u64,
    ) -> Option<PyResult<(Payload, Label)>> {
        let most = self.arrangement.shape().slot_size;
        let length = match usize::try_from(label.length) {
            Ok(length) if length <= most => length,
            // Overwritten meanwhile, or by somebody who may not.
            _ => return slot.is_still(seq).then(|| Err(self.damaged(label.length, most))),
        };
        if length > SMALL
            && let Some(reception) = self.reception
        {
            if !channel.pin(reception.place, at, seq, now()) {
                return None;
            }
            let pinned = Pinned { reception: Arc::clone(reception), slot: at, length };
            return Some(Py::new(self.py, Pin { pinned }).map(|pin| (Payload::Pinned(pin), label)));
        }
        self.copy(at, slot, length, seq).transpose().map(|copied| copied.map(|bytes| (Payload::Copied(bytes), label)))
    }

    #[inline(always)]
    fn copy(&self, at: usize, slot: &Slot, length: usize, seq: u64) -> PyResult<Option<Py<PyBytes>>> {
        let copied = bytes_with(self.py, length, |place| {
            self.arrangement.read(self.segment, at, place).map_err(|error| raise(self.segment, &error))
        })?;
        Ok(slot.is_still(seq).then(|| copied.unbind()))
    }

    #[cold]
    pub(crate) fn damaged(&self, length: u64, most: usize) -> PyErr {
        raise(self.segment, &Error::damaged("length of a message", length, format_args!("at most {most}")))
    }
}
