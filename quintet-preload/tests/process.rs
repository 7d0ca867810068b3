//! What programs do to their process, each thing in a C program of its own that has to find the same on the kernel and with the drop-in.

mod support;

use support::*;

#[test]
fn cancelled_threads() {
    c_program("cancel");
}

#[test]
fn no_descriptor_is_free() {
    c_program("nofile");
}

#[test]
fn children_of_every_kind() {
    c_program("children");
}

#[test]
fn descriptors_directory_and_umask() {
    c_program("surroundings");
}

#[test]
fn a_small_stack() {
    c_program("small");
}
