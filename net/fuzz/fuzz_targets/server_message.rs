//! What a server says on the control stream.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mainstem_net_fuzz::server_message(input));
