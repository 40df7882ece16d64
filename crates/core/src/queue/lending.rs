//! Places that a producer fills in place, for as long as it takes.
//!
//! | step | killed before it |
//! | --- | --- |
//! | filling → held, with its label | a place that a dead one fills, which `recovery.rs` frees with its blocks |
//! | held → filling | what a dead one held, which `recovery.rs` frees |
//! | `keeper` | a place that a dead one fills |
//! | it is committed | the same; see `queue.rs` |

use super::{Grip, Store};
use crate::job::Label;
use crate::tag::Tag;

impl Store<'_> {
    /// Has `me` hold a place that it has begun to fill: whoever waits for the last job must not wait for a message that may
    /// take for ever, and will be refused. `None`: somebody has overwritten the place.
    pub fn lend(&self, grip: Grip, label: Label, now: u64, me: Tag) -> Option<Grip> {
        self.label(grip, label, now);
        let held = self.seize(grip, me);
        self.tell_of_end();
        held
    }

    /// Goes on with a place that was lent, to commit it. `None`: somebody has overwritten it.
    pub fn resume(&self, lent: Grip, me: Tag) -> Option<Grip> {
        let filling = lent.state.filling(me);
        self.jobs[lent.at].change(lent.state, filling).then_some(Grip { at: lent.at, state: filling })
    }

    /// Notes that `me` has views of the message that it is about to commit.
    pub fn keep_views(&self, grip: Grip, me: Tag) {
        self.jobs[grip.at].keep(grip.state.generation(), me);
    }
}
