//! The agent's address space: where segments are attached, and what may be done there.
//!
//! Addresses are spoken of as `0`, a number, `hN` (the N-th attachment or reservation), `pad` (a place that the
//! system gives to nobody unasked) and either of these `+N` bytes.

use crate::{Answer, c, number};

/// A place far from where the system puts mappings that have no wish of their own.
pub const PAD: usize = 0x20_0000_0000;
/// Its length.
const PAD_LEN: usize = 64 * 4096;

/// Occupies the pad with memory that may not be accessed.
pub fn reserve_pad() {
    c::map(PAD, PAD_LEN, libc::PROT_NONE, true).expect("the pad is free at the start");
}

/// The addresses that the agent has been given, by number.
#[derive(Default)]
pub struct Handles(Vec<usize>);

impl Handles {
    /// The address of a word.
    pub fn address(&self, word: &str) -> usize {
        let (base, offset) = word.split_once('+').unwrap_or((word, "0"));
        let base = match base.strip_prefix('h') {
            Some(handle) => self.0[number::<usize>(handle)],
            None if base == "pad" => PAD,
            None => number(base),
        };
        base.wrapping_add(number(offset))
    }

    fn keep(&mut self, address: usize) -> usize {
        self.0.push(address);
        self.0.len() - 1
    }

    /// Keeps the address of an attachment, and says how it relates to the one that was wanted.
    pub fn attached(&mut self, wanted: usize, at: usize) -> String {
        let page = rustix::param::page_size();
        let relation = match at {
            _ if !at.is_multiple_of(page) => "unaligned",
            _ if wanted == 0 => "chosen",
            _ if at == wanted => "exact",
            _ if at == wanted - wanted % page => "rounded",
            _ => "elsewhere",
        };
        format!("{} {relation}", self.keep(at))
    }
}

/// Performs `verb` if it is about memory.
pub fn perform(handles: &mut Handles, verb: &str, args: &[&str]) -> Option<Answer> {
    let at = |i: usize| handles.address(args[i]);
    let done = |()| String::new();
    Some(match verb {
        "reserve" => c::map(0, number(args[0]), number(args[1]), false).map(|a| handles.keep(a).to_string()),
        "mprotect" => c::protect(at(0), number(args[1]), number(args[2])).map(done),
        "munmap" => c::unmap(at(0), number(args[1])).map(done),
        "peek" => c::peek(at(0)).map(|b| b.to_string()),
        "poke" => c::poke(at(0), number(args[1])).map(done),
        "store" => {
            c::store(at(0), number(args[1]));
            Ok(String::new())
        }
        "probe" => Ok(probe(at(0)).to_owned()),
        "protection" => protection(at(0)),
        "same" => Ok((at(0) == at(1)).to_string()),
        "break" => Ok(c::program_break().to_string()),
        _ => return None,
    })
}

/// `none`, `read` or `write`: what the process may do at an address, found out without dying.
fn probe(address: usize) -> &'static str {
    match c::peek(address) {
        Err(_) => "none",
        Ok(byte) if c::poke(address, byte).is_err() => "read",
        Ok(_) => "write",
    }
}

/// The permissions column of `/proc/self/maps` at an address, `unmapped` if there is nothing.
fn protection(address: usize) -> Answer {
    let maps = std::fs::read_to_string("/proc/self/maps").map_err(|e| e.raw_os_error().unwrap_or(libc::EIO))?;
    let found = maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        (start..end).contains(&address).then(|| rest.split(' ').next().unwrap_or_default().to_owned())
    });
    Ok(found.unwrap_or_else(|| "unmapped".to_owned()))
}
