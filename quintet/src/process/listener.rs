//! Events that the embedding library receives.

use crate::types::error::Error;
use crate::types::kind::Kind;
use std::path::Path;
use std::sync::OnceLock;

/// Receives events of the namespace.
pub trait Listener: Sync {
    /// The namespace was opened.
    fn opened(&self, path: &Path, kind: Kind);
    /// The calling thread is about to sleep in its call. Signals are held off.
    fn about_to_sleep(&self);
    /// The namespace cannot be used.
    fn unusable(&self, why: &Error);
    /// A call has failed because the open namespace has become unusable: a file is missing, or the
    /// file system is full.
    fn failed(&self, why: &Error);
}

static LISTENER: OnceLock<&dyn Listener> = OnceLock::new();

/// Registers a listener. The first one stays.
pub fn listen(listener: &'static dyn Listener) {
    let _ = LISTENER.set(listener);
}

/// Calls `event` with the listener, if there is one.
pub fn notify(event: impl FnOnce(&dyn Listener)) {
    if let Some(listener) = LISTENER.get() {
        event(*listener);
    }
}
