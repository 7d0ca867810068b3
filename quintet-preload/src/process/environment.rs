//! The environment of a program that this one executes. The library stays loaded even if a program
//! cleans its environment.
//!
//! When the library is loaded, it records what to keep: its own path, and the variables that it
//! reads. `QUINTET_INHERIT=0` leaves the environment as the program made it. The variable counts in
//! the new program's environment, or, if it is absent there, in this program's.
//!
//! # Safety
//!
//! The lists and strings of the program are read as [`user`] reads them. Unreadable memory ends the
//! reading, and the kernel then reports the error. The new environment lives in a [`scratch`]
//! buffer during the exec.
#![allow(unsafe_code)]

use crate::base::strings::Reader;
use crate::base::{scratch, user};
use crate::log;
use libc::{c_char, c_int, c_void};
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::sync::OnceLock;

/// A list of strings that ends with a null pointer.
pub type Strings = *const *const c_char;

const PRELOAD: &[u8] = b"LD_PRELOAD";
const INHERIT: &[u8] = b"QUINTET_INHERIT";
/// The variables that the library reads.
const KEPT: [&CStr; 4] = [c"QUINTET_NAMESPACE", c"QUINTET_LOG", c"QUINTET_LOG_FILE", c"QUINTET_TRUNCATION"];

/// What an executed program inherits.
struct Inheritance {
    /// The path of the library.
    library: CString,
    /// The variables of [`KEPT`] that this program was given, as `NAME=value`.
    variables: [Option<CString>; KEPT.len()],
    inherit: bool,
}

impl Inheritance {
    /// Returns `true` if the library's file is accessible. In a root directory without it, the
    /// loader would only report an error.
    fn is_accessible(&self) -> bool {
        let accessible = rustix::fs::access(self.library.as_c_str(), rustix::fs::Access::READ_OK).is_ok();
        if !accessible {
            let library = log::Bytes(self.library.to_bytes());
            log::warn(format_args!(
                "cannot read {library} in this root directory; programs that are run from here use the kernel's System V IPC"
            ));
        }
        accessible
    }

    /// Returns `true` if this is the path of the library, or of one that a `quintet run` of another
    /// version has installed.
    fn is_preload_library(&self, library: &[u8]) -> bool {
        let name = library.rsplit(|byte| *byte == b'/').next().unwrap_or(library);
        library == self.library.to_bytes() || name.starts_with(b"libquintet-") && name.ends_with(b".so")
    }
}

static INHERITANCE: OnceLock<Inheritance> = OnceLock::new();

/// Records what to keep.
pub fn at_load() {
    let Some(library) = own_path() else { return };
    let variables = KEPT.map(|name| {
        let value = variable(name)?;
        CString::new([name.to_bytes(), b"=", value.to_bytes()].concat()).ok()
    });
    let inherit = variable(c"QUINTET_INHERIT").is_none_or(|value| value != c"0");
    let _ = INHERITANCE.set(Inheritance { library, variables, inherit });
}

/// Returns the value of a variable that this program was given.
pub fn variable(name: &CStr) -> Option<&CStr> {
    // SAFETY: a NUL-terminated name. No other thread exists yet, and no reference to the value
    // remains.
    unsafe {
        let value = libc::getenv(name.as_ptr());
        (!value.is_null()).then(|| CStr::from_ptr(value))
    }
}

/// Returns the library's path as the loader knows it, or `None` if it is not absolute.
fn own_path() -> Option<CString> {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    let own = (&raw const INHERITANCE).cast::<c_void>();
    // SAFETY: a local of the right type, for which zeroes are valid. The name found is
    // NUL-terminated and remains valid.
    let name = unsafe {
        libc::dladdr(own, info.as_mut_ptr());
        let name = info.assume_init().dli_fname;
        if name.is_null() {
            return None;
        }
        CStr::from_ptr(name)
    };
    name.to_bytes().starts_with(b"/").then(|| name.to_owned())
}

/// What an executed program may inherit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Inherited {
    Everything,
    /// Everything except the library, which its loader cannot load and would fail on.
    NoLibrary,
}

/// The relevant contents of an environment.
#[derive(Default)]
struct Found {
    entries: usize,
    /// The last `LD_PRELOAD`, which the loader uses.
    preload: Option<*const c_char>,
    inherit: Option<bool>,
    kept: [bool; KEPT.len()],
}

/// Reads an environment. Returns `None` if it cannot be read.
fn read_environment(list: Strings) -> Option<Found> {
    let mut found = Found::default();
    if list.is_null() {
        return Some(found);
    }
    let mut program = Reader::new();
    loop {
        let entry = user::read(list.wrapping_add(found.entries)).ok()?;
        if entry.is_null() {
            return Some(found);
        }
        found.entries += 1;
        if program.value(entry, PRELOAD)?.is_some() {
            found.preload = Some(entry);
        } else if let Some(value) = program.value(entry, INHERIT)? {
            found.inherit = Some(!program.is(value, b"0")?);
        } else {
            for (name, kept) in KEPT.iter().zip(&mut found.kept) {
                *kept |= program.value(entry, name.to_bytes())?.is_some();
            }
        }
    }
}

/// The changes to an environment.
struct Plan<'a> {
    found: Found,
    inheritance: Option<&'a Inheritance>,
    preload: Preload,
}

/// The change to `LD_PRELOAD`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Preload {
    Keep,
    /// The library is inserted before the existing entries.
    Insert,
    /// The library is removed.
    Remove,
}

impl Plan<'_> {
    fn new(list: Strings, inherited: Inherited) -> Option<Plan<'static>> {
        let found = read_environment(list)?;
        let inheritance = INHERITANCE.get().filter(|inheritance| found.inherit.unwrap_or(inheritance.inherit));
        let listed = match (INHERITANCE.get(), found.preload) {
            (Some(own), Some(entry)) => Reader::new().lists(value_of(entry), |name| own.is_preload_library(name))?,
            _ => false,
        };
        let preload = match inheritance {
            _ if inherited == Inherited::NoLibrary => {
                if listed {
                    Preload::Remove
                } else {
                    Preload::Keep
                }
            }
            Some(inheritance) if !listed && inheritance.is_accessible() => Preload::Insert,
            _ => Preload::Keep,
        };
        Some(Plan { found, inheritance, preload })
    }

    /// Returns the variables that the environment lacks.
    fn missing(&self) -> impl Iterator<Item = &CStr> {
        let variables = self.inheritance.map(|inheritance| inheritance.variables.as_slice()).unwrap_or_default();
        let all = variables.iter().zip(&self.found.kept).filter(|(_, kept)| !**kept);
        all.filter_map(|(variable, _)| variable.as_deref())
    }

    fn changes_nothing(&self) -> bool {
        self.preload == Preload::Keep && self.missing().next().is_none()
    }
}

/// Returns `true` if programs that are executed in this environment keep the library.
pub fn is_kept(list: Strings) -> bool {
    let Some(inheritance) = INHERITANCE.get() else { return false };
    read_environment(list).and_then(|found| found.inherit).unwrap_or(inheritance.inherit)
}

/// Calls `exec` with this environment and the additions to it. `also` is one more variable.
pub fn with_inherited(list: Strings, inherited: Inherited, also: Option<&CStr>, mut exec: impl FnMut(Strings) -> c_int) -> c_int {
    with_changes(list, inherited, also, &mut exec).unwrap_or_else(|| exec(list))
}

/// As [`with_inherited`] if there is anything to change. Returns `None` if the environment is
/// complete or cannot be read (which the kernel reports), or if there is no memory for a new one.
#[inline(never)]
fn with_changes(
    list: Strings,
    inherited: Inherited,
    also: Option<&CStr>,
    exec: &mut dyn FnMut(Strings) -> c_int,
) -> Option<c_int> {
    let plan = Plan::new(list, inherited)?;
    if plan.changes_nothing() && also.is_none() {
        return None;
    }
    let most = plan.found.entries + KEPT.len() + 3;
    with_preload(&plan, |preload| {
        let preload = preload.map(|entry| entry.as_ptr().cast());
        scratch::with(most, |slots| {
            let mut end = 0;
            let mut push = |entry| {
                slots[end].write(entry);
                end += 1;
            };
            let added = preload.into_iter().chain(plan.missing().chain(also).map(CStr::as_ptr));
            added.for_each(&mut push);
            let mut program = Reader::new();
            for index in 0..plan.found.entries {
                let entry = user::read(list.wrapping_add(index)).ok()?;
                if plan.preload == Preload::Keep || !matches!(program.value(entry, PRELOAD), Some(Some(_))) {
                    push(entry);
                }
            }
            push(std::ptr::null());
            Some(exec(slots.as_ptr().cast()))
        })
    })??
}

/// Returns the value of an `LD_PRELOAD` entry.
fn value_of(entry: *const c_char) -> *const c_char {
    entry.wrapping_add(PRELOAD.len() + 1)
}

/// Calls `body` with the new `LD_PRELOAD` entry, which ends with a NUL, or with `None` if there is
/// no such entry.
fn with_preload<R>(plan: &Plan, body: impl FnOnce(Option<&[u8]>) -> R) -> Option<R> {
    let Some(inheritance) = INHERITANCE.get().filter(|_| plan.preload != Preload::Keep) else { return Some(body(None)) };
    let existing = match plan.found.preload {
        Some(entry) => {
            let len = Reader::new().len(value_of(entry))?;
            // SAFETY: this many bytes were just read there.
            unsafe { std::slice::from_raw_parts(value_of(entry).cast::<u8>(), len) }
        }
        None => &[],
    };
    let library = inheritance.library.to_bytes();
    let most = PRELOAD.len() + 1 + library.len() + 1 + existing.len() + 1;
    scratch::with(most, |slots| {
        slots.fill(MaybeUninit::new(0));
        // SAFETY: the whole buffer was just written.
        let slots = unsafe { std::slice::from_raw_parts_mut(slots.as_mut_ptr().cast::<u8>(), most) };
        let mut end = 0;
        let mut add = |bytes: &[u8]| {
            for (slot, byte) in slots[end..].iter_mut().zip(bytes) {
                *slot = *byte;
            }
            end += bytes.len();
            end
        };
        add(PRELOAD);
        let name = add(b"=");
        if plan.preload == Preload::Insert {
            add(library);
            if !existing.is_empty() {
                add(b":");
                add(existing);
            }
        } else {
            let others =
                existing.split(|byte| matches!(byte, b' ' | b':')).filter(|other| !inheritance.is_preload_library(other));
            for (index, other) in others.enumerate() {
                if index > 0 {
                    add(b":");
                }
                add(other);
            }
        }
        if add(b"") == name {
            return body(None);
        }
        let len = add(b"\0");
        body(slots.get(..len))
    })
}

/// Returns `export` commands for a shell that restore what `environ` has lost. Returns `None` if it
/// lacks nothing. system(3) and popen(3) use the commands, because they take no environment.
pub fn exports(list: Strings) -> Option<Vec<u8>> {
    let plan = Plan::new(list, Inherited::Everything)?;
    if plan.changes_nothing() {
        return None;
    }
    let mut commands = Vec::new();
    with_preload(&plan, |preload| {
        if let Some((_nul, entry)) = preload.and_then(<[u8]>::split_last) {
            export(entry, &mut commands);
        }
    })?;
    plan.missing().for_each(|variable| export(variable.to_bytes(), &mut commands));
    Some(commands)
}

/// Appends `NAME=value` as a command that a shell takes literally.
fn export(variable: &[u8], commands: &mut Vec<u8>) {
    let end = variable.iter().position(|b| *b == b'=').map_or(variable.len(), |at| at + 1);
    let (name, value) = variable.split_at(end);
    commands.extend_from_slice(b"export ");
    commands.extend_from_slice(name);
    commands.push(b'\'');
    for byte in value {
        match byte {
            b'\'' => commands.extend_from_slice(b"'\\''"),
            byte => commands.push(*byte),
        }
    }
    commands.extend_from_slice(b"'; ");
}
