//! The end of a queue: no more jobs are taken in, and all come to know when none will be given out.

use super::{Shut, Store};
use crate::atomic::{Ordering, fence, fence_behind_exchange};
use crate::job::{Job, Phase};
use crate::tag::Tag;

impl Store<'_> {
    /// Whether it still takes jobs in, and gives them out.
    #[inline(always)]
    pub fn shut(&self) -> Shut {
        // Acquire [queue.shut]: sees the jobs that were put before.
        match self.queue.shut.load(Ordering::Acquire) {
            0 => Shut::Open,
            1 => Shut::In,
            _ => Shut::Out,
        }
    }

    /// Takes no more jobs in; and with `at_once`, gives none out.
    pub fn shut_down(&self, at_once: bool) {
        // Release [queue.shut]
        self.queue.shut.fetch_or(if at_once { 3 } else { 1 }, Ordering::SeqCst);
        for lane in 0..self.lanes.len() {
            self.wake_all(lane);
        }
        self.queue.room.ring();
        self.queue.finished.ring();
    }

    /// Whether no job will be given out any more.
    pub fn is_over(&self) -> bool {
        match self.shut() {
            Shut::Open => false,
            Shut::Out => true,
            Shut::In => {
                // SeqCst: who began to fill a place before it was shut is seen, and who begins from here on sees that it is.
                fence(Ordering::SeqCst);
                let is_coming = |job: &Job| job.state().phase() == Phase::Filling && job.read().lane == 0;
                !self.jobs.iter().any(is_coming) && !self.is_news(0)
            }
        }
    }

    /// When none is given out any more: throws away what waits. Who has had a job count does so after that: it may have looked
    /// whether it is shut before it was, and whoever shut it may have thrown away all that waited before the job counted.
    #[inline(always)]
    pub(super) fn drop_what_came_too_late(&self, me: Tag) {
        fence_behind_exchange();
        if self.queue.shut.load(Ordering::SeqCst) > 1 {
            self.throw_away(me);
        }
    }

    /// When it is shut: tells all who wait for a job that one less is being put, which may have been the last that they waited
    /// for.
    #[inline(always)]
    pub(super) fn tell_of_end(&self) {
        // Those who wait have seen that it is shut, and then looked for places that are being filled.
        fence_behind_exchange();
        if self.queue.shut.load(Ordering::SeqCst) != 0 {
            self.lanes[0].news().ring();
        }
    }
}
