//! What became of each job, as those tell who did it: in memory that outlives them, and in which nobody dies.
//!
//! A process dies only before changes that algorithms make. So what it notes right behind the change that decides is noted
//! whenever that was made.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most jobs of a scene.
const MOST: usize = 256;

/// What became of a job.
pub(crate) struct Account {
    /// Whether it counts; it may, too, when its producer died in the middle of that.
    committed: AtomicU64,
    /// Deliveries since it was put or replayed, as far as they were noted.
    delivered: AtomicU64,
    /// How often it was acknowledged, or thrown away.
    ended: AtomicU64,
}

/// The accounts of all jobs of a scene.
pub(crate) struct Ledger {
    begun: AtomicU64,
    accounts: [Account; MOST],
}

/// The ledger, one for this process and all that it forks.
pub(crate) fn ledger() -> &'static Ledger {
    static LEDGER: OnceLock<&'static Ledger> = OnceLock::new();
    LEDGER.get_or_init(|| {
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: new memory, wherever the kernel likes.
        let place = unsafe { libc::mmap(std::ptr::null_mut(), size_of::<Ledger>(), access, flags, -1, 0) };
        assert_ne!(place, libc::MAP_FAILED);
        // SAFETY: it is that long and aligned to pages, it is never unmapped, and zeros are a valid ledger.
        unsafe { &*place.cast::<Ledger>() }
    })
}

impl Ledger {
    /// Begins anew, for another scene.
    pub(crate) fn clear(&self) {
        self.begun.store(0, Ordering::SeqCst);
        for account in &self.accounts {
            for word in [&account.committed, &account.delivered, &account.ended] {
                word.store(0, Ordering::SeqCst);
            }
        }
    }

    /// The number of a new job.
    pub(crate) fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::SeqCst)
    }

    fn account(&self, job: u64) -> &Account {
        let begun = self.begun.load(Ordering::SeqCst);
        assert!(job < begun, "there is no job {job}, of {begun}");
        &self.accounts[usize::try_from(job).expect("it is small")]
    }

    /// It counts.
    pub(crate) fn committed(&self, job: u64) {
        self.account(job).committed.store(1, Ordering::SeqCst);
    }

    /// It was delivered, and says for which time; each death may have been one that was not noted.
    pub(crate) fn delivered(&self, job: u64, attempt: u32) {
        let noted = self.account(job).delivered.fetch_add(1, Ordering::SeqCst) + 1;
        let deaths = 2;
        assert!((noted..=noted + deaths).contains(&u64::from(attempt)), "job {job}: delivery {noted} says {attempt}");
        assert_eq!(self.account(job).ended.load(Ordering::SeqCst), 0, "job {job} was done, and is delivered again");
    }

    /// It will be delivered as if for the first time.
    pub(crate) fn replayed(&self, job: u64) {
        self.account(job).delivered.store(0, Ordering::SeqCst);
    }

    /// It may be thrown away, and need not be delivered any more.
    pub(crate) fn discarding(&self, job: u64) {
        self.account(job).committed.store(0, Ordering::SeqCst);
    }

    /// It was acknowledged, or thrown away.
    pub(crate) fn ended(&self, job: u64) {
        let before = self.account(job).ended.fetch_add(1, Ordering::SeqCst);
        assert_eq!(before, 0, "job {job} has ended twice");
    }

    /// All is done: what counts has ended, once.
    pub(crate) fn close(&self) {
        for job in 0..self.begun.load(Ordering::SeqCst) {
            let account = self.account(job);
            let (committed, ended) = (account.committed.load(Ordering::SeqCst), account.ended.load(Ordering::SeqCst));
            assert!(
                ended == 1 || ended == 0 && committed == 0,
                "job {job} is lost: committed {committed}, ended {ended}"
            );
        }
    }

    /// How many jobs count for sure and have not ended; how many there may be.
    pub(crate) fn open(&self) -> (usize, usize) {
        let begun = (0..self.begun.load(Ordering::SeqCst)).map(|job| self.account(job));
        let open = begun.filter(|account| account.ended.load(Ordering::SeqCst) == 0);
        open.fold((0, 0), |(sure, all), account| {
            (sure + usize::from(account.committed.load(Ordering::SeqCst) == 1), all + 1)
        })
    }
}
