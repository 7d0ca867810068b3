//! Initialization, before the program runs.
//!
//! # Safety
//!
//! The loader calls each entry of the section once, as a C function, and passes arguments that this
//! one ignores.
#![allow(unsafe_code)]

use crate::base::{cancel, page_cache};
#[cfg(all(target_env = "gnu", any(all(target_arch = "x86_64", target_pointer_width = "64"), target_arch = "aarch64")))]
use crate::entry::dlopen;
use crate::entry::syscall;
use crate::log::listener;
use crate::proc;
use crate::process::{credentials, environment, exec, exit, jump, root, spawn, truncation};
use std::panic::catch_unwind;

#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = at_load;

extern "C" fn at_load() {
    let _ = catch_unwind(|| {
        #[cfg(all(target_env = "gnu", any(all(target_arch = "x86_64", target_pointer_width = "64"), target_arch = "aarch64")))]
        dlopen::at_load();
        syscall::at_load();
        listener::at_load();
        page_cache::at_load();
        credentials::at_load();
        jump::at_load();
        environment::at_load();
        exec::at_load();
        exit::at_load();
        spawn::at_load();
        proc::at_load();
        cancel::at_load();
        root::at_load();
        truncation::at_load();
        truncation::begin();
    });
}
