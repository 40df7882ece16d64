//! Floor 6: how the tables and the payloads of a topic lie in its segment, and copying to and from a payload.

use crate::atomic::{Word64, will_write};
use crate::error::Error;
use crate::publisher::Publisher;
use crate::segment::Segment;
use crate::slot::{MOST_PINS, Slot};
use crate::subscriber::Subscriber;
use crate::topic::{Channel, MOST_SLOTS, Shape, Topic};

/// Payloads begin on cache lines of their own.
const LINE: usize = 64;

/// Where everything is: offsets in bytes from the start of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrangement {
    shape: Shape,
    publishers: usize,
    subscribers: usize,
    slots: usize,
    ring: usize,
    payloads: usize,
    /// Bytes from one payload to the next.
    stride: usize,
    size: usize,
}

impl Arrangement {
    /// The arrangement of a topic of that many slots, each of `slot_size` bytes, for so many subscriptions and participants.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] numbers.
    pub fn new(slots: i64, slot_size: i64, subscribers: i64, participants: usize) -> Result<Self, Error> {
        let slots = usize::try_from(slots).ok().filter(|slots| (2..=MOST_SLOTS).contains(slots));
        let slots = slots.ok_or_else(|| Error::Invalid(format!("a topic has 2 to {MOST_SLOTS} slots")))?;
        let subscribers = usize::try_from(subscribers).ok().filter(|subscribers| *subscribers <= MOST_PINS);
        let subscribers =
            subscribers.ok_or_else(|| Error::Invalid(format!("a topic has room for at most {MOST_PINS} subscriptions")))?;
        let slot_size = usize::try_from(slot_size).map_err(|_| Error::Invalid("a message has 0 bytes or more".to_owned()))?;
        let ring = slots.next_power_of_two().max(LINE / size_of::<Word64>());
        let shape = Shape { slots, slot_size, ring, subscribers, publishers: participants };
        Self::of_shape(shape)
            .ok_or_else(|| Error::Invalid(format!("{slots} slots of {slot_size} bytes are more than any file can have")))
    }

    fn of_shape(shape: Shape) -> Option<Self> {
        let publishers = size_of::<Topic>();
        let subscribers = publishers.checked_add(shape.publishers.checked_mul(size_of::<Publisher>())?)?;
        let slots = subscribers.checked_add(shape.subscribers.checked_mul(size_of::<Subscriber>())?)?;
        let ring = slots.checked_add(shape.slots.checked_mul(size_of::<Slot>())?)?;
        let payloads = ring.checked_add(shape.ring.checked_mul(size_of::<Word64>())?)?;
        let stride = shape.slot_size.checked_next_multiple_of(LINE)?;
        let size = payloads.checked_add(shape.slots.checked_mul(stride)?)?;
        i64::try_from(size).ok()?;
        Some(Self { shape, publishers, subscribers, slots, ring, payloads, stride, size })
    }

    /// The arrangement that a segment says it has.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] when that cannot be; [`Error::OutOfRange`].
    pub fn of(segment: &Segment) -> Result<Self, Error> {
        let shape = segment.at::<Topic>(0)?.shape();
        let is_sane = (2..=MOST_SLOTS).contains(&shape.slots)
            && shape.subscribers <= MOST_PINS
            && shape.publishers == segment.capacity()
            && shape.ring == shape.slots.next_power_of_two().max(LINE / size_of::<Word64>());
        Self::of_shape(shape).filter(|found| is_sane && found.size <= segment.body_size()).ok_or_else(|| {
            let expected = format_args!("one that fits into {} bytes", segment.body_size());
            Error::damaged("shape", format_args!("{shape:?}"), expected)
        })
    }

    /// How many there are of everything.
    #[inline(always)]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Bytes of the whole.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The topic in a segment that is arranged so.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`].
    #[inline(always)]
    pub fn channel<'s>(&self, segment: &'s Segment) -> Result<Channel<'s>, Error> {
        Ok(Channel::new(
            segment.at(0)?,
            segment.slice(self.ring, self.shape.ring)?,
            segment.slice(self.slots, self.shape.slots)?,
            segment.slice(self.subscribers, self.shape.subscribers)?,
            segment.slice(self.publishers, self.shape.publishers)?,
        ))
    }

    /// Where the payload of a slot is, of which `length` bytes are wanted.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`]: there is no such slot, or it has fewer bytes.
    #[inline(always)]
    pub fn payload(&self, segment: &Segment, slot: usize, length: usize) -> Result<*mut u8, Error> {
        if slot >= self.shape.slots || length > self.shape.slot_size {
            return Err(Error::OutOfRange { offset: 0, length, size: self.shape.slot_size });
        }
        segment.bytes(self.payloads + slot * self.stride, length)
    }

    /// Tells the processor that the first bytes of a slot's payload will be written soon.
    #[inline(always)]
    pub fn will_write(&self, segment: &Segment, slot: usize) {
        if let Ok(payload) = self.payload(segment, slot, 0) {
            will_write(payload);
        }
    }

    /// Copies the first bytes of a slot's payload into `bytes`. Others may write meanwhile: the caller asks afterwards.
    ///
    /// # Errors
    ///
    /// As [`Arrangement::payload`].
    #[inline(always)]
    pub fn read(&self, segment: &Segment, slot: usize, bytes: &mut [u8]) -> Result<(), Error> {
        let from = self.payload(segment, slot, bytes.len())?;
        // SAFETY: `payload` has shown the range to be mapped, for as long as the segment lives; `bytes` is this process's
        // own. What others write meanwhile may be in the copy in parts: any byte is a valid u8, and the caller throws it
        // away when the slot's number says so.
        unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    /// Copies `length` bytes to `offset` of a slot's payload, which is in the caller's hands.
    ///
    /// # Errors
    ///
    /// As [`Arrangement::payload`], and [`Error::ReadOnly`].
    ///
    /// # Safety
    ///
    /// `bytes` must be readable for `length` bytes; others may write them meanwhile, and they may overlap the payload.
    #[inline]
    pub unsafe fn write(&self, segment: &Segment, slot: usize, offset: usize, bytes: *const u8, length: usize) -> Result<(), Error> {
        if !segment.is_writable() {
            return Err(Error::ReadOnly);
        }
        let to = self.payload(segment, slot, offset.saturating_add(length))?.wrapping_add(offset);
        // SAFETY: `payload` has shown the range to be mapped, and the mapping is writable; the caller vouches for `bytes`.
        // They may be a view of this very memory: `copy` allows overlap.
        unsafe { std::ptr::copy(bytes, to, length) };
        Ok(())
    }
}
