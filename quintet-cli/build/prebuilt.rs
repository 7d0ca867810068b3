//! Checks a drop-in that was built elsewhere, before build.rs embeds it.

/// `e_type` of a shared object.
const ET_DYN: u16 = 3;

/// The ELF machine numbers (`e_machine`) of the targets that Quintet compiles for.
const MACHINES: [(&str, u16); 2] = [("x86_64", 62), ("aarch64", 183)];

/// Names that the dynamic symbol table of every drop-in has.
const EXPORTS: [&str; 3] = ["shmget", "semop", "msgsnd"];

/// Returns an error that says why `library` cannot be the drop-in of this target.
///
/// `arch` and `env` are the target's `target_arch` and `target_env`.
pub fn check(library: &[u8], arch: &str, env: &str) -> Result<(), String> {
    let Some(header) = library.get(..64).filter(|header| header.starts_with(b"\x7fELF")) else {
        return Err("it is not an ELF file".to_owned());
    };
    // ELFCLASS64 and ELFDATA2LSB, as on all targets of MACHINES.
    if header[4..6] != [2, 1] {
        return Err("it is not a 64-bit little-endian ELF file".to_owned());
    }
    let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    if half(16) != ET_DYN {
        return Err("it is not a shared object".to_owned());
    }
    if let Some((_, machine)) = MACHINES.iter().find(|(name, _)| *name == arch)
        && half(18) != *machine
    {
        return Err(format!("it is for another machine (ELF machine {}, and {arch} is {machine})", half(18)));
    }
    // A position-independent program is of type ET_DYN, too, and exports none of these.
    if let Some(missing) = EXPORTS.iter().find(|name| !has_string(library, name)) {
        return Err(format!("it does not export {missing}"));
    }
    // The C library of glibc systems. A process cannot have two C libraries.
    match (env, has_string(library, "libc.so.6")) {
        ("gnu", false) => Err("it does not use glibc".to_owned()),
        ("musl", true) => Err("it uses glibc, and the target uses musl".to_owned()),
        _ => Ok(()),
    }
}

/// Returns `true` if the file contains `name` as an entry of a string table.
fn has_string(library: &[u8], name: &str) -> bool {
    let entry = [b"\0", name.as_bytes(), b"\0"].concat();
    library.windows(entry.len()).any(|window| window == entry)
}
