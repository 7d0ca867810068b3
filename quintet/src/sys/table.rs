//! Tables with their first elements in memory of the caller, and the rest in a mapping of their
//! own.
//!
//! A fork copies the pages that a process has touched, and each further page costs more than the
//! bytes in it. The elements that most processes use therefore lie together, in the page that a
//! fork touches anyway. The mapping uses no memory until it is touched.
//!
//! # Safety
//!
//! Elements consist of atomics, for which zeroes are valid. The mapping has room for all elements,
//! and is never unmapped.
#![allow(unsafe_code)]

use crate::sys::memory;
use crate::types::error::Errno;
use std::ops::Index;

/// The number of elements in the caller's memory.
pub const NEAR: usize = 8;

/// A type for which zeroes are a valid, empty value.
///
/// # Safety
///
/// The type consists of atomics.
pub unsafe trait Zeroable: 'static {}

/// A table.
pub struct Table<T: Zeroable> {
    near: &'static [T; NEAR],
    far: usize,
    len: usize,
}

impl<T: Zeroable> Table<T> {
    /// Creates a table of `len` elements; all that are not in `near` are empty.
    pub fn new(near: &'static [T; NEAR], len: usize) -> Result<Table<T>, Errno> {
        Ok(Table { near, far: memory::anonymous(size_of::<T>() * len)?, len })
    }
}

impl<T: Zeroable> Table<T> {
    /// Returns all elements.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        (0..self.len).map(|index| &self[index])
    }
}

impl<T: Zeroable> Index<usize> for Table<T> {
    type Output = T;

    #[inline(always)]
    fn index(&self, index: usize) -> &T {
        match self.near.get(index) {
            Some(element) => element,
            None => {
                assert!(index < self.len);
                // SAFETY: `index` is below `len`, so the element is within the mapping.
                unsafe { &*(self.far as *const T).add(index) }
            }
        }
    }
}
