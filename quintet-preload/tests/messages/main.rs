//! Pointers that a program passes to the message calls. Bad pointers give `EFAULT` in the kernel's
//! order and neither send nor consume anything. Known good ones cost no system call.
//!
//! # Safety
//!
//! Calls get bad pointers on purpose, which the library must not use. A mapping made here is
//! unmapped with its address and length.
#![allow(unsafe_code)]

#[path = "../support/mod.rs"]
mod support;

mod handlers;
mod structures;

use libc::{E2BIG, EFAULT, EINVAL, ENOMSG, c_int, c_long, c_void, msginfo, msqid_ds};
use std::mem::MaybeUninit;
use support::*;

/// The offset of the text, in bytes.
const TEXT: usize = size_of::<c_long>();
const MSG_STAT: c_int = 11;
const MSG_INFO: c_int = 12;
const MSG_STAT_ANY: c_int = 13;
const MSG_COPY: c_int = 0o40000;
const MSG_EXCEPT: c_int = 0o20000;
const MSG_NOERROR: c_int = 0o10000;
/// More than any type and text here.
const ROOM: usize = 3 * PAGE;

#[repr(C, align(4096))]
struct Pages([u8; ROOM]);

static mut IN_IMAGE: Pages = Pages([0; ROOM]);
#[cfg(target_pointer_width = "64")]
static READ_ONLY: [c_long; 2] = [7, i64::from_ne_bytes(*b"constant")];

fn fault() -> isize {
    -(EFAULT as isize)
}

/// Writes a type and a text, which need not be aligned.
fn put(at: usize, mtype: c_long, text: &[u8]) {
    // SAFETY: memory of this test's own.
    unsafe {
        (at as *mut c_long).write_unaligned(mtype);
        std::ptr::copy(text.as_ptr(), (at + TEXT) as *mut u8, text.len());
    }
}

/// Returns the type and the text at an address.
fn got(at: usize, len: usize) -> (c_long, Vec<u8>) {
    // SAFETY: memory of this test's own.
    unsafe { ((at as *const c_long).read_unaligned(), std::slice::from_raw_parts((at + TEXT) as *const u8, len).to_vec()) }
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 + n / 251) as u8).collect()
}

/// Maps memory that is never in the page cache.
fn mapped(pages: usize) -> usize {
    brink(pages)
}

fn msgctl(id: c_int, command: c_int, buffer: usize) -> c_int {
    // SAFETY: see the module.
    if unsafe { libc::msgctl(id, command, buffer as *mut msqid_ds) } >= 0 { 0 } else { errno() }
}

#[test]
fn msgsnd_errors_come_in_kernel_order() {
    preloaded("msgsnd_errors_come_in_kernel_order", || {
        let id = queue(0o600);
        let gone = id ^ (1 << 15);
        for bad in [0, 1, 8, 4095, usize::MAX, usize::MAX - 7, usize::MAX - 8, 1 << (usize::BITS - 1)] {
            for len in [0, 1, 8192, 8193, isize::MAX as usize, isize::MAX as usize + 1, usize::MAX - 3, usize::MAX] {
                for id in [id, gone, -1] {
                    assert_eq!(send(id, bad, len), EFAULT, "{bad:x} {len:x}");
                }
            }
        }
        // The type is readable, and nothing behind it.
        let at = mapped(1) + PAGE - TEXT;
        put(at, 1, b"");
        for len in [8193, isize::MAX as usize, isize::MAX as usize + 1, usize::MAX - 3, usize::MAX] {
            assert_eq!(send(id, at, len), EINVAL, "{len:x}");
        }
        assert_eq!((send(-1, at, 1), send(gone, at, 1), send(id, at, 1), send(id, at, 8192)), (EINVAL, EFAULT, EFAULT, EFAULT));
        for mtype in [0, -1, c_long::MIN] {
            put(at, mtype, b"");
            assert_eq!((send(id, at, 1), send(id, at, 0)), (EINVAL, EINVAL));
        }
        assert_eq!(content(id), (0, 0));
        put(at, 1, b"");
        assert_eq!((send(id, at, 0), send(gone, at, 0)), (0, EINVAL));
        // Everything is readable, and known to be.
        let mut stack = [0u8; ROOM];
        let at = stack.as_mut_ptr() as usize;
        for _ in 0..2 {
            put(at, 1, b"text");
            assert_eq!(
                (send(id, at, 4), send(id, at, 8193), send(id, at, usize::MAX), send(-1, at, 4)),
                (0, EINVAL, EINVAL, EINVAL)
            );
            assert_eq!((send(gone, at, 4), send(gone, at, 8193)), (EINVAL, EINVAL));
            put(at, 0, b"text");
            assert_eq!(send(id, at, 4), EINVAL);
        }
        assert_eq!(content(id), (3, 8));
    });
}

#[test]
fn msgrcv_errors_come_in_kernel_order() {
    preloaded("msgrcv_errors_come_in_kernel_order", || {
        let id = queue(0o600);
        let gone = id ^ (1 << 15);
        let refused = |id, size, mtype, flags| -receive(id, 8, size, mtype, flags) as c_int;
        assert_eq!((refused(-1, 1, 0, 0), refused(gone, 1, 0, 0), refused(id, usize::MAX, 0, 0)), (EINVAL, EINVAL, EINVAL));
        assert_eq!((refused(id, 1, 0, 0), refused(id, isize::MAX as usize, 0, 0)), (ENOMSG, ENOMSG));
        let stack = [0u8; ROOM];
        let good = stack.as_ptr() as usize;
        put(good, 5, b"five");
        assert_eq!(send(id, good, 4), 0);
        assert_eq!((refused(id, 3, 0, 0), refused(id, 4, 6, 0), refused(id, 4, 5, MSG_EXCEPT)), (E2BIG, ENOMSG, ENOMSG));
        for bad in [0, 1, 8, usize::MAX, usize::MAX - 11, 1 << (usize::BITS - 1), mapped(1) + PAGE - TEXT - 3] {
            for (size, flags) in [(4, 0), (8192, 0), (3, MSG_NOERROR), (isize::MAX as usize, 0)] {
                // As in the kernel, part of a text may be written. Room for the shortened text is
                // enough.
                let enough = bad % PAGE == PAGE - TEXT - 3 && size == 3;
                if !enough {
                    assert_eq!(receive(id, bad, size, 0, flags), fault(), "{bad:x} {size}");
                }
                assert_eq!(content(id), (1, 4));
            }
        }
        let edge = mapped(1) + PAGE - TEXT - 3;
        assert_eq!(receive(id, edge, 3, 0, MSG_NOERROR), 3);
        assert_eq!(got(edge, 3), (5, b"fiv".to_vec()));
        assert_eq!(content(id), (0, 0));
    });
}

#[test]
fn msg_copy_checks_its_buffer() {
    preloaded("msg_copy_checks_its_buffer", || {
        let id = queue(0o600);
        let gone = id ^ (1 << 15);
        let stack = [0u8; ROOM];
        let good = stack.as_ptr() as usize;
        for (mtype, text) in [(5, &b"first"[..]), (6, b"second")] {
            put(good, mtype, text);
            assert_eq!(send(id, good, text.len()), 0);
        }
        let edge = mapped(1) + PAGE - TEXT - 5;
        let refused = |id, at, size, flags| -receive(id, at, size, 0, MSG_COPY | flags) as c_int;
        for at in [8, 1 << (usize::BITS - 1), edge + 1] {
            for id in [id, gone] {
                // Room for the longest possible text must exist before the queue is looked for.
                // More room than that need not exist.
                assert_eq!(refused(id, at, 100, 0), EFAULT);
                assert_eq!(refused(id, at, usize::MAX, 0), EINVAL);
                assert_eq!(refused(id, at, 100, MSG_EXCEPT), EINVAL);
            }
            assert_eq!(refused(-1, at, 100, 0), EINVAL);
            assert_eq!((refused(id, at, 0, 0), refused(gone, at, 0, 0)), (E2BIG, EINVAL));
            assert_eq!(refused(id, at, 4, 0), if at == edge + 1 { E2BIG } else { EFAULT });
        }
        // SAFETY: a local.
        assert_eq!(unsafe { libc::msgrcv(id, good as *mut c_void, 100, 0, MSG_COPY) }, -1);
        assert_eq!(errno(), EINVAL);
        for _ in 0..2 {
            assert_eq!(receive(id, edge, TEXT + 5, 0, MSG_COPY), 5);
            assert_eq!(got(edge, 5), (5, b"first".to_vec()));
            assert_eq!(receive(id, edge, TEXT + 6, 0, MSG_COPY), fault());
            assert_eq!(receive(id, good, ROOM, 1, MSG_COPY), 6);
            assert_eq!(got(good, 6), (6, b"second".to_vec()));
            assert_eq!(receive(id, good, ROOM, 2, MSG_COPY), -(ENOMSG as isize));
        }
        assert_eq!(content(id), (2, 11));
    });
}

#[test]
fn messages_across_pages() {
    preloaded("messages_across_pages", || {
        let id = queue(0o600);
        let (stack, pages) = ([0u8; ROOM], mapped(3));
        let on_stack = (stack.as_ptr() as usize).next_multiple_of(PAGE);
        let in_image = (&raw mut IN_IMAGE) as usize;
        for (from, to) in [(on_stack, in_image), (in_image, pages), (pages, on_stack)] {
            for len in [0, 1, 8, 64, 4096] {
                for before in (0..TEXT + 12).chain([len.min(PAGE - TEXT), (len + TEXT).min(PAGE)]) {
                    let (from, to) = (from + PAGE - before, to + PAGE - before);
                    let message = (1 + before as c_long, bytes(len));
                    for _ in 0..2 {
                        put(from, message.0, &message.1);
                        assert_eq!(send(id, from, len), 0);
                        put(to, -1, &vec![0xee; len + 1]);
                        assert_eq!(receive(id, to, 4096, 0, 0), len as isize);
                        assert_eq!(got(to, len), message);
                        // Nothing is written behind it.
                        assert_eq!(got(to, len + 1).1[len], 0xee);
                    }
                }
            }
        }
    });
}

#[test]
fn every_page_is_checked() {
    preloaded("every_page_is_checked", || {
        let id = queue(0o600);
        // Every offset holds the same message.
        let fill = |at: usize, pages: usize| {
            // SAFETY: just mapped.
            unsafe { (at as *mut u8).write_bytes(0x11, pages * PAGE) };
            at
        };
        let good = fill(mapped(3), 3);
        for (pages, len) in [(1, 64), (1, 3000), (3, 8192)] {
            let from = fill(mapped(pages), pages);
            let end = from + pages * PAGE;
            for start in [end - TEXT - len, end - TEXT - len - 1] {
                // A range that was readable once does not make a longer one readable.
                for beyond in [0, 1, 7, len, len + 1, len + TEXT - 1, 0] {
                    let fits = start + beyond + TEXT + len <= end;
                    assert_eq!(send(id, start + beyond, len), if fits { 0 } else { EFAULT }, "{len} {beyond}");
                    if !fits {
                        assert_eq!(send(id, good, len), 0);
                        assert_eq!(receive(id, start + beyond, len, 0, 0), fault(), "{len} {beyond}");
                    }
                    assert_eq!(receive(id, start, len, 0, 0), len as isize);
                    assert_eq!(content(id), (0, 0));
                }
            }
            // A mapping that is gone is no longer readable.
            assert_eq!(send(id, good, len), 0);
            // SAFETY: see the module.
            assert_eq!(unsafe { libc::munmap(from as *mut c_void, (pages + 1) * PAGE) }, 0);
            assert_eq!(send(id, from, len), EFAULT);
            assert_eq!(receive(id, from, len, 0, 0), fault());
            assert_eq!(receive(id, good, len, 0, 0), len as isize);
            assert_eq!(got(good, len).1, vec![0x11; len]);
        }
    });
}

#[test]
#[cfg(target_pointer_width = "64")]
fn read_only_page() {
    preloaded("read_only_page", || {
        let id = queue(0o600);
        let at = READ_ONLY.as_ptr() as usize;
        assert_eq!((send(id, at, 8), send(id, at, 8)), (0, 0));
        for _ in 0..2 {
            assert_eq!(receive(id, at, 8, 0, 0), fault());
        }
        let stack = [0u8; 64];
        assert_eq!(receive(id, stack.as_ptr() as usize, 8, 0, 0), 8);
        assert_eq!(got(stack.as_ptr() as usize, 8), (7, b"constant".to_vec()));
        assert_eq!(content(id), (1, 8));
    });
}

#[test]
fn shrinking_heap() {
    preloaded("shrinking_heap", || {
        const SIZE: isize = 1 << 20;
        let id = queue(0o600);
        // SAFETY: nothing else moves the break meanwhile: this process has one busy thread, which
        // allocates nothing here.
        unsafe {
            let low = libc::sbrk(SIZE) as usize;
            // The new break lies in the middle of the message.
            let at = (low + SIZE as usize / 2).next_multiple_of(PAGE) - 100;
            for _ in 0..2 {
                put(at, 1, &[7; 8000]);
                assert_eq!((send(id, at, 8000), receive(id, at, 8000, 0, 0)), (0, 8000));
            }
            assert_eq!(send(id, at, 8000), 0);
            assert_eq!(libc::brk((at + 100) as *mut c_void), 0);
            assert_eq!((send(id, at, 8000), receive(id, at, 8000, 0, 0)), (EFAULT, fault()));
            assert_eq!(receive(id, at, 92, 0, MSG_NOERROR), 92);
        }
    });
}

/// A waiting call with a bad buffer fails, and its message stays for other calls.
#[test]
fn waiting_call_with_a_bad_buffer() {
    preloaded("waiting_call_with_a_bad_buffer", || {
        let id = queue(0o600);
        let stack = [0u8; 64];
        let good = stack.as_ptr() as usize;
        for _ in 0..3 {
            let child = fork(|| {
                // SAFETY: see the module.
                assert_eq!(unsafe { libc::msgrcv(id, 8 as *mut c_void, 50, 3, 0) }, -1);
                assert_eq!(errno(), EFAULT);
            });
            until("it waits", || waits(child));
            put(good, 3, b"for any");
            assert_eq!(send(id, good, 7), 0);
            assert_eq!(end(child), 0);
            put(good, 0, &[0; 7]);
            assert_eq!(receive(id, good, 7, 3, 0), 7);
            assert_eq!(got(good, 7), (3, b"for any".to_vec()));
            assert_eq!(content(id), (0, 0));
        }
    });
}

#[test]
fn success_preserves_errno() {
    preloaded("success_preserves_errno", || {
        let id = queue(0o600);
        let stack = [0u8; ROOM];
        let set_errno = |number| {
            // SAFETY: the location is valid for the thread's life.
            unsafe { *libc::__errno_location() = number }
        };
        for at in [stack.as_ptr() as usize, (&raw mut IN_IMAGE) as usize, mapped(3)] {
            put(at, 1, b"");
            for len in [0, 64, 8192] {
                for _ in 0..2 {
                    set_errno(4242);
                    assert_eq!((send(id, at, len), errno()), (0, 4242));
                    assert_eq!((receive(id, at, len, 0, MSG_COPY), errno()), (len as isize, 4242));
                    assert_eq!((receive(id, at, len, 0, 0), errno()), (len as isize, 4242));
                }
            }
        }
        let at = mapped(1);
        for command in [libc::IPC_STAT, libc::IPC_SET, IPC_INFO, MSG_INFO] {
            set_errno(4242);
            assert_eq!((msgctl(id, command, at), errno()), (0, 4242));
        }
    });
}

#[test]
fn known_memory_costs_no_system_call() {
    preloaded("known_memory_costs_no_system_call", || {
        let id = queue(0o600);
        let stack = [0u8; ROOM];
        // The heap, which `malloc` uses in the main thread.
        // SAFETY: nothing else moves the break meanwhile; the pages are this function's.
        let heap = unsafe { libc::sbrk(ROOM as isize) } as usize;
        let (on_stack, in_image) = (stack.as_ptr() as usize, (&raw mut IN_IMAGE) as usize);
        // One process for each pair, because two distant pages may share an entry of the page
        // cache.
        for (from, to) in [(on_stack, heap), (heap, in_image), (in_image, on_stack)] {
            without_system_calls(|| round_trips(id, from, to));
        }
        for depth in 0..8 {
            without_system_calls(|| round_trips_from_below(id, depth));
        }
        assert_eq!(content(id), (0, 0));
    });
}

/// Sends and receives short and long messages. Returns the number of calls that fail.
fn round_trips(id: c_int, from: usize, to: usize) -> c_int {
    put(from, 1, b"");
    let trip = |len| c_int::from(send(id, from, len) != 0) + c_int::from(receive(id, to, len, 0, 0) != len as isize);
    [0, 64, 8192].into_iter().map(trip).sum()
}

/// A buffer near the end of the stack, at varying offsets in a page.
#[inline(never)]
fn round_trips_from_below(id: c_int, depth: usize) -> c_int {
    let buffer = [0u8; 2 * PAGE + 600];
    if depth > 0 {
        return round_trips_from_below(id, depth - 1) + c_int::from(std::hint::black_box(&buffer)[0]);
    }
    let at = std::hint::black_box(&buffer).as_ptr() as usize;
    round_trips(id, at, at)
}

/// `process_vm_writev` was once the way to check memory. A sandbox that forbids it must not matter.
#[test]
fn sandbox_without_process_vm_writev() {
    preloaded("sandbox_without_process_vm_writev", || {
        let id = queue(0o600);
        let at = mapped(3);
        put(at, 1, &bytes(8192));
        assert_eq!(send(id, at, 8192), 0);
        let child = fork(|| {
            let op = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
            let (load, equal, ret) = (
                libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
                libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
                libc::BPF_RET | libc::BPF_K,
            );
            let mut filter = [
                op(load, 0, 0, 0),
                op(equal, 0, 1, libc::SYS_process_vm_writev as u32),
                op(ret, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
                op(ret, 0, 0, libc::SECCOMP_RET_ALLOW),
            ];
            let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
            // SAFETY: numbers, and a program that outlives the calls.
            unsafe {
                assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
                if libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) != 0 {
                    return println!("skipped: no seccomp: {}", std::io::Error::last_os_error());
                }
            }
            put(at, -1, &[0; 8192]);
            assert_eq!(receive(id, 0, 8192, 0, 0), fault());
            assert_eq!(receive(id, at, 8192, 0, 0), 8192);
            assert_eq!(got(at, 8192), (1, bytes(8192)));
        });
        assert_eq!(end(child), 0);
    });
}
