//! `mainstem verify`: exit codes and what goes where.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{mainstem, run, workspace};

/// Something done to a proof.
type Change = fn(&mut Value);

/// Published proofs, each in a file of its own, with the hash of the header that it is under.
struct Proofs {
    dir: TempDir,
    proofs: Vec<(PathBuf, Value, String)>,
}

impl Proofs {
    fn new() -> Self {
        let text = fs::read(workspace().join("engine/tests/vectors/mainstem_commitments.json")).unwrap();
        let vectors: Value = serde_json::from_slice(&text).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let proofs = vectors["proofs"].as_array().unwrap().iter().enumerate();
        let proofs = proofs
            .map(|(index, proof)| {
                let path = dir.path().join(format!("{index}.json"));
                fs::write(&path, proof.to_string()).unwrap();
                (path, proof.clone(), hash(&vectors, &proof["header"]))
            })
            .collect();
        Self { dir, proofs }
    }

    /// Writes a changed proof.
    fn changed(&self, index: usize, change: impl FnOnce(&mut Value)) -> PathBuf {
        let mut proof = self.proofs[index].1.clone();
        change(&mut proof);
        let path = self.dir.path().join("changed.json");
        fs::write(&path, proof.to_string()).unwrap();
        path
    }

    fn with_head(&self) -> usize {
        self.proofs.iter().position(|(_, proof, _)| proof.get("head").is_some()).unwrap()
    }
}

/// What programs read of a line.
fn first_word(line: &str) -> &str {
    line.split_whitespace().next().unwrap_or_default()
}

/// The hash that the vectors give for a header.
fn hash(vectors: &Value, header: &Value) -> String {
    let blocks = vectors["main_chain"].as_array().unwrap();
    let block = blocks.iter().find(|block| block["header"] == *header).unwrap();
    block["header_hash"].as_str().unwrap().to_owned()
}

#[test]
fn proofs_that_verify_end_with_0_and_one_line_each_that_begins_with_the_header_hash() {
    let proofs = Proofs::new();
    let (code, out, error) = run(mainstem().arg("verify").args(proofs.proofs.iter().map(|(path, ..)| path)));
    assert_eq!((code, error.as_str()), (0, ""));
    let hashes: Vec<_> = proofs.proofs.iter().map(|(_, _, hash)| hash.as_str()).collect();
    assert_eq!(out.lines().map(first_word).collect::<Vec<_>>(), hashes);
    for (line, (_, proof, _)) in out.lines().zip(&proofs.proofs) {
        let (block, main) = (&proof["block"]["height"], &proof["header"]["height"]);
        assert!(line.contains(&format!(" height {block} is indexed in main block {main}")), "{line}");
    }
}

#[test]
fn a_changed_proof_ends_with_1_and_the_reason() {
    let proofs = Proofs::new();
    let index = proofs.with_head();
    let changes: [(Change, &str); 6] = [
        (
            |proof| proof["block"]["tx_root"] = Value::from(format!("0x{}", "00".repeat(32))),
            "side_path: leads to",
        ),
        (|proof| proof["chain"]["count"] = 0.into(), "block.height"),
        (|proof| proof["head"]["history_root"] = proof["header"]["parent"].clone(), "history_path: leads to"),
        (|proof| proof["extra"] = 1.into(), "unknown field `extra`"),
        (|proof| proof["version"] = 2.into(), "version 2 is not known"),
        (|proof| drop(proof.as_object_mut().unwrap().remove("header")), "missing field `header`"),
    ];
    for (change, reason) in changes {
        let path = proofs.changed(index, change);
        let (code, out, error) = run(mainstem().arg("verify").arg(&path));
        assert_eq!((code, out.as_str()), (1, ""), "{reason}");
        assert!(error.starts_with(&format!("{}: does not verify: ", path.display())), "{error}");
        assert!(error.contains(reason), "{reason:?} in {error}");
    }
}

#[test]
fn one_bad_proof_among_good_ones_is_told_and_decides_the_exit_code() {
    let proofs = Proofs::new();
    let bad = proofs.changed(0, |proof| proof["chain_id"] = 3.into());
    let good = &proofs.proofs[1];
    let (code, out, error) = run(mainstem().arg("verify").arg(&bad).arg(&good.0).arg("nowhere.json"));
    assert_eq!((code, first_word(&out)), (1, good.2.as_str()));
    assert!(
        error.contains("changed.json: does not verify") && error.contains("nowhere.json: cannot be read")
    );
}

#[test]
fn a_trusted_header_must_be_the_one_that_the_block_is_under_or_the_later_one_that_the_proof_ends_in() {
    let proofs = Proofs::new();
    let text = fs::read(workspace().join("engine/tests/vectors/mainstem_commitments.json")).unwrap();
    let vectors: Value = serde_json::from_slice(&text).unwrap();
    let (path, proof, under) = &proofs.proofs[proofs.with_head()];
    let head = hash(&vectors, &proof["head"]);
    let verify = |trusted: &str| run(mainstem().args(["verify", "--trusted-header", trusted]).arg(path));
    for trusted in [&head, under] {
        let (code, out, _) = verify(trusted);
        assert_eq!((code, first_word(&out)), (0, under.as_str()));
    }
    let other = hash(&vectors, &proofs.proofs[0].1["header"]);
    let (code, out, error) = verify(&other);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(error.contains("not the trusted"), "{error}");
    assert_eq!(verify("0x12").0, 2);
}

#[test]
fn what_cannot_be_read_ends_with_2() {
    let (code, out, error) = run(mainstem().args(["verify", "/nowhere/p.json"]));
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(error.starts_with("/nowhere/p.json: cannot be read: "), "{error}");
    assert_eq!(run(mainstem().arg("verify")).0, 2);
    assert_eq!(run(mainstem().args(["verify", "/"])).0, 2);
}

#[test]
fn standard_input_and_the_binary_form_are_read_too() {
    let proofs = Proofs::new();
    let (_, proof, hash) = &proofs.proofs[proofs.with_head()];
    let proof: engine::proof::Proof = serde_json::from_value(proof.clone()).unwrap();
    for bytes in [proof.to_bytes(), serde_json::to_vec_pretty(&proof).unwrap()] {
        let mut child =
            mainstem().args(["verify", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(first_word(&String::from_utf8(output.stdout).unwrap()), hash);
    }
}

#[test]
fn endless_input_is_not_read_to_its_end() {
    let (code, _, error) = run(mainstem().args(["verify", "/dev/zero"]));
    assert_eq!(code, 1);
    assert!(error.contains("longer than"), "{error}");
}
