//! What is removed leaves nothing that grows: control files and kept memory are used again, each by its owner.

use crash::support;

use quintet::{Key, Kind, Namespace, Segment};
use std::path::Path;
use support::{alone, become_user, fork, is_root, names, open_to_all};

const USER: u32 = 5678;

/// Makes a small segment, and removes it.
fn once(ns: &Namespace) {
    let segment = Segment::create_new(ns, Key::PRIVATE, 5000).unwrap();
    segment.attach().unwrap().fill(0, 5000, 1).unwrap();
    segment.remove().unwrap();
}

/// The superuser, who could take anybody's file, and another user take turns.
#[test]
fn users_who_take_turns_need_few_indexes() {
    if !is_root() {
        return println!("skipped: not root");
    }
    alone("users_who_take_turns_need_few_indexes", |directory: &Path| {
        open_to_all(directory);
        let path = directory.join("ns");
        let ns = Namespace::create(&path, Kind::Shared).unwrap();
        for _ in 0..20 {
            // Has the memory that was kept, so that the user's is kept next.
            let other = Segment::create_new(&ns, Key::PRIVATE, 5000).unwrap();
            fork(|| {
                become_user(USER);
                once(&Namespace::open(&path).unwrap());
            })
            .succeeds();
            once(&ns);
            other.remove().unwrap();
        }
        let controls = names(&path.join("shm")).into_iter().filter(|name| !name.ends_with(".data")).count();
        assert!(controls <= 3, "{controls}");
    });
}
