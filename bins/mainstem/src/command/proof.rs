//! `mainstem proof`: fetches a proof, from a running node or from a data directory.

use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use engine::chain::{ChainId, Height};

use crate::client::Client;
use crate::data_dir::DataDir;

const EXAMPLES: &str = "\
Examples:
  mainstem proof --chain tDVV --height 7 > p.json
  mainstem proof --chain 1866392 --height 7 --head 500 --node http://10.0.0.5:9480
  mainstem proof --chain tDVV --height 7 --data mainstem-data    # the node need not run";

/// Fetch the proof that a side block was indexed
///
/// The proof goes to standard output; `mainstem verify` checks it.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Proof {
    /// The side chain, as a number or four base58 letters
    #[arg(long)]
    chain: ChainId,
    /// Height of the side block
    #[arg(long, value_parser = height)]
    height: Height,
    /// Height of a later main block whose header the proof shall end in, because you trust that one
    #[arg(long, value_parser = height)]
    head: Option<Height>,
    /// Ask the node at this address
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9480", conflicts_with = "data")]
    node: String,
    /// Read this data directory instead of asking a node
    #[arg(long, value_name = "DIR")]
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

impl Proof {
    pub(crate) fn run(self) -> Result<()> {
        let proof = match &self.data {
            None => Client::new(&self.node).proof(self.chain, self.height, self.head)?,
            Some(dir) => {
                let log = DataDir::plain(dir).log;
                let reader = storage::LogReader::open(&log)
                    .with_context(|| format!("the log in {} cannot be read", log.display()))?;
                engine::proof::build(&reader, self.chain, self.height, self.head)?
            }
        };
        let mut out = stdout().lock();
        match self.format {
            Format::Json => {
                serde_json::to_writer_pretty(&mut out, &proof)?;
                writeln!(out)?;
            }
            Format::Binary => out.write_all(&proof.to_bytes())?,
        }
        Ok(())
    }
}

fn height(text: &str) -> Result<Height, String> {
    let height = text.parse().ok().map(Height).filter(|height| (Height(1)..=Height::MAX).contains(height));
    height.ok_or_else(|| format!("expected a number from 1 to {}", Height::MAX))
}
