//! Mainstem and the peer by turns.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::Tuning;
use crate::bench::{Outcome, Program, WARM_UP, flags};
use crate::child::stop_on_signals;
use crate::goals::{Figures, Shape};
use crate::table::{Output, Progress, Spread, Table};

/// Measure Mainstem against a peer made of common parts: tokio, quinn, prost, rs_merkle and redb
///
/// Both get the same load by turns, on the same disk, from a process of its own: each block goes over QUIC, is checked,
/// hashed, stored and durable before it is acknowledged.
#[derive(Args)]
pub(crate) struct Peer {
    /// Side chains
    #[arg(long, default_value_t = 100)]
    chains: u32,
    /// Connections that the chains are spread over
    #[arg(long, default_value_t = 1)]
    connections: u32,
    /// Runs of each
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,
    /// Seconds of a run
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Measure the peer only
    #[arg(long)]
    alone: bool,
    /// Measure this program, and not the release build of this commit
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    #[command(flatten)]
    tuning: Tuning,
    #[command(flatten)]
    output: Output,
}

impl Peer {
    pub(crate) fn run(&self) -> Result<()> {
        stop_on_signals()?;
        let program = Program::new(self.program.as_deref())?;
        let progress = Progress::new(u64::from(self.runs) * if self.alone { 1 } else { 2 });
        let mut shape = Shape { chains: self.chains, connections: self.connections, ..Shape::default() };
        for _ in 0..self.runs {
            let mut ours = None;
            if !self.alone {
                progress.say("mainstem");
                let mut flags = flags(self.chains, self.connections, self.seconds);
                flags.push("--no-limits".into());
                ours = Some(program.bench(&flags)?);
                progress.step();
            }
            progress.say("peer");
            let time = Duration::from_secs(self.seconds);
            let dir = program.scratch().join("peer");
            let figures = super::run(self.chains, self.connections, WARM_UP, time, &self.tuning, &dir)?;
            shape.turn(ours, Some(figures));
            progress.step();
        }
        drop(progress);
        let mut table = Table::new(&[
            "",
            "million side blocks/s",
            "received to durable p50, ms",
            "p99, ms",
            "receiver, ns/block",
            "sender, ns/block",
            "bytes on disk/block",
            "blocks in a main block",
        ]);
        if !self.alone {
            table.row(cells_of_ours(&shape), &shape.runs)?;
        }
        table.row(cells_of_theirs(&shape.peer), &shape.peer)?;
        let method = format!(
            "{} chains over {} connections, by turns, {} runs of {} s each; mainstem: {}",
            self.chains,
            self.connections,
            self.runs,
            self.seconds,
            program.commit()
        );
        table.finish(&self.output, &method)?;
        if let Some(ratio) = shape.over_peer() {
            println!("Mainstem over the peer, turn by turn: {ratio:.1}");
        }
        Ok(())
    }
}

fn cells_of_ours(shape: &Shape) -> Vec<String> {
    let rare = |of: fn(&Outcome) -> Option<f64>| {
        shape.rare(of).map_or_else(|| "-".to_owned(), |spread| format!("{spread:.0}"))
    };
    vec![
        "mainstem".into(),
        format!("{:.2}", shape.of(|run| run.blocks_per_second / 1e6)),
        format!("{:.0}", shape.of(|run| run.durable_p50_ms)),
        format!("{:.0}", shape.of(|run| run.durable_p99_ms)),
        rare(Outcome::node_ns),
        rare(|run| run.spent_ns.get("load").copied()),
        // Segments are set aside as a whole: the shorter the run, the more of it is still empty.
        format!("{:.0}, with segments set aside", shape.of(|run| run.disk_bytes_per_block)),
        format!("{:.0}", shape.of(|run| run.side_blocks as f64 / run.main_blocks.max(1) as f64)),
    ]
}

fn cells_of_theirs(runs: &[Figures]) -> Vec<String> {
    let cell = |of: fn(&Figures) -> f64| Spread::of(runs.iter().map(of));
    vec![
        "peer".into(),
        format!("{:.2}", cell(|run| run.blocks_per_second / 1e6)),
        format!("{:.0}", cell(|run| run.durable_p50_ms)),
        format!("{:.0}", cell(|run| run.durable_p99_ms)),
        format!("{:.0}", cell(|run| run.server_ns)),
        format!("{:.0}", cell(|run| run.load_ns)),
        format!("{:.0}", cell(|run| run.disk_bytes_per_block)),
        format!("{:.0}", cell(|run| run.main_block)),
    ]
}
