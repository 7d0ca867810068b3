//! The environment of a program that this one executes: the drop-in stays in, also where a program cleans its environment.
//!
//! What is kept is noted when the drop-in is loaded: the library's own path, and the variables that it reads. `QUINTET_INHERIT=0`, in the
//! new program's environment or, where that says nothing, in this one's, leaves all as the program made it.
//!
//! # Safety
//!
//! The lists and strings of the program are read as [`user`] reads: whatever is not there ends the reading, and the kernel says what is wrong. What is
//! made lives ([`scratch`]) while the exec is tried.
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
/// The variables that the drop-in reads.
const KEPT: [&CStr; 4] = [c"QUINTET_NAMESPACE", c"QUINTET_LOG", c"QUINTET_LOG_FILE", c"QUINTET_TRUNCATION"];

/// What a program that is executed is to have.
struct Heritage {
    /// The drop-in's file.
    library: CString,
    /// The variables of [`KEPT`] that this program was given: `NAME=value`.
    variables: [Option<CString>; KEPT.len()],
    inherit: bool,
}

impl Heritage {
    /// Whether its file is to be seen: in a root directory where it is not, the loader would only complain.
    fn can_be_loaded(&self) -> bool {
        let seen = rustix::fs::access(self.library.as_c_str(), rustix::fs::Access::READ_OK).is_ok();
        if !seen {
            let library = log::Bytes(self.library.to_bytes());
            log::warn(format_args!("{library} is not to be seen from here, so the programs that are run now are not carried"));
        }
        seen
    }

    /// Whether a library is the drop-in: this one, or the one that a `quintet run` of another version has installed.
    fn is_drop_in(&self, library: &[u8]) -> bool {
        let name = library.rsplit(|byte| *byte == b'/').next().unwrap_or(library);
        library == self.library.to_bytes() || name.starts_with(b"libquintet-") && name.ends_with(b".so")
    }
}

static HERITAGE: OnceLock<Heritage> = OnceLock::new();

/// Notes what is to be kept.
pub fn at_load() {
    let Some(library) = own_path() else { return };
    let variables = KEPT.map(|name| {
        let value = variable(name)?;
        CString::new([name.to_bytes(), b"=", value.to_bytes()].concat()).ok()
    });
    let inherit = variable(c"QUINTET_INHERIT").is_none_or(|value| value != c"0");
    let _ = HERITAGE.set(Heritage { library, variables, inherit });
}

/// A variable that this program was given.
pub fn variable(name: &CStr) -> Option<&CStr> {
    // SAFETY: a NUL-terminated name. No other thread is there yet, and nobody keeps the value.
    unsafe {
        let value = libc::getenv(name.as_ptr());
        (!value.is_null()).then(|| CStr::from_ptr(value))
    }
}

/// The drop-in's file, as the loader was told of it. `None`: it was not by a whole path.
fn own_path() -> Option<CString> {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    let own = (&raw const HERITAGE).cast::<c_void>();
    // SAFETY: a local of the right type, for which zeroes are valid; the name that is found is NUL-terminated and stays.
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

/// What a program that is executed gets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Inherited {
    Everything,
    /// All but the library's name, of which its loader would die.
    NoLibrary,
}

/// What an environment has of what matters here.
#[derive(Default)]
struct Found {
    entries: usize,
    /// The last one counts, as for the loader.
    preload: Option<*const c_char>,
    inherit: Option<bool>,
    kept: [bool; KEPT.len()],
}

/// Looks through an environment. `None`: it cannot be read.
fn look_through(list: Strings) -> Option<Found> {
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

/// What is to be done with an environment, if anything.
struct Plan<'a> {
    found: Found,
    heritage: Option<&'a Heritage>,
    preload: Preload,
}

/// What becomes of `LD_PRELOAD`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Preload {
    Stays,
    /// The library comes before what is there.
    Gets,
    /// The library is taken out.
    Loses,
}

impl Plan<'_> {
    fn new(list: Strings, inherited: Inherited) -> Option<Plan<'static>> {
        let found = look_through(list)?;
        let heritage = HERITAGE.get().filter(|heritage| found.inherit.unwrap_or(heritage.inherit));
        let named = match (HERITAGE.get(), found.preload) {
            (Some(own), Some(entry)) => Reader::new().lists(value_of(entry), |name| own.is_drop_in(name))?,
            _ => false,
        };
        let preload = match heritage {
            _ if inherited == Inherited::NoLibrary => {
                if named {
                    Preload::Loses
                } else {
                    Preload::Stays
                }
            }
            Some(heritage) if !named && heritage.can_be_loaded() => Preload::Gets,
            _ => Preload::Stays,
        };
        Some(Plan { found, heritage, preload })
    }

    /// The variables that are missing.
    fn missing(&self) -> impl Iterator<Item = &CStr> {
        let variables = self.heritage.map(|heritage| heritage.variables.as_slice()).unwrap_or_default();
        let all = variables.iter().zip(&self.found.kept).filter(|(_, kept)| !**kept);
        all.filter_map(|(variable, _)| variable.as_deref())
    }

    fn changes_nothing(&self) -> bool {
        self.preload == Preload::Stays && self.missing().next().is_none()
    }
}

/// Whether what a program in this environment executes is to be carried.
pub fn is_kept(list: Strings) -> bool {
    let Some(heritage) = HERITAGE.get() else { return false };
    look_through(list).and_then(|found| found.inherit).unwrap_or(heritage.inherit)
}

/// Calls `exec` with this environment and what is to be added to it. `also`: a further variable.
pub fn with_heritage(list: Strings, inherited: Inherited, also: Option<&CStr>, mut exec: impl FnMut(Strings) -> c_int) -> c_int {
    with_changes(list, inherited, also, &mut exec).unwrap_or_else(|| exec(list))
}

/// The same, if there is something to be changed. `None`: it stays as it is, because it is complete, or cannot be read (which the kernel says), or there
/// is no room for another one.
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
                if plan.preload == Preload::Stays || !matches!(program.value(entry, PRELOAD), Some(Some(_))) {
                    push(entry);
                }
            }
            push(std::ptr::null());
            Some(exec(slots.as_ptr().cast()))
        })
    })??
}

/// The value of an `LD_PRELOAD`.
fn value_of(entry: *const c_char) -> *const c_char {
    entry.wrapping_add(PRELOAD.len() + 1)
}

/// Calls `body` with `LD_PRELOAD` with ours first, or without it, and a NUL behind it; `None`: none is to be added.
fn with_preload<R>(plan: &Plan, body: impl FnOnce(Option<&[u8]>) -> R) -> Option<R> {
    let Some(heritage) = HERITAGE.get().filter(|_| plan.preload != Preload::Stays) else { return Some(body(None)) };
    let theirs = match plan.found.preload {
        Some(entry) => {
            let len = Reader::new().len(value_of(entry))?;
            // SAFETY: so many bytes were just found there.
            unsafe { std::slice::from_raw_parts(value_of(entry).cast::<u8>(), len) }
        }
        None => &[],
    };
    let ours = heritage.library.to_bytes();
    let most = PRELOAD.len() + 1 + ours.len() + 1 + theirs.len() + 1;
    scratch::with(most, |slots| {
        slots.fill(MaybeUninit::new(0));
        // SAFETY: all of it was just written.
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
        if plan.preload == Preload::Gets {
            add(ours);
            if !theirs.is_empty() {
                add(b":");
                add(theirs);
            }
        } else {
            let others = theirs.split(|byte| matches!(byte, b' ' | b':')).filter(|other| !heritage.is_drop_in(other));
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

/// What a shell is to do first where `environ` has lost what is to be kept: `export` commands, for system(3) and popen(3), which take no
/// environment. `None`: nothing.
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

/// `NAME=value` as a command that a shell takes literally.
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
