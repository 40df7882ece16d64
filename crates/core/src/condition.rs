//! Floor 3: waiting for news, with a lock: `threading.Condition` between processes.
//!
//! The caller holds a lock (see [`lock`](crate::lock), [`rlock`](crate::rlock)) that guards what the news is about. To
//! wait, it [begins](Condition::begin_wait), gives the lock back, [attempts](Condition::attempt_wait) until that is done
//! or it has waited long enough, takes the lock again, and [ends](Condition::end_wait) the wait. From the beginning
//! on it is in the queue, so that news between giving the lock back and falling asleep reaches it. It sleeps on its own
//! entry of the table, so a notification wakes exactly those whom it is for.
//!
//! # Whoever dies, and when
//!
//! - A waiter, before it is notified: its entry is skipped and freed by the notifier that would have chosen it (it asks
//!   the kernel about those it chooses, and about nobody else), or taken by a newcomer when no entry is free.
//! - A waiter, after it was notified: its entry says so as long as the wait has not ended, and that is only when it
//!   has the lock again. Any other waiter that slept for a slice looks for such entries and inherits one: with one
//!   compare-and-swap the entry, notification included, is its own, and then it frees the entry it had. Dead in
//!   between, it leaves a notified entry of a dead one, to be inherited again. Dead after the end, it leaves a
//!   lock that its holder died with, of which the next holder is told. So no notification dies silently.
//! - A notifier: each waiter that it has marked is notified, and finds out when its slice of sleep ends, at the latest;
//!   the others are not.
//! - One who passes a notification on that it cannot use: it marks the next waiter before it gives up its own, so
//!   killed in between it leaves one notification too many, never one too few. A waiter must look again at what it
//!   waits for anyway: another could have been there first.
//! - A newcomer: see [`waiters`](crate::waiters). The number of entries in use is raised before the entry is shown, and
//!   never falls; too high, it costs a look at a few free entries.
//!
//! Nothing here relies on the lock but the order of the queue, so one who calls without it does no damage.

use crate::atomic::{Ordering, Word32, Word64, wake};
use crate::bell::{Attempt, Sleep};
use crate::layout::shared;
use crate::tag::{Caller, Tag};
use crate::waiters::{self, Phase, Waiter, is_dead};

shared! {
/// What comes before the table of those who wait for news, as it lies in shared memory.
pub struct Condition(64) {
    /// How many have begun to wait: the place in the queue of the next.
    arrivals: Word64,
    /// How many entries of the table were ever in use: nobody looks at those beyond.
    used: Word32,
}
}

/// A wait that has begun, and has not ended.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "it has a place in the queue until it is ended"]
pub struct Waiting {
    entry: usize,
}

impl Condition {
    /// A condition that nobody waits for.
    #[expect(clippy::new_without_default, reason = "shared memory is made in place, never by default")]
    pub fn new() -> Self {
        Self { arrivals: Word64::new(0), used: Word32::new(0) }
    }

    /// Joins the queue; the caller holds the lock, and gives it back afterwards.
    ///
    /// `None`: as many as there are entries wait already, all of them alive.
    pub fn begin_wait(&self, waiters: &[Waiter], caller: Caller<'_>) -> Option<Waiting> {
        let entry = waiters::claim(waiters, caller.tag).or_else(|| self.claim_from_the_dead(waiters, caller))?;
        let mut used = self.used.load(Ordering::Relaxed);
        while (used as usize) <= entry {
            match self.used.compare_exchange(used, entry as u32 + 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => used = now,
            }
        }
        waiters[entry].wait(caller.tag, self.arrivals.fetch_add(1, Ordering::Relaxed));
        Some(Waiting { entry })
    }

    #[cold]
    fn claim_from_the_dead(&self, waiters: &[Waiter], caller: Caller<'_>) -> Option<usize> {
        let dead = |waiter: &Waiter| waiter.look().filter(|seen| is_dead(*seen, caller.tag, caller.living));
        waiters.iter().position(|waiter| match dead(waiter) {
            None => false,
            // Its notification is not for a newcomer. Until it is passed on, it is in the entry, whoever dies.
            Some(seen) if seen.phase == Phase::Notified => {
                if !waiter.change(seen, caller.tag, Phase::Notified) {
                    return false;
                }
                self.notify(waiters, 1, caller);
                waiter
                    .look()
                    .is_some_and(|own| own.owner == caller.tag && waiter.change(own, caller.tag, Phase::Claimed))
            }
            Some(seen) => waiter.change(seen, caller.tag, Phase::Claimed),
        })
    }

    /// Is done if it was notified, or tells what to sleep on.
    ///
    /// With `ask`, it also looks for one that was notified and died, and inherits that.
    pub fn attempt_wait<'a>(
        &self,
        waiters: &'a [Waiter],
        waiting: &mut Waiting,
        caller: Caller<'_>,
        ask: bool,
    ) -> Attempt<'a, ()> {
        let waits = |seen: &waiters::Seen| seen.owner == caller.tag && seen.phase == Phase::Waiting;
        // An entry that is not its own any more was overwritten by who may not: that ends the wait, like any news.
        let Some(own) = waiters.get(waiting.entry).filter(|own| own.look().as_ref().is_some_and(waits)) else {
            return Attempt::Done(());
        };
        if ask && self.inherit(waiters, waiting, caller) {
            return Attempt::Done(());
        }
        let (word, expected) = own.futex(caller.tag);
        Attempt::Wait(Sleep { word, expected })
    }

    /// Takes the notification of a dead one over; says whether there was one.
    #[cold]
    fn inherit(&self, waiters: &[Waiter], waiting: &mut Waiting, caller: Caller<'_>) -> bool {
        for (index, heirloom) in self.in_use(waiters).iter().enumerate() {
            let Some(seen) = heirloom.look().filter(|seen| seen.phase == Phase::Notified) else { continue };
            if !is_dead(seen, caller.tag, caller.living) || !heirloom.change(seen, caller.tag, Phase::Notified) {
                continue;
            }
            let former = std::mem::replace(&mut waiting.entry, index);
            // It may have been notified itself meanwhile: then one of the two is for somebody else.
            Self::leave(waiters, former, caller.tag, || {
                self.notify(waiters, 1, caller);
            });
            return true;
        }
        false
    }

    /// Ends the wait, done or not; says whether it was notified, be it at the last moment.
    ///
    /// The caller has the lock again. If it does not, and dies before it does, its notification dies with it. One who was
    /// notified and will not act on it, because of an exception say, [notifies](Self::notify) one other.
    pub fn end_wait(&self, waiters: &[Waiter], waiting: Waiting, me: Tag) -> bool {
        Self::leave(waiters, waiting.entry, me, || {})
    }

    /// Frees an entry of the caller's own; says whether it was notified, in which case it does something before.
    fn leave(waiters: &[Waiter], entry: usize, me: Tag, notified: impl FnOnce()) -> bool {
        let own = || waiters.get(entry)?.look().filter(|seen| seen.owner == me).zip(waiters.get(entry));
        if let Some((seen, waiter)) = own().filter(|(seen, _)| seen.phase == Phase::Waiting)
            && waiter.free(seen)
        {
            return false;
        }
        notified();
        if let Some((seen, waiter)) = own() {
            waiter.free(seen);
        }
        true
    }

    /// Notifies the first `most` in the queue, or as many as there are; says how many. The caller holds the lock.
    pub fn notify(&self, waiters: &[Waiter], most: u32, caller: Caller<'_>) -> u32 {
        let mut queue: Vec<_> = (self.in_use(waiters).iter())
            .filter_map(|waiter| {
                let seen = waiter.look().filter(|seen| seen.phase == Phase::Waiting)?;
                Some((waiter.ticket(), seen, waiter))
            })
            .collect();
        queue.sort_unstable_by_key(|(ticket, ..)| *ticket);
        let mut notified = 0;
        for (_, seen, waiter) in queue {
            if notified == most {
                break;
            }
            if is_dead(seen, caller.tag, caller.living) {
                waiter.free(seen);
            } else if waiter.change(seen, seen.owner, Phase::Notified) {
                notified += 1;
                wake(waiter.futex(seen.owner).0, 1);
            }
        }
        notified
    }

    /// Who waits, in no order; one that waits with several threads, several times.
    pub fn waiting(&self, waiters: &[Waiter]) -> Vec<Tag> {
        let seen = self.in_use(waiters).iter().filter_map(Waiter::look);
        seen.filter(|seen| seen.phase == Phase::Waiting).map(|seen| seen.owner).collect()
    }

    fn in_use<'a>(&self, waiters: &'a [Waiter]) -> &'a [Waiter] {
        &waiters[..waiters.len().min(self.used.load(Ordering::Relaxed) as usize)]
    }
}
