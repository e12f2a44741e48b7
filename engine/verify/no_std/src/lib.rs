//! Uses the crate `verify`, with all features, where there is no std.
//!
//! A program may have one panic handler. Here is one; std has another. So this compiles only as long as nothing that
//! `verify` depends on links std.
#![no_std]
#![forbid(unsafe_code)]

use core::panic::PanicInfo;

use verify::{Document, Hash};

/// Whether a document in either form proves something to one who trusts the header of this hash.
pub fn holds(document: &[u8], trusted: [u8; 32]) -> bool {
    Document::parse(document).is_ok_and(|document| document.verify_trusting(Hash(trusted)).is_ok())
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}
