//! `mainstem health`: whether the node is well, for machines that ask by running a program: containers, load balancers.

use std::io::{Write as _, stderr, stdout};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use rest::Client;

use crate::settings::ConfigArgs;

const NOTES: &str = "\
Which node: that of --node, else the one whose api.addr the configuration has, by MAINSTEM_CONFIG, MAINSTEM_API_ADDR or \
--data, else that on 127.0.0.1:9480.

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

/// Nobody answers.
const UNREACHABLE: u8 = 5;

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
    /// Ask the node at this address
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    node: Option<String>,
    /// Ask the node that runs with this data directory
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Health {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let client = Client::new(&self.url()?).with_timeout(TIMEOUT);
        let route = match (self.live, self.startup) {
            (true, _) => "/livez",
            (_, true) => "/startupz",
            _ => "/readyz",
        };
        let health = match client.health(route) {
            Ok(health) => health,
            Err(error) => {
                // Whoever closed standard error has the exit code.
                let _ = writeln!(stderr(), "error: {error}");
                return Ok(ExitCode::from(UNREACHABLE));
            }
        };
        if health.is_ok() {
            return Ok(ExitCode::SUCCESS);
        }
        for check in health.checks.iter().filter(|check| !check.ok) {
            let _ = writeln!(stdout(), "{}: {}", check.name, check.detail);
        }
        Ok(ExitCode::FAILURE)
    }

    fn url(&self) -> Result<String> {
        if let Some(node) = &self.node {
            return Ok(node.clone());
        }
        let mut args = ConfigArgs::default();
        if let Some(data) = &self.data {
            args.flags.insert("data.dir", data.to_string_lossy().into_owned());
        }
        let addr = args.load()?.settings.api.addr;
        if addr.port() == 0 {
            bail!(
                "api.addr = {addr} lets the system choose the port; name it with --node, as the node printed it"
            );
        }
        Ok(format!("http://{}", reachable(addr)))
    }
}

/// An address of this machine to connect to, for one that is listened on.
fn reachable(mut addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => addr.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => addr.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    addr
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_that_listens_everywhere_is_asked_on_this_machine() {
        for (listens, asked) in
            [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "[::1]:80"), ("10.0.0.5:80", "10.0.0.5:80")]
        {
            let asked: SocketAddr = asked.parse().unwrap();
            assert_eq!(reachable(listens.parse().unwrap()), asked);
        }
    }
}
