//! `shmget`: finding a segment, or making one.

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

/// Up to this size a promise is kept by allocating; beyond, it would take too long, and is kept by counting
/// what other segments have been promised against what the file system has.
const ALLOCATE_UP_TO: u64 = 4 << 30;

const HUGE_SHIFT: u32 = 26;

/// What `shmget` was asked to make.
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
    /// `shmget`, in the order in which the kernel checks.
    pub fn shmget(&self, key: Key, size: u64, flags: i32) -> Result<Id> {
        fd_thread::run(|| self.find_or_create(key, size, flags))
    }

    fn find_or_create(&self, key: Key, size: u64, flags: i32) -> Result<Id> {
        if key.is_private() {
            let _inside = Inside::enter();
            return self.create(&self.core.lock()?, key, size, flags);
        }
        let creates = flags & libc::IPC_CREAT != 0;
        // Who may have to create looks at the names only once, under the lock.
        let mut ended = None;
        match if creates { self.core.find_by_hint(self, key) } else { self.core.find(self, key)? } {
            Found::Object(view, id) if self.is_forced_away(&view) => ended = Some(id),
            Found::Object(view, id) => return open_existing(&view, id, size, flags),
            Found::Nothing if !creates => return Err(Errno::NOENT),
            _ => {}
        }
        let _inside = Inside::enter();
        let held = self.core.lock()?;
        if let Found::Object(view, id) = self.core.find(self, key)? {
            if ended != Some(id) && !self.is_forced_away(&view) {
                drop(held);
                return open_existing(&view, id, size, flags);
            }
            self.clear_forced(&held, &view, id);
        }
        if !creates {
            return Err(Errno::NOENT);
        }
        self.create(&held, key, size, flags)
    }

    fn create(&self, held: &RegistryGuard<'_>, key: Key, size: u64, flags: i32) -> Result<Id> {
        let limits = self.core.limits()?;
        if size == 0 || size > limits.shmmax || i64::try_from(size).is_err() {
            return Err(Errno::INVAL);
        }
        let pages = size.div_ceil(PAGE);
        let class = self.core.registry.class(Mechanism::Shm);
        let within = |pages: u64| class.sum.load(Relaxed).checked_add(pages).is_some_and(|sum| sum <= limits.shmall);
        if !within(pages) {
            self.core.sweep_held(held);
            if !within(pages) {
                return Err(Errno::NOSPC);
            }
        }
        let huge = flags & libc::SHM_HUGETLB != 0;
        if huge {
            self.check_huge(flags)?;
        }
        let reserve = flags & libc::SHM_NORESERVE == 0 || never_overcommits();
        let wanted = CreateRequest { key, size, pages, mode: flags as u32 & 0o777, huge, reserve, uid: credentials::euid() };
        let most = limits.shmmni.min(MAX_OBJECTS);
        if class.in_use.load(Relaxed) >= most {
            self.core.sweep_held(held);
            if class.in_use.load(Relaxed) >= most {
                // The kernel looks for the memory first.
                return Err(if self.has_room(&wanted) { Errno::NOSPC } else { Errno::NOMEM });
            }
        }
        match self.create_requested(held, &wanted) {
            Err(Errno::NOMEM) => {
                // Perhaps the dead have some.
                self.core.sweep_held(held);
                self.drop_recycled(held);
                self.create_requested(held, &wanted)
            }
            other => other,
        }
    }

    fn create_requested(&self, held: &RegistryGuard<'_>, wanted: &CreateRequest) -> Result<Id> {
        let class = self.core.registry.class(Mechanism::Shm);
        let asked = Id::from_raw(class.next_id.swap(-1, Relaxed)).ok();
        let suits = asked.is_none() && wanted.pages * PAGE <= RECYCLED_BYTES;
        // Another user's would be thrown away, and he would need a further index each time.
        let is_own = |index| self.at(index).is_ok_and(|view| view.is_some_and(|view| view.owner == wanted.uid));
        let recycled =
            self.core.recycled_index().filter(|index| suits && !self.core.is_used(Mechanism::Shm, *index) && is_own(*index));
        let from = asked.map_or(0, Id::index);
        let candidates = recycled.into_iter().chain(self.core.free_indexes(Mechanism::Shm, from, asked.is_none()));
        for index in candidates {
            let entry = &self.table[usize::from(index)];
            if entry.foreign.load(Relaxed) != 0 {
                continue;
            }
            let control =
                self.claim_index(held, index, wanted).map_err(|e| self.core.restore_next_id(Mechanism::Shm, asked, e))?;
            let Some(view) = control else {
                if self.is_live(index) {
                    self.core.mark_used(held, Mechanism::Shm, index, true);
                } else {
                    entry.foreign.store(1, Relaxed);
                }
                continue;
            };
            let sequence = match asked {
                Some(id) => id.sequence(),
                None => self.core.next_sequence(held, Mechanism::Shm, index),
            };
            let id = Id::new(sequence, index);
            self.core.reserve_key(Mechanism::Shm, index).map_err(|e| self.core.restore_next_id(Mechanism::Shm, asked, e))?;
            self.core.mark_used(held, Mechanism::Shm, index, true);
            view.head.store(Head::new(id, State::Making).pack(), SeqCst);
            match self.create_at(held, &view, id, wanted) {
                Ok(()) => return Ok(id),
                Err(e) => {
                    view.head.store(Head::new(id, State::Free).pack(), SeqCst);
                    self.core.mark_used(held, Mechanism::Shm, index, false);
                    match e {
                        // Another user's leftover is in the way.
                        Errno::EXIST => entry.foreign.store(1, Relaxed),
                        e => return Err(self.core.restore_next_id(Mechanism::Shm, asked, e)),
                    }
                }
            }
        }
        Err(Errno::NOSPC)
    }

    fn create_at(&self, held: &RegistryGuard<'_>, view: &SegmentView, id: Id, wanted: &CreateRequest) -> Result<()> {
        self.create_data(held, view, id.index(), wanted)?;
        let high = (view.high.swap(0, Relaxed) as usize).min(view.entries.len());
        view.entries[..high].iter().for_each(|entry| entry.store(0, Relaxed));
        let (uid, gid) = (view.owner, credentials::egid());
        view.size.store(wanted.size, Relaxed);
        view.cgid.store(gid, Relaxed);
        view.cuid.store(uid, Relaxed);
        view.cpid.store(ids::pid(), Relaxed);
        view.lpid.store(0, Relaxed);
        view.atime.store(0, Relaxed);
        view.dtime.store(0, Relaxed);
        view.locked.store(0, Relaxed);
        view.huge.store(u32::from(wanted.huge), Relaxed);
        view.creator.store(held.me.to_word(), Relaxed);
        view.set_permissions(StoredPermissions { uid, gid, mode: wanted.mode, ctime: clock::now() });
        view.key.store(wanted.key.raw() as u32, Relaxed);
        if !wanted.key.is_private()
            && let Err(e) = self.core.link_key(held, Mechanism::Shm, wanted.key, id)
        {
            self.discard_data(view, id.index(), held.me);
            return Err(e);
        }
        view.head.store(Head::new(id, State::Live).pack(), SeqCst);
        self.core.registry.class(Mechanism::Shm).count(wanted.pages);
        Ok(())
    }

    /// The control file of a free index, if it is the caller's to use: made if there is none.
    /// `None`: it is another user's; or a segment is there all the same, and somebody has falsified the registry.
    #[inline(never)]
    fn claim_index(&self, _held: &RegistryGuard<'_>, index: u16, wanted: &CreateRequest) -> Result<Option<SegmentView>> {
        let file_mode = self.file_mode(wanted.mode);
        let path = self.path(index);
        match self.writable_at(index) {
            Ok(Some(view)) if view.head().is_live() => return Ok(None),
            Ok(Some(view)) if view.writable && view.owner == wanted.uid && self.is_unshared(&path, wanted.uid, file_mode) => {
                return Ok(Some(view));
            }
            Ok(Some(view)) if view.owner != wanted.uid && wanted.uid != 0 => return Ok(None),
            // Damaged, or of another mode: away with it, if it is ours.
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
                // It is not this file: no other index would do either.
                Err(e @ (rustix::io::Errno::ROFS | rustix::io::Errno::ACCESS)) => return Err(e.into()),
                Err(_) => return Ok(None),
            },
            Err(e) => return Err(e),
        }
        let folder = PathBuffer::new(self.core.directory(), format_args!("/shm"));
        let first = Control::FIRST_BYTES;
        let fd = file::unpublished(folder.c_str(), file_mode, SEGMENT_BYTES, first, &Control::BLANK).map_err(no_memory)?;
        match file::publish(&fd, path.c_str()) {
            Ok(()) => self.writable_at(index),
            // Somebody who does not keep to the lock.
            Err(Errno::EXIST) => Ok(None),
            Err(e) => Err(no_memory(e)),
        }
    }

    /// The mode of a control file: whoever has any right to the segment writes it, everybody else reads it.
    pub fn file_mode(&self, mode: u32) -> u32 {
        match self.core.kind() {
            Kind::Private => 0o600,
            Kind::Shared => 0o644 | if mode & 0o070 != 0 { 0o020 } else { 0 } | if mode & 0o007 != 0 { 0o002 } else { 0 },
        }
    }

    /// Whether a file of `owner`'s gives nobody rights that this mode does not. Inside a private directory
    /// there is nobody else.
    fn is_unshared(&self, path: &PathBuffer, owner: u32, mode: u32) -> bool {
        self.core.kind() == Kind::Private || is_plain(path, owner, mode)
    }

    /// The data file: the one that was kept for reuse, zeroed, or a new one.
    #[inline(never)]
    fn create_data(&self, held: &RegistryGuard<'_>, view: &SegmentView, index: u16, wanted: &CreateRequest) -> Result<()> {
        let path = self.data_path(index);
        if self.core.recycled_index() == Some(index) {
            self.core.registry.class(Mechanism::Shm).recycled.store(-1, Relaxed);
            if self.reuse(view, index, &path, wanted)? {
                return Ok(());
            }
            self.discard_data(view, index, held.me);
        }
        view.recycled_pages.store(0, Relaxed);
        let bytes = wanted.pages * PAGE;
        file::fits_file_limit(bytes)?;
        let fd = match file::create(path.c_str()) {
            Err(Errno::EXIST) => {
                fs::unlink(path.c_str()).map_err(|_| Errno::EXIST)?;
                file::create(path.c_str())
            }
            other => other,
        }
        .map_err(no_memory)?;
        let made = self.promise(held, view, &fd, bytes, wanted.reserve).and_then(|()| {
            fs::fchmod(&fd, Mode::from_raw_mode(wanted.mode))?;
            Ok(())
        });
        if let Err(e) = made {
            let _ = fs::unlink(path.c_str());
            return Err(no_memory(e));
        }
        // 0 stands for none.
        let serial = self.core.registry.data_serial.fetch_add(1, Relaxed).wrapping_add(1).max(1);
        view.data_serial.store(serial, Relaxed);
        view.cached_mappings.store(0, Relaxed);
        // Memory that was never promised cannot keep a promise for the next one.
        view.recycled_mode.store(if wanted.reserve { wanted.mode } else { NEVER_RECYCLED }, Relaxed);
        if bytes <= RECYCLED_BYTES && wanted.reserve {
            self.cache_mapping(view, index, held.me.slot, &fd, true);
        }
        Ok(())
    }

    /// Reuses the memory of a segment that is gone, zeroed. `false`: it does not suit.
    fn reuse(&self, view: &SegmentView, index: u16, path: &PathBuffer, wanted: &CreateRequest) -> Result<bool> {
        let bytes = wanted.pages * PAGE;
        // What the control file says is checked against the file itself: a peer may have written it.
        let suits = bytes <= RECYCLED_BYTES
            && u64::from(view.recycled_pages.load(Relaxed)) == wanted.pages
            && file::fits_file_limit(bytes).is_ok()
            && view.recycled_mode.load(Relaxed) == wanted.mode
            && wanted.reserve
            && !wanted.huge
            && self.is_unshared(path, wanted.uid, wanted.mode);
        if !suits {
            return Ok(false);
        }
        let entry = &self.table[usize::from(index)];
        if let Some(at) = entry.cached_mapping(true).serves(view.data_serial.load(Relaxed), bytes as usize) {
            #[allow(unsafe_code)]
            // SAFETY: this index's own template, WARM_BYTES long and mapped writable, of a file that had at least
            // `bytes` when it was mapped (nobody but its owner can shorten it).
            unsafe {
                memory::zero(at, bytes as usize);
            }
            return Ok(true);
        }
        let Ok((fd, stat)) = file::open(path.c_str(), true) else { return Ok(false) };
        if stat.st_size as u64 != bytes || stat.st_uid != wanted.uid {
            return Ok(false);
        }
        file::write_zeroes(&fd, 0, bytes).map_err(no_memory)?;
        self.cache_mapping(view, index, self.core.participants.me()?.slot, &fd, true);
        Ok(true)
    }

    /// Sees to it that no later write to the `bytes` of a new data file can fail for want of room.
    fn promise(&self, _held: &RegistryGuard<'_>, view: &SegmentView, fd: &Fd, bytes: u64, reserve: bool) -> Result<()> {
        let counted_only = reserve && bytes > ALLOCATE_UP_TO;
        view.counted_only.store(u32::from(counted_only), Relaxed);
        if reserve && bytes > 1 << 20 {
            let free = match file::free_space(fd)? {
                Some(free) => free,
                None => physical_memory(),
            };
            if free.saturating_sub(self.counted_promises()) < bytes {
                return Err(Errno::NOMEM);
            }
        }
        fs::ftruncate(fd, bytes)?;
        if reserve && !counted_only { file::reserve(fd, bytes) } else { Ok(()) }
    }

    /// What was promised by counting and is not allocated yet.
    fn counted_promises(&self) -> u64 {
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

    fn has_room(&self, wanted: &CreateRequest) -> bool {
        let directory =
            fs::openat(fs::CWD, self.core.path(), fs::OFlags::PATH | fs::OFlags::CLOEXEC, Mode::empty()).map(Fd::from);
        let free = directory.ok().and_then(|fd| file::free_space(fd).ok().flatten());
        !wanted.reserve || free.is_none_or(|free| free >= wanted.pages * PAGE)
    }

    /// `SHM_HUGETLB`: the page size must be one that the machine has, and the file system must have huge pages to give.
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

/// What of an existing segment a caller of `shmget` may have.
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

/// Whether a file belongs to `owner`, has exactly this mode and no access control list.
fn is_plain(path: &PathBuffer, owner: u32, mode: u32) -> bool {
    let same = fs::lstat(path.c_str()).is_ok_and(|stat| stat.st_uid == owner && stat.st_mode & 0o7777 == mode);
    // A list's mask stands in the group's place, and `set_rights` gives it the owner's bits, too.
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

/// With strict accounting the kernel ignores `SHM_NORESERVE`.
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

/// Whether the mount that holds `path` gives files huge pages: its `huge=` option.
fn gives_huge_pages(path: &std::path::Path) -> bool {
    let Ok(device) = fs::stat(path).map(|stat| stat.st_dev) else { return false };
    let device = format!("{}:{}", fs::major(device), fs::minor(device));
    let mounts = file::read("/proc/self/mountinfo").unwrap_or_default();
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some(&device));
    let options = line.and_then(|line| line.rsplit(' ').next()).unwrap_or_default();
    ["huge=always", "huge=within_size", "huge=advise"].iter().any(|huge| options.split(',').any(|option| option == *huge))
}
