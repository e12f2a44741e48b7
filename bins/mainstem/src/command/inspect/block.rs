//! `mainstem inspect block`: a main block, its header, and what it holds of each chain.

use std::io::{Write, stdout};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use engine::chain::{BlockView, Hash, Height, MainHeader};
use engine::store::BlockReader;
use serde::Serialize;

use super::{ChainName, Directory, Held, print_json};
use crate::command::words::grouped;

/// A main block: its header and what it holds of each chain
#[derive(Args)]
pub(super) struct Block {
    /// Height of the main block, or `latest`
    #[arg(value_name = "HEIGHT")]
    height: Which,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy)]
enum Which {
    Latest,
    At(Height),
}

impl std::str::FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "latest" => Ok(Self::Latest),
            _ => text
                .parse()
                .map(|height| Self::At(Height(height)))
                .map_err(|_| "expected a height or `latest`".into()),
        }
    }
}

#[derive(Serialize)]
struct View {
    hash: Hash,
    header: MainHeader,
    record_bytes: u64,
    chains: Vec<Part>,
}

#[derive(Serialize)]
struct Part {
    #[serde(flatten)]
    chain: ChainName,
    first_height: Height,
    count: u32,
    chain_root: Hash,
}

impl Block {
    pub(super) fn run(&self, data: &Directory) -> Result<ExitCode> {
        let reader = data.open()?;
        let held = Held::by(&reader);
        let height = match self.height {
            Which::Latest => held.head,
            Which::At(height) => height,
        };
        let block = reader.block(height)?.ok_or_else(|| held.absent(height))?;
        let header = block.header();
        if self.json {
            let part = |index| {
                let section = block.section(index);
                let (chain, first_height, count) =
                    (section.chain.into(), section.first_height, section.count);
                Part { chain, first_height, count, chain_root: section.chain_root }
            };
            let chains = (0..block.section_count()).map(part).collect();
            print_json(&View { hash: block.hash(), header, record_bytes: block.record_bytes(), chains })?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut out = stdout().lock();
        writeln!(out, "hash         {}", block.hash())?;
        writeln!(out, "header       {}", serde_json::to_string_pretty(&header)?)?;
        writeln!(out, "bytes        {}", grouped(block.record_bytes()))?;
        writeln!(out)?;
        writeln!(out, "chain           first height     last height    blocks  chain root")?;
        for index in 0..block.section_count() {
            let section = block.section(index);
            let (chain, first, last) = (section.chain, section.first_height, section.last_height());
            // The whole root is in `--json`: a line of a terminal has 80 columns.
            let root = section.chain_root.to_string();
            writeln!(out, "{chain:12} {first:>15} {last:>15} {:>9}  {}...", section.count, &root[..18])?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
