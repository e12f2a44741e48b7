//! The verifiers in other languages: JavaScript, and Solidity on a real EVM node.
//!
//! Their tests are those of Node.js (`node --test`) and need no package but what the peers bring: the Solidity compiler
//! and anvil.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::{peers, workspace};

pub(crate) const LONG: &str = "\
Test the verifiers in other languages: engine/verify/js by Node.js, engine/verify/solidity on anvil.

They accept all vectors, say the same of them, and refuse every change in them. The Solidity tests print what a proof \
costs in gas: the table in engine/verify/solidity/README.md. MAINSTEM_ALL_BITS=1 flips every bit of every proof, which \
takes minutes. Needs Node.js 20 or newer, and for Solidity what `cargo xtask peers` installs.";

/// Where the tests are, below the root of the workspace.
const FOLDERS: [&str; 2] = ["engine/verify/js/tests", "engine/verify/solidity/tests"];

/// The step of `cargo xtask test`: runs after that of the peers.
pub(crate) fn step() -> Result<()> {
    let mut command = workspace::program("node".as_ref(), &workspace::root());
    command
        .args(["--test", "--test-reporter", "spec"])
        .args(tests()?)
        .env(peers::FOLDER_VAR, peers::folder());
    let status = command.status().context("node does not start")?;
    if !status.success() {
        bail!("`node --test` failed with {status}");
    }
    Ok(())
}

/// The files that hold tests. Named one by one: what `node --test` makes of a folder differs between its versions.
fn tests() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in FOLDERS {
        let folder = workspace::root().join(folder);
        let before = found.len();
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
            if path.to_str().is_some_and(|path| path.ends_with(".test.mjs")) {
                found.push(path);
            }
        }
        if found.len() == before {
            bail!("{} has no tests (*.test.mjs)", folder.display());
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    #[test]
    fn tests_of_both_languages_are_found() {
        let found = super::tests().unwrap();
        for part in ["js/tests/verify.test.mjs", "solidity/tests/verifier.test.mjs"] {
            assert!(found.iter().any(|path| path.ends_with(part)), "{part} in {found:?}");
        }
    }
}
