//! Floor 6: how the tables and the messages of a queue lie in its segment, and copying to and from a message.

use crate::atomic::Word64;
use crate::error::Error;
use crate::job::{Job, Label};
use crate::lane::Lane;
use crate::layout::Kind;
use crate::queue::{MOST_JOBS, Queue, REPLIES, Shape, Store};
use crate::segment::Segment;
use crate::worker::Worker;

/// Messages begin on cache lines of their own.
const LINE: usize = 64;

/// Bytes of a cell: most small objects fit, and a job with its cell takes 256 bytes.
const CELL: usize = 128;

/// Bytes of a block, unless there would be more than [`BLOCKS`] of them.
const BLOCK: usize = 4096;

/// So many blocks are quick to look through.
const BLOCKS: usize = 16384;

/// Places for jobs beside those that may wait: for those that are being worked on.
const SPARE: usize = 128;

/// Calls to a service that may be in flight.
pub const CALLS: usize = 128;

/// Where everything is: offsets in bytes from the start of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storage {
    shape: Shape,
    lanes: usize,
    workers: usize,
    jobs: usize,
    words: usize,
    blocks: usize,
    cells: usize,
    heap: usize,
    size: usize,
}

impl Storage {
    /// The storage of a queue, or a service, where `maxsize` jobs may wait, whose longer messages have `bytes` bytes in all, and
    /// whose jobs are delivered `attempts` times at most (0: as often as it takes).
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] numbers.
    pub fn new(kind: Kind, maxsize: i64, bytes: i64, attempts: i64, participants: usize) -> Result<Self, Error> {
        let most = MOST_JOBS - SPARE - CALLS * REPLIES;
        let size = usize::try_from(maxsize).ok().filter(|size| (1..=most).contains(size));
        let size = size.ok_or_else(|| Error::Invalid(format!("maxsize is 1 to {most} jobs, not {maxsize}")))?;
        let heap = usize::try_from(bytes).map_err(|_| Error::Invalid(format!("max_bytes is 0 or more, not {bytes}")))?;
        let attempts = u32::try_from(attempts).ok().filter(|attempts| *attempts <= crate::job::MOST_ATTEMPTS);
        let max_attempts = attempts.ok_or_else(|| {
            Error::Invalid(format!("max_attempts is 1 to {}, or none", crate::job::MOST_ATTEMPTS))
        })?;
        let too_many = || Error::Invalid(format!("max_bytes={bytes} is more than any file can have"));
        let block_size = BLOCK.max((heap / BLOCKS).checked_next_power_of_two().ok_or_else(too_many)?);
        let is_service = kind == Kind::Service;
        let shape = Shape {
            maxsize: size,
            jobs: size + SPARE + if is_service { CALLS * 4 } else { 0 },
            lanes: if is_service { 1 + CALLS } else { 1 },
            ring: size.next_power_of_two().max(LINE / size_of::<Word64>()),
            workers: participants,
            cell: CELL,
            blocks: heap.div_ceil(block_size),
            block_size,
            max_attempts,
            once: is_service,
        };
        Self::of_shape(shape).ok_or_else(too_many)
    }

    fn of_shape(shape: Shape) -> Option<Self> {
        let after = |start: usize, count: usize, each: usize| {
            start.checked_add(count.checked_mul(each)?)?.checked_next_multiple_of(LINE)
        };
        let lanes = size_of::<Queue>();
        let workers = after(lanes, shape.lanes, size_of::<Lane>())?;
        let jobs = after(workers, shape.workers, size_of::<Worker>())?;
        let words = after(jobs, shape.jobs, size_of::<Job>())?;
        let blocks = after(words, Self::count_words(&shape)?, size_of::<Word64>())?;
        let cells = after(blocks, shape.blocks, size_of::<Word64>())?;
        let heap = after(cells, shape.jobs, shape.cell)?;
        let size = after(heap, shape.blocks, shape.block_size)?;
        i64::try_from(size).ok()?;
        Some(Self { shape, lanes, workers, jobs, words, blocks, cells, heap, size })
    }

    fn count_words(shape: &Shape) -> Option<usize> {
        shape.ring.checked_add(shape.lanes.checked_sub(1)?.checked_mul(REPLIES)?)
    }

    /// The storage that a segment says it has.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] when that cannot be; [`Error::OutOfRange`].
    pub fn of(segment: &Segment) -> Result<Self, Error> {
        let shape = segment.at::<Queue>(0)?.shape();
        let is_sane = (1..=shape.jobs).contains(&shape.maxsize)
            && shape.jobs <= MOST_JOBS
            && (1..=1 + CALLS).contains(&shape.lanes)
            && shape.ring == shape.maxsize.next_power_of_two().max(LINE / size_of::<Word64>())
            && shape.workers == segment.capacity()
            && shape.cell.is_multiple_of(LINE)
            && shape.block_size.is_multiple_of(LINE)
            && (shape.block_size > 0 || shape.blocks == 0)
            && u32::try_from(shape.blocks).is_ok();
        let found = if is_sane { Self::of_shape(shape) } else { None };
        found.filter(|found| found.size <= segment.body_size()).ok_or_else(|| {
            let expected = format_args!("one that fits into {} bytes", segment.body_size());
            Error::damaged("shape", format_args!("{shape:?}"), expected)
        })
    }

    /// How many there are of everything.
    #[inline(always)]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Bytes of the whole.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Bytes of the longest message.
    #[inline(always)]
    pub fn longest(&self) -> usize {
        self.shape.cell.max(self.shape.blocks * self.shape.block_size)
    }

    /// How many blocks a message of that many bytes takes.
    pub fn blocks_for(&self, length: usize) -> usize {
        if length <= self.shape.cell { 0 } else { length.div_ceil(self.shape.block_size.max(1)) }
    }

    /// The queue in a segment that has this storage.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`].
    #[inline(always)]
    pub fn store<'s>(&self, segment: &'s Segment) -> Result<Store<'s>, Error> {
        let shape = self.shape;
        let words = shape.ring + (shape.lanes - 1) * REPLIES;
        Ok(Store::new(
            segment.at(0)?,
            shape,
            (segment.slice(self.lanes, shape.lanes)?, segment.slice(self.words, words)?),
            (segment.slice(self.jobs, shape.jobs)?, segment.slice(self.blocks, shape.blocks)?),
            segment.slice(self.workers, shape.workers)?,
        ))
    }

    /// Where the message of a job is, by its label; `None` when it cannot be there.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`]; [`Error::Mismatch`]: its label is damaged.
    #[inline(always)]
    pub fn message(&self, segment: &Segment, at: usize, label: Label) -> Result<(*mut u8, usize), Error> {
        let (first, blocks) = (label.first as usize, label.blocks as usize);
        let (start, room) = if blocks == 0 {
            (self.cells + at * self.shape.cell, self.shape.cell)
        } else {
            (self.heap + first * self.shape.block_size, blocks * self.shape.block_size)
        };
        match usize::try_from(label.length) {
            Ok(length)
                if length <= room && at < self.shape.jobs && first.saturating_add(blocks) <= self.shape.blocks =>
            {
                Ok((segment.bytes(start, length)?, length))
            }
            _ => Err(damaged(label, self.longest())),
        }
    }

    /// Copies a message into `bytes`, which is as long.
    ///
    /// # Errors
    ///
    /// As [`Storage::message`].
    #[inline(always)]
    pub fn read(&self, segment: &Segment, at: usize, label: Label, bytes: &mut [u8]) -> Result<(), Error> {
        let (from, length) = self.message(segment, at, label)?;
        if bytes.len() != length {
            return Err(damaged(label, self.longest()));
        }
        // SAFETY: `message` has shown the range to be mapped, for as long as the segment lives; `bytes` is this process's own,
        // and as long. Any byte is a valid u8, whatever others write.
        unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    /// Copies `length` bytes to `offset` of a message in the caller's hands.
    ///
    /// # Errors
    ///
    /// As [`Storage::message`], and [`Error::ReadOnly`].
    ///
    /// # Safety
    ///
    /// `bytes` must be readable for `length` bytes; others may write them meanwhile, and they may overlap the message.
    #[inline]
    pub unsafe fn write(
        &self,
        segment: &Segment,
        (at, label): (usize, Label),
        offset: usize,
        bytes: *const u8,
        length: usize,
    ) -> Result<(), Error> {
        if !segment.is_writable() {
            return Err(Error::ReadOnly);
        }
        let (to, room) = self.message(segment, at, label)?;
        if offset.checked_add(length).is_none_or(|end| end > room) {
            return Err(Error::OutOfRange { offset, length, size: room });
        }
        // SAFETY: `message` has shown the range to be mapped, and the mapping is writable; the caller vouches for `bytes`.
        // They may be a view of this very memory: `copy` allows overlap.
        unsafe { std::ptr::copy(bytes, to.wrapping_add(offset), length) };
        Ok(())
    }

    /// Tells the processor that the cell of a place will be read soon.
    #[inline(always)]
    pub fn will_read(&self, segment: &Segment, at: usize) {
        if let Ok(cell) = segment.bytes(self.cells + at * self.shape.cell, self.shape.cell) {
            crate::atomic::will_read(cell);
        }
    }

    /// Tells the processor that the cell of the next place will be written soon.
    #[inline(always)]
    pub fn will_write(&self, segment: &Segment, at: usize) {
        let next = if at + 1 < self.shape.jobs { at + 1 } else { 0 };
        if let Ok(cell) = segment.bytes(self.cells + next * self.shape.cell, self.shape.cell) {
            crate::atomic::will_write(cell);
        }
    }
}

#[cold]
fn damaged(label: Label, longest: usize) -> Error {
    let found = format_args!("{} bytes in {} blocks from {}", label.length, label.blocks, label.first);
    Error::damaged("place of a message", found, format_args!("at most {longest} bytes, inside"))
}
