//! A frame: as it comes, and behind a right checksum.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mainstem_net_fuzz::frame(input));
