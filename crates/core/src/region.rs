//! Floor 3: a region: raw shared bytes, exactly what mmap gives, that can grow, be waited on, and lose its file.
//!
//! A region has one [`Mapping`] at a time. Every access pins the region's [`Gate`] for as long as it touches memory, so
//! that another thread's `close` or `resize` waits for it. Views (buffer exports) hold the mapping itself: they keep
//! it mapped after the region is closed, and keep it from moving.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustix::fs;
use rustix::io::Errno;

pub use crate::error::Error;
use crate::file::{self, Make, Trust, page_size};
use crate::gate::{Gate, Pin};
use crate::mapping::Mapping;
use crate::process;
use crate::spin::Spin;

mod bytes;
mod size;
mod words;

pub use bytes::Advice;

/// Address space that a region gets when its opener names none, at least.
pub const MIN_RESERVATION: usize = 1 << 30;

/// How a region is made or opened.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Bytes of address space; by default [`MIN_RESERVATION`] or 8 times the size, whichever is more.
    pub max_size: Option<usize>,
    /// Map it for writing.
    pub writable: bool,
    /// Permission bits of a file that is made, exactly.
    pub perm: u32,
    /// Reserve no space on the file system.
    pub sparse: bool,
    /// Bring all pages into memory.
    pub populate: bool,
    /// What an existing file must be.
    pub trust: Trust,
}

/// What a region knows of itself, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of the file.
    pub size: usize,
    /// Bytes of address space.
    pub max_size: usize,
    /// Bytes in memory, in whole pages.
    pub resident: usize,
    /// Bytes that the file system holds.
    pub allocated: usize,
    /// Views in this process.
    pub views: usize,
    /// Whether this process has touched pages that are gone.
    pub truncated: bool,
}

/// What an open region stands on.
struct Ground {
    file: OwnedFd,
    mapping: Arc<Mapping>,
}

/// Raw shared bytes.
pub struct Region {
    gate: Arc<Gate>,
    /// Null when closed. Changed only while the gate is shut.
    ground: AtomicPtr<Ground>,
    /// Bytes that were in the file when last asked: any access below goes ahead without asking.
    size: AtomicUsize,
    /// The longest the file was known to be since this process last set its size: what is missing, if it is shorter.
    known: AtomicUsize,
    /// Whether a caller has been told that pages are gone.
    told: AtomicBool,
    writable: bool,
    /// How long a wait looks before it sleeps.
    spin: Spin,
    /// Mappings that somebody may still use who holds no view, only the region: see [`Region::retain`].
    retained: Mutex<Vec<Arc<Mapping>>>,
    has_retained: AtomicBool,
}

/// A pinned region: its ground stays where it is.
struct Held<'a> {
    ground: &'a Ground,
    pin: Pin<'a>,
}

/// Memory of a region that stays mapped while this lives.
#[derive(Debug, Clone)]
pub struct View {
    mapping: Arc<Mapping>,
    length: usize,
    writable: bool,
}

impl View {
    /// The first byte. Other processes may change the bytes at any time.
    pub fn as_ptr(&self) -> *mut u8 {
        self.mapping.base()
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Whether the bytes may be written.
    pub fn is_writable(&self) -> bool {
        self.writable
    }
}

impl Region {
    /// Makes a region under a free name.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] sizes; `EEXIST`, `ENOSPC` and others from the kernel; nothing is left behind.
    pub fn create(path: &Path, size: usize, options: Options) -> Result<Self, Error> {
        let reserved = reservation(size, options.max_size)?;
        let file = file::create(path, Make { perm: options.perm, size, sparse: options.sparse })?;
        Self::stand_on(file, size, reserved, options)
    }

    /// Opens a region that exists and is not empty.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`], and what [`file::open`] says.
    pub fn open(path: &Path, options: Options) -> Result<Self, Error> {
        Self::adopt(file::open(path, options.writable, options.trust)?, options)
    }

    /// Opens the region, or makes it where there is none; grows it to `size` where it is smaller.
    ///
    /// # Errors
    ///
    /// As [`Region::create`] and [`Region::open`].
    pub fn open_or_create(path: &Path, size: usize, options: Options) -> Result<Self, Error> {
        let reserved = reservation(size, options.max_size)?;
        loop {
            match file::open(path, options.writable, options.trust) {
                Ok(file) => {
                    let found = file::size(file.as_fd())?;
                    if found < size {
                        file::grow(file.as_fd(), found, size, options.sparse)?;
                    }
                    return Self::adopt(file, options);
                }
                Err(Error::Os { errno, .. }) if errno == Errno::NOENT.raw_os_error() => {}
                Err(error) => return Err(error),
            }
            match file::create(path, Make { perm: options.perm, size, sparse: options.sparse }) {
                Ok(file) => return Self::stand_on(file, size, reserved, options),
                // Somebody made it in between: open that one. Each turn of the loop is somebody's success.
                Err(Error::Os { errno, .. }) if errno == Errno::EXIST.raw_os_error() && !is_dangling(path) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes memory without a name, sealed against shrinking.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] sizes; `ENOSPC`, `ENOMEM`, `EMFILE`.
    pub fn anonymous(size: usize, options: Options) -> Result<Self, Error> {
        let reserved = reservation(size, options.max_size)?;
        Self::stand_on(file::anonymous(size, options.sparse)?, size, reserved, options)
    }

    /// Maps a file that somebody else has opened.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`]; `ENODEV` for what cannot be mapped, `EACCES` for a descriptor that is not open in that mode.
    pub fn adopt(file: OwnedFd, options: Options) -> Result<Self, Error> {
        file::check_regular(file.as_fd())?;
        let size = file::size(file.as_fd())?;
        if size == 0 {
            return Err(Error::Empty);
        }
        // An existing file decides its own size: a smaller wish for address space yields to it.
        let reserved = reservation(size, options.max_size.map(|max_size| max_size.max(size)))?;
        Self::stand_on(file, size, reserved, options)
    }

    /// Maps the file behind a descriptor of this process, which stays the caller's.
    ///
    /// # Errors
    ///
    /// `EBADF`, `EMFILE`, and as [`Region::adopt`].
    pub fn from_descriptor(fd: i32, options: Options) -> Result<Self, Error> {
        Self::adopt(file::duplicate(fd)?, options)
    }

    fn stand_on(file: OwnedFd, size: usize, reserved: usize, options: Options) -> Result<Self, Error> {
        let mapping = match Mapping::new(file.as_fd(), reserved, options.writable) {
            // A limit on address space (ulimit -v): nobody asked for that much, so less will do.
            Err(Errno::NOMEM) if options.max_size.is_none() => {
                Mapping::new(file.as_fd(), round_up(size), options.writable)
            }
            other => other,
        };
        let mapping = mapping.map_err(|errno| cannot_map(errno, reserved))?;
        let region = Self {
            gate: process::gate(),
            ground: AtomicPtr::new(Box::into_raw(Box::new(Ground { file, mapping: Arc::new(mapping) }))),
            size: AtomicUsize::new(size),
            known: AtomicUsize::new(size),
            told: AtomicBool::new(false),
            writable: options.writable,
            spin: Spin::default(),
            retained: Mutex::new(Vec::new()),
            has_retained: AtomicBool::new(false),
        };
        if options.populate {
            region.populate()?;
        }
        Ok(region)
    }

    #[inline]
    fn hold(&self) -> Result<Held<'_>, Error> {
        let pin = match self.gate.try_pin() {
            Some(pin) => pin,
            None => self.pin_after_shutter(),
        };
        // Relaxed: it changes only behind the shut gate, and the pin synchronises with that [gate.open].
        let ground = self.ground.load(Ordering::Relaxed);
        // SAFETY: null, or from Box::into_raw and freed only behind the shut gate, which waits for the pin.
        match unsafe { ground.as_ref() } {
            Some(ground) => Ok(Held { ground, pin }),
            None => Err(Error::Closed),
        }
    }

    #[cold]
    fn pin_after_shutter(&self) -> Pin<'_> {
        loop {
            process::wait_for_shutter();
            if let Some(pin) = self.gate.try_pin() {
                return pin;
            }
        }
    }

    /// Pins the region, with `offset..offset + length` inside the file and inside the mapping.
    #[inline]
    fn reach(&self, offset: usize, length: usize) -> Result<Held<'_>, Error> {
        let held = self.hold()?;
        if held.ground.mapping.has_faulted() {
            self.mend(&held)?;
        }
        // Relaxed: a size is a number; bytes below it are in the mapping that the pin holds.
        if offset.checked_add(length).is_some_and(|end| end <= self.size.load(Ordering::Relaxed)) {
            return Ok(held);
        }
        self.reach_further(held, offset, length)
    }

    /// Asks the file, which others may have grown or truncated.
    #[cold]
    fn reach_further<'a>(&'a self, held: Held<'a>, offset: usize, length: usize) -> Result<Held<'a>, Error> {
        let actual = self.ask_size(&held)?;
        let outside = |size| Error::OutOfRange { offset, length, size };
        let end = offset.checked_add(length).ok_or_else(|| outside(actual))?;
        if end > actual {
            let known = self.known.load(Ordering::Relaxed);
            return Err(if end <= known { Error::Truncated { known, actual } } else { outside(actual) });
        }
        if end <= held.ground.mapping.reserved() {
            return Ok(held);
        }
        drop(held);
        self.reserve(actual)?;
        self.reach(offset, length)
    }

    /// The file's size, remembered as far as the mapping reaches.
    fn ask_size(&self, held: &Held<'_>) -> Result<usize, Error> {
        let actual = file::size(held.ground.file.as_fd())?;
        self.size.store(actual.min(held.ground.mapping.reserved()), Ordering::Relaxed);
        self.known.fetch_max(actual, Ordering::Relaxed);
        Ok(actual)
    }

    /// Ends an access: tells if any page of the region was found missing.
    #[inline]
    fn finish<T>(&self, held: &Held<'_>, value: T) -> Result<T, Error> {
        if held.ground.mapping.has_faulted() { Err(self.fault(held)) } else { Ok(value) }
    }

    #[cold]
    fn fault(&self, held: &Held<'_>) -> Error {
        let file = held.ground.file.as_fd();
        let actual = match file::size(file) {
            Ok(actual) => actual,
            Err(error) => return error,
        };
        let known = self.known.load(Ordering::Relaxed);
        if actual < known {
            self.told.store(true, Ordering::Relaxed);
            return Error::Truncated { known, actual };
        }
        // All of the file is there, again or still: what comes next can work.
        match self.restore(held.ground) {
            Err(error) => error,
            Ok(()) if file::is_full(file) => Error::os(
                Errno::NOSPC,
                "the file system is full: pages of this sparse region could not be had, and what was written to them is lost",
            ),
            Ok(()) => Error::Truncated { known, actual },
        }
    }

    /// Goes on with a file that has its length back, once somebody was told that it had lost it.
    #[cold]
    fn mend(&self, held: &Held<'_>) -> Result<(), Error> {
        let whole = file::size(held.ground.file.as_fd())? >= self.known.load(Ordering::Relaxed);
        if whole && self.told.load(Ordering::Relaxed) { self.restore(held.ground) } else { Ok(()) }
    }

    /// Maps the file again where pages of it were missing.
    fn restore(&self, ground: &Ground) -> Result<(), Error> {
        self.told.store(false, Ordering::Relaxed);
        let restored = ground.mapping.restore(ground.file.as_fd());
        restored.map_err(|errno| file::refused(errno, "cannot map the file again"))
    }

    fn check_writable(&self) -> Result<(), Error> {
        if self.writable { Ok(()) } else { Err(self.hold().err().unwrap_or(Error::ReadOnly)) }
    }

    /// Bytes of the file now.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub fn size(&self) -> Result<usize, Error> {
        self.ask_size(&self.hold()?)
    }

    /// Bytes of address space: how far it may grow without moving.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub fn max_size(&self) -> Result<usize, Error> {
        Ok(self.hold()?.ground.mapping.reserved())
    }

    /// Whether it is mapped for writing.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        matches!(self.hold(), Err(Error::Closed))
    }

    /// What it knows of itself now.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub fn stats(&self) -> Result<Stats, Error> {
        let held = self.hold()?;
        let Ground { file, mapping } = held.ground;
        let size = self.ask_size(&held)?;
        let resident = mapping.resident(size).map_err(|errno| file::refused(errno, "cannot ask what is in memory"))?;
        Ok(Stats {
            size,
            max_size: mapping.reserved(),
            resident,
            allocated: file::allocated(file.as_fd())?,
            views: self.count_views(held.ground),
            truncated: mapping.has_faulted(),
        })
    }

    /// Calls `f` with the file's descriptor, which stays open that long.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub fn with_file<T>(&self, f: impl FnOnce(BorrowedFd<'_>) -> T) -> Result<T, Error> {
        Ok(f(self.hold()?.ground.file.as_fd()))
    }

    /// Closes it: later use is [`Error::Closed`], waits of other threads end so. Views keep the memory mapped.
    pub fn close(&self) {
        if self.is_closed() {
            return;
        }
        let ground = {
            let _alone = process::shut(&self.gate);
            self.ground.swap(ptr::null_mut(), Ordering::Relaxed)
        };
        if !ground.is_null() {
            // SAFETY: from Box::into_raw, and taken out by exactly one caller; the shut gate has seen everyone out.
            drop(unsafe { Box::from_raw(ground) });
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let ground = *self.ground.get_mut();
        if !ground.is_null() {
            // SAFETY: from Box::into_raw; `&mut self` proves that nobody is inside.
            drop(unsafe { Box::from_raw(ground) });
        }
    }
}

fn round_up(size: usize) -> usize {
    size.next_multiple_of(page_size())
}

/// The address space for `size` bytes, checked.
fn reservation(size: usize, max_size: Option<usize>) -> Result<usize, Error> {
    const LARGEST: usize = isize::MAX as usize / 2;
    if size == 0 {
        return Err(Error::Invalid("a region has at least 1 byte, not 0".to_owned()));
    }
    if size > LARGEST || max_size.is_some_and(|max_size| max_size > LARGEST) {
        let asked = max_size.map_or(size, |max_size| max_size.max(size));
        return Err(Error::Invalid(format!("{asked} bytes are more than any machine can address")));
    }
    match max_size {
        Some(max_size) if max_size < size => {
            Err(Error::Invalid(format!("max_size={max_size} is less than size={size}")))
        }
        Some(max_size) => Ok(round_up(max_size)),
        None => Ok(round_up(size.saturating_mul(8).min(LARGEST).max(size).max(MIN_RESERVATION))),
    }
}

fn cannot_map(errno: Errno, reserved: usize) -> Error {
    let cure = match errno {
        Errno::NOMEM => "; ask for less with max_size=, or raise the limits (ulimit -v, vm.max_map_count)",
        Errno::ACCESS => "; the descriptor is not open for that: mode=\"r\" needs reading, mode=\"rw\" both",
        _ => "",
    };
    Error::os(errno, format!("cannot map {reserved} bytes of address space: {}{cure}", file::text(errno)))
}

/// Whether the path is a symbolic link to nothing: it can be neither opened nor created.
fn is_dangling(path: &Path) -> bool {
    // The link is what is asked for: a file that somebody removes between the two looks only has to be made again.
    let is_link = |found: fs::Stat| fs::FileType::from_raw_mode(found.st_mode) == fs::FileType::Symlink;
    fs::lstat(path).is_ok_and(is_link) && fs::stat(path).is_err()
}
