//! `msgctl`: its buffer, and the contents of its structures.
//!
//! # Safety
//!
//! See the crate.
#![allow(unsafe_code)]

use super::*;

#[test]
fn msgctl_checks_its_buffer() {
    preloaded("structures::msgctl_checks_its_buffer", || {
        let id = queue(0o600);
        let gone = id ^ (1 << 15);
        let len = size_of::<msqid_ds>();
        for bad in [0, 8, usize::MAX - 3, mapped(1) + PAGE - 6] {
            for command in [libc::IPC_STAT, libc::IPC_SET, IPC_INFO, MSG_INFO, MSG_STAT, MSG_STAT_ANY] {
                assert_eq!(msgctl(id, command, bad), EFAULT, "{command} {bad:x}");
                assert_eq!(msgctl(-1, command, bad), EINVAL);
            }
            assert_eq!((msgctl(gone, libc::IPC_SET, bad), msgctl(gone, libc::IPC_STAT, bad)), (EFAULT, EINVAL));
            assert_eq!(msgctl(id + 1, MSG_STAT, bad), EINVAL);
            assert_eq!((msgctl(id, 77, bad), msgctl(id, -1, bad)), (EINVAL, EINVAL));
        }
        // Just enough room, on a page that is unknown and then known.
        let at = mapped(1) + PAGE - len;
        for _ in 0..2 {
            assert_eq!((msgctl(id, libc::IPC_STAT, at), msgctl(id, libc::IPC_SET, at)), (0, 0));
            assert_eq!((msgctl(id, libc::IPC_STAT, at + 1), msgctl(id, libc::IPC_SET, at + 1)), (EFAULT, EFAULT));
        }
        assert_eq!(msgctl(id, libc::IPC_RMID, 8), 0);
        assert_eq!(msgctl(id, libc::IPC_RMID, 8), EINVAL);
    });
}

#[test]
fn structures_have_the_kernels_contents() {
    preloaded("structures::structures_have_the_kernels_contents", || {
        let before = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64 - 1;
        let id = queue(0o641);
        let stat = || {
            let mut ds = MaybeUninit::<msqid_ds>::zeroed();
            // SAFETY: a local of its type, for which every content is valid.
            unsafe {
                ds.as_mut_ptr().cast::<u8>().write_bytes(0xee, size_of::<msqid_ds>());
                assert_eq!(libc::msgctl(id, libc::IPC_STAT, ds.as_mut_ptr()), 0);
                ds.assume_init()
            }
        };
        let mut ds = stat();
        // SAFETY: take nothing and cannot fail.
        let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
        let perm = ds.msg_perm;
        assert_eq!((perm.__key, perm.uid, perm.gid, perm.cuid, perm.cgid), (libc::IPC_PRIVATE, uid, gid, uid, gid));
        assert_eq!((u32::from(perm.mode), perm.__seq as c_int), (0o641, id >> 15));
        assert_eq!((ds.msg_stime, ds.msg_rtime, ds.msg_lspid, ds.msg_lrpid), (0, 0, 0, 0));
        assert_eq!((ds.__msg_cbytes, ds.msg_qnum, ds.msg_qbytes), (0, 0, 16384));
        assert!(ds.msg_ctime as i64 >= before, "{}", ds.msg_ctime);
        // The kernel's capacity is an `int`.
        #[cfg(target_pointer_width = "64")]
        {
            ds.msg_qbytes = (1 << 32) + 77;
            assert_eq!(msgctl(id, libc::IPC_SET, (&raw const ds) as usize), 0);
            assert_eq!(stat().msg_qbytes, 77);
        }
        (ds.msg_perm.mode, ds.msg_qbytes) = (0o7604, 100);
        assert_eq!(msgctl(id, libc::IPC_SET, (&raw const ds) as usize), 0);

        let stack = [0u8; 64];
        let at = stack.as_ptr() as usize;
        for (mtype, len) in [(1, 30), (2, 20)] {
            put(at, mtype, &bytes(len));
            assert_eq!(send(id, at, len), 0);
        }
        assert_eq!(receive(id, at, 30, 1, 0), 30);
        let ds = stat();
        assert_eq!((u32::from(ds.msg_perm.mode), ds.__msg_cbytes, ds.msg_qnum, ds.msg_qbytes), (0o604, 20, 1, 100));
        let me = std::process::id() as c_int;
        assert_eq!((ds.msg_lspid, ds.msg_lrpid), (me, me));
        assert!(ds.msg_stime as i64 >= before && ds.msg_rtime as i64 >= before);

        let numbers = |command| {
            let mut info = MaybeUninit::<msginfo>::zeroed();
            // SAFETY: a local of its type, for which every content is valid.
            let info = unsafe {
                assert_eq!(libc::msgctl(0, command, info.as_mut_ptr().cast()), id & 0x7fff);
                info.assume_init()
            };
            let limits = [info.msgmax, info.msgmnb, info.msgmni, info.msgssz, c_int::from(info.msgseg)];
            (limits, [info.msgpool, info.msgmap, info.msgtql])
        };
        let limits = [8192, 16384, 32000, 16, 65535];
        assert_eq!(numbers(IPC_INFO), (limits, [512_000, 16384, 16384]));
        assert_eq!(numbers(MSG_INFO), (limits, [1, 1, 20]));
        let mut ds = MaybeUninit::<msqid_ds>::zeroed();
        for command in [MSG_STAT, MSG_STAT_ANY] {
            // SAFETY: a local of its type.
            let found = unsafe { libc::msgctl(id & 0x7fff, command, ds.as_mut_ptr()) };
            assert_eq!(found, id);
        }
    });
}
