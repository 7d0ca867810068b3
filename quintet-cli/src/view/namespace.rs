//! Namespaces.

use crate::words::clean;
use quintet::{Kind, Namespace};
use serde::Serialize;
use std::path::Path;

/// The kind and the directory of a namespace.
#[derive(Serialize)]
pub struct NamespaceView {
    pub kind: &'static str,
    pub path: Option<String>,
}

impl NamespaceView {
    pub fn new(ns: &Namespace) -> NamespaceView {
        match ns.path() {
            Some(path) => NamespaceView { kind: kind_text(ns.kind()), path: Some(path.to_string_lossy().into_owned()) },
            None => NamespaceView { kind: "kernel", path: None },
        }
    }

    /// Returns the view of a namespace that cannot be opened.
    pub fn damaged(path: &Path) -> NamespaceView {
        NamespaceView { kind: "damaged", path: Some(path.to_string_lossy().into_owned()) }
    }

    /// Returns "namespace /dev/shm/quintet-0", or "the kernel's namespace".
    pub fn phrase(&self) -> String {
        match &self.path {
            Some(path) => format!("namespace {}", clean(path)),
            None => "the kernel's namespace".to_owned(),
        }
    }
}

/// Returns `private` or `shared`.
pub fn kind_text(kind: Kind) -> &'static str {
    match kind {
        Kind::Private => "private",
        Kind::Shared => "shared",
    }
}
