//! Feeds the law of the same name in tests/fuzz.

#![no_main]

#[path = "../../tests/fuzz/chatter.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|input: &[u8]| law::law(input));
