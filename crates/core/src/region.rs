//! Floor 3: a region: raw shared bytes, exactly what mmap gives, that can grow, be waited on, and lose its file.
//!
//! A region has one [`Mapping`] at a time. Every access pins the region's [`Gate`] for as long as it touches memory, so
//! that another thread's `close` or `resize` waits for it. Views (buffer exports) hold the mapping itself: they keep
//! it mapped after the region is closed, and keep it from moving.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs;
use rustix::io::Errno;

pub use crate::error::Error;
use crate::file::{self, Make, Published, Trust, page_size};
use crate::gate::{Gate, Pin};
use crate::guard;
use crate::mapping::Mapping;
use crate::process;
use crate::spin::Spin;

mod bytes;
mod size;
mod words;

pub use bytes::Advice;
pub use words::LONGEST_SLEEP;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    /// Shared with calls that take long: they keep it open without keeping the region from being closed.
    file: Arc<OwnedFd>,
    mapping: Arc<Mapping>,
}

/// Raw shared bytes.
pub struct Region {
    gate: Arc<Gate>,
    /// Null when closed. Changed only while the gate is shut, together with `base` and `faulted`.
    ground: AtomicPtr<Ground>,
    /// The mapping's first byte and its mark, for accesses that need no more; null when closed.
    base: AtomicPtr<u8>,
    faulted: AtomicPtr<AtomicBool>,
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
    /// Whether some of them are no longer the region's own.
    has_older: AtomicBool,
}

/// A pinned region: its ground stays where it is. Two words, so that it travels in registers.
struct Held<'a> {
    region: &'a Region,
    pin: Pin<'a>,
}

impl<'a> Held<'a> {
    fn ground(&self) -> &'a Ground {
        // Relaxed: it changes only behind the shut gate, and the pin synchronises with that [gate.open].
        let ground = self.region.ground.load(Ordering::Relaxed);
        // SAFETY: not null, because `hold` gives out no pin of a closed region; from Box::into_raw, and freed only
        // behind the shut gate, which waits for the pin.
        unsafe { &*ground }
    }

    /// The first byte of the mapping.
    #[inline(always)]
    fn base(&self) -> *mut u8 {
        // Relaxed: as in `ground`.
        self.region.base.load(Ordering::Relaxed)
    }

    /// Whether a page of the mapping was found missing.
    #[inline(always)]
    fn has_faulted(&self) -> bool {
        // Relaxed: as in `ground`.
        let faulted = self.region.faulted.load(Ordering::Relaxed);
        // SAFETY: not null while the region is open; the mark of a guard's node, which is never freed.
        let faulted = unsafe { &*faulted };
        // Relaxed: set by a handler on a thread that goes on to ask here itself; other threads may be told later.
        faulted.load(Ordering::Relaxed)
    }
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
        let make = Make { perm: options.perm, size, sparse: options.sparse };
        let mut nameless = true;
        loop {
            // Mapped and populated before it has its name: whatever fails, nobody ever sees the file.
            let (file, draft) = if nameless { file::draft(path, make)? } else { file::draft_beside(path, make)? };
            let region = Self::stand_on(file, size, reserved, options)?;
            match region.with_file(|file| draft.publish(file, path))?? {
                Published::Yes => return Ok(region),
                Published::NeedsName => nameless = false,
            }
        }
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
        reservation(size, options.max_size)?;
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
            match Self::create(path, size, options) {
                Ok(region) => return Ok(region),
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
            base: AtomicPtr::new(mapping.base()),
            faulted: AtomicPtr::new(ptr::from_ref(mapping.faulted()).cast_mut()),
            ground: AtomicPtr::new(Box::into_raw(Box::new(Ground { file: Arc::new(file), mapping: Arc::new(mapping) }))),
            size: AtomicUsize::new(size),
            known: AtomicUsize::new(size),
            told: AtomicBool::new(false),
            writable: options.writable,
            spin: Spin::default(),
            retained: Mutex::new(Vec::new()),
            has_retained: AtomicBool::new(false),
            has_older: AtomicBool::new(false),
        };
        if options.populate {
            region.populate()?;
        }
        Ok(region)
    }

    #[inline(always)]
    fn hold(&self) -> Result<Held<'_>, Error> {
        let pin = match self.gate.try_pin() {
            Some(pin) => pin,
            None => self.pin_after_shutter(),
        };
        // Relaxed: as in `Held::ground`.
        if self.base.load(Ordering::Relaxed).is_null() { Err(Error::Closed) } else { Ok(Held { region: self, pin }) }
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
    #[inline(always)]
    fn reach(&self, offset: usize, length: usize) -> Result<Held<'_>, Error> {
        let mut held = self.hold()?;
        if held.has_faulted() {
            held = self.mend(held)?;
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
        if end <= held.ground().mapping.reserved() {
            return Ok(held);
        }
        drop(held);
        self.reserve(actual)?;
        self.reach(offset, length)
    }

    /// The file's size, remembered as far as the mapping reaches.
    fn ask_size(&self, held: &Held<'_>) -> Result<usize, Error> {
        // Where a system call is made anyway, others are looked for who have stepped in front of the guard, and faults
        // that only users of an older mapping of this region have met.
        guard::stay_in_front();
        if self.has_older.load(Ordering::Relaxed) && self.retained().iter().any(|mapping| mapping.has_faulted()) {
            held.ground().mapping.mark_faulted();
        }
        let actual = file::size(held.ground().file.as_fd())?;
        self.size.store(actual.min(held.ground().mapping.reserved()), Ordering::Relaxed);
        self.known.fetch_max(actual, Ordering::Relaxed);
        Ok(actual)
    }

    fn retained(&self) -> MutexGuard<'_, Vec<Arc<Mapping>>> {
        self.retained.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends an access: tells if any page of the region was found missing.
    #[inline(always)]
    fn finish<T>(&self, held: Held<'_>, value: T) -> Result<T, Error> {
        if held.has_faulted() { Err(self.fault(held)) } else { Ok(value) }
    }

    #[cold]
    fn fault(&self, held: Held<'_>) -> Error {
        let (actual, full) = {
            let file = held.ground().file.as_fd();
            match file::size(file) {
                Ok(actual) => (actual, file::is_full(file)),
                Err(error) => return error,
            }
        };
        let known = self.known.load(Ordering::Relaxed);
        if actual < known {
            self.told.store(true, Ordering::Relaxed);
            return Error::Truncated { known, actual };
        }
        drop(held);
        // All of the file is there, again or still: what comes next can work.
        match self.restore() {
            Err(error) => error,
            Ok(()) if full => Error::os(
                Errno::NOSPC,
                "the file system is full: pages of this sparse region could not be had, and what was written to them is lost",
            ),
            Ok(()) => Error::Truncated { known, actual },
        }
    }

    /// Goes on with a file that has its length back, once somebody was told that it had lost it.
    #[cold]
    fn mend<'a>(&'a self, held: Held<'a>) -> Result<Held<'a>, Error> {
        let whole = file::size(held.ground().file.as_fd())? >= self.known.load(Ordering::Relaxed);
        if !whole || !self.told.load(Ordering::Relaxed) {
            return Ok(held);
        }
        drop(held);
        self.restore()?;
        self.hold()
    }

    /// Maps the file again where pages of it were missing.
    ///
    /// Behind the shut gate: whoever has met the hole has looked at the mark by then, and not been told that all is well.
    fn restore(&self) -> Result<(), Error> {
        let _alone = process::shut(&self.gate);
        // SAFETY: null when closed, else from Box::into_raw; behind the shut gate nobody frees it.
        let Some(ground) = (unsafe { self.ground.load(Ordering::Relaxed).as_ref() }) else { return Err(Error::Closed) };
        self.told.store(false, Ordering::Relaxed);
        let retained = self.retained();
        let mut mappings = retained.iter().chain([&ground.mapping]).filter(|mapping| mapping.has_faulted());
        let restored = mappings.try_for_each(|mapping| mapping.restore(ground.file.as_fd()));
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
        Ok(self.hold()?.ground().mapping.reserved())
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
        let Ground { file, mapping } = held.ground();
        let size = self.ask_size(&held)?;
        let resident = mapping.resident(size).map_err(|errno| file::refused(errno, "cannot ask what is in memory"))?;
        Ok(Stats {
            size,
            max_size: mapping.reserved(),
            resident,
            allocated: file::allocated(file.as_fd())?,
            views: self.count_views(held.ground()),
            truncated: mapping.has_faulted(),
        })
    }

    /// Calls `f` with the file's descriptor, which stays open that long.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub fn with_file<T>(&self, f: impl FnOnce(BorrowedFd<'_>) -> T) -> Result<T, Error> {
        Ok(f(self.hold()?.ground().file.as_fd()))
    }

    /// Closes it: later use is [`Error::Closed`], waits of other threads end so. Views keep the memory mapped.
    pub fn close(&self) {
        if self.is_closed() {
            return;
        }
        let ground = {
            let _alone = process::shut(&self.gate);
            self.base.store(ptr::null_mut(), Ordering::Relaxed);
            self.faulted.store(ptr::null_mut(), Ordering::Relaxed);
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

/// Registers what the process must do around forks. Called once, before there are threads that could fork meanwhile.
pub fn prepare_for_forks() {
    process::register_hooks();
}

/// Whether the path is a symbolic link to nothing: it can be neither opened nor created.
fn is_dangling(path: &Path) -> bool {
    // The link is what is asked for: a file that somebody removes between the two looks only has to be made again.
    let is_link = |found: fs::Stat| fs::FileType::from_raw_mode(found.st_mode) == fs::FileType::Symlink;
    fs::lstat(path).is_ok_and(is_link) && fs::stat(path).is_err()
}
