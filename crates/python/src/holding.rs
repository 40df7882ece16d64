//! The memory of a queue's jobs that this process looks at, and what becomes of it.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use samemap_core::error::Error;
use samemap_core::job::Label;
use samemap_core::queue::{Grip, Store};
use samemap_core::segment::Handle;
use samemap_core::storage::Storage;
use samemap_core::tag::Tag;

/// Where the bytes of a job are.
pub(crate) enum Content {
    /// In an object of its own.
    Copied(Py<PyBytes>),
    /// Where they were put.
    There(Arc<Holding>),
}

/// What becomes of a job when nothing of this process looks at its memory any more.
enum Fate {
    /// Nothing: whoever has the job sees to it.
    Undecided,
    /// It is freed.
    Clear(Grip),
    /// It is another's by now, who is told.
    LetGo,
    /// It is given back.
    GiveBack(Grip),
    /// It becomes a dead letter.
    PutAway(Grip),
}

/// The memory of a job that this process looks at.
pub(crate) struct Holding {
    handle: Handle,
    storage: Storage,
    tag: Tag,
    at: usize,
    generation: u32,
    label: Label,
    fate: Mutex<Fate>,
}

/// The holdings of jobs that this process may have to do with more than once: one for all of it.
static KNOWN: LazyLock<Mutex<HashMap<Key, Weak<Holding>>>> = LazyLock::new(Mutex::default);

/// Where the segment is in this process, the place of the job, and its generation.
type Key = (usize, usize, u32);

impl Holding {
    /// The holding of a job that this process has leased.
    pub(crate) fn new(handle: Handle, storage: Storage, tag: Tag, grip: Grip, label: Label) -> Arc<Self> {
        let (at, generation, fate) = (grip.at, grip.state.generation(), Mutex::new(Fate::Undecided));
        Arc::new(Self { handle, storage, tag, at, generation, label, fate })
    }

    /// The one that this process has from before, if it still has it.
    pub(crate) fn known(handle: &Handle, grip: Grip) -> Option<Arc<Self>> {
        let key = (Arc::as_ptr(handle.segment()) as usize, grip.at, grip.state.generation());
        let found = KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get(&key).and_then(Weak::upgrade)?;
        found.decide(Fate::Undecided);
        Some(found)
    }

    fn key(&self) -> Key {
        (Arc::as_ptr(self.handle.segment()) as usize, self.at, self.generation)
    }

    /// Where the message is, and how long.
    pub(crate) fn message(&self) -> Result<(*mut u8, usize), Error> {
        self.storage.message(self.handle.segment(), self.at, self.label)
    }

    /// The job is freed when nothing sees it any more: this process holds it.
    pub(crate) fn clear_later(&self, held: Grip) {
        self.decide(Fate::Clear(held));
    }

    /// The job is another's from now on; who is told when this process, which may see it, does not any more.
    pub(crate) fn sent(&self, is_seen: bool) {
        self.decide(if is_seen { Fate::LetGo } else { Fate::Undecided });
    }

    fn decide(&self, fate: Fate) {
        *self.fate.lock().unwrap_or_else(PoisonError::into_inner) = fate;
    }

    /// Has this process find it again when it gets the same job once more.
    pub(crate) fn make_known(self: &Arc<Self>) {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(self.key(), Arc::downgrade(self));
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        let key = self.key();
        if let Ok(mut known) = KNOWN.lock()
            && known.get(&key).is_some_and(|other| other.strong_count() == 0)
        {
            known.remove(&key);
        }
        let segment = self.handle.segment();
        // Not in a fork's child: it is its parent's.
        if segment.seated() != Some(self.tag) {
            return;
        }
        let Ok(store) = self.storage.store(segment) else { return };
        match std::mem::replace(self.fate.get_mut().unwrap_or_else(PoisonError::into_inner), Fate::Undecided) {
            Fate::Undecided => {}
            Fate::Clear(grip) => store.clear(grip, self.tag),
            Fate::LetGo => store.let_go(self.at, self.generation, self.tag),
            Fate::GiveBack(grip) => {
                store.give_back(grip, self.tag, false);
            }
            Fate::PutAway(grip) => {
                store.put_away(grip, self.tag, false);
            }
        }
    }
}

impl Content {
    /// The object may go as soon as nothing sees its memory any more: it is freed then.
    pub(crate) fn clear(&self, store: &Store<'_>, held: Grip, tag: Tag) {
        match self {
            Self::Copied(_) => store.clear(held, tag),
            Self::There(holding) => holding.decide(Fate::Clear(held)),
        }
    }

    /// The job is another's.
    pub(crate) fn let_go(&self, store: &Store<'_>, grip: Grip, tag: Tag) {
        match self {
            Self::Copied(_) => store.let_go(grip.at, grip.state.generation(), tag),
            Self::There(holding) => holding.decide(Fate::LetGo),
        }
    }

    /// The job is given back, or becomes a dead letter, when nothing sees its memory any more.
    pub(crate) fn return_later(&self, grip: Grip, bury: bool) {
        if let Self::There(holding) = self {
            holding.decide(if bury { Fate::PutAway(grip) } else { Fate::GiveBack(grip) });
        }
    }

    /// Whether anything else sees its memory, so that it must be kept when others get the job. It is known from then on.
    pub(crate) fn has_views(&self) -> bool {
        match self {
            Self::Copied(_) => false,
            Self::There(holding) => {
                let has = Arc::strong_count(holding) > 1;
                if has {
                    holding.make_known();
                }
                has
            }
        }
    }
}
