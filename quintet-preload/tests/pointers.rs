//! Pointers that a program passes to the semaphore calls. Bad pointers give `EFAULT` in the
//! kernel's order, and known good ones cost no system call.
//!
//! # Safety
//!
//! Calls get bad pointers on purpose, which the library must not use. A mapping made here is
//! unmapped with its address and length.
#![allow(unsafe_code)]

mod support;

use libc::{E2BIG, EFAULT, EFBIG, EINVAL, c_int, c_void, sembuf, semid_ds, seminfo, timespec};
use std::mem::MaybeUninit;
use std::ptr::null;
use support::*;

fn semop(id: c_int, ops: *mut sembuf, nsops: usize) -> c_int {
    // SAFETY: see the module.
    if unsafe { libc::semop(id, ops, nsops) } == 0 { 0 } else { errno() }
}

unsafe extern "C" {
    #[link_name = "semtimedop"]
    fn c_semtimedop(id: c_int, ops: *mut sembuf, nsops: usize, timeout: *const timespec) -> c_int;
}

fn semtimedop(id: c_int, ops: *mut sembuf, nsops: usize, timeout: *const timespec) -> c_int {
    // SAFETY: see the module.
    if unsafe { c_semtimedop(id, ops, nsops, timeout) } == 0 { 0 } else { errno() }
}

fn semctl(id: c_int, num: c_int, command: c_int, arg: usize) -> c_int {
    // SAFETY: see the module.
    if unsafe { libc::semctl(id, num, command, arg) } >= 0 { 0 } else { errno() }
}

static mut IN_IMAGE: [sembuf; 2] = [op(0, 1, 0), op(0, -1, 0)];
static READ_ONLY: [sembuf; 1] = [op(0, 1, 0)];

#[test]
fn errors_come_in_kernel_order() {
    preloaded("errors_come_in_kernel_order", || {
        let id = set(1, 0o600);
        let at = |address: usize| address as *mut sembuf;
        for bad in [0, 1, 7, 8, 4095, usize::MAX, usize::MAX - 5, usize::MAX - 24, 1 << 63] {
            for nsops in [1, 2, 4, 5, 500] {
                assert_eq!(semop(id, at(bad), nsops), EFAULT, "{bad:x} {nsops}");
            }
            assert_eq!(semop(id, at(bad), 501), E2BIG);
            assert_eq!(semop(id, at(bad), usize::MAX), E2BIG);
            assert_eq!(semop(id, at(bad), 0), EINVAL);
            assert_eq!(semop(-1, at(bad), 1), EFAULT);
            assert_eq!(semop(id ^ (1 << 15), at(bad), 1), EFAULT);
        }
        let mut good = [op(0, 1, 0); 501];
        let (good, wrong_timeout) = (good.as_mut_ptr(), timespec { tv_sec: 0, tv_nsec: 1_000_000_000 });
        assert_eq!(semtimedop(id, good, 501, 16 as *const timespec), EFAULT);
        assert_eq!(semtimedop(id, good, 501, &raw const wrong_timeout), E2BIG);
        assert_eq!(semtimedop(id, at(8), 1, &raw const wrong_timeout), EFAULT);
        for timeout in [wrong_timeout, timespec { tv_sec: -1, tv_nsec: 0 }, timespec { tv_sec: 0, tv_nsec: -1 }] {
            assert_eq!(semtimedop(id, good, 1, &raw const timeout), EINVAL);
        }
        assert_eq!(semtimedop(id, good, 1, null()), 0);
        // The kernel's number of operations has 32 bits.
        #[cfg(target_pointer_width = "64")]
        {
            assert_eq!(semop(id, good, 1 << 32), EINVAL);
            assert_eq!(semop(id, good, (1 << 32) + 1), 0);
            assert_eq!(value(id), 2);
        }
    });
}

#[test]
fn every_operation_is_checked() {
    preloaded("every_operation_is_checked", || {
        let id = set(1, 0o600);
        let brink = brink(1);
        let end = brink + PAGE;
        // Zeroes are operations that wait for zero, which is the value.
        for (start, nsops) in [(end - 6, 1), (end - 7, 1), (end - 24, 4), (end - 30, 5), (brink, 500)] {
            assert_eq!(semop(id, start as *mut sembuf, nsops), 0);
            // A range that was readable once does not make a longer one readable.
            for beyond in [1, 2, 5, 6] {
                assert_eq!(
                    semop(id, (start + beyond) as *mut sembuf, nsops),
                    if start + beyond + nsops * 6 <= end { 0 } else { EFAULT }
                );
            }
        }
        assert_eq!(semop(id, (end - 1200) as *mut sembuf, 201), EFAULT);
        // A mapping that is gone is no longer readable.
        // SAFETY: see the module.
        assert_eq!(unsafe { libc::munmap(brink as *mut c_void, 2 * PAGE) }, 0);
        assert_eq!(semop(id, brink as *mut sembuf, 1), EFAULT);
    });
}

#[test]
fn operations_across_pages() {
    preloaded("operations_across_pages", || {
        let id = set(3, 0o600);
        let mut stack = [0u8; 3 * PAGE];
        let boundary = (stack.as_ptr() as usize).next_multiple_of(PAGE) + PAGE - stack.as_ptr() as usize;
        let three = [op(0, 1, 0), op(1, 2, 0), op(2, 3, 0)];
        for before in 0..=19 {
            // SAFETY: integers without padding.
            let bytes: [u8; 18] = unsafe { std::mem::transmute(three) };
            stack[boundary - before..][..18].copy_from_slice(&bytes);
            let at = stack[boundary - before..].as_mut_ptr().cast();
            assert_eq!(semop(id, at, 3), 0);
            assert_eq!(semop(id, at, 3), 0);
        }
        let values = [0, 1, 2].map(|num| control(id, num, GETVAL, 0));
        assert_eq!(values, [40, 80, 120]);
    });
}

#[test]
fn shrinking_heap() {
    preloaded("shrinking_heap", || {
        const SIZE: isize = 1 << 20;
        let id = set(1, 0o600);
        // SAFETY: nothing else moves the break meanwhile: this process has one busy thread, which
        // allocates nothing here.
        unsafe {
            let low = libc::sbrk(SIZE);
            let ops = low.byte_offset(SIZE / 2).cast::<sembuf>();
            let found = [semop(id, ops, 1), semop(id, ops, 1)];
            let moved = libc::sbrk(-SIZE) != -1isize as *mut c_void;
            let gone = semop(id, ops, 1);
            assert!(moved);
            assert_eq!((found, gone), ([0, 0], EFAULT));
        }
    });
}

#[test]
fn ranges_of_many_pages() {
    preloaded("ranges_of_many_pages", || {
        const NSEMS: usize = 32000;
        const LEN: usize = NSEMS * size_of::<u16>();
        const PAGES: usize = LEN / PAGE + 2;
        let id = set(NSEMS as c_int, 0o600);
        let values: Vec<u16> = (0..NSEMS as u16).collect();
        assert_eq!(semctl(id, 0, SETALL, values.as_ptr() as usize), 0);
        // SAFETY: the range was just written, and nothing else uses it.
        let written = |at: usize| unsafe { std::slice::from_raw_parts(at as *const u16, NSEMS) } == values;
        let brink = brink(PAGES);
        let end = brink + PAGES * PAGE;
        let mut stack = [0u16; NSEMS];
        let (on_stack, low) = (stack.as_mut_ptr() as usize, PAGES * PAGE);
        // SAFETY: nothing else moves the break meanwhile: this process has one busy thread, which
        // allocates nothing here.
        unsafe {
            let heap = libc::sbrk((2 * low) as isize) as usize;
            for at in [brink, brink + PAGE - 2, end - LEN, heap, heap + 2, heap + low, on_stack] {
                for _ in 0..2 {
                    assert_eq!((semctl(id, 0, GETALL, at), semctl(id, 0, SETALL, at)), (0, 0));
                    assert!(written(at));
                }
            }
            for at in [end - LEN + 2, end - 2, end, usize::MAX - 1] {
                assert_eq!((semctl(id, 0, GETALL, at), semctl(id, 0, SETALL, at)), (EFAULT, EFAULT));
            }
            // The first pages still exist, the last ones do not.
            assert_ne!(libc::sbrk(-(low as isize)), -1isize as *mut c_void);
            let at = heap + low / 2;
            assert_eq!((semctl(id, 0, GETALL, at), semctl(id, 0, SETALL, at)), (EFAULT, EFAULT));
            assert_eq!(semctl(id, 0, GETALL, heap), 0);
        }
    });
}

#[test]
fn semctl_checks_its_buffer() {
    preloaded("semctl_checks_its_buffer", || {
        let id = set(4, 0o600);
        let gone = id ^ (1 << 15);
        let brink = brink(1);
        for bad in [0, 8, usize::MAX - 3, brink + PAGE - 6] {
            for command in [libc::IPC_STAT, libc::IPC_SET, GETALL, SETALL, IPC_INFO, SEM_INFO] {
                assert_eq!(semctl(id, 0, command, bad), EFAULT, "{command} {bad:x}");
                assert_eq!(semctl(-1, 0, command, bad), EINVAL);
            }
            assert_eq!(semctl(gone, 0, libc::IPC_SET, bad), EFAULT);
            for command in [libc::IPC_STAT, GETALL, SETALL] {
                assert_eq!(semctl(gone, 0, command, bad), EINVAL);
            }
            assert_eq!(semctl(id, 9, 77, bad), EINVAL);
            assert_eq!(semctl(id, 9, -1, bad), EINVAL);
        }
        // Just enough room, on a page that is unknown and then known.
        let mut values = [5u16, 6, 7, 32767];
        for at in [brink + PAGE - 8, values.as_mut_ptr() as usize] {
            assert_eq!(semctl(id, 99, SETALL, values.as_ptr() as usize), 0);
            for _ in 0..2 {
                assert_eq!(semctl(id, 99, GETALL, at), 0);
                // SAFETY: just written.
                assert_eq!(unsafe { (at as *const [u16; 4]).read_unaligned() }, [5, 6, 7, 32767]);
            }
        }
        values[3] = 32768;
        assert_eq!(semctl(id, 0, SETALL, values.as_ptr() as usize), libc::ERANGE);
        assert_eq!(control(id, 3, GETVAL, 0), 32767);
        // The other half of the union is ignored.
        #[cfg(target_pointer_width = "64")]
        assert_eq!(semctl(id, 0, SETVAL, 0x1234_5678_0000_0003), 0);
        assert_eq!(control(id, 0, SETVAL, 3), 0);
        assert_eq!(value(id), 3);
        // A page that can be read and not written.
        let written_once = READ_ONLY.as_ptr() as usize;
        assert_eq!(semop(id, written_once as *mut sembuf, 1), 0);
        assert_eq!(semctl(id, 0, GETALL, written_once), EFAULT);
    });
}

/// Maps a page of this kind, of a file if there is one.
fn page(prot: c_int, flags: c_int, file: Option<(&std::fs::File, i64)>) -> usize {
    let (fd, offset) = file.map_or((-1, 0), |(file, offset)| (std::os::fd::AsRawFd::as_raw_fd(file), offset));
    let flags = if file.is_some() { flags } else { flags | libc::MAP_ANONYMOUS };
    // SAFETY: a new mapping.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, prot, flags, fd, offset) };
    assert_ne!(at, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
    at as usize
}

#[test]
fn every_kind_of_page() {
    preloaded("every_kind_of_page", || {
        const READ: c_int = libc::PROT_READ;
        const BOTH: c_int = libc::PROT_READ | libc::PROT_WRITE;
        let id = set(4, 0o600);
        // The pages read as zeroes: operations that wait for zero.
        let file = tempfile::tempfile().unwrap();
        file.set_len(PAGE as u64 + 100).unwrap();
        let (second, beyond) = (Some((&file, PAGE as i64)), Some((&file, 2 * PAGE as i64)));
        let (private, shared) = (libc::MAP_PRIVATE, libc::MAP_SHARED);
        let read_only_later = page(BOTH, private, None);
        // SAFETY: memory of this test's own.
        unsafe { (read_only_later as *mut u8).write(0) };
        // SAFETY: as above.
        assert_eq!(unsafe { libc::mprotect(read_only_later as *mut c_void, PAGE, READ) }, 0);
        let kinds = [
            ("private", page(BOTH, private, None), true, true),
            ("shared", page(BOTH, shared, None), true, true),
            ("only to be read, untouched", page(READ, private, None), true, false),
            ("only to be read, touched", read_only_later, true, false),
            ("for nothing", page(libc::PROT_NONE, private, None), false, false),
            ("a file's", page(BOTH, shared, second), true, true),
            ("a file's, private", page(BOTH, private, second), true, true),
            ("a file's, only to be read", page(READ, shared, second), true, false),
            ("a file's, private, only to be read", page(READ, private, second), true, false),
            ("beyond a file", page(BOTH, shared, beyond), false, false),
            ("beyond a file, private", page(BOTH, private, beyond), false, false),
            ("beyond a file, only to be read", page(READ, shared, beyond), false, false),
            ("the kernel's", 0usize.wrapping_sub(PAGE), false, false),
            #[cfg(target_arch = "x86_64")]
            ("the kernel's call page", 0xffff_ffff_ff60_0000, false, false),
            #[cfg(target_arch = "x86_64")]
            ("the last of the lower half", 0x7fff_ffff_f000, false, false),
            #[cfg(target_arch = "x86_64")]
            ("no address", 1 << 47, false, false),
            #[cfg(target_pointer_width = "64")]
            ("the upper half's first", 1 << 63, false, false),
        ];
        let expected = |allowed| if allowed { 0 } else { EFAULT };
        for (kind, at, readable, writable) in kinds {
            for within in [0, 1, 2, 3, PAGE - 24] {
                assert_eq!(semop(id, (at + within) as *mut sembuf, 4), expected(readable), "{kind} + {within}");
                assert_eq!(semctl(id, 0, GETALL, at + within), expected(writable), "{kind} + {within}");
                assert_eq!(semctl(id, 0, SETALL, at + within), expected(readable), "{kind} + {within}");
            }
            assert_eq!(semctl(id, 0, libc::IPC_STAT, at + PAGE / 2), expected(writable), "{kind}");
        }
    });
}

#[test]
fn checking_memory_changes_nothing() {
    preloaded("checking_memory_changes_nothing", || {
        let id = set(2, 0o600);
        let at = brink(1);
        // SAFETY: memory of this test, which nothing else uses.
        let bytes = unsafe { std::slice::from_raw_parts_mut(at as *mut u8, PAGE) };
        for pattern in [0u8, 0x5a, 0x80, 0xff] {
            bytes.fill(pattern);
            // The failure lies behind the first page. That page was checked, and must not be
            // written.
            assert_eq!(semctl(id, 0, GETALL, at + PAGE - 2), EFAULT);
            assert!(bytes.iter().all(|byte| *byte == pattern));
            // The neighbouring bytes stay as they are.
            assert_eq!(semctl(id, 0, GETALL, at + 101), 0);
            assert_eq!(bytes[101..105], [0; 4]);
            let others = bytes[..101].iter().chain(&bytes[105..]);
            assert!(others.clone().all(|byte| *byte == pattern));
        }
    });
}

#[test]
fn structures_have_the_kernels_contents() {
    preloaded("structures_have_the_kernels_contents", || {
        let before = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64 - 1;
        let id = set(3, 0o641);
        let mut ds = MaybeUninit::<semid_ds>::zeroed();
        // SAFETY: a local of its type, for which every content is valid.
        unsafe { ds.as_mut_ptr().cast::<u8>().write_bytes(0xee, size_of::<semid_ds>()) };
        assert_eq!(semctl(id, -7, libc::IPC_STAT, ds.as_mut_ptr() as usize), 0);
        // SAFETY: as above.
        let mut ds = unsafe { ds.assume_init() };
        // SAFETY: take nothing and cannot fail.
        let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
        let perm = ds.sem_perm;
        assert_eq!((perm.__key, perm.uid, perm.gid, perm.cuid, perm.cgid), (libc::IPC_PRIVATE, uid, gid, uid, gid));
        assert_eq!((u32::from(perm.mode), perm.__seq as c_int), (0o641, id >> 15));
        assert_eq!((ds.sem_nsems, ds.sem_otime), (3, 0));
        assert!(ds.sem_ctime >= before, "{}", ds.sem_ctime);
        ds.sem_perm.mode = 0o7604;
        assert_eq!(semctl(id, 0, libc::IPC_SET, (&raw const ds) as usize), 0);
        assert_eq!(semctl(id, 0, libc::IPC_STAT, (&raw mut ds) as usize), 0);
        assert_eq!(u32::from(ds.sem_perm.mode), 0o604);

        let mut info = MaybeUninit::<seminfo>::zeroed();
        let at = info.as_mut_ptr();
        let numbers = |command| {
            // SAFETY: a local of its type, for which every content is valid.
            let info = unsafe {
                assert!(libc::semctl(0, 0, command, at) >= 0);
                &*at
            };
            let limits = [info.semmni, info.semmns, info.semmsl, info.semopm, info.semvmx];
            (limits, [info.semmap, info.semmnu, info.semume], [info.semusz, info.semaem])
        };
        let limits = [32000, 1_024_000_000, 32000, 500, 32767];
        let others = [1_024_000_000, 1_024_000_000, 500];
        assert_eq!(numbers(IPC_INFO), (limits, others, [20, 32767]));
        assert_eq!(numbers(SEM_INFO), (limits, others, [1, 3]));
    });
}

#[test]
fn success_preserves_errno() {
    preloaded("success_preserves_errno", || {
        let id = set(2, 0o600);
        let brink = brink(1);
        let set_errno = |number| {
            // SAFETY: the location is valid for the thread's life.
            unsafe { *libc::__errno_location() = number }
        };
        for (ops, nsops) in [(&raw mut IN_IMAGE as *mut sembuf, 2), (brink as *mut sembuf, 1), (brink as *mut sembuf, 500)] {
            set_errno(4242);
            assert_eq!(semop(id, ops, nsops), 0);
            assert_eq!(errno(), 4242);
        }
        for command in [libc::IPC_STAT, GETALL, SETALL, IPC_INFO, SEM_INFO] {
            set_errno(4242);
            assert_eq!(semctl(id, 0, command, brink), 0);
            assert_eq!(errno(), 4242);
        }
        assert_eq!(operate(id, op(2, 0, 0)), EFBIG);
    });
}

#[test]
fn known_memory_costs_no_system_call() {
    preloaded("known_memory_costs_no_system_call", || {
        // The heap, which `malloc` uses in the main thread.
        // SAFETY: nothing else moves the break meanwhile; the page is this function's.
        let heap = unsafe { libc::sbrk(PAGE as isize) }.cast::<sembuf>();
        let mut stack = [op(0, 1, 0), op(0, -1, 0), op(0, -1, SEM_UNDO), op(0, 1, SEM_UNDO)];
        // SAFETY: as above; there is room for four.
        unsafe { heap.cast::<[sembuf; 4]>().write_unaligned(stack) };
        let in_image = (&raw mut IN_IMAGE).cast::<sembuf>();
        // One process for each pair, because two distant pages may share an entry of the page
        // cache. One set for each, because after the death of a process with undo records, the next
        // one occasionally asks the kernel.
        for ops in [heap, stack.as_mut_ptr(), in_image] {
            let id = set(1, 0o600);
            without_system_calls(|| {
                let mut failed = semop(id, ops, 1) + semop(id, ops.wrapping_add(1), 1) + semop(id, ops, 2);
                failed += semop(id, ops, 1);
                if ops != in_image {
                    failed += semop(id, ops.wrapping_add(2), 1) + semop(id, ops.wrapping_add(3), 1);
                }
                failed += semop(id, ops.wrapping_add(1), 1);
                failed + value(id)
            });
            assert_eq!(value(id), 0);
        }
    });
}
