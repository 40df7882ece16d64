//! The dead: what they had is ready again, or free, once.

use loom::sync::Arc;
use loom::thread;

use super::{Hand, Line, Route, bounded, join_all, line, shape};
use crate::drive::{tag, until_done};

/// Where one dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    /// With a place, and blocks, in its hands.
    Filling,
    /// With a job that counts, of which nobody was told.
    Committed,
    /// With a job that it has leased.
    Leased,
    /// With a job that it has acknowledged, and not freed.
    Held,
}

const ALL: [Death; 4] = [Death::Filling, Death::Committed, Death::Leased, Death::Held];

/// Participant 1 dies.
fn die(line: &Line, death: Death) {
    let (mut victim, mut memory) = (Hand::new(1), samemap_core::queue::Memory::default());
    match death {
        Death::Filling | Death::Committed => {
            let grip = victim.fill(line, 9, Route::default()).unwrap();
            if death == Death::Committed {
                // As if it was killed right behind the exchange that has it count: then it is not said to be ready.
                let mut elsewhere = grip;
                elsewhere.state = samemap_core::job::Job::new().state();
                line.store().commit(&mut memory, 0, elsewhere, crate::drive::tag(1)).unwrap();
            }
        }
        Death::Leased | Death::Held => {
            victim.put(line, 9).unwrap();
            let (grip, _) = victim.lease(line).unwrap();
            if death == Death::Held {
                line.store().acknowledge(grip, tag(1)).unwrap();
            }
        }
    }
    line.roster.die(tag(1));
}

impl Death {
    fn comes_back(self) -> bool {
        matches!(self, Self::Committed | Self::Leased)
    }
}

/// Two bury, and one of them takes what comes of it and uses the place anew.
#[test]
fn what_the_dead_had_comes_back_once() {
    for death in ALL {
        bounded(1, move || {
            let line = line(shape(1, 1, 2));
            die(&line, death);
            let others = [2, 3].map(|who| {
                let line = Arc::clone(&line);
                thread::spawn(move || {
                    let mut other = Hand::new(who);
                    line.order.point();
                    line.bury(who);
                    if who == 3 {
                        return (None, false);
                    }
                    line.order.point();
                    let got = other.get(&line);
                    let put = other.put(&line, 10).is_ok();
                    (got, put)
                })
            });
            let all = join_all(others);
            let mut last = Hand::new(0);
            let mut got: Vec<_> = all.iter().filter_map(|(got, _)| *got).map(|(_, value)| value).collect();
            got.extend(std::iter::from_fn(|| last.get(&line)).map(|(_, value)| value));
            let puts = all.iter().filter(|(_, put)| *put).count();
            assert_eq!(got.iter().filter(|value| **value == 9).count(), usize::from(death.comes_back()));
            assert_eq!(got.iter().filter(|value| **value == 10).count(), puts);
            line.is_as_new();
        });
    }
}

/// It dies while others look after it.
#[test]
fn a_death_at_any_time_leaves_what_counts() {
    for death in ALL {
        bounded(2, move || {
            let line = line(shape(1, 2, 2));
            let victim = {
                let line = Arc::clone(&line);
                thread::spawn(move || {
                    line.order.point();
                    die(&line, death);
                })
            };
            line.order.point();
            line.bury(2);
            victim.join().unwrap();
            line.bury(2);
            let got: Vec<_> = std::iter::from_fn(|| Hand::new(2).get(&line)).collect();
            assert_eq!(got, if death.comes_back() { vec![(1, 9)] } else { vec![] });
            line.is_as_new();
        });
    }
}

/// One who dies as it buries is buried by the next.
#[test]
fn one_who_dies_burying_is_buried() {
    for death in ALL {
        bounded(1, move || {
            let line = line(shape(1, 1, 2));
            die(&line, death);
            let others = [2, 3].map(|who| {
                let line = Arc::clone(&line);
                thread::spawn(move || {
                    line.order.point();
                    line.bury(who);
                    line.roster.die(tag(who));
                })
            });
            line.order.point();
            line.bury(0);
            join_all(others);
            line.bury(0);
            let got = Hand::new(0).get(&line);
            assert_eq!(got, death.comes_back().then_some((1, 9)));
            line.is_as_new();
        });
    }
}

/// Somebody sleeps for what a dead one had, and another one finds out.
#[test]
fn one_who_waits_for_what_the_dead_had_is_woken() {
    for death in ALL {
        bounded(2, move || {
            let line = line(shape(1, 1, 2));
            die(&line, death);
            let burier = {
                let line = Arc::clone(&line);
                thread::spawn(move || {
                    line.order.point();
                    line.bury(2);
                })
            };
            let mut sleeper = Hand::new(0);
            line.order.point();
            if death.comes_back() {
                assert_eq!(sleeper.get_in_time(&line), (1, 9));
            } else {
                until_done(|| line.store().attempt_room(0, 0, 2, line.roster.caller(0), false));
                assert!(sleeper.put(&line, 10).is_ok());
            }
            burier.join().unwrap();
        });
    }
}
