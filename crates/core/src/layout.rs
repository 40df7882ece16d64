//! Floor 1: the format of a segment, as code: `docs/format.md` says the same in words, `include/samemap.h` in C, and
//! `tests/format.rs` holds the three together.
//!
//! A segment is a header, the roster of its participants, and the body, which is one object or a directory of many.
//! All numbers are little-endian; the magic shows whether that is so.

/// A field of a structure in shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name, the same in Rust, C and `docs/format.md`.
    pub name: &'static str,
    /// Bytes from the start of the structure.
    pub offset: usize,
    /// Bytes.
    pub size: usize,
}

/// A structure in shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Its name.
    pub name: &'static str,
    /// Bytes, a multiple of the alignment.
    pub size: usize,
    /// What its offset is a multiple of.
    pub alignment: usize,
    /// Its fields, in order.
    pub fields: &'static [Field],
}

/// What may lie in shared memory.
///
/// # Safety
///
/// It is made of atomic words only, so that every bit pattern is valid, and others may change it at any time.
pub unsafe trait Shared {}

crate::atomic::needs_kernel! {
    // SAFETY: an atomic word.
    unsafe impl Shared for crate::atomic::Word64 {}
}

/// Declares a structure that lies in shared memory: `repr(C)`, on cache lines of its own, of a size that is fixed here,
/// and with a [`Layout`] that tells where each field is.
macro_rules! shared {
    (
        $(#[$meta:meta])*
        pub struct $name:ident($size:literal) {
            $($(#[$field_meta:meta])* $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug)]
        #[repr(C, align(64))]
        pub struct $name {
            $($(#[$field_meta])* $field: $type,)*
        }

        $crate::atomic::needs_kernel! {
            const _: () = assert!(size_of::<$name>() == $size);

            // SAFETY: its fields are words, arrays of words, or structures that are declared in this way themselves.
            unsafe impl $crate::layout::Shared for $name {}

            impl $name {
                /// Where its fields are.
                pub const LAYOUT: $crate::layout::Layout = $crate::layout::Layout {
                    name: stringify!($name),
                    size: $size,
                    alignment: align_of::<$name>(),
                    fields: &[$($crate::layout::Field {
                        name: stringify!($field),
                        offset: std::mem::offset_of!($name, $field),
                        size: size_of::<$type>(),
                    },)*],
                };
            }
        }
    };
}
pub(crate) use shared;

/// The first eight bytes of a segment: `samemap` and the number 2, in little-endian order.
pub const MAGIC: u64 = u64::from_le_bytes(*b"samemap\x02");

/// The version of the format. One that is not known is refused.
pub const VERSION: u32 = 1;

/// The feature bits that this build understands. One that is not known is refused.
pub const FEATURES: u64 = 0;

/// Bytes before the roster: the header, and after it the schema.
pub const HEADER_SPACE: usize = 4096;

/// The most bytes of a schema.
pub const LONGEST_SCHEMA: usize = HEADER_SPACE - size_of::<Header>();

/// Participants that a roster has room for, unless its creator says otherwise.
pub const PARTICIPANTS: usize = 128;

/// The offset, far behind the end of every file, where participant 0 holds its open-file-description lock; participant
/// `i` holds the byte `i` further on. Locks need no bytes: fcntl(2).
pub const LOCK_OFFSET: i64 = 1 << 62;

/// The offset where a process whose number is 0 would hold a lock while it serves; process `n` holds the byte `n` further on.
pub const SERVER_OFFSET: i64 = 1 << 61;

/// Above all numbers of processes that the kernel gives.
pub const MOST_PIDS: i64 = 1 << 22;

/// What a segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// A lock.
    Lock = 1,
    /// A lock that its holder can take again.
    RLock = 2,
    /// Permits.
    Semaphore = 3,
    /// A flag to wait for.
    Event = 4,
    /// Waiting for news, with a lock.
    Condition = 5,
    /// Waiting for each other.
    Barrier = 6,
    /// A 64-bit integer.
    Counter = 7,
    /// Many readers or one writer.
    ReadWriteLock = 8,
    /// A directory of objects by name.
    Namespace = 9,
    /// Messages from many to many.
    Topic = 10,
    /// The newest value.
    Latest = 11,
    /// Jobs from many to many, each for one.
    Queue = 12,
    /// Requests and their replies.
    Service = 13,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Lock,
        Self::RLock,
        Self::Semaphore,
        Self::Event,
        Self::Condition,
        Self::Barrier,
        Self::Counter,
        Self::ReadWriteLock,
        Self::Namespace,
        Self::Topic,
        Self::Latest,
        Self::Queue,
        Self::Service,
    ];

    /// The kind of that number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u32 == number)
    }

    /// What users call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lock => "Lock",
            Self::RLock => "RLock",
            Self::Semaphore => "Semaphore",
            Self::Event => "Event",
            Self::Condition => "Condition",
            Self::Barrier => "Barrier",
            Self::Counter => "Counter",
            Self::ReadWriteLock => "ReadWriteLock",
            Self::Namespace => "Namespace",
            Self::Topic => "Topic",
            Self::Latest => "Latest",
            Self::Queue => "Queue",
            Self::Service => "Service",
        }
    }
}

/// The start of every segment. Written once, before the file has its name; never changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`VERSION`].
    pub version: u32,
    /// A [`Kind`].
    pub kind: u32,
    /// What a reader must understand, one bit each.
    pub features: u64,
    /// Sizes and alignments of the structures, as one number: two builds that disagree about them refuse each other.
    pub fingerprint: u64,
    /// A random number that is this segment's own.
    pub id: [u8; 16],
    /// The boot during which it was made (`/proc/sys/kernel/random/boot_id`); zeros where that is not known.
    pub boot: [u8; 16],
    /// Bytes of the segment.
    pub size: u64,
    /// When it was made: nanoseconds since 1970.
    pub created: u64,
    /// Who made it, as that process saw itself.
    pub creator: u32,
    /// Entries of the roster.
    pub participants: u32,
    /// Where the roster starts.
    pub roster: u64,
    /// Where the body starts.
    pub body: u64,
    /// Bytes of the body.
    pub body_size: u64,
    /// Where the schema starts.
    pub schema: u32,
    /// Bytes of the schema: UTF-8 text.
    pub schema_size: u32,
    /// Zeros.
    pub reserved: [u8; 8],
}

const _: () = assert!(size_of::<Header>() == 128);

impl Header {
    /// Where its fields are.
    pub const LAYOUT: Layout = Layout {
        name: "Header",
        size: size_of::<Self>(),
        alignment: align_of::<Self>(),
        fields: &[
            Field { name: "magic", offset: std::mem::offset_of!(Self, magic), size: 8 },
            Field { name: "version", offset: std::mem::offset_of!(Self, version), size: 4 },
            Field { name: "kind", offset: std::mem::offset_of!(Self, kind), size: 4 },
            Field { name: "features", offset: std::mem::offset_of!(Self, features), size: 8 },
            Field { name: "fingerprint", offset: std::mem::offset_of!(Self, fingerprint), size: 8 },
            Field { name: "id", offset: std::mem::offset_of!(Self, id), size: 16 },
            Field { name: "boot", offset: std::mem::offset_of!(Self, boot), size: 16 },
            Field { name: "size", offset: std::mem::offset_of!(Self, size), size: 8 },
            Field { name: "created", offset: std::mem::offset_of!(Self, created), size: 8 },
            Field { name: "creator", offset: std::mem::offset_of!(Self, creator), size: 4 },
            Field { name: "participants", offset: std::mem::offset_of!(Self, participants), size: 4 },
            Field { name: "roster", offset: std::mem::offset_of!(Self, roster), size: 8 },
            Field { name: "body", offset: std::mem::offset_of!(Self, body), size: 8 },
            Field { name: "body_size", offset: std::mem::offset_of!(Self, body_size), size: 8 },
            Field { name: "schema", offset: std::mem::offset_of!(Self, schema), size: 4 },
            Field { name: "schema_size", offset: std::mem::offset_of!(Self, schema_size), size: 4 },
            Field { name: "reserved", offset: std::mem::offset_of!(Self, reserved), size: 8 },
        ],
    };
}

/// One number for the layouts of all structures: FNV-1a over their sizes, alignments, and the offsets and sizes of
/// their fields. (Fowler, Noll, Vo: <http://www.isthe.com/chongo/tech/comp/fnv/>.)
#[must_use]
pub const fn fingerprint(layouts: &[Layout]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < layouts.len() {
        let layout = &layouts[at];
        hash = mix(mix(hash, layout.size), layout.alignment);
        let mut field = 0;
        while field < layout.fields.len() {
            hash = mix(mix(hash, layout.fields[field].offset), layout.fields[field].size);
            field += 1;
        }
        at += 1;
    }
    hash
}

const fn mix(mut hash: u64, number: usize) -> u64 {
    let bytes = (number as u64).to_le_bytes();
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}
