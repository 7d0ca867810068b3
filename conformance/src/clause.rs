//! One test body for three subjects.

use crate::{Subject, World};

/// Runs the body of a clause in a new world. Skips the clause if no IPC namespace can be created
/// for the kernel, unless `CI` is set.
///
/// # Panics
///
/// If an assertion of the body fails, or if the subject is not available.
pub fn run(subject: Subject, body: fn(&World)) {
    match World::new(subject) {
        Ok(world) => body(&world),
        Err(why) if subject.is_kernel() && std::env::var_os("CI").is_none() => eprintln!("skipped: {why}"),
        Err(why) => panic!("{why}"),
    }
}

/// Turns each body into a module with one test per subject: `name::kernel`, `name::library`,
/// `name::drop_in`.
///
/// A body after `in C:` is about the C interface and does not run on the library.
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
