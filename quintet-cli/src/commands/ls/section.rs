//! A section of the listing: the objects of one class.

use crate::output::text::Page;
use std::io;

pub trait Section {
    /// Returns the heading.
    fn heading(&self) -> &'static str;

    /// Returns `true` if there is no object of this class.
    fn is_empty(&self) -> bool;

    /// Prints the table. `long` adds columns.
    fn print(&self, page: &mut Page, long: bool) -> io::Result<()>;
}
