//! Fuzzes the file of a program.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quintet_fuzz::live(quintet_fuzz::Target::Program, data));
