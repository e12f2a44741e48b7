//! `mainstem health`: whether the node is well, for machines that ask by running a program: containers, load balancers.

use std::io::{Write as _, stdout};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::Which;

const NOTES: &str = "\
Which node: that of --node, else the one whose api.addr the configuration has, by --config, MAINSTEM_CONFIG, \
MAINSTEM_API_ADDR or --data, else that on 127.0.0.1:9480.

Exit codes:
  0  well
  1  not well; standard output has a line for each check that fails
  5  nobody answers there

Examples:
  mainstem health                        may it get requests? (/readyz)
  mainstem health --live                 would a restart help? (/livez)
  HEALTHCHECK CMD [\"/usr/bin/mainstem\", \"health\"]";

/// How long a node may take: it only looks at what it knows.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Ask the node whether it is well, and tell it by the exit code
#[derive(Args)]
#[command(after_help = NOTES)]
pub(crate) struct Health {
    /// Ask whether it is alive, instead of whether it is ready
    #[arg(long)]
    live: bool,
    /// Ask whether it has started, instead of whether it is ready
    #[arg(long, conflicts_with = "live")]
    startup: bool,
    #[command(flatten)]
    which: Which,
}

impl Health {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let client = self.which.client()?.with_timeout(TIMEOUT);
        let route = match (self.live, self.startup) {
            (true, _) => "/livez",
            (_, true) => "/startupz",
            _ => "/readyz",
        };
        let health = client.health(route)?;
        if health.is_ok() {
            return Ok(ExitCode::SUCCESS);
        }
        for check in health.checks.iter().filter(|check| !check.ok) {
            let _ = writeln!(stdout(), "{}: {}", check.name, check.detail);
        }
        Ok(ExitCode::FAILURE)
    }
}
