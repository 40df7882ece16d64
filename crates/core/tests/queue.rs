//! Queues, in one thread, against what is said of them: nothing is lost and nothing doubled, jobs come in order, and no place
//! or block is lost, whoever dies with what.
//!
//! What happens between two threads is for loom, and what is left in the middle of a step for the crash points.

use std::cell::Cell;

use proptest::prelude::*;
use samemap_core::atomic::{Word64, monotonic};
use samemap_core::job::{Job, Label, Phase};
use samemap_core::lane::Lane;
use samemap_core::queue::{Ended, Grip, Memory, Queue, Shape, Shut, Store, Unput};
use samemap_core::tag::{Caller, Living, Tag};
use samemap_core::worker::Worker;

const PEOPLE: usize = 4;
const CELL: usize = 8;

/// Who lives: of each place in the roster, the epoch of its owner, and whether that is alive.
struct Census([(Cell<u32>, Cell<bool>); PEOPLE]);

impl Living for Census {
    fn is_present(&self, tag: Tag) -> bool {
        self.0.get(tag.index()).is_some_and(|(epoch, _)| epoch.get() == tag.epoch())
    }

    fn is_alive(&self, tag: Tag) -> bool {
        self.is_present(tag) && self.0[tag.index()].1.get()
    }
}

/// What a participant does.
#[derive(Debug, Clone)]
enum Step {
    Put {
        who: usize,
        blocks: usize,
    },
    /// Takes a place and blocks, and keeps them; `labels` says whether it comes as far as that.
    Fill {
        who: usize,
        blocks: usize,
        labels: bool,
    },
    Abandon {
        which: usize,
    },
    /// Leases the next job; some leases are over at once.
    Take {
        who: usize,
        is_over: bool,
    },
    Acknowledge {
        which: usize,
    },
    GiveBack {
        which: usize,
        has_views: bool,
    },
    PutAway {
        which: usize,
    },
    LetGo {
        which: usize,
    },
    /// Dies with all that it has; somebody else gets the place in the roster.
    Die {
        who: usize,
    },
    Bury {
        who: usize,
    },
    Replay,
    ShutDown,
}

/// What is said of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Ready,
    Leased(Tag),
    Dead,
}

/// A job that is not done.
#[derive(Debug, Clone, Copy)]
struct Work {
    seq: u64,
    fate: Fate,
    attempt: u32,
    is_over: bool,
}

/// A lease, or what is left of one.
#[derive(Debug, Clone, Copy)]
struct Hold {
    tag: Tag,
    grip: Grip,
    seq: u64,
}

struct World {
    queue: Queue,
    shape: Shape,
    lanes: Vec<Lane>,
    words: Vec<Word64>,
    jobs: Vec<Job>,
    blocks: Vec<Word64>,
    workers: Vec<Worker>,
    census: Census,
    memories: [Memory; PEOPLE],
    works: Vec<Work>,
    put: u64,
    /// The last of those that were taken.
    taken: u64,
    fillings: Vec<(Tag, Grip)>,
    leases: Vec<Hold>,
    /// Views of jobs that are another's by now.
    views: Vec<Hold>,
    shut: bool,
}

impl World {
    fn new(maxsize: usize, blocks: usize, max_attempts: u32) -> Self {
        let jobs = maxsize + 3;
        let shape = Shape {
            maxsize,
            jobs,
            lanes: 1,
            ring: maxsize.next_power_of_two(),
            workers: PEOPLE,
            cell: CELL,
            blocks,
            block_size: CELL,
            max_attempts,
            once: false,
        };
        Self {
            queue: Queue::new(shape),
            shape,
            lanes: vec![Lane::new()],
            words: (0..shape.ring).map(|_| Word64::new(0)).collect(),
            jobs: (0..jobs).map(|_| Job::new()).collect(),
            blocks: (0..blocks).map(|_| Word64::new(0)).collect(),
            workers: (0..PEOPLE).map(|_| Worker::new()).collect(),
            census: Census(std::array::from_fn(|_| (Cell::new(1), Cell::new(true)))),
            memories: std::array::from_fn(|_| Memory::default()),
            works: Vec::new(),
            put: 0,
            taken: 0,
            fillings: Vec::new(),
            leases: Vec::new(),
            views: Vec::new(),
            shut: false,
        }
    }

    fn store(&self) -> Store<'_> {
        Store::new(&self.queue, self.shape, (&self.lanes, &self.words), (&self.jobs, &self.blocks), &self.workers)
    }

    fn tag(&self, who: usize) -> Tag {
        Tag::new(who, self.census.0[who].0.get())
    }

    fn caller(&self, who: usize) -> Caller<'_> {
        Caller { tag: self.tag(who), living: &self.census }
    }

    /// The job of that number that is not done.
    fn work(&mut self, seq: u64) -> Option<&mut Work> {
        self.works.iter_mut().find(|work| work.seq == seq)
    }

    fn with_memory<T>(&mut self, who: usize, act: impl FnOnce(&Self, &mut Memory) -> T) -> T {
        let mut memory = std::mem::take(&mut self.memories[who]);
        let result = act(self, &mut memory);
        self.memories[who] = memory;
        result
    }

    /// A place, with blocks, in the hands of `who`, who labels it or does not.
    fn fill(&mut self, who: usize, blocks: usize, labels: bool) -> Option<Grip> {
        let (me, length) = (self.tag(who), if blocks == 0 { 1 } else { blocks * CELL + 1 });
        let blocks = if blocks == 0 { 0 } else { length.div_ceil(CELL) };
        let is_room = self.store().is_room(0, blocks);
        let grip = self.with_memory(who, |world, memory| {
            let store = world.store();
            if store.is_full(0) {
                return None;
            }
            let grip = store.take_place(memory, me)?;
            let Some((first, blocks)) = store.reserve(memory, grip, length) else {
                store.abandon(grip, me);
                return None;
            };
            if labels {
                let label = Label { length: length as u64, first, blocks, lane: 0, flags: 0, number: 0 };
                store.label(grip, label, 0);
            }
            Some(grip)
        });
        assert_eq!(grip.is_some(), is_room, "of {blocks} blocks");
        grip
    }

    fn put(&mut self, who: usize, blocks: usize) {
        let me = self.tag(who);
        let Some(grip) = self.fill(who, blocks, true) else { return };
        match self.with_memory(who, |world, memory| world.store().commit(memory, 0, grip, me)) {
            Ok(seq) => {
                assert!(!self.shut);
                self.store().announce(0, seq, false);
                self.put += 1;
                assert_eq!(seq, self.put, "in order");
                assert!(self.put - self.taken <= self.shape.maxsize as u64, "those that came back do not count");
                self.works.push(Work { seq, fate: Fate::Ready, attempt: 0, is_over: false });
            }
            Err(refused) => {
                assert_eq!(refused, Unput::Shut);
                assert!(self.shut);
                self.store().abandon(grip, me);
            }
        }
    }

    fn take(&mut self, who: usize, is_over: bool) {
        let (me, until) = (self.tag(who), if is_over { 1 } else { monotonic().saturating_add(1 << 50) });
        let taken = self.with_memory(who, |world, memory| world.store().take(memory, 0, me, 0, until));
        let oldest = self.works.iter().filter(|work| work.fate == Fate::Ready).map(|work| work.seq).min();
        assert_eq!(taken.map(|(_, seq)| seq), oldest, "the oldest comes first");
        let Some((grip, seq)) = taken else { return };
        self.taken = self.taken.max(seq);
        let Some(work) = self.work(seq) else { unreachable!("it is the oldest") };
        (work.fate, work.attempt, work.is_over) = (Fate::Leased(me), work.attempt + 1, is_over);
        assert_eq!(grip.state.attempt(), work.attempt);
        self.leases.push(Hold { tag: me, grip, seq });
    }

    /// What a job becomes that came back.
    fn come_back(&mut self, seq: u64) {
        let most = self.shape.max_attempts;
        if let Some(work) = self.work(seq) {
            work.fate = if most != 0 && work.attempt >= most { Fate::Dead } else { Fate::Ready };
        }
    }

    fn take_lease(&mut self, which: usize) -> Option<(Hold, bool)> {
        if self.leases.is_empty() {
            return None;
        }
        let hold = self.leases.swap_remove(which % self.leases.len());
        // Another one may have it by now; or the same one, for another time.
        let is_its =
            |work: &&mut Work| work.fate == Fate::Leased(hold.tag) && work.attempt == hold.grip.state.attempt();
        Some((hold, self.work(hold.seq).filter(is_its).is_some()))
    }

    /// Whether somebody else has views of it, or had them when it died.
    fn is_kept(&self, hold: Hold) -> bool {
        let tags = (0..PEOPLE).flat_map(|who| (1..=self.census.0[who].0.get()).map(move |epoch| Tag::new(who, epoch)));
        tags.into_iter().any(|tag| tag != hold.tag && self.store().is_kept_by(hold.grip, tag))
    }

    /// Whether its process has other leases of it, or views.
    fn has_more(&self, hold: Hold) -> bool {
        self.leases.iter().chain(&self.views).any(|other| other.tag == hold.tag && other.seq == hold.seq)
    }

    fn let_go(&mut self, hold: Hold) {
        // Only when its process has no views of any of its leases.
        if !self.has_more(hold) {
            self.store().let_go(hold.grip.at, hold.grip.state.generation(), hold.tag);
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Put { who, blocks } => self.put(who, blocks),
            Step::Fill { who, blocks, labels } => {
                if let Some(grip) = self.fill(who, blocks, labels) {
                    self.fillings.push((self.tag(who), grip));
                }
            }
            Step::Abandon { which } => {
                if !self.fillings.is_empty() {
                    let (tag, grip) = self.fillings.swap_remove(which % self.fillings.len());
                    self.store().abandon(grip, tag);
                }
            }
            Step::Take { who, is_over } => self.take(who, is_over),
            Step::Acknowledge { which } => {
                let Some((hold, is_its)) = self.take_lease(which) else { return };
                let held = self.store().acknowledge(hold.grip, hold.tag);
                assert_eq!(held.is_some(), is_its);
                match held {
                    Some(held) => {
                        self.works.retain(|work| work.seq != hold.seq);
                        // The last of its views frees it; here they all go at once.
                        let is_other = |other: &Hold| other.tag != hold.tag || other.seq != hold.seq;
                        self.leases.retain(is_other);
                        self.views.retain(is_other);
                        self.store().clear(held, hold.tag);
                    }
                    None => self.let_go(hold),
                }
            }
            Step::GiveBack { which, has_views } => {
                let Some((hold, is_its)) = self.take_lease(which) else { return };
                let (is_kept, has_views) = (self.is_kept(hold), has_views || self.has_more(hold));
                match self.store().give_back(hold.grip, hold.tag, has_views) {
                    Ended::Done => {
                        assert!(is_its && !(has_views && is_kept));
                        self.come_back(hold.seq);
                        if has_views {
                            self.views.push(hold);
                        }
                    }
                    Ended::Lost => {
                        assert!(!is_its);
                        self.let_go(hold);
                    }
                    Ended::NotYet => {
                        assert!(is_its && has_views && is_kept);
                        self.leases.push(hold);
                    }
                }
            }
            Step::PutAway { which } => {
                let Some((hold, is_its)) = self.take_lease(which) else { return };
                let (is_kept, has_views) = (self.is_kept(hold), self.has_more(hold));
                let ended = self.store().put_away(hold.grip, hold.tag, has_views);
                if is_its && has_views && is_kept {
                    assert_eq!(ended, Ended::NotYet);
                    self.leases.push(hold);
                    return;
                }
                assert_eq!(ended, if is_its { Ended::Done } else { Ended::Lost });
                if let Some(work) = self.work(hold.seq).filter(|_| is_its) {
                    work.fate = Fate::Dead;
                }
                self.let_go(hold);
            }
            Step::LetGo { which } => {
                if !self.views.is_empty() {
                    let hold = self.views.swap_remove(which % self.views.len());
                    self.let_go(hold);
                }
            }
            Step::Die { who } => {
                let (gone, epoch) = (self.tag(who), &self.census.0[who].0);
                epoch.set(epoch.get() + 1);
                self.memories[who] = Memory::default();
                self.fillings.retain(|(tag, _)| *tag != gone);
                self.leases.retain(|hold| hold.tag != gone);
                self.views.retain(|hold| hold.tag != gone);
            }
            Step::Bury { who } => self.bury(who),
            Step::Replay => {
                let oldest = self.works.iter().filter(|work| work.fate == Fate::Dead).map(|work| work.seq).min();
                let letters = self.store().dead_letters();
                assert_eq!(letters.first().map(|grip| self.jobs[grip.at].seq()), oldest);
                if let Some(grip) = letters.first() {
                    // Who still has an old lease of it would take the next one for that.
                    let seq = self.jobs[grip.at].seq();
                    if self.leases.iter().all(|hold| hold.seq != seq) {
                        assert!(self.store().replay(*grip, self.tag(0)) && !self.store().replay(*grip, self.tag(0)));
                        if let Some(work) = self.work(seq) {
                            (work.fate, work.attempt) = (Fate::Ready, 0);
                        }
                    }
                }
            }
            Step::ShutDown => {
                self.store().shut_down(false);
                self.shut = true;
                assert_eq!(self.store().shut(), Shut::In);
            }
        }
    }

    fn bury(&mut self, who: usize) {
        self.store().bury(self.caller(who));
        let seqs: Vec<u64> = self.works.iter().map(|work| work.seq).collect();
        for seq in seqs {
            let Some(Work { fate: Fate::Leased(tag), is_over, .. }) = self.work(seq).copied() else { continue };
            let is_taken = is_over && !self.is_kept_by_others(seq, tag);
            if !self.census.is_alive(tag) || is_taken {
                self.come_back(seq);
            }
        }
    }

    fn is_kept_by_others(&self, seq: u64, tag: Tag) -> bool {
        self.leases.iter().any(|hold| hold.seq == seq && hold.tag == tag && self.is_kept(*hold))
    }

    /// What must be true after every step.
    fn check(&self) {
        let mut told: Vec<(u64, Fate)> = self
            .jobs
            .iter()
            .enumerate()
            .filter_map(|(at, job)| {
                let state = job.state();
                let fate = match state.phase() {
                    Phase::Ready => Fate::Ready,
                    Phase::Filling if self.store().is_committed(at, state) => Fate::Ready,
                    Phase::Leased => Fate::Leased(state.tag()?),
                    Phase::Dead => Fate::Dead,
                    Phase::Free | Phase::Filling | Phase::Held => return None,
                };
                Some((job.seq(), fate))
            })
            .collect();
        told.sort_by_key(|(seq, _)| *seq);
        let mut expected: Vec<(u64, Fate)> = self.works.iter().map(|work| (work.seq, work.fate)).collect();
        expected.sort_by_key(|(seq, _)| *seq);
        assert_eq!(told, expected, "lost, doubled, or another's");
        for hold in &self.views {
            let state = self.jobs[hold.grip.at].state();
            assert_eq!(state.generation(), hold.grip.state.generation(), "freed under a view");
        }
        let waiting = self.works.iter().filter(|work| work.fate == Fate::Ready).count();
        assert_eq!(self.store().depth(), waiting);
        assert_eq!(self.store().is_news(0), waiting > 0);
        let is_coming = self.jobs.iter().any(|job| job.state().phase() == Phase::Filling);
        assert_eq!(self.store().is_over(), self.shut && waiting == 0 && !is_coming);
    }

    /// All that was put and is not done is got, in order, and nothing is left.
    fn end(&mut self) {
        for who in 1..PEOPLE {
            self.step(&Step::Die { who });
        }
        while !self.leases.is_empty() {
            self.step(&Step::Acknowledge { which: 0 });
        }
        while !self.views.is_empty() {
            self.step(&Step::LetGo { which: 0 });
        }
        while !self.fillings.is_empty() {
            self.step(&Step::Abandon { which: 0 });
        }
        self.bury(0);
        self.check();
        while self.works.iter().any(|work| work.fate == Fate::Dead) {
            self.step(&Step::Replay);
        }
        while !self.works.is_empty() {
            self.take(0, false);
            self.step(&Step::Acknowledge { which: 0 });
            self.check();
        }
        // What was left to one who died is found only now.
        self.bury(0);
        let totals = self.store().totals();
        assert_eq!((totals.free, totals.free_blocks), (self.jobs.len(), self.blocks.len()), "{totals:?}");
    }
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 0..PEOPLE;
    let blocks = || prop_oneof![Just(0), 1..3_usize];
    let which = || 0..9_usize;
    prop_oneof![
        80 => (who(), blocks()).prop_map(|(who, blocks)| Step::Put { who, blocks }),
        10 => (who(), blocks(), any::<bool>()).prop_map(|(who, blocks, labels)| Step::Fill { who, blocks, labels }),
        10 => which().prop_map(|which| Step::Abandon { which }),
        80 => (who(), proptest::bool::weighted(0.2)).prop_map(|(who, is_over)| Step::Take { who, is_over }),
        60 => which().prop_map(|which| Step::Acknowledge { which }),
        20 => (which(), any::<bool>()).prop_map(|(which, has_views)| Step::GiveBack { which, has_views }),
        5 => which().prop_map(|which| Step::PutAway { which }),
        10 => which().prop_map(|which| Step::LetGo { which }),
        5 => who().prop_map(|who| Step::Die { who }),
        10 => who().prop_map(|who| Step::Bury { who }),
        5 => Just(Step::Replay),
        1 => Just(Step::ShutDown),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn every_job_is_got_once_and_nothing_is_lost(
        maxsize in 1..7_usize,
        blocks in 3..9_usize,
        max_attempts in 0..4_u32,
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let mut world = World::new(maxsize, blocks, max_attempts);
        for step in &steps {
            world.step(step);
            world.check();
        }
        world.end();
    }
}
