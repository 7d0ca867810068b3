//! Writes to the files of `/proc`.

use crate::input::Input;
use quintet::preload_api::{self, ProcFile};
use quintet::{Errno, Kind, Limits, Namespace};
use std::path::Path;

/// Creates a namespace in `parent` and makes it the drop-in's namespace in this process.
pub fn default_namespace(parent: &Path) -> Namespace {
    let path = parent.join("namespace");
    let ns = Namespace::create(&path, Kind::Private).expect("create a namespace");
    #[allow(unsafe_code)]
    // SAFETY: no other thread of this process uses the environment meanwhile.
    unsafe {
        std::env::set_var("QUINTET_NAMESPACE", path);
    }
    ns
}

/// Writes texts of up to 63 bytes, or many blanks and a few bytes.
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
    let before = (ns.limits(), preload_api::proc_text(file));
    let written = preload_api::proc_write(file, text);
    let output = preload_api::proc_text(file).expect("it can be read");
    match written {
        Ok(taken) => assert!(taken <= text.len() && (taken > 0 || text.is_empty()), "{file:?} accepted {taken} bytes"),
        Err(e) => {
            let known = [Errno::INVAL, Errno::RANGE, Errno::IO, Errno::PERM].contains(&e);
            assert!(known, "{file:?} says {e}");
            // Of several numbers, those before an error are set.
            assert!(file == ProcFile::Sem || before == (ns.limits(), Ok(output.clone())), "{file:?} was refused but has changed");
        }
    }
    // The text that a file returns can be written back and changes nothing. The exception is -1,
    // which stands for no requested identifier.
    if !matches!(file, ProcFile::List(_)) && output != "-1\n" {
        let limits = ns.limits();
        assert_eq!(preload_api::proc_write(file, output.as_bytes()), Ok(output.len()), "{file:?}: {output:?}");
        assert_eq!((ns.limits(), preload_api::proc_text(file)), (limits, Ok(output)), "{file:?}");
    }
}
