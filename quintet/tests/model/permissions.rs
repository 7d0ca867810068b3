//! The stored permissions: a reader always sees one change, even if the process that changes them
//! dies before any step.

use crate::explore_deaths;
use crate::layout::permissions::{PermissionWords, StoredPermissions, load, store};
use crate::sync::primitive::{AtomicU32, mortal};
use loom::sync::Arc;
use loom::thread;

#[derive(Default)]
struct Object {
    current: AtomicU32,
    copies: [PermissionWords; 2],
}

/// The n-th permissions of the object.
fn nth(n: u32) -> StoredPermissions {
    StoredPermissions { uid: n, gid: n, mode: n, ctime: n.into() }
}

impl Object {
    fn load(&self) -> StoredPermissions {
        load(&self.current, &self.copies)
    }

    fn store(&self, n: u32) {
        store(&self.current, &self.copies, nth(n));
    }
}

/// A process changes the permissions twice and dies before any step. A second one, which has the
/// lock then, changes them again. A third one reads all the time.
#[test]
fn reader_sees_one_change() {
    explore_deaths(3, |steps| {
        let object = Arc::new(Object::default());
        let reader = {
            let object = object.clone();
            thread::spawn(move || [object.load(), object.load()])
        };
        let done = mortal(steps, || [1, 2].into_iter().for_each(|n| object.store(n)));
        let left = object.load();
        assert!((0..3).any(|n| left == nth(n)) && (done.is_none() || left == nth(2)), "{left:?}");
        object.store(3);
        assert_eq!(object.load(), nth(3));
        let seen = reader.join().unwrap();
        assert!(seen.iter().all(|seen| (0..4).any(|n| *seen == nth(n))), "{seen:?}");
        assert!(seen[0].uid <= seen[1].uid, "{seen:?}");
        done.is_none()
    });
}
