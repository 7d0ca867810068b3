//! ELF programs: can their loader load the drop-in?

use crate::Refusal;
use crate::file::{ProgramFile, in_terminal};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The first bytes of every ELF file.
pub const MAGIC: &[u8] = b"\x7fELF";

const PT_INTERP: u32 = 3;

/// The properties that decide: the machine, and the loader.
#[derive(PartialEq, Eq, Debug)]
struct Elf {
    machine: Machine,
    /// `PT_INTERP`; `None` for a static program.
    loader: Option<PathBuf>,
}

/// Class (32 or 64 bits), byte order and instruction set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Machine {
    class: u8,
    order: u8,
    number: u16,
}

/// Refuses a program that cannot load the drop-in.
pub fn check(file: &ProgramFile, path: &Path) -> Result<(), Refusal> {
    let elf = parse(&|offset, bytes| file.read(offset, bytes)).ok_or_else(|| Refusal::new("its ELF header is damaged"))?;
    if elf.machine != Machine::OURS {
        let (theirs, ours) = (elf.machine.name(), Machine::OURS.name());
        return Err(Refusal::bypassed(format!("it is for {theirs}, and this quintet is for {ours}"))
            .remedy("use a build of quintet for that machine"));
    }
    match elf.loader {
        Some(loader) => same_libc(&loader),
        // The loader as a program has no loader itself, and honours LD_PRELOAD.
        None if is_loader(path) => Ok(()),
        None => Err(Refusal::bypassed("it is statically linked, so it cannot load the drop-in")
            .remedy("use a dynamically linked build of the program")),
    }
}

/// Returns the loader that a program names.
pub fn loader(file: &ProgramFile) -> Option<PathBuf> {
    parse(&|offset, bytes| file.read(offset, bytes))?.loader
}

fn same_libc(loader: &Path) -> Result<(), Refusal> {
    let name = loader.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let libc = if name.starts_with("ld-musl") {
        "musl"
    } else if name.starts_with("ld-linux") || name.starts_with("ld64.so") || name.starts_with("ld.so") {
        "gnu"
    } else {
        ""
    };
    let ours = if cfg!(target_env = "musl") { "musl" } else { "gnu" };
    if libc == ours && rustix::fs::stat(loader).is_err() {
        return Err(Refusal::new(format!("its loader {} is not installed", in_terminal(loader))));
    }
    if libc == ours {
        return Ok(());
    }
    let theirs = match libc {
        "musl" => "musl".to_owned(),
        "gnu" => "glibc".to_owned(),
        _ => format!("the C library of {}", in_terminal(Path::new(&name))),
    };
    let ours = if ours == "gnu" { "glibc" } else { ours };
    Err(Refusal::hindered(format!("it uses {theirs}, and this quintet has a drop-in for {ours}"))
        .remedy("use a build of quintet for that C library"))
}

/// Returns `true` for the loader, and for valgrind's tools, which load programs as it does.
fn is_loader(path: &Path) -> bool {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let named = |name: &std::ffi::OsStr| name.as_bytes().starts_with(b"ld-") || name.as_bytes().starts_with(b"ld.so");
    path.file_name().is_some_and(named) || path.parent().is_some_and(|directory| directory.ends_with("valgrind"))
}

/// Reads `bytes` at an offset. Returns `None` if the file is too short.
type Reader<'a> = dyn Fn(u64, &mut [u8]) -> Option<()> + 'a;

fn machine(read: &Reader) -> Option<Machine> {
    let mut head = [0; 20];
    read(0, &mut head)?;
    let known = head.starts_with(MAGIC) && matches!(head[4], 1 | 2) && matches!(head[5], 1 | 2);
    known.then(|| Machine { class: head[4], order: head[5], number: number(&head[18..20], head[5]) as u16 })
}

fn parse(read: &Reader) -> Option<Elf> {
    let machine = machine(read)?;
    let wide = machine.class == 2;
    let field = |offset: u64, len: usize| {
        let mut bytes = [0; 8];
        read(offset, &mut bytes[..len])?;
        Some(number(&bytes[..len], machine.order))
    };
    let (table, entry_size, entries) =
        if wide { (field(32, 8)?, field(54, 2)?, field(56, 2)?) } else { (field(28, 4)?, field(42, 2)?, field(44, 2)?) };
    for i in 0..entries {
        let entry = table.checked_add(i * entry_size)?;
        if field(entry, 4)? as u32 != PT_INTERP {
            continue;
        }
        let (offset, len) = if wide {
            (field(entry.checked_add(8)?, 8)?, field(entry.checked_add(32)?, 8)?)
        } else {
            (field(entry.checked_add(4)?, 4)?, field(entry.checked_add(16)?, 4)?)
        };
        let mut name = vec![0; usize::try_from(len).ok().filter(|len| (2..=4096).contains(len))?];
        read(offset, &mut name)?;
        let end = name.iter().position(|b| *b == 0)?;
        return Some(Elf { machine, loader: Some(PathBuf::from(std::ffi::OsStr::from_bytes(&name[..end]))) });
    }
    Some(Elf { machine, loader: None })
}

/// Decodes an unsigned number. Order 1 is little-endian, 2 is big-endian.
fn number(bytes: &[u8], order: u8) -> u64 {
    let push = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    if order == 1 { bytes.iter().rev().fold(0, push) } else { bytes.iter().fold(0, push) }
}

impl Machine {
    const OURS: Machine = Machine {
        class: if cfg!(target_pointer_width = "64") { 2 } else { 1 },
        order: if cfg!(target_endian = "little") { 1 } else { 2 },
        number: if cfg!(target_arch = "x86_64") {
            62
        } else if cfg!(target_arch = "aarch64") {
            183
        } else if cfg!(target_arch = "x86") {
            3
        } else if cfg!(target_arch = "arm") {
            40
        } else if cfg!(any(target_arch = "riscv32", target_arch = "riscv64")) {
            243
        } else if cfg!(target_arch = "loongarch64") {
            258
        } else if cfg!(target_arch = "s390x") {
            22
        } else if cfg!(target_arch = "powerpc64") {
            21
        } else if cfg!(target_arch = "powerpc") {
            20
        } else {
            8
        },
    };

    fn name(self) -> String {
        let bits = if self.class == 2 { 64 } else { 32 };
        let name = match self.number {
            3 => "x86",
            8 => "MIPS",
            20 | 21 => "PowerPC",
            22 => "S/390",
            40 => "ARM",
            62 => "x86-64",
            183 => "AArch64",
            243 => "RISC-V",
            258 => "LoongArch",
            other => return format!("machine {other} ({bits} bits)"),
        };
        format!("{name} ({bits} bits)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::from_slice;

    fn parse_slice(file: &[u8]) -> Option<Elf> {
        parse(&|offset, bytes| from_slice(file, offset, bytes))
    }

    #[test]
    fn reads_this_program() {
        let elf = parse_slice(&std::fs::read("/proc/self/exe").unwrap()).unwrap();
        assert!(elf.loader.is_some_and(|loader| loader.exists()));
        assert_eq!(elf.machine, Machine::OURS);
    }

    #[test]
    fn survives_damaged_headers() {
        let file = std::fs::read("/proc/self/exe").unwrap();
        for len in 0..1200 {
            parse_slice(&file[..len]);
        }
        for at in 0..1200 {
            for value in [0, 0x7f, 0xff] {
                let mut damaged = file[..2000].to_vec();
                damaged[at] = value;
                parse_slice(&damaged);
            }
        }
    }
}
