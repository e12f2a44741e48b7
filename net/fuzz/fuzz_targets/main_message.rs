//! What a server says on the stream of main blocks.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mainstem_net_fuzz::main_message(input));
