//! One test body, three subjects.

use crate::{Subject, World};

/// Runs a clause's body in a fresh world.
///
/// # Panics
///
/// With the body's failed assertion; or if the subject cannot be had: but for want of rights to an IPC
/// namespace of the kernel's, outside CI, a clause is skipped.
pub fn run(subject: Subject, body: fn(&World)) {
    match World::new(subject) {
        Ok(world) => body(&world),
        Err(why) if subject.is_kernel() && std::env::var_os("CI").is_none() => eprintln!("skipped: {why}"),
        Err(why) => panic!("{why}"),
    }
}

/// Makes of each body a module with a test per subject: `name::kernel`, `name::library`, `name::drop_in`.
///
/// A body under `in C:` is about what only the C interface has, and is not run on the library.
#[macro_export]
macro_rules! clauses {
    (in C: $($(#[$meta:meta])* fn $name:ident($world:ident) $body:block)*) => {
        $($crate::clauses!(@one $(#[$meta])* $name, $world, $body, kernel Kernel, drop_in DropIn);)*
    };
    ($($(#[$meta:meta])* fn $name:ident($world:ident) $body:block)*) => {
        $($crate::clauses!(@one $(#[$meta])* $name, $world, $body, kernel Kernel, library Library, drop_in DropIn);)*
    };
    (@one $(#[$meta:meta])* $name:ident, $world:ident, $body:block, $($test:ident $subject:ident),*) => {
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            fn body($world: &$crate::World) $body

            $(#[test]
            fn $test() {
                $crate::run($crate::Subject::$subject, body);
            })*
        }
    };
}
