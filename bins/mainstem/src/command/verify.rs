//! `mainstem verify`: checks proofs offline. Nothing but the files is read.

use std::fs::File;
use std::io::{self, Read, Write, stderr, stdin, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use engine::chain::Hash;
use engine::proof::{Proof, Verified};

/// Longest file that can be a proof: far above the longest one, which has a few hundred steps.
const MAX_BYTES: u64 = 1 << 20;

const NOTES: &str = "\
Exit code:
  0  every proof verifies; standard output has the hash of each proven header, one line a file, in their order
  1  a proof does not verify; standard error has the reason
  2  a file cannot be read

A proof shows that a side block is under a main-chain header. Whether that header is the main chain's is for you
to know: give the hash of one you trust with --trusted-header, or compare the hash that is printed.

Examples:
  mainstem verify p.json
  mainstem verify a.json b.json --trusted-header 0x41f5...a2fd
  mainstem proof --chain tDVV --height 7 | mainstem verify -";

/// Verify proofs offline
#[derive(Args)]
#[command(after_help = NOTES)]
pub(crate) struct Verify {
    /// Proofs, as JSON or in the binary form; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Hash of the main-chain header that you trust: every proof must lead to it, as its `head` or its `header`
    #[arg(long, value_name = "HASH")]
    trusted_header: Option<Hash>,
}

enum Failure {
    Unreadable(io::Error),
    Wrong(String),
}

impl Verify {
    pub(crate) fn run(self) -> ExitCode {
        let (mut unreadable, mut wrong) = (false, false);
        for file in &self.files {
            // Whoever closed standard output or error still learns the outcome from the exit code.
            match self.verify(file) {
                Ok(verified) => {
                    let _ = writeln!(stdout(), "{}", verified.header_hash);
                }
                Err(Failure::Wrong(reason)) => {
                    wrong = true;
                    let _ = writeln!(stderr(), "{}: does not verify: {reason}", file.display());
                }
                Err(Failure::Unreadable(error)) => {
                    unreadable = true;
                    let _ = writeln!(stderr(), "{}: cannot be read: {error}", file.display());
                }
            }
        }
        ExitCode::from(if wrong {
            1
        } else if unreadable {
            2
        } else {
            0
        })
    }

    fn verify(&self, file: &Path) -> Result<Verified, Failure> {
        let bytes = read(file).map_err(Failure::Unreadable)?;
        let proof = parse(&bytes).map_err(Failure::Wrong)?;
        let verified = match self.trusted_header {
            Some(trusted) => proof.verify_trusting(trusted),
            None => proof.verify(),
        };
        verified.map_err(|error| Failure::Wrong(error.to_string()))
    }
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let input: Box<dyn Read> =
        if file == Path::new("-") { Box::new(stdin().lock()) } else { Box::new(File::open(file)?) };
    let mut bytes = Vec::new();
    input.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a proof in either form.
fn parse(bytes: &[u8]) -> Result<Proof, String> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("not a proof: longer than {MAX_BYTES} bytes"));
    }
    // The binary form starts with its version, which no text does.
    if bytes.first().is_some_and(|first| *first < b'\t') {
        Proof::from_bytes(bytes).map_err(|error| format!("not a proof: {error}"))
    } else {
        serde_json::from_slice(bytes).map_err(|error| format!("not a proof: {error}"))
    }
}
