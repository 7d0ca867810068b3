//! The namespace as files: `/proc/sysvipc` and the limits in `/proc/sys/kernel`.
//!
//! | task | module |
//! |---|---|
//! | which path is which file | `path.rs` |
//! | the memfd with a file's contents | `memfd.rs` |
//! | its installation under a descriptor number | `install.rs` |
//! | open, access checks, `stat` | `open.rs`, `access.rs`, `stat.rs`; `stream.rs` for `FILE` |
//! | descriptors that may be written to | `writable.rs` |
//! | writing | `write.rs`; `stream.rs` for `FILE`, `close.rs` for the rest |
//!
//! The C library's function is called first, and its result is inspected afterwards. A path that it
//! has read is readable, and the last bytes of most paths rule them out. A descriptor that it
//! opened is replaced under the same number. If it found no file or refused it, because the kernel
//! has none or another user owns it, the file is provided all the same.
//!
//! `open`, `write` and related functions are cancellation points: a thread may be unwound out of
//! the real function, through this library's. None of these therefore has a value to drop while the
//! real function runs.
//!
//! A file for reading is a sealed memfd. A file for writing is an unsealed memfd. `write` and the
//! other calls by name are intercepted before the kernel sees them, and take effect at once. Data
//! from other writers stays in the memfd: the C library's own streams, or a program without the
//! library. The next `fflush`, `fclose`, `close`, `dup2` or exit finds and applies it. Its
//! modification time shows that there is such data; otherwise that is the Epoch.
//!
//! # Safety
//!
//! The exported functions have the C library's types and contracts. A path is read only after the
//! kernel has read it. Other memory of the program is read as [`crate::base::user`] reads it.

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

/// Resolves the next library's functions, and adopts the descriptors that the previous program or a
/// shell has left.
pub fn at_load() {
    access::at_load();
    close::at_load();
    open::at_load();
    stat::at_load();
    stream::at_load();
    write::at_load();
    writable::at_load();
}

/// Applies pending writes before the program ends by a call that runs no handlers.
pub fn at_exit() {
    if writable::any() {
        writable::apply_all();
    }
}

/// Runs at exit(3): flushes the program's streams and applies their data.
#[used]
#[unsafe(link_section = ".fini_array")]
static AT_END: extern "C" fn() = at_end;

extern "C" fn at_end() {
    if writable::any() {
        let _ = std::panic::catch_unwind(|| {
            stream::flush_all();
            writable::apply_all();
        });
    }
}
