//! Floor 3: many readers or one writer.
//!
//! Writers exclude each other, and turn readers away, with a [`Lock`]. Readers say that they are inside in a [`Table`],
//! each process in its own entry, and never wait for each other. Reader and writer each make their own step known
//! before they look for the other: a reader enters itself, then looks at the lock, and takes itself back if that is
//! held; a writer takes the lock, then looks for readers, and waits until the last one has left. Both put a
//! sequentially consistent fence between the two, so that one sees the other at least. New readers are turned away
//! while a writer waits, so readers cannot keep it out for ever. That is why a thread that reads must not begin to read
//! again before it ends: a writer may have come in between.
//!
//! Readers sleep on a [`Bell`] of their own, not on the lock's word, where each release wakes one, and where a reader
//! that is woken and goes in would owe the next sleeper its wake-up. So a release wakes all readers and one writer.
//! Another bell is for the one writer that has the lock and waits for readers to leave.
//!
//! Where a process can be killed, and why it does no harm:
//!
//! - A reader, anywhere: its entry is all that it leaves. The writer that waits for it asks the kernel when its slice
//!   of sleep ends, and clears it. A wake-up that it owed the writer is made good in the same way.
//! - A writer that waits for readers: it has the lock, and whoever finds it dead takes the lock over. It has written
//!   nothing, and has said so (`draining`) before it slept, so nobody is told of a death.
//! - A writer inside: whoever takes over is told. A reader takes over as a writer would: takes the lock, enters itself,
//!   releases the lock. It can only look, not mend. So the death stays written down (`owed`), before the lock
//!   is free again, and everyone is told until the next writer is in, also when a writer that took over gives up
//!   because of a timeout. A holder killed anywhere before that dies with the lock, so the next one is told anyway.
//! - A writer that has released the lock and not yet rung: its readers look again when their slice ends.

use crate::atomic::{Ordering, Word32, fence};
use crate::bell::{Attempt, Bell};
use crate::holdings::{Holding, Table};
use crate::layout::shared;
use crate::lock::{Dead, Lock, Taken};
use crate::tag::{Caller, Living, Tag};

shared! {
/// Many readers or one writer, as they lie in shared memory; the table of the readers follows.
pub struct ReadWriteLock(128) {
    /// The writer, inside or waiting for readers to leave.
    lock: Lock,
    /// For readers who wait until no writer is there.
    written: Bell,
    /// For the writer who waits until no reader is there.
    left: Bell,
    /// How many entries of the table, from the first, may be in use.
    extent: Word32,
    /// The writer that has the lock and waits; 0 when it is inside. Whoever has the lock writes it.
    draining: Word32,
    /// The writer that died inside, and that no writer has been told of; 0 when there is none. Whoever has the lock
    /// writes it.
    owed: Word32,
}
}

/// How far a writer has come; one for each acquisition.
#[derive(Debug, Default)]
pub struct Writing {
    has_lock: bool,
}

/// The caller's process does not read, so it cannot stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotHeld;

impl ReadWriteLock {
    /// A free lock.
    #[expect(clippy::new_without_default, reason = "shared memory is made in place, never by default")]
    pub fn new() -> Self {
        Self {
            lock: Lock::new(),
            written: Bell::new(),
            left: Bell::new(),
            extent: Word32::new(0),
            draining: Word32::new(0),
            owed: Word32::new(0),
        }
    }

    /// Bytes of a lock and of the table that follows it.
    #[must_use]
    pub const fn size(participants: usize) -> usize {
        size_of::<Self>() + participants * size_of::<Holding>()
    }

    /// Begins to read if no writer is there, and none died inside; says whether it did.
    #[inline]
    pub fn try_read(&self, held: &[Holding], me: Tag) -> bool {
        let table = self.table(held);
        if !self.enter(table, me) {
            return false;
        }
        // Only now: a writer could have died, and been followed, after an earlier look.
        let is_sound = self.owed() == 0;
        if !is_sound {
            self.exit(table, me);
        }
        is_sound
    }

    /// Enters the caller among the readers, unless a writer is there.
    #[inline]
    fn enter(&self, table: Table<'_>, me: Tag) -> bool {
        // Without this look, readers who try again and again would keep a writer busy that waits for them to leave.
        if self.lock.holder().is_some() || !table.add(me) {
            return false;
        }
        fence(Ordering::SeqCst);
        if self.lock.holder().is_none() {
            // Acquire [lock.word]: sees all that the last writer did.
            fence(Ordering::Acquire);
            return true;
        }
        self.exit(table, me);
        false
    }

    #[inline]
    fn exit(&self, table: Table<'_>, me: Tag) -> bool {
        let is_out = table.take_back(me, 1);
        self.left.ring();
        is_out
    }

    /// Begins to read, or tells what to sleep on.
    #[cold]
    pub fn attempt_read(&self, held: &[Holding], caller: Caller<'_>, dead: Dead) -> Attempt<'_, Taken> {
        let table = self.table(held);
        loop {
            if let Some(taken) = self.read_now(table, caller, dead) {
                return Attempt::Done(taken);
            }
            let sleep = self.written.listen();
            // Who cannot be recorded as a reader never gets in, and must not try for ever.
            if self.lock.holder().is_some() || !table.has(caller.tag) {
                return Attempt::Wait(sleep);
            }
        }
    }

    /// Begins to read if no writer who lives is there, without waiting.
    ///
    /// `None`: there is one, inside or waiting for readers to leave.
    #[cold]
    pub fn poll_read(&self, held: &[Holding], caller: Caller<'_>, dead: Dead) -> Option<Taken> {
        let table = self.table(held);
        loop {
            if let Some(taken) = self.read_now(table, caller, dead) {
                return Some(taken);
            }
            let writer = self.lock.holder();
            let is_written = writer.is_some_and(|writer| dead == Dead::DontAsk || caller.living.is_alive(writer));
            if is_written || !table.has(caller.tag) {
                return None;
            }
        }
    }

    /// Begins to read if no writer is there, or if it is dead and the caller asks.
    fn read_now(&self, table: Table<'_>, caller: Caller<'_>, dead: Dead) -> Option<Taken> {
        if self.enter(table, caller.tag) {
            return Some(self.told(self.owed()));
        }
        let writer = self.lock.holder()?;
        if dead == Dead::DontAsk || caller.living.is_alive(writer) || !table.has(caller.tag) {
            return None;
        }
        let taken = self.take_over(caller, dead)?;
        if !matches!(taken, Taken::Abandoned(_)) {
            // No need to look for readers: they are welcome.
            table.add(caller.tag);
            self.leave(caller.tag);
        }
        Some(taken)
    }

    /// Ends to read.
    ///
    /// # Errors
    ///
    /// The caller's process does not read.
    #[inline]
    pub fn release_read(&self, held: &[Holding], me: Tag) -> Result<(), NotHeld> {
        if self.exit(self.table(held), me) { Ok(()) } else { Err(NotHeld) }
    }

    /// Begins to write if nobody else is there, and no writer died inside; says whether it did.
    #[inline]
    pub fn try_write(&self, held: &[Holding], me: Tag, living: &dyn Living) -> bool {
        let table = self.table(held);
        // It looks before it takes the lock, because in that moment it would turn readers away.
        if self.lock.holder().is_some() || table.is_any_held(living, false) || !self.lock.try_acquire(me) {
            return false;
        }
        fence(Ordering::SeqCst);
        if self.owed() == 0 && !table.is_any_held(living, false) {
            return true;
        }
        self.leave(me);
        false
    }

    /// Begins to write, or tells what to sleep on.
    ///
    /// Once it waits for readers to leave, it keeps new ones out: whoever gives up must [abandon](Self::abandon_write)
    /// it.
    #[cold]
    pub fn attempt_write(
        &self,
        held: &[Holding],
        caller: Caller<'_>,
        progress: &mut Writing,
        dead: Dead,
    ) -> Attempt<'_, Taken> {
        let table = self.table(held);
        if !progress.has_lock {
            match self.lock.attempt(caller, self.about(dead)) {
                Attempt::Wait(sleep) => return Attempt::Wait(sleep),
                Attempt::Done(taken @ Taken::Abandoned(_)) => return Attempt::Done(taken),
                Attempt::Done(taken) => self.note(taken),
            }
            progress.has_lock = true;
            fence(Ordering::SeqCst);
        }
        let ask = dead != Dead::DontAsk;
        if table.is_any_held(caller.living, ask) {
            self.draining.store(caller.tag.word(), Ordering::Relaxed);
            let sleep = self.left.listen();
            if table.is_any_held(caller.living, false) {
                return Attempt::Wait(sleep);
            }
        }
        progress.has_lock = false;
        Attempt::Done(self.begin())
    }

    /// Gives up an attempt to write.
    pub fn abandon_write(&self, progress: &mut Writing, me: Tag) {
        if std::mem::take(&mut progress.has_lock) {
            self.leave(me);
        }
    }

    /// Begins to write if nobody who lives is there, without waiting.
    ///
    /// `None`: somebody reads, or writes, or waits to. `dead` says what to do about a dead writer; not to ask makes no
    /// sense.
    #[cold]
    pub fn poll_write(&self, held: &[Holding], caller: Caller<'_>, dead: Dead) -> Option<Taken> {
        let table = self.table(held);
        if table.is_any_held(caller.living, true) {
            return None;
        }
        match self.lock.poll(caller, self.about(dead))? {
            taken @ Taken::Abandoned(_) => return Some(taken),
            taken => self.note(taken),
        }
        fence(Ordering::SeqCst);
        if table.is_any_held(caller.living, true) {
            self.leave(caller.tag);
            return None;
        }
        Some(self.begin())
    }

    /// Is done when one could write, without taking anything; or tells what to sleep on. Whoever only looks must
    /// [pass on](Self::pass_on) the wake-up that it may have had.
    pub fn look_to_write(&self, held: &[Holding], caller: Caller<'_>, ask: bool) -> Attempt<'_, ()> {
        let table = self.table(held);
        if let Attempt::Wait(sleep) = self.lock.look(caller, ask) {
            return Attempt::Wait(sleep);
        }
        if !table.is_any_held(caller.living, ask) {
            return Attempt::Done(());
        }
        let sleep = self.left.listen();
        if table.is_any_held(caller.living, false) { Attempt::Wait(sleep) } else { Attempt::Done(()) }
    }

    /// Wakes another one if nobody writes: for one that gives up, and may have been woken just then.
    #[cold]
    pub fn pass_on(&self) {
        self.left.ring();
        self.lock.pass_on();
    }

    /// Ends to write.
    ///
    /// # Errors
    ///
    /// The caller's process does not write; who does.
    #[inline]
    pub fn release_write(&self, me: Tag) -> Result<(), Option<Tag>> {
        self.lock.release(me)?;
        self.written.ring();
        Ok(())
    }

    /// Ends to read at once, for one who is told that this writer died, and does not want to read what it left.
    pub fn decline_read(&self, held: &[Holding], me: Tag, writer: Tag) -> Taken {
        self.exit(self.table(held), me);
        Taken::Abandoned(writer)
    }

    /// Ends to write at once, for one who is told that this writer died: the next one is told, too.
    pub fn decline_write(&self, me: Tag, writer: Tag) -> Taken {
        // Before the release. Killed in between, the caller is one that died inside.
        self.owed.store(writer.word(), Ordering::Relaxed);
        self.leave(me);
        Taken::Abandoned(writer)
    }

    /// What to do about a dead holder of the lock: one that died while it waited for readers has written nothing, and
    /// so there is nothing to report.
    fn about(&self, dead: Dead) -> Dead {
        if dead == Dead::Report && self.is_draining() { Dead::TakeOver } else { dead }
    }

    /// The table of the readers.
    #[inline(always)]
    pub fn table<'a>(&'a self, held: &'a [Holding]) -> Table<'a> {
        Table::new(&self.extent, held)
    }

    /// Who reads, and how many times, as far as is known without asking about the dead.
    pub fn readers(&self, held: &[Holding], living: &dyn Living) -> Vec<(Tag, u32)> {
        self.table(held).present(living, false).collect()
    }

    /// Whether the writer that has the lock waits for readers to leave.
    pub fn is_draining(&self) -> bool {
        let waits = Tag::read(self.draining.load(Ordering::Relaxed));
        waits.is_some() && waits == self.lock.holder()
    }

    /// The lock of the writers: who holds it, since when, and what has become of it.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    #[inline(always)]
    fn owed(&self) -> u32 {
        // Relaxed: whoever must see it comes after the lock was released, with which it was written.
        self.owed.load(Ordering::Relaxed)
    }

    fn told(&self, owed: u32) -> Taken {
        Tag::read(owed).map_or(Taken::Free, Taken::Recovered)
    }

    /// Takes the lock over from a dead writer, as a reader.
    fn take_over(&self, caller: Caller<'_>, dead: Dead) -> Option<Taken> {
        match self.lock.attempt(caller, self.about(dead)) {
            // Somebody else was faster.
            Attempt::Wait(_) => None,
            Attempt::Done(taken @ Taken::Abandoned(_)) => Some(taken),
            Attempt::Done(taken) => {
                self.note(taken);
                Some(self.told(self.owed()))
            }
        }
    }

    /// Writes down from whom the caller has the lock, before anything that could have it released.
    fn note(&self, taken: Taken) {
        if let Taken::Recovered(writer) = taken
            && self.draining.load(Ordering::Relaxed) != writer.word()
        {
            self.owed.store(writer.word(), Ordering::Relaxed);
        }
    }

    /// Goes inside as a writer who has the lock, after the last reader.
    fn begin(&self) -> Taken {
        let taken = self.told(self.owed());
        self.draining.store(0, Ordering::Relaxed);
        self.owed.store(0, Ordering::Relaxed);
        taken
    }

    /// Gives the lock back without having been inside.
    fn leave(&self, me: Tag) {
        // Before the release: left there, it would say of this writer, once it is inside, that it only waits.
        self.draining.store(0, Ordering::Relaxed);
        // It fails only when somebody has overwritten the word, and then the lock is not the caller's to give back.
        let _ = self.release_write(me);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTICIPANTS: usize = 3;

    /// Participants of epoch 1; those of `dead` died.
    struct Few {
        dead: &'static [usize],
    }

    impl Living for Few {
        fn is_present(&self, tag: Tag) -> bool {
            tag.epoch() == 1 && tag.index() < PARTICIPANTS
        }

        fn is_alive(&self, tag: Tag) -> bool {
            self.is_present(tag) && !self.dead.contains(&tag.index())
        }
    }

    const ALL: Few = Few { dead: &[] };
    const ZERO_DEAD: Few = Few { dead: &[0] };

    fn tag(index: usize) -> Tag {
        Tag::new(index, 1)
    }

    struct Guarded {
        lock: ReadWriteLock,
        held: [Holding; PARTICIPANTS],
    }

    impl Guarded {
        fn new() -> Self {
            Self { lock: ReadWriteLock::new(), held: std::array::from_fn(|_| Holding::new()) }
        }

        fn read(&self, index: usize, living: &Few) -> Option<Taken> {
            self.lock.poll_read(&self.held, Caller { tag: tag(index), living }, Dead::TakeOver)
        }

        fn write(&self, index: usize, living: &Few) -> Option<Taken> {
            self.lock.poll_write(&self.held, Caller { tag: tag(index), living }, Dead::TakeOver)
        }

        /// One attempt to write, with what has come of it so far.
        fn attempt(&self, index: usize, progress: &mut Writing, living: &Few, dead: Dead) -> Option<Taken> {
            match self.lock.attempt_write(&self.held, Caller { tag: tag(index), living }, progress, dead) {
                Attempt::Done(taken) => Some(taken),
                Attempt::Wait(_) => None,
            }
        }

        fn end_read(&self, index: usize) -> Result<(), NotHeld> {
            self.lock.release_read(&self.held, tag(index))
        }
    }

    #[test]
    fn many_read_and_one_writes() {
        let guarded = Guarded::new();
        assert!(guarded.lock.try_read(&guarded.held, tag(0)) && guarded.lock.try_read(&guarded.held, tag(0)));
        assert_eq!(guarded.read(1, &ALL), Some(Taken::Free));
        assert_eq!(guarded.lock.readers(&guarded.held, &ALL), [(tag(0), 2), (tag(1), 1)]);
        assert!(!guarded.lock.try_write(&guarded.held, tag(2), &ALL) && guarded.write(2, &ALL).is_none());
        assert_eq!([0, 0, 1].map(|index| guarded.end_read(index)), [Ok(()); 3]);
        assert_eq!(guarded.end_read(1), Err(NotHeld));
        assert!(guarded.lock.try_write(&guarded.held, tag(2), &ALL));
        assert!(!guarded.lock.try_read(&guarded.held, tag(2)) && guarded.read(0, &ALL).is_none());
        assert_eq!((guarded.write(0, &ALL), guarded.lock.release_write(tag(0))), (None, Err(Some(tag(2)))));
        assert_eq!((guarded.lock.release_write(tag(2)), guarded.lock.release_write(tag(2))), (Ok(()), Err(None)));
        assert!(guarded.lock.try_read(&guarded.held, tag(0)));
    }

    #[test]
    fn a_waiting_writer_keeps_new_readers_out_until_it_gives_up() {
        let (guarded, mut progress) = (Guarded::new(), Writing::default());
        assert!(guarded.lock.try_read(&guarded.held, tag(0)));
        assert_eq!(guarded.attempt(1, &mut progress, &ALL, Dead::DontAsk), None);
        assert!(guarded.lock.is_draining() && guarded.read(2, &ALL).is_none());
        guarded.lock.abandon_write(&mut progress, tag(1));
        guarded.lock.abandon_write(&mut progress, tag(1));
        assert!(!guarded.lock.is_draining());
        assert_eq!(guarded.read(2, &ALL), Some(Taken::Free));
        assert_eq!((guarded.end_read(0), guarded.end_read(2)), (Ok(()), Ok(())));
        assert_eq!(guarded.attempt(1, &mut progress, &ALL, Dead::DontAsk), Some(Taken::Free));
    }

    #[test]
    fn dead_readers_hold_nobody_up() {
        let (guarded, mut progress) = (Guarded::new(), Writing::default());
        assert!(guarded.lock.try_read(&guarded.held, tag(0)));
        assert_eq!(guarded.attempt(1, &mut progress, &ZERO_DEAD, Dead::DontAsk), None);
        assert_eq!(guarded.attempt(1, &mut progress, &ZERO_DEAD, Dead::TakeOver), Some(Taken::Free));
        assert_eq!(guarded.lock.release_write(tag(1)), Ok(()));
        assert!(guarded.lock.try_write(&guarded.held, tag(2), &ZERO_DEAD), "nobody needs to ask again");
    }

    #[test]
    fn all_are_told_of_a_dead_writer_until_the_next_is_in() {
        let guarded = Guarded::new();
        assert!(guarded.lock.try_write(&guarded.held, tag(0), &ALL));
        let report = Caller { tag: tag(1), living: &ZERO_DEAD };
        assert_eq!(guarded.lock.poll_read(&guarded.held, report, Dead::Report), Some(Taken::Abandoned(tag(0))));
        assert_eq!(guarded.lock.poll_write(&guarded.held, report, Dead::Report), Some(Taken::Abandoned(tag(0))));
        assert_eq!(guarded.lock.poll_read(&guarded.held, report, Dead::DontAsk), None);
        let told = Some(Taken::Recovered(tag(0)));
        assert_eq!((guarded.read(1, &ZERO_DEAD), guarded.read(2, &ZERO_DEAD)), (told, told));
        assert!(!guarded.lock.try_read(&guarded.held, tag(1)), "the short way tells nothing");
        let mut progress = Writing::default();
        assert_eq!(guarded.attempt(1, &mut progress, &ZERO_DEAD, Dead::TakeOver), None);
        guarded.lock.abandon_write(&mut progress, tag(1));
        assert_eq!((guarded.end_read(1), guarded.end_read(2)), (Ok(()), Ok(())));
        assert!(!guarded.lock.try_write(&guarded.held, tag(1), &ZERO_DEAD));
        assert_eq!(guarded.write(1, &ZERO_DEAD), told);
        assert_eq!(guarded.lock.release_write(tag(1)), Ok(()));
        assert_eq!(guarded.read(2, &ZERO_DEAD), Some(Taken::Free));
    }

    #[test]
    fn of_a_writer_that_died_while_it_waited_nobody_is_told() {
        let (guarded, mut progress) = (Guarded::new(), Writing::default());
        assert!(guarded.lock.try_read(&guarded.held, tag(1)));
        assert_eq!(guarded.attempt(0, &mut progress, &ALL, Dead::DontAsk), None);
        assert_eq!(guarded.read(2, &ZERO_DEAD), Some(Taken::Free));
        assert_eq!((guarded.end_read(1), guarded.end_read(2)), (Ok(()), Ok(())));
        assert_eq!(guarded.write(1, &ZERO_DEAD), Some(Taken::Free));
    }

    #[test]
    fn one_that_took_over_and_died_while_it_waited_hides_no_death() {
        let (guarded, mut progress) = (Guarded::new(), Writing::default());
        assert!(guarded.lock.try_write(&guarded.held, tag(0), &ALL));
        assert_eq!(guarded.read(2, &ZERO_DEAD), Some(Taken::Recovered(tag(0))));
        assert_eq!(guarded.attempt(1, &mut progress, &ZERO_DEAD, Dead::TakeOver), None);
        let both_dead = Few { dead: &[0, 1] };
        assert_eq!(guarded.end_read(2), Ok(()));
        assert_eq!(guarded.write(2, &both_dead), Some(Taken::Recovered(tag(0))));
    }

    #[test]
    fn any_bits_are_a_lock() {
        for bits in [1, u32::MAX, Tag::MARK, tag(0).word(), 0x5555_5555, !0 << 10] {
            let guarded = Guarded::new();
            for word in [&guarded.lock.extent, &guarded.lock.draining, &guarded.lock.owed] {
                word.store(bits, Ordering::Relaxed);
            }
            let taken = guarded.write(1, &ALL);
            assert_eq!(taken, Some(Tag::read(bits).map_or(Taken::Free, Taken::Recovered)));
            assert_eq!(guarded.lock.release_write(tag(1)), Ok(()));
            assert_eq!(guarded.read(2, &ALL), Some(Taken::Free));
            let outside = Caller { tag: tag(PARTICIPANTS), living: &ALL };
            assert!(matches!(guarded.lock.attempt_read(&guarded.held, outside, Dead::TakeOver), Attempt::Wait(_)));
            assert_eq!(guarded.lock.poll_read(&guarded.held, outside, Dead::TakeOver), None);
        }
    }
}
