//! A proof in JSON.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mainstem_verify_fuzz::proof_json(input));
