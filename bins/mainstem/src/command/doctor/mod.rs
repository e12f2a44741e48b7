//! `mainstem doctor`: what may keep a node from working well, what it means, and what mends it.

mod data;
mod finding;
mod machine;
mod network;
mod system;

use std::env;
use std::io::{Write, stdout};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::clock::unix_millis;
use crate::codes::is_closed_output;
use crate::data_dir::DataDir;
use crate::settings::{ConfigArgs, Settings};
use crate::{node, threads};

use finding::{Finding, Level};
use machine::Machine;
use system::Needs;

const NOTES: &str = "\
It looks at the configuration, the clock, the disk (it writes and syncs a small file in the data directory and removes it), \
limits of the system, ports, keys, the genesis document, the log and the memory; and at the node, if it runs. Nothing else \
is changed.

Exit code:
  0  nothing keeps a node from working, though there may be warnings
  1  something does: each is marked FAIL

Examples:
  mainstem doctor --data main
  mainstem doctor --config /etc/mainstem.toml --json | jq '.findings[] | select(.level != \"ok\")'";

/// Look for what may keep a node from working well, and say what mends it
#[derive(Args)]
#[command(after_help = NOTES)]
pub(crate) struct Doctor {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Only what is not as it should be
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Serialize)]
struct Report {
    /// Whether nothing keeps a node from working.
    ok: bool,
    warnings: usize,
    failures: usize,
    findings: Vec<Finding>,
}

impl Doctor {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let report = Report::of(self.examine());
        let printed = if self.json { print_json(&report) } else { report.print(self.quiet) };
        match printed {
            Err(error) if !is_closed_output(&error) => return Err(error),
            // Whoever closed standard output still learns the outcome from the exit code.
            _ => {}
        }
        Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn examine(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let settings = match self.config.load() {
            Ok(loaded) => {
                let from = loaded.file.map_or_else(
                    || "defaults: there is no file".to_owned(),
                    |file| format!("{} is understood", file.display()),
                );
                findings.push(Finding::ok("configuration", from));
                loaded.settings
            }
            Err(error) => {
                let means = "a node does not start with it; what follows is for the defaults";
                let mend =
                    "mainstem config check names each line; mainstem config default shows all settings";
                findings.push(Finding::fail("configuration", format!("{error:#}"), means, mend));
                let mut settings = Settings::default();
                // The file may be wrong, but which directory is meant is known.
                let dir = self.config.flags.get("data.dir").cloned();
                if let Some(dir) = dir.or_else(|| env::var("MAINSTEM_DATA_DIR").ok()) {
                    settings.data.dir = dir.into();
                }
                settings
            }
        };
        let dir = DataDir::of(&settings);
        let (found, genesis) = data::genesis(&dir);
        findings.push(found);
        let mut key = None;
        if dir.root.is_dir() {
            findings.push(data::key(&dir));
            key = dir.read_key().ok().map(|identity| identity.public());
            findings.push(data::paused(&dir));
            findings.extend(data::admin(&settings.api, &dir));
            findings.push(data::disk_speed(&dir.root));
        }
        let (found, segments) = data::log(&dir, genesis.as_ref());
        findings.extend(found);
        if let Some(genesis) = &genesis {
            findings.push(data::keys(&dir, genesis));
            if let Err(error) = node::check(&settings, &dir, genesis) {
                let means = "a node does not start with these settings and this genesis document";
                let mend =
                    "change the setting that is named: mainstem config show --origin says where it is set";
                findings.push(Finding::fail("settings", format!("{error:#}"), means, mend));
            }
        }
        let chains = genesis.as_ref().map(|genesis| genesis.chains.len() as u64);
        let needs = needs(&settings, chains, segments);
        findings.extend(system::findings(&Machine::look(&dir.root), &needs, &dir.root));
        let running = network::running(&settings, key);
        findings.extend(network::ports(&settings, running.is_some()));
        if let Some(client) = running {
            findings.extend(network::node(&client, unix_millis()));
        }
        findings
    }
}

/// What these settings ask of a machine.
fn needs(settings: &Settings, chains: Option<u64>, segments: u64) -> Needs {
    let plan = threads::Plan::of(threads::cores(), settings);
    let pipeline = node::pipeline(settings, &plan);
    let lanes = match chains {
        Some(chains) => pipeline.lane_bytes().saturating_mul(chains),
        None => settings.cache.bytes.0,
    };
    let bodies = settings.api.max_body.0.saturating_mul(settings.api.max_connections as u64);
    let parts = [
        lanes,
        // QUIC keeps packets that are partly data.
        settings.ingest.window_memory.0.saturating_mul(5) / 2,
        settings.ingest.frame_memory.0,
        pipeline.blocks_bytes(),
        bodies,
    ];
    Needs {
        segment_bytes: settings.storage.segment_bytes.0,
        segments,
        connections: settings.api.max_connections as u64,
        memory: parts.into_iter().fold(0, u64::saturating_add),
        lanes,
    }
}

fn print_json(report: &Report) -> Result<()> {
    let mut out = stdout().lock();
    serde_json::to_writer_pretty(&mut out, report)?;
    writeln!(out)?;
    Ok(())
}

impl Report {
    fn of(mut findings: Vec<Finding>) -> Self {
        let count = |level| findings.iter().filter(|finding| finding.level == level).count();
        let (warnings, failures) = (count(Level::Warn), count(Level::Fail));
        // The worst last, where it is seen; otherwise in order.
        findings.sort_by_key(|finding| finding.level);
        Self { ok: failures == 0, warnings, failures, findings }
    }

    fn print(&self, quiet: bool) -> Result<()> {
        let mut out = anstream::stdout().lock();
        for finding in self.findings.iter().filter(|finding| !quiet || finding.level != Level::Ok) {
            let style = anstyle::Style::new();
            let style = match finding.level {
                Level::Ok => style.fg_color(Some(anstyle::AnsiColor::Green.into())),
                Level::Warn => style.fg_color(Some(anstyle::AnsiColor::Yellow.into())),
                Level::Fail => style.fg_color(Some(anstyle::AnsiColor::Red.into())).bold(),
            };
            let Finding { check, found, .. } = finding;
            writeln!(out, "{style}{:4}{style:#}  {check:16}  {found}", finding.level.name())?;
            if let Some(means) = &finding.means {
                writeln!(out, "{:24}{means}", "")?;
            }
            if let Some(mend) = &finding.mend {
                writeln!(out, "{:24}-> {mend}", "")?;
            }
        }
        let (warnings, failures) = (self.warnings, self.failures);
        match (failures, warnings) {
            (0, 0) => writeln!(out, "all is well")?,
            _ => writeln!(out, "{failures} failed, {warnings} to be looked at")?,
        }
        Ok(())
    }
}
