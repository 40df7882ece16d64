//! Floor 2: a shared mapping of a file, longer than the file on purpose; the only `mmap`, `mremap` and `munmap`.
//!
//! The mapping covers all of the address space that the file may grow into. Pages beyond the end of the file cost
//! nothing, and become usable in every process at the moment when the file grows (mmap(2), ftruncate(2)).

use std::ffi::c_void;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::mm::{self, Advice, MapFlags, MremapFlags, ProtFlags};

use crate::file::page_size;
use crate::guard::Watch;

/// Address space that shows a file, unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    reserved: usize,
    writable: bool,
    /// `None` only while `Drop` or `grow` takes the range apart.
    watch: Option<Watch>,
}

// SAFETY: a mapping belongs to the process, not to a thread; what its bytes hold is for its users to synchronise.
unsafe impl Send for Mapping {}
// SAFETY: as above; `&Mapping` gives out an address, and every access through it is its user's to prove.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `reserved` bytes (a multiple of the page size) of `file` from its start.
    pub(crate) fn new(file: BorrowedFd<'_>, reserved: usize, writable: bool) -> Result<Self, Errno> {
        // SAFETY: a null hint without FIXED takes only addresses that nothing uses.
        let address = unsafe { mm::mmap(ptr::null_mut(), reserved, access(writable), MapFlags::SHARED, file, 0)? };
        Self::adopt(address, reserved, writable)
    }

    /// Takes over a range that is mapped already, and unmaps it if it cannot be guarded.
    fn adopt(address: *mut c_void, reserved: usize, writable: bool) -> Result<Self, Errno> {
        let base = NonNull::new(address.cast::<u8>()).ok_or(Errno::FAULT)?;
        let mut mapping = Self { base, reserved, writable, watch: None };
        mapping.watch = Some(Watch::new(address.addr(), reserved, writable)?);
        Ok(mapping)
    }

    /// Gives it more address space, where need be at another address. No bytes are copied.
    ///
    /// The caller holds the only handle (`self` by value), so nobody has an address into the old place.
    pub(crate) fn grow(mut self, file: BorrowedFd<'_>, reserved: usize) -> Result<Self, (Self, Errno)> {
        let old = self.base.as_ptr().cast::<c_void>();
        // A locked mapping would lock all that it grows by, which may be much more than anybody asked for. It fails only
        // where nothing is mapped.
        let _ = self.unlock(0, self.reserved);
        // SAFETY: the range is ours, and nobody holds an address into it: see above.
        match unsafe { mm::mremap(old, self.reserved, reserved, MremapFlags::MAYMOVE) } {
            Ok(address) => {
                // The old range is no longer ours: it must neither be guarded nor unmapped.
                self.watch = None;
                let writable = self.writable;
                std::mem::forget(self);
                // The range is unmapped when it cannot be guarded: there is no mapping to give back.
                Self::adopt(address, reserved, writable).map_err(|errno| (Self::nothing(), errno))
            }
            // The range is in several pieces for the kernel: a part is locked, advised, or covered by the guard.
            Err(Errno::FAULT | Errno::INVAL) => match Self::new(file, reserved, self.writable) {
                Ok(mapping) => Ok(mapping),
                Err(errno) => Err((self, errno)),
            },
            Err(errno) => Err((self, errno)),
        }
    }

    /// No address space: a placeholder while a mapping changes hands.
    pub(crate) fn nothing() -> Self {
        Self { base: NonNull::dangling(), reserved: 0, writable: false, watch: None }
    }

    /// Puts the file back where the guard covered it, at the same addresses.
    pub(crate) fn restore(&self, file: BorrowedFd<'_>) -> Result<(), Errno> {
        let flags = MapFlags::SHARED | MapFlags::FIXED;
        let base = self.base.as_ptr().cast::<c_void>();
        // Before, not after: a view that touches a hole in between leaves its mark, at worst one too many.
        self.watch.as_ref().inspect(|watch| watch.clear());
        // SAFETY: the range is ours and stays mapped throughout: FIXED replaces it in one step. Whoever holds an
        // address sees the file again, which is what the address was given out for.
        unsafe { mm::mmap(base, self.reserved, access(self.writable), flags, file, 0)? };
        Ok(())
    }

    /// The first byte.
    #[inline]
    pub(crate) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Bytes of address space.
    #[inline]
    pub(crate) fn reserved(&self) -> usize {
        self.reserved
    }

    /// Whether somebody touched a page that was not there. It stays valid, if meaningless, after the mapping is gone.
    pub(crate) fn faulted(&self) -> &'static AtomicBool {
        static NOTHING: AtomicBool = AtomicBool::new(false);
        self.watch.as_ref().map_or(&NOTHING, Watch::faulted)
    }

    /// Whether somebody touched a page that was not there.
    pub(crate) fn has_faulted(&self) -> bool {
        self.faulted().load(Ordering::Relaxed)
    }

    /// Notes that a system call found a page missing.
    pub(crate) fn mark_faulted(&self) {
        self.watch.as_ref().inspect(|watch| watch.mark());
    }

    /// Advises the kernel on `offset..offset + length`; the advice must keep the bytes.
    pub(crate) fn advise(&self, offset: usize, length: usize, advice: Advice) -> Result<(), Errno> {
        let (start, length) = self.pages(offset, length);
        // SAFETY: the range lies in the mapping, which shows a file: of the advice that callers can name, none
        // changes what the bytes are.
        unsafe { mm::madvise(start, length, advice) }
    }

    /// Keeps `offset..offset + length` in memory.
    pub(crate) fn lock(&self, offset: usize, length: usize) -> Result<(), Errno> {
        let (start, length) = self.pages(offset, length);
        // SAFETY: the range lies in the mapping; mlock changes no bytes.
        unsafe { mm::mlock(start, length) }
    }

    /// Lets `offset..offset + length` leave memory again.
    pub(crate) fn unlock(&self, offset: usize, length: usize) -> Result<(), Errno> {
        let (start, length) = self.pages(offset, length);
        // SAFETY: the range lies in the mapping; munlock changes no bytes.
        unsafe { mm::munlock(start, length) }
    }

    /// Bytes of the first `length` that are in memory, in whole pages.
    pub(crate) fn resident(&self, length: usize) -> Result<usize, Errno> {
        // In pieces, because the answer has a byte for each page, and sparse mappings have many.
        let mut pages = [0_u8; 64 << 10];
        let piece = pages.len() * page_size();
        // Others may have grown the file beyond this mapping.
        let end = length.min(self.reserved);
        let mut resident = 0;
        for offset in (0..end).step_by(piece) {
            let (start, length) = self.pages(offset, piece.min(end - offset));
            // SAFETY: the range lies in the mapping, and the array has a byte for each of its pages.
            if unsafe { libc::mincore(start, length, pages.as_mut_ptr()) } != 0 {
                return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
            }
            resident += pages[..length.div_ceil(page_size())].iter().filter(|page| **page & 1 == 1).count();
        }
        Ok(resident * page_size())
    }

    /// The range, widened to whole pages.
    fn pages(&self, offset: usize, length: usize) -> (*mut c_void, usize) {
        let start = offset & !(page_size() - 1);
        (self.base.as_ptr().wrapping_add(start).cast(), length + (offset - start))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // Before the unmap: afterwards the range may be somebody else's, whose faults are not ours to cover.
        self.watch = None;
        if self.reserved != 0 {
            // SAFETY: the range is ours, and whoever holds an address into it holds the mapping too.
            // It fails only for a range that is none.
            let _ = unsafe { mm::munmap(self.base.as_ptr().cast(), self.reserved) };
        }
    }
}

fn access(writable: bool) -> ProtFlags {
    if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ }
}
