//! A proof that is right, with a few changes: it may not prove anything else.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mainstem_verify_fuzz::forgery(input));
