//! Floor 2: open-file-description locks on single bytes: what the kernel knows of who lives.
//!
//! Such a lock belongs to an open file description. It goes when the last descriptor of that is closed, which the kernel
//! does for every process that ends, however it ends; and not before, however long the process is stopped. It knows
//! neither pids nor namespaces. Source: fcntl(2), "Open file description locks".
//!
//! The description is a second one of the segment's own file, so that there is no lock file to make, to lose or to leave
//! behind; it is never mapped, because a mapping would keep the description, and so the lock, beyond the close.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use crate::layout::LOCK_OFFSET;

/// Which file: its device and its inode.
pub(crate) type FileId = (u64, u64);

/// A descriptor, and the file that it was opened for: programs that become daemons close all descriptors, whoever they
/// belong to, and then their numbers are those of other files.
#[derive(Clone, Copy)]
pub(crate) struct Claimed<'a> {
    pub(crate) file: BorrowedFd<'a>,
    pub(crate) id: FileId,
}

fn is_file(file: impl AsFd, id: FileId) -> bool {
    fs::fstat(file).is_ok_and(|found| (found.st_dev, found.st_ino) == id)
}

/// Opens the file once more, for claims only: close-on-exec, and never to be mapped.
pub(crate) fn description(claimed: Claimed<'_>, path: Option<&Path>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY;
    if !is_file(claimed.file, claimed.id) {
        return Err(Errno::BADF);
    }
    match fs::open(format!("/proc/self/fd/{}", claimed.file.as_raw_fd()), flags, Mode::empty()) {
        // There is no /proc here.
        Err(Errno::NOENT) => {
            let opened = fs::open(path.ok_or(Errno::NOENT)?, flags, Mode::empty())?;
            // Somebody else's file may have the name by now.
            if is_file(&opened, claimed.id) { Ok(opened) } else { Err(Errno::NOENT) }
        }
        other => other,
    }
}

fn lock(kind: i32, index: usize) -> libc::flock {
    // SAFETY: all zeros is a valid flock: it asks for nothing.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = LOCK_OFFSET + index as i64;
    lock.l_len = 1;
    lock
}

fn control(file: BorrowedFd<'_>, command: i32, lock: &mut libc::flock) -> Result<(), Errno> {
    // SAFETY: an open descriptor, and a flock that lives through the call, as these commands want it.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), command, lock) };
    if done == 0 { Ok(()) } else { Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)) }
}

/// Claims byte `index` for the description; false when another description has it.
pub(crate) fn claim(description: &OwnedFd, index: usize) -> Result<bool, Errno> {
    match control(description.as_fd(), libc::F_OFD_SETLK, &mut lock(libc::F_WRLCK, index)) {
        Ok(()) => Ok(true),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Gives the claim on byte `index` back. Closing would not do where a process was forked meanwhile.
pub(crate) fn give_back(description: &OwnedFd, index: usize) {
    // It fails only for what is not open.
    let _ = control(description.as_fd(), libc::F_OFD_SETLK, &mut lock(libc::F_UNLCK, index));
}

/// Whether any description but that of the file has claimed byte `index`.
pub(crate) fn is_claimed(claimed: Claimed<'_>, index: usize) -> bool {
    let mut question = lock(libc::F_WRLCK, index);
    match control(claimed.file, libc::F_OFD_GETLK, &mut question) {
        // Who cannot be asked about is not taken for dead. What another file says about it is no answer.
        Ok(()) => question.l_type != libc::F_UNLCK as libc::c_short || !is_file(claimed.file, claimed.id),
        Err(_) => true,
    }
}
