//! The two sides of the comparison, and a set on one of them.

use crate::common;
use crate::common::loaded::Loaded;
use libc::{c_int, key_t, sembuf, size_t};

/// The first of the keys that are used here.
pub const FIRST_KEY: key_t = 0x5149_0000;

/// One side of the comparison.
pub type Side = common::side::Side<Functions>;

/// The C functions. `semctl`'s last argument is a union of a number and pointers, passed as either.
pub struct Functions {
    semget: unsafe extern "C" fn(key_t, c_int, c_int) -> c_int,
    semop: unsafe extern "C" fn(c_int, *mut sembuf, size_t) -> c_int,
    semctl: unsafe extern "C" fn(c_int, c_int, c_int, usize) -> c_int,
}

unsafe extern "C" fn plain_semctl(id: c_int, num: c_int, command: c_int, argument: usize) -> c_int {
    // SAFETY: the caller's contract is the same.
    unsafe { libc::semctl(id, num, command, argument) }
}

impl common::side::Functions for Functions {
    fn plain() -> Functions {
        Functions { semget: libc::semget, semop: libc::semop, semctl: plain_semctl }
    }

    fn of(preload: &Loaded) -> Functions {
        // SAFETY: the library's functions of these names have the C library's signatures, which are
        // those of the fields. `semctl` is variadic there; its one further argument is passed like
        // a named one.
        unsafe {
            Functions {
                semget: preload.function(c"semget"),
                semop: preload.function(c"semop"),
                semctl: preload.function(c"semctl"),
            }
        }
    }
}

impl Side {
    /// Returns the set of a key, or a new one.
    #[inline]
    pub fn get(&self, key: key_t, nsems: usize, flags: c_int) -> Set<'_> {
        // SAFETY: numbers only.
        let id = unsafe { (self.functions.semget)(key, nsems as c_int, flags) };
        assert!(id != -1, "semget: {}", std::io::Error::last_os_error());
        Set { side: self, id }
    }

    pub fn private(&self, nsems: usize) -> Owned<'_> {
        Owned(self.get(libc::IPC_PRIVATE, nsems, libc::IPC_CREAT | 0o600))
    }

    /// Creates a set with a key that was free.
    pub fn keyed(&self) -> (key_t, Owned<'_>) {
        let mut key = FIRST_KEY;
        loop {
            key += 1;
            // SAFETY: numbers only.
            let id = unsafe { (self.functions.semget)(key, 1, libc::IPC_CREAT | libc::IPC_EXCL | 0o600) };
            if id != -1 {
                return (key, Owned(Set { side: self, id }));
            }
            let error = std::io::Error::last_os_error();
            assert!(error.raw_os_error() == Some(libc::EEXIST), "semget: {error}");
        }
    }
}

pub const fn operation(num: u16, op: i16, flags: c_int) -> sembuf {
    sembuf { sem_num: num, sem_op: op, sem_flg: flags as i16 }
}

#[derive(Clone, Copy)]
pub struct Set<'a> {
    side: &'a Side,
    pub id: c_int,
}

impl<'a> Set<'a> {
    /// A set of another process, by its identifier.
    pub fn of(side: &'a Side, id: c_int) -> Set<'a> {
        Set { side, id }
    }

    #[inline]
    pub fn operate(self, ops: &mut [sembuf]) {
        // SAFETY: the slice.
        unsafe { self.operate_at(ops.as_mut_ptr(), ops.len()) };
    }

    /// # Safety
    ///
    /// As the C function.
    #[inline]
    pub unsafe fn operate_at(self, ops: *mut sembuf, n: usize) {
        // SAFETY: the caller upholds the contract.
        let done = unsafe { (self.side.functions.semop)(self.id, ops, n) };
        assert!(done == 0, "semop: {}", std::io::Error::last_os_error());
    }

    /// Returns `true` if the set still exists; a waiting operation ends when it is removed.
    pub fn operate_unless_removed(self, ops: &mut [sembuf]) -> bool {
        // SAFETY: the slice.
        let done = unsafe { (self.side.functions.semop)(self.id, ops.as_mut_ptr(), ops.len()) };
        let error = std::io::Error::last_os_error();
        assert!(done == 0 || [Some(libc::EIDRM), Some(libc::EINVAL)].contains(&error.raw_os_error()), "semop: {error}");
        done == 0
    }

    /// Performs operations that cannot proceed, and do not wait.
    #[inline]
    pub fn refused(self, ops: &mut [sembuf]) {
        // SAFETY: the slice.
        let done = unsafe { (self.side.functions.semop)(self.id, ops.as_mut_ptr(), ops.len()) };
        assert!(done == -1, "semop: done, and was to be refused");
    }

    #[inline]
    pub fn value(self, num: usize) -> c_int {
        self.control(num, libc::GETVAL, 0)
    }

    #[inline]
    pub fn set_value(self, num: usize, value: u16) {
        self.control(num, libc::SETVAL, value.into());
    }

    /// `GETALL` into a slice for all of them.
    #[inline]
    pub fn values(self, values: &mut [u16]) {
        self.control(0, libc::GETALL, values.as_mut_ptr() as usize);
    }

    /// Returns the number of processes that wait for semaphore `num` to grow.
    #[inline]
    pub fn waiting(self, num: usize) -> c_int {
        self.control(num, libc::GETNCNT, 0)
    }

    #[inline]
    pub fn remove(self) {
        self.control(0, libc::IPC_RMID, 0);
    }

    #[inline]
    fn control(self, num: usize, command: c_int, argument: usize) -> c_int {
        // SAFETY: the argument that the command needs: a number, nothing, or the address of enough
        // room.
        let value = unsafe { (self.side.functions.semctl)(self.id, num as c_int, command, argument) };
        assert!(value != -1, "semctl {command}: {}", std::io::Error::last_os_error());
        value
    }
}

/// A set that is removed when dropped.
pub struct Owned<'a>(pub Set<'a>);

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        self.0.remove();
    }
}
