use crate::support::{Ns, assert_says, refusal, utf8};
use quintet::{Id, Key, Segment};

#[test]
fn prints_the_identifier_of_what_it_makes() {
    let t = Ns::new();
    let id = t.segment(&["--size", "64K", "--key", "0x4d2", "--mode", "0640"]);
    let stat = t.ns.shm_stat(id).unwrap();
    assert_eq!((stat.key, stat.size, stat.perm.mode), (Key::new(1234), 65536, 0o640));
}

#[test]
fn without_a_key_it_is_private_and_new_each_time() {
    let t = Ns::new();
    let (a, b) = (t.segment(&["--size", "1"]), t.segment(&["--size", "1"]));
    assert_ne!(a, b);
    let stat = t.ns.shm_stat(a).unwrap();
    assert_eq!((stat.key, stat.perm.mode), (Key::PRIVATE, 0o600));
}

#[test]
fn finds_the_segment_that_has_the_key() {
    let t = Ns::new();
    let made = t.json(&["create", "--size", "4096", "--key", "7"]);
    let found = t.json(&["create", "--size", "100", "--key", "7"]);
    assert_eq!((made["created"].as_bool(), found["created"].as_bool()), (Some(true), Some(false)));
    assert_eq!(made["id"], found["id"]);
    assert_eq!((found["size"].as_u64(), found["key"]["number"].as_i64()), (Some(4096), Some(7)));
    assert_eq!(found["key"]["text"], "0x00000007");
}

#[test]
fn makes_the_key_that_ftok_makes() {
    let t = Ns::new();
    let file = t.file("f", "");
    let id = t.segment(&["--size", "8", "--ftok", &format!("{}:q", utf8(&file))]);
    let key = Key::ftok(&file, i32::from(b'q')).unwrap();
    assert_eq!(t.ns.shm_stat(id).unwrap().key, key);
    assert_eq!(Segment::open(&t.ns, key).unwrap().id(), Id::from_raw(id).unwrap());
}

#[test]
fn refuses_what_cannot_be() {
    let t = Ns::new();
    t.segment(&["--size", "10", "--key", "5"]);
    let cases: [(&[&str], i32, &str); 8] = [
        (&["--size", "0"], 1, "a segment has at least 1 byte (EINVAL)"),
        (&["--size", "11", "--key", "5"], 1, "a smaller segment has this key (EINVAL)"),
        (&["--size", "10", "--key", "5", "--exclusive"], 1, "the key is in use (EEXIST)"),
        (&["--size", "1", "--ftok", "/no/such/file:q"], 1, "cannot make a key of /no/such/file"),
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
