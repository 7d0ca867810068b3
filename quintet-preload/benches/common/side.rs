//! The two sides of a comparison.

use super::companion::Companion;
use super::loaded::Loaded;
use std::path::{Path, PathBuf};

/// The C functions that a benchmark calls.
pub trait Functions {
    /// Returns the C library's functions.
    fn plain() -> Self;
    /// Returns the preload library's functions of the same names.
    fn of(preload: &Loaded) -> Self;
}

/// One side of a comparison.
pub struct Side<F> {
    pub functions: F,
    /// The preload library and its namespace; `None` for the kernel.
    pub preload: Option<(PathBuf, PathBuf)>,
}

impl<F: Functions> Side<F> {
    /// The C library's functions: the kernel's calls, or Quintet in a program that was started with
    /// the library.
    pub fn plain() -> Side<F> {
        Side { functions: F::plain(), preload: None }
    }

    /// The preload library, opened here. (Its first call opens the namespace.)
    pub fn preload(library: &Path, namespace: &Path) -> Side<F> {
        let functions = F::of(&Loaded::open(library, namespace));
        Side { functions, preload: Some((library.into(), namespace.into())) }
    }

    /// Starts this program on this side.
    pub fn companion(&self, args: &[&str]) -> Companion {
        Companion::start(args, self.preload.as_ref())
    }
}
