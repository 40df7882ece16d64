//! Growing, shrinking, moving.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Ground, Region, cannot_map, reservation};
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
        if size < actual {
            drop(held);
            self.shrink(size)?;
        } else if size <= held.ground.mapping.reserved() {
            file::grow(held.ground.file.as_fd(), actual, size, sparse)?;
            drop(held);
        } else {
            drop(held);
            // The space first: it can be had without any effect on others.
            self.reserve(size)?;
            self.with_file(|file| file::grow(file, actual, size, sparse))??;
        }
        let held = self.hold()?;
        self.size.store(size.min(held.ground.mapping.reserved()), Ordering::Relaxed);
        self.known.store(size, Ordering::Relaxed);
        if held.ground.mapping.has_faulted() { self.restore(held.ground) } else { Ok(()) }
    }

    fn shrink(&self, size: usize) -> Result<(), Error> {
        let _alone = process::shut(&self.gate);
        // SAFETY: behind the shut gate: nobody else has the ground.
        let Some(ground) = (unsafe { self.ground.load(Ordering::Relaxed).as_ref() }) else { return Err(Error::Closed) };
        self.check_views(ground, size)?;
        file::shrink(ground.file.as_fd(), size)
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
        let reserved = reservation(size, None)?;
        let file = ground.file.as_fd();
        let (mapping, done) = match Arc::try_unwrap(std::mem::replace(&mut ground.mapping, Arc::new(Mapping::nothing()))) {
            Ok(mapping) => match mapping.grow(file, reserved) {
                Ok(mapping) => (Arc::new(mapping), Ok(())),
                Err((mapping, errno)) => (Arc::new(mapping), Err(errno)),
            },
            // Retained, so it must stay where it is: the file gets a second place, with the same pages.
            Err(retained) => match Mapping::new(file, reserved, self.writable) {
                Ok(mapping) => {
                    self.has_retained.store(false, Ordering::Relaxed);
                    (Arc::new(mapping), Ok(()))
                }
                Err(errno) => (retained, Err(errno)),
            },
        };
        // It may have become less than it was, where it could be neither grown nor given back.
        self.size.fetch_min(mapping.reserved(), Ordering::Relaxed);
        ground.mapping = mapping;
        done.map_err(|errno| cannot_map(errno, reserved))
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
