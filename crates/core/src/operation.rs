//! Floor 8: what somebody waits for, as one thing that can be tried, slept for and given up, whoever drives it.

use crate::arrangement::Arrangement;
use crate::barrier::{Arrival, Passage};
use crate::bell::Attempt;
use crate::condition;
use crate::counter::Counter;
use crate::error::Error;
use crate::event::Event;
use crate::layout::Kind;
use crate::lock::{Dead, Lock, Taken, Turn};
use crate::objects::{self, Parameters};
use crate::queue::{Answer, Store};
use crate::rlock::RLock;
use crate::rwlock;
use crate::segment::Segment;
use crate::storage::Storage;
use crate::tag::{Caller, Tag};

/// What an attempt is to go by.
#[derive(Debug, Clone, Copy)]
pub struct Asking {
    /// Whether to ask the kernel about the dead.
    pub ask: bool,
    /// How long the caller has waited already.
    pub turn: Turn,
}

impl Asking {
    /// As one who asks before it says no.
    pub const THOROUGHLY: Self = Self { ask: true, turn: Turn::Again };

    fn about(self, dead: Dead) -> Dead {
        if self.ask { dead } else { Dead::DontAsk }
    }
}

/// What a counter is waited for to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// At least the value.
    AtLeast,
    /// At most the value.
    AtMost,
    /// The value.
    Equal,
    /// Another value.
    NotEqual,
}

impl Comparison {
    /// Whether `value` is so, compared `with` another.
    #[must_use]
    pub fn holds(self, value: i64, with: i64) -> bool {
        match self {
            Self::AtLeast => value >= with,
            Self::AtMost => value <= with,
            Self::Equal => value == with,
            Self::NotEqual => value != with,
        }
    }
}

/// What somebody waits for.
#[derive(Debug)]
pub enum Wanted {
    /// A lock; what to do about a dead holder.
    Lock(Dead),
    /// A lock for this thread.
    RLock(u64, Dead),
    /// To know that a lock could be taken.
    FreeLock,
    /// To know that a lock of threads could be taken by this one.
    FreeRLock(u64),
    /// A permit.
    Permit,
    /// To know that a permit could be had.
    FreePermit,
    /// To give so many permits back.
    Release(u32),
    /// News, for which the wait has begun; nothing once it has ended.
    News(Option<condition::Waiting>),
    /// To read; what to do about a dead writer.
    Read(Dead),
    /// To write, and how far that has come; what to do about a dead writer.
    Write(rwlock::Writing, Dead),
    /// To know that one could write.
    FreeToWrite,
    /// All parties of a barrier.
    Parties(Arrival),
    /// To let the parties of a barrier go, as the last to arrive.
    Trip,
    /// To make a barrier whole and empty.
    Reset,
    /// An object of a namespace, which is made if there is none.
    Object(String, Kind, Parameters),
    /// An event, since it was in this generation.
    Event(u32),
    /// A counter that is this.
    Counter(Comparison, i64),
    /// To know that there is a message of a topic from this number on.
    Message(u64),
    /// To know that a slot of a topic could be had.
    Room,
    /// So many subscriptions of a topic.
    Audience(usize),
    /// To know that there is a job in a lane of a queue, or will be none.
    Job(usize),
    /// To know that there is room in a lane of a queue, for the call of that number, and for a job of so many blocks.
    Space(usize, u32, usize),
    /// To know that a call could be made, with a request of so many blocks, or that none can any more.
    CallSpace(usize),
    /// All jobs of a queue to be done.
    Finished,
    /// To know that there is a reply in a lane, or will be none to the request in that place and generation, and who had it.
    Reply(usize, (usize, u32), Option<Tag>),
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A lock, or none because of a death.
    Taken(Taken),
    /// It is so.
    Done,
    /// It is so, with this value.
    Value(i64),
    /// How an arrival at a barrier ended.
    Passage(Passage),
    /// It is at this offset of the body.
    At(usize),
    /// No reply will come: who had the request has died.
    Died(Option<Tag>),
    /// More permits were given back than this bound allows; nothing has changed.
    TooMany(u32),
}

/// What somebody waits for, at an offset of a segment's body.
#[derive(Debug)]
pub struct Operation {
    /// Where.
    pub offset: usize,
    /// What.
    pub wanted: Wanted,
}

impl Operation {
    /// Tries.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`]: there is no such object.
    pub fn attempt<'s>(
        &mut self,
        segment: &'s Segment,
        caller: Caller<'_>,
        asking: Asking,
    ) -> Result<Attempt<'s, Outcome>, Error> {
        let attempt = self.attempt_once(segment, caller, asking)?;
        let only_looks = matches!(
            self.wanted,
            Wanted::FreeLock | Wanted::FreeRLock(_) | Wanted::FreePermit | Wanted::FreeToWrite
        );
        if only_looks && matches!(attempt, Attempt::Done(_)) {
            // It may have been woken, and takes nothing: the wake-up is for somebody else.
            self.give_up(segment, caller)?;
        }
        Ok(attempt)
    }

    fn attempt_once<'s>(
        &mut self,
        segment: &'s Segment,
        caller: Caller<'_>,
        asking: Asking,
    ) -> Result<Attempt<'s, Outcome>, Error> {
        let at = self.offset;
        Ok(match &mut self.wanted {
            Wanted::Lock(dead) => {
                let lock: &Lock = segment.at(at)?;
                map(lock.attempt_in_turn(caller, asking.about(*dead), asking.turn), Outcome::Taken)
            }
            Wanted::RLock(thread, dead) => {
                let lock: &RLock = segment.at(at)?;
                // Only once more: the first time, one that has slept must leave the mark of the others who sleep, and only
                // the attempt does.
                if lock.is_held_by(caller.tag, *thread) && lock.try_acquire(caller.tag, *thread) == Ok(true) {
                    return Ok(Attempt::Done(Outcome::Taken(Taken::Free)));
                }
                map(lock.attempt_in_turn(caller, *thread, asking.about(*dead), asking.turn), Outcome::Taken)
            }
            Wanted::FreeLock => map(segment.at::<Lock>(at)?.look(caller, asking.ask), |()| Outcome::Done),
            Wanted::FreeRLock(thread) => {
                let lock: &RLock = segment.at(at)?;
                if lock.is_held_by(caller.tag, *thread) {
                    return Ok(Attempt::Done(Outcome::Done));
                }
                map(lock.lock().look(caller, asking.ask), |()| Outcome::Done)
            }
            Wanted::Permit => {
                let (semaphore, held) = objects::semaphore(segment, at)?;
                map(semaphore.attempt_acquire(held, caller, asking.ask), |()| Outcome::Done)
            }
            Wanted::FreePermit => {
                let (semaphore, held) = objects::semaphore(segment, at)?;
                map(semaphore.look(held, caller, asking.ask), |()| Outcome::Done)
            }
            Wanted::Release(count) => {
                let (semaphore, held) = objects::semaphore(segment, at)?;
                map(semaphore.attempt_release(held, caller, asking.ask, *count), |released| match released {
                    Ok(()) => Outcome::Done,
                    Err(too_many) => Outcome::TooMany(too_many.bound),
                })
            }
            Wanted::News(waiting) => {
                let (_, condition, waiters) = objects::condition(segment, at)?;
                let Some(waiting) = waiting else { return Ok(Attempt::Done(Outcome::Done)) };
                map(condition.attempt_wait(waiters, waiting, caller, asking.ask), |()| Outcome::Done)
            }
            Wanted::Read(dead) => {
                let (lock, held) = objects::read_write_lock(segment, at)?;
                let attempted = lock.attempt_read(held, caller, asking.about(*dead));
                map(attempted, |taken| match (taken, *dead) {
                    (Taken::Recovered(writer), Dead::Report) => Outcome::Taken(lock.decline_read(held, caller.tag, writer)),
                    _ => Outcome::Taken(taken),
                })
            }
            Wanted::Write(progress, dead) => {
                let (lock, held) = objects::read_write_lock(segment, at)?;
                let attempted = lock.attempt_write(held, caller, progress, asking.about(*dead));
                map(attempted, |taken| match (taken, *dead) {
                    (Taken::Recovered(writer), Dead::Report) => Outcome::Taken(lock.decline_write(caller.tag, writer)),
                    _ => Outcome::Taken(taken),
                })
            }
            Wanted::FreeToWrite => {
                let (lock, held) = objects::read_write_lock(segment, at)?;
                map(lock.look_to_write(held, caller, asking.ask), |()| Outcome::Done)
            }
            Wanted::Parties(arrival) => {
                let (barrier, places) = objects::barrier(segment, at)?;
                map(barrier.attempt(places, caller, arrival, asking.ask), Outcome::Passage)
            }
            Wanted::Trip => {
                let (barrier, places) = objects::barrier(segment, at)?;
                Attempt::Done(Outcome::Passage(barrier.trip(places, caller.tag)))
            }
            Wanted::Reset => {
                let (barrier, places) = objects::barrier(segment, at)?;
                barrier.reset(places);
                Attempt::Done(Outcome::Done)
            }
            Wanted::Object(name, kind, parameters) => {
                let found = objects::find_or_add(segment, caller, asking.ask, name, *kind, *parameters)?;
                map(found, |found| Outcome::At(found.offset))
            }
            Wanted::Event(begun) => map(segment.at::<Event>(at)?.attempt(*begun), |()| Outcome::Done),
            Wanted::Message(cursor) => {
                let channel = Arrangement::of(segment)?.channel(segment)?;
                map(channel.attempt_news(*cursor), |()| Outcome::Done)
            }
            Wanted::Room => {
                let channel = Arrangement::of(segment)?.channel(segment)?;
                map(channel.attempt_room(caller, asking.ask), |()| Outcome::Done)
            }
            Wanted::Audience(count) => {
                let channel = Arrangement::of(segment)?.channel(segment)?;
                map(channel.attempt_audience(caller, *count), |()| Outcome::Done)
            }
            Wanted::Job(lane) => {
                let store = queue(segment, *lane, 0)?;
                map(store.attempt_news(*lane, caller, asking.ask), |()| Outcome::Done)
            }
            Wanted::Space(lane, number, blocks) => {
                let store = queue(segment, *lane, 0)?;
                map(store.attempt_room(*lane, *number, *blocks, caller, asking.ask), |()| Outcome::Done)
            }
            Wanted::CallSpace(blocks) => {
                let store = Storage::of(segment)?.store(segment)?;
                map(store.attempt_call(*blocks, caller, asking.ask), |()| Outcome::Done)
            }
            Wanted::Finished => {
                let store = queue(segment, 0, 0)?;
                map(store.attempt_finished(caller, asking.ask), |()| Outcome::Done)
            }
            Wanted::Reply(lane, request, had) => {
                let store = queue(segment, *lane, request.0)?;
                map(store.attempt_reply(*lane, *request, had, caller, asking.ask), |answer| match answer {
                    Answer::There => Outcome::Done,
                    Answer::Died(who) => Outcome::Died(who),
                })
            }
            Wanted::Counter(comparison, with) => {
                let counter: &Counter = segment.at(at)?;
                map(counter.attempt(|value| comparison.holds(value, *with)), Outcome::Value)
            }
        })
    }

    /// Gives up before it is done.
    ///
    /// # Errors
    ///
    /// As [`Operation::attempt`].
    pub fn give_up(&mut self, segment: &Segment, caller: Caller<'_>) -> Result<(), Error> {
        match &mut self.wanted {
            Wanted::Lock(_) | Wanted::FreeLock => segment.at::<Lock>(self.offset)?.pass_on(),
            Wanted::RLock(..) | Wanted::FreeRLock(_) => segment.at::<RLock>(self.offset)?.lock().pass_on(),
            Wanted::Permit | Wanted::FreePermit => {
                let (semaphore, held) = objects::semaphore(segment, self.offset)?;
                semaphore.pass_on(held, caller.living);
            }
            Wanted::Write(progress, _) => {
                let (lock, _) = objects::read_write_lock(segment, self.offset)?;
                lock.abandon_write(progress, caller.tag);
                lock.lock().pass_on();
            }
            Wanted::FreeToWrite => objects::read_write_lock(segment, self.offset)?.0.pass_on(),
            Wanted::Parties(arrival) => {
                let _ = objects::barrier(segment, self.offset)?.0.abandon(arrival);
            }
            Wanted::Trip => objects::barrier(segment, self.offset)?.0.abort(),
            Wanted::Release(_) => objects::semaphore(segment, self.offset)?.0.guard().pass_on(),
            Wanted::Object(..) => objects::directory(segment)?.pass_on(),
            // The wait ends when the caller has the lock again.
            Wanted::Read(_) | Wanted::News(_) | Wanted::Reset | Wanted::Event(_) | Wanted::Counter(..) => {}
            Wanted::Job(lane) => queue(segment, *lane, 0)?.pass_on(*lane),
            // Only one waits for them.
            Wanted::Reply(..) => {}
            // Their bells wake all.
            Wanted::Space(..) | Wanted::CallSpace(_) | Wanted::Finished => {}
            Wanted::Message(_) | Wanted::Room | Wanted::Audience(_) => {}
        }
        Ok(())
    }

    /// Gives back what it has got, because nobody wants it any more.
    ///
    /// # Errors
    ///
    /// As [`Operation::attempt`].
    pub fn undo(&mut self, segment: &Segment, caller: Caller<'_>) -> Result<(), Error> {
        match &self.wanted {
            Wanted::FreeLock | Wanted::FreeRLock(_) | Wanted::FreePermit | Wanted::FreeToWrite => {
                self.give_up(segment, caller)?;
            }
            // What is not held any more needs not be given back.
            Wanted::Lock(_) => drop(segment.at::<Lock>(self.offset)?.release(caller.tag)),
            Wanted::RLock(thread, _) => drop(segment.at::<RLock>(self.offset)?.release(caller.tag, *thread)),
            Wanted::Read(_) => {
                let (lock, held) = objects::read_write_lock(segment, self.offset)?;
                let _ = lock.release_read(held, caller.tag);
            }
            Wanted::Write(..) => {
                let (lock, _) = objects::read_write_lock(segment, self.offset)?;
                let _ = lock.release_write(caller.tag);
            }
            Wanted::Permit => {
                let (semaphore, held) = objects::semaphore(segment, self.offset)?;
                // Its own, so there is nothing to wait for.
                let _ = semaphore.attempt_release(held, caller, true, 1);
            }
            // It was the last, and goes away without letting the others go.
            Wanted::Parties(arrival) => {
                let _ = objects::barrier(segment, self.offset)?.0.abandon(arrival);
            }
            Wanted::Trip | Wanted::Reset | Wanted::News(_) | Wanted::Release(_) => {}
            Wanted::Event(_) | Wanted::Counter(..) | Wanted::Object(..) => {}
            Wanted::Message(_) | Wanted::Room | Wanted::Audience(_) => {}
            Wanted::Job(_) => self.give_up(segment, caller)?,
            Wanted::Space(..) | Wanted::CallSpace(_) | Wanted::Finished | Wanted::Reply(..) => {}
        }
        Ok(())
    }
}

/// The queue in a segment, which must have that lane and that place: it did when the caller was told of them, and may say
/// otherwise by now.
fn queue(segment: &Segment, lane: usize, at: usize) -> Result<Store<'_>, Error> {
    let store = Storage::of(segment)?.store(segment)?;
    for (asked, size) in [(lane, store.lanes().len()), (at, store.jobs().len())] {
        if asked >= size {
            return Err(Error::OutOfRange { offset: asked, length: 1, size });
        }
    }
    Ok(store)
}

fn map<'s, T, U>(attempt: Attempt<'s, T>, with: impl FnOnce(T) -> U) -> Attempt<'s, U> {
    match attempt {
        Attempt::Done(done) => Attempt::Done(with(done)),
        Attempt::Wait(sleep) => Attempt::Wait(sleep),
    }
}
