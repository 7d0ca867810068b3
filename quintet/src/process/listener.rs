//! What the embedding library is told of the namespace.

use crate::types::error::Error;
use crate::types::kind::Kind;
use std::path::Path;
use std::sync::OnceLock;

/// Receives events of the namespace.
pub trait Listener: Sync {
    /// The namespace was opened.
    fn opened(&self, path: &Path, kind: Kind);
    /// The calling thread goes to sleep in its call. Signals are held off.
    fn waits(&self);
    /// The namespace cannot be used.
    fn unusable(&self, why: &Error);
    /// The namespace was opened, and a call has failed for want of a file there.
    fn trouble(&self, why: &Error);
}

static LISTENER: OnceLock<&dyn Listener> = OnceLock::new();

/// Has `listener` told from now on. The first one stays.
pub fn listen(listener: &'static dyn Listener) {
    let _ = LISTENER.set(listener);
}

/// Tells the listener, if there is one.
pub fn tell(what: impl FnOnce(&dyn Listener)) {
    if let Some(listener) = LISTENER.get() {
        what(*listener);
    }
}
