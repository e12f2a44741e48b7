//! Writes the seeds of the corpus anew: `cargo run --example seeds` in `engine/verify/fuzz`. A few proofs of each kind.

use std::path::Path;

use mainstem_verify_fuzz::RIGHT;
use verify::proof::Document;

fn main() {
    let mut kinds = Vec::new();
    for (number, right) in RIGHT.iter().enumerate() {
        let kind = match &right.document {
            Document::Transaction(proof) => proof.transaction.kind(),
            document => document.kind(),
        };
        let before = kinds.iter().filter(|other| **other == kind).count();
        kinds.push(kind);
        // The first ones are the smallest, and one of those that go up to a later header.
        if before > 3 || right.binary.len() > 3000 {
            continue;
        }
        let name = format!("{kind}_{before}");
        seed("proof_bytes", &name, &right.binary);
        if let Document::Transaction(proof) = &right.document {
            seed("proof_bytes", &format!("{name}_part"), &proof.transaction.to_bytes());
        }
        if before < 2 {
            seed("proof_json", &name, &serde_json::to_vec(&right.document).expect("it can be written"));
        }
        let which = u8::try_from(number).expect("there are not so many");
        seed("forgery", &name, &[which, 100, 0, 0, 3]);
        seed("forgery", &format!("{name}_two"), &[which, 1, 1, 2, 1, 200, 0, 5, 0]);
    }
    // What errors repeat must not be as long as who wrote it likes.
    let long = "\u{1f9ea}".repeat(600);
    seed("proof_json", "long_name", format!(r#"{{"{long}":1}}"#).as_bytes());
    seed("proof_json", "long_text", format!(r#"{{"version":"{long}"}}"#).as_bytes());
    // A transaction proof in place of the block proof of another, and so on.
    seed("proof_bytes", "deep", &[1, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0].repeat(100));
}

fn seed(target: &str, name: &str, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    std::fs::create_dir_all(&folder).expect("the corpus can be written");
    std::fs::write(folder.join(name), bytes).expect("the corpus can be written");
}
