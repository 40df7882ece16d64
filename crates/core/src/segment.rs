//! Floor 5: a segment: a self-describing file, or memory without a name, that holds one object or a directory of many.
//!
//! It appears whole: it gets its name only when header, roster and body are in place. It never changes its size, so its
//! mapping stays where it is until the last user in this process is gone, also after that user has closed it: an access
//! needs no pin. A process maps a segment once, however often it opens it, and is one participant.

use std::any::Any;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard, Weak};

use rustix::fs;
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::claim::Claimed;
use crate::error::Error;
use crate::file::{self, Make, Published, Trust, page_size};
use crate::format;
use crate::guard;
use crate::layout::{self, Header, Kind, LONGEST_SCHEMA, Shared};
use crate::mapping::Mapping;
use crate::process::{self, Inherited};
use crate::roster::{Entry, Roster, Seat, now};
use crate::tag::{Caller, Tag};

/// What a new segment holds.
#[derive(Debug, Clone, Copy)]
pub struct New<'a> {
    /// What it is.
    pub kind: Kind,
    /// Bytes of the body.
    pub body_size: usize,
    /// Entries of the roster.
    pub participants: usize,
    /// What its users want to know of it, as text.
    pub schema: &'a str,
    /// Permission bits of the file, exactly.
    pub perm: u32,
}

/// Which file: what tells two apart while both are open.
type Identity = (u64, u64, bool);

/// A segment that is open in this process.
pub struct Segment {
    mapping: Mapping,
    file: OwnedFd,
    path: Option<PathBuf>,
    /// As it was when it was checked: what others write there later is not looked at.
    header: Header,
    kind: Kind,
    schema: String,
    writable: bool,
    identity: Identity,
    seat: Seat,
    /// Handles in this process that are not closed.
    handles: AtomicUsize,
    faulted: &'static AtomicBool,
}

/// An open segment, until it is closed or dropped.
pub struct Handle {
    segment: Arc<Segment>,
    closed: AtomicBool,
}

impl Segment {
    /// Makes a segment under a free name, or without one.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] sizes; `EEXIST`, `ENOSPC` and others from the kernel; nothing is left behind.
    pub fn create(path: Option<&Path>, new: New<'_>, initialise: impl Fn(&Self) -> Result<(), Error>) -> Result<Handle, Error> {
        let header = plan(&new)?;
        let size = header.size as usize;
        let Some(path) = path else {
            let segment = Self::fill(file::anonymous(size, false)?, None, header, new.schema, &initialise)?;
            return segment.enter(process::segments());
        };
        let make = Make { perm: new.perm, size, sparse: false };
        let mut nameless = true;
        loop {
            let (file, draft) = if nameless { file::draft(path, make)? } else { file::draft_beside(path, make)? };
            let segment = Self::fill(file, Some(path), header, new.schema, &initialise)?;
            // From before it has its name, so that this process finds its own when it opens it at once.
            let segments = process::segments();
            // Joined before it has its name, so that nothing is left of one that cannot be joined. Where there is no /proc it
            // can only be joined by its name.
            match segment.join() {
                Err(Error::Os { errno, .. }) if errno == Errno::NOENT.raw_os_error() => {}
                other => _ = other?,
            }
            match draft.publish(segment.file.as_fd(), path)? {
                Published::Yes => return segment.enter(segments),
                Published::NeedsName => nameless = false,
            }
        }
    }

    fn fill(
        file: OwnedFd,
        path: Option<&Path>,
        header: Header,
        schema: &str,
        initialise: &impl Fn(&Self) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let mut bytes = format::encode(&header).to_vec();
        bytes.extend_from_slice(schema.as_bytes());
        write_all(file.as_fd(), &bytes)?;
        let segment = Self::map(file, path, header, schema.to_owned(), true)?;
        initialise(&segment)?;
        segment.check()?;
        Ok(segment)
    }

    /// Opens a segment that exists.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] for what is no segment, or none of that kind, or of another format; what [`file::open`] says.
    pub fn open(path: &Path, kind: Option<Kind>, writable: bool, trust: Trust) -> Result<Handle, Error> {
        Self::adopt(file::open(path, writable, trust)?, Some(path), kind, writable)
    }

    /// Opens the segment behind a descriptor, which stays the caller's.
    ///
    /// # Errors
    ///
    /// As [`Segment::open`]; `EBADF`.
    pub fn from_descriptor(fd: i32, path: Option<&Path>, kind: Option<Kind>, writable: bool) -> Result<Handle, Error> {
        let file = file::duplicate(fd)?;
        file::check_regular(file.as_fd())?;
        Self::adopt(file, path, kind, writable)
    }

    /// Opens the segment, or makes it where there is none.
    ///
    /// # Errors
    ///
    /// As [`Segment::create`] and [`Segment::open`].
    pub fn open_or_create(
        path: &Path,
        new: New<'_>,
        trust: Trust,
        initialise: impl Fn(&Self) -> Result<(), Error>,
    ) -> Result<Handle, Error> {
        loop {
            match Self::open(path, Some(new.kind), true, trust) {
                Err(Error::Os { errno, .. }) if errno == Errno::NOENT.raw_os_error() => {}
                other => return other,
            }
            match Self::create(Some(path), new, &initialise) {
                // Somebody made it in between: each turn of the loop is somebody's success. A symbolic link that leads
                // nowhere is nobody's.
                Err(Error::Os { errno, .. })
                    if errno == Errno::EXIST.raw_os_error() && (fs::stat(path).is_ok() || fs::lstat(path).is_err()) => {}
                other => return other,
            }
        }
    }

    fn adopt(file: OwnedFd, path: Option<&Path>, kind: Option<Kind>, writable: bool) -> Result<Handle, Error> {
        let identity = identity(file.as_fd(), writable)?;
        let segments = process::segments();
        for known in segments.iter().filter_map(Weak::upgrade) {
            let known: Arc<dyn Any + Send + Sync> = known;
            let Ok(segment) = known.downcast::<Self>() else { continue };
            if segment.identity == identity && segment.handles.load(Ordering::Relaxed) > 0 {
                format::check_kind(segment.kind, kind)?;
                segment.handles.fetch_add(1, Ordering::Relaxed);
                return Ok(Handle { segment, closed: AtomicBool::new(false) });
            }
        }
        let (header, schema) = format::read(file.as_fd(), kind)?;
        Self::map(file, path, header, schema, writable)?.enter(segments)
    }

    fn map(file: OwnedFd, path: Option<&Path>, header: Header, schema: String, writable: bool) -> Result<Self, Error> {
        let reserved = (header.size as usize).next_multiple_of(page_size());
        let mapping = Mapping::new(file.as_fd(), reserved, writable).map_err(|errno| match errno {
            Errno::ACCESS => Error::os(errno, "it is not open for writing; mode=\"r\" only looks on"),
            _ => file::refused(errno, &format!("cannot map its {reserved} bytes")),
        })?;
        let kind = Kind::from_number(header.kind).ok_or_else(|| format::unknown_kind(header.kind))?;
        let identity = identity(file.as_fd(), writable)?;
        Ok(Self {
            faulted: mapping.faulted(),
            mapping,
            file,
            path: path.map(Path::to_owned),
            header,
            kind,
            schema,
            writable,
            identity,
            seat: Seat::default(),
            handles: AtomicUsize::new(1),
        })
    }

    /// Joins, where it can, and becomes known to this process.
    fn enter(self, mut segments: MutexGuard<'static, process::Segments>) -> Result<Handle, Error> {
        if self.writable {
            self.join()?;
        }
        let segment = Arc::new(self);
        segments.retain(|known| known.strong_count() > 0);
        let known: Weak<Self> = Arc::downgrade(&segment);
        segments.push(known);
        Ok(Handle { segment, closed: AtomicBool::new(false) })
    }

    /// Joins, unless this process has. The caller has the process-wide right to.
    fn join(&self) -> Result<Tag, Error> {
        self.seat.join(self.roster()?, self.path.as_deref(), "")
    }

    /// The tag of this process; joins first in a fork's child.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`]; `EUSERS` and what else keeps a process from joining.
    #[inline(always)]
    pub fn tag(&self) -> Result<Tag, Error> {
        match self.seat.tag() {
            Some(tag) => Ok(tag),
            None => self.rejoin(),
        }
    }

    #[cold]
    fn rejoin(&self) -> Result<Tag, Error> {
        if !self.writable {
            return Err(Error::ReadOnly);
        }
        let _right = process::segments();
        if self.handles.load(Ordering::Relaxed) == 0 {
            return Err(Error::Closed);
        }
        self.join()
    }

    /// The tag of this process, if it takes part.
    pub fn seated(&self) -> Option<Tag> {
        self.seat.tag()
    }

    /// Its roster.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`], for a header that lies.
    pub fn roster(&self) -> Result<Roster<'_>, Error> {
        let (device, inode, _) = self.identity;
        let claimed = Claimed { file: self.file.as_fd(), id: (device, inode) };
        Ok(Roster::new(self.entries()?, claimed, self.seat.tag()))
    }

    /// Takes the places of the dead from them; returns who they were.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`], and as joining.
    pub fn bury(&self) -> Result<Vec<crate::roster::Participant>, Error> {
        if !self.writable {
            return Err(Error::ReadOnly);
        }
        let _right = process::segments();
        self.roster()?.bury(self.path.as_deref())
    }

    fn entries(&self) -> Result<&[Entry], Error> {
        self.slice_at(self.header.roster as usize, self.header.participants as usize)
    }

    /// Lets `work` call an algorithm as this process.
    ///
    /// # Errors
    ///
    /// As [`Segment::tag`].
    pub fn as_caller<T>(&self, work: impl FnOnce(Caller<'_>) -> T) -> Result<T, Error> {
        let tag = self.tag()?;
        let roster = self.roster()?;
        Ok(work(Caller { tag, living: &roster }))
    }

    /// As [`as_caller`](Self::as_caller), where the tag is known.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`], for a header that lies.
    #[inline]
    pub fn as_caller_with<T>(&self, tag: Tag, work: impl FnOnce(Caller<'_>) -> T) -> Result<T, Error> {
        let roster = self.roster()?;
        Ok(work(Caller { tag, living: &roster }))
    }

    /// Notes that a thread or task of this process goes to sleep for what is at `offset` of the body, while the result
    /// lives.
    pub fn asleep(self: &Arc<Self>, offset: usize) -> Asleep {
        let tag = self.seat.tag();
        if let (Some(tag), Ok(roster)) = (tag, self.roster()) {
            roster.note_asleep(tag, self.header.body + offset as u64);
        }
        Asleep { segment: Arc::clone(self), tag }
    }

    /// The structure at `offset` of the body.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`], [`Error::Misaligned`].
    pub fn at<T: Shared>(&self, offset: usize) -> Result<&T, Error> {
        self.slice(offset, 1).map(|slice| &slice[0])
    }

    /// `count` structures in a row from `offset` of the body.
    ///
    /// # Errors
    ///
    /// As [`Segment::at`].
    #[inline(always)]
    pub fn slice<T: Shared>(&self, offset: usize, count: usize) -> Result<&[T], Error> {
        let length = count.saturating_mul(size_of::<T>());
        let size = self.header.body_size as usize;
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(Error::OutOfRange { offset, length, size });
        }
        self.slice_at(self.header.body as usize + offset, count)
    }

    #[inline(always)]
    fn slice_at<T: Shared>(&self, offset: usize, count: usize) -> Result<&[T], Error> {
        let length = count.saturating_mul(size_of::<T>());
        let size = self.header.size as usize;
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(Error::OutOfRange { offset, length, size });
        }
        if !offset.is_multiple_of(align_of::<T>()) {
            return Err(Error::Misaligned { offset, alignment: align_of::<T>() });
        }
        let first = self.mapping.base().wrapping_add(offset).cast::<T>();
        // SAFETY: inside the mapping, which lives as long as `self`, and aligned, both shown above. `Shared` types are
        // made of atomic words, for which every bit pattern is valid and which others may change; a read-only mapping is
        // only loaded from, because every change asks for a tag first.
        Ok(unsafe { std::slice::from_raw_parts(first, count) })
    }

    /// Where `length` bytes from `offset` of the body are, for as long as the segment lives.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`].
    #[inline(always)]
    pub fn bytes(&self, offset: usize, length: usize) -> Result<*mut u8, Error> {
        let size = self.header.body_size as usize;
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(Error::OutOfRange { offset, length, size });
        }
        Ok(self.mapping.base().wrapping_add(self.header.body as usize + offset))
    }

    /// Whether all that was accessed was there.
    ///
    /// # Errors
    ///
    /// [`Error::Cut`].
    #[inline(always)]
    pub fn check(&self) -> Result<(), Error> {
        if self.faulted.load(Ordering::Relaxed) { Err(self.truncated()) } else { Ok(()) }
    }

    #[cold]
    fn truncated(&self) -> Error {
        let known = self.header.size as usize;
        file::size(self.file.as_fd()).map_or_else(|error| error, |actual| Error::Cut { known, actual })
    }

    /// Keeps the guard against bus errors in front of handlers that others have installed meanwhile; for calls that ask
    /// the kernel anyway.
    pub fn stay_guarded(&self) {
        guard::stay_in_front();
    }

    /// The file.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Where it was opened.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Its header, as it was when it was opened.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Bytes of its body.
    pub fn body_size(&self) -> usize {
        self.header.body_size as usize
    }

    /// What it holds.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What its creator wanted its users to know.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// Whether it is mapped for writing.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Entries of its roster.
    pub fn capacity(&self) -> usize {
        self.header.participants as usize
    }

    fn leave(&self) {
        // A roster that is not there was never joined.
        if let Ok(entries) = self.entries() {
            self.seat.leave(entries);
        }
    }

    /// Another handle, to be closed by itself.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`]: the last one was closed meanwhile.
    fn again(self: &Arc<Self>) -> Result<Handle, Error> {
        let _right = process::segments();
        if self.handles.load(Ordering::Relaxed) == 0 {
            return Err(Error::Closed);
        }
        self.handles.fetch_add(1, Ordering::Relaxed);
        Ok(Handle { segment: Arc::clone(self), closed: AtomicBool::new(false) })
    }
}

impl Inherited for Segment {
    fn forget_parent(&self) {
        self.seat.forget_parent();
    }
}

/// See [`Segment::asleep`].
pub struct Asleep {
    segment: Arc<Segment>,
    tag: Option<Tag>,
}

impl Drop for Asleep {
    fn drop(&mut self) {
        // Not if the process was forked meanwhile and this is the child, or has left.
        if let (Some(tag), Ok(roster)) = (self.tag.filter(|tag| self.segment.seat.tag() == Some(*tag)), self.segment.roster()) {
            roster.note_awake(tag);
        }
    }
}

impl Handle {
    /// The segment.
    #[inline(always)]
    pub fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// Whether it was closed.
    #[inline(always)]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Another one, to be closed by itself.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub fn again(&self) -> Result<Self, Error> {
        if self.is_closed() { Err(Error::Closed) } else { self.segment.again() }
    }

    /// Closes it; with the last one, the process leaves the roster. Closing twice is fine.
    pub fn close(&self) {
        if self.closed.swap(true, Ordering::Relaxed) {
            return;
        }
        let _right = process::segments();
        if self.segment.handles.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.segment.leave();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

/// Leaves the rosters of all open segments: for a process that ends as it should. What is used afterwards joins again.
pub fn leave_all() {
    for known in process::segments().iter().filter_map(Weak::upgrade) {
        let known: Arc<dyn Any + Send + Sync> = known;
        if let Ok(segment) = known.downcast::<Segment>() {
            segment.leave();
        }
    }
}

fn identity(file: BorrowedFd<'_>, writable: bool) -> Result<Identity, Error> {
    let found = fs::fstat(file).map_err(|errno| file::refused(errno, "cannot inspect it"))?;
    Ok((found.st_dev, found.st_ino, writable))
}

/// The header of a new segment.
fn plan(new: &New<'_>) -> Result<Header, Error> {
    if !(1..=Tag::MOST).contains(&new.participants) {
        return Err(Error::Invalid(format!("max_participants is 1 to {}, not {}", Tag::MOST, new.participants)));
    }
    if new.schema.len() > LONGEST_SCHEMA {
        let length = new.schema.len();
        return Err(Error::Invalid(format!("its description takes {length} bytes, and at most {LONGEST_SCHEMA} fit")));
    }
    let roster = layout::HEADER_SPACE;
    let body = (roster + new.participants * size_of::<Entry>()).next_multiple_of(64);
    let size = body
        .checked_add(new.body_size)
        .filter(|size| i64::try_from(*size).is_ok())
        .ok_or_else(|| Error::Invalid(format!("{} bytes are more than any file can have", new.body_size)))?;
    let mut id = [0; 16];
    getrandom(&mut id, GetRandomFlags::empty()).map_err(|errno| file::refused(errno, "cannot draw its id"))?;
    Ok(Header {
        magic: layout::MAGIC,
        version: layout::VERSION,
        kind: new.kind as u32,
        features: layout::FEATURES,
        fingerprint: format::FINGERPRINT,
        id,
        boot: format::boot().unwrap_or_default(),
        size: size as u64,
        created: now(),
        creator: std::process::id(),
        participants: new.participants as u32,
        roster: roster as u64,
        body: body as u64,
        body_size: new.body_size as u64,
        schema: size_of::<Header>() as u32,
        schema_size: new.schema.len() as u32,
        reserved: [0; 8],
    })
}

fn write_all(file: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), Error> {
    let mut done = 0;
    while done < bytes.len() {
        match rustix::io::pwrite(file, &bytes[done..], done as u64) {
            Ok(written) => done += written,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(file::refused(errno, "cannot write its header")),
        }
    }
    Ok(())
}
