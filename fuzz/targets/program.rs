//! A program's file.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quintet_fuzz::live(quintet_fuzz::Target::Program, data));
