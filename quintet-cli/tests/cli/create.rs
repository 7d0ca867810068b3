use crate::support::{Ns, assert_says, refusal, text, utf8};
use quintet::{Id, Key, Segment, SemaphoreSet};

#[test]
fn prints_the_identifier_of_the_new_object() {
    let t = Ns::new();
    let id = t.segment(&["--size", "64K", "--key", "0x4d2", "--mode", "0640"]);
    let stat = t.ns.shm_stat(id).unwrap();
    assert_eq!((stat.key, stat.size, stat.perm.mode), (Key::new(1234), 65536, 0o640));
}

#[test]
fn without_a_key_each_segment_is_new_and_private() {
    let t = Ns::new();
    let (a, b) = (t.segment(&["--size", "1"]), t.segment(&["--size", "1"]));
    assert_ne!(a, b);
    let stat = t.ns.shm_stat(a).unwrap();
    assert_eq!((stat.key, stat.perm.mode), (Key::PRIVATE, 0o600));
}

#[test]
fn finds_the_segment_with_the_key() {
    let t = Ns::new();
    let created = t.json(&["create", "--size", "4096", "--key", "7"]);
    let found = t.json(&["create", "--size", "100", "--key", "7"]);
    assert_eq!((created["created"].as_bool(), found["created"].as_bool()), (Some(true), Some(false)));
    assert_eq!(created["id"], found["id"]);
    assert_eq!((found["size"].as_u64(), found["key"]["number"].as_i64()), (Some(4096), Some(7)));
    assert_eq!(found["key"]["text"], "0x00000007");
}

#[test]
fn makes_the_key_of_ftok() {
    let t = Ns::new();
    let file = t.file("f", "");
    let id = t.segment(&["--size", "8", "--ftok", &format!("{}:q", utf8(&file))]);
    let key = Key::ftok(&file, i32::from(b'q')).unwrap();
    assert_eq!(t.ns.shm_stat(id).unwrap().key, key);
    assert_eq!(Segment::open(&t.ns, key).unwrap().id(), Id::from_raw(id).unwrap());
}

#[test]
fn refuses_invalid_segments() {
    let t = Ns::new();
    t.segment(&["--size", "10", "--key", "5"]);
    let cases: [(&[&str], i32, &str); 8] = [
        (&["--size", "0"], 1, "a segment has at least 1 byte (EINVAL)"),
        (&["--size", "11", "--key", "5"], 1, "a smaller segment has this key (EINVAL)"),
        (&["--size", "10", "--key", "5", "--exclusive"], 1, "the key is in use (EEXIST)"),
        (
            &["--size", "1", "--ftok", "/no/such/file:q"],
            1,
            "cannot make a key from /no/such/file: no such object (ENOENT); name an existing file",
        ),
        (&["--size", "1.5M"], 2, "is not a size"),
        (&["--size", "1", "--key", "0x1ffffffff"], 2, "is not a key"),
        (&["--size", "1", "--mode", "1777"], 2, "is not a mode"),
        (&[], 2, "--size"),
    ];
    for (args, code, part) in cases {
        assert_says(&refusal(t.quintet(&["create"]).args(args), code), &[part]);
    }
    assert_eq!(t.ns.segments().unwrap().len(), 1);
}

#[test]
fn obeys_the_limits() {
    let t = Ns::new();
    t.json(&["namespace", "limits", "--shmmax", "1M", "--shmmni", "1"]);
    assert_says(&refusal(&mut t.quintet(&["create", "--size", "1048577"]), 1), &["shmmax is 1048576 bytes", "(EINVAL)"]);
    t.segment(&["--size", "1M"]);
    assert_says(&refusal(&mut t.quintet(&["create", "--size", "1"]), 1), &["shmmni (1 segments)", "(ENOSPC)"]);
}

#[test]
fn a_set_has_the_given_values() {
    let t = Ns::new();
    let file = t.file("f", "");
    let key = format!("{}:q", utf8(&file));
    for (args, values) in [
        (&["--values", "1,0,5"][..], vec![1, 0, 5]),
        (&["--nsems", "4"], vec![0; 4]),
        (&["--nsems", "3", "--values", "9"], vec![9; 3]),
        (&["--nsems", "2", "--values", "1,2", "--ftok", &key, "--mode", "0640"], vec![1, 2]),
    ] {
        let id = t.set(args).parse().unwrap();
        let set = SemaphoreSet::open_id(&t.ns, Id::from_raw(id).unwrap()).unwrap();
        assert_eq!(set.values().unwrap(), values);
        // A process that waits until the values are set sees that they are.
        assert!(set.stat().unwrap().otime > 0);
    }
    let set = SemaphoreSet::open(&t.ns, Key::ftok(&file, i32::from(b'q')).unwrap()).unwrap();
    assert_eq!(set.stat().unwrap().perm.mode, 0o640);
}

#[test]
fn an_existing_set_keeps_its_values() {
    let t = Ns::new();
    let created = t.json(&["create", "sem", "--values", "1,2,3", "--key", "7"]);
    let found = t.json(&["create", "sem", "--values", "9", "--key", "7"]);
    assert_eq!((created["created"].as_bool(), found["created"].as_bool()), (Some(true), Some(false)));
    assert_eq!((&created["id"], created["class"].as_str(), found["nsems"].as_u64()), (&found["id"], Some("sem"), Some(3)));
    assert_eq!(SemaphoreSet::open(&t.ns, Key::new(7)).unwrap().values().unwrap(), [1, 2, 3]);
}

#[test]
fn refuses_invalid_sets() {
    let t = Ns::new();
    t.set(&["--values", "1", "--key", "5"]);
    t.json(&["namespace", "limits", "--semmsl", "8", "--semmni", "2"]);
    let cases: [(&[&str], i32, &str); 10] = [
        (&["--nsems", "0"], 1, "a set has at least 1 semaphore (EINVAL)"),
        (&["--nsems", "9"], 1, "the limit semmsl is 8 semaphores (EINVAL)"),
        (&["--nsems", "2", "--key", "5"], 1, "it has fewer semaphores (EINVAL)"),
        (&["--nsems", "1", "--key", "5", "--exclusive"], 1, "the key is in use (EEXIST)"),
        (&["--nsems", "65536"], 2, "65536"),
        (&["--values", "32768"], 2, "'32768' is not a semaphore value"),
        (&["--nsems", "3", "--values", "1,2"], 2, "cannot use 2 values: the set has 3 semaphores"),
        (&["--values", "1", "--size", "4"], 2, "--size"),
        (&["--values", "1", "--mode", "1777"], 2, "is not a mode"),
        (&[], 2, "--nsems"),
    ];
    for (args, code, part) in cases {
        assert_says(&refusal(t.quintet(&["create", "sem"]).args(args), code), &[part]);
    }
    t.set(&["--nsems", "8"]);
    assert_says(&refusal(&mut t.quintet(&["create", "sem", "--nsems", "1"]), 1), &["semmni (2 sets)", "(ENOSPC)"]);
    assert_eq!(t.ns.sets().unwrap().len(), 2);
}

#[test]
fn the_word_shm_names_a_segment() {
    let t = Ns::new();
    let id = text(&mut t.quintet(&["create", "shm", "--size", "7"]));
    assert_eq!(t.ns.shm_stat(id.trim().parse().unwrap()).unwrap().size, 7);
    refusal(&mut t.quintet(&["create", "--size", "7", "sem", "--nsems", "1"]), 2);
}

#[test]
fn a_queue_is_created_or_found() {
    let t = Ns::new();
    let created = t.json(&["create", "msg", "--key", "7", "--capacity", "4K", "--mode", "0640"]);
    let found = t.json(&["create", "msg", "--key", "7", "--capacity", "1"]);
    assert_eq!((created["created"].as_bool(), found["created"].as_bool()), (Some(true), Some(false)));
    assert_eq!((&created["id"], created["class"].as_str(), found["capacity"].as_u64()), (&found["id"], Some("msg"), Some(4096)));
    let id = t.queue(&[]).parse().unwrap();
    let stat = t.ns.msg_stat(id).unwrap();
    assert_eq!((stat.key, stat.perm.mode, stat.capacity), (Key::PRIVATE, 0o600, 16384));
    let cases: [(&[&str], i32, &str); 4] = [
        (&["--key", "7", "--exclusive"], 1, "the key is in use (EEXIST)"),
        (&["--capacity", "1X"], 2, "is not a size"),
        (&["--mode", "1777"], 2, "is not a mode"),
        (&["--size", "4"], 2, "--size"),
    ];
    for (args, code, part) in cases {
        assert_says(&refusal(t.quintet(&["create", "msg"]).args(args), code), &[part]);
    }
    t.json(&["namespace", "limits", "--msgmni", "2"]);
    assert_says(
        &refusal(&mut t.quintet(&["create", "msg"]), 1),
        &["the limit msgmni (2 queues) is reached (ENOSPC); remove queues, or raise the limit", "namespace limits --msgmni 4'"],
    );
    assert_eq!(t.ns.queues().unwrap().len(), 2);
}
