//! Either backend. A `match` chooses it, so that each verb is a static call.

use crate::backend::directory::Directory;
use crate::backend::kernel::Kernel;
use crate::backend::verbs::Backend;

/// The backend of a namespace.
#[derive(Clone, Copy)]
pub enum AnyBackend {
    Kernel(Kernel),
    Directory(&'static Directory),
}

/// Both variants are backends.
const _: fn() = || {
    fn is_backend<T: Backend>() {}
    is_backend::<Kernel>();
    is_backend::<&'static Directory>();
};

/// Evaluates an expression with `$backend` bound to the backend that it is, a
/// [`Backend`](crate::backend::verbs::Backend).
macro_rules! with_backend {
    ($any:expr, $backend:ident => $body:expr) => {
        match &$any {
            $crate::backend::any::AnyBackend::Kernel($backend) => $body,
            $crate::backend::any::AnyBackend::Directory($backend) => $body,
        }
    };
}

pub(crate) use with_backend;
