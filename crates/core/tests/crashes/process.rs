//! Real processes, by fork, and what became of them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use samemap_core::atomic::crash;

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It came through all it had to do, past so many points.
    Done(u64),
    /// It died at its point.
    Killed,
}

/// Does `work` in a child that dies before the change number `fatal` of shared memory, and waits for its end.
pub(crate) fn run(fatal: u64, work: impl FnOnce()) -> End {
    let (mut ends, mut status) = ([0; 2], 0);
    // SAFETY: an array of two for the ends of the pipe.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    // SAFETY: this program has one thread, so the child may do all that the parent may.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let done = catch_unwind(AssertUnwindSafe(|| {
            crash::arm(fatal);
            work();
        }));
        let passed = crash::passed().to_ne_bytes();
        // SAFETY: eight bytes that live through the call.
        unsafe { libc::write(ends[1], passed.as_ptr().cast(), passed.len()) };
        // SAFETY: it never returns. Nothing is dropped: a process that ends has nothing to say to the roster.
        unsafe { libc::_exit(i32::from(done.is_err())) };
    }
    // SAFETY: a child of this process, and a place for its status.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    let mut passed = [0; 8];
    // SAFETY: this process's own descriptor.
    unsafe { libc::close(ends[1]) };
    // SAFETY: eight bytes to fill in.
    let read = unsafe { libc::read(ends[0], passed.as_mut_ptr().cast(), passed.len()) };
    // SAFETY: this process's own descriptor.
    unsafe { libc::close(ends[0]) };
    if libc::WIFSIGNALED(status) {
        assert_eq!(libc::WTERMSIG(status), libc::SIGKILL, "the child died of something else");
        return End::Killed;
    }
    assert_eq!((libc::WEXITSTATUS(status), read), (0, 8), "the child failed: see above");
    End::Done(u64::from_ne_bytes(passed))
}
