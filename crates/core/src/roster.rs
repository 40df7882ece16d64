//! Floor 3: the roster of a segment: who takes part, and the proof that each still lives.
//!
//! Each participant is one process (its threads share it), and owns one entry. It owns the entry because it holds the
//! open-file-description lock on the entry's byte (see `claim`): whoever gets that lock is alone with the entry, and
//! whoever had it before is gone. What the entry says is for people to read; who lives is what the kernel says.
//!
//! A new owner gives the entry a new epoch before it writes anything else there, and shows itself as present with its
//! last store. Killed in between, it leaves an entry that nobody is in.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering as Local};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::io::Errno;

use crate::atomic::{Ordering, Word32, Word64, fence};
use crate::claim::{self, Claimed};
use crate::error::Error;
use crate::file::refused;
use crate::layout::shared;
use crate::tag::{Living, Tag};

/// The mark in an entry's state: its owner takes part.
pub const PRESENT: u32 = 1 << 31;

/// The owner of the entry has left, and nobody has taken its place: what the entry says is still about it.
pub const LEFT: u32 = 1 << 30;

shared! {
    /// An entry of the roster.
    pub struct Entry(192) {
        /// The epoch of its owner, and the mark that the owner takes part.
        state: Word32,
        /// The owner's process, as it sees itself.
        pid: Word32,
        /// When that process started: clock ticks since boot.
        started: Word64,
        /// When it joined: nanoseconds since 1970.
        joined: Word64,
        /// Its user.
        user: Word32,
        /// How many of its threads and tasks sleep here.
        waiting: Word32,
        /// What one of them waits for: bytes from the start of the segment.
        waiting_on: Word64,
        /// The inode of its pid namespace: where the pid means something.
        pid_namespace: Word64,
        /// What it does here, as text that ends with a NUL or at 16 bytes.
        role: [Word64; 2],
        /// Its command line, as text that ends with a NUL or at 64 bytes.
        command: [Word64; 8],
        /// The epoch of the last owner whose place was taken, dead or gone, with the mark for taking part.
        died_epoch: Word32,
        /// Its process.
        died_pid: Word32,
        /// When somebody took its place: nanoseconds since 1970.
        died_noticed: Word64,
        /// The start of its command line.
        died_command: [Word64; 6],
    }
}

/// What is known of a participant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Participant {
    /// Its tag.
    pub tag: Tag,
    /// Its process, as it saw itself.
    pub pid: u32,
    /// When that process started, in clock ticks since boot; 0 where that is not known.
    pub started: u64,
    /// When it joined: nanoseconds since 1970; 0 where that is not known.
    pub joined: u64,
    /// Its user.
    pub user: u32,
    /// The inode of its pid namespace; 0 where that is not known.
    pub pid_namespace: u64,
    /// What it does.
    pub role: String,
    /// Its command line, or the start of it.
    pub command: String,
    /// How many of its threads and tasks sleep, and the offset of what one of them waits for.
    pub waiting: (u32, u64),
    /// Whether it lives.
    pub alive: bool,
    /// When its death was noticed, by whoever took its place: nanoseconds since 1970.
    pub died: Option<u64>,
}

/// A roster, as one process looks at it.
#[derive(Clone, Copy)]
pub struct Roster<'a> {
    entries: &'a [Entry],
    file: Claimed<'a>,
    /// The caller's own tag, if it has one.
    me: Option<Tag>,
}

impl<'a> Roster<'a> {
    pub(crate) fn new(entries: &'a [Entry], file: Claimed<'a>, me: Option<Tag>) -> Self {
        Self { entries, file, me }
    }

    fn entry(&self, tag: Tag) -> Option<&'a Entry> {
        self.entries.get(tag.index())
    }

    /// All who take part, dead ones included whose place nobody has taken.
    pub fn participants(&self) -> Vec<Participant> {
        let present = self.entries.iter().enumerate().filter_map(|(index, entry)| {
            // Acquire [roster.entry]
            let state = entry.state.load(Ordering::Acquire);
            (state & PRESENT != 0).then(|| self.describe(Tag::new(index, state)))?
        });
        present.take(Tag::MOST).collect()
    }

    /// Whoever has, or had, that tag, as far as that is still known.
    pub fn describe(&self, tag: Tag) -> Option<Participant> {
        let entry = self.entry(tag)?;
        let alive = self.is_alive(tag);
        if self.is_latest(tag) {
            let participant = Participant {
                tag,
                pid: entry.pid.load(Ordering::Relaxed),
                started: entry.started.load(Ordering::Relaxed),
                joined: entry.joined.load(Ordering::Relaxed),
                user: entry.user.load(Ordering::Relaxed),
                pid_namespace: entry.pid_namespace.load(Ordering::Relaxed),
                role: read_text(&entry.role),
                command: read_text(&entry.command),
                waiting: (entry.waiting.load(Ordering::Relaxed), entry.waiting_on.load(Ordering::Relaxed)),
                alive,
                died: None,
            };
            // Acquire [roster.text]: what was read belongs to the tag only if the entry has not changed hands meanwhile.
            fence(Ordering::Acquire);
            if self.is_latest(tag) {
                return Some(participant);
            }
        }
        // Acquire [roster.died]
        if entry.died_epoch.load(Ordering::Acquire) != tag.epoch() | PRESENT {
            return None;
        }
        let participant = Participant {
            tag,
            pid: entry.died_pid.load(Ordering::Relaxed),
            started: 0,
            joined: 0,
            user: 0,
            pid_namespace: 0,
            role: String::new(),
            command: read_text(&entry.died_command),
            waiting: (0, 0),
            alive: false,
            died: Some(entry.died_noticed.load(Ordering::Relaxed)),
        };
        // Acquire [roster.dying]: what was read is of this death only if nobody has begun to note another one.
        fence(Ordering::Acquire);
        (entry.died_epoch.load(Ordering::Relaxed) == tag.epoch() | PRESENT).then_some(participant)
    }

    /// Whether nobody has taken the entry since the tag's participant: it is there, or has left.
    fn is_latest(&self, tag: Tag) -> bool {
        // Acquire [roster.entry]
        let states = [tag.epoch() | PRESENT, tag.epoch() | LEFT];
        self.entry(tag).is_some_and(|entry| states.contains(&entry.state.load(Ordering::Acquire)))
    }

    /// Notes that `tag`, the caller's own, sleeps for what is at `offset`; undone by [`Roster::note_awake`].
    pub(crate) fn note_asleep(&self, tag: Tag, offset: u64) {
        if let Some(entry) = self.entry(tag) {
            entry.waiting_on.store(offset, Ordering::Relaxed);
            entry.waiting.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Undoes [`Roster::note_asleep`].
    pub(crate) fn note_awake(&self, tag: Tag) {
        if let Some(entry) = self.entry(tag) {
            entry.waiting.fetch_add(u32::MAX, Ordering::Relaxed);
        }
    }

    /// Takes the entries of the dead from them, so that they are listed no more; returns who they were.
    ///
    /// # Errors
    ///
    /// As joining.
    pub fn bury(&self, path: Option<&Path>) -> Result<Vec<Participant>, Error> {
        let description = claim::description(self.file, path).map_err(cannot_join)?;
        let dead: Vec<Participant> = self.participants().into_iter().filter(|found| !found.alive).collect();
        let mut buried = Vec::new();
        for participant in dead {
            let index = participant.tag.index();
            if !claim::claim(&description, index).map_err(cannot_join)? {
                continue;
            }
            // Now that its place cannot change hands: it may have, before.
            if self.is_present(participant.tag) {
                self.entries[index].vacate();
                buried.push(participant);
            }
            claim::give_back(&description, index);
        }
        Ok(buried)
    }
}

impl Living for Roster<'_> {
    fn is_present(&self, tag: Tag) -> bool {
        // Acquire [roster.entry]
        self.entry(tag).is_some_and(|entry| entry.state.load(Ordering::Acquire) == tag.epoch() | PRESENT)
    }

    fn is_alive(&self, tag: Tag) -> bool {
        self.is_present(tag) && (self.me == Some(tag) || claim::is_claimed(self.file, tag.index()))
    }
}

impl Entry {
    /// Notes who the last owner was, who died or left, and gives the entry a new epoch; the caller has claimed it.
    fn vacate(&self) -> u32 {
        let state = self.state.load(Ordering::Relaxed);
        if state & (PRESENT | LEFT) != 0 {
            self.died_epoch.store(0, Ordering::Relaxed);
            // Release [roster.dying]: who reads any of what follows sees that the note is of this death, or of none.
            fence(Ordering::Release);
            self.died_pid.store(self.pid.load(Ordering::Relaxed), Ordering::Relaxed);
            self.died_noticed.store(now(), Ordering::Relaxed);
            for (from, to) in self.command.iter().zip(&self.died_command) {
                to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
            }
            // Release [roster.died]
            self.died_epoch.store(state & !LEFT | PRESENT, Ordering::Release);
        }
        let epoch = Tag::next_epoch(state & !(PRESENT | LEFT));
        // Release [roster.entry]: from here on the tag of the last owner is nobody's.
        self.state.store(epoch, Ordering::Release);
        epoch
    }

    fn occupy(&self, index: usize, role: &str) -> Tag {
        let epoch = self.vacate();
        // Release [roster.text]: who reads any of what follows sees that the entry has changed hands.
        fence(Ordering::Release);
        self.waiting.store(0, Ordering::Relaxed);
        self.waiting_on.store(0, Ordering::Relaxed);
        self.pid.store(std::process::id(), Ordering::Relaxed);
        self.started.store(start_time().unwrap_or(0), Ordering::Relaxed);
        self.joined.store(now(), Ordering::Relaxed);
        self.user.store(rustix::process::geteuid().as_raw(), Ordering::Relaxed);
        self.pid_namespace.store(pid_namespace().unwrap_or(0), Ordering::Relaxed);
        write_text(&self.role, role);
        write_text(&self.command, &command());
        // Release [roster.entry]: who sees it present sees who it is.
        self.state.store(epoch | PRESENT, Ordering::Release);
        Tag::new(index, epoch)
    }
}

/// A participant's own place: its tag, and the claim that proves its life. One per process and segment.
#[derive(Debug, Default)]
pub(crate) struct Seat {
    /// The tag's word; 0 while the process does not take part: never in a fork's child until it asks.
    tag: AtomicU32,
    /// The description that holds the claim. Changed only while the process-wide right to join is held.
    claim: Mutex<Option<OwnedFd>>,
}

impl Seat {
    /// The tag, if this process has joined.
    #[inline(always)]
    pub(crate) fn tag(&self) -> Option<Tag> {
        // Relaxed: it changes where the process joins, forks and leaves, which other threads must not do meanwhile
        // for any other reason too.
        Tag::read(self.tag.load(Local::Relaxed))
    }

    /// Takes the first entry that nobody living owns.
    ///
    /// # Errors
    ///
    /// `EUSERS`: all are taken; `EMFILE` and others: the file cannot be opened once more, or cannot be locked.
    pub(crate) fn join(&self, roster: Roster<'_>, path: Option<&Path>, role: &str) -> Result<Tag, Error> {
        let mut claimed = self.claim.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tag) = self.tag() {
            return Ok(tag);
        }
        let description = claim::description(roster.file, path).map_err(cannot_join)?;
        let is_vacant = |entry: &Entry| entry.state.load(Ordering::Relaxed) & PRESENT == 0;
        // First those that look free: it takes no system call to see that the others may not be.
        for vacant in [true, false] {
            for (index, entry) in roster.entries.iter().enumerate().take(Tag::MOST) {
                if is_vacant(entry) == vacant && claim::claim(&description, index).map_err(cannot_join)? {
                    let tag = entry.occupy(index, role);
                    *claimed = Some(description);
                    self.tag.store(tag.word(), Local::Relaxed);
                    return Ok(tag);
                }
            }
        }
        let most = roster.entries.len();
        Err(Error::os(
            Errno::USERS,
            format!(
                "its roster has room for {most} processes, and {most} living ones have joined: \
                 make it with max_participants={} or more, or let some of them close it",
                (most * 2).min(Tag::MOST)
            ),
        ))
    }

    /// Leaves: what the participant still holds is free for others to take over.
    pub(crate) fn leave(&self, entries: &[Entry]) {
        let mut claimed = self.claim.lock().unwrap_or_else(PoisonError::into_inner);
        let tag = Tag::read(self.tag.swap(0, Local::Relaxed));
        if let (Some(description), Some(tag)) = (claimed.take(), tag) {
            if let Some(entry) = entries.get(tag.index()) {
                // Release [roster.entry]
                entry.state.store(tag.epoch() | LEFT, Ordering::Release);
            }
            claim::give_back(&description, tag.index());
        }
    }

    /// In a fork's child: the claim is the parent's, and the child joins as itself when it needs to.
    pub(crate) fn forget_parent(&self) {
        self.tag.store(0, Local::Relaxed);
        // Closed, not given back: that would take it from the parent.
        drop(self.claim.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

fn cannot_join(errno: Errno) -> Error {
    match errno {
        Errno::ACCESS | Errno::PERM | Errno::ROFS => {
            Error::os(errno, "it cannot be opened once more for writing, which taking part needs; mode=\"r\" only looks on")
        }
        Errno::NOENT => Error::os(errno, "it cannot be opened once more, which taking part needs: /proc is not mounted here"),
        Errno::NOLCK | Errno::INVAL | Errno::OPNOTSUPP => {
            Error::os(errno, "its file system has no open-file-description locks, which tell who lives; put it on tmpfs or a local disk")
        }
        Errno::BADF => {
            Error::os(errno, "somebody has closed its descriptor in this process, which taking part needs: close it, and open it anew")
        }
        _ => refused(errno, "cannot join its roster"),
    }
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

fn start_time() -> Option<u64> {
    // proc_pid_stat(5): field 22, counted after the command, which may hold anything.
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

fn pid_namespace() -> Option<u64> {
    rustix::fs::stat("/proc/self/ns/pid").ok().map(|found| found.st_ino)
}

fn command() -> String {
    let words = std::fs::read("/proc/self/cmdline").unwrap_or_default();
    String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ")
}

fn write_text(words: &[Word64], text: &str) {
    let room = words.len() * 8;
    let mut end = text.len().min(room);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut bytes = text.as_bytes()[..end].to_vec();
    bytes.resize(room, 0);
    for (word, chunk) in words.iter().zip(bytes.chunks_exact(8)) {
        let mut eight = [0; 8];
        eight.copy_from_slice(chunk);
        word.store(u64::from_le_bytes(eight), Ordering::Relaxed);
    }
}

fn read_text(words: &[Word64]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    // Others may have written anything: nothing that a terminal would obey comes out of here.
    String::from_utf8_lossy(text).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
