//! Floor 5: each kind of object in a segment: how long it is, and how it begins.

use crate::error::Error;
use crate::layout::Kind;
use crate::lock::Lock;
use crate::segment::Segment;

/// What a new object is made with; what each number means is for its kind to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters(pub [i64; 3]);

/// Bytes that an object takes, in a segment whose roster has `participants` entries.
///
/// # Errors
///
/// [`Error::Invalid`] parameters.
pub fn size(kind: Kind, _participants: usize, _parameters: Parameters) -> Result<usize, Error> {
    Ok(match kind {
        Kind::Lock => size_of::<Lock>(),
        Kind::RLock => size_of::<crate::rlock::RLock>(),
        Kind::Event | Kind::Counter => 64,
        _ => 0,
    })
}

/// Makes a new object at `offset` of the body, where all is zeros.
///
/// # Errors
///
/// [`Error::Invalid`] parameters; [`Error::OutOfRange`].
pub fn initialise(_segment: &Segment, _offset: usize, _kind: Kind, _parameters: Parameters) -> Result<(), Error> {
    Ok(())
}
