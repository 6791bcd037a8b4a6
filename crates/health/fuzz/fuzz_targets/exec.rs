#![no_main]

#[allow(dead_code, reason = "one of them is fuzzed here")]
#[path = "../../tests/malformed/parsers.rs"]
mod parsers;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| parsers::exec(octets));
