//! The namespace under attack. Index 0 has the objects under attack, index 1 the objects that must
//! not change.

use quintet::{Errno, Key, Kind, Limits, MsgFlags, Namespace};
use std::path::Path;

/// The keys of the objects under attack, and of the other ones.
pub const KEYS: [Key; 3] = [Key::new(0xa1), Key::new(0xa2), Key::new(0xa3)];
const UNTOUCHED_KEYS: [Key; 3] = [Key::new(0xb1), Key::new(0xb2), Key::new(0xb3)];

/// The first identifiers of these indexes.
pub const ID: i32 = 0;
pub const UNTOUCHED: i32 = 1;

pub const SEGMENT: u64 = 20000;
pub const SEMAPHORES: i32 = 40;
const VALUES: [u16; 5] = [11, 0, 32767, 1, 500];
const MESSAGES: [(i64, usize); 4] = [(7, 5), (1 << 40, 300), (3, 0), (7, 6000)];

fn message(nth: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + nth * 31) as u8).collect()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 13 + at / 251) as u8).collect()
}

/// Creates the namespace. Its limits are low, so that corrupted sizes do not exhaust the machine's
/// memory.
pub fn make(path: &Path, kind: Kind) -> Namespace {
    let ns = Namespace::create(path, kind).unwrap();
    let limits = Limits { shmmax: 1 << 20, shmall: 1 << 10, ..ns.limits().unwrap() };
    ns.set_limits(&limits).unwrap();
    for keys in [KEYS, UNTOUCHED_KEYS] {
        let _ = make_objects(&ns, keys).map(|made| made.unwrap());
    }
    fill_attacked(&ns, ID);
    let memory = quintet::Segment::open(&ns, UNTOUCHED_KEYS[0]).unwrap().attach().unwrap();
    memory.write(0, &pattern(memory.len())).unwrap();
    let set = ns.semget(UNTOUCHED_KEYS[1], 0, 0).unwrap().raw();
    let mut values = vec![5; SEMAPHORES as usize];
    values[..5].copy_from_slice(&VALUES);
    ns.sem_set_values(set, &values).unwrap();
    let queue = ns.msgget(UNTOUCHED_KEYS[2], 0).unwrap().raw();
    for (nth, (mtype, len)) in MESSAGES.into_iter().enumerate() {
        ns.msgsnd(queue, mtype, &message(nth, len), MsgFlags::NOWAIT, None).unwrap();
    }
    ns
}

/// Creates the objects of these keys that do not exist.
pub fn make_objects(ns: &Namespace, keys: [Key; 3]) -> [Result<quintet::Id, Errno>; 3] {
    let flags = libc::IPC_CREAT | 0o600;
    [ns.shmget(keys[0], SEGMENT, flags), ns.semget(keys[1], SEMAPHORES, flags), ns.msgget(keys[2], flags)]
}

/// Fills the attacked objects with values and with messages of many lengths and types.
pub fn fill_attacked(ns: &Namespace, id: i32) {
    let _ = ns.sem_set_values(id, &[3; SEMAPHORES as usize]);
    for nth in 0..40 {
        let _ = ns.msgsnd(id, 1 + nth % 6, &[nth as u8; 20], MsgFlags::NOWAIT, None);
    }
    let _ = ns.msgsnd(id, 9, &[9; 5000], MsgFlags::NOWAIT, None);
    // Enough messages for an index by type.
    let _ = ns.msgrcv(id, &mut [0; 20], 4, MsgFlags::NOWAIT, None);
}

/// Checks that the objects that were not attacked have their values.
pub fn check_untouched(ns: &Namespace) {
    let id = UNTOUCHED;
    let stat = ns.shm_stat(id).expect("the other segment's IPC_STAT");
    assert_eq!((stat.key, stat.size, stat.perm.mode), (UNTOUCHED_KEYS[0], SEGMENT, 0o600), "the other segment's IPC_STAT");
    let segment = quintet::Segment::open_id(ns, quintet::Id::from_raw(id).unwrap()).expect("the other segment");
    match segment.attach_read_only() {
        Ok(memory) => {
            let bytes = memory.to_vec(0..memory.len()).expect("the other segment");
            assert!(bytes == pattern(SEGMENT as usize), "the other segment's bytes have changed");
        }
        // The corrupted registry may have no free slot.
        Err(e) => assert!(may_fail(e.errno()), "the other segment cannot be attached: {e}"),
    }
    let mut values = vec![5; SEMAPHORES as usize];
    values[..5].copy_from_slice(&VALUES);
    match ns.sem_values(id) {
        Ok(got) => assert_eq!(got, values, "the other set's values"),
        Err(e) => assert!(may_fail(e), "the other set's values cannot be read: {e:?}"),
    }
    let stat = ns.sem_stat(id).expect("the other set's IPC_STAT");
    assert_eq!((stat.key, stat.nsems, stat.perm.mode), (UNTOUCHED_KEYS[1], SEMAPHORES as u32, 0o600), "the other set's IPC_STAT");
    let stat = ns.msg_stat(id).expect("the other queue's IPC_STAT");
    let total: usize = MESSAGES.iter().map(|(_, len)| len).sum();
    let expected = (UNTOUCHED_KEYS[2], MESSAGES.len() as u64, total as u64, 0o600);
    assert_eq!((stat.key, stat.messages, stat.bytes, stat.perm.mode), expected, "the other queue's IPC_STAT");
    let mut nth = 0;
    let peeked = ns.peek(id, |stat, bytes| {
        let (mtype, len) = MESSAGES[nth];
        assert_eq!((stat.mtype, stat.len), (mtype, len), "the other queue's message {nth}");
        assert!(bytes == message(nth, len), "the other queue's message {nth} has changed");
        nth += 1;
        true
    });
    match peeked {
        Ok(()) => assert_eq!(nth, MESSAGES.len(), "the other queue's messages"),
        Err(e) => assert!(may_fail(e), "the other queue's messages cannot be read: {e:?}"),
    }
}

/// Returns `true` for errors of a call that needs a participant slot or a descriptor.
fn may_fail(errno: Errno) -> bool {
    [Errno::NOSPC, Errno::NOMEM].contains(&errno)
}
