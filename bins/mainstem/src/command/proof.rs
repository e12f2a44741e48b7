//! `mainstem proof`: fetches proofs, from a running node or from a data directory.

use std::fs;
use std::io::{Read, Write, stdin, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::{ArgGroup, Args, ValueEnum};
use engine::chain::{ChainId, Height};
use engine::proof::{self, Document};

use super::which::AtNode;
use crate::data_dir::DataDir;

const EXAMPLES: &str = "\
Examples:
  mainstem proof --chain tDVV --height 7 > p.json                a side block is indexed
  mainstem proof --chain 1866392 --height 7 --head 500 --node http://10.0.0.5:9480
  mainstem proof --chain tDVV --height 7 --data mainstem-data    the node need not run
  mainstem proof --blocks tDVV:7,tDVV:9-12,7:100                 many side blocks in one proof
  mainstem proof --blocks wanted.txt --format binary > p.bin
  mainstem proof --from 500 --to 812                             history from one header to a later one
  mainstem proof --all-of tDVV --in 812                          all blocks of a chain in a main block, or that there are none
  mainstem proof --chain tDVV --tx 0x5f3a...                     a transaction, which the chain's own node is asked for";

/// Fetch proofs: of side blocks, of transactions, of history
///
/// The proof goes to standard output; `mainstem verify` checks it.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
#[command(group(ArgGroup::new("what").required(true).args(["height", "tx", "blocks", "from", "all_of"])))]
pub(crate) struct Proof {
    /// The side chain, as a number or four base58 letters
    #[arg(long)]
    chain: Option<ChainId>,
    /// Height of the side block
    #[arg(long, value_parser = height, requires = "chain")]
    height: Option<Height>,
    /// Id of a transaction of the chain, as 0x and hex digits
    #[arg(long, value_name = "ID", value_parser = transaction_id, requires = "chain", conflicts_with = "data")]
    tx: Option<String>,
    /// Many side blocks in one proof: CHAIN:HEIGHT or CHAIN:FIRST-LAST, with commas between them; or a file of such, `-` is
    /// standard input
    #[arg(long, value_name = "LIST|FILE", conflicts_with = "chain")]
    blocks: Option<String>,
    /// That the history of main block --to continues that of this one
    #[arg(long, value_name = "HEIGHT", value_parser = height, requires = "to", conflicts_with_all = ["chain", "head"])]
    from: Option<Height>,
    /// The later main block
    #[arg(long, value_name = "HEIGHT", value_parser = height, requires = "from")]
    to: Option<Height>,
    /// All blocks of this chain in main block --in, or that there are none
    #[arg(long, value_name = "CHAIN", requires = "main", conflicts_with = "chain")]
    all_of: Option<ChainId>,
    /// The main block
    #[arg(long = "in", id = "main", value_name = "HEIGHT", value_parser = height, requires = "all_of")]
    main: Option<Height>,
    /// Height of a later main block whose header the proof shall end in, because you trust that one
    #[arg(long, value_parser = height)]
    head: Option<Height>,
    #[command(flatten)]
    node: AtNode,
    /// Read this data directory instead of asking a node
    #[arg(long, value_name = "DIR", conflicts_with_all = ["node", "config"])]
    data: Option<PathBuf>,
    /// Form of the proof
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// For people and every language
    Json,
    /// Compact
    Binary,
}

/// What is to be proven.
enum What {
    Block(ChainId, Height),
    Blocks(Vec<(ChainId, Height)>),
    Consistency(Height, Height),
    All(ChainId, Height),
    Transaction(ChainId, String),
}

impl Proof {
    pub(crate) fn run(self) -> Result<()> {
        let what = self.what()?;
        let document = match &self.data {
            None => self.fetch(&what)?,
            Some(dir) => self.build(&what, dir)?,
        };
        let mut out = stdout().lock();
        match self.format {
            Format::Json => {
                serde_json::to_writer_pretty(&mut out, &document)?;
                writeln!(out)?;
            }
            Format::Binary => out.write_all(&document.to_bytes())?,
        }
        Ok(())
    }

    fn what(&self) -> Result<What> {
        Ok(match self {
            Self { chain: Some(chain), height: Some(height), .. } => What::Block(*chain, *height),
            Self { chain: Some(chain), tx: Some(id), .. } => What::Transaction(*chain, id.clone()),
            Self { blocks: Some(named), .. } => What::Blocks(named_blocks(named)?),
            Self { from: Some(from), to: Some(to), .. } => What::Consistency(*from, *to),
            Self { all_of: Some(chain), main: Some(main), .. } => What::All(*chain, *main),
            _ => bail!("nothing to be proven is named; see `mainstem proof --help`"),
        })
    }

    fn fetch(&self, what: &What) -> Result<Document> {
        let client = self.node.client()?;
        Ok(match what {
            What::Block(chain, height) => Document::Block(client.proof(*chain, *height, self.head)?),
            What::Transaction(chain, id) => client.transaction(*chain, id, self.head)?,
            What::Blocks(blocks) => client.proofs(blocks, self.head)?,
            What::Consistency(from, to) => Document::Consistency(client.consistency(*from, *to)?),
            What::All(chain, main) => client.all_of(*chain, *main, self.head)?,
        })
    }

    fn build(&self, what: &What, dir: &Path) -> Result<Document> {
        let log = DataDir::plain(dir).log;
        let reader = storage::LogReader::open(&log)
            .with_context(|| format!("the log in {} cannot be read", log.display()))?;
        Ok(match what {
            What::Block(chain, height) => Document::Block(proof::build(&reader, *chain, *height, self.head)?),
            What::Blocks(blocks) => Document::Blocks(proof::build_many(&reader, blocks, self.head)?),
            What::Consistency(from, to) => {
                Document::Consistency(proof::build_consistency(&reader, *from, *to)?)
            }
            What::All(chain, main) => {
                if let Some(whole) = proof::build_chain(&reader, *chain, *main, self.head)? {
                    Document::Chain(whole)
                } else {
                    let absence = proof::build_absence(&reader, *chain, *main, self.head)?;
                    Document::Absence(absence.context("the log contradicts itself; check it")?)
                }
            }
            What::Transaction(..) => {
                bail!("a transaction is proven by a running node, which asks the chain's node")
            }
        })
    }
}

/// Reads the value of `--blocks`: a list, or the name of a file with one.
fn named_blocks(named: &str) -> Result<Vec<(ChainId, Height)>> {
    /// Longest list that is read: as many blocks as one proof may be of, each with a long name.
    const MAX_BYTES: u64 = 4 << 20;
    let file = Path::new(named);
    let text = if named == "-" || file.exists() {
        let input: Box<dyn Read> =
            if named == "-" { Box::new(stdin().lock()) } else { Box::new(fs::File::open(file)?) };
        let mut text = String::new();
        let read = input.take(MAX_BYTES + 1).read_to_string(&mut text);
        read.with_context(|| format!("--blocks: {named} cannot be read"))?;
        if text.len() as u64 > MAX_BYTES {
            bail!("--blocks: {named} is longer than {MAX_BYTES} bytes");
        }
        text
    } else {
        named.to_owned()
    };
    let mut blocks = Vec::new();
    for item in text.split([',', ' ', '\t', '\r', '\n']).filter(|item| !item.is_empty()) {
        let (chain, first, last) = run(item).ok_or_else(|| {
            let item: String = item.chars().take(100).collect();
            anyhow!("--blocks: {item:?} is neither CHAIN:HEIGHT, CHAIN:FIRST-LAST nor a file")
        })?;
        let count = last.0 - first.0 + 1;
        if count > (proof::MAX_BLOCKS - blocks.len()) as u64 {
            bail!("--blocks: more than {} blocks are named; a proof is of no more", proof::MAX_BLOCKS);
        }
        blocks.extend((first.0..=last.0).map(|height| (chain, Height(height))));
    }
    Ok(blocks)
}

/// A chain, and the first and the last of its heights.
fn run(item: &str) -> Option<(ChainId, Height, Height)> {
    let (chain, heights) = item.split_once(':')?;
    let (first, last) = heights.split_once('-').unwrap_or((heights, heights));
    let (first, last) = (height(first).ok()?, height(last).ok()?);
    (first <= last).then_some((chain.parse().ok()?, first, last))
}

fn height(text: &str) -> Result<Height, String> {
    let height = text.parse().ok().map(Height).filter(|height| (Height(1)..=Height::MAX).contains(height));
    height.ok_or_else(|| format!("expected a number from 1 to {}", Height::MAX))
}

fn transaction_id(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix("0x").unwrap_or_default();
    let right = (2..=128).contains(&digits.len())
        && digits.len().is_multiple_of(2)
        && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if right { Ok(text.to_owned()) } else { Err("expected 0x and the hex digits of 1 to 64 bytes".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_named_one_by_one_or_in_runs() {
        let block = |chain, height| (ChainId(chain), Height(height));
        let expected = vec![block(7, 1), block(1_866_392, 9), block(1_866_392, 10), block(7, 3)];
        assert_eq!(named_blocks("7:1,tDVV:9-10, 7:3").unwrap(), expected);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a:1");
        fs::write(&file, "7:1 tDVV:9-10\n7:3\n").unwrap();
        assert_eq!(named_blocks(file.to_str().unwrap()).unwrap(), expected);
        for wrong in
            ["7", "7:0", "7:2-1", "7:1-", ":1", "7:1:2", "7:-1", "7:9223372036854775808", "nowhere.txt"]
        {
            let error = named_blocks(wrong).unwrap_err().to_string();
            assert!(error.contains(wrong) && error.contains("nor a file"), "{error}");
        }
        let error = named_blocks("7:1-65536,8:1").unwrap_err().to_string();
        assert!(error.contains("more than 65536 blocks"), "{error}");
        assert!(named_blocks("7:1-9223372036854775807").is_err());
    }

    #[test]
    fn an_id_is_hex_digits_of_whole_bytes() {
        assert!(transaction_id("0xab").is_ok() && transaction_id(&format!("0x{}", "0f".repeat(64))).is_ok());
        for wrong in ["", "ab", "0x", "0xa", "0xgg", &format!("0x{}", "0f".repeat(65))] {
            assert!(transaction_id(wrong).is_err(), "{wrong}");
        }
    }
}
