#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| footbridge_fuzz::control::run(input));
