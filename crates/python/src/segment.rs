//! `samemap._core.Segment`: a file or memory that holds objects.

use std::ffi::c_int;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use samemap_core::error::Error;
use samemap_core::file::Trust;
use samemap_core::layout::Kind;
use samemap_core::objects::{self, Parameters};
use samemap_core::operation::{Operation, Outcome, Wanted};
use samemap_core::segment::{self, Handle, New};
use samemap_core::tag::Tag;

use crate::arguments::Timeout;
use crate::drive::{check_open, drive, raise};
use crate::errors;
use crate::participant::{Participant, seconds};

/// A self-describing file, or memory without a name, that holds one object or a directory of many.
#[pyclass(frozen, module = "samemap._core")]
pub(crate) struct Segment {
    handle: Handle,
}

pub(crate) fn kind(name: &str) -> PyResult<Kind> {
    let found = Kind::ALL.into_iter().find(|kind| kind.name() == name);
    found.ok_or_else(|| PyValueError::new_err(format!("there is no kind of object called {name:?}")))
}

impl Segment {
    pub(crate) fn again(&self) -> PyResult<Handle> {
        self.handle.again().map_err(|error| raise(self.handle.segment(), &error))
    }

    pub(crate) fn handle(&self) -> PyResult<&Handle> {
        check_open(&self.handle)?;
        Ok(&self.handle)
    }
}

#[pymethods]
impl Segment {
    #[new]
    #[allow(
        clippy::too_many_arguments,
        reason = "called by samemap.segments only, which gives them names and defaults"
    )]
    fn new(
        py: Python<'_>,
        path: Option<PathBuf>,
        how: &str,
        kind_name: Option<&str>,
        parameters: [i64; 3],
        participants: usize,
        schema: &str,
        perm: u32,
        writable: bool,
        follow_symlinks: bool,
        any_owner: bool,
        fd: c_int,
    ) -> PyResult<Self> {
        let trust = Trust { follow_symlinks, any_owner };
        let wanted = kind_name.map(kind).transpose()?;
        let parameters = Parameters(parameters);
        let missing = || Error::Invalid("no path was given".to_owned());
        let made = py.detach(|| {
            let plan = || {
                let kind = wanted.ok_or_else(missing)?;
                let body_size = objects::size(kind, participants, parameters)?;
                Ok::<_, Error>(New { kind, body_size, participants, schema, perm })
            };
            let initialise = |segment: &segment::Segment| objects::initialise(segment, 0, segment.kind(), parameters);
            match how {
                "create" => segment::Segment::create(Some(path.as_deref().ok_or_else(missing)?), plan()?, initialise),
                "anonymous" => segment::Segment::create(None, plan()?, initialise),
                "open" => segment::Segment::open(path.as_deref().ok_or_else(missing)?, wanted, writable, trust),
                "open-or-create" => {
                    segment::Segment::open_or_create(path.as_deref().ok_or_else(missing)?, plan()?, trust, initialise)
                }
                "descriptor" => segment::Segment::from_descriptor(fd, path.as_deref(), wanted, writable),
                other => Err(Error::Invalid(format!("there is no way {other:?} to make a segment"))),
            }
        });
        match made {
            Ok(handle) => Ok(Self { handle }),
            Err(error) => Err(errors::raise(&error, path.as_deref())),
        }
    }

    /// The file behind it; ``None`` for memory without a name.
    #[getter]
    fn path(&self) -> Option<PathBuf> {
        self.handle.segment().path().map(ToOwned::to_owned)
    }

    /// What it holds, by the name of its class.
    #[getter]
    fn kind(&self) -> &'static str {
        self.handle.segment().kind().name()
    }

    /// What its creator noted of it.
    #[getter]
    fn schema(&self) -> &str {
        self.handle.segment().schema()
    }

    /// A random number of its own, as 32 hexadecimal digits.
    #[getter]
    fn id(&self) -> String {
        self.handle.segment().header().id.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Bytes.
    #[getter]
    fn size(&self) -> u64 {
        self.handle.segment().header().size
    }

    /// Where the body starts, in bytes.
    #[getter]
    fn body(&self) -> u64 {
        self.handle.segment().header().body
    }

    /// When it was made, in seconds since 1970.
    #[getter]
    fn created(&self) -> f64 {
        seconds(self.handle.segment().header().created)
    }

    /// The process that made it, as that saw itself.
    #[getter]
    fn creator(&self) -> u32 {
        self.handle.segment().header().creator
    }

    /// Processes that it has room for.
    #[getter]
    fn max_participants(&self) -> usize {
        self.handle.segment().capacity()
    }

    /// ``"rw"``, or ``"r"`` when it is mapped read-only.
    #[getter]
    fn mode(&self) -> &'static str {
        if self.handle.segment().is_writable() { "rw" } else { "r" }
    }

    /// Whether `close` was called.
    #[getter]
    fn closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Close this handle; with the last one of this process, it leaves the roster. Closing twice is fine.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.handle.close());
    }

    /// Return another handle, to be closed by itself.
    #[pyo3(name = "again")]
    fn another(&self) -> PyResult<Self> {
        Ok(Self { handle: self.again()? })
    }

    /// Return the file's descriptor, which the segment owns.
    fn fileno(&self) -> PyResult<c_int> {
        Ok(self.handle()?.segment().file().as_raw_fd())
    }

    /// Return those who take part, the dead whose place nobody has taken included.
    fn participants(&self, py: Python<'_>) -> PyResult<Vec<Participant>> {
        let segment = self.handle()?.segment();
        let found = py.detach(|| segment.roster().map(|roster| roster.participants()));
        let found = found.map_err(|error| raise(segment, &error))?;
        segment.check().map_err(|error| raise(segment, &error))?;
        Ok(found.into_iter().map(|participant| Participant { participant }).collect())
    }

    /// Return whoever has, or had, a tag, as far as that is known.
    fn describe(&self, tag: u32) -> PyResult<Option<Participant>> {
        let segment = self.handle()?.segment();
        let roster = segment.roster().map_err(|error| raise(segment, &error))?;
        let found = Tag::read(tag).and_then(|tag| roster.describe(tag));
        segment.check().map_err(|error| raise(segment, &error))?;
        Ok(found.map(|participant| Participant { participant }))
    }

    /// Return the objects that it holds: name, kind and offset in the body; one without a name, unless it is a namespace.
    fn objects(&self) -> PyResult<Vec<(String, &'static str, usize)>> {
        let segment = self.handle()?.segment();
        if segment.kind() != Kind::Namespace {
            return Ok(vec![(String::new(), segment.kind().name(), 0)]);
        }
        let found = objects::list(segment).map_err(|error| raise(segment, &error))?;
        segment.check().map_err(|error| raise(segment, &error))?;
        Ok(found.into_iter().map(|(name, kind, offset)| (name, kind.name(), offset)).collect())
    }

    /// Return kind and offset of an object of a namespace; ``None`` where there is none of that name.
    fn find(&self, name: &str) -> PyResult<Option<(&'static str, usize)>> {
        let found = self.objects()?.into_iter().find(|(found, ..)| found == name);
        Ok(found.map(|(_, kind, offset)| (kind, offset)))
    }

    /// Return the offset of an object of a namespace, which is made if there is none of that name.
    fn add(&self, py: Python<'_>, name: String, kind_name: &str, parameters: [i64; 3]) -> PyResult<usize> {
        let handle = self.handle()?;
        let wanted = Wanted::Object(name, kind(kind_name)?, Parameters(parameters));
        let mut operation = Operation { offset: 0, wanted };
        match drive(py, handle, Timeout::Never, &mut operation)? {
            Some(Outcome::At(offset)) => Ok(offset),
            _ => Err(raise(handle.segment(), &Error::Closed)),
        }
    }

    /// Take the places of the dead from them, and return who they were.
    fn bury(&self, py: Python<'_>) -> PyResult<Vec<Participant>> {
        let segment = self.handle()?.segment();
        let buried = py.detach(|| segment.bury()).map_err(|error| raise(segment, &error))?;
        segment.check().map_err(|error| raise(segment, &error))?;
        Ok(buried.into_iter().map(|participant| Participant { participant }).collect())
    }
}

/// Leave the rosters of all open segments, because the process ends. What is used afterwards joins again.
#[pyfunction]
pub(crate) fn leave_all() {
    // With the interpreter attached: at the end of a subinterpreter's process it could not be had again. Nobody who
    // has the right to leave waits for it.
    segment::leave_all();
}
