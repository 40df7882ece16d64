//! The gate.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use samemap_core::gate::Gate;

struct Shared {
    gate: Gate,
    cell: UnsafeCell<usize>,
}

// SAFETY: the gate is what the test proves to be enough; loom reports every unordered access of the cell.
unsafe impl Sync for Shared {}

fn shared() -> Arc<Shared> {
    Arc::new(Shared { gate: Gate::new(), cell: UnsafeCell::new(1) })
}

fn read(shared: &Shared) -> Option<usize> {
    shared.gate.try_pin().map(|_pin| {
        shared.cell.with(|cell| {
            // SAFETY: pinned, so nobody writes.
            unsafe { *cell }
        })
    })
}

fn write(shared: &Shared, value: usize) {
    let _shut = shared.gate.shut(|| ());
    shared.cell.with_mut(|cell| {
        // SAFETY: shut, so nobody reads or writes.
        unsafe { *cell = value }
    });
}

#[test]
fn a_pinned_reader_never_meets_the_writer() {
    loom::model(|| {
        let shared = shared();
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    if let Some(seen) = read(&shared) {
                        assert!(seen == 1 || seen == 2);
                    }
                })
            })
            .collect();
        write(&shared, 2);
        for reader in readers {
            reader.join().unwrap();
        }
        assert_eq!(read(&shared), Some(2), "the gate is open again, and the write is seen");
    });
}

#[test]
fn those_who_are_refused_leave_nothing_behind() {
    loom::model(|| {
        let shared = shared();
        let reader = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                // Twice, refused or not; never again and again, so that the model stays finite.
                read(&shared);
                read(&shared);
            })
        };
        write(&shared, 2);
        write(&shared, 3);
        reader.join().unwrap();
        assert_eq!(read(&shared), Some(3));
    });
}
