//! shmop(2), clause by clause: address and permission of an attachment.
//!
//! The effects on `shmid_ds`, and of fork, exec and exit on attachments, are in `attachments.rs`.

use conformance::*;
use libc::{IPC_CREAT, PROT_EXEC, PROT_NONE, PROT_READ, PROT_WRITE, SHM_EXEC, SHM_RDONLY, SHM_REMAP, SHM_RND};

const PAGE: usize = 4096;

fn segment(a: &Agent, size: u64) -> i32 {
    a.shmget(libc::IPC_PRIVATE, size, IPC_CREAT | 0o600).unwrap()
}

clauses! {
    /// "If shmaddr is NULL, the system chooses a suitable (unused) page-aligned address".
    fn chosen_address(world) {
        let a = world.agent();
        let id = segment(&a, 4096);
        let attached = a.shmat(id, Address::NULL, 0).unwrap();
        assert_eq!(attached.place, "chosen");
        assert_eq!(a.probe(attached.at), "write");
        assert_eq!(a.protection(attached.at), "rw-s");
        assert_eq!(a.protection(attached.at.plus(4095)), "rw-s");
    }

    /// "otherwise, shmaddr must be a page-aligned address at which the attach occurs."
    fn given_address(world) {
        let a = world.agent();
        let id = segment(&a, 4097);
        let free = Address::pad(4);
        a.munmap(free, 2 * PAGE).unwrap();
        let attached = a.shmat(id, free, 0).unwrap();
        assert_eq!(attached.place, "exact");
        assert_eq!(a.probe(free), "write");
        assert_eq!(a.probe(free.plus(2 * PAGE - 1)), "write");
        assert_eq!(a.probe(free.plus(2 * PAGE)), "none");
        a.shmdt(free).unwrap();
        assert_eq!(a.protection(free), "unmapped");
    }

    /// "EINVAL: unaligned (i.e., not page-aligned and SHM_RND was not specified)".
    fn unaligned_address(world) {
        let a = world.agent();
        let id = segment(&a, 1);
        let free = Address::pad(4);
        a.munmap(free, PAGE).unwrap();
        for offset in [1, 8, 4095] {
            assert_eq!(a.shmat(id, free.plus(offset), 0), Err(Errno::INVAL));
        }
        assert_eq!(a.stat(id).unwrap().nattch, 0);
    }

    /// "the attach occurs at the address equal to shmaddr rounded down to the nearest multiple of
    /// SHMLBA."
    fn rounded_address(world) {
        let a = world.agent();
        let id = segment(&a, 1);
        let free = Address::pad(4);
        a.munmap(free, PAGE).unwrap();
        let attached = a.shmat(id, free.plus(4095), SHM_RND).unwrap();
        assert_eq!(attached.place, "rounded");
        assert_eq!(attached.at, free);
        a.shmdt(free).unwrap();
        assert_eq!(a.shmat(id, free, SHM_RND).unwrap().place, "exact");
    }

    /// An address that rounds down to 0 is not NULL: page 0 cannot be mapped without privilege.
    fn rounded_to_zero(world) {
        let a = world.ordinary();
        let id = segment(&a, 1);
        let outcome = a.shmat(id, Address(5), SHM_RND);
        assert_eq!(outcome.map(|at| at.place), Err(Errno::PERM));
        assert_eq!(a.shmat(id, Address(5), SHM_RND | SHM_REMAP).map(|at| at.place), Err(Errno::INVAL));
    }

    /// "Normally, an EINVAL error would result if a mapping already exists in this address range."
    fn address_in_use(world) {
        let a = world.agent();
        let id = segment(&a, 2 * PAGE as u64);
        let used = a.reserve(4 * PAGE, PROT_READ | PROT_WRITE);
        a.poke(used, 7).unwrap();
        assert_eq!(a.shmat(id, used, 0), Err(Errno::INVAL));
        assert_eq!(a.shmat(id, used.plus(5), SHM_RND), Err(Errno::INVAL));
        let straddling = Address::pad(9);
        a.munmap(straddling, PAGE).unwrap();
        assert_eq!(a.shmat(id, straddling, 0), Err(Errno::INVAL), "its first page is free, its second not");
        assert_eq!(a.peek(used), Ok(7));
        assert_eq!(a.stat(id).unwrap().nattch, 0);
        let own = a.attach(id, 0);
        assert_eq!(a.shmat(id, own, 0), Err(Errno::INVAL));
    }

    /// Addresses beyond the address space.
    fn address_out_of_range(world) {
        let a = world.agent();
        let (page, byte) = (segment(&a, 4096), segment(&a, 1));
        assert_eq!(a.shmat(page, Address(usize::MAX - 4095), 0), Err(Errno::INVAL), "its end is beyond the last address");
        assert_eq!(a.shmat(byte, Address(usize::MAX - 4095), 0), Err(Errno::NOMEM), "its end, by its size in bytes, is not");
        assert_eq!(a.shmat(page, Address(1 << 62), 0), Err(Errno::NOMEM));
        assert_eq!(a.shmat(page, Address(1 << 62), SHM_REMAP), Err(Errno::NOMEM));
    }

    /// "SHM_REMAP: the mapping of the segment should replace any existing mapping in the range".
    fn remap(world) {
        let a = world.agent();
        let id = segment(&a, 4097);
        let used = a.reserve(4 * PAGE, PROT_READ | PROT_WRITE);
        for page in 0..4 {
            a.poke(used.plus(page * PAGE), 7).unwrap();
        }
        let attached = a.shmat(id, used.plus(PAGE), SHM_REMAP).unwrap();
        assert_eq!(attached.place, "exact");
        let bytes: Vec<u8> = (0..4).map(|page| a.peek(used.plus(page * PAGE)).unwrap()).collect();
        assert_eq!(bytes, [7, 0, 0, 7]);
        a.shmdt(attached.at).unwrap();
        assert_eq!(a.probe(used.plus(PAGE)), "none", "what was there does not come back");
    }

    /// "In this case, shmaddr must not be NULL."
    fn remap_without_address(world) {
        let a = world.agent();
        let id = segment(&a, 1);
        assert_eq!(a.shmat(id, Address::NULL, SHM_REMAP), Err(Errno::INVAL));
        assert_eq!(a.shmat(id, Address::NULL, SHM_REMAP | SHM_RND), Err(Errno::INVAL));
        assert_eq!(a.shmat(id, Address::pad(1).plus(1), SHM_REMAP), Err(Errno::INVAL), "unaligned");
    }

    /// SHM_REMAP over another attachment detaches it.
    fn remap_over_an_attachment(world) {
        let a = world.agent();
        let (old, new) = (segment(&a, 4096), segment(&a, 4096));
        let at = a.attach(old, 0);
        a.poke(at, 1).unwrap();
        a.shmat(new, at, SHM_REMAP).unwrap();
        assert_eq!(a.peek(at), Ok(0));
        assert_eq!((a.stat(old).unwrap().nattch, a.stat(new).unwrap().nattch), (0, 1));
        a.shmdt(at).unwrap();
        assert_eq!(a.stat(new).unwrap().nattch, 0);
        assert_eq!(a.shmdt(at), Err(Errno::INVAL));
    }

    /// SHM_REMAP over an attachment of the same segment.
    fn remap_over_itself(world) {
        let a = world.agent();
        let id = segment(&a, 4096);
        let at = a.attach(id, 0);
        a.poke(at, 1).unwrap();
        a.shmat(id, at, SHM_REMAP | SHM_RDONLY).unwrap();
        assert_eq!(a.probe(at), "read");
        assert_eq!((a.peek(at), a.stat(id).unwrap().nattch), (Ok(1), 1));
    }

    /// SHM_REMAP over the last attachment of a removed segment ends it.
    fn remap_over_a_removed_segment(world) {
        let a = world.agent();
        let (old, new) = (segment(&a, 4096), segment(&a, 4096));
        let at = a.attach(old, 0);
        a.remove(old).unwrap();
        a.shmat(new, at, SHM_REMAP).unwrap();
        assert_eq!(a.stat(old), Err(Errno::INVAL));
    }

    /// "SHM_RDONLY: Attach the segment for read-only access."
    fn read_only(world) {
        let a = world.agent();
        let id = segment(&a, 4096);
        let (wide, narrow) = (a.attach(id, 0), a.attach(id, SHM_RDONLY));
        a.poke(wide, 5).unwrap();
        assert_eq!(a.peek(narrow), Ok(5));
        assert_eq!(a.probe(narrow), "read");
        assert_eq!(a.poke(narrow, 6), Err(Errno::FAULT));
        assert_eq!(a.protection(narrow), "r--s");
        let child = a.fork();
        let pid = child.pid;
        child.store_and_crash(narrow);
        assert_eq!(a.wait(pid), ExitStatus::Signal(libc::SIGSEGV));
    }

    /// mprotect(2) cannot widen a read-only attachment. It can narrow a writable one.
    fn protection_cannot_be_widened(world) {
        let a = world.agent();
        let id = segment(&a, 4096);
        let narrow = a.attach(id, SHM_RDONLY);
        assert_eq!(a.mprotect(narrow, PAGE, PROT_READ | PROT_WRITE), Err(Errno::ACCES));
        assert_eq!(a.mprotect(narrow, PAGE, PROT_NONE), Ok(()));
        assert_eq!(a.mprotect(narrow, PAGE, PROT_READ), Ok(()));
        let wide = a.attach(id, 0);
        assert_eq!(a.mprotect(wide, PAGE, PROT_READ), Ok(()));
        assert_eq!(a.probe(wide), "read");
        assert_eq!(a.mprotect(wide, PAGE, PROT_READ | PROT_WRITE), Ok(()));
        assert_eq!(a.probe(wide), "write");
        assert_eq!(a.shmdt(narrow), Ok(()));
    }

    /// "SHM_EXEC: Allow the contents of the segment to be executed. The caller must have execute
    /// permission".
    fn executable(world) {
        let a = world.ordinary();
        let id = a.shmget(1, 4096, IPC_CREAT | 0o700).unwrap();
        let at = a.attach(id, SHM_EXEC);
        assert_eq!(a.protection(at), "rwxs");
        let at = a.attach(id, SHM_EXEC | SHM_RDONLY);
        assert_eq!(a.protection(at), "r-xs");
        let at = a.attach(id, 0);
        assert_eq!(a.mprotect(at, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC), Ok(()), "asked for later, it is not refused");
        let other = a.shmget(2, 4096, IPC_CREAT | 0o600).unwrap();
        assert_eq!(a.shmat(other, Address::NULL, SHM_EXEC), Err(Errno::ACCES));
    }

    /// "EACCES: The calling process does not have the required permissions for the requested attach
    /// type".
    fn permissions(world) {
        let a = world.ordinary();
        for (mode, wide, narrow) in [(0o600, true, true), (0o400, false, true), (0o200, false, false), (0o066, false, false)] {
            let id = a.shmget(libc::IPC_PRIVATE, 1, mode).unwrap();
            for (flags, allowed) in [(0, wide), (SHM_RDONLY, narrow)] {
                let outcome = a.shmat(id, Address::NULL, flags).map(|at| at.place);
                let expected = if allowed { Ok("chosen".to_owned()) } else { Err(Errno::ACCES) };
                assert_eq!(outcome, expected, "{mode:o} {flags:o}");
            }
        }
    }

    /// Owner, group, other users: the first class that matches decides.
    fn permission_classes(world) {
        if !world.users() {
            return;
        }
        let owner = world.agent_as(NOBODY, NOBODY, &[]);
        let member = world.agent_as(STRANGER, NOBODY, &[]);
        let supplementary = world.agent_as(STRANGER, STRANGER, &[NOBODY]);
        let other = world.agent_as(STRANGER, STRANGER, &[]);
        let root = world.agent();
        let everyone = [&owner, &member, &supplementary, &other, &root];
        // The access of each class: n (none), r (read), w (read and write).
        for (mode, may) in [
            (0o600, "wnnnw"),
            (0o640, "wrrnw"),
            (0o660, "wwwnw"),
            (0o604, "wnnrw"),
            (0o606, "wnnww"),
            (0o046, "nrrww"),
            (0o622, "wnnnw"),
            (0o000, "nnnnw"),
            (0o666, "wwwww"),
        ] {
            let id = owner.shmget(libc::IPC_PRIVATE, 1, mode).unwrap();
            for (agent, may) in everyone.iter().zip(may.chars()) {
                let wide = agent.shmat(id, Address::NULL, 0).map(|at| agent.shmdt(at.at).unwrap());
                let narrow = agent.shmat(id, Address::NULL, SHM_RDONLY).map(|at| agent.shmdt(at.at).unwrap());
                let (no, yes) = (Err(Errno::ACCES), Ok(()));
                let expected = match may {
                    'n' => (no, no),
                    'r' => (no, yes),
                    _ => (yes, yes),
                };
                assert_eq!((wide, narrow), expected, "{mode:o} {may}");
            }
            owner.remove(id).unwrap();
        }
    }

    /// Another user reads and writes as the mode permits, and both see the same bytes.
    fn shared_between_users(world) {
        if !world.users() {
            return;
        }
        let (a, b) = (world.agent_as(NOBODY, NOBODY, &[]), world.agent_as(STRANGER, STRANGER, &[]));
        let id = a.shmget(1, 4096, IPC_CREAT | 0o666).unwrap();
        let (mine, theirs) = (a.attach(id, 0), b.attach(id, 0));
        b.poke(theirs, 8).unwrap();
        assert_eq!(a.peek(mine), Ok(8));
        let s = a.stat(id).unwrap();
        assert_eq!((s.nattch, s.lpid, s.cpid), (2, b.pid, a.pid));
    }

    /// Permission is checked by attach, not later.
    fn attachment_outlives_the_mode(world) {
        let a = world.ordinary();
        let id = a.shmget(1, 4096, IPC_CREAT | 0o600).unwrap();
        let at = a.attach(id, 0);
        let s = a.stat(id).unwrap();
        a.set(id, s.uid, s.gid, 0).unwrap();
        a.poke(at, 4).unwrap();
        assert_eq!(a.shmat(id, Address::NULL, 0), Err(Errno::ACCES));
        assert_eq!(a.shmdt(at), Ok(()));
        assert_eq!(a.stat_any(id & 0x7fff).unwrap().nattch, 0);
    }

    /// "EINVAL: Invalid shmid value".
    fn invalid_identifier(world) {
        let a = world.agent();
        let gone = segment(&a, 1);
        a.remove(gone).unwrap();
        for id in [-1, i32::MIN, i32::MAX, gone, gone ^ (1 << 15), 32767] {
            assert_eq!(a.shmat(id, Address::NULL, 0), Err(Errno::INVAL), "{id}");
            assert_eq!(a.shmat(id, Address::NULL, SHM_RDONLY), Err(Errno::INVAL), "{id}");
        }
    }

    /// The address is checked before permission on the identifier.
    fn precedence(world) {
        let a = world.ordinary();
        let id = a.shmget(1, 1, IPC_CREAT).unwrap();
        assert_eq!(a.shmat(id, Address::NULL, 0), Err(Errno::ACCES));
        assert_eq!(a.shmat(id, Address::pad(1).plus(1), 0), Err(Errno::INVAL));
        assert_eq!(a.shmat(id, Address::NULL, SHM_REMAP), Err(Errno::INVAL));
        assert_eq!(a.shmat(id, Address::pad(1), 0), Err(Errno::ACCES), "permissions before the address in use");
    }

    /// Unknown flags are ignored.
    fn unknown_flags(world) {
        let a = world.agent();
        let id = segment(&a, 1);
        let at = a.attach(id, 0x0f00_0fff);
        assert_eq!(a.probe(at), "write");
    }

    /// "The same segment may be attached as a read and as a read-write one, and more than once".
    fn more_than_once(world) {
        let a = world.agent();
        let id = segment(&a, 1);
        let places: Vec<Address> = (0..5).map(|_| a.attach(id, 0)).collect();
        a.poke(places[0], 1).unwrap();
        assert!(places.iter().all(|&at| a.peek(at) == Ok(1)));
        assert!(places[0] != places[1]);
        for (left, at) in (0..5).rev().zip(places) {
            a.shmdt(at).unwrap();
            assert_eq!(a.stat(id).unwrap().nattch, left);
        }
    }

    /// shmdt: "EINVAL: There is no shared memory segment attached at shmaddr".
    fn detach_of_nothing(world) {
        let a = world.agent();
        let id = segment(&a, 8192);
        let at = a.attach(id, 0);
        let other = a.reserve(PAGE, PROT_READ);
        for wrong in [
            Address::NULL,
            Address::pad(0),
            Address(usize::MAX - 4095),
            Address(1 << 62),
            at.plus(PAGE),
            at.plus(2 * PAGE),
            other,
        ] {
            assert_eq!(a.shmdt(wrong), Err(Errno::INVAL), "{wrong:?}");
        }
        assert_eq!(a.probe(other), "read");
        assert_eq!(a.stat(id).unwrap().nattch, 1);
    }

    /// "or, shmaddr is not aligned on a page boundary."
    fn detach_of_an_unaligned_address(world) {
        let a = world.agent();
        let id = segment(&a, 4096);
        let at = a.attach(id, 0);
        assert_eq!(a.shmdt(at.plus(1)), Err(Errno::INVAL));
        assert_eq!(a.probe(at), "write");
        assert_eq!(a.shmdt(at), Ok(()));
    }

    /// A second detach finds nothing.
    fn detach_twice(world) {
        let a = world.agent();
        let id = segment(&a, 4096);
        let at = a.attach(id, 0);
        assert_eq!(a.shmdt(at), Ok(()));
        assert_eq!(a.probe(at), "none");
        assert_eq!(a.shmdt(at), Err(Errno::INVAL));
        assert_eq!(a.stat(id).unwrap().nattch, 0);
    }

    /// The bytes stay while no process is attached.
    fn bytes_stay(world) {
        let a = world.agent();
        let id = segment(&a, 4096);
        let at = a.attach(id, 0);
        a.poke(at.plus(17), 42).unwrap();
        a.shmdt(at).unwrap();
        let b = world.agent();
        assert_eq!(b.peek(b.attach(id, SHM_RDONLY).plus(17)), Ok(42));
    }

    /// "On Linux, it is possible to attach a segment even if it is already marked to be deleted."
    fn attach_after_removal(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = segment(&a, 4096);
        let at = a.attach(id, 0);
        a.poke(at, 3).unwrap();
        a.remove(id).unwrap();
        let theirs = b.attach(id, 0);
        assert_eq!(b.peek(theirs), Ok(3));
        a.shmdt(at).unwrap();
        assert_eq!(b.stat(id).unwrap().nattch, 1);
        b.shmdt(theirs).unwrap();
        assert_eq!(b.shmat(id, Address::NULL, 0), Err(Errno::INVAL));
    }
}

clauses! { in C:
    /// "The brk(2) value of the calling process is not altered by the attach." (The library may
    /// allocate.)
    fn break_is_not_altered(world) {
        let a = world.agent();
        let before = a.program_break();
        let id = segment(&a, 1 << 20);
        let at = a.attach(id, 0);
        a.shmdt(at).unwrap();
        assert_eq!(a.program_break(), before);
    }
}
