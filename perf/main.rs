//! Runs `mainstem bench` for several numbers of chains, several times each, and prints rows for `perf/RESULTS.md`:
//! medians and spreads, with the commit they are of.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde::Deserialize;

/// Measure the whole way of a block and print rows for perf/RESULTS.md.
///
/// Takes a quiet machine. What it measures is the release build of this commit.
#[derive(Parser)]
struct Cli {
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

fn main() -> Result<()> {
    let cli = Cli::parse();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("this package is in the workspace")?;
    let program = build(root)?;
    println!(
        "commit {}, {} runs of {} s each, median (lowest to highest)",
        commit(root)?,
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
            (0..cli.runs).map(|_| bench(&program, &scratch, &cli, chains)).collect::<Result<Vec<_>>>()?;
        let cell = |of: fn(&Measured) -> f64| spread(runs.iter().map(of).collect());
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

fn build(root: &Path) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built =
        Command::new(cargo).current_dir(root).args(["build", "--release", "--bin", "mainstem"]).status();
    if !built.context("cargo cannot be started")?.success() {
        bail!("mainstem cannot be built: see above");
    }
    // This program was built into the same target directory.
    let own = std::env::current_exe().context("the path of this program is not known")?;
    let target = own.parent().and_then(Path::parent).context("this program is in a target directory")?;
    Ok(target.join("release").join("mainstem"))
}

fn commit(root: &Path) -> Result<String> {
    let git = |args: &[&str]| -> Result<String> {
        let output =
            Command::new("git").current_dir(root).args(args).output().context("git cannot be started")?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Ok(git(&["rev-parse", "--short", "HEAD"])? + if changed { " with changes" } else { "" })
}

fn bench(program: &Path, scratch: &Path, cli: &Cli, chains: u32) -> Result<Measured> {
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

/// The median and, in brackets, the lowest and the highest.
fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let median = values[values.len() / 2];
    format!("{median:.2} ({:.2} to {:.2})", values[0], values[values.len() - 1])
}
