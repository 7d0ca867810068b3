//! The safe interface of message queues.
//!
//! Tests run in a directory and, if an IPC namespace can be created, in the kernel.

mod common;
#[cfg(feature = "serde")]
#[path = "queue/values.rs"]
mod values;
use crash::support;

use common::catch_sigusr1;
use quintet::{Errno, Key, Kind, Limits, Message, MessageQueue, MsgWait, Namespace, Select};
use std::path::Path;
use std::time::{Duration, Instant};
use support::{BOUND, Child, Signpost, alone, become_user, fork, is_root, on_both, open_to_all, state, until};

const KEY: Key = Key::new(0x0e55);

fn is_kernel(ns: &Namespace) -> bool {
    ns.path().is_none()
}

/// Waits until the child blocks in a call of this queue.
fn wait_until_blocked(child: &Child, queue: &MessageQueue) {
    until("the call blocks", || {
        if is_kernel(queue.namespace()) {
            let call = std::fs::read_to_string(format!("/proc/{}/syscall", child.pid)).unwrap_or_default();
            let number = call.split(' ').next().and_then(|number| number.parse().ok());
            matches!(number, Some(libc::SYS_msgsnd | libc::SYS_msgrcv)) && state(child.pid) == Some('S')
        } else {
            let queues = queue.namespace().queues().unwrap();
            let this = queues.iter().find(|status| status.stat.id == queue.id()).unwrap();
            this.waiters.iter().any(|waiter| waiter.pid == child.pid)
        }
    });
}

fn types(queue: &MessageQueue) -> Vec<i64> {
    queue.messages().unwrap().iter().map(|message| message.mtype).collect()
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 + n / 251) as u8).collect()
}

fn failed<T: std::fmt::Debug>(result: quintet::Result<T>) -> (Errno, String) {
    let error = result.unwrap_err();
    (error.errno(), error.to_string())
}

#[test]
fn messages_arrive_with_their_type_and_content() {
    on_both("messages_arrive_with_their_type_and_content", |ns| {
        let queue = MessageQueue::create_new(ns, KEY).unwrap();
        let me = std::process::id() as i32;
        for (mtype, len) in [(1, 0), (2, 1), (i64::from(i32::MAX), 7), (3, 64), (libc::c_long::MAX as i64, 4056), (4, 8192)] {
            let data = bytes(len);
            queue.send(mtype, &data).unwrap();
            let stat = queue.stat().unwrap();
            assert_eq!((stat.messages, stat.bytes, stat.lspid), (1, len as u64, me));
            assert_eq!(queue.receive(Select::First).unwrap(), Message { mtype, data: data.clone() });
            queue.send(mtype, &data).unwrap();
            let mut buffer = vec![0; len];
            assert_eq!(queue.receive_into(&mut buffer, Select::Type(mtype)).unwrap(), (mtype, len));
            assert_eq!(buffer, data);
            let stat = queue.stat().unwrap();
            assert_eq!((stat.messages, stat.bytes, stat.lrpid), (0, 0, me));
        }
        queue.remove().unwrap();
    });
}

/// A queue keeps a moderate amount of memory for later messages and frees the rest.
#[test]
fn an_emptied_queue_frees_most_of_its_memory() {
    alone("an_emptied_queue_frees_most_of_its_memory", |directory: &Path| {
        for kind in [Kind::Private, Kind::Shared] {
            let path = directory.join(format!("{kind:?}"));
            let ns = Namespace::create(&path, kind).unwrap();
            ns.set_limits(&Limits { msgmnb: 1 << 30, msgmax: 1 << 20, ..Limits::DEFAULT }).unwrap();
            let queue = MessageQueue::options().mode(0o640).capacity(1 << 30).create(&ns, KEY).unwrap();
            assert_eq!(queue.stat().unwrap().perm.mode, 0o640);
            let file = path.join(if kind == Kind::Private { "msg/0" } else { "msg/0.data" });
            let held = || std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&file).unwrap()) * 512;
            let data = bytes(1 << 20);
            for (mebibytes, kept) in [(3, true), (20, false)] {
                (0..mebibytes).for_each(|n| queue.send(n + 1, &data).unwrap());
                let full = held();
                assert!(full >= mebibytes as u64 * (1 << 20), "{full}");
                // Another process empties the queue. The mapping of this process stays valid.
                fork(|| {
                    let queue = MessageQueue::open(&Namespace::open(&path).unwrap(), KEY).unwrap();
                    (0..mebibytes).for_each(|n| {
                        assert_eq!(queue.receive(Select::First).unwrap(), Message { mtype: n + 1, data: data.clone() })
                    });
                })
                .succeeds();
                let empty = held();
                assert_eq!(empty == full, kept, "{empty} of {full}");
                assert!(kept || empty < 1 << 18, "{empty}");
            }
            queue.send(7, b"again").unwrap();
            assert_eq!(queue.receive(Select::First).unwrap(), Message { mtype: 7, data: b"again".to_vec() });
        }
    });
}

/// Without restartable sequences, the library blocks signals instead. Runs all these tests again,
/// with a C library that registers none.
#[test]
fn all_tests_pass_without_restartable_sequences() {
    const TUNABLES: &str = "GLIBC_TUNABLES";
    if std::env::var_os(TUNABLES).is_some() {
        return;
    }
    let again =
        std::process::Command::new(std::env::current_exe().unwrap()).env(TUNABLES, "glibc.pthread.rseq=0").output().unwrap();
    let said = String::from_utf8_lossy(&again.stdout);
    assert!(again.status.success() && said.contains("test messages_arrive_with_their_type_and_content ... ok"), "{said}");
}

#[test]
fn each_selection_receives_the_right_message() {
    on_both("each_selection_receives_the_right_message", |ns| {
        let queue = MessageQueue::private(ns).unwrap();
        let cases = [
            (Select::First, Some((3, 0)), vec![5, 2, 9, 2]),
            (Select::Type(2), Some((2, 2)), vec![3, 5, 9, 2]),
            (Select::Type(4), None, vec![3, 5, 2, 9, 2]),
            (Select::LowestUpTo(1), None, vec![3, 5, 2, 9, 2]),
            (Select::LowestUpTo(2), Some((2, 2)), vec![3, 5, 9, 2]),
            (Select::LowestUpTo(libc::c_long::MAX as i64), Some((2, 2)), vec![3, 5, 9, 2]),
            (Select::NotType(3), Some((5, 1)), vec![3, 2, 9, 2]),
            (Select::NotType(77), Some((3, 0)), vec![5, 2, 9, 2]),
        ];
        for (select, taken, left) in cases {
            for (place, mtype) in [3, 5, 2, 9, 2].into_iter().enumerate() {
                queue.send(mtype, &[place as u8]).unwrap();
            }
            let expected = taken.map(|(mtype, place)| Message { mtype, data: vec![place] });
            assert_eq!(queue.peek(select).unwrap(), expected, "{select:?}");
            assert_eq!(types(&queue), [3, 5, 2, 9, 2]);
            assert_eq!(queue.try_receive(select).unwrap(), expected, "{select:?}");
            assert_eq!(types(&queue), left, "{select:?}");
            while queue.try_receive(Select::default()).unwrap().is_some() {}
        }
        for select in [Select::NotType(1), Select::Type(1), Select::LowestUpTo(5)] {
            assert_eq!((queue.peek(select).unwrap(), queue.try_receive(select).unwrap()), (None, None));
        }
        // The queue has messages of that type only.
        queue.send(6, b"").unwrap();
        queue.send(6, b"").unwrap();
        assert_eq!(queue.try_receive(Select::NotType(6)).unwrap(), None);
        queue.remove().unwrap();
    });
}

#[test]
fn messages_of_any_length_can_be_received() {
    on_both("messages_of_any_length_can_be_received", |ns| {
        let limits = ns.limits().unwrap();
        ns.set_limits(&Limits { msgmax: 1 << 20, msgmnb: 3 << 20, ..limits }).unwrap();
        let queue = MessageQueue::create_new(ns, KEY).unwrap();
        assert_eq!(queue.stat().unwrap().capacity, 3 << 20);
        for len in [8191, 8192, 8193, 16385, 100_000, 1 << 20] {
            let message = Message { mtype: len as i64, data: bytes(len) };
            queue.send(1, b"short").unwrap();
            queue.send(message.mtype, &message.data).unwrap();
            assert_eq!(queue.try_receive(Select::NotType(1)).unwrap().unwrap(), message);
            assert_eq!(types(&queue), [1]);
            queue.receive(Select::First).unwrap();
            // A blocked receiver has chosen its buffer before the message arrives.
            let waiter = fork(|| assert_eq!(queue.receive(Select::Type(message.mtype)).unwrap(), message));
            wait_until_blocked(&waiter, &queue);
            queue.send(message.mtype, &message.data).unwrap();
            waiter.succeeds();
            assert_eq!(queue.stat().unwrap().messages, 0);
        }
        queue.remove().unwrap();
    });
}

#[test]
fn a_short_buffer_leaves_the_message_in_the_queue() {
    on_both("a_short_buffer_leaves_the_message_in_the_queue", |ns| {
        let queue = MessageQueue::private(ns).unwrap();
        queue.send(5, b"12345678").unwrap();
        for len in [0, 1, 7] {
            let mut buffer = vec![0xee; len];
            let (errno, text) = failed(queue.receive_into(&mut buffer, Select::First));
            assert_eq!(errno, Errno::TOOBIG);
            assert!(text.contains(&format!("longer than the buffer of {len} bytes")), "{text}");
            assert_eq!(buffer, vec![0xee; len]);
            assert_eq!(types(&queue), [5]);
        }
        let mut buffer = [0xee; 10];
        assert_eq!(queue.receive_into(&mut buffer, Select::First).unwrap(), (5, 8));
        assert_eq!(&buffer, b"12345678\xee\xee");
        queue.remove().unwrap();
    });
}

#[test]
fn a_full_queue_blocks_senders_until_there_is_room() {
    on_both("a_full_queue_blocks_senders_until_there_is_room", |ns| {
        let queue = MessageQueue::options().capacity(10).create(ns, KEY).unwrap();
        queue.send(1, b"123456").unwrap();
        assert!(!queue.try_send(1, b"78901").unwrap());
        assert!(queue.try_send(1, b"7890").unwrap());
        assert!(!queue.try_send(1, b"1").unwrap());
        let sender = fork(|| queue.send(2, b"12345").unwrap());
        wait_until_blocked(&sender, &queue);
        assert_eq!(queue.receive(Select::First).unwrap().data, b"123456");
        sender.succeeds();
        assert_eq!(types(&queue), [1, 2]);
        // A larger capacity makes room, too.
        let sender = fork(|| queue.send(3, b"12345").unwrap());
        wait_until_blocked(&sender, &queue);
        queue.set_capacity(14).unwrap();
        sender.succeeds();
        assert_eq!(types(&queue), [1, 2, 3]);
        // Capacity also limits the number of messages, even of empty ones.
        queue.set_capacity(3).unwrap();
        assert!(!queue.try_send(4, b"").unwrap());
        queue.remove().unwrap();
    });
}

#[test]
fn calls_respect_timeouts_and_deadlines() {
    on_both("calls_respect_timeouts_and_deadlines", |ns| {
        let queue = MessageQueue::options().capacity(4).create(ns, KEY).unwrap();
        let (past, short) = (Instant::now(), Duration::from_millis(2));
        assert_eq!(queue.receive_deadline(Select::First, past).unwrap(), None);
        assert_eq!(queue.receive_timeout(Select::First, Duration::ZERO).unwrap(), None);
        assert!(queue.send_deadline(1, b"abc", past).unwrap());
        assert!(!queue.send_deadline(1, b"de", past).unwrap());
        assert!(!queue.send_timeout(1, b"de", Duration::ZERO).unwrap());
        assert!(queue.send_timeout(1, b"d", Duration::MAX).unwrap());
        assert_eq!(queue.receive_deadline(Select::First, past).unwrap().unwrap().data, b"abc");
        assert_eq!(queue.receive_timeout(Select::First, Duration::MAX).unwrap().unwrap().data, b"d");
        if is_kernel(ns) {
            let why = format!(
                "queue {}: the kernel's queues have no timeout (EOPNOTSUPP); wait without a timeout or not at all, or use a directory",
                queue.id()
            );
            let receives = (Errno::OPNOTSUPP, format!("cannot receive from {why}"));
            assert_eq!(failed(queue.receive_timeout(Select::First, short)), receives);
            assert_eq!(failed(queue.receive_deadline(Select::First, past + BOUND)), receives);
            let sends = (Errno::OPNOTSUPP, format!("cannot send to {why}"));
            assert_eq!(failed(queue.send_timeout(1, b"", short)), sends);
            assert_eq!(failed(queue.send_deadline(1, b"", past + BOUND)), sends);
        } else {
            assert_eq!(queue.receive_timeout(Select::First, short).unwrap(), None);
            assert!(queue.send_timeout(1, b"abcd", short).unwrap());
            assert!(!queue.send_timeout(1, b"e", short).unwrap());
            assert!(!queue.send_deadline(1, b"e", Instant::now() + short).unwrap());
            assert_eq!(queue.receive_timeout(Select::Type(2), short).unwrap(), None);
            let receiver = fork(|| {
                let message = queue.receive_deadline(Select::Type(2), Instant::now() + BOUND).unwrap();
                assert_eq!(message.unwrap().data, b"x");
            });
            wait_until_blocked(&receiver, &queue);
            queue.set_capacity(5).unwrap();
            assert!(queue.try_send(2, b"x").unwrap());
            receiver.succeeds();
            let sender = fork(|| assert!(queue.send_timeout(3, b"12345", BOUND).unwrap()));
            wait_until_blocked(&sender, &queue);
            assert_eq!(queue.receive(Select::First).unwrap().data, b"abcd");
            sender.succeeds();
            assert_eq!(types(&queue), [3]);
        }
        queue.remove().unwrap();
    });
}

#[test]
fn a_signal_does_not_end_a_blocked_call() {
    on_both("a_signal_does_not_end_a_blocked_call", |ns| {
        let queue = MessageQueue::options().capacity(4).create(ns, KEY).unwrap();
        let caught = Signpost::new();
        let is = |message: Message| message.data == b"it";
        type Receives<'a> = &'a dyn Fn() -> bool;
        let receivers: [Receives; 4] = [
            &|| is(queue.receive(Select::Type(7)).unwrap()),
            &|| queue.receive_into(&mut [0; 4], Select::Type(7)).unwrap() == (7, 2),
            &|| is(queue.receive_timeout(Select::Type(7), Duration::MAX).unwrap().unwrap()),
            &|| is(queue.receive_timeout(Select::Type(7), BOUND).unwrap().unwrap()),
        ];
        let senders: [Receives; 3] =
            [&|| queue.send(7, b"it").is_ok(), &|| queue.send_timeout(7, b"it", Duration::MAX).unwrap(), &|| {
                queue.send_timeout(7, b"it", BOUND).unwrap()
            }];
        let interrupted = |call: Receives| {
            let child = fork(|| {
                catch_sigusr1(&caught);
                assert!(call());
            });
            wait_until_blocked(&child, &queue);
            child.signal(libc::SIGUSR1);
            caught.wait();
            wait_until_blocked(&child, &queue);
            child
        };
        // The last call has a timeout, which the kernel does not support.
        let without = usize::from(is_kernel(ns));
        for receives in &receivers[..receivers.len() - without] {
            let child = interrupted(receives);
            queue.send(7, b"it").unwrap();
            child.succeeds();
        }
        queue.send(1, b"full").unwrap();
        for sends in &senders[..senders.len() - without] {
            let child = interrupted(sends);
            queue.receive(Select::First).unwrap();
            child.succeeds();
            assert!(is(queue.receive(Select::First).unwrap()));
            queue.send(1, b"full").unwrap();
        }
        queue.remove().unwrap();
    });
}

#[test]
fn removal_of_a_queue_ends_blocked_calls() {
    on_both("removal_of_a_queue_ends_blocked_calls", |ns| {
        let queue = MessageQueue::options().capacity(4).create(ns, KEY).unwrap();
        queue.send(1, b"full").unwrap();
        let text = |verb: &str| format!("cannot {verb} queue {}: it was removed meanwhile (EIDRM)", queue.id());
        let receiver = fork(|| assert_eq!(failed(queue.receive(Select::Type(2))), (Errno::IDRM, text("receive from"))));
        let sender = fork(|| assert_eq!(failed(queue.send(1, b"more")), (Errno::IDRM, text("send to"))));
        wait_until_blocked(&receiver, &queue);
        wait_until_blocked(&sender, &queue);
        queue.remove().unwrap();
        receiver.succeeds();
        sender.succeeds();
        let gone =
            |verb: &str| (Errno::INVAL, format!("cannot {verb} queue {}: it does not exist (any more) (EINVAL)", queue.id()));
        assert_eq!(failed(queue.send(1, b"")), gone("send to"));
        assert_eq!(failed(queue.try_receive(Select::First)), gone("receive from"));
        assert_eq!(failed(queue.receive_into(&mut [], Select::First)), gone("receive from"));
        assert_eq!(failed(queue.messages()), gone("peek at"));
        assert_eq!(failed(queue.stat()), gone("read the state of"));
        assert_eq!(failed(queue.set_capacity(1)), gone("change"));
        assert_eq!(failed(queue.set_permissions(0, 0, 0o600)).0, Errno::INVAL);
        assert_eq!(failed(queue.remove()), gone("remove"));
    });
}

#[test]
fn opening_and_creating_find_the_right_queue() {
    on_both("opening_and_creating_find_the_right_queue", |ns| {
        assert_eq!(failed(MessageQueue::open(ns, KEY)).0, Errno::NOENT);
        let queue = MessageQueue::options().capacity(100).mode(0o640).create(ns, KEY).unwrap();
        let stat = queue.stat().unwrap();
        assert_eq!((stat.key, stat.id, stat.capacity, stat.perm.mode), (KEY, queue.id(), 100, 0o640));
        for same in [
            MessageQueue::open(ns, KEY),
            MessageQueue::open_id(ns, queue.id()),
            MessageQueue::open_or_create(ns, KEY),
            MessageQueue::options().capacity(7).create(ns, KEY),
        ] {
            assert_eq!(same.unwrap().id(), queue.id());
        }
        assert_eq!(queue.stat().unwrap().capacity, 100);
        let taken = (Errno::EXIST, format!("cannot create a message queue with key {KEY}: the key is in use (EEXIST)"));
        assert_eq!(failed(MessageQueue::create_new(ns, KEY)), taken);
        assert_eq!(failed(MessageQueue::options().exclusive().capacity(7).create(ns, KEY)), taken);
        let (one, other) = (MessageQueue::private(ns).unwrap(), MessageQueue::private(ns).unwrap());
        assert!(one.id() != other.id() && one.stat().unwrap().key.is_private());
        for queue in [queue, one, other] {
            queue.remove().unwrap();
            assert_eq!(failed(MessageQueue::open_id(ns, queue.id())).0, Errno::INVAL);
        }
        assert_eq!(
            failed(MessageQueue::open(ns, Key::PRIVATE)).1,
            "cannot open a queue with the key IPC_PRIVATE: this key finds no object (ENOENT); open the queue by its identifier"
        );
    });
}

#[test]
fn concurrent_creators_find_the_same_queue() {
    const PROCESSES: usize = 6;
    const ROUNDS: i32 = 40;
    on_both("concurrent_creators_find_the_same_queue", |ns| {
        let starts: Vec<Signpost> = (0..PROCESSES).map(|_| Signpost::new()).collect();
        let done = Signpost::new();
        let children: Vec<_> = starts
            .iter()
            .enumerate()
            .map(|(index, start)| {
                fork(|| {
                    for round in 0..ROUNDS {
                        start.wait();
                        // Half of the processes create in one step, half in two.
                        let mut options = MessageQueue::options();
                        if index % 2 == 0 {
                            options = options.capacity(1000);
                        }
                        options.create(ns, Key::new(100 + round)).unwrap().send(1 + index as i64, b"here").unwrap();
                        done.post(1);
                    }
                })
            })
            .collect();
        for round in 0..ROUNDS {
            starts.iter().for_each(|start| start.post(1));
            (0..PROCESSES).for_each(|_| done.wait());
            let queue = MessageQueue::open(ns, Key::new(100 + round)).unwrap();
            let mut all = types(&queue);
            all.sort();
            assert_eq!(all, (1..=PROCESSES as i64).collect::<Vec<_>>());
            assert!([1000, 16384].contains(&queue.stat().unwrap().capacity));
            queue.remove().unwrap();
        }
        children.into_iter().for_each(Child::succeeds);
    });
}

#[test]
fn capacity_and_permissions_change_independently() {
    on_both("capacity_and_permissions_change_independently", |ns| {
        let queue = MessageQueue::create_new(ns, KEY).unwrap();
        let before = queue.stat().unwrap();
        assert_eq!((before.capacity, before.perm.mode), (16384, 0o600));
        queue.set_capacity(77).unwrap();
        assert_eq!(queue.stat().unwrap().perm, before.perm);
        queue.set_permissions(before.perm.uid, before.perm.gid, 0o7644).unwrap();
        let after = queue.stat().unwrap();
        assert_eq!((after.capacity, after.perm.mode), (77, 0o644));
        // The owner may change a queue that its mode does not let the owner read.
        queue.set_permissions(before.perm.uid, before.perm.gid, 0).unwrap();
        queue.set_capacity(78).unwrap();
        queue.set_permissions(before.perm.uid, before.perm.gid, 0o600).unwrap();
        assert_eq!(queue.stat().unwrap().capacity, 78);
        queue.remove().unwrap();
    });
}

fn has_cap_sys_resource() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap() >> 24 & 1 != 0
}

#[test]
fn more_capacity_than_the_limit_needs_a_capability() {
    on_both("more_capacity_than_the_limit_needs_a_capability", |ns| {
        let tries = |ns: &Namespace| {
            let why = "16385 bytes are more than the limit msgmnb, 16384 (EPERM)";
            let create = failed(MessageQueue::options().capacity(16385).create(ns, KEY));
            assert_eq!(create.0, Errno::PERM);
            assert!(create.1.contains(why), "{}", create.1);
            assert_eq!(failed(MessageQueue::open(ns, KEY)).0, Errno::NOENT);
            let queue = MessageQueue::create_new(ns, KEY).unwrap();
            let change = failed(queue.set_capacity(16385));
            assert_eq!(change.0, Errno::PERM);
            assert!(change.1.contains(why), "{}", change.1);
            queue.set_capacity(16384).unwrap();
            queue.remove().unwrap();
        };
        if !has_cap_sys_resource() {
            return tries(ns);
        }
        let queue = MessageQueue::options().capacity(16385).create(ns, KEY).unwrap();
        assert_eq!(queue.stat().unwrap().capacity, 16385);
        queue.remove().unwrap();
        if !is_root() {
            return println!("skipped: changing users needs root");
        }
        let place = ns.path().map(|path| path.parent().unwrap().join("user"));
        if let Some(place) = &place {
            open_to_all(place.parent().unwrap());
            std::fs::create_dir(place).unwrap();
            std::os::unix::fs::chown(place, Some(65533), Some(65533)).unwrap();
        }
        fork(|| {
            become_user(65533);
            tries(&place.map_or_else(Namespace::kernel, |place| Namespace::create(place.join("ns"), Kind::Private).unwrap()));
        })
        .succeeds();
    });
}

#[test]
fn many_senders_reach_many_receivers_in_order() {
    const SENDERS: i64 = 3;
    const RECEIVERS: usize = 3;
    const MESSAGES: u32 = 2000;
    on_both("many_senders_reach_many_receivers_in_order", |ns| {
        // A small capacity makes senders block, too.
        let queue = MessageQueue::options().capacity(600).create(ns, KEY).unwrap();
        let counts = Signpost::new();
        let receivers: Vec<_> = (0..RECEIVERS)
            .map(|index| {
                fork(|| {
                    let (mut last, mut count) = ([0; SENDERS as usize + 1], 0);
                    loop {
                        let select = [Select::First, Select::LowestUpTo(99), Select::NotType(98)][index];
                        let Message { mtype, data } = queue.receive(select).unwrap();
                        if mtype == 99 {
                            break counts.send_number(count);
                        }
                        let number = u32::from_ne_bytes(data[..4].try_into().unwrap());
                        assert!(number > last[mtype as usize], "messages of one sender stay in order");
                        last[mtype as usize] = number;
                        assert_eq!(data[4..], bytes(number as usize % 150));
                        count += 1;
                    }
                })
            })
            .collect();
        let senders: Vec<_> = (1..=SENDERS)
            .map(|mtype| {
                fork(|| {
                    for number in 1..=MESSAGES {
                        let data = [&number.to_ne_bytes()[..], &bytes(number as usize % 150)].concat();
                        queue.send(mtype, &data).unwrap();
                    }
                })
            })
            .collect();
        senders.into_iter().for_each(Child::succeeds);
        until("all messages are received", || queue.stat().unwrap().messages == 0);
        (0..RECEIVERS).for_each(|_| queue.send(99, b"").unwrap());
        receivers.into_iter().for_each(Child::succeeds);
        let all: i64 = (0..RECEIVERS).map(|_| counts.number()).sum();
        assert_eq!(all, SENDERS * i64::from(MESSAGES));
        let stat = queue.stat().unwrap();
        assert_eq!((stat.messages, stat.bytes), (0, 0));
        queue.remove().unwrap();
    });
}

#[test]
fn the_status_names_blocked_calls_and_their_wants() {
    alone("the_status_names_blocked_calls_and_their_wants", |directory: &Path| {
        let ns = Namespace::create(directory.join("ns"), Kind::Private).unwrap();
        let queue = MessageQueue::options().capacity(4).create(&ns, KEY).unwrap();
        queue.send(1, b"full").unwrap();
        let receiver = fork(|| assert_eq!(queue.receive_into(&mut [0; 9], Select::NotType(1)).unwrap(), (5, 3)));
        wait_until_blocked(&receiver, &queue);
        let sender = fork(|| queue.send(5, b"123").unwrap());
        wait_until_blocked(&sender, &queue);
        let status = ns.queues().unwrap().remove(0);
        let wants: Vec<MsgWait> = status.waiters.iter().map(|waiter| waiter.wants).collect();
        let flags = quintet::MsgFlags::EXCEPT;
        assert_eq!(wants, [MsgWait::Receive { mtype: 1, flags, size: 9 }, MsgWait::Send { mtype: 5, len: 3 }]);
        queue.receive(Select::First).unwrap();
        sender.succeeds();
        receiver.succeeds();
        queue.remove().unwrap();
    });
}

/// `peek` shows each message that stays, once and in order, while other calls receive messages.
#[test]
fn peek_shows_each_message_once_while_others_receive() {
    alone("peek_shows_each_message_once_while_others_receive", |directory: &Path| {
        let ns = Namespace::create(directory.join("ns"), Kind::Private).unwrap();
        let queue = MessageQueue::create_new(&ns, KEY).unwrap();
        (1..=500).for_each(|mtype| queue.send(mtype, b"x").unwrap());
        let mut seen = Vec::new();
        let look = |message: quintet::MessageStat, _: &[u8]| {
            seen.push(message.mtype);
            // Receives the message shown and one from the end of the queue.
            queue.try_receive(Select::Type(message.mtype)).unwrap();
            queue.try_receive(Select::Type(501 - message.mtype)).unwrap();
            true
        };
        assert_eq!(ns.peek(queue.id().raw(), look), Ok(()));
        assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
        // `peek` copies several messages at a time and may show some that were received since.
        assert!(seen.starts_with(&(1..=250).collect::<Vec<i64>>()) && seen.len() < 350, "{seen:?}");
        assert_eq!(queue.stat().unwrap().messages, 0);
    });
}

#[test]
fn error_messages_name_the_reason() {
    on_both("error_messages_name_the_reason", |ns| {
        let queue = MessageQueue::create_new(ns, KEY).unwrap();
        let tool = match ns.path() {
            Some(path) => format!("quintet --namespace {}", path.display()),
            None => "quintet --kernel".to_owned(),
        };
        let invalid = |verb: &str, why: &str| (Errno::INVAL, format!("cannot {verb} queue {}: {why}", queue.id()));
        for mtype in [0, -1, i64::MIN] {
            let why = format!("a message's type is 1 or more, not {mtype} (EINVAL)");
            assert_eq!(failed(queue.send(mtype, b"")), invalid("send to", &why));
            assert_eq!(failed(queue.try_send(mtype, b"")), invalid("send to", &why));
            for select in [Select::Type(mtype), Select::LowestUpTo(mtype), Select::NotType(mtype)] {
                assert_eq!(failed(queue.receive(select)), invalid("receive from", &why));
                assert_eq!(failed(queue.try_receive(select)), invalid("receive from", &why));
                assert_eq!(failed(queue.receive_into(&mut [], select)), invalid("receive from", &why));
                assert_eq!(failed(queue.peek(select)), invalid("receive from", &why));
            }
        }
        assert_eq!(
            failed(queue.send(1, &bytes(8193))),
            invalid(
                "send to",
                &format!(
                    "8193 bytes are more than the limit msgmax, 8192 (EINVAL); \
                     raise it with '{tool} namespace limits --msgmax 8193'"
                )
            )
        );
        assert_eq!(
            failed(queue.set_permissions(u32::MAX, 0, 0o600)),
            invalid("change", "it does not exist (any more), or an id is -1 (EINVAL)")
        );
        assert_eq!(queue.stat().unwrap().messages, 0);
        queue.remove().unwrap();
    });
}
