//! The backend that is a directory: opening it, creating it, its limits, its end.
//!
//! # Safety
//!
//! The header and the registry are mapped whole, from files that have at least their size, and stay mapped.
#![allow(unsafe_code)]

use crate::backend::directory::files::{
    create_files, damaged, explain_create, explain_open, kind_name, remove_files, set_modes, store_limits,
};
use crate::backend::directory::hidden;
use crate::layout;
use crate::layout::{HEADER_BYTES, Header, Mechanism, REGISTRY_BYTES, Registry, Shared, Validity};
use crate::object::registry::Hints;
use crate::process::fork;
use crate::process::participants::Membership;
use crate::shm::attachments;
use crate::shm::attachments::Attachments;
use crate::shm::mapping::SegmentTable;
use crate::sys::credentials;
use crate::sys::credentials::capable;
use crate::sys::fd_thread;
use crate::sys::file;
use crate::sys::file::PathBuffer;
use crate::sys::memory;
use crate::sys::memory::{Access, Place};
use crate::sys::signal::Blocked;
use crate::sys::table::NEAR;
use crate::types::error::Errno;
use crate::types::error::{Error, Result};
use crate::types::id::{Id, MAX_OBJECTS};
use crate::types::kind::Kind;
use crate::types::limits::Limits;
use rustix::fs::{self, FileType, Mode};
use rustix::thread::CapabilitySet;
use std::cell::UnsafeCell;
use std::ffi::{CStr, OsStr};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering::*};
use std::sync::{Mutex, MutexGuard};

/// A namespace that is a directory, as this process has it open. There is one for each
/// directory, and it is never freed: attachments outlive every handle.
///
/// What a fork writes to comes first, in one page.
#[repr(C)]
pub struct Engine {
    pub(crate) membership: Membership,
    pub(crate) attachments: Attachments,
    kind: Kind,
    pub(crate) identity: (u64, u64),
    pub(crate) header: Shared<Header>,
    pub(crate) registry: Shared<Registry>,
    pub(crate) segments_table: SegmentTable,
    pub(crate) sets: crate::sem::mapping::SetTable,
    pub(crate) queues: crate::msg::mapping::QueueTable,
    /// Whose records the program before in this process has left, that could not be made its own.
    pub(crate) inherited: Mutex<Vec<crate::sem::exec::InheritedUndo>>,
    /// Held while a set's file is put in another one's place.
    pub(crate) mapping: fork::ThreadLock,
    pub(crate) hints: Hints,
    /// The pages of the registry's key table that are known to have their place, a bit each.
    pub(crate) key_pages: [AtomicU32; Mechanism::ALL.len()],
    pub(crate) next: AtomicPtr<Engine>,
    /// How much of the name below is the directory.
    directory_len: usize,
    /// The registry, as a C string.
    registry_name: [u8; PathBuffer::LONGEST_DIRECTORY + REGISTRY.len() + 1],
    /// The sets in which this process may have an undo record, a bit each.
    pub(crate) with_undo: &'static [AtomicU64; MAX_OBJECTS as usize / 64],
    /// Whether any is set: to look at them costs a fork, or an exit, their pages.
    pub(crate) undo_noted: &'static AtomicU32,
}

const REGISTRY: &[u8] = b"/registry";

/// Where an engine and what it begins with are, together: what a process has touched is copied by its forks, place by place.
#[repr(C, align(4096))]
pub struct ForkPage {
    pub hot: fork::ProcessState,
    engine: UnsafeCell<MaybeUninit<Engine>>,
    undo_noted: AtomicU32,
    attachments: [attachments::Entry; attachments::FIRST],
    segments_table: [crate::shm::mapping::SegmentEntry; NEAR],
    sets: [crate::sem::mapping::SetEntry; NEAR],
    queues: [crate::msg::mapping::QueueEntry; NEAR],
    with_undo: [AtomicU64; MAX_OBJECTS as usize / 64],
}

// SAFETY: the engine is written by whoever has got the nursery, before anybody else knows of it; the rest are atomics.
unsafe impl Sync for ForkPage {}

/// The first engine's; what belongs to the process is only in this one.
pub static FIRST: ForkPage = {
    let mut nursery = MaybeUninit::<ForkPage>::zeroed();
    // SAFETY: the rest is atomics, for which zeroes are valid, and an engine that is not there yet.
    unsafe {
        (&raw mut (*nursery.as_mut_ptr()).hot).write(fork::ProcessState::new());
        nursery.assume_init()
    }
};

impl ForkPage {
    /// One that nobody has got.
    fn get() -> std::result::Result<&'static ForkPage, Errno> {
        static TAKEN: AtomicU32 = AtomicU32::new(0);
        if TAKEN.swap(1, AcqRel) == 0 {
            return Ok(&FIRST);
        }
        let at = memory::anonymous(size_of::<ForkPage>())?;
        // SAFETY: just mapped, zeroed, and kept; aligned to a page. What belongs to the process is not used here, and valid as zeroes.
        Ok(unsafe { &*(at as *const ForkPage) })
    }
}

/// Held while a namespace is opened, so that a process has one engine for each. Meanwhile no fork is made, whose
/// child would find it held for ever, and no signal handled, whose handler might wait for its own thread.
struct Opening {
    _lock: MutexGuard<'static, ()>,
    _signals: Blocked,
    _inside: fork::Inside,
}

impl Opening {
    fn begin() -> Opening {
        static OPENING: Mutex<()> = Mutex::new(());
        let (inside, signals) = (fork::Inside::enter(), Blocked::all());
        let lock = OPENING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        Opening { _lock: lock, _signals: signals, _inside: inside }
    }
}

/// The environment variable that names the namespace.
pub const VARIABLE: &str = "QUINTET_NAMESPACE";

/// `$QUINTET_NAMESPACE`, else the user's own.
pub fn default_path() -> PathBuf {
    match std::env::var_os(VARIABLE) {
        Some(path) if !path.is_empty() => path.into(),
        _ if credentials::euid() == 0 => hidden::default_in(&own_path()).unwrap_or_else(own_path),
        _ => own_path(),
    }
}

/// The user's own namespace: in shared memory, else where sockets and the like are, else with the temporary files.
fn own_path() -> PathBuf {
    let uid = credentials::euid();
    let memory = Path::new("/dev/shm");
    if file::is_directory(memory) {
        return memory.join(format!("quintet-{uid}"));
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) if Path::new(&dir).is_absolute() => Path::new(&dir).join("quintet"),
        _ => std::env::temp_dir().join(format!("quintet-{uid}")),
    }
}

/// Somebody else may have put something in the place of a directory of ours.
fn require_own(path: &Path) -> Result<()> {
    let Ok(stat) = fs::lstat(path) else { return Ok(()) };
    let folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if folder && stat.st_uid == credentials::euid() {
        return Ok(());
    }
    Err(Error::at(Errno::ACCES, "use", path)
        .why("it is not a directory of your own")
        .remedy(format!("have it removed, or set {VARIABLE} to another directory")))
}

impl Engine {
    /// Opens the default namespace, and makes it on first use.
    pub fn open_default() -> Result<&'static Engine> {
        fd_thread::run(Engine::open_or_make_default)
    }

    fn open_or_make_default() -> Result<&'static Engine> {
        let named = std::env::var_os(VARIABLE).is_some_and(|path| !path.is_empty());
        let superuser = credentials::euid() == 0;
        if !named {
            require_own(&own_path())?;
        }
        let path = if superuser && !named { hidden::choose_default(&own_path())? } else { default_path() };
        match Engine::open(&path) {
            Err(e) if e.errno() == Errno::NOENT => {}
            other => return other,
        }
        let kind = if superuser { Kind::Shared } else { Kind::Private };
        Engine::create(&path, kind)
    }

    /// Opens a namespace that is there.
    pub fn open(path: &Path) -> Result<&'static Engine> {
        fd_thread::run(|| Engine::open_inner(path))
    }

    fn open_inner(path: &Path) -> Result<&'static Engine> {
        let real = path.canonicalize().map_err(|e| {
            let errno = Errno::from_raw(e.raw_os_error().unwrap_or(libc::ENOENT));
            let error = Error::at(errno, "open the namespace", path);
            match errno {
                Errno::NOENT => error.remedy("create it with 'quintet namespace create'"),
                _ => error,
            }
        })?;
        let _opening = Opening::begin();
        Engine::open_real(real)
    }

    fn open_real(path: PathBuf) -> Result<&'static Engine> {
        let directory = path.as_os_str().as_bytes().to_vec();
        if directory.len() > PathBuffer::LONGEST_DIRECTORY || directory.contains(&0) {
            return Err(Error::at(Errno::NAMETOOLONG, "open the namespace", &path).remedy("choose a shorter path"));
        }
        let stat = fs::stat(&path).map_err(|e| explain_open(e.into(), &path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(Error::at(Errno::NOTDIR, "open the namespace", &path)
                .why("it is not a directory")
                .remedy("name another path"));
        }
        let header_name = PathBuffer::new(&directory, format_args!("/namespace"));
        let (fd, stat) = file::open(header_name.c_str(), false).map_err(|e| explain_open(e, &path))?;
        let identity = (stat.st_dev as u64, stat.st_ino as u64);
        if let Some(known) = fork::engines().find(|engine| engine.identity == identity && engine.path() == path) {
            return Ok(known);
        }
        if stat.st_size as u64 != HEADER_BYTES {
            return Err(damaged(&path, "namespace"));
        }
        // SAFETY: overlaps nothing.
        let at = unsafe { memory::map(&fd, HEADER_BYTES as usize, Access::READ, Place::Anywhere) }
            .map_err(|e| Error::at(e, "map", &path))?;
        // SAFETY: a page was just mapped, and is kept, unless there is an error.
        let header = unsafe { Shared::<Header>::new(at) };
        let (kind, registry) = Engine::check_header(&header, &path)
            .and_then(|kind| Ok((kind, Engine::open_registry(&directory, &path)?)))
            .inspect_err(|_| {
                // SAFETY: just mapped, and not used any more.
                let _ = unsafe { memory::unmap(at, HEADER_BYTES as usize) };
            })?;
        let tables = |e| Error::at(e, "map the tables for", &path);
        let nursery = ForkPage::get().map_err(tables)?;
        let most = MAX_OBJECTS as usize;
        let segments_table = SegmentTable::new(&nursery.segments_table, most).map_err(tables)?;
        let sets = crate::sem::mapping::SetTable::new(&nursery.sets, most).map_err(tables)?;
        let queues = crate::msg::mapping::QueueTable::new(&nursery.queues, most).map_err(tables)?;
        let hints = Hints::new().map_err(tables)?;
        let mut bytes = [0; PathBuffer::LONGEST_DIRECTORY + REGISTRY.len() + 1];
        bytes[..directory.len()].copy_from_slice(&directory);
        bytes[directory.len()..][..REGISTRY.len()].copy_from_slice(REGISTRY);
        let engine = Engine {
            membership: Membership::new(),
            attachments: Attachments::new(&nursery.attachments),
            kind,
            identity,
            header,
            registry,
            segments_table,
            sets,
            queues,
            inherited: Mutex::new(Vec::new()),
            mapping: fork::ThreadLock::new(),
            hints,
            key_pages: [const { AtomicU32::new(0) }; Mechanism::ALL.len()],
            next: AtomicPtr::default(),
            directory_len: directory.len(),
            registry_name: bytes,
            with_undo: &nursery.with_undo,
            undo_noted: &nursery.undo_noted,
        };
        // SAFETY: nobody else has got it, or knows of it yet.
        let engine: &'static Engine = unsafe { (*nursery.engine.get()).write(engine) };
        fork::register(engine);
        Ok(engine)
    }

    fn check_header(header: &Header, path: &Path) -> Result<Kind> {
        match header.validity() {
            Validity::Good { shared: false } => Ok(Kind::Private),
            Validity::Good { shared: true } => Ok(Kind::Shared),
            Validity::Damaged => Err(damaged(path, "namespace")),
            Validity::OtherVersion(version) => Err(Error::at(Errno::PROTONOSUPPORT, "open the namespace", path)
                .why(format!("it has layout version {version}, and this program knows {}", layout::VERSION))
                .remedy("use the programs of its version, or another directory")),
        }
    }

    fn open_registry(directory: &[u8], path: &Path) -> Result<Shared<Registry>> {
        let name = PathBuffer::new(directory, format_args!("/registry"));
        let (fd, stat) = file::open(name.c_str(), true).map_err(|e| explain_open(e, path))?;
        if stat.st_size as u64 != REGISTRY_BYTES {
            return Err(damaged(path, "registry"));
        }
        // SAFETY: overlaps nothing.
        let at = unsafe { memory::map(&fd, REGISTRY_BYTES as usize, Access::WRITE, Place::Anywhere) }
            .map_err(|e| Error::at(e, "map", path))?;
        // SAFETY: mapped whole, and kept.
        let registry = unsafe { Shared::<Registry>::new(at) };
        if !registry.is_valid() {
            // SAFETY: just mapped, and nobody has seen it.
            let _ = unsafe { memory::unmap(at, REGISTRY_BYTES as usize) };
            return Err(damaged(path, "registry"));
        }
        Ok(registry)
    }

    /// Makes a namespace, or opens the one of this kind that is there. Several may do it at once:
    /// each file appears whole under its name, the header last, and whoever comes second uses the first one's.
    pub fn create(path: &Path, kind: Kind) -> Result<&'static Engine> {
        fd_thread::run(|| Engine::create_inner(path, kind))
    }

    fn create_inner(path: &Path, kind: Kind) -> Result<&'static Engine> {
        let error = |e: Errno| Error::at(e, "create the namespace", path);
        let made = fs::mkdir(path, Mode::RWXU);
        match made {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(rustix::io::Errno::NOENT) => {
                return Err(error(Errno::NOENT).why("its parent directory does not exist").remedy("make that first"));
            }
            Err(e) => return Err(explain_create(e.into(), path)),
        }
        let real = path.canonicalize().map_err(|e| match Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)) {
            Errno::NOENT => error(Errno::NOENT).why("it is a symbolic link that leads nowhere").remedy("choose another path"),
            other => error(other),
        })?;
        let _opening = Opening::begin();
        let created = fs::stat(real.join("namespace")).is_err();
        if created {
            create_files(&real, kind).inspect_err(|_| {
                // Only what was made here, and only if it is empty.
                if made.is_ok() {
                    let _ = fs::rmdir(&real);
                }
            })?;
        }
        let engine = Engine::open_real(real)?;
        if created {
            // Who furnished it at the same time may have wanted the other kind.
            set_modes(engine.path(), engine.kind).map_err(|e| explain_create(e, path))?;
        }
        if engine.kind != kind {
            return Err(error(Errno::EXIST)
                .why(format!("a {} one is there", kind_name(engine.kind)))
                .remedy("open it as it is, or choose another path"));
        }
        Ok(engine)
    }

    /// Whether an address lies in a mapping of a file of this namespace. Reads atomics only: for a signal handler.
    pub fn maps(&self, address: usize) -> bool {
        let within = |at: usize, len: u64| (at..at + len as usize).contains(&address);
        within(std::ptr::from_ref::<Header>(&self.header) as usize, HEADER_BYTES)
            || within(std::ptr::from_ref::<Registry>(&self.registry) as usize, REGISTRY_BYTES)
            || self.attachments.maps(address)
            || self.segments_table.iter().any(|local| local.maps(address))
            || self.sets.iter().any(|local| local.maps(address))
            || self.queues.iter().any(|local| local.maps(address))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.registry_name[..self.directory_len]))
    }

    pub(crate) fn directory(&self) -> &[u8] {
        if fd_thread::is_in_pinned_root() { b"." } else { &self.registry_name[..self.directory_len] }
    }

    pub(crate) fn registry_path(&self) -> &CStr {
        if fd_thread::is_in_pinned_root() {
            c"registry"
        } else {
            CStr::from_bytes_until_nul(&self.registry_name).unwrap_or_default()
        }
    }

    /// Private or shared.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The limits in force.
    pub fn limits(&self) -> std::result::Result<Limits, Errno> {
        Ok(Limits {
            shmmax: self.header.shmmax.load(Relaxed),
            shmall: self.header.shmall.load(Relaxed),
            shmmni: self.header.shmmni.load(Relaxed).min(MAX_OBJECTS),
            shm_rmid_forced: self.forced(),
            semmsl: self.header.semmsl.load(Relaxed).min(Limits::MOST_SEMMSL),
            semmns: self.header.semmns.load(Relaxed),
            semopm: self.header.semopm.load(Relaxed).min(Limits::MOST_SEMOPM),
            semmni: self.header.semmni.load(Relaxed).min(MAX_OBJECTS),
            msgmax: self.header.msgmax.load(Relaxed),
            msgmnb: self.header.msgmnb.load(Relaxed),
            msgmni: self.header.msgmni.load(Relaxed).min(MAX_OBJECTS),
        })
    }

    /// `shm_rmid_forced`.
    pub(crate) fn forced(&self) -> bool {
        self.header.shm_rmid_forced.load(Relaxed) != 0
    }

    /// Sets the limits: whoever may write the header may.
    pub fn set_limits(&self, limits: &Limits) -> std::result::Result<(), Errno> {
        let Limits { shmmni, semmni, msgmni, semmsl, semopm, .. } = *limits;
        if shmmni.max(semmni).max(msgmni) > MAX_OBJECTS
            || semmsl > Limits::MOST_SEMMSL
            || semopm > Limits::MOST_SEMOPM
            || [limits.semmns, limits.msgmax, limits.msgmnb].iter().any(|limit| i32::try_from(*limit).is_err())
        {
            return Err(Errno::INVAL);
        }
        let at = fd_thread::run(|| {
            let name = PathBuffer::new(self.directory(), format_args!("/namespace"));
            let (fd, _) = file::open(name.c_str(), true).map_err(|e| if e == Errno::ACCES { Errno::PERM } else { e })?;
            // SAFETY: overlaps nothing.
            unsafe { memory::map(&fd, HEADER_BYTES as usize, Access::WRITE, Place::Anywhere) }
        })?;
        // SAFETY: a page was just mapped; it is unmapped below, after the last use.
        let header = unsafe { Shared::<Header>::new(at) };
        store_limits(&header, limits);
        // SAFETY: nobody else knows of it.
        let _ = unsafe { memory::unmap(at, HEADER_BYTES as usize) };
        if limits.shm_rmid_forced {
            self.sweep()?;
        }
        Ok(())
    }

    /// Whether the caller may.
    pub(crate) fn may_set_limits(&self) -> bool {
        let name = PathBuffer::new(self.directory(), format_args!("/namespace"));
        file::open(name.c_str(), true).is_ok()
    }

    /// `shm_next_id`.
    pub fn shm_next_id(&self) -> std::result::Result<Option<Id>, Errno> {
        self.next_id(Mechanism::Shm)
    }

    /// Sets `shm_next_id`.
    pub fn set_shm_next_id(&self, id: Option<Id>) -> std::result::Result<(), Errno> {
        self.set_next_id(Mechanism::Shm, id)
    }

    /// `sem_next_id`.
    pub fn sem_next_id(&self) -> std::result::Result<Option<Id>, Errno> {
        self.next_id(Mechanism::Sem)
    }

    /// Sets `sem_next_id`.
    pub fn set_sem_next_id(&self, id: Option<Id>) -> std::result::Result<(), Errno> {
        self.set_next_id(Mechanism::Sem, id)
    }

    /// `msg_next_id`.
    pub fn msg_next_id(&self) -> std::result::Result<Option<Id>, Errno> {
        self.next_id(Mechanism::Msg)
    }

    /// Sets `msg_next_id`.
    pub fn set_msg_next_id(&self, id: Option<Id>) -> std::result::Result<(), Errno> {
        self.set_next_id(Mechanism::Msg, id)
    }

    pub(crate) fn next_id(&self, of: Mechanism) -> std::result::Result<Option<Id>, Errno> {
        Ok(Id::from_raw(self.registry.class(of).next_id.load(Relaxed)).ok())
    }

    pub(crate) fn set_next_id(&self, of: Mechanism, id: Option<Id>) -> std::result::Result<(), Errno> {
        if !self.is_owner() {
            return Err(Errno::PERM);
        }
        self.registry.class(of).next_id.store(id.map_or(-1, Id::raw), Relaxed);
        Ok(())
    }

    pub(crate) fn is_owner(&self) -> bool {
        let euid = credentials::euid();
        euid == 0 || fs::stat(self.path()).is_ok_and(|stat| stat.st_uid == euid) || capable(CapabilitySet::SYS_ADMIN)
    }

    /// Removes the namespace: only what this crate has put there.
    pub fn destroy(&self, force: bool) -> Result<()> {
        let error = |e: Errno| Error::at(e, "remove the namespace", self.path());
        if !self.is_owner() {
            return Err(error(Errno::PERM).why("it belongs to somebody else"));
        }
        let me = self.me_if_joined();
        let others = self.participants().map_err(error)?.len() - usize::from(me.is_some());
        if (others > 0 || !self.attachments.is_empty()) && !force {
            return Err(error(Errno::BUSY)
                .why(format!("{} processes use it", others + usize::from(!self.attachments.is_empty())))
                .remedy("end them first, or force it: they lose their memory's names, not the memory"));
        }
        remove_files(self.path())?;
        hidden::tidy(&own_path(), self.path());
        Ok(())
    }

    /// Removes a namespace that cannot be opened.
    pub fn destroy_damaged(path: &Path) -> Result<()> {
        let error = |e: Errno| Error::at(e, "remove the namespace", path);
        let stat = fs::stat(path).map_err(|e| error(e.into()))?;
        if stat.st_uid != credentials::euid() && !capable(CapabilitySet::SYS_ADMIN) {
            return Err(error(Errno::PERM).why("it belongs to somebody else"));
        }
        if fs::stat(path.join("namespace")).is_err() {
            return Err(error(Errno::NOENT).why("the directory is no namespace"));
        }
        remove_files(path)
    }
}
