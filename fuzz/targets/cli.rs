//! Fuzzes the command line.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quintet_fuzz::live(quintet_fuzz::Target::Cli, data));
