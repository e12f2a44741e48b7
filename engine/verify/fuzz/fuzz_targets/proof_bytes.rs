//! A proof in its binary form, and a transaction part.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mainstem_verify_fuzz::proof_bytes(input));
