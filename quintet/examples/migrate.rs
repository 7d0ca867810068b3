//! Migration from raw `libc::shmget`, in three steps that each leave a program that works.
//!
//! 0. C calls, `unsafe`, on the kernel's objects.
//! 1. The safe API on [`Namespace::kernel`]. Programs that still make the C calls see the same
//!    objects, so each program can be changed on its own.
//! 2. The same code on a directory: the objects are files, and the limits are the directory's.
//!
//! A program that is not to be changed at all needs none of this: `quintet run -- PROGRAM`.
//!
//! Run it: `cargo run -p quintet --example migrate`

#![allow(unsafe_code)]

use quintet::{Id, Key, Kind, Namespace, Segment};
use std::error::Error;
use std::io;

/// Step 0. The caller must know the size, must not outlive the mapping, and must not race.
fn write_raw(id: i32, text: &[u8; 5]) -> io::Result<()> {
    // SAFETY: the kernel chooses an unused address, the segment has 4096 bytes, and no other
    // process uses its identifier. The pointer is not used after `shmdt`.
    unsafe {
        let address = libc::shmat(id, std::ptr::null(), 0);
        if address as isize == -1 {
            return Err(io::Error::last_os_error());
        }
        std::ptr::copy_nonoverlapping(text.as_ptr(), address.cast(), text.len());
        libc::shmdt(address);
    }
    Ok(())
}

/// Steps 1 and 2. Offsets are checked, races are defined, and dropping the attachment detaches it.
fn read(segment: &Segment) -> quintet::Result<Vec<u8>> {
    segment.attach_read_only()?.to_vec(0..5)
}

/// Steps 0 and 1 share one segment of the kernel.
fn on_the_kernel() -> Result<(), Box<dyn Error>> {
    // SAFETY: `shmget` has no pointers.
    let id = unsafe { libc::shmget(libc::IPC_PRIVATE, 4096, libc::IPC_CREAT | 0o600) };
    if id == -1 {
        println!("steps 0 and 1: skipped, because the kernel has no System V IPC: {}", io::Error::last_os_error());
        return Ok(());
    }
    // `open_id` is for an identifier from elsewhere; `Segment::open` finds a segment by its key.
    let segment = Segment::open_id(&Namespace::kernel(), Id::from_raw(id)?)?;
    let text = write_raw(id, b"hello").and_then(|()| Ok(read(&segment)?));
    // Instead of `shmctl(id, IPC_RMID, NULL)`.
    segment.remove()?;
    assert_eq!(text?, b"hello");
    println!("steps 0 and 1: the C calls wrote a segment of the kernel, the safe API read it");
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    on_the_kernel()?;

    // Step 2: only the namespace is another one. A key from `ftok` stays the same key.
    let dir = tempfile::tempdir()?;
    let ns = Namespace::create(dir.path().join("namespace"), Kind::Private)?;
    let segment = Segment::open_or_create(&ns, Key::ftok("/", 'q' as i32)?, 4096)?;
    segment.attach()?.write(0, b"hello")?;
    assert_eq!(read(&segment)?, b"hello");
    println!("step 2: the same code wrote and read a segment in a directory");

    // For code that keeps the shape of the C calls, each call is a method with the same arguments.
    let id = ns.shmget(Key::ftok("/", 'q' as i32)?, 4096, 0)?;
    assert_eq!(ns.shm_stat(id.raw())?.size, 4096);
    println!("the calls themselves: shmget found the same segment by its key");
    Ok(())
}
