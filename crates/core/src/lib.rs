//! Memory that processes on one Linux machine share.
//!
//! The floors, from the ground up; a module uses only modules of lower floors (`tests/floors.rs` holds that):
//!
//! | floor | module | what it knows |
//! | --- | --- | --- |
//! | 0 | [`atomic`] | whether this is a loom build; the words of shared memory, and where a process can die |
//! | 0 | [`error`] | what can go wrong, and who can mend it |
//! | 0 | `room` | how much memory can still be had |
//! | 0 | [`tag`] | who holds something |
//! | 1 | [`bell`] | sleeping on a futex word, and waking |
//! | 1 | [`file`](mod@file) | files and memfds: made whole, opened with distrust, grown without surprises |
//! | 1 | [`gate`] | users of a mapping against the one who moves it |
//! | 1 | `guard` | bus errors: `SIGBUS` in our own mappings |
//! | 1 | [`layout`] | the format of a segment, as code |
//! | 1 | [`ring`] | words that name things in order |
//! | 1 | [`spin`] | how long to look before sleeping |
//! | 1 | `text` | NUL-ended text in memory that others write |
//! | 2 | [`arrival`] | sleeping until a file is there |
//! | 2 | `claim` | open-file-description locks: what the kernel knows of who lives |
//! | 2 | [`counter`] | an integer that processes count together |
//! | 2 | [`event`] | a flag to wait for |
//! | 2 | [`holdings`] | who holds how many of something |
//! | 2 | [`job`] | a job of a queue: who has it, what it is, and where its bytes are |
//! | 2 | [`lane`] | jobs in order, and the replies to a call |
//! | 2 | [`lock`] | one at a time, also when the one dies |
//! | 2 | `mapping` | the only `mmap`, `mremap`, `munmap` |
//! | 2 | [`process`] | what the process must put right around a fork |
//! | 2 | [`publisher`] | what each participant has published |
//! | 2 | [`slot`] | one payload's place: who fills it, what is in it, who has it pinned |
//! | 2 | [`subscriber`] | how far each subscription has come |
//! | 2 | [`waiters`] | a table of those who wait |
//! | 2 | [`worker`] | what each participant has done in a queue |
//! | 3 | [`barrier`] | waiting for each other |
//! | 3 | [`condition`] | waiting for news, with a lock |
//! | 3 | [`directory`] | objects by name |
//! | 3 | [`queue`] | jobs from many to many, each for one |
//! | 3 | [`region`] | raw shared bytes |
//! | 3 | [`rlock`] | a lock that its holder can take again |
//! | 3 | [`roster`] | who takes part in a segment, and who of them lives |
//! | 3 | [`rwlock`] | many readers or one writer |
//! | 3 | [`semaphore`] | permits, which come back when their holder dies |
//! | 3 | [`topic`] | messages from many to many |
//! | 4 | [`format`](mod@format) | the header of a segment, and refusing what is not understood |
//! | 5 | [`segment`] | a self-describing file that holds objects |
//! | 6 | [`arrangement`] | how a topic's tables and payloads lie in its segment |
//! | 6 | [`storage`] | how a queue's tables and messages lie in its segment |
//! | 7 | [`objects`] | the kinds of objects: how long each is, and how it begins |
//! | 8 | [`operation`] | what somebody waits for: to be tried, slept for, given up |

#[cfg(not(target_pointer_width = "64"))]
compile_error!("samemap reserves address space generously: it needs a 64-bit machine");
#[cfg(not(target_os = "linux"))]
compile_error!("samemap stands on Linux: futexes, memfds, O_TMPFILE");

pub mod atomic;
pub mod barrier;
pub mod bell;
pub mod condition;
pub mod counter;
pub mod directory;
pub mod event;
pub mod gate;
pub mod holdings;
pub mod job;
pub mod lane;
pub mod layout;
pub mod lock;
pub mod publisher;
pub mod queue;
pub mod ring;
pub mod rlock;
pub mod rwlock;
pub mod semaphore;
pub mod slot;
pub mod subscriber;
pub mod tag;
pub mod topic;
pub mod waiters;
pub mod worker;

atomic::needs_kernel! {
    pub mod arrangement;
    pub mod arrival;
    mod claim;
    pub mod error;
    pub mod file;
    pub mod format;
    mod guard;
    mod mapping;
    pub mod objects;
    pub mod operation;
    pub mod process;
    pub mod region;
    mod room;
    pub mod roster;
    pub mod segment;
    pub mod spin;
    pub mod storage;
    mod text;
}
