//! Floor 1: files and memfds: made whole, opened with distrust, grown without surprises.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::fs::{self, AtFlags, CWD, FallocateFlags, FileType, FlockOperation, MemfdFlags, Mode, OFlags, RenameFlags, SealFlags};
use rustix::io::Errno;

use crate::error::Error;
use crate::room;

/// How a file is made.
#[derive(Debug, Clone, Copy)]
pub struct Make {
    /// Permission bits, exactly.
    pub perm: u32,
    /// Bytes.
    pub size: usize,
    /// Leave pages to be taken when they are first written.
    pub sparse: bool,
}

/// What an existing file must be to be trusted.
#[derive(Debug, Clone, Copy)]
pub struct Trust {
    /// A symbolic link may be the last part of the path.
    pub follow_symlinks: bool,
    /// Users other than this one and root may own it.
    pub any_owner: bool,
}

/// Opens a regular file that exists.
///
/// # Errors
///
/// `ENOENT`, `ELOOP` for a symbolic link, `EPERM` for a foreign owner, `ENODEV` for what is no regular file, and what
/// `open(2)` says.
pub fn open(path: &Path, writable: bool, trust: Trust) -> Result<OwnedFd, Error> {
    // NONBLOCK: opening a FIFO must not hang; regular files ignore it.
    let mut flags = OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    flags |= if writable { OFlags::RDWR } else { OFlags::RDONLY };
    if !trust.follow_symlinks {
        flags |= OFlags::NOFOLLOW;
    }
    let file = fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::LOOP if !trust.follow_symlinks => {
            Error::os(errno, "it is a symbolic link, which somebody else may control; follow_symlinks=True accepts it")
        }
        Errno::ACCESS | Errno::ROFS | Errno::PERM if writable => {
            Error::os(errno, format!("cannot open it for writing ({}); mode=\"r\" only needs to read", text(errno)))
        }
        Errno::ISDIR => Error::os(errno, "it is a directory, not a file to map"),
        Errno::NXIO => Error::os(Errno::NODEV, "it is a FIFO, socket or device, not a file to map"),
        _ => refused(errno, "cannot open it"),
    })?;
    check_regular(file.as_fd())?;
    if !trust.any_owner {
        check_owner(file.as_fd())?;
    }
    Ok(file)
}

/// Another descriptor, close-on-exec, for the file behind `fd`.
///
/// # Errors
///
/// `EBADF`, `EMFILE`.
pub fn duplicate(fd: i32) -> Result<OwnedFd, Error> {
    if fd < 0 {
        return Err(Error::os(Errno::BADF, format!("{fd} is no file descriptor")));
    }
    // SAFETY: borrowed for one call; the kernel refuses a number that is not open, and the duplicate is ours alone.
    let given = unsafe { BorrowedFd::borrow_raw(fd) };
    rustix::io::fcntl_dupfd_cloexec(given, 0).map_err(|errno| refused(errno, &format!("cannot use descriptor {fd}")))
}

/// Refuses what cannot be mapped as memory: directories, devices, pipes.
///
/// # Errors
///
/// `ENODEV`.
pub fn check_regular(file: BorrowedFd<'_>) -> Result<(), Error> {
    let found = fs::fstat(file).map_err(|errno| refused(errno, "cannot inspect it"))?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(Error::os(Errno::ISDIR, "it is a directory, not a file to map")),
        other => {
            let kind = match other {
                FileType::Fifo => "FIFO",
                FileType::CharacterDevice | FileType::BlockDevice => "device",
                FileType::Socket => "socket",
                _ => "special file",
            };
            Err(Error::os(Errno::NODEV, format!("it is a {kind}, not a regular file or memfd to map")))
        }
    }
}

fn check_owner(file: BorrowedFd<'_>) -> Result<(), Error> {
    let found = fs::fstat(file).map_err(|errno| refused(errno, "cannot inspect it"))?;
    let me = rustix::process::geteuid().as_raw();
    if found.st_uid == me || found.st_uid == 0 {
        return Ok(());
    }
    Err(Error::os(
        Errno::PERM,
        format!(
            "it belongs to uid {}, and this process runs as uid {me}: its owner can change or truncate it at any time; \
             any_owner=True accepts that",
            found.st_uid
        ),
    ))
}

/// A file that is whole, but has not got its name yet. Dropped without it, it is gone.
#[derive(Debug)]
pub struct Draft {
    /// The name that it has meanwhile, on file systems where none is not possible.
    temporary: Option<PathBuf>,
}

/// What came of [`Draft::publish`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// The file has its name.
    Yes,
    /// A file without any name cannot get one here: make it [beside](draft_beside) its place.
    NeedsName,
}

/// Makes a file for `path`, without a name if that is possible.
///
/// # Errors
///
/// `ENOSPC` and what the system calls say; then nothing is left behind.
pub fn draft(path: &Path, make: Make) -> Result<(OwnedFd, Draft), Error> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match fs::open(directory, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => {
            prepare(file.as_fd(), make)?;
            Ok((file, Draft { temporary: None }))
        }
        // A file system, or kernel, that knows no O_TMPFILE.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => draft_beside(path, make),
        Err(errno) => Err(refused(errno, "cannot create it")),
    }
}

/// Makes a file for `path` under a temporary name beside it.
///
/// # Errors
///
/// As [`draft`].
pub fn draft_beside(path: &Path, make: Make) -> Result<(OwnedFd, Draft), Error> {
    let (temporary, file) = create_temporary(path)?;
    let draft = Draft { temporary: Some(temporary) };
    prepare(file.as_fd(), make)?;
    Ok((file, draft))
}

impl Draft {
    /// Gives the file its name, which must be free.
    ///
    /// # Errors
    ///
    /// `EEXIST`, and what the system calls say.
    pub fn publish(mut self, file: BorrowedFd<'_>, path: &Path) -> Result<Published, Error> {
        let done = match &self.temporary {
            None => match link(file, path) {
                // Without /proc, or on a file system that cannot link what has no name.
                Err(Errno::NOENT | Errno::OPNOTSUPP | Errno::PERM | Errno::XDEV) => return Ok(Published::NeedsName),
                other => other,
            },
            Some(temporary) => match fs::renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE) {
                // A file system that cannot promise NOREPLACE: a hard link never replaces either, and the temporary
                // name goes when this is dropped.
                Err(Errno::INVAL | Errno::NOSYS) => fs::linkat(CWD, temporary, CWD, path, AtFlags::empty()),
                Ok(()) => {
                    self.temporary = None;
                    Ok(())
                }
                other => other,
            },
        };
        match done {
            Ok(()) => Ok(Published::Yes),
            Err(Errno::EXIST) => Err(Error::os(Errno::EXIST, "it exists; open() opens it, whatever it was made with")),
            Err(errno) => Err(refused(errno, "cannot give the new file its name")),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Best effort: whatever went wrong before is the thing to tell.
            let _ = fs::unlink(temporary);
        }
    }
}

fn link(file: BorrowedFd<'_>, path: &Path) -> Result<(), Errno> {
    // By way of /proc, because AT_EMPTY_PATH asks for a privilege: open(2), O_TMPFILE.
    fs::linkat(CWD, format!("/proc/self/fd/{}", file.as_raw_fd()), CWD, path, AtFlags::SYMLINK_FOLLOW)
}

fn create_temporary(path: &Path) -> Result<(PathBuf, OwnedFd), Error> {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    loop {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = OsString::from(format!(".samemap-{}-{serial}", std::process::id()));
        let temporary = path.with_file_name(name);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match fs::open(&temporary, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => return Ok((temporary, file)),
            // Left by a process of the same pid in another pid namespace, or before this one.
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(refused(errno, "cannot create it")),
        }
    }
}

fn prepare(file: BorrowedFd<'_>, make: Make) -> Result<(), Error> {
    if make.sparse {
        extend_sparse(file, make.size)?;
    } else {
        check_memory(file, 0, make.size)?;
        match reserve(file, 0, make.size) {
            // Nobody else has the file yet, so what cannot be reserved can be filled.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => fill(file, make.size),
            other => other,
        }
        .map_err(|errno| no_room(file, errno, 0, make.size))?;
    }
    // fchmod, because the umask cuts what open(2) is given, and perm= is said to be exact.
    fs::fchmod(file, Mode::from_raw_mode(make.perm)).map_err(|errno| refused(errno, "cannot set its permissions"))
}

/// Makes anonymous memory, sealed so that nobody can shorten it.
///
/// # Errors
///
/// `ENOSPC`, `ENOMEM`, `EMFILE`.
pub fn anonymous(size: usize, sparse: bool) -> Result<OwnedFd, Error> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = fs::memfd_create("samemap", flags | MemfdFlags::NOEXEC_SEAL)
        // Before Linux 6.3 there was no NOEXEC_SEAL.
        .or_else(|errno| if errno == Errno::INVAL { fs::memfd_create("samemap", flags) } else { Err(errno) })
        .map_err(|errno| refused(errno, "cannot make anonymous memory"))?;
    grow(file.as_fd(), 0, size, sparse)?;
    // SEAL: a receiver of the handle must not be able to forbid growing or writing either.
    fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::SEAL)
        .map_err(|errno| refused(errno, "cannot seal anonymous memory"))?;
    Ok(file)
}

/// Bytes of a page.
#[must_use]
pub fn page_size() -> usize {
    rustix::param::page_size()
}

/// Bytes of the file.
///
/// # Errors
///
/// What `fstat(2)` says.
pub fn size(file: BorrowedFd<'_>) -> Result<usize, Error> {
    let found = fs::fstat(file).map_err(|errno| refused(errno, "cannot ask for its size"))?;
    // A file's size is never negative.
    Ok(usize::try_from(found.st_size).unwrap_or(0))
}

/// Bytes that the file system holds for the file.
///
/// # Errors
///
/// What `fstat(2)` says.
pub fn allocated(file: BorrowedFd<'_>) -> Result<usize, Error> {
    let found = fs::fstat(file).map_err(|errno| refused(errno, "cannot ask for its size"))?;
    // stat(2): in units of 512 bytes, never negative.
    Ok(usize::try_from(found.st_blocks).unwrap_or(0) * 512)
}

/// Grows the file from `old` to `new` bytes; never shortens it, whatever others do at the same time.
///
/// Where the file system cannot reserve space, the new bytes are sparse: they cannot be filled with zeros, because
/// others may have grown the file too, and written there.
///
/// # Errors
///
/// `ENOSPC`, `EFBIG`, `ENOMEM`: then its size has not changed.
pub fn grow(file: BorrowedFd<'_>, old: usize, new: usize, sparse: bool) -> Result<(), Error> {
    if sparse {
        return extend_sparse(file, new);
    }
    check_memory(file, old, new)?;
    match reserve(file, old, new) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => extend_sparse(file, new),
        other => other.map_err(|errno| no_room(file, errno, old, new)),
    }
}

/// Reserves space for all bytes from `old` to `new`, and then extends the file to them.
fn reserve(file: BorrowedFd<'_>, old: usize, new: usize) -> Result<(), Errno> {
    if !is_in_memory(file) {
        // First the space, then the size: nobody ever sees bytes without space behind them. tmpfs does so by itself,
        // and takes back what it has reserved when the process is killed meanwhile.
        fallocate(file, FallocateFlags::KEEP_SIZE, old, new)?;
    }
    fallocate(file, FallocateFlags::empty(), old, new)
}

/// Whether it lies on a tmpfs, or is a memfd.
fn is_in_memory(file: BorrowedFd<'_>) -> bool {
    /// What fstatfs(2) says of them.
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    fs::fstatfs(file).is_ok_and(|found| found.f_type == TMPFS_MAGIC)
}

/// Refuses, before the kernel kills somebody for it, what a file system in memory plainly cannot hold.
fn check_memory(file: BorrowedFd<'_>, old: usize, new: usize) -> Result<(), Error> {
    /// What is smaller is not worth asking for: it takes longer to read the answers than to reserve it.
    const ASK_FROM: u64 = 1 << 20;
    let wanted = new.saturating_sub(old) as u64;
    if wanted < ASK_FROM || !is_in_memory(file) {
        return Ok(());
    }
    if free_space(file).is_some_and(|free| free < wanted) {
        return Err(no_room(file, Errno::NOSPC, old, new));
    }
    match room::memory_left() {
        Some(left) if left < wanted => Err(Error::os(
            Errno::NOMEM,
            format!(
                "cannot reserve {wanted} bytes (from {old} to {new}): the machine, or the container, has {left} bytes of \
                 memory left, and the kernel would kill for more; give it more, or sparse=True takes pages as they are written"
            ),
        )),
        _ => Ok(()),
    }
}

/// Bytes free on the file system, where it has a limit.
fn free_space(file: BorrowedFd<'_>) -> Option<u64> {
    let found = fs::fstatvfs(file).ok().filter(|found| found.f_blocks > 0)?;
    Some(found.f_bavail * found.f_frsize)
}

fn fallocate(file: BorrowedFd<'_>, flags: FallocateFlags, old: usize, new: usize) -> Result<(), Errno> {
    if new <= old {
        return Ok(());
    }
    // A signal makes tmpfs undo all of it, so that a timer that ticks faster than the space can be had would make it
    // begin anew for ever; and in steps, a step that fails would leave those before it.
    without_signals(|| fs::fallocate(file, flags, old as u64, (new - old) as u64))
}

/// Runs a system call during which this thread takes no signals; they are delivered after it.
fn without_signals<T>(call: impl FnOnce() -> T) -> T {
    // SAFETY: all zeros is a valid signal set, to be filled in by the next call.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: as above, for the set that was before.
    let mut before: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: a place to fill in.
    unsafe { libc::sigfillset(&mut all) };
    // SAFETY: two valid sets; it changes this thread's mask only. It fails only for an unknown `how`.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &all, &mut before) };
    let done = call();
    // SAFETY: the set that was before.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut()) };
    done
}

/// Takes space for a file that nobody else has yet by writing zeros.
fn fill(file: BorrowedFd<'_>, size: usize) -> Result<(), Errno> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut at = 0;
    while at < size {
        match rustix::io::pwrite(file, &ZEROS[..ZEROS.len().min(size - at)], at as u64) {
            Ok(written) => at += written,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn extend_sparse(file: BorrowedFd<'_>, new: usize) -> Result<(), Error> {
    let turn = Turn::wait(file);
    if size(file)? < new {
        fs::ftruncate(file, new as u64).map_err(|errno| refused(errno, "cannot extend it"))?;
    }
    drop(turn);
    Ok(())
}

/// The right to look at a file's size and set it, among processes that ask for it; until dropped.
///
/// ftruncate(2) also shortens, so that two who extend at once must not both look and then both act.
struct Turn(Option<OwnedFd>);

impl Turn {
    /// How often to ask, a millisecond apart. Who has it needs microseconds; but whoever was forked meanwhile keeps it
    /// too, and could keep it for ever if its parent was killed just then.
    const ATTEMPTS: usize = 200;

    /// Waits for it, for a while. Where there is no /proc, or files cannot be locked, there is none.
    fn wait(file: BorrowedFd<'_>) -> Self {
        // An open file description of its own: others of this process must wait, too.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let Ok(own) = fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) else { return Self(None) };
        for _ in 0..Self::ATTEMPTS {
            match fs::flock(&own, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Self(Some(own)),
                Err(Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(1)),
                Err(_) => break,
            }
        }
        Self(None)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(own) = &self.0 {
            // Not by closing: whoever was forked meanwhile has it open, too. It fails only for what is not locked.
            let _ = fs::flock(own, FlockOperation::Unlock);
        }
    }
}

/// Writes changed bytes to storage, also those changed through mappings.
///
/// # Errors
///
/// `EIO`, `ENOSPC`.
pub fn flush(file: BorrowedFd<'_>) -> Result<(), Error> {
    fs::fdatasync(file).map_err(|errno| refused(errno, "cannot flush"))
}

/// Shortens the file.
///
/// # Errors
///
/// `EPERM` for sealed memory.
pub fn shrink(file: BorrowedFd<'_>, new: usize) -> Result<(), Error> {
    fs::ftruncate(file, new as u64).map_err(|errno| match errno {
        Errno::PERM => Error::os(
            errno,
            "anonymous memory is sealed against shrinking, so that no holder can fault another; \
             advise(\"remove\", offset, length) gives pages back and keeps the size",
        ),
        _ => refused(errno, "cannot shorten it"),
    })
}

/// Gives the space of `offset..offset + length` back; the bytes read as zeros.
///
/// # Errors
///
/// `EOPNOTSUPP` where the file system cannot.
pub fn punch(file: BorrowedFd<'_>, offset: usize, length: usize) -> Result<(), Error> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fs::fallocate(file, flags, offset as u64, length as u64)
        .map_err(|errno| refused(errno, "cannot give the space back"))
}

/// Whether the file system has no space left.
#[must_use]
pub fn is_full(file: BorrowedFd<'_>) -> bool {
    free_space(file) == Some(0)
}

fn no_room(file: BorrowedFd<'_>, errno: Errno, old: usize, new: usize) -> Error {
    let free = free_space(file).map(|free| format!(", {free} bytes are free there"));
    let cure = match errno {
        Errno::NOSPC => {
            "; free some, mount it larger (docker run --shm-size=1g), use SAMEMAP_DIR elsewhere, or sparse=True"
        }
        Errno::FBIG => "; the limit on file size (ulimit -f) or the file system's own is below that",
        _ => "",
    };
    let free = free.unwrap_or_default();
    Error::os(errno, format!("cannot reserve {} bytes (from {old} to {new}): {}{free}{cure}", new - old, text(errno)))
}

pub(crate) fn refused(errno: Errno, doing: &str) -> Error {
    let cure = match errno {
        Errno::NOENT => "; create() makes it, wait=SECONDS waits for it",
        Errno::MFILE => "; this process is at its limit on open files: close some, or raise it (ulimit -n)",
        Errno::NFILE => "; the system is at its limit on open files (fs.file-max)",
        _ => "",
    };
    Error::os(errno, format!("{doing}: {}{cure}", text(errno)))
}

/// What the C library calls the error, without its number.
pub(crate) fn text(errno: Errno) -> String {
    let whole = std::io::Error::from_raw_os_error(errno.raw_os_error()).to_string();
    whole.split(" (os error").next().unwrap_or_default().to_owned()
}
