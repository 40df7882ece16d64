//! Floor 4: reading the header of a segment, and refusing what this build does not understand.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use crate::barrier::Barrier;
use crate::bell::Bell;
use crate::condition::Condition;
use crate::counter::Counter;
use crate::directory::{self, Directory};
use crate::error::Error;
use crate::event::Event;
use crate::file;
use crate::holdings::Holding;
use crate::job::Job;
use crate::lane::Lane;
use crate::layout::{self, Field, HEADER_SPACE, Header, Kind, Layout};
use crate::lock::Lock;
use crate::publisher::Publisher;
use crate::queue::Queue;
use crate::rlock::RLock;
use crate::roster::Entry;
use crate::rwlock::ReadWriteLock;
use crate::semaphore::Semaphore;
use crate::slot::Slot;
use crate::subscriber::Subscriber;
use crate::tag::Tag;
use crate::topic::Topic;
use crate::waiters::Waiter;
use crate::worker::Worker;

/// A part of other structures, without cache lines of its own.
const BELL: Layout = Layout {
    name: "Bell",
    size: size_of::<Bell>(),
    alignment: align_of::<Bell>(),
    fields: &[
        Field { name: "rings", offset: Bell::OFFSETS[0], size: 4 },
        Field { name: "listeners", offset: Bell::OFFSETS[1], size: 4 },
    ],
};

const _: () = assert!(size_of::<Bell>() == 8);

/// The roster has entries, too.
const DIRECTORY_ENTRY: Layout = Layout { name: "DirectoryEntry", ..directory::Entry::LAYOUT };

/// Every structure of the format.
pub const LAYOUTS: [Layout; 23] = [
    Header::LAYOUT,
    Entry::LAYOUT,
    BELL,
    Lock::LAYOUT,
    RLock::LAYOUT,
    Holding::LAYOUT,
    Semaphore::LAYOUT,
    Event::LAYOUT,
    Waiter::LAYOUT,
    Condition::LAYOUT,
    Barrier::LAYOUT,
    Counter::LAYOUT,
    ReadWriteLock::LAYOUT,
    Directory::LAYOUT,
    DIRECTORY_ENTRY,
    Topic::LAYOUT,
    Publisher::LAYOUT,
    Subscriber::LAYOUT,
    Slot::LAYOUT,
    Queue::LAYOUT,
    Lane::LAYOUT,
    Worker::LAYOUT,
    Job::LAYOUT,
];

/// What this build takes the sizes and alignments of all structures to be.
pub const FINGERPRINT: u64 = layout::fingerprint(&LAYOUTS);

/// The header as bytes.
pub(crate) fn encode(header: &Header) -> [u8; size_of::<Header>()] {
    let mut bytes = [0; size_of::<Header>()];
    let mut at = 0;
    let mut put = |field: &[u8]| {
        bytes[at..at + field.len()].copy_from_slice(field);
        at += field.len();
    };
    put(&header.magic.to_le_bytes());
    put(&header.version.to_le_bytes());
    put(&header.kind.to_le_bytes());
    put(&header.features.to_le_bytes());
    put(&header.fingerprint.to_le_bytes());
    put(&header.id);
    put(&header.boot);
    put(&header.size.to_le_bytes());
    put(&header.created.to_le_bytes());
    put(&header.creator.to_le_bytes());
    put(&header.participants.to_le_bytes());
    put(&header.roster.to_le_bytes());
    put(&header.body.to_le_bytes());
    put(&header.body_size.to_le_bytes());
    put(&header.schema.to_le_bytes());
    put(&header.schema_size.to_le_bytes());
    put(&header.reserved);
    bytes
}

/// The header in bytes.
fn decode(bytes: &[u8; size_of::<Header>()]) -> Header {
    let mut at = 0;
    let four = |at: &mut usize| {
        let mut field = [0; 4];
        field.copy_from_slice(&bytes[*at..*at + 4]);
        *at += 4;
        u32::from_le_bytes(field)
    };
    let eight = |at: &mut usize| {
        let mut field = [0; 8];
        field.copy_from_slice(&bytes[*at..*at + 8]);
        *at += 8;
        u64::from_le_bytes(field)
    };
    let sixteen = |at: &mut usize| {
        let mut field = [0; 16];
        field.copy_from_slice(&bytes[*at..*at + 16]);
        *at += 16;
        field
    };
    Header {
        magic: eight(&mut at),
        version: four(&mut at),
        kind: four(&mut at),
        features: eight(&mut at),
        fingerprint: eight(&mut at),
        id: sixteen(&mut at),
        boot: sixteen(&mut at),
        size: eight(&mut at),
        created: eight(&mut at),
        creator: four(&mut at),
        participants: four(&mut at),
        roster: eight(&mut at),
        body: eight(&mut at),
        body_size: eight(&mut at),
        schema: four(&mut at),
        schema_size: four(&mut at),
        reserved: eight(&mut at).to_le_bytes(),
    }
}

/// Reads the header and the schema of a file, and checks both.
///
/// # Errors
///
/// [`Error::Mismatch`], which names the field, the two values and the cure; what `pread(2)` says.
pub(crate) fn read(file: BorrowedFd<'_>, kind: Option<Kind>) -> Result<(Header, String), Error> {
    let mut space = [0; HEADER_SPACE];
    let length = read_all(file, &mut space)?;
    let mut bytes = [0; size_of::<Header>()];
    bytes.copy_from_slice(&space[..size_of::<Header>()]);
    let header = decode(&bytes);
    check(&header, length, file::size(file)?)?;
    format_kind(&header, kind)?;
    let start = header.schema as usize;
    let end = start.checked_add(header.schema_size as usize).filter(|end| start >= bytes.len() && *end <= HEADER_SPACE);
    let end = end.ok_or_else(|| Error::damaged("schema_size", header.schema_size, format!("at most {}", layout::LONGEST_SCHEMA)))?;
    match std::str::from_utf8(&space[start..end]) {
        Ok(schema) => Ok((header, schema.to_owned())),
        Err(_) => Err(Error::damaged("schema", "other bytes", "UTF-8 text")),
    }
}

fn format_kind(header: &Header, wanted: Option<Kind>) -> Result<Kind, Error> {
    let found = Kind::from_number(header.kind).ok_or_else(|| unknown_kind(header.kind))?;
    check_kind(found, wanted)?;
    Ok(found)
}

/// Refuses a segment of another kind than the wanted one.
pub(crate) fn check_kind(found: Kind, wanted: Option<Kind>) -> Result<(), Error> {
    match wanted {
        Some(wanted) if wanted != found => {
            let cure = format!("open it as samemap.{}, or choose another name", found.name());
            Err(Error::mismatch("kind", found.name(), wanted.name(), cure))
        }
        _ => Ok(()),
    }
}

pub(crate) fn unknown_kind(number: u32) -> Error {
    let last = Kind::ALL.len();
    Error::mismatch("kind", number, format!("1 to {last}"), "a newer samemap made it: upgrade this one")
}

fn check(header: &Header, read: usize, size: usize) -> Result<(), Error> {
    if read < size_of::<Header>() {
        let least = size_of::<Header>();
        return Err(Error::mismatch("size", size, format!("at least {least}"), "it is no segment; Region.open() maps any file"));
    }
    if header.magic != layout::MAGIC {
        let cure = if header.magic == layout::MAGIC.swap_bytes() {
            "a machine of the other byte order made it: it cannot be shared with this one"
        } else if header.magic << 8 == layout::MAGIC << 8 {
            "another generation of samemap made it: use the same version everywhere, or remove it (samemap rm) and make it anew"
        } else {
            "it is no segment; Region.open() maps any file"
        };
        let hex = |magic: u64| format!("{magic:#018x}");
        return Err(Error::mismatch("magic", hex(header.magic), hex(layout::MAGIC), cure));
    }
    let upgrade = "use the same version of samemap everywhere, or remove it (samemap rm) and make it anew";
    if header.version != layout::VERSION {
        return Err(Error::mismatch("version", header.version, layout::VERSION, upgrade));
    }
    let unknown = header.features & !layout::FEATURES;
    if unknown != 0 {
        let hex = |bits: u64| format!("{bits:#x}");
        return Err(Error::mismatch("features", hex(header.features), hex(layout::FEATURES), upgrade));
    }
    if header.fingerprint != FINGERPRINT {
        let hex = |number: u64| format!("{number:#018x}");
        return Err(Error::mismatch("fingerprint", hex(header.fingerprint), hex(FINGERPRINT), upgrade));
    }
    if header.size > size as u64 {
        let cure = "somebody has truncated it: remove it (samemap rm) and make it anew";
        return Err(Error::mismatch("size", size, header.size, cure));
    }
    let participants = header.participants as usize;
    if !(1..=Tag::MOST).contains(&participants) {
        return Err(Error::damaged("participants", participants, format!("1 to {}", Tag::MOST)));
    }
    let roster_end = header.roster.checked_add((participants * size_of::<Entry>()) as u64);
    if header.roster < HEADER_SPACE as u64 || !header.roster.is_multiple_of(64) || roster_end.is_none_or(|end| end > header.body) {
        return Err(Error::damaged("roster", header.roster, format!("{HEADER_SPACE}")));
    }
    let body_end = header.body.checked_add(header.body_size);
    if !header.body.is_multiple_of(64) || body_end.is_none_or(|end| end > header.size) {
        return Err(Error::damaged("body", header.body, format!("at most {}", header.size.saturating_sub(header.body_size))));
    }
    Ok(())
}

fn read_all(file: BorrowedFd<'_>, space: &mut [u8]) -> Result<usize, Error> {
    let mut done = 0;
    while done < space.len() {
        match rustix::io::pread(file, &mut space[done..], done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(file::refused(errno, "cannot read its header")),
        }
    }
    Ok(done)
}

/// The present boot, as the kernel calls it.
pub(crate) fn boot() -> Option<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    bytes.try_into().ok()
}
