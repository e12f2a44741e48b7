//! Runs `mainstem bench` for several numbers of chains, several times each.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Deserialize;

use crate::table::{Spread, build, commit, root};

/// Measure the whole way of a block: `mainstem bench`, several times
///
/// What it measures is the release build of this commit, which it makes first.
#[derive(Args)]
pub(crate) struct Pipeline {
    /// Numbers of chains
    #[arg(long, value_delimiter = ',', default_values_t = [1, 100, 1000])]
    chains: Vec<u32>,
    /// Connections that the chains are spread over
    #[arg(long, default_value_t = 1)]
    connections: u32,
    /// Runs of each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,
    /// Seconds of a run
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Blocks that a lane holds; by default what `mainstem bench` chooses
    #[arg(long)]
    lane_blocks: Option<u64>,
}

/// What of a result goes into the table.
#[derive(Deserialize)]
struct Measured {
    blocks_per_second: f64,
    durable_p50_ms: f64,
    durable_p99_ms: f64,
    ratio: f64,
}

impl Pipeline {
    pub(crate) fn run(&self) -> Result<()> {
        let (cli, root) = (self, root()?);
        let program = build("mainstem")?;
        println!(
            "commit {}, {} runs of {} s each, median (lowest to highest)",
            commit()?,
            cli.runs,
            cli.seconds
        );
        println!();
        println!(
            "| chains | connections | million side blocks/s | received to durable p50, ms | p99, ms | of the lowest limit |"
        );
        println!("|---|---|---|---|---|---|");
        let scratch = root.join("target").join("perf");
        fs::create_dir_all(&scratch).with_context(|| format!("{} cannot be made", scratch.display()))?;
        for &chains in &cli.chains {
            let runs =
                (0..cli.runs).map(|_| bench(&program, &scratch, cli, chains)).collect::<Result<Vec<_>>>()?;
            let cell = |of: fn(&Measured) -> f64| Spread::of(runs.iter().map(of)).to_string();
            println!(
                "| {chains} | {} | {} | {} | {} | {} |",
                cli.connections.min(chains),
                cell(|run| run.blocks_per_second / 1e6),
                cell(|run| run.durable_p50_ms),
                cell(|run| run.durable_p99_ms),
                cell(|run| run.ratio),
            );
        }
        Ok(())
    }
}

fn bench(program: &Path, scratch: &Path, cli: &Pipeline, chains: u32) -> Result<Measured> {
    let (data, json) = (scratch.join("data"), scratch.join("result.json"));
    let mut command = Command::new(program);
    command.arg("bench").args(["--chains", &chains.to_string(), "--seconds", &cli.seconds.to_string()]);
    command.args(["--connections", &cli.connections.min(chains).to_string()]);
    command.arg("--data").arg(&data).arg("--json").arg(&json);
    command.args(cli.lane_blocks.iter().flat_map(|blocks| ["--lane-blocks".to_owned(), blocks.to_string()]));
    let output = command.output().with_context(|| format!("{} cannot be started", program.display()))?;
    if !output.status.success() {
        bail!("a run failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = fs::read_to_string(&json).with_context(|| format!("{} cannot be read", json.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no result of a bench", json.display()))
}
