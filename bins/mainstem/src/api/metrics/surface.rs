//! What was asked of the node, how its chains are, whether it is well, and what its process takes.

use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use engine::store::BlockReader;
use rest::health::Check;
use rest::status::{Reason, State};

use super::super::requests::Requests;
use super::super::routes::Node;
use super::super::stats::DiskNow;
use super::Lines;
use crate::proc;
use crate::watch::{Tallies, Worst};

/// Name of what those chains are together that have no series of their own.
const OTHERS: &str = "other";

/// Version, commit and compiler. The commit is known where the one who builds says it; so the same sources are the same
/// program, in a checkout and out of it.
const BUILD: [&str; 3] = [
    env!("CARGO_PKG_VERSION"),
    match option_env!("MAINSTEM_COMMIT") {
        Some(commit) => commit,
        None => "unknown",
    },
    env!("MAINSTEM_RUSTC"),
];

/// All of it, as it was at one moment.
#[derive(Debug)]
pub(super) struct Surface {
    requests: Requests,
    open: (usize, usize),
    checks: Vec<Check>,
    disk: Option<DiskNow>,
    states: [(State, usize); State::ALL.len()],
    /// The furthest behind first.
    chains: Vec<Worst>,
    max_chains: usize,
    tallies: Tallies,
}

/// A figure of a chain: name, help, value, and how those of several chains make one.
type Figure = (&'static str, &'static str, fn(&Worst) -> f64, fn(f64, f64) -> f64);

const FIGURES: [Figure; 3] = [
    (
        "chain_lag_blocks",
        "Blocks that a side chain's node has and that are not durable here",
        |chain| chain.lag_blocks as f64,
        |a, b| a + b,
    ),
    ("chain_lag_seconds", "How far a side chain is behind in time", |chain| chain.lag_seconds, f64::max),
    (
        "chain_waiting_blocks",
        "Blocks of a side chain that were received and are not durable yet",
        |chain| chain.received.saturating_sub(chain.durable) as f64,
        |a, b| a + b,
    ),
];

impl Surface {
    pub(super) fn of<R: BlockReader>(node: &Node<R>) -> Self {
        Self {
            requests: node.requests.clone(),
            open: node.heads.open(),
            checks: node.health.checks(),
            disk: node.stats.disk(),
            states: node.board.counts(),
            chains: node.board.worst(usize::MAX),
            // Relaxed: a bound of its own.
            max_chains: node.max_chains.load(Ordering::Relaxed),
            tallies: node.board.tallies(),
        }
    }

    pub(super) fn node(&self, out: &mut Lines<'_>) -> fmt::Result {
        let [version, commit, rustc] = BUILD.map(str::to_owned);
        let labels = [("version", version), ("commit", commit), ("rustc", rustc)];
        out.info("build_info", "What runs, as labels; always 1", [labels])?;
        out.gauges(
            "health_check",
            "Whether a check of /readyz is well (1) or not (0)",
            "check",
            self.checks.iter().map(|check| (check.name.as_str(), u64::from(check.ok))),
        )?;
        if let Some(disk) = self.disk {
            out.gauge("log_bytes", "What the files of the log take on the disk", &disk.used_bytes)?;
            out.gauge("disk_free_bytes", "What is free for the log", &disk.free_bytes)?;
            out.gauge("disk_size_bytes", "Size of the file system of the log", &disk.size_bytes)?;
        }
        let (open, most) = (self.open.0 as u64, self.open.1 as u64);
        out.gauge("api_streams", "Event streams and requests that wait for a block, open now", &open)?;
        out.gauge("api_streams_max", "How many of them may be open (api.max_streams)", &most)?;
        out.requests(&self.requests)
    }

    pub(super) fn chains(&self, out: &mut Lines<'_>) -> fmt::Result {
        out.gauges(
            "side_chains_by_state",
            "Side chains in each state",
            "state",
            self.states.iter().map(|(state, count)| (state.name(), *count as u64)),
        )?;
        let mut reasons = HashMap::new();
        for chain in &self.chains {
            *reasons.entry(chain.reason).or_default() += 1;
        }
        out.gauges_by_two(
            "side_chains_by_reason",
            "Side chains for each reason that a state can have",
            ["state", "reason"],
            Reason::ALL.iter().map(|reason| {
                let chains = reasons.get(reason).copied().unwrap_or(0);
                ([reason.state().name(), reason.name()], chains)
            }),
        )?;
        let Tallies { changes, asked_again, hung_up, quarantined, stalls } = self.tallies;
        out.counter("watch_changes", "Changes of a side chain's state or reason", changes)?;
        out.counters(
            "watch_remedies",
            "What the watch did about chains without progress",
            "remedy",
            [("ask-again", asked_again), ("hang-up", hung_up), ("quarantine", quarantined)],
        )?;
        out.counters("watch_stalls", "Times that a stage made no progress in its deadline", "stage", stalls)?;

        let (shown, others) = self.chains.split_at(self.max_chains.min(self.chains.len()));
        for (name, help, value, join) in FIGURES {
            let each = shown.iter().map(|chain| (chain.chain.to_string(), value(chain)));
            let others = others.iter().map(value).reduce(join).map(|value| (OTHERS.to_owned(), value));
            out.gauges(name, help, "chain", each.chain(others))?;
        }
        // Heights of different chains make no sum: what all of them have is in side_blocks_indexed.
        out.counters(
            "chain_blocks",
            "Durable height of a side chain",
            "chain",
            shown.iter().map(|chain| (chain.chain.to_string(), chain.durable)),
        )?;
        let state = |chain: &Worst| {
            let (state, reason) = (chain.reason.state().name(), chain.reason.name());
            [("chain", chain.chain.to_string()), ("state", state.to_owned()), ("reason", reason.to_owned())]
        };
        let help = "State and reason of a side chain that has series of its own, as labels; always 1";
        out.info("chain_state", help, shown.iter().map(state))
    }
}

/// What every program tells of its process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) started: Instant,
}

impl Process {
    pub(super) fn tell(&self, out: &mut Lines<'_>) -> fmt::Result {
        // Told once: whoever sees it change sees another process.
        static STARTED: OnceLock<f64> = OnceLock::new();
        let started = *STARTED.get_or_init(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            now.saturating_sub(self.started.elapsed()).as_secs_f64()
        });
        out.gauge("start_time_seconds", "When the node started, since the Unix epoch", &started)?;
        if let Some(seconds) = proc::cpu_seconds() {
            out.seconds("cpu_seconds", "Processor time of the process", seconds)?;
        }
        if let Some((open, most)) = proc::open_files() {
            out.gauge("open_fds", "Files and sockets that are open", &open)?;
            if let Some(most) = most {
                out.gauge("max_fds", "How many may be open", &most)?;
            }
        }
        match proc::resident_bytes() {
            Some(bytes) => out.gauge("resident_memory_bytes", "Memory of the process that is in RAM", &bytes),
            None => Ok(()),
        }
    }
}
