//! Opening and creating a namespace.
//!
//! # Safety
//!
//! The header and the registry are mapped whole, from files that have their size, and stay mapped.
#![allow(unsafe_code)]

use crate::backend::directory::Directory;
use crate::backend::directory::files::{create_files, create_hint, damaged, explain_create, explain_open, kind_name, set_modes};
use crate::backend::directory::memory::DirectoryMemory;
use crate::layout::{self, HEADER_BYTES, Header, REGISTRY_BYTES, Registry, Shared, Validity};
use crate::msg::mapping::Queues;
use crate::object::core::Core;
use crate::object::hints::Hints;
use crate::process::fork::{self, Inside, Registered};
use crate::process::namespace_path::NamespacePath;
use crate::process::participants::Participants;
use crate::sem::mapping::Sets;
use crate::shm::mapping::Segments;
use crate::sys::memory::{self, Access, Place};
use crate::sys::path_buffer::PathBuffer;
use crate::sys::signal::Blocked;
use crate::sys::{fd_thread, file};
use crate::types::error::{Errno, Error, Result};
use crate::types::kind::Kind;
use rustix::fs::{self, FileType, Mode};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

/// Holds the lock of the open namespaces, so that a process opens each directory once.
///
/// Forks wait meanwhile, because a child would inherit the lock and never release it. Signals are
/// blocked, so that no handler waits for a lock of its own thread.
struct Opening {
    opened: MutexGuard<'static, Vec<&'static Directory>>,
    _signals: Blocked,
    _inside: Inside,
}

impl Opening {
    fn begin() -> Opening {
        /// The open namespaces of this process.
        static OPENED: Mutex<Vec<&'static Directory>> = Mutex::new(Vec::new());
        let (inside, signals) = (Inside::enter(), Blocked::all());
        let opened = OPENED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        Opening { opened, _signals: signals, _inside: inside }
    }
}

impl Directory {
    /// Opens an existing namespace.
    pub fn open(path: &Path) -> Result<&'static Directory> {
        fd_thread::run(|| Directory::open_inner(path))
    }

    fn open_inner(path: &Path) -> Result<&'static Directory> {
        let real = path.canonicalize().map_err(|e| {
            let errno = Errno::from_raw(e.raw_os_error().unwrap_or(libc::ENOENT));
            let error = Error::at(errno, "open the namespace", path);
            match errno {
                Errno::NOENT => error.hint(create_hint(path)),
                _ => error,
            }
        })?;
        let mut opening = Opening::begin();
        Directory::open_real(real, &mut opening)
    }

    fn open_real(path: PathBuf, opening: &mut Opening) -> Result<&'static Directory> {
        let directory = path.as_os_str().as_bytes().to_vec();
        if directory.len() > PathBuffer::LONGEST_DIRECTORY || directory.contains(&0) {
            return Err(Error::at(Errno::NAMETOOLONG, "open the namespace", &path).hint("choose a shorter path"));
        }
        let stat = fs::stat(&path).map_err(|e| explain_open(e.into(), &path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(Error::at(Errno::NOTDIR, "open the namespace", &path)
                .reason("it is not a directory")
                .hint("choose another path"));
        }
        let header_name = PathBuffer::new(&directory, format_args!("/namespace"));
        let (fd, stat) = file::open(header_name.c_str(), false).map_err(|e| explain_open(e, &path))?;
        let identity = (stat.st_dev as u64, stat.st_ino as u64);
        if let Some(known) = opening.opened.iter().find(|known| known.core.identity == identity && known.path() == path) {
            return Ok(known);
        }
        if stat.st_size as u64 != HEADER_BYTES {
            return Err(damaged(&path, "namespace"));
        }
        // SAFETY: `Place::Anywhere` replaces no mapping.
        let at = unsafe { memory::map(&fd, HEADER_BYTES as usize, Access::READ, Place::Anywhere) }
            .map_err(|e| Error::at(e, "map", &path))?;
        // SAFETY: the header was mapped whole. It is only unmapped after an error, and not used
        // then.
        let header = unsafe { Shared::<Header>::new(at) };
        let (kind, registry) = Directory::check_header(&header, &path)
            .and_then(|kind| Ok((kind, Directory::open_registry(&directory, &path)?)))
            .inspect_err(|_| {
                // SAFETY: this call mapped it, and does not use it any more.
                let _ = unsafe { memory::unmap(at, HEADER_BYTES as usize) };
            })?;
        let tables = |e| Error::at(e, "map the tables for", &path);
        let memory = DirectoryMemory::get().map_err(tables)?;
        let hints = Hints::new().map_err(tables)?;
        let participants = Participants::new(registry, NamespacePath::new(&directory));
        let core = memory.set_core(Core::new(participants, header, kind, identity, hints));
        let directory = memory.set_directory(Directory {
            core,
            segments: Segments::new(core, &memory.attachments, &memory.segments).map_err(tables)?,
            sets: Sets::new(core, &memory.sets, &memory.with_undo, &memory.undo_noted).map_err(tables)?,
            queues: Queues::new(core, &memory.queues).map_err(tables)?,
            node: Registered::new(),
        });
        core.set_classes([&directory.segments, &directory.sets, &directory.queues]);
        core.participants.set_reaper(&directory.segments);
        fork::register(&directory.node, directory);
        opening.opened.push(directory);
        Ok(directory)
    }

    fn check_header(header: &Header, path: &Path) -> Result<Kind> {
        match header.validity() {
            Validity::Good { shared: false } => Ok(Kind::Private),
            Validity::Good { shared: true } => Ok(Kind::Shared),
            Validity::Damaged => Err(damaged(path, "namespace")),
            Validity::OtherVersion(version) => Err(Error::at(Errno::PROTONOSUPPORT, "open the namespace", path)
                .reason(format!("it has layout version {version}, and this program knows version {}", layout::VERSION))
                .hint("use the programs of its version, or another directory")),
        }
    }

    fn open_registry(directory: &[u8], path: &Path) -> Result<Shared<Registry>> {
        let name = PathBuffer::new(directory, format_args!("/registry"));
        let (fd, stat) = file::open(name.c_str(), true).map_err(|e| explain_open(e, path))?;
        if stat.st_size as u64 != REGISTRY_BYTES {
            return Err(damaged(path, "registry"));
        }
        // SAFETY: `Place::Anywhere` replaces no mapping.
        let at = unsafe { memory::map(&fd, REGISTRY_BYTES as usize, Access::WRITE, Place::Anywhere) }
            .map_err(|e| Error::at(e, "map", path))?;
        // SAFETY: the registry was mapped whole. It is only unmapped if it is invalid.
        let registry = unsafe { Shared::<Registry>::new(at) };
        if !registry.is_valid() {
            // SAFETY: this call mapped it, and no other thread knows the address.
            let _ = unsafe { memory::unmap(at, REGISTRY_BYTES as usize) };
            return Err(damaged(path, "registry"));
        }
        Ok(registry)
    }

    /// Creates a namespace, or opens an existing one of this kind.
    ///
    /// Several processes may call this at once. Each file gets its name when it is complete, the
    /// header last. A process that comes second uses the files of the first.
    pub fn create(path: &Path, kind: Kind) -> Result<&'static Directory> {
        fd_thread::run(|| Directory::create_inner(path, kind))
    }

    fn create_inner(path: &Path, kind: Kind) -> Result<&'static Directory> {
        let error = |e: Errno| Error::at(e, "create the namespace", path);
        let created_directory = fs::mkdir(path, Mode::RWXU);
        match created_directory {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(rustix::io::Errno::NOENT) => {
                return Err(error(Errno::NOENT)
                    .reason("its parent directory does not exist")
                    .hint("create the parent directory first"));
            }
            Err(e) => return Err(explain_create(e.into(), path)),
        }
        let real = path.canonicalize().map_err(|e| match Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)) {
            Errno::NOENT => error(Errno::NOENT).reason("it is a symbolic link to a missing file").hint("choose another path"),
            other => error(other),
        })?;
        let mut opening = Opening::begin();
        let created = fs::stat(real.join("namespace")).is_err();
        if created {
            create_files(&real, kind).inspect_err(|_| {
                // Removes the directory if this call created it and it is empty.
                if created_directory.is_ok() {
                    let _ = fs::rmdir(&real);
                }
            })?;
        }
        let directory = Directory::open_real(real, &mut opening)?;
        if created {
            // Another process may have created the files at the same time for the other kind.
            set_modes(directory.path(), directory.kind()).map_err(|e| explain_create(e, path))?;
        }
        if directory.kind() != kind {
            return Err(error(Errno::EXIST)
                .reason(format!("a {} namespace exists there", kind_name(directory.kind())))
                .hint(format!("use it as a {0} namespace, or choose another path", kind_name(directory.kind()))));
        }
        Ok(directory)
    }
}
