//! C structures that the `libc` crate does not provide under one name for all C libraries.
// The `libc` crate will rename musl's field for the key.
#![cfg_attr(target_env = "musl", allow(deprecated))]

use libc::ipc_perm;

/// Returns the key of an `ipc_perm`.
pub fn key(perm: &ipc_perm) -> i32 {
    #[cfg(target_env = "musl")]
    return perm.__ipc_perm_key;
    #[cfg(not(target_env = "musl"))]
    perm.__key
}

/// Sets the key of an `ipc_perm`.
pub fn set_key(perm: &mut ipc_perm, key: i32) {
    #[cfg(target_env = "musl")]
    {
        perm.__ipc_perm_key = key;
    }
    #[cfg(not(target_env = "musl"))]
    {
        perm.__key = key;
    }
}

#[cfg(not(target_env = "musl"))]
pub use libc::{semid_ds, seminfo};

#[cfg(target_env = "musl")]
pub use of_musl::{semid_ds, seminfo};

#[cfg(target_env = "musl")]
#[allow(non_camel_case_types)]
mod of_musl {
    use libc::{c_int, c_long, c_ulong, ipc_perm};

    /// `struct semid_ds` of `<sys/sem.h>`. There, the number of semaphores is a `short` at the low
    /// end of a `long`.
    #[repr(C)]
    #[derive(Clone, Copy)]
    pub struct semid_ds {
        pub sem_perm: ipc_perm,
        pub sem_otime: c_long,
        #[cfg(not(any(target_arch = "aarch64", target_arch = "riscv64")))]
        __unused1: c_long,
        pub sem_ctime: c_long,
        #[cfg(not(any(target_arch = "aarch64", target_arch = "riscv64")))]
        __unused2: c_long,
        pub sem_nsems: c_ulong,
        __unused3: c_long,
        __unused4: c_long,
    }

    /// `struct seminfo` of `<sys/sem.h>`.
    #[repr(C)]
    #[derive(Clone, Copy)]
    pub struct seminfo {
        pub semmap: c_int,
        pub semmni: c_int,
        pub semmns: c_int,
        pub semmnu: c_int,
        pub semmsl: c_int,
        pub semopm: c_int,
        pub semume: c_int,
        pub semusz: c_int,
        pub semvmx: c_int,
        pub semaem: c_int,
    }

    #[cfg(target_endian = "big")]
    compile_error!("sem_nsems is at the high end of its long on big-endian machines");
}
