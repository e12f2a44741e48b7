//! What a client says on its control stream.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mainstem_net_fuzz::client_message(input));
