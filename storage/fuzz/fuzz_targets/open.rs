//! A log whose files were changed: opened for reading, checked, opened for writing.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mainstem_storage_fuzz::open(input));
