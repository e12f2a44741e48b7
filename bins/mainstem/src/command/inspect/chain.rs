//! `mainstem inspect chain`: how far a side chain is indexed.

use std::io::{Write, stdout};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use engine::chain::{ChainId, Height};
use engine::store::BlockReader;
use serde::Serialize;

use super::{ChainName, Directory, print_json};

/// A side chain: how far it is indexed, and where its newest block is
#[derive(Args)]
pub(super) struct Chain {
    /// The side chain, as a number or four base58 letters
    chain: ChainId,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct View {
    #[serde(flatten)]
    chain: ChainName,
    /// Its newest indexed block.
    height: Height,
    /// The main block that holds it; null once that was pruned.
    main_height: Option<Height>,
}

impl Chain {
    pub(super) fn run(&self, data: &Directory) -> Result<ExitCode> {
        let reader = data.open()?;
        let chain = self.chain;
        let Some(height) = reader.chain_head(chain)? else {
            bail!("no block of chain {chain} is indexed in this log");
        };
        let first = reader.base().first;
        let pruned = || reader.base().head(chain).is_some_and(|head| head.height == height);
        let main_height = reader.locate(chain, height)?;
        if main_height.is_none() && !pruned() {
            return Err(anyhow::anyhow!("block {height} of chain {chain} is not in the index"))
                .with_context(|| format!("`{}` says more", data.command("inspect check --deep")));
        }
        if self.json {
            print_json(&View { chain: chain.into(), height, main_height })?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut out = stdout().lock();
        writeln!(out, "chain          {chain} ({})", chain.0)?;
        writeln!(out, "indexed up to  {height}")?;
        match main_height {
            Some(main) => writeln!(out, "in main block  {main}")?,
            None => writeln!(out, "in main block  pruned: one below {first}")?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
