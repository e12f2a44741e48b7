//! Any body behind right checksums.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mainstem_storage_fuzz::record(input));
