//! The agent's address space: where segments are attached, and which access is possible.

use crate::{Answer, c, number};
use conformance::PAD;

/// The length of the pad.
const PAD_LEN: usize = 64 * 4096;

/// Maps the pad as inaccessible memory.
pub fn reserve_pad() {
    c::map(PAD.0, PAD_LEN, libc::PROT_NONE, true).expect("the pad is free at the start");
}

/// Returns the address of an attachment and its relation to the requested address.
pub fn attached(wanted: usize, at: usize) -> String {
    let page = rustix::param::page_size();
    let relation = match at {
        _ if !at.is_multiple_of(page) => "unaligned",
        _ if wanted == 0 => "chosen",
        _ if at == wanted => "exact",
        _ if at == wanted - wanted % page => "rounded",
        _ => "elsewhere",
    };
    format!("{at} {relation}")
}

/// Executes `verb` if it is about memory.
pub fn perform(verb: &str, args: &[&str]) -> Option<Answer> {
    let at = |i: usize| number::<usize>(args[i]);
    let done = |()| String::new();
    Some(match verb {
        "reserve" => c::map(0, number(args[0]), number(args[1]), false).map(|a| a.to_string()),
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
        "break" => Ok(c::program_break().to_string()),
        _ => return None,
    })
}

/// Returns the access that the process has at an address: `none`, `read` or `write`.
fn probe(address: usize) -> &'static str {
    match c::peek(address) {
        Err(_) => "none",
        Ok(byte) if c::poke(address, byte).is_err() => "read",
        Ok(_) => "write",
    }
}

/// Returns the permissions that `/proc/self/maps` shows at an address, or `unmapped`.
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
