//! `mainstem verify`: checks proofs offline. Nothing but the files is read.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write, stderr, stdin, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use engine::chain::{ChainId, Hash, Height, MainHeader};
use engine::proof::{AbsenceProof, Claim, Document, Outcome, Proof, SectionProof};

const NOTES: &str = "\
Standard output has one line for each proof that verifies, in the order of the files:
  0x41f5...a2fd chain tDVV height 7 is indexed in main block 3
Its first word is the hash of the main-chain header that what is proven is under; of many blocks, and of history from \
one header to a later one, that of the header that the proof ends in. The rest is for people.

Exit code:
  0  every proof verifies
  1  a proof does not verify; standard error has the reason
  2  a file cannot be read

A proof shows what is under a main-chain header. Whether that header is the main chain's is for you to know: give the \
hash of one you trust with --trusted-header, or compare the hash that is printed. `mainstem follow` keeps one for you.

Examples:
  mainstem verify p.json
  mainstem verify a.json b.bin --trusted-header 0x41f5...a2fd
  mainstem proof --chain tDVV --height 7 | mainstem verify - | cut -d' ' -f1";

/// Verify proofs of any kind offline
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
                Ok(line) => {
                    let _ = writeln!(stdout(), "{line}");
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

    /// What a proof proves, in one line.
    fn verify(&self, file: &Path) -> Result<String, Failure> {
        let bytes = read(file).map_err(Failure::Unreadable)?;
        if bytes.len() > Document::MAX_BYTES {
            return Err(Failure::Wrong(format!("not a proof: longer than {} bytes", Document::MAX_BYTES)));
        }
        let document =
            Document::parse(&bytes).map_err(|error| Failure::Wrong(format!("not a proof: {error}")))?;
        let outcome = match self.trusted_header {
            Some(trusted) => document.verify_trusting(trusted),
            None => document.verify(),
        };
        outcome.map(|outcome| said(&document, &outcome)).map_err(|error| Failure::Wrong(error.to_string()))
    }
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let input: Box<dyn Read> =
        if file == Path::new("-") { Box::new(stdin().lock()) } else { Box::new(File::open(file)?) };
    let mut bytes = Vec::new();
    input.take(Document::MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a document that verifies proves: the hash to trust, then words.
fn said(document: &Document, outcome: &Outcome) -> String {
    let (under, end) = (outcome.verified.header_hash, outcome.verified.trusted_hash);
    match document {
        Document::Block(proof) => format!("{under} {}", indexed(proof, None)),
        Document::Transaction(proof) => {
            let claim = outcome.claim.as_ref().map(claimed);
            format!("{under} {}", indexed(&proof.block, claim))
        }
        Document::Blocks(proof) => {
            let chains = proof.main_blocks.iter().flat_map(|block| &block.chains);
            let (mut blocks, mut names) = (0, Vec::new());
            for chain in chains {
                blocks += chain.blocks.len();
                names.push(chain.chain_id);
            }
            names.sort_unstable();
            names.dedup();
            let chains = match &names[..] {
                [chain] => format!("chain {chain}"),
                several => format!("{} chains", several.len()),
            };
            let mains = counted(proof.main_blocks.len(), "main block");
            let blocks = counted(blocks, "block");
            format!(
                "{end} {blocks} of {chains} are indexed in {mains}, up to main block {}",
                outcome.verified.trusted.height
            )
        }
        Document::Consistency(proof) => {
            let (from, to) = (proof.from.height, proof.to.height);
            format!("{end} main block {to} continues the history of main block {from}, header {under}")
        }
        Document::Chain(SectionProof { chain_id, first_height, blocks, header, head, .. }) => {
            let last = Height(first_height.0 + blocks.len() as u64 - 1);
            let heights = heights(*first_height, last);
            let main = header.height;
            format!(
                "{under} chain {chain_id} has {heights} in main block {main}, and no other{}",
                later(head.as_ref())
            )
        }
        Document::Absence(AbsenceProof { chain_id, header, head, .. }) => {
            format!(
                "{under} chain {chain_id} has no block in main block {}{}",
                header.height,
                later(head.as_ref())
            )
        }
    }
}

fn indexed(proof: &Proof, claim: Option<String>) -> String {
    let Proof { chain_id, block, header, head, .. } = proof;
    let in_block = claim.map_or_else(String::new, |claim| format!("{claim} is in "));
    let which = if in_block.is_empty() { "" } else { ", which" };
    format!(
        "{in_block}chain {chain_id} height {}{which} is indexed in main block {}{}",
        block.height,
        header.height,
        later(head.as_ref())
    )
}

fn later(head: Option<&MainHeader>) -> String {
    head.map_or_else(String::new, |head| format!(", in the history of main block {}", head.height))
}

/// What a transaction part says.
fn claimed(claim: &Claim) -> String {
    match claim {
        Claim::Aelf { id } => format!("transaction {id}, mined,"),
        Claim::Evm { index, transaction, receipt } => {
            let what = match (transaction.is_some(), receipt.is_some()) {
                (true, true) => "transaction and receipt",
                (true, false) => "transaction",
                (false, _) => "receipt",
            };
            format!("{what} {index}")
        }
        Claim::Sim { data } => format!("a transaction of {}", counted(data.len(), "byte")),
        Claim::Mainstem(inner) => {
            let mut text = String::new();
            if let Some(claim) = &inner.claim {
                let _ = write!(text, "{} of ", claimed(claim));
            }
            let (chain, height): (ChainId, Height) = (inner.chain_id, inner.block.height);
            let _ = write!(text, "chain {chain} height {height}");
            text
        }
    }
}

fn heights(first: Height, last: Height) -> String {
    if first == last { format!("height {first}") } else { format!("heights {first} to {last}") }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
