//! Any bits are some state of an object: whatever others write into a segment, each operation on it ends, in an answer or an
//! error, and never in a panic, an overflow, an endless loop or an access outside of the mapping.
//!
//! Attempts never sleep, so all of this is deterministic: a case that fails does so again. What the binding and the
//! header add to it is for `tests/format/test_damage.py`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use samemap_core::arrangement::Arrangement;
use samemap_core::barrier::Arrival;
use samemap_core::bell::Attempt;
use samemap_core::counter::Counter;
use samemap_core::event::Event;
use samemap_core::job::Label;
use samemap_core::layout::Kind;
use samemap_core::lock::{Dead, Lock, Turn};
use samemap_core::objects::{self, Parameters};
use samemap_core::operation::{Asking, Comparison, Operation, Wanted};
use samemap_core::queue::{Ended, Memory};
use samemap_core::rlock::RLock;
use samemap_core::rwlock::Writing;
use samemap_core::segment::{Handle, New, Segment};
use samemap_core::storage::Storage;
use samemap_core::subscriber::Policy;
use samemap_core::tag::Tag;
use samemap_core::topic;
use samemap_core::topic::audience::Start;
use samemap_core::topic::supply::Supply;

const PARTICIPANTS: usize = 4;
const THREAD: u64 = 7;
/// For each kind of object.
const CASES: u32 = 60;

/// Operations begun, for the watchdog.
static BEGUN: AtomicU64 = AtomicU64::new(0);

/// Ends the process when an operation takes longer than any can.
fn watch() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        std::thread::spawn(|| {
            let (mut seen, mut since) = (0, Instant::now());
            loop {
                std::thread::sleep(Duration::from_millis(500));
                let now = BEGUN.load(Ordering::Relaxed);
                if now != seen {
                    (seen, since) = (now, Instant::now());
                }
                if since.elapsed() > Duration::from_secs(60) {
                    eprintln!("an operation on a damaged segment does not end");
                    std::process::abort();
                }
            }
        });
    });
}

fn parameters(kind: Kind) -> Parameters {
    Parameters(match kind {
        Kind::Semaphore => [2, 3, 0],
        Kind::Barrier => [2, 0, 0],
        Kind::Namespace => [1 << 16, 0, 0],
        Kind::Topic => [4, 100, 3],
        Kind::Latest => [3, 100, 0],
        Kind::Queue | Kind::Service => [4, 4 * 4096, 2],
        _ => [0; 3],
    })
}

fn make(kind: Kind) -> Handle {
    let parameters = parameters(kind);
    let body_size = objects::size(kind, PARTICIPANTS, parameters).expect("the parameters are valid");
    let new = New { kind, body_size, participants: PARTICIPANTS, schema: "", perm: 0o600 };
    Segment::create(None, new, |segment| objects::initialise(segment, 0, kind, parameters)).expect("it can be made")
}

/// A word that is written where it does not belong.
#[derive(Debug, Clone, Copy)]
struct Damage {
    /// Anywhere from the start of the segment; scaled to its size.
    at: u32,
    /// Whether in the first lines of the body, where most is decided, or in the roster.
    place: Place,
    word: u32,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Anywhere,
    Start,
    Roster,
}

fn damage() -> impl Strategy<Value = Damage> {
    let marks = prop_oneof![Just(0), Just(Tag::MARK), Just(Tag::SECOND_MARK), Just(Tag::MARK | Tag::SECOND_MARK)];
    // Epoch 1 of entry 0 is the caller's own.
    let tag =
        (0..PARTICIPANTS + 3, 0..3_u32, marks).prop_map(|(index, epoch, marks)| Tag::new(index, epoch).word() | marks);
    let word = prop_oneof![any::<u32>(), Just(0), Just(u32::MAX), 0..9_u32, (0..32_u32).prop_map(|bit| 1 << bit), tag];
    let place = prop_oneof![Just(Place::Anywhere), Just(Place::Start), Just(Place::Start), Just(Place::Roster)];
    (any::<u32>(), place, word).prop_map(|(at, place, word)| Damage { at, place, word })
}

impl Damage {
    fn apply(self, segment: &Segment, file: &File) {
        let header = segment.header();
        let (start, end) = match self.place {
            Place::Anywhere => (0, header.size),
            Place::Start => (header.body, (header.body + 192).min(header.size)),
            Place::Roster => (header.roster, header.body),
        };
        let at = start + u64::from(self.at) % (end - start) / 4 * 4;
        file.write_all_at(&self.word.to_le_bytes(), at).expect("it can be written");
    }
}

/// What can be begun on an object of that kind.
fn wanted(kind: Kind, choice: u32, number: i64) -> Wanted {
    let dead = [Dead::TakeOver, Dead::Report, Dead::DontAsk][choice as usize / 16 % 3];
    let pick = |of: u32| choice % of;
    match kind {
        Kind::Lock => match pick(2) {
            0 => Wanted::Lock(dead),
            _ => Wanted::FreeLock,
        },
        Kind::RLock => match pick(2) {
            0 => Wanted::RLock(THREAD, dead),
            _ => Wanted::FreeRLock(THREAD),
        },
        Kind::Semaphore => match pick(4) {
            0 | 1 => Wanted::Permit,
            2 => Wanted::FreePermit,
            _ => Wanted::Release(number as u32 % 5),
        },
        Kind::Event => Wanted::Event(number as u32),
        Kind::Condition => Wanted::News(None),
        Kind::Barrier => match pick(4) {
            0 | 1 => Wanted::Parties(Arrival::default()),
            2 => Wanted::Trip,
            _ => Wanted::Reset,
        },
        Kind::Counter => {
            let comparison = [Comparison::AtLeast, Comparison::AtMost, Comparison::Equal, Comparison::NotEqual];
            Wanted::Counter(comparison[pick(4) as usize], number)
        }
        Kind::ReadWriteLock => match pick(3) {
            0 => Wanted::Read(dead),
            1 => Wanted::Write(Writing::default(), dead),
            _ => Wanted::FreeToWrite,
        },
        Kind::Topic | Kind::Latest => match pick(3) {
            0 => Wanted::Message(number as u64),
            1 => Wanted::Room,
            _ => Wanted::Audience(number as usize % 5),
        },
        Kind::Queue | Kind::Service => match pick(4) {
            0 => Wanted::Job(number as usize % 3),
            1 => Wanted::Space(number as usize % 3, 1, number as usize % 6),
            2 => Wanted::Reply(1, (number as usize % 150, 0), Tag::read(choice)),
            _ => Wanted::Finished,
        },
        Kind::Namespace => {
            let kind = Kind::ALL[number as usize % (Kind::ALL.len() - 5)];
            Wanted::Object(format!("{} {}", kind.name(), pick(3)), kind, parameters(kind))
        }
    }
}

/// Does what needs no waiting, in the segment's one object or in one of a namespace.
fn use_it(segment: &Segment, kind: Kind, offset: usize, choice: u32, number: i64) {
    let Ok(me) = segment.tag() else { return };
    let Ok(roster) = segment.roster() else { return };
    let pick = choice as usize;
    match kind {
        Kind::Lock => {
            let Ok(lock) = segment.at::<Lock>(offset) else { return };
            let _ = (lock.release(me), lock.holder(), lock.since(), lock.last_dead(), lock.counts());
        }
        Kind::RLock => {
            let Ok(lock) = segment.at::<RLock>(offset) else { return };
            let _ = lock.try_acquire(me, THREAD);
            let _ = (lock.depth(), lock.thread(), lock.release(me, THREAD));
            if pick.is_multiple_of(3) && lock.release_all(me, THREAD).is_ok() {
                lock.restore(number as u32);
            }
        }
        Kind::Semaphore => {
            let Ok((semaphore, held)) = objects::semaphore(segment, offset) else { return };
            let _ = (semaphore.value(held, &roster), semaphore.initial(), semaphore.bound(), semaphore.keeps());
            let _ = semaphore.table(held).present(&roster, pick.is_multiple_of(2)).count();
        }
        Kind::Event => {
            let Ok(event) = segment.at::<Event>(offset) else { return };
            let _ = if pick.is_multiple_of(2) { event.set() } else { event.is_set() };
            event.clear();
        }
        Kind::Condition => {
            let Ok((own, condition, waiters)) = objects::condition(segment, offset) else { return };
            let _ = own.try_acquire(me, THREAD);
            let done = segment.as_caller(|caller| {
                let _ = condition.notify(waiters, number as u32, caller);
                let _ = condition.waiting(waiters);
                let Some(mut waiting) = condition.begin_wait(waiters, caller) else { return };
                let _ = condition.attempt_wait(waiters, &mut waiting, caller, pick.is_multiple_of(2));
                if pick.is_multiple_of(3) {
                    let _ = condition.notify(waiters, 1, caller);
                }
                if !pick.is_multiple_of(5) {
                    condition.end_wait(waiters, waiting, me);
                }
            });
            assert!(done.is_ok());
            let _ = own.release(me, THREAD);
        }
        Kind::Barrier => {
            let Ok((barrier, places)) = objects::barrier(segment, offset) else { return };
            let _ = (barrier.parties(), barrier.waiting(places), barrier.is_broken());
            if pick.is_multiple_of(4) {
                barrier.abort();
            }
        }
        Kind::Counter => {
            let Ok(counter) = segment.at::<Counter>(offset) else { return };
            let _ = (counter.add(number), counter.max(number), counter.min(-1), counter.set(number));
        }
        Kind::ReadWriteLock => {
            let Ok((lock, held)) = objects::read_write_lock(segment, offset) else { return };
            let _ = (lock.try_read(held, me), lock.release_read(held, me), lock.try_write(held, me, &roster));
            let _ = (lock.readers(held, &roster), lock.is_draining(), lock.release_write(me));
        }
        Kind::Topic | Kind::Latest => use_a_topic(segment, me, choice, number as u64),
        Kind::Queue | Kind::Service => use_a_queue(segment, me, choice, number as u64),
        Kind::Namespace => {
            let Ok(found) = objects::list(segment) else { return };
            if let Some((_, kind, offset)) =
                found.get(pick % found.len().max(1)).filter(|(_, kind, _)| *kind != Kind::Namespace)
            {
                use_it(segment, *kind, *offset, choice, number);
                wait_for_it(segment, *kind, *offset, choice, number);
            }
        }
    }
}

/// Publishes, receives, pins, joins, leaves and looks on.
fn use_a_topic(segment: &Segment, me: Tag, choice: u32, number: u64) {
    let Ok(arrangement) = Arrangement::of(segment) else { return };
    let Ok(channel) = arrangement.channel(segment) else { return };
    let pick = choice as usize;
    let taken = segment.as_caller(|caller| {
        if pick.is_multiple_of(5) {
            channel.bury(caller);
        }
        channel.take(&mut Supply::default(), caller)
    });
    if let Some(slot) = taken.expect("it takes part") {
        channel.label(slot, me, number as usize, number);
        if let Ok(seq) = channel.commit(slot, if pick.is_multiple_of(2) { 0 } else { number }) {
            channel.announce(seq);
        }
        channel.let_go(slot, me);
        channel.count(me, 1, number, number);
        channel.count_dropped(me);
    }
    for wanted in [topic::Wanted::Newest, topic::Wanted::Some] {
        let mut cursor = number;
        let found = channel.receive(&mut cursor, wanted, |at, slot, _, seq| {
            BEGUN.fetch_add(1, Ordering::Relaxed);
            let mut bytes = vec![0; arrangement.shape().slot_size.min(100)];
            arrangement.read(segment, at, &mut bytes).expect("the slot is inside");
            slot.is_still(seq).then_some(at)
        });
        if let Some((seq, at)) = found
            && channel.pin(pick, at, seq, number)
        {
            channel.unpin(pick, at);
        }
    }
    let policy = [Policy::Latest, Policy::Drop, Policy::Block][pick % 3];
    let start = if pick.is_multiple_of(2) { Start::History(number) } else { Start::At(number) };
    let joined = segment.as_caller(|caller| channel.subscribe(caller, policy, start, number));
    if let Some((place, cursor)) = joined.expect("it takes part") {
        channel.advance(place, cursor, number, number, true);
        channel.count_delay(place, number);
        if !pick.is_multiple_of(7) {
            channel.leave(place, me);
        }
    }
    let _ = (channel.newest(), channel.holdings(), channel.progress().count(), channel.outputs().count());
}

/// Puts, takes, ends what it has taken in one way or another, calls, looks after the dead, and looks on.
fn use_a_queue(segment: &Segment, me: Tag, choice: u32, number: u64) {
    let Ok(storage) = Storage::of(segment) else { return };
    let Ok(store) = storage.store(segment) else { return };
    let (pick, mut memory) = (choice as usize, Memory::default());
    memory.hope = if pick.is_multiple_of(2) { 0 } else { number };
    let length = if pick.is_multiple_of(3) { 5000 } else { 100 };
    let claimed = segment.as_caller(|caller| {
        if pick.is_multiple_of(5) {
            store.bury(caller);
        }
        store.claim_lane(caller)
    });
    let (lane, call) = claimed.expect("it takes part").unwrap_or_default();
    for lane in [0, 0, lane] {
        BEGUN.fetch_add(1, Ordering::Relaxed);
        if store.is_full(lane) {
            continue;
        }
        let Some(grip) = store.take_place(&mut memory, me) else { continue };
        let Some((first, blocks)) = store.reserve(&mut memory, grip, length) else {
            store.abandon(grip, me);
            continue;
        };
        let label = Label { length: length as u64, first, blocks, lane: lane as u16, flags: 0, number: call };
        store.label(grip, label, number);
        store.expect_replies(grip, choice as u16, call);
        match store.commit(&mut memory, lane, grip, me) {
            Ok(seq) => store.announce(lane, seq, pick.is_multiple_of(2)),
            Err(_) => store.abandon(grip, me),
        }
        store.count_puts(me, 1, number);
    }
    for (turn, lane) in [0, 0, 0, lane].into_iter().enumerate() {
        BEGUN.fetch_add(1, Ordering::Relaxed);
        let Some((grip, _)) = store.take(&mut memory, lane, me, number, choice.into()) else { continue };
        let label = store.jobs()[grip.at].read();
        let mut bytes = vec![0; length.min(usize::try_from(label.length).unwrap_or(length))];
        let _ = storage.read(segment, grip.at, label, &mut bytes);
        let (to, number) = store.jobs()[grip.at].reply_to();
        let _ = (store.is_awaited(to as usize, number), store.extend(grip, number.into()));
        let has_views = turn.is_multiple_of(2);
        let _ = match (pick + turn) % 4 {
            0 => store.give_back(grip, me, has_views),
            1 => store.put_away(grip, me, has_views),
            _ => Ended::NotYet,
        };
        match store.acknowledge(grip, me) {
            Some(held) => store.clear(held, me),
            None => store.let_go(grip.at, grip.state.generation(), me),
        }
        store.count_gets(me, 1);
    }
    for letter in store.dead_letters() {
        if pick.is_multiple_of(2) {
            store.replay(letter, me);
        } else if let Some(held) = store.take_dead(letter, me) {
            store.release(held);
        }
    }
    store.release_lane(lane, call, me);
    let asked = segment.as_caller(|caller| (store.task_done(caller), store.unfinished(caller.living, true)));
    let _ = (asked.expect("it takes part"), store.totals(), store.is_over(), store.is_next(0), store.work().count());
    if pick.is_multiple_of(31) {
        store.shut_down(pick.is_multiple_of(2));
    }
}

/// Begins something, tries it a few times, and gives it up or gives it back.
fn wait_for_it(segment: &Segment, kind: Kind, offset: usize, choice: u32, number: i64) {
    let mut operation = Operation { offset, wanted: wanted(kind, choice, number) };
    let mut over = false;
    for turn in [Turn::New, Turn::Again, Turn::Overdue] {
        let asking = Asking { ask: choice & 1 << 20 != 0 || turn == Turn::Overdue, turn };
        let attempted = segment.as_caller(|caller| operation.attempt(segment, caller, asking));
        over = match attempted.expect("it takes part") {
            Ok(Attempt::Wait(_)) => false,
            Ok(Attempt::Done(_)) | Err(_) => true,
        };
        if over {
            break;
        }
    }
    let _ = segment.as_caller(
        |caller| {
            if over { operation.undo(segment, caller) } else { operation.give_up(segment, caller) }
        },
    );
}

fn look_at_the_roster(segment: &Segment, choice: u32) {
    let roster = segment.roster().expect("where it is was checked when it was opened");
    let listed = roster.participants();
    assert!(listed.len() <= PARTICIPANTS);
    if let Some(tag) = Tag::read(choice) {
        let _ = roster.describe(tag);
    }
    if choice.is_multiple_of(7) {
        let _ = segment.bury();
    }
}

fn endure(kind: Kind, steps: &[(Vec<Damage>, u32, i64)]) {
    watch();
    let handle = make(kind);
    let segment = handle.segment();
    let file = File::from(segment.file().try_clone_to_owned().expect("there are descriptors"));
    for (damages, choice, number) in steps {
        for damage in damages {
            damage.apply(segment, &file);
        }
        BEGUN.fetch_add(1, Ordering::Relaxed);
        if choice & 1 << 21 == 0 {
            use_it(segment, kind, 0, *choice, *number);
        }
        wait_for_it(segment, kind, 0, *choice, *number);
        look_at_the_roster(segment, *choice);
    }
    assert!(segment.check().is_ok(), "no page of it was missing");
}

fn steps() -> impl Strategy<Value = Vec<(Vec<Damage>, u32, i64)>> {
    let damages = proptest::collection::vec(damage(), 0..6);
    proptest::collection::vec((damages, any::<u32>(), any::<i64>()), 1..60)
}

macro_rules! every_kind {
    ($($name:ident: $kind:ident,)*) => {
        proptest! {
            #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]
            $(
                #[test]
                fn $name(steps in steps()) {
                    endure(Kind::$kind, &steps);
                }
            )*
        }

        #[test]
        fn every_kind_is_damaged() {
            assert_eq!([$(Kind::$kind),*], Kind::ALL);
        }
    };
}

every_kind! {
    a_damaged_lock_answers: Lock,
    a_damaged_rlock_answers: RLock,
    a_damaged_semaphore_answers: Semaphore,
    a_damaged_event_answers: Event,
    a_damaged_condition_answers: Condition,
    a_damaged_barrier_answers: Barrier,
    a_damaged_counter_answers: Counter,
    a_damaged_read_write_lock_answers: ReadWriteLock,
    a_damaged_namespace_answers: Namespace,
    a_damaged_topic_answers: Topic,
    a_damaged_newest_value_answers: Latest,
    a_damaged_queue_answers: Queue,
    a_damaged_service_answers: Service,
}
