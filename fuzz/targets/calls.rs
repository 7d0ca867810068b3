//! Fuzzes calls against the model.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quintet_fuzz::live(quintet_fuzz::Target::Calls, data));
