//! Owner, mode and time, kept twice: whoever looks sees them whole, whoever changes them may die before any step.

use crate::explore_deaths;
use crate::layout::rights::{Rights, RightsWords, load, store};
use crate::sync::primitive::{AtomicU32, mortal};
use loom::sync::Arc;
use loom::thread;

#[derive(Default)]
struct Object {
    current: AtomicU32,
    copies: [RightsWords; 2],
}

/// The n-th rights that the object has.
fn nth(n: u32) -> Rights {
    Rights { uid: n, gid: n, mode: n, ctime: n.into() }
}

impl Object {
    fn load(&self) -> Rights {
        load(&self.current, &self.copies)
    }

    fn store(&self, n: u32) {
        store(&self.current, &self.copies, nth(n));
    }
}

/// One changes them twice and dies before any step, another one (who has the lock then) changes them; a third one looks all the time.
#[test]
fn whoever_looks_sees_them_whole() {
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
