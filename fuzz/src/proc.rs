//! What may be written to the files of `/proc`.

use crate::input::Input;
use quintet::drop_in::{self, ProcFile};
use quintet::{Errno, Kind, Limits, Namespace};
use std::path::Path;

/// A namespace in `parent`, that of the drop-in in this process.
pub fn default_namespace(parent: &Path) -> Namespace {
    let path = parent.join("namespace");
    let ns = Namespace::create(&path, Kind::Private).expect("a namespace can be made there");
    #[allow(unsafe_code)]
    // SAFETY: nobody else in this process looks at or changes its environment meanwhile.
    unsafe {
        std::env::set_var("QUINTET_NAMESPACE", path);
    }
    ns
}

/// Writes, each of up to 63 bytes, or many blanks and a few bytes.
pub fn run(ns: &Namespace, data: &[u8]) {
    let mut input = Input(data);
    let reset = [ns.set_limits(&Limits::DEFAULT), ns.set_shm_next_id(None), ns.set_sem_next_id(None), ns.set_msg_next_id(None)];
    assert_eq!(reset, [Ok(()); 4]);
    while let Some(which) = input.first() {
        let file = ProcFile::ALL[usize::from(which) % ProcFile::ALL.len()];
        let len = input.byte();
        let mut text = vec![b' '; if len & 0xc0 == 0xc0 { 4080 } else { 0 }];
        text.extend_from_slice(input.bytes(usize::from(len & 0x3f)));
        write(ns, file, &text);
    }
}

fn write(ns: &Namespace, file: ProcFile, text: &[u8]) {
    let before = (ns.limits(), drop_in::proc_text(file));
    let written = drop_in::proc_write(file, text);
    let said = drop_in::proc_text(file).expect("it can be read");
    match written {
        Ok(taken) => assert!(taken <= text.len() && (taken > 0 || text.is_empty()), "{file:?} has taken {taken}"),
        Err(e) => {
            let known = [Errno::INVAL, Errno::RANGE, Errno::IO, Errno::PERM].contains(&e);
            assert!(known, "{file:?} says {e}");
            // Of several numbers those before a mistake are set.
            assert!(file == ProcFile::Sem || before == (ns.limits(), Ok(said.clone())), "{file:?} was refused and is changed");
        }
    }
    // What it says may be written to it, whole, and changes nothing; but that nothing is asked for cannot be written.
    if !matches!(file, ProcFile::List(_)) && said != "-1\n" {
        let limits = ns.limits();
        assert_eq!(drop_in::proc_write(file, said.as_bytes()), Ok(said.len()), "{file:?}: {said:?}");
        assert_eq!((ns.limits(), drop_in::proc_text(file)), (limits, Ok(said)), "{file:?}");
    }
}
