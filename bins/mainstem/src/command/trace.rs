//! `mainstem trace block H`: what a main block went through, drawn as a waterfall.

use std::fmt::{self, Display};
use std::io::{Write, stdout};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use rest::Height;
use rest::trace::BlockTrace;

use super::Which;

const EXAMPLES: &str = "\
A node knows it of the newest 4,096 main blocks that it made since it started. gathered: waited in the lanes until a main \
block was begun; hashed; handed-on: taken by the stage that stores; appended to the log; synced: on the disk; published.

Examples:
  mainstem trace block latest
  mainstem trace block 1234 --node http://10.0.0.1:9480";

/// Columns of the picture.
const WIDTH: u64 = 48;

/// See where a main block spent its time
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Trace {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// From the first side block received to published, phase by phase
    Block {
        /// Height of the main block, or `latest`
        #[arg(value_parser = height)]
        height: Wanted,
        #[command(flatten)]
        which: Which,
        /// Print what the node answers, as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Which block.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    Latest,
    Height(Height),
}

fn height(text: &str) -> Result<Wanted, String> {
    match text {
        "latest" => Ok(Wanted::Latest),
        text => text
            .parse()
            .map(|height| Wanted::Height(Height(height)))
            .map_err(|_| "expected the height of a main block, or latest".to_owned()),
    }
}

impl Trace {
    pub(crate) fn run(self) -> Result<()> {
        let What::Block { height, which, json } = self.what;
        let client = which.client()?;
        let height = match height {
            Wanted::Height(height) => height,
            Wanted::Latest => client.status()?.head.context("there is no main block yet")?.height,
        };
        let trace = client.trace(height)?;
        let mut out = stdout().lock();
        if json {
            serde_json::to_writer_pretty(&mut out, &trace)?;
            writeln!(out)?;
        } else {
            write!(out, "{}", Waterfall(&trace))?;
        }
        Ok(())
    }
}

/// One line a phase, each beginning where the one before ended.
struct Waterfall<'a>(&'a BlockTrace);

impl Display for Waterfall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BlockTrace { height, leaf_count, chain_count, synced_with, total_us, phases } = self.0;
        writeln!(
            f,
            "main block {height}: {leaf_count} side blocks of {chain_count} chains, {}",
            ms(*total_us)
        )?;
        let column = |us: u64| if *total_us == 0 { 0 } else { us.min(*total_us) * WIDTH / total_us };
        for phase in phases {
            let (start, end) = (column(phase.start_us), column(phase.end_us));
            let (before, bar) = (" ".repeat(start as usize), "█".repeat((end - start).max(1) as usize));
            let took = ms(phase.end_us - phase.start_us);
            writeln!(f, "  {:<10}{took:>12}  {before}{bar}", phase.name)?;
        }
        if *synced_with > 1 {
            writeln!(
                f,
                "It shared its sync with {} other main blocks; the first block received is that of all of them.",
                synced_with - 1
            )?;
        }
        Ok(())
    }
}

fn ms(us: u64) -> String {
    format!("{}.{:03} ms", us / 1_000, us % 1_000)
}

#[cfg(test)]
mod tests {
    use rest::trace::Phase;

    use super::*;

    #[test]
    fn the_picture_has_a_bar_for_each_phase_where_it_was() {
        let phase = |name: &str, start_us, end_us| Phase { name: name.into(), start_us, end_us };
        let phases = vec![phase("gathered", 0, 500), phase("hashed", 500, 500), phase("synced", 500, 1_000)];
        let trace =
            BlockTrace { height: 7, leaf_count: 3, chain_count: 2, synced_with: 2, total_us: 1_000, phases };
        let text = Waterfall(&trace).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "main block 7: 3 side blocks of 2 chains, 1.000 ms");
        assert_eq!(lines[1], format!("  gathered      0.500 ms  {}", "█".repeat(24)));
        assert_eq!(lines[2], format!("  hashed        0.000 ms  {}█", " ".repeat(24)));
        assert_eq!(lines[3], format!("  synced        0.500 ms  {}{}", " ".repeat(24), "█".repeat(24)));
        assert!(lines[4].starts_with("It shared its sync with 1 other"));
    }
}
