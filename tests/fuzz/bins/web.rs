#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| footbridge::net::fuzz_web(input));
