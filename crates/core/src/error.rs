//! Floor 0: what can go wrong. Each variant says what disagrees, and who can mend it.

use std::fmt::{self, Display};

use rustix::io::Errno;

/// Why an operation on shared memory failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The caller closed it before.
    Closed,
    /// The caller mapped it read-only and asks to change it.
    ReadOnly,
    /// The caller reaches outside.
    OutOfRange {
        /// First byte asked for.
        offset: usize,
        /// Bytes asked for.
        length: usize,
        /// Bytes there are.
        size: usize,
    },
    /// The caller gave an offset that no atomic word may have.
    Misaligned {
        /// The offset.
        offset: usize,
        /// What it must be a multiple of.
        alignment: usize,
    },
    /// The caller asks for something that makes no sense.
    Invalid(String),
    /// Somebody else shortened the file under the mapping.
    Truncated {
        /// The length that this process knew.
        known: usize,
        /// The length now.
        actual: usize,
    },
    /// Somebody else shortened the file of a segment.
    Cut {
        /// The bytes that it had.
        known: usize,
        /// The length now.
        actual: usize,
    },
    /// The file is not what the caller takes it for, or a version of samemap made it that this one does not understand.
    Mismatch(Box<Mismatch>),
    /// The caller holds views of memory that would have to move or go.
    Viewed {
        /// How many.
        views: usize,
        /// The size asked for.
        wanted: usize,
        /// The size now.
        size: usize,
        /// How far it may grow with views alive.
        max_size: usize,
    },
    /// The kernel refused; the text says what was tried, and the cure.
    Os {
        /// The error number.
        errno: i32,
        /// What was tried, with which values, and what helps.
        doing: String,
    },
    /// The file is empty: it may be about to get its size.
    Empty,
}

/// What disagrees. In a box of its own, because results that may be an error are handed on at every message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The field of the header that disagrees.
    pub field: &'static str,
    /// What it holds.
    pub found: String,
    /// What it should.
    pub expected: String,
    /// What helps.
    pub cure: String,
}

impl Error {
    /// That `field` holds something else than it should.
    pub fn mismatch(
        field: &'static str,
        found: impl Display,
        expected: impl Display,
        cure: impl Into<String>,
    ) -> Self {
        let (found, expected, cure) = (found.to_string(), expected.to_string(), cure.into());
        Self::Mismatch(Box::new(Mismatch { field, found, expected, cure }))
    }

    /// That `field` holds what nobody writes there.
    #[cold]
    pub fn damaged(field: &'static str, found: impl Display, expected: impl Display) -> Self {
        Self::mismatch(field, found, expected, "it is damaged: remove it (samemap rm) and make it anew")
    }

    pub(crate) fn os(errno: Errno, doing: impl Into<String>) -> Self {
        Self::Os { errno: errno.raw_os_error(), doing: doing.into() }
    }
}

impl Error {
    /// The error number, for those that are the system's to tell.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Os { errno, .. } => Some(*errno),
            // What system calls say of such an address.
            Self::Truncated { .. } | Self::Cut { .. } => Some(Errno::FAULT.raw_os_error()),
            Self::Empty => Some(Errno::NODATA.raw_os_error()),
            _ => None,
        }
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("it is closed"),
            Self::ReadOnly => f.write_str("it is mapped read-only; open it with mode=\"rw\" to change it"),
            Self::OutOfRange { offset, length: 1, size } => {
                write!(f, "byte {offset} is outside the region of {size} bytes")
            }
            Self::OutOfRange { offset, length, size } => {
                write!(f, "{length} bytes at offset {offset} reach outside the region of {size} bytes")
            }
            Self::Misaligned { offset, alignment } => {
                write!(f, "offset {offset} is not a multiple of {alignment}, as an atomic word needs")
            }
            Self::Invalid(what) => f.write_str(what),
            Self::Truncated { known, actual } if actual >= known => write!(
                f,
                "pages of the file could not be had when this process touched them, and it has {actual} bytes again: \
                 somebody truncated it meanwhile, or there was no space, or the storage failed; what was read there \
                 were zeros, and what was written there is lost"
            ),
            Self::Truncated { known, actual } => write!(
                f,
                "somebody truncated the file under this mapping: it had {known} bytes and has {actual} now; \
                 resize({known}) gives the length back (the bytes are gone), or open it again"
            ),
            Self::Cut { known, actual } => write!(
                f,
                "somebody truncated it: it had {known} bytes and has {actual} now; what it held is lost: remove it \
                 (samemap rm) and make it anew"
            ),
            Self::Mismatch(mismatch) => {
                let Mismatch { field, found, expected, cure } = &**mismatch;
                write!(f, "its {field} is {found}, and {expected} was expected: {cure}")
            }
            Self::Viewed { views, wanted, size, max_size } if wanted < size => write!(
                f,
                "cannot shrink from {size} to {wanted} bytes while {views} view(s) of the region live \
                 (max_size={max_size}): delete or release them first"
            ),
            Self::Viewed { views, wanted, size, max_size } => {
                // Others may have grown the file already: then this process only wants to see all of it.
                let what = if wanted == size { "see all of".to_owned() } else { format!("grow from {size} to") };
                write!(
                    f,
                    "cannot {what} {wanted} bytes, beyond max_size={max_size}, while {views} view(s) of the region live, \
                     because it would move: delete or release them, or reserve more with max_size="
                )
            }
            Self::Os { doing, .. } => f.write_str(doing),
            Self::Empty => f.write_str(
                "the file is empty: nobody has given it a size yet; wait=SECONDS waits until somebody does, size= does it",
            ),
        }
    }
}

impl std::error::Error for Error {}
