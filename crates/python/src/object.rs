//! What the classes of all objects have in common: the handle that keeps their segment open, and where they are in it.

use pyo3::prelude::*;
use samemap_core::layout::Shared;
use samemap_core::operation::{Operation, Wanted};
use samemap_core::segment::Handle;
use samemap_core::tag::Tag;

use crate::drive::{check_open, raise};
use crate::segment::Segment;

/// An object in a segment.
pub(crate) struct Object {
    pub(crate) handle: Handle,
    pub(crate) offset: usize,
}

impl Object {
    /// The object at `offset` of the body; its first structure is a `T`.
    pub(crate) fn new<T: Shared>(segment: &Segment, offset: usize) -> PyResult<Self> {
        let object = Self { handle: segment.again()?, offset };
        object.cell::<T>()?;
        Ok(object)
    }

    /// The structure.
    #[inline(always)]
    pub(crate) fn cell<T: Shared>(&self) -> PyResult<&T> {
        self.at(self.offset)
    }

    /// The structure at an offset of the body.
    #[inline(always)]
    pub(crate) fn at<T: Shared>(&self, offset: usize) -> PyResult<&T> {
        let segment = self.handle.segment();
        segment.at(offset).map_err(|error| raise(segment, &error))
    }

    /// This process, which the object must be open for, and not read-only.
    #[inline(always)]
    pub(crate) fn tag(&self) -> PyResult<Tag> {
        check_open(&self.handle)?;
        let segment = self.handle.segment();
        segment.tag().map_err(|error| raise(segment, &error))
    }

    /// Ends an access: tells if any page was missing.
    #[inline(always)]
    pub(crate) fn check(&self) -> PyResult<()> {
        let segment = self.handle.segment();
        segment.check().map_err(|error| raise(segment, &error))
    }

    /// Something to wait for here.
    pub(crate) fn operation(&self, wanted: Wanted) -> Operation {
        Operation { offset: self.offset, wanted }
    }
}

/// Closing, for a class that holds an `object`, there or elsewhere.
macro_rules! closing {
    ($class:ty) => {
        $crate::object::closing!($class, object);
    };
    ($class:ty, $($object:ident).+) => {
        #[pyo3::pymethods]
        impl $class {
            /// Whether `close` was called.
            #[getter]
            fn closed(&self) -> bool {
                self.$($object).+.handle.is_closed()
            }

            /// Close this handle. Closing twice is fine.
            fn close(&self, py: pyo3::Python<'_>) {
                py.detach(|| self.$($object).+.handle.close());
            }

            /// Where it is: bytes from the start of the segment's body.
            #[getter]
            fn _offset(&self) -> usize {
                self.$($object).+.offset
            }
        }
    };
}
pub(crate) use closing;
