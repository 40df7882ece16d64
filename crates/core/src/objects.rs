//! Floor 6: each kind of object in a segment: of which parts it is made, how long it is, and how it begins.

use crate::atomic::{Ordering, Word64};
use crate::condition::Condition;
use crate::counter::Counter;
use crate::error::Error;
use crate::event::Event;
use crate::holdings::Holding;
use crate::layout::Kind;
use crate::lock::Lock;
use crate::rlock::RLock;
use crate::rwlock::ReadWriteLock;
use crate::segment::Segment;
use crate::semaphore::{Semaphore, UNBOUNDED};
use crate::waiters::Waiter;

/// What a new object is made with; what each number means is for its kind to say.
///
/// A semaphore: permits, the most there may be (-1: any number), 1 if what the dead have taken stays taken.
/// A barrier: parties. A counter: its value. A namespace: bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters(pub [i64; 3]);

/// Waits for a condition that may go on at once, for each entry of the roster.
const WAITS_EACH: usize = 2;

/// A condition: its own lock, for those who bring none; itself; and its table.
pub type ConditionParts<'a> = (&'a RLock, &'a Condition, &'a [Waiter]);

/// The parts of the condition at `offset` of the body.
///
/// # Errors
///
/// [`Error::OutOfRange`]: there is none.
pub fn condition(segment: &Segment, offset: usize) -> Result<ConditionParts<'_>, Error> {
    let own = segment.at(offset)?;
    let condition = segment.at(offset.saturating_add(size_of::<RLock>()))?;
    let table = offset.saturating_add(size_of::<RLock>() + size_of::<Condition>());
    Ok((own, condition, segment.slice(table, segment.capacity() * WAITS_EACH)?))
}

/// The semaphore at `offset` of the body, and the table of who holds its permits.
///
/// # Errors
///
/// [`Error::OutOfRange`]: there is none.
pub fn semaphore(segment: &Segment, offset: usize) -> Result<(&Semaphore, &[Holding]), Error> {
    let table = segment.slice(offset.saturating_add(size_of::<Semaphore>()), segment.capacity())?;
    Ok((segment.at(offset)?, table))
}

/// The read-write lock at `offset` of the body, and the table of its readers.
///
/// # Errors
///
/// [`Error::OutOfRange`]: there is none.
pub fn read_write_lock(segment: &Segment, offset: usize) -> Result<(&ReadWriteLock, &[Holding]), Error> {
    let table = segment.slice(offset.saturating_add(size_of::<ReadWriteLock>()), segment.capacity())?;
    Ok((segment.at(offset)?, table))
}

/// Bytes that an object takes, in a segment whose roster has `participants` entries.
///
/// # Errors
///
/// [`Error::Invalid`] parameters.
pub fn size(kind: Kind, participants: usize, parameters: Parameters) -> Result<usize, Error> {
    let Parameters([first, second, _]) = parameters;
    Ok(match kind {
        Kind::Lock => size_of::<Lock>(),
        Kind::RLock => size_of::<RLock>(),
        Kind::Semaphore => {
            let bound = if second == -1 { i64::from(UNBOUNDED) } else { second };
            if !(0..=bound.min(i64::from(UNBOUNDED) - 1)).contains(&first) || !(0..=i64::from(UNBOUNDED)).contains(&bound) {
                return Err(Error::Invalid(format!("a semaphore has 0 to 4294967294 permits, and not more than its bound, not {first}")));
            }
            Semaphore::size(participants)
        }
        Kind::Event => size_of::<Event>(),
        Kind::Condition => {
            size_of::<RLock>() + size_of::<Condition>() + participants * WAITS_EACH * size_of::<Waiter>()
        }
        Kind::Counter => size_of::<Counter>(),
        Kind::ReadWriteLock => ReadWriteLock::size(participants),
        _ => 0,
    })
}

/// Makes a new object at `offset` of the body, whatever is there.
///
/// # Errors
///
/// [`Error::OutOfRange`]; [`Error::Invalid`] parameters.
pub fn initialise(segment: &Segment, offset: usize, kind: Kind, parameters: Parameters) -> Result<(), Error> {
    let words = size(kind, segment.capacity(), parameters)? / size_of::<Word64>();
    for word in segment.slice::<Word64>(offset, words)? {
        // Relaxed, here and below: whoever finds the object finds it by way of a commit, of the file's name or of the
        // directory's entry. Only what is not zero already: a new file has no pages yet that need to be touched.
        if word.load(Ordering::Relaxed) != 0 {
            word.store(0, Ordering::Relaxed);
        }
    }
    let Parameters([first, second, third]) = parameters;
    match kind {
        Kind::Semaphore => {
            let bound = u32::try_from(second).unwrap_or(UNBOUNDED);
            semaphore(segment, offset)?.0.set_up(u32::try_from(first).unwrap_or(0), bound, third != 0);
        }
        Kind::Counter => {
            segment.at::<Counter>(offset)?.set(first);
        }
        _ => {}
    }
    Ok(())
}
