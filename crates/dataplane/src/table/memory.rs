//! Where the table's memory comes from.

use std::{io, ops::Deref, sync::atomic::AtomicU64};

/// One cache line of atomic words.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub(super) struct Line(pub(super) [AtomicU64; 8]);

/// Lines, all zero at first.
pub(super) struct Lines(Box<[Line]>);

impl Lines {
    pub(super) fn new(count: usize) -> io::Result<Self> {
        Ok(Self((0..count).map(|_| Line::default()).collect()))
    }
}

impl Deref for Lines {
    type Target = [Line];

    fn deref(&self) -> &[Line] {
        &self.0
    }
}

/// Asks for a line ahead of its use.
#[inline(always)]
pub(super) fn prefetch<T>(_: &T) {}
