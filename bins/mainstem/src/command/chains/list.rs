//! `mainstem chains`: all side chains in a table, with what each does and why.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stdout};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use rest::status::{Progress, Reason, State};
use rest::{ChainFilter, Client, SideChain};

use super::change::Change;
use crate::clock::unix_millis;
use crate::codes::is_closed_output;
use crate::command::Which;
use crate::command::table::Table;
use crate::command::words::{ago, counted, grouped, printable};

const EXAMPLES: &str = "\
Examples:
  mainstem chains                         all chains of the node on this machine
  mainstem chains --state stalled         those in one state; --reason no-data: for one reason
  mainstem chains --find tDVV --watch     those with this in their id or name, every second
  mainstem why tDVV                       why one chain is behind, step by step

Columns:
  STATE, REASON  what it does and why; `mainstem why` says more
  LAG            blocks that its node has and that are not durable here; - if it has not told
  LAG S          for how long the oldest of them has been known
  RATE           blocks made durable a second, over the last 10 s
  LAST           when its last block came";

/// Between two looks.
const PACE: Duration = Duration::from_secs(1);

/// Rows on a terminal that is shown anew each second; the others are counted.
const MAX_WATCHED: usize = 40;

/// Show how each side chain is doing; add, pause, resume and remove them
#[derive(Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Chains {
    #[command(subcommand)]
    change: Option<Change>,
    #[command(flatten)]
    which: Which,
    /// Show only chains in this state
    #[arg(long, value_parser = state)]
    state: Option<State>,
    /// Show only chains that are in their state for this reason
    #[arg(long, value_parser = reason)]
    reason: Option<Reason>,
    /// Show only chains with this in their id or name
    #[arg(long, value_name = "TEXT")]
    find: Option<String>,
    /// Show them anew every second, those that are not well first
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// As JSON: a list of what GET /v1/chains has of each
    #[arg(long)]
    json: bool,
}

impl Chains {
    pub(crate) fn run(self) -> Result<()> {
        if let Some(change) = self.change {
            return change.run();
        }
        match self.show() {
            // Whoever closed the pipe has seen enough.
            Err(error) if is_closed_output(&error) => Ok(()),
            result => result,
        }
    }

    fn show(&self) -> Result<()> {
        let client = self.which.client()?;
        if !self.watch {
            let chains = self.fetch(&client)?;
            let mut out = stdout().lock();
            if self.json {
                serde_json::to_writer_pretty(&mut out, &chains)?;
                writeln!(out)?;
                return Ok(());
            }
            return self.print(&chains, usize::MAX, &mut out);
        }
        let clear = if stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
        loop {
            let mut screen = Vec::new();
            match self.fetch(&client) {
                Ok(mut chains) => {
                    // Those that need somebody first, and of these those that have been so for longest.
                    chains.sort_by_key(urgency);
                    self.print(&chains, MAX_WATCHED, &mut screen)?;
                }
                // It may be restarting.
                Err(error) => writeln!(screen, "{error:#}")?,
            }
            let mut out = stdout().lock();
            write!(out, "{clear}")?;
            out.write_all(&screen)?;
            writeln!(out)?;
            out.flush()?;
            drop(out);
            thread::sleep(PACE);
        }
    }

    fn fetch(&self, client: &Client) -> Result<Vec<SideChain>> {
        let filter = ChainFilter { state: self.state, reason: self.reason, text: self.find.clone() };
        client.all_chains(&filter).map(|chain| Ok(chain?)).collect()
    }

    fn print(&self, chains: &[SideChain], most: usize, out: &mut impl Write) -> Result<()> {
        if chains.is_empty() {
            let some = self.state.is_some() || self.reason.is_some() || self.find.is_some();
            let text = if some { "No chain is as asked for." } else { "No side chain is registered." };
            writeln!(out, "{text}")?;
            return Ok(());
        }
        write!(out, "{}", table(&chains[..chains.len().min(most)], unix_millis()))?;
        if chains.len() > most {
            writeln!(out, "and {} more", grouped((chains.len() - most) as u64))?;
        }
        writeln!(out, "{}", summary(chains))?;
        Ok(())
    }
}

/// Sorts what needs somebody to the top.
fn urgency(chain: &SideChain) -> (bool, u64, u32) {
    let status = chain.progress.as_ref().map(|progress| &progress.status);
    let well = status.is_none_or(|status| matches!(status.state, State::Live | State::CatchingUp));
    (well, status.map_or(0, |status| status.since), chain.chain_id.0)
}

fn table(chains: &[SideChain], now: u64) -> Table {
    let mut table = Table::new(&[
        "CHAIN",
        "NAME",
        "STATE",
        "REASON",
        ">FOR",
        ">RECEIVED",
        ">DURABLE",
        ">LAG",
        ">LAG S",
        ">RATE",
        ">LAST",
        "SPEAKER",
    ]);
    for chain in chains {
        let none = || "-".to_owned();
        let progress = chain.progress.as_ref();
        let of = |show: &dyn Fn(&Progress) -> Option<String>| progress.and_then(show).unwrap_or_else(none);
        let name = if chain.name.is_empty() { none() } else { printable(&chain.name) };
        table.row([
            chain.chain.clone(),
            name,
            of(&|progress| Some(progress.status.state.to_string())),
            of(&|progress| Some(progress.status.reason.to_string())),
            of(&|progress| Some(ago(progress.status.since, now))),
            grouped(chain.received.0),
            grouped(chain.durable.0),
            of(&|progress| progress.lag_blocks.map(grouped)),
            of(&|progress| progress.lag_seconds.map(|seconds| format!("{seconds:.1}"))),
            of(&|progress| Some(format!("{:.1}", progress.rate))),
            of(&|progress| progress.last_block.map(|time| ago(time, now))),
            chain.speaker.as_ref().map_or_else(none, |key| {
                let address = progress.and_then(|progress| progress.speaker_address.as_deref()).unwrap_or("");
                format!("{} {}", &key.to_string()[..8], printable(address)).trim_end().to_owned()
            }),
        ]);
    }
    table
}

/// How many chains do what.
fn summary(chains: &[SideChain]) -> String {
    let mut counts = BTreeMap::new();
    for progress in chains.iter().filter_map(|chain| chain.progress.as_ref()) {
        *counts.entry(progress.status.state).or_insert(0_u64) += 1;
    }
    let counts: Vec<_> = counts.iter().map(|(state, count)| format!("{} {state}", grouped(*count))).collect();
    format!("{}: {}", counted(chains.len() as u64, "chain"), counts.join(", "))
}

fn state(text: &str) -> Result<State, String> {
    State::ALL.into_iter().find(|state| state.name() == text).ok_or_else(|| {
        let names: Vec<_> = State::ALL.iter().map(|state| state.name()).collect();
        format!("expected one of {}", names.join(", "))
    })
}

fn reason(text: &str) -> Result<Reason, String> {
    Reason::from_name(text).ok_or_else(|| {
        let names: Vec<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        format!("expected one of {}", names.join(", "))
    })
}
