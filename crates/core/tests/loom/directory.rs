//! The directory of a namespace.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use samemap_core::bell::Attempt;
use samemap_core::directory::{Directory, Entry, Found, Table};

use crate::drive::{Order, Roster, until_done};

const BODY: usize = 1 << 20;

struct Namespace {
    directory: Directory,
    entries: [Entry; 3],
    roster: Roster,
    order: Order,
    /// What the first two objects hold.
    objects: [UnsafeCell<usize>; 2],
}

// SAFETY: the directory is what the tests prove to be enough; loom reports every unordered access of the cells.
unsafe impl Sync for Namespace {}
// SAFETY: as above.
unsafe impl Send for Namespace {}

fn namespace() -> Arc<Namespace> {
    Arc::new(Namespace {
        directory: Directory::new(),
        entries: std::array::from_fn(|_| Entry::new()),
        roster: Roster::new(),
        order: Order::new(),
        objects: std::array::from_fn(|_| UnsafeCell::new(0)),
    })
}

impl Namespace {
    fn table(&self) -> Table<'_> {
        Table::new(&self.directory, &self.entries, BODY)
    }

    /// The object at that offset: each takes 64 bytes.
    fn object(&self, offset: usize) -> &UnsafeCell<usize> {
        let start = size_of::<Directory>() + size_of_val(&self.entries);
        &self.objects[(offset - start) / 64]
    }

    fn initialise(&self, offset: usize, value: usize) {
        self.object(offset).with_mut(|object| {
            // SAFETY: nobody has found it yet, which is what the test proves.
            unsafe { *object = value }
        });
    }

    fn read(&self, found: &Found) -> usize {
        self.object(found.offset).with(|object| {
            // SAFETY: what is found does not change any more, which is what the test proves.
            unsafe { *object }
        })
    }

    /// Finds or makes the object; what it holds is who made it.
    fn add(&self, index: usize, name: &[u8], ask: bool) -> Found {
        until_done(|| {
            self.table().find_or_add(self.roster.caller(index), ask, name, (1, 64), |offset| {
                self.initialise(offset, 10 + index);
                Ok::<(), ()>(())
            })
        })
        .unwrap()
        .unwrap()
    }
}

#[test]
fn of_two_who_make_the_same_name_one_does_and_the_other_finds_it() {
    loom::model(|| {
        let namespace = namespace();
        let other = {
            let namespace = Arc::clone(&namespace);
            thread::spawn(move || {
                let found = namespace.add(0, b"a", false);
                (namespace.read(&found), found)
            })
        };
        let found = namespace.add(1, b"a", false);
        assert_eq!((namespace.read(&found), found), other.join().unwrap());
        assert_eq!(namespace.table().list().unwrap().len(), 1);
    });
}

#[test]
fn two_names_get_two_places() {
    loom::model(|| {
        let namespace = namespace();
        let other = {
            let namespace = Arc::clone(&namespace);
            thread::spawn(move || {
                let found = namespace.add(0, b"a", false);
                assert_eq!(namespace.read(&found), 10);
            })
        };
        let found = namespace.add(1, b"b", false);
        assert_eq!(namespace.read(&found), 11);
        other.join().unwrap();
        let listed = namespace.table().list().unwrap();
        assert_eq!(listed.len(), 2);
        assert_ne!(listed[0].offset, listed[1].offset);
        assert_ne!(listed[0].name, listed[1].name);
    });
}

#[test]
fn what_is_found_is_whole() {
    loom::model(|| {
        let namespace = namespace();
        let maker = {
            let namespace = Arc::clone(&namespace);
            thread::spawn(move || {
                let found = namespace.add(0, b"a", false);
                namespace.order.point();
                found
            })
        };
        namespace.order.point();
        if let Some(found) = namespace.table().find(b"a").unwrap() {
            assert_eq!((found.kind, found.length, namespace.read(&found)), (1, 64, 10));
        }
        let found = maker.join().unwrap();
        assert_eq!(namespace.table().find(b"a").unwrap(), Some(found));
    });
}

#[test]
fn one_who_dies_making_an_object_leaves_room_for_the_next() {
    loom::model(|| {
        let namespace = namespace();
        let victim = {
            let namespace = Arc::clone(&namespace);
            thread::spawn(move || {
                // It dies in the middle: there is no entry. Others may have the guard before it comes to giving it back.
                let attempt =
                    namespace.table().find_or_add(namespace.roster.caller(0), false, b"a", (1, 64), |offset| {
                        namespace.initialise(offset, 99);
                        namespace.roster.die(namespace.roster.caller(0).tag);
                        Err(offset)
                    });
                matches!(attempt, Attempt::Done(Err(_)))
            })
        };
        let found = namespace.add(1, b"b", true);
        assert_eq!(namespace.read(&found), 11);
        victim.join().unwrap();
        let again = namespace.add(2, b"a", true);
        assert_eq!(namespace.read(&again), 12);
        assert_ne!(found.offset, again.offset);
        assert_eq!(namespace.table().list().unwrap().len(), 2);
    });
}
