//! `samemap.Participant`.

use pyo3::prelude::*;
use samemap_core::roster;

/// A process that takes part in a segment.
///
/// Attributes:
///     pid: Its number, as it saw itself: in another pid namespace that may be another process.
///     command: Its command line, or the first 64 bytes of it.
///     role: What it does here, as far as the object that was asked can tell.
///     joined: When it joined, in seconds since 1970.
///     user: The number of its user.
///     alive: Whether it lives; a stopped process does.
///     waiting: How many of its threads and tasks sleep here.
///     died: When its death was noticed, in seconds since 1970; ``None`` while nobody has taken its place.
#[pyclass(frozen, eq, module = "samemap")]
#[derive(Clone, PartialEq)]
pub(crate) struct Participant {
    pub(crate) participant: roster::Participant,
}

/// Seconds since 1970, from nanoseconds.
#[expect(clippy::cast_precision_loss, reason = "a float of seconds is what Python's clocks return")]
pub(crate) fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

#[pymethods]
impl Participant {
    #[getter]
    fn pid(&self) -> u32 {
        self.participant.pid
    }

    #[getter]
    fn command(&self) -> &str {
        &self.participant.command
    }

    #[getter]
    fn role(&self) -> &str {
        &self.participant.role
    }

    #[getter]
    fn joined(&self) -> f64 {
        seconds(self.participant.joined)
    }

    #[getter]
    fn user(&self) -> u32 {
        self.participant.user
    }

    #[getter]
    fn alive(&self) -> bool {
        self.participant.alive
    }

    #[getter]
    fn waiting(&self) -> u32 {
        self.participant.waiting.0
    }

    #[getter]
    fn died(&self) -> Option<f64> {
        self.participant.died.map(seconds)
    }

    /// Offset of what one of its threads waits for, in bytes from the start of the segment; 0 where none does.
    #[getter]
    fn _waiting_on(&self) -> u64 {
        if self.participant.waiting.0 == 0 { 0 } else { self.participant.waiting.1 }
    }

    /// The word that stands for it in shared memory.
    #[getter]
    fn _tag(&self) -> u32 {
        self.participant.tag.word()
    }

    /// The inode of its pid namespace.
    #[getter]
    fn _pid_namespace(&self) -> u64 {
        self.participant.pid_namespace
    }

    /// The same, in the role that its object says it has.
    #[pyo3(name = "_with_role")]
    fn with_role(&self, role: String) -> Self {
        Self { participant: roster::Participant { role, ..self.participant.clone() } }
    }

    fn __repr__(&self) -> String {
        let roster::Participant { pid, command, role, alive, waiting, .. } = &self.participant;
        let alive = if *alive { "True" } else { "False" };
        format!("Participant(pid={pid}, command={command:?}, role={role:?}, alive={alive}, waiting={})", waiting.0)
    }
}
