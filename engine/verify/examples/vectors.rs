//! Writes `vectors/proofs.json`: proofs of all kinds that are right, and forged ones, for verifiers in any language.
//!
//! `cargo run -p mainstem-verify --example vectors`; a test says whether the file is up to date.
#![allow(clippy::unwrap_used, reason = "it fails where it cannot go on")]
#![allow(missing_docs, unreachable_pub, dead_code, reason = "samples are shared as source")]

#[path = "../samples/file.rs"]
mod file;
#[path = "../samples/mod.rs"]
mod samples;

fn main() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/proofs.json");
    let text = file::text();
    std::fs::write(path, &text).unwrap();
    println!("{} bytes, {} lines", text.len(), text.lines().count());
}
