//! The condition.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use samemap_core::bell::Attempt;
use samemap_core::condition::{Condition, Waiting};
use samemap_core::lock::{Dead, Lock};
use samemap_core::waiters::Waiter;

use crate::drive::{Order, Roster, tag, until_done};

struct News<const ENTRIES: usize> {
    condition: Condition,
    waiters: [Waiter; ENTRIES],
    lock: Lock,
    roster: Roster,
    order: Order,
    value: UnsafeCell<u32>,
}

// SAFETY: the condition and its lock are what the tests prove to be enough; loom reports every unordered access.
unsafe impl<const ENTRIES: usize> Sync for News<ENTRIES> {}
// SAFETY: as above.
unsafe impl<const ENTRIES: usize> Send for News<ENTRIES> {}

fn news<const ENTRIES: usize>() -> Arc<News<ENTRIES>> {
    Arc::new(News {
        condition: Condition::new(),
        waiters: std::array::from_fn(|_| Waiter::new()),
        lock: Lock::new(),
        roster: Roster::new(),
        order: Order::new(),
        value: UnsafeCell::new(0),
    })
}

impl<const ENTRIES: usize> News<ENTRIES> {
    fn acquire(&self, index: usize) {
        until_done(|| self.lock.attempt(self.roster.caller(index), Dead::DontAsk));
    }

    fn release(&self, index: usize) {
        self.lock.release(tag(index)).unwrap();
    }

    fn begin(&self, index: usize) -> Waiting {
        self.condition.begin_wait(&self.waiters, self.roster.caller(index)).unwrap()
    }

    fn attempt(&self, waiting: &mut Waiting, index: usize, ask: bool) -> Attempt<'_, ()> {
        self.condition.attempt_wait(&self.waiters, waiting, self.roster.caller(index), ask)
    }

    fn wait(&self, waiting: &mut Waiting, index: usize, ask: bool) {
        until_done(|| self.attempt(waiting, index, ask));
    }

    fn end(&self, waiting: Waiting, index: usize) -> bool {
        self.condition.end_wait(&self.waiters, waiting, tag(index))
    }

    fn notify(&self, most: u32, index: usize) -> u32 {
        self.condition.notify(&self.waiters, most, self.roster.caller(index))
    }

    fn write(&self, value: u32) {
        self.value.with_mut(|cell| {
            // SAFETY: the caller is alone with it, which is what the test proves.
            unsafe { *cell = value }
        });
    }

    fn read(&self) -> u32 {
        self.value.with(|cell| {
            // SAFETY: nobody writes meanwhile, which is what the test proves.
            unsafe { *cell }
        })
    }
}

fn bounded(preemptions: usize, check: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(check);
}

#[test]
fn no_news_is_lost_between_giving_the_lock_back_and_sleeping() {
    bounded(2, || {
        let news = news::<2>();
        let waiter = |index| {
            let news = Arc::clone(&news);
            thread::spawn(move || {
                news.acquire(index);
                while news.read() == 0 {
                    let mut waiting = news.begin(index);
                    news.release(index);
                    news.wait(&mut waiting, index, false);
                    news.acquire(index);
                    assert!(news.end(waiting, index));
                }
                news.release(index);
            })
        };
        let waiters = [waiter(0), waiter(1)];
        news.acquire(2);
        news.write(1);
        news.notify(u32::MAX, 2);
        news.release(2);
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert_eq!(news.condition.waiting(&news.waiters), []);
    });
}

#[test]
fn one_notification_is_for_the_first_alone() {
    loom::model(|| {
        let news = news::<3>();
        let [mut first, mut second] = [news.begin(0), news.begin(1)];
        let sleeper = {
            let news = Arc::clone(&news);
            thread::spawn(move || {
                news.wait(&mut first, 0, false);
                // Without the lock: the notification alone says that the news is there.
                assert_eq!(news.read(), 1);
                assert!(news.end(first, 0));
            })
        };
        news.write(1);
        assert_eq!(news.notify(1, 2), 1);
        sleeper.join().unwrap();
        assert!(matches!(news.attempt(&mut second, 1, true), Attempt::Wait(_)));
        assert_eq!(news.notify(2, 2), 1);
        news.wait(&mut second, 1, false);
        assert!(news.end(second, 1));
    });
}

#[test]
fn a_notifier_sees_what_those_did_who_wait() {
    loom::model(|| {
        let news = news::<1>();
        let notifier = {
            let news = Arc::clone(&news);
            thread::spawn(move || {
                let notified = news.notify(1, 1);
                if notified == 1 {
                    assert_eq!(news.read(), 1);
                }
                notified
            })
        };
        news.write(1);
        let mut waiting = news.begin(0);
        let is_done = matches!(news.attempt(&mut waiting, 0, false), Attempt::Done(()));
        let notified = notifier.join().unwrap();
        assert!(notified == 1 || !is_done);
        assert_eq!(news.end(waiting, 0), notified == 1);
    });
}

#[test]
fn a_notification_at_the_last_moment_counts() {
    loom::model(|| {
        let news = news::<2>();
        let [late, mut other] = [news.begin(0), news.begin(1)];
        let notifier = {
            let news = Arc::clone(&news);
            thread::spawn(move || {
                news.order.point();
                let notified = news.notify(1, 2);
                news.order.point();
                notified
            })
        };
        news.order.point();
        let was_notified = news.end(late, 0);
        // Whoever finds the first gone notifies the second.
        assert_eq!(notifier.join().unwrap(), 1);
        let other_too = matches!(news.attempt(&mut other, 1, true), Attempt::Done(()));
        assert_ne!(was_notified, other_too);
        news.end(other, 1);
    });
}

#[test]
fn the_dead_cost_the_others_nothing() {
    loom::model(|| {
        let news = news::<2>();
        let [_first, mut second] = [news.begin(0), news.begin(1)];
        let victim = {
            let news = Arc::clone(&news);
            thread::spawn(move || news.roster.die(tag(0)))
        };
        let sleeper = {
            let news = Arc::clone(&news);
            thread::spawn(move || {
                news.wait(&mut second, 1, true);
                assert!(news.end(second, 1));
            })
        };
        victim.join().unwrap();
        assert_eq!(news.notify(1, 2), 1);
        sleeper.join().unwrap();
        assert_eq!(news.condition.waiting(&news.waiters), []);
    });
}

#[test]
fn the_notification_of_a_dead_one_passes_to_one_of_those_who_wait() {
    loom::model(|| {
        let news = news::<3>();
        let _dead = news.begin(0);
        let [mut first, mut second] = [news.begin(1), news.begin(2)];
        news.write(1);
        assert_eq!(news.notify(1, 3), 1);
        news.roster.die(tag(0));
        let look = |waiting: &mut Waiting, index| matches!(news.attempt(waiting, index, true), Attempt::Done(()));
        let other = {
            let news = Arc::clone(&news);
            thread::spawn(move || {
                let inherited = matches!(news.attempt(&mut first, 1, true), Attempt::Done(()));
                assert_eq!(news.end(first, 1), inherited);
                inherited
            })
        };
        let inherited = look(&mut second, 2);
        assert_eq!(news.end(second, 2), inherited);
        assert_ne!(other.join().unwrap(), inherited);
    });
}

#[test]
fn an_heir_sees_the_news() {
    loom::model(|| {
        let news = news::<2>();
        let _dead = news.begin(0);
        let mut heir = news.begin(1);
        news.roster.die(tag(0));
        let notifier = {
            let news = Arc::clone(&news);
            thread::spawn(move || {
                news.write(1);
                // As a notifier that could not know yet.
                news.condition.notify(&news.waiters, 1, samemap_core::tag::Caller { tag: tag(3), living: &AllLive });
                news.order.point();
            })
        };
        news.order.point();
        if let Attempt::Done(()) = news.attempt(&mut heir, 1, true) {
            assert_eq!(news.read(), 1);
        }
        notifier.join().unwrap();
    });
}

struct AllLive;

impl samemap_core::tag::Living for AllLive {
    fn is_present(&self, _tag: samemap_core::tag::Tag) -> bool {
        true
    }

    fn is_alive(&self, _tag: samemap_core::tag::Tag) -> bool {
        true
    }
}

#[test]
fn one_who_inherits_while_it_is_notified_passes_one_of_the_two_on() {
    bounded(3, || {
        let news = news::<3>();
        let _dead = news.begin(0);
        let [first, second] = [news.begin(1), news.begin(2)];
        assert_eq!(news.notify(1, 3), 1);
        news.roster.die(tag(0));
        let wait = |mut waiting: Waiting, index| {
            let news = Arc::clone(&news);
            thread::spawn(move || {
                news.wait(&mut waiting, index, true);
                assert!(news.end(waiting, index));
            })
        };
        let sleepers = [wait(first, 1), wait(second, 2)];
        assert_eq!(news.notify(1, 3), 1);
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
        assert_eq!(news.condition.waiting(&news.waiters), []);
        let all: Vec<_> = (0..3).map(|_| news.begin(3)).collect();
        assert_eq!(all.len(), 3, "every entry is free again");
    });
}

#[test]
fn a_newcomer_takes_the_place_of_a_dead_one_but_not_its_notification() {
    loom::model(|| {
        let news = news::<2>();
        let _dead = news.begin(0);
        let mut first = news.begin(1);
        assert_eq!(news.notify(1, 3), 1);
        assert_eq!(news.condition.begin_wait(&news.waiters, news.roster.caller(2)), None);
        news.roster.die(tag(0));
        let sleeper = {
            let news = Arc::clone(&news);
            thread::spawn(move || {
                news.wait(&mut first, 1, true);
                assert!(news.end(first, 1));
            })
        };
        // Whoever was faster: the sleeper, whose former entry is free then, or the newcomer, who passes it on.
        let mut newcomer = news.condition.begin_wait(&news.waiters, news.roster.caller(2));
        sleeper.join().unwrap();
        if let Some(newcomer) = &mut newcomer {
            assert!(matches!(news.attempt(newcomer, 2, true), Attempt::Wait(_)));
        }
    });
}
