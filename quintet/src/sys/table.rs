//! Tables that begin in memory that is given to them, and go on in memory that costs nothing until it is touched.
//!
//! A fork copies what a process has touched, and each place of its own costs it more than the copying: so what most processes use is kept
//! together (`engine::ForkPage`).
//!
//! # Safety
//!
//! Elements are atomics only, for which zeroes are valid. What is mapped has room for all of them, and is never unmapped.
#![allow(unsafe_code)]

use crate::sys::memory;
use crate::types::error::Errno;
use std::ops::Index;

/// How many elements a table begins with.
pub const NEAR: usize = 8;

/// What zeroes are a valid and empty value of.
///
/// # Safety
///
/// It consists of atomics.
pub unsafe trait Zeroable: 'static {}

pub struct Table<T: Zeroable> {
    near: &'static [T; NEAR],
    far: usize,
    len: usize,
}

impl<T: Zeroable> Table<T> {
    /// A table of `len` empty elements.
    pub fn new(near: &'static [T; NEAR], len: usize) -> Result<Table<T>, Errno> {
        Ok(Table { near, far: memory::anonymous(size_of::<T>() * len)?, len })
    }
}

impl<T: Zeroable> Table<T> {
    /// All elements.
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
                // SAFETY: within the mapping.
                unsafe { &*(self.far as *const T).add(index) }
            }
        }
    }
}
