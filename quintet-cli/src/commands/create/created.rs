//! The report of `quintet create`.

use crate::output::Report;
use crate::output::text::Page;
use crate::view::namespace::NamespaceView;
use crate::view::perm::KeyView;
use serde::Serialize;
use std::io;

/// A new or existing object.
#[derive(Serialize)]
pub struct Created {
    pub namespace: NamespaceView,
    /// `shm`, `sem` or `msg`.
    pub class: &'static str,
    pub id: i32,
    pub key: KeyView,
    #[serde(flatten)]
    pub size: Size,
    /// `false` if the object existed.
    pub created: bool,
}

/// The size of an object in the measure of its class.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Size {
    Bytes { size: u64 },
    Semaphores { nsems: u32 },
    Capacity { capacity: u64 },
}

impl Report for Created {
    fn text(&self, page: &mut Page) -> io::Result<()> {
        page.line(format_args!("{}", self.id))
    }
}
