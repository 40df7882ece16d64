//! The bell.

use loom::sync::Arc;
use loom::thread;
use samemap_core::atomic::{Ordering, Word32};
use samemap_core::bell::{Attempt, Bell};

use crate::drive::until_done;

struct Rung {
    bell: Bell,
    news: Word32,
}

impl Rung {
    fn tell_one(&self) {
        self.news.fetch_add(1, Ordering::Relaxed);
        self.bell.ring_one();
    }

    fn wait_for(&self, news: u32) {
        until_done(|| {
            if self.news.load(Ordering::Relaxed) >= news {
                return Attempt::Done(());
            }
            let sleep = self.bell.listen();
            if self.news.load(Ordering::Relaxed) >= news { Attempt::Done(()) } else { Attempt::Wait(sleep) }
        });
    }
}

fn bounded(preemptions: usize, check: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(check);
}

fn rung() -> Arc<Rung> {
    Arc::new(Rung { bell: Bell::new(), news: Word32::new(0) })
}

/// Of one that listened and went away two ringers each find out that nobody sleeps, and one of them is slow to say so.
fn a_slow_ringer_silences_nobody(other: fn(&Bell)) {
    bounded(2, move || {
        let rung = rung();
        rung.bell.listen();
        let slow = {
            let rung = Arc::clone(&rung);
            thread::spawn(move || rung.tell_one())
        };
        let sleeper = {
            let rung = Arc::clone(&rung);
            thread::spawn(move || rung.wait_for(3))
        };
        rung.news.fetch_add(1, Ordering::Relaxed);
        other(&rung.bell);
        slow.join().unwrap();
        rung.tell_one();
        sleeper.join().unwrap();
    });
}

#[test]
fn one_who_found_nobody_asleep_silences_nobody_who_came_later() {
    a_slow_ringer_silences_nobody(Bell::ring_one);
}

#[test]
fn one_who_found_nobody_asleep_silences_nobody_who_came_after_a_ring_for_all() {
    a_slow_ringer_silences_nobody(Bell::ring);
}
