//! Fuzzes writes to the files of `/proc`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quintet_fuzz::live(quintet_fuzz::Target::Proc, data));
