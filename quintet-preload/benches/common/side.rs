//! Whose calls are measured.

use super::companion::Companion;
use super::loaded::Loaded;
use std::path::{Path, PathBuf};

/// The C functions that a benchmark calls.
pub trait Functions {
    /// The C library's.
    fn plain() -> Self;
    /// The drop-in's of the same names.
    fn of(drop_in: &Loaded) -> Self;
}

/// One of the two whose calls are measured.
pub struct Side<F> {
    pub functions: F,
    /// The drop-in's library and namespace; none for the kernel.
    pub drop_in: Option<(PathBuf, PathBuf)>,
}

impl<F: Functions> Side<F> {
    /// The C library's functions: the kernel's calls, or the drop-in's in a program that was started with it.
    pub fn plain() -> Side<F> {
        Side { functions: F::plain(), drop_in: None }
    }

    /// The drop-in, opened here. (Its first call will open the namespace.)
    pub fn drop_in(library: &Path, namespace: &Path) -> Side<F> {
        let functions = F::of(&Loaded::open(library, namespace));
        Side { functions, drop_in: Some((library.into(), namespace.into())) }
    }

    /// This program run again on this side.
    pub fn companion(&self, args: &[&str]) -> Companion {
        Companion::start(args, self.drop_in.as_ref())
    }
}
