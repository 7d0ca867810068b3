//! A namespace's backend, chosen by a `match`. Each verb is then a static call.

use crate::backend::directory::Directory;
use crate::backend::kernel::Kernel;
use crate::backend::verbs::Backend;

/// The backend of a namespace.
#[derive(Clone, Copy)]
pub enum AnyBackend {
    Kernel(Kernel),
    Directory(&'static Directory),
}

/// Asserts that both variants implement [`Backend`].
const _: fn() = || {
    fn is_backend<T: Backend>() {}
    is_backend::<Kernel>();
    is_backend::<&'static Directory>();
};

/// Evaluates an expression with `$backend` bound to the
/// [`Backend`](crate::backend::verbs::Backend) in `$any`.
macro_rules! with_backend {
    ($any:expr, $backend:ident => $body:expr) => {
        match &$any {
            $crate::backend::any::AnyBackend::Kernel($backend) => $body,
            $crate::backend::any::AnyBackend::Directory($backend) => $body,
        }
    };
}

pub(crate) use with_backend;
