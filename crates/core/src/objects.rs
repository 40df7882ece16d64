//! Floor 7: each kind of object in a segment: of which parts it is made, how long it is, and how it begins.

use crate::arrangement::Arrangement;
use crate::atomic::{Ordering, Word64};
use crate::barrier::Barrier;
use crate::bell::Attempt;
use crate::condition::Condition;
use crate::counter::Counter;
use crate::directory::{self, Directory, Found, Refusal, Table};
use crate::error::Error;
use crate::event::Event;
use crate::holdings::Holding;
use crate::layout::Kind;
use crate::lock::Lock;
use crate::queue::Queue;
use crate::rlock::RLock;
use crate::rwlock::ReadWriteLock;
use crate::segment::Segment;
use crate::semaphore::{Semaphore, UNBOUNDED};
use crate::storage::Storage;
use crate::tag::Caller;
use crate::topic::Topic;
use crate::waiters::Waiter;

/// What a new object is made with; what each number means is for its kind to say.
///
/// A semaphore: permits, the most there may be (-1: any number), 1 if what the dead have taken stays taken.
/// A barrier: parties. A counter: its value. A namespace: bytes. A topic, and a newest value: slots, bytes of each, places
/// for subscriptions. A queue, and a service: jobs that may wait, bytes of longer messages, deliveries of each job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters(pub [i64; 3]);

/// Waits for a condition that may go on at once, for each entry of the roster.
const WAITS_EACH: usize = 2;

/// The most parties of a barrier: more than a machine runs threads.
const MOST_PARTIES: u32 = 1 << 20;

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

/// The barrier at `offset` of the body, and a place for each party.
///
/// # Errors
///
/// [`Error::OutOfRange`]: there is none.
pub fn barrier(segment: &Segment, offset: usize) -> Result<(&Barrier, &[Word64]), Error> {
    let barrier: &Barrier = segment.at(offset)?;
    let places = segment.slice(offset.saturating_add(size_of::<Barrier>()), barrier.parties() as usize)?;
    Ok((barrier, places))
}

/// The directory of a namespace.
///
/// # Errors
///
/// [`Error::Invalid`]: the segment holds something else.
pub fn directory(segment: &Segment) -> Result<Table<'_>, Error> {
    if segment.kind() != Kind::Namespace {
        return Err(Error::Invalid(format!("a {} has no directory: only a Namespace has", segment.kind().name())));
    }
    let entries = segment.slice(size_of::<Directory>(), directory::ENTRIES)?;
    Ok(Table::new(segment.at(0)?, entries, segment.body_size()))
}

/// The object of that name in a namespace, which is made if there is none; or what to sleep on.
///
/// # Errors
///
/// [`Error::Invalid`] names and parameters, and a namespace that is full; [`Error::Mismatch`] for an object of another kind.
pub fn find_or_add<'s>(
    segment: &'s Segment,
    caller: Caller<'_>,
    ask: bool,
    name: &str,
    kind: Kind,
    parameters: Parameters,
) -> Result<Attempt<'s, Found>, Error> {
    if matches!(kind, Kind::Namespace | Kind::Topic | Kind::Latest | Kind::Queue | Kind::Service) {
        return Err(Error::Invalid(format!("a {} has a file of its own, and is in no namespace", kind.name())));
    }
    if name.is_empty() || name.len() > directory::LONGEST_NAME || name.contains('\0') {
        let most = directory::LONGEST_NAME;
        return Err(Error::Invalid(format!("{name:?} is no name: it takes 1 to {most} bytes, and no NUL")));
    }
    let length = size(kind, segment.capacity(), parameters)?.next_multiple_of(64);
    let table = directory(segment)?;
    let made = table.find_or_add(caller, ask, name.as_bytes(), (kind as u32, length), |offset| {
        initialise(segment, offset, kind, parameters)
    });
    let found = match made {
        Attempt::Wait(sleep) => return Ok(Attempt::Wait(sleep)),
        Attempt::Done(found) => found?,
    };
    let found = found.map_err(|refusal| refused(refusal, name, length))?;
    match Kind::from_number(found.kind) {
        Some(found_kind) if found_kind == kind => Ok(Attempt::Done(found)),
        other => Err(Error::mismatch(
            "kind",
            other.map_or_else(|| found.kind.to_string(), |kind| kind.name().to_owned()),
            kind.name(),
            format!("{name:?} is the name of something else in this namespace: choose another"),
        )),
    }
}

/// The objects of a namespace: name, kind and offset.
///
/// # Errors
///
/// [`Error::Mismatch`] for what is damaged.
pub fn list(segment: &Segment) -> Result<Vec<(String, Kind, usize)>, Error> {
    let found = directory(segment)?.list().map_err(|refusal| refused(refusal, "", 0))?;
    let named = found.into_iter().enumerate().map(|(index, found)| {
        let kind = Kind::from_number(found.kind).ok_or_else(|| refused(Refusal::Damaged(index), "", 0))?;
        Ok((String::from_utf8_lossy(&found.name).into_owned(), kind, found.offset))
    });
    named.collect()
}

#[cold]
fn refused(refusal: Refusal, name: &str, length: usize) -> Error {
    match refusal {
        Refusal::Damaged(index) => {
            let found = format_args!("entry {index} outside of the body, or of no known kind");
            Error::damaged("directory", found, "entries inside")
        }
        Refusal::NoEntry => {
            let most = directory::ENTRIES;
            Error::Invalid(format!("there is no place for {name:?}: a namespace holds up to {most} objects; make another one"))
        }
        Refusal::NoRoom(left) => Error::Invalid(format!(
            "there is no room for {name:?}: it takes {length} bytes, and {left} are left; make the namespace with a larger size="
        )),
    }
}

/// Bytes that an object takes, in a segment whose roster has `participants` entries.
///
/// # Errors
///
/// [`Error::Invalid`] parameters.
pub fn size(kind: Kind, participants: usize, parameters: Parameters) -> Result<usize, Error> {
    let Parameters([first, second, third]) = parameters;
    Ok(match kind {
        Kind::Topic | Kind::Latest => Arrangement::new(first, second, third, participants)?.size(),
        Kind::Queue | Kind::Service => Storage::new(kind, first, second, third, participants)?.size(),
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
        Kind::Namespace => {
            let least = size_of::<Directory>() + directory::ENTRIES * size_of::<directory::Entry>();
            let wanted = usize::try_from(first).unwrap_or(0);
            if !(least..=u32::MAX as usize).contains(&wanted) {
                let most = u32::MAX;
                return Err(Error::Invalid(format!("a namespace takes {least} to {most} bytes, not {first}")));
            }
            wanted.next_multiple_of(64)
        }
        Kind::Barrier => match u32::try_from(first) {
            Ok(parties) if (1..=MOST_PARTIES).contains(&parties) => Barrier::size(parties as usize),
            _ => return Err(Error::Invalid(format!("a barrier has 1 to {MOST_PARTIES} parties, not {first}"))),
        },
    })
}

/// Makes a new object at `offset` of the body, whatever is there.
///
/// # Errors
///
/// [`Error::OutOfRange`]; [`Error::Invalid`] parameters.
pub fn initialise(segment: &Segment, offset: usize, kind: Kind, parameters: Parameters) -> Result<(), Error> {
    let size = size(kind, segment.capacity(), parameters)?;
    // A namespace's objects are cleared when they are made. A topic has a new file for itself, and many bytes.
    let is_clear = matches!(kind, Kind::Namespace | Kind::Topic | Kind::Latest | Kind::Queue | Kind::Service);
    let cleared = if is_clear { 0 } else { size / size_of::<Word64>() };
    for word in segment.slice::<Word64>(offset, cleared)? {
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
        Kind::Topic | Kind::Latest => {
            let arrangement = Arrangement::new(first, second, third, segment.capacity())?;
            segment.at::<Topic>(offset)?.set_up(arrangement.shape());
        }
        Kind::Queue | Kind::Service => {
            let storage = Storage::new(kind, first, second, third, segment.capacity())?;
            segment.at::<Queue>(offset)?.set_up(*storage.shape());
            for lane in storage.store(segment)?.lanes() {
                lane.set_up();
            }
        }
        Kind::Barrier => segment.at::<Barrier>(offset)?.set_up(u32::try_from(first).unwrap_or(0)),
        Kind::Counter => {
            segment.at::<Counter>(offset)?.set(first);
        }
        _ => {}
    }
    Ok(())
}
