//! Bytes, text, views, and what the kernel may do with the pages.

use std::os::fd::AsFd;
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::{Held, Region, View};
use crate::error::Error;
use crate::file::{self, page_size};
use crate::text::SharedText;

/// What the kernel is told about pages: madvise(2). None of it changes a byte of a shared file.
pub use rustix::mm::Advice;

impl Region {
    /// The byte at `offset`.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`], [`Error::Truncated`], [`Error::Closed`]; so do all that follow.
    #[inline(always)]
    pub fn get(&self, offset: usize) -> Result<u8, Error> {
        let held = self.reach(offset, 1)?;
        let value = byte(&held, offset).load(Ordering::Relaxed);
        self.finish(held, value)
    }

    /// Stores the byte at `offset`.
    ///
    /// # Errors
    ///
    /// As [`Region::get`], and [`Error::ReadOnly`].
    #[inline(always)]
    pub fn set(&self, offset: usize, value: u8) -> Result<(), Error> {
        self.check_writable()?;
        let held = self.reach(offset, 1)?;
        byte(&held, offset).store(value, Ordering::Relaxed);
        self.finish(held, ())
    }

    /// Copies bytes from `offset` on into `bytes`.
    ///
    /// # Errors
    ///
    /// As [`Region::get`].
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), Error> {
        let held = self.reach(offset, bytes.len())?;
        let from = held.base().wrapping_add(offset);
        // SAFETY: `reach` has shown the range to be mapped, and the pin keeps it so; `bytes` is this process's own.
        // Others may write meanwhile: then the copy holds some of both, as documented, and any byte is a valid u8.
        unsafe { ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
        self.finish(held, ())
    }

    /// Copies `length` bytes from `bytes` to `offset`.
    ///
    /// # Errors
    ///
    /// As [`Region::set`].
    ///
    /// # Safety
    ///
    /// `bytes` must be readable for `length` bytes; others may write them meanwhile, and they may overlap the region.
    pub unsafe fn write(&self, offset: usize, bytes: *const u8, length: usize) -> Result<(), Error> {
        self.check_writable()?;
        let held = self.reach(offset, length)?;
        let to = held.base().wrapping_add(offset);
        // SAFETY: `reach` has shown the range to be mapped, and the pin keeps it so; the caller vouches for `bytes`,
        // which may be a view of this very region: `copy` allows overlap.
        unsafe { ptr::copy(bytes, to, length) };
        self.finish(held, ())
    }

    /// The text from `offset` to the first NUL, or `limit` bytes (the rest of the region) where there is none.
    ///
    /// # Errors
    ///
    /// As [`Region::get`].
    pub fn read_text(&self, offset: usize, limit: Option<usize>) -> Result<Vec<u8>, Error> {
        let (held, length) = self.reach_rest(offset, limit)?;
        let text = shared_text(&held, offset, length).read();
        self.finish(held, text)
    }

    /// Stores `text` and a NUL at `offset`, in at most `limit` bytes (the rest of the region). Returns what it took.
    ///
    /// # Errors
    ///
    /// As [`Region::set`], and [`Error::Invalid`] for text that does not fit or holds a NUL; then nothing is stored.
    pub fn write_text(&self, offset: usize, limit: Option<usize>, text: &[u8]) -> Result<usize, Error> {
        self.check_writable()?;
        if let Some(at) = text.iter().position(|byte| *byte == 0) {
            return Err(Error::Invalid(format!("the text holds a NUL at byte {at}, which would end it there")));
        }
        let (held, length) = self.reach_rest(offset, limit)?;
        let taken = text.len() + 1;
        if taken > length {
            return Err(Error::Invalid(format!(
                "the text takes {taken} bytes with its NUL, and there is room for {length} at offset {offset}"
            )));
        }
        shared_text(&held, offset, taken).write(text);
        self.finish(held, taken)
    }

    /// Bytes that slices and views may speak of: those of the file, and those that it lost.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub fn extent(&self) -> Result<usize, Error> {
        Ok(self.size()?.max(self.known.load(Ordering::Relaxed)))
    }

    fn reach_rest(&self, offset: usize, limit: Option<usize>) -> Result<(Held<'_>, usize), Error> {
        let length = match limit {
            Some(limit) => limit,
            None => self.extent()?.saturating_sub(offset),
        };
        // One byte at least, so that an offset at or beyond the end is said to be outside.
        let held = self.reach(offset, length.max(1))?;
        Ok((held, length))
    }

    // ---- views ----

    /// A view of all bytes that the file has now.
    ///
    /// With `retain`, the mapping also stays for as long as the region itself lives, closed or not: for users who take
    /// an address and keep only the region alive, not the view. `np.ndarray(buffer=region)` releases the buffer at once
    /// and relies on its owner.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`]; [`Error::Truncated`]; [`Error::Viewed`] when others have grown it beyond `max_size` and older views live.
    pub fn view(&self, retain: bool) -> Result<View, Error> {
        let (held, length) = loop {
            let size = self.extent()?;
            match self.reach(0, size) {
                Ok(held) => break (held, size),
                // Another thread has shortened it meanwhile.
                Err(Error::OutOfRange { .. }) => {}
                Err(error) => return Err(error),
            }
        };
        let mapping = Arc::clone(&held.ground().mapping);
        // Under the same pin as the view: no other mapping can take the place of this one in between.
        if retain && !self.has_retained.swap(true, Ordering::Relaxed) {
            self.retained().push(Arc::clone(&mapping));
        }
        Ok(View { mapping, length, writable: self.writable })
    }

    // ---- pages ----

    /// Writes changed bytes to the file's storage, and waits for it: at least those of the range.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`]; `EIO`.
    pub fn flush(&self, offset: usize, length: Option<usize>) -> Result<(), Error> {
        let (held, _) = self.reach_range(offset, length)?;
        // By descriptor, because it may take long: a pin would keep others from closing the region.
        let file = Arc::clone(&held.ground().file);
        drop(held);
        file::flush(file.as_fd())?;
        self.finish(self.hold()?, ())
    }

    /// Tells the kernel how the pages will be used.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`]; `EINVAL` for advice that this kernel does not know.
    pub fn advise(&self, offset: usize, length: Option<usize>, advice: Advice) -> Result<(), Error> {
        let (held, length) = self.reach_range(offset, length)?;
        held.ground()
            .mapping
            .advise(offset, length, advice)
            .map_err(|errno| file::refused(errno, "the kernel does not take that advice"))
    }

    /// Gives the space of the bytes back to the system: they read as zeros, and the size stays.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`], [`Error::OutOfRange`]; `EOPNOTSUPP` where the file system cannot.
    pub fn punch(&self, offset: usize, length: Option<usize>) -> Result<(), Error> {
        self.check_writable()?;
        let (held, length) = self.reach_range(offset, length)?;
        if length == 0 { Ok(()) } else { file::punch(held.ground().file.as_fd(), offset, length) }
    }

    /// Keeps the bytes in memory, never swapped out.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`]; `ENOMEM` above the limit on locked memory.
    pub fn lock(&self, offset: usize, length: Option<usize>) -> Result<(), Error> {
        let (held, length) = self.reach_range(offset, length)?;
        held.ground().mapping.lock(offset, length).map_err(|errno| {
            let known = self.known.load(Ordering::Relaxed);
            match self.ask_size(&held) {
                Ok(actual) if actual < offset + length => return Error::Truncated { known, actual },
                _ => {}
            }
            let limit = getrlimit(Resource::Memlock).current;
            let limit = limit.map_or_else(|| "unlimited".to_owned(), |limit| format!("{limit} bytes"));
            Error::os(
                errno,
                format!(
                    "cannot lock {length} bytes in memory: {}; the limit on locked memory (ulimit -l) is {limit}",
                    file::text(errno)
                ),
            )
        })?;
        self.finish(held, ())
    }

    /// Lets the bytes leave memory again.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`].
    pub fn unlock(&self, offset: usize, length: Option<usize>) -> Result<(), Error> {
        let (held, length) = self.reach_range(offset, length)?;
        held.ground().mapping.unlock(offset, length).map_err(|errno| file::refused(errno, "cannot unlock"))
    }

    pub(super) fn populate(&self) -> Result<(), Error> {
        let advice = if self.writable { Advice::LinuxPopulateWrite } else { Advice::LinuxPopulateRead };
        let (held, size) = self.reach_range(0, None)?;
        match held.ground().mapping.advise(0, size, advice) {
            Ok(()) => Ok(()),
            // Before Linux 5.14 there was no such advice: touch each page.
            Err(Errno::INVAL) => {
                for offset in (0..size).step_by(page_size()) {
                    byte(&held, offset).load(Ordering::Relaxed);
                }
                self.finish(held, ())
            }
            // Pages that are not there: truncated meanwhile, or a sparse file on a full file system.
            Err(Errno::FAULT) => {
                held.ground().mapping.mark_faulted();
                Err(self.fault(held))
            }
            Err(errno) => Err(file::refused(errno, "cannot bring the pages into memory")),
        }
    }

    fn reach_range(&self, offset: usize, length: Option<usize>) -> Result<(Held<'_>, usize), Error> {
        let length = match length {
            Some(length) => length,
            None => self.extent()?.saturating_sub(offset),
        };
        Ok((self.reach(offset, length)?, length))
    }
}

#[inline(always)]
fn byte<'a>(held: &'a Held<'_>, offset: usize) -> &'a AtomicU8 {
    let byte = held.base().wrapping_add(offset);
    // SAFETY: `reach` has shown the byte to be mapped, and the pin keeps it so.
    unsafe { AtomicU8::from_ptr(byte) }
}

fn shared_text<'a>(held: &'a Held<'_>, offset: usize, limit: usize) -> SharedText<'a> {
    let start = held.base().wrapping_add(offset).cast::<AtomicU8>();
    // Words do not cross pages: the rest of the last one is mapped too, if only beyond the end of the file.
    let length = SharedText::end_of_word(offset + limit) - offset;
    // SAFETY: `reach` has shown the bytes up to the limit to be mapped, the rest is in the page of the last of them, and
    // the pin keeps them so; AtomicU8 is laid out as u8.
    SharedText::new(unsafe { std::slice::from_raw_parts(start, length) }, limit)
}
