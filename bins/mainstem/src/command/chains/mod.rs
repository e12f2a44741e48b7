//! `mainstem chains` and `mainstem why`: how each side chain is doing, and why.

mod change;
mod list;
mod why;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use clap::Args;

use crate::settings::ConfigArgs;

pub(crate) use list::Chains;
pub(crate) use why::Why;

/// Which node is asked.
#[derive(Args, Debug)]
struct Which {
    /// Ask the node at this address
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9480", conflicts_with = "data")]
    node: String,
    /// Ask the node that runs with this data directory: its address stands in the configuration
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Which {
    fn client(&self) -> Result<rest::Client> {
        Ok(rest::Client::new(&self.url()?))
    }

    fn url(&self) -> Result<String> {
        let Some(data) = &self.data else { return Ok(self.node.clone()) };
        let mut args = ConfigArgs::default();
        args.flags.insert("data.dir", data.to_string_lossy().into_owned());
        let mut addr = args.load()?.settings.api.addr;
        if addr.port() == 0 {
            bail!(
                "{} lets the system choose the port of the API (api.addr = {addr}); name it with --node, as the node \
                 printed it",
                data.display()
            );
        }
        if addr.ip().is_unspecified() {
            addr.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        Ok(format!("http://{addr}"))
    }
}

/// Now, in ms since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// How long ago, in the two largest units. The clocks of two machines may differ: the future is now.
fn ago(time: u64, now: u64) -> String {
    let seconds = now.saturating_sub(time) / 1_000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// What comes from elsewhere could hold anything, also what moves the cursor.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
