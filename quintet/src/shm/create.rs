//! `shmget`: finding or creating a segment.

use crate::layout::{Control, NEVER_RECYCLED, RECYCLED_BYTES, SEGMENT_BYTES, StoredPermissions};
use crate::object::core::ObjectClass;
use crate::object::keys::{Found, no_memory};
use crate::object::registry::RegistryGuard;
use crate::process::fork::Inside;
use crate::shm::mapping::{PAGE, SegmentView, Segments};
use crate::sync::attach_count::{Head, State};
use crate::sys::fd::Fd;
use crate::sys::path_buffer::PathBuffer;
use crate::sys::{clock, credentials, fd_thread, file, ids, memory};
use crate::types::error::Errno;
use crate::types::id::{Id, MAX_OBJECTS};
use crate::types::key::Key;
use crate::types::kind::Kind;
use crate::types::mechanism::Mechanism;
use rustix::fs::{self, Mode};
use std::sync::atomic::Ordering::*;

type Result<T> = std::result::Result<T, Errno>;

/// The largest size in bytes for which creation allocates all blocks of the data file.
///
/// Allocation of a larger file would take too long. A larger file is instead counted: the free
/// space of the file system, less the unallocated bytes of other counted files, must suffice.
const MAX_ALLOCATED: u64 = 4 << 30;

const HUGE_SHIFT: u32 = 26;

/// The segment that a call of `shmget` creates.
struct CreateRequest {
    key: Key,
    size: u64,
    pages: u64,
    mode: u32,
    huge: bool,
    reserve: bool,
    uid: u32,
}

impl Segments {
    /// `shmget`. The checks run in the kernel's order.
    pub fn shmget(&self, key: Key, size: u64, flags: i32) -> Result<Id> {
        fd_thread::run(|| self.find_or_create(key, size, flags))
    }

    fn find_or_create(&self, key: Key, size: u64, flags: i32) -> Result<Id> {
        if key.is_private() {
            let _inside = Inside::enter();
            return self.create(&self.core.lock()?, key, size, flags);
        }
        let creates = flags & libc::IPC_CREAT != 0;
        // A caller that may create reads the names of the key only once, under the lock.
        let mut ended = None;
        match if creates { self.core.find_by_hint(self, key) } else { self.core.find(self, key)? } {
            Found::Object(view, id) if self.must_destroy(&view) => ended = Some(id),
            Found::Object(view, id) => return open_existing(&view, id, size, flags),
            Found::Nothing if !creates => return Err(Errno::NOENT),
            _ => {}
        }
        let _inside = Inside::enter();
        let guard = self.core.lock()?;
        if let Found::Object(view, id) = self.core.find(self, key)? {
            if ended != Some(id) && !self.must_destroy(&view) {
                drop(guard);
                return open_existing(&view, id, size, flags);
            }
            self.destroy_forced(&guard, &view, id);
        }
        if !creates {
            return Err(Errno::NOENT);
        }
        self.create(&guard, key, size, flags)
    }

    fn create(&self, guard: &RegistryGuard<'_>, key: Key, size: u64, flags: i32) -> Result<Id> {
        let limits = self.core.limits()?;
        if size == 0 || size > limits.shmmax || i64::try_from(size).is_err() {
            return Err(Errno::INVAL);
        }
        let pages = size.div_ceil(PAGE);
        let class = self.core.registry.class(Mechanism::Shm);
        let within = |pages: u64| class.sum.load(Relaxed).checked_add(pages).is_some_and(|sum| sum <= limits.shmall);
        if !within(pages) {
            self.core.sweep_held(guard);
            if !within(pages) {
                return Err(Errno::NOSPC);
            }
        }
        let huge = flags & libc::SHM_HUGETLB != 0;
        if huge {
            self.check_huge(flags)?;
        }
        let reserve = flags & libc::SHM_NORESERVE == 0 || never_overcommits();
        let request = CreateRequest { key, size, pages, mode: flags as u32 & 0o777, huge, reserve, uid: credentials::euid() };
        let max = limits.shmmni.min(MAX_OBJECTS);
        if class.in_use.load(Relaxed) >= max {
            self.core.sweep_held(guard);
            if class.in_use.load(Relaxed) >= max {
                // The kernel checks the memory first.
                return Err(if self.has_room(&request) { Errno::NOSPC } else { Errno::NOMEM });
            }
        }
        match self.create_requested(guard, &request) {
            Err(Errno::NOMEM) => {
                // Participants that exited may have left memory.
                self.core.sweep_held(guard);
                self.discard_recycled(guard);
                self.create_requested(guard, &request)
            }
            other => other,
        }
    }

    fn create_requested(&self, guard: &RegistryGuard<'_>, request: &CreateRequest) -> Result<Id> {
        let class = self.core.registry.class(Mechanism::Shm);
        let requested_id = Id::from_raw(class.next_id.swap(-1, Relaxed)).ok();
        let suitable = requested_id.is_none() && request.pages * PAGE <= RECYCLED_BYTES;
        // Memory of another user would be discarded, and that user would need a new index each
        // time.
        let is_own = |index| self.at(index).is_ok_and(|view| view.is_some_and(|view| view.owner == request.uid));
        let recycled =
            self.core.recycled_index().filter(|index| suitable && !self.core.is_used(Mechanism::Shm, *index) && is_own(*index));
        let from = requested_id.map_or(0, Id::index);
        let candidates = recycled.into_iter().chain(self.core.free_indexes(Mechanism::Shm, from, requested_id.is_none()));
        for index in candidates {
            let entry = &self.table[usize::from(index)];
            if entry.foreign.load(Relaxed) != 0 {
                continue;
            }
            let claimed = self
                .claim_index(guard, index, request)
                .map_err(|e| self.core.restore_next_id(Mechanism::Shm, requested_id, e))?;
            let Some(view) = claimed else {
                if self.is_live(index) {
                    self.core.mark_used(guard, Mechanism::Shm, index, true);
                } else {
                    entry.foreign.store(1, Relaxed);
                }
                continue;
            };
            let sequence = match requested_id {
                Some(id) => id.sequence(),
                None => self.core.next_sequence(guard, Mechanism::Shm, index),
            };
            let id = Id::new(sequence, index);
            self.core
                .reserve_key(Mechanism::Shm, index)
                .map_err(|e| self.core.restore_next_id(Mechanism::Shm, requested_id, e))?;
            self.core.mark_used(guard, Mechanism::Shm, index, true);
            view.head.store(Head::new(id, State::Making).pack(), SeqCst);
            match self.create_at(guard, &view, id, request) {
                Ok(()) => return Ok(id),
                Err(e) => {
                    view.head.store(Head::new(id, State::Free).pack(), SeqCst);
                    self.core.mark_used(guard, Mechanism::Shm, index, false);
                    match e {
                        // A stale file of another user occupies the index.
                        Errno::EXIST => entry.foreign.store(1, Relaxed),
                        e => return Err(self.core.restore_next_id(Mechanism::Shm, requested_id, e)),
                    }
                }
            }
        }
        Err(Errno::NOSPC)
    }

    fn create_at(&self, guard: &RegistryGuard<'_>, view: &SegmentView, id: Id, request: &CreateRequest) -> Result<()> {
        self.create_data(guard, view, id.index(), request)?;
        let high = (view.high.swap(0, Relaxed) as usize).min(view.entries.len());
        view.entries[..high].iter().for_each(|entry| entry.store(0, Relaxed));
        let (uid, gid) = (view.owner, credentials::egid());
        view.size.store(request.size, Relaxed);
        view.cgid.store(gid, Relaxed);
        view.cuid.store(uid, Relaxed);
        view.cpid.store(ids::pid(), Relaxed);
        view.lpid.store(0, Relaxed);
        view.atime.store(0, Relaxed);
        view.dtime.store(0, Relaxed);
        view.locked.store(0, Relaxed);
        view.huge.store(u32::from(request.huge), Relaxed);
        view.creator.store(guard.me.to_word(), Relaxed);
        view.set_permissions(StoredPermissions { uid, gid, mode: request.mode, ctime: clock::now() });
        view.key.store(request.key.raw() as u32, Relaxed);
        if !request.key.is_private()
            && let Err(e) = self.core.link_key(guard, Mechanism::Shm, request.key, id)
        {
            self.discard_data(view, id.index(), guard.me);
            return Err(e);
        }
        view.head.store(Head::new(id, State::Live).pack(), SeqCst);
        self.core.registry.class(Mechanism::Shm).count(request.pages);
        Ok(())
    }

    /// Returns the control file of a free index, and creates it if it is missing.
    ///
    /// Returns `None` if the file belongs to another user, or if a peer falsified the registry and
    /// the index has a live segment.
    #[inline(never)]
    fn claim_index(&self, _guard: &RegistryGuard<'_>, index: u16, request: &CreateRequest) -> Result<Option<SegmentView>> {
        let file_mode = self.file_mode(request.mode);
        let path = self.path(index);
        match self.writable_at(index) {
            Ok(Some(view)) if view.head().is_live() => return Ok(None),
            Ok(Some(view))
                if view.writable && view.owner == request.uid && self.grants_exactly(&path, request.uid, file_mode) =>
            {
                return Ok(Some(view));
            }
            Ok(Some(view)) if view.owner != request.uid && request.uid != 0 => return Ok(None),
            // The file is damaged or has another mode. A new file replaces it if the caller may
            // remove it.
            Ok(Some(view)) => {
                if view.writable {
                    view.retire();
                }
                if fs::unlink(path.c_str()).is_err() {
                    return Ok(None);
                }
            }
            Ok(None) | Err(Errno::INVAL | Errno::ACCES) => match fs::unlink(path.c_str()) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                // The whole directory refuses the removal, so no other index would do.
                Err(e @ (rustix::io::Errno::ROFS | rustix::io::Errno::ACCESS)) => return Err(e.into()),
                Err(_) => return Ok(None),
            },
            Err(e) => return Err(e),
        }
        let folder = PathBuffer::new(self.core.directory(), format_args!("/shm"));
        let first = Control::FIRST_BYTES;
        let fd = file::create_unnamed(folder.c_str(), file_mode, SEGMENT_BYTES, first, &Control::BLANK).map_err(no_memory)?;
        match file::publish(&fd, path.c_str()) {
            Ok(()) => self.writable_at(index),
            // A process that ignores the lock put a file there.
            Err(Errno::EXIST) => Ok(None),
            Err(e) => Err(no_memory(e)),
        }
    }

    /// Returns the mode of a control file. Each user with any permission for the segment may write
    /// it, and all other users may read it.
    pub fn file_mode(&self, mode: u32) -> u32 {
        match self.core.kind() {
            Kind::Private => 0o600,
            Kind::Shared => 0o644 | if mode & 0o070 != 0 { 0o020 } else { 0 } | if mode & 0o007 != 0 { 0o002 } else { 0 },
        }
    }

    /// Returns `true` if a file belongs to `owner` and grants exactly the permissions of `mode`. In
    /// a private namespace, which no other user can enter, every file passes.
    fn grants_exactly(&self, path: &PathBuffer, owner: u32, mode: u32) -> bool {
        self.core.kind() == Kind::Private || has_exact_mode(path, owner, mode)
    }

    /// Provides the data file: the recycled one after zeroing, or a new one.
    #[inline(never)]
    fn create_data(&self, guard: &RegistryGuard<'_>, view: &SegmentView, index: u16, request: &CreateRequest) -> Result<()> {
        let path = self.data_path(index);
        if self.core.recycled_index() == Some(index) {
            self.core.registry.class(Mechanism::Shm).recycled.store(-1, Relaxed);
            if self.reuse(view, index, &path, request)? {
                return Ok(());
            }
            self.discard_data(view, index, guard.me);
        }
        view.recycled_pages.store(0, Relaxed);
        let bytes = request.pages * PAGE;
        file::fits_file_limit(bytes)?;
        let fd = match file::create(path.c_str()) {
            Err(Errno::EXIST) => {
                fs::unlink(path.c_str()).map_err(|_| Errno::EXIST)?;
                file::create(path.c_str())
            }
            other => other,
        }
        .map_err(no_memory)?;
        let reserved = self.reserve_space(guard, view, &fd, bytes, request.reserve).and_then(|()| {
            fs::fchmod(&fd, Mode::from_raw_mode(request.mode))?;
            Ok(())
        });
        if let Err(e) = reserved {
            let _ = fs::unlink(path.c_str());
            return Err(no_memory(e));
        }
        // The serial 0 means "none".
        let serial = self.core.registry.data_serial.fetch_add(1, Relaxed).wrapping_add(1).max(1);
        view.data_serial.store(serial, Relaxed);
        view.cached_mappings.store(0, Relaxed);
        // A file without allocated blocks cannot serve a later segment that needs them.
        view.recycled_mode.store(if request.reserve { request.mode } else { NEVER_RECYCLED }, Relaxed);
        if bytes <= RECYCLED_BYTES && request.reserve {
            self.cache_mapping(view, index, guard.me.slot, &fd, true);
        }
        Ok(())
    }

    /// Zeroes the recycled data file for the new segment. Returns `false` if the file does not
    /// suit.
    fn reuse(&self, view: &SegmentView, index: u16, path: &PathBuffer, request: &CreateRequest) -> Result<bool> {
        let bytes = request.pages * PAGE;
        // A peer may have written the control file, so the data file itself is checked, too.
        let suitable = bytes <= RECYCLED_BYTES
            && u64::from(view.recycled_pages.load(Relaxed)) == request.pages
            && file::fits_file_limit(bytes).is_ok()
            && view.recycled_mode.load(Relaxed) == request.mode
            && request.reserve
            && !request.huge
            && self.grants_exactly(path, request.uid, request.mode);
        if !suitable {
            return Ok(false);
        }
        let entry = &self.table[usize::from(index)];
        if let Some(at) = entry.cached_mapping(true).address_for(view.data_serial.load(Relaxed), bytes as usize) {
            #[allow(unsafe_code)]
            // SAFETY: the cached mapping of this index is RECYCLED_BYTES long and writable. Its
            // file had at least `bytes` bytes when it was mapped, and only its owner can truncate
            // it.
            unsafe {
                memory::zero(at, bytes as usize);
            }
            return Ok(true);
        }
        let Ok((fd, stat)) = file::open(path.c_str(), true) else { return Ok(false) };
        if stat.st_size as u64 != bytes || stat.st_uid != request.uid {
            return Ok(false);
        }
        file::write_zeroes(&fd, 0, bytes).map_err(no_memory)?;
        self.cache_mapping(view, index, self.core.participants.me()?.slot, &fd, true);
        Ok(true)
    }

    /// Sets the size of a new data file and reserves space for `bytes`, so that no later write
    /// fails for lack of space. Without `reserve`, only sets the size.
    fn reserve_space(&self, _guard: &RegistryGuard<'_>, view: &SegmentView, fd: &Fd, bytes: u64, reserve: bool) -> Result<()> {
        let counted_only = reserve && bytes > MAX_ALLOCATED;
        view.counted_only.store(u32::from(counted_only), Relaxed);
        if reserve && bytes > 1 << 20 {
            let free = match file::free_space(fd)? {
                Some(free) => free,
                None => physical_memory(),
            };
            if free.saturating_sub(self.unallocated_bytes()) < bytes {
                return Err(Errno::NOMEM);
            }
        }
        fs::ftruncate(fd, bytes)?;
        if reserve && !counted_only { file::reserve(fd, bytes) } else { Ok(()) }
    }

    /// Returns the number of bytes that counted data files have not allocated yet.
    fn unallocated_bytes(&self) -> u64 {
        let missing = |index: u16| {
            let view = self.at(index).ok()??;
            if view.counted_only.load(Relaxed) == 0 || !view.head().is_live() {
                return None;
            }
            let stat = fs::stat(self.data_path(index).c_str()).ok()?;
            Some((stat.st_size as u64).saturating_sub(stat.st_blocks as u64 * 512))
        };
        self.core.used_indexes(Mechanism::Shm).filter_map(missing).fold(0, u64::saturating_add)
    }

    fn has_room(&self, request: &CreateRequest) -> bool {
        let directory =
            fs::openat(fs::CWD, self.core.path(), fs::OFlags::PATH | fs::OFlags::CLOEXEC, Mode::empty()).map(Fd::from);
        let free = directory.ok().and_then(|fd| file::free_space(fd).ok().flatten());
        !request.reserve || free.is_none_or(|free| free >= request.pages * PAGE)
    }

    /// Checks `SHM_HUGETLB`. Fails with `EINVAL` if the machine lacks the page size, and with
    /// `ENOMEM` if the file system does not provide huge pages.
    fn check_huge(&self, flags: i32) -> Result<()> {
        let log = flags as u32 >> HUGE_SHIFT & 0x3f;
        let default = default_huge_page();
        let bytes = if log == 0 { default } else { 1u64.checked_shl(log) };
        let known = |bytes: u64| file::is_directory(format!("/sys/kernel/mm/hugepages/hugepages-{}kB", bytes >> 10).as_ref());
        let Some(bytes) = bytes.filter(|bytes| known(*bytes)) else { return Err(Errno::INVAL) };
        if Some(bytes) != transparent_huge_page() || !gives_huge_pages(self.core.path()) {
            return Err(Errno::NOMEM);
        }
        Ok(())
    }
}

/// Checks the flags and the size of `shmget` against an existing segment.
fn open_existing(view: &SegmentView, id: Id, size: u64, flags: i32) -> Result<Id> {
    let exclusive = libc::IPC_CREAT | libc::IPC_EXCL;
    if flags & exclusive == exclusive {
        return Err(Errno::EXIST);
    }
    if size > view.size.load(Relaxed) {
        return Err(Errno::INVAL);
    }
    if !view.permits(flags as u32 & 0o777) {
        return Err(Errno::ACCES);
    }
    Ok(id)
}

/// Returns `true` if a file belongs to `owner` and has exactly this mode and no access control
/// list.
fn has_exact_mode(path: &PathBuffer, owner: u32, mode: u32) -> bool {
    let same = fs::lstat(path.c_str()).is_ok_and(|stat| stat.st_uid == owner && stat.st_mode & 0o7777 == mode);
    // The mask of a list appears as the group's bits of the mode. `set_acl` includes the owner's
    // bits in the mask. A file has no list if its group bits lack one of the owner's.
    if !same || mode >> 6 & !(mode >> 3) & 7 != 0 {
        return same;
    }
    let mut list = [0u8; 512];
    let found = fs::getxattr(path.c_str(), file::ACL, &mut list);
    matches!(found, Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP))
}

fn physical_memory() -> u64 {
    let info = rustix::system::sysinfo();
    (info.totalram as u64 + info.totalswap as u64).saturating_mul(u64::from(info.mem_unit))
}

/// Returns `true` if the kernel accounts strictly. It then ignores `SHM_NORESERVE`.
fn never_overcommits() -> bool {
    file::read("/proc/sys/vm/overcommit_memory").is_ok_and(|text| text.starts_with('2'))
}

fn default_huge_page() -> Option<u64> {
    let text = file::read("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Hugepagesize:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
}

fn transparent_huge_page() -> Option<u64> {
    file::read("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size").ok()?.trim().parse().ok()
}

/// Returns `true` if the mount of `path` provides huge pages, by its `huge=` option.
fn gives_huge_pages(path: &std::path::Path) -> bool {
    let Ok(device) = fs::stat(path).map(|stat| stat.st_dev) else { return false };
    let device = format!("{}:{}", fs::major(device), fs::minor(device));
    let mounts = file::read("/proc/self/mountinfo").unwrap_or_default();
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some(&device));
    let options = line.and_then(|line| line.rsplit(' ').next()).unwrap_or_default();
    ["huge=always", "huge=within_size", "huge=advise"].iter().any(|huge| options.split(',').any(|option| option == *huge))
}
