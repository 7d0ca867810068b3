//! seccomp filters, in the kernel's instructions.
//!
//! # Safety
//!
//! The kernel copies the program, which is a local. A filter is irrevocable, so only processes made
//! for it are filtered.
#![allow(dead_code, unsafe_code)]

use libc::{c_long, c_ulong, sock_filter, sock_fprog};

/// What happens to a process that makes a forbidden call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    Kill,
    /// The call fails with this error number.
    Fail(i32),
    /// `SIGSYS`; its handler learns the number of the call.
    Signal,
}

impl Then {
    fn action(self) -> u32 {
        match self {
            Then::Kill => libc::SECCOMP_RET_KILL_PROCESS,
            Then::Fail(errno) => libc::SECCOMP_RET_ERRNO | errno as u32,
            Then::Signal => libc::SECCOMP_RET_TRAP,
        }
    }
}

/// Restricts the calling process to these calls.
pub fn allow_only(calls: &[c_long], then: Then) -> std::io::Result<()> {
    install(&program(calls, libc::SECCOMP_RET_ALLOW, then.action()))
}

/// Forbids these calls to the calling process.
pub fn forbid(calls: &[c_long], then: Then) -> std::io::Result<()> {
    install(&program(calls, then.action(), libc::SECCOMP_RET_ALLOW))
}

/// The kernel's System V IPC calls.
pub const SYSTEM_V: [c_long; 12] = [
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmdt,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
];

fn program(calls: &[c_long], for_these: u32, for_others: u32) -> Vec<sock_filter> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    /// The offset of the call's number in `struct seccomp_data`.
    const NUMBER: u32 = 0;
    let step = |code, jf, k| sock_filter { code, jt: 0, jf, k };
    let mut program = vec![step(LOAD, 0, NUMBER)];
    for call in calls {
        program.extend([step(IF_EQUAL, 1, *call as u32), step(RETURN, 0, for_these)]);
    }
    program.push(step(RETURN, 0, for_others));
    program
}

fn install(program: &[sock_filter]) -> std::io::Result<()> {
    let filter = sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    let (one, none) = (1 as c_ulong, 0 as c_ulong);
    // SAFETY: see the module.
    let failed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, one, none, none, none) != 0
            || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER as c_ulong, &raw const filter) != 0
    };
    if failed { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}
