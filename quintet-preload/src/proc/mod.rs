//! The namespace as files: `/proc/sysvipc` and the limits in `/proc/sys/kernel`.
//!
//! | what | where |
//! |---|---|
//! | which path is which file | `path.rs` |
//! | a descriptor with what the file says | `text.rs` |
//! | opening it, asking for rights, asking whether it is there | `open.rs`, `access.rs`, `stat.rs`; `stream.rs` for `FILE` |
//! | which descriptors may be written to | `written.rs` |
//! | writing | `write.rs`; `stream.rs` for `FILE`, `close.rs` for what is left |
//!
//! The C library's function is called first, and looked at afterwards: a path that it has read can be read, and most are told from
//! ours by their last bytes. What it opened is replaced under the same number; and if it found no such file, or refused it, because the
//! kernel has none or belongs to somebody else, there is one all the same.
//!
//! `open`, `write` and their like are cancellation points: a thread may be unwound out of the real function, through ours. So none of
//! these has anything to drop while it runs.
//!
//! A file for reading is a sealed memfd. So is one for writing, but not sealed: `write` and the other calls that are made by name are seen
//! before the kernel sees them, and carried out at once. What comes otherwise (the C library's own streams, a program without the
//! drop-in) stays in the memfd, and is found and carried out with the next `fflush`, `fclose`, `close`, `dup2` or exit. Its time of change tells
//! that something is there: it is the Epoch otherwise.
//!
//! # Safety
//!
//! The exported functions have the C library's types and contracts. A path is read only when the kernel has read it; what else the
//! program points to is read as [`crate::user`] reads.

pub mod access;
mod close;
mod descriptor;
mod errors;
mod install;
mod memfd;
pub mod open;
mod path;
pub mod stat;
mod stream;
pub mod writable;
pub mod write;

/// Looks all functions up, and takes over the descriptors that the program before this one, or a shell, has left.
pub fn at_load() {
    access::at_load();
    close::at_load();
    open::at_load();
    stat::at_load();
    stream::at_load();
    write::at_load();
    writable::at_load();
}

/// The program ends by a call that runs no handlers.
pub fn at_exit() {
    if writable::any() {
        writable::deliver_all();
    }
}

/// The program ends by exit(3): what its streams still hold is written, and carried out.
#[used]
#[unsafe(link_section = ".fini_array")]
static AT_END: extern "C" fn() = at_end;

extern "C" fn at_end() {
    if writable::any() {
        let _ = std::panic::catch_unwind(|| {
            stream::flush_all();
            writable::deliver_all();
        });
    }
}
