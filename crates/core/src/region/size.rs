//! Growing, shrinking, moving.

use std::os::fd::{AsFd, BorrowedFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use super::{Ground, Region, cannot_map, reservation, round_up};
use crate::error::Error;
use crate::file;
use crate::mapping::Mapping;
use crate::process;

impl Region {
    /// Sets its size; other processes see it at once.
    ///
    /// Growth up to `max_size` moves nothing, beyond it the mapping may move, without copying.
    ///
    /// # Errors
    ///
    /// [`Error::Viewed`] when views would move or lose bytes; `ENOSPC` with nothing changed; [`Error::ReadOnly`];
    /// `EPERM` to shrink anonymous memory.
    pub fn resize(&self, size: usize, sparse: bool) -> Result<(), Error> {
        self.check_writable()?;
        reservation(size, None)?;
        let held = self.hold()?;
        let actual = self.ask_size(&held)?;
        let reserved = held.ground().mapping.reserved();
        // Without a pin, because reserving space may take long: others may close the region meanwhile.
        let file = Arc::clone(&held.ground().file);
        drop(held);
        if size < actual {
            return self.shrink(size);
        }
        if size > reserved {
            // The addresses first: they can be had without any effect on others.
            self.reserve(size)?;
        }
        file::grow(file.as_fd(), actual, size, sparse)?;
        self.settle()
    }

    /// Notes the size after this process has set it, and maps the file again where pages of it were missing.
    fn settle(&self) -> Result<(), Error> {
        let held = self.hold()?;
        // As it is, not as it was set: another thread may have set it again.
        let actual = self.ask_size(&held)?;
        self.known.store(actual, Ordering::Relaxed);
        let faulted = held.has_faulted();
        drop(held);
        if faulted { self.restore() } else { Ok(()) }
    }

    fn shrink(&self, size: usize) -> Result<(), Error> {
        {
            let _alone = process::shut(&self.gate);
            // SAFETY: behind the shut gate: nobody else has the ground.
            let ground = unsafe { self.ground.load(Ordering::Relaxed).as_ref() }.ok_or(Error::Closed)?;
            self.check_views(ground, size)?;
            file::shrink(ground.file.as_fd(), size)?;
            // Before the gate opens: nobody of this process finds bytes missing that it has given up itself.
            self.size.store(size, Ordering::Relaxed);
            self.known.store(size, Ordering::Relaxed);
        }
        self.settle()
    }

    /// Makes the mapping reach `size` bytes, moving it if it must.
    pub(super) fn reserve(&self, size: usize) -> Result<(), Error> {
        let _alone = process::shut(&self.gate);
        // SAFETY: behind the shut gate: nobody else has the ground.
        let Some(ground) = (unsafe { self.ground.load(Ordering::Relaxed).as_mut() }) else { return Err(Error::Closed) };
        if size <= ground.mapping.reserved() {
            return Ok(());
        }
        self.check_views(ground, size)?;
        let wanted = reservation(size, None)?;
        let file = Arc::clone(&ground.file);
        let old = std::mem::replace(&mut ground.mapping, Arc::new(Mapping::nothing()));
        let (mut mapping, mut done) = self.longer(old, file.as_fd(), wanted);
        if done == Err(Errno::NOMEM) {
            // A limit on address space (ulimit -v): nobody asked for that much, so less will do.
            (mapping, done) = self.longer(mapping, file.as_fd(), round_up(size));
        }
        // It may have become less than it was, where it could be neither grown nor given back.
        self.size.fetch_min(mapping.reserved(), Ordering::Relaxed);
        self.base.store(mapping.base(), Ordering::Relaxed);
        self.faulted.store(ptr::from_ref(mapping.faulted()).cast_mut(), Ordering::Relaxed);
        ground.mapping = mapping;
        done.map_err(|errno| cannot_map(errno, wanted))
    }

    /// The mapping with more address space, or as it was.
    fn longer(&self, old: Arc<Mapping>, file: BorrowedFd<'_>, reserved: usize) -> (Arc<Mapping>, Result<(), Errno>) {
        match Arc::try_unwrap(old) {
            Ok(mapping) => match mapping.grow(file, reserved) {
                Ok(mapping) => (Arc::new(mapping), Ok(())),
                Err((mapping, errno)) => (Arc::new(mapping), Err(errno)),
            },
            // Retained, so it must stay where it is: the file gets a second place, with the same pages.
            Err(retained) => match Mapping::new(file, reserved, self.writable) {
                Ok(mapping) => {
                    self.has_retained.store(false, Ordering::Relaxed);
                    self.has_older.store(true, Ordering::Relaxed);
                    (Arc::new(mapping), Ok(()))
                }
                Err(errno) => (retained, Err(errno)),
            },
        }
    }

    /// Refuses to move or shorten memory that views show. The gate is shut, so no view can be made meanwhile.
    fn check_views(&self, ground: &Ground, wanted: usize) -> Result<(), Error> {
        match self.count_views(ground) {
            0 => Ok(()),
            views => Err(Error::Viewed {
                views,
                wanted,
                size: file::size(ground.file.as_fd())?,
                max_size: ground.mapping.reserved(),
            }),
        }
    }

    pub(super) fn count_views(&self, ground: &Ground) -> usize {
        let own = 1 + usize::from(self.has_retained.load(Ordering::Relaxed));
        Arc::strong_count(&ground.mapping).saturating_sub(own)
    }
}
