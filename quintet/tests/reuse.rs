//! Creating and removing segments does not make a namespace grow: control files and recycled memory
//! are reused by their owners.

use crash::support;

use quintet::{Key, Kind, Namespace, Segment};
use std::path::Path;
use support::{alone, become_user, fork, is_root, names, open_to_all};

const USER: u32 = 5678;

/// Creates a small segment, writes to it and removes it.
fn create_and_remove(ns: &Namespace) {
    let segment = Segment::create_new(ns, Key::PRIVATE, 5000).unwrap();
    segment.attach().unwrap().fill(0, 5000, 1).unwrap();
    segment.remove().unwrap();
}

/// The superuser could reuse every file; it takes turns with another user, which cannot.
#[test]
fn users_that_take_turns_need_few_indexes() {
    if !is_root() {
        return println!("skipped: not root");
    }
    alone("users_that_take_turns_need_few_indexes", |directory: &Path| {
        open_to_all(directory);
        let path = directory.join("ns");
        let ns = Namespace::create(&path, Kind::Shared).unwrap();
        for _ in 0..20 {
            // This segment takes the recycled memory, so that the other user's memory is recycled
            // next.
            let other = Segment::create_new(&ns, Key::PRIVATE, 5000).unwrap();
            fork(|| {
                become_user(USER);
                create_and_remove(&Namespace::open(&path).unwrap());
            })
            .succeeds();
            create_and_remove(&ns);
            other.remove().unwrap();
        }
        let controls = names(&path.join("shm")).into_iter().filter(|name| !name.ends_with(".data")).count();
        assert!(controls <= 3, "{controls}");
    });
}
