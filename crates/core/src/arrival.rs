//! Floor 2: sleeping until a file is there and has a size.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{FileType, stat};
use rustix::io::Errno;
use rustix::time::Timespec;

use crate::bell::{Deadline, Woken};

/// How long to sleep at most before looking again, where nobody tells: a directory that is missing too, a network file
/// system, or no inotify instance left.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Sleeps until `path` is a file that is not empty, or the deadline or a signal.
///
/// It may return [`Woken::Rung`] early, and the file may be gone again: the caller tries, and comes back.
pub fn wait_for_file(path: &Path, deadline: Option<Deadline>) -> Woken {
    let watch = watch(path);
    if is_there(path) {
        return Woken::Changed;
    }
    if deadline.is_some_and(Deadline::has_passed) {
        return Woken::TimedOut;
    }
    let left = deadline.map_or(LOOK_AGAIN, |deadline| deadline.left().min(LOOK_AGAIN));
    let left = Timespec::try_from(left).ok();
    let slept = match &watch {
        Ok(watch) => poll(&mut [PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN)], left.as_ref()),
        Err(_) => poll(&mut [], left.as_ref()),
    };
    match slept {
        Err(Errno::INTR) => Woken::Interrupted,
        _ if is_there(path) => Woken::Changed,
        _ => Woken::Rung,
    }
}

fn is_there(path: &Path) -> bool {
    stat(path).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) != FileType::RegularFile || found.st_size > 0)
}

fn watch(path: &Path) -> Result<OwnedFd, Errno> {
    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    // The file, for its size; it may not be there.
    let grown = inotify::add_watch(&watch, path, WatchFlags::MODIFY);
    let directory = path.parent().ok_or(Errno::NOENT)?;
    let named = inotify::add_watch(&watch, directory, WatchFlags::CREATE | WatchFlags::MOVED_TO);
    grown.or(named).map(|_| watch)
}
