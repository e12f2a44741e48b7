//! `mainstem dev`: a whole world in one process, to try things: a main chain with its log on disk, and simulated
//! side chains that speak to it over QUIC on loopback, each with a key of its own.

mod check;
mod progress;
mod side_chains;
mod world;

use std::io::{Write, stdout};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use engine::sim::SimConfig;
use rest::Client;

use crate::logging;
use crate::node::{Node, PortFlags};
use crate::settings::{ConfigArgs, LogFilter, Settings};
use crate::signals::Signals;

use super::run::Steering;
use check::Checked;
use progress::{Progress, grouped, per_second};
use side_chains::SideChains;
use world::{FIRST_CHAIN, World};

pub(super) use progress::above;

const EXAMPLES: &str = "\
Examples:
  mainstem dev                          until Ctrl-C
  mainstem dev --for 10s                ten seconds, then a proof and a summary
  mainstem dev --chains 1000 --rate 50  more chains, faster
  mainstem dev --rate 0 --blocks 1000000
                                        as fast as it goes";

/// Try it: a main chain and simulated side chains, no configuration
///
/// Everything is real but the side chains' transactions: keys, QUIC, sealing, the log on disk, proofs. Run again, it
/// continues where it ended.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Dev {
    /// Where it keeps log, keys and genesis document
    #[arg(long, value_name = "DIR", default_value = "mainstem-dev")]
    data: PathBuf,
    /// TCP address of the API; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 9480)))]
    api: SocketAddr,
    /// UDP address that the side chains send to; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 9481)))]
    quic: SocketAddr,
    /// How many side chains [default: those that are there, else 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    chains: Option<u32>,
    /// Blocks a second of each side chain; 0: as many as the main chain takes
    #[arg(long, value_name = "N", default_value = "10", value_parser = rate)]
    rate: f64,
    /// Stop after so much time, such as 10s or 5m
    #[arg(long = "for", value_name = "TIME", value_parser = duration, conflicts_with = "blocks")]
    time: Option<Duration>,
    /// Stop when so many blocks were indexed in this run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    blocks: Option<u64>,
    /// Which log lines are shown
    #[arg(long, value_name = "FILTER", default_value = "warn", value_parser = LogFilter::parse)]
    log: LogFilter,
}

/// When a run is over by itself.
#[derive(Clone, Copy)]
enum Goal {
    None,
    For(Duration),
    Blocks(u64),
}

impl Dev {
    pub(crate) fn run(self) -> Result<()> {
        let goal = match (self.time, self.blocks) {
            (Some(time), _) => Goal::For(time),
            (None, Some(blocks)) => Goal::Blocks(blocks),
            (None, None) => Goal::None,
        };
        let world = World::open(&self.data, self.chains.map(|chains| chains as usize))?;
        let mut settings = Settings::default();
        settings.data.dir.clone_from(&self.data);
        settings.api.addr = self.api;
        settings.ingest.addr = self.quic;
        settings.log.filter = self.log.clone();

        let mut progress = Progress::new(goal, 0);
        logging::start(&settings.log, Some(above(progress.bar())));
        let signals = Signals::listen()?;
        // What a reload finds is what holds.
        let mut config = ConfigArgs::default();
        config.flags.insert("data.dir", self.data.to_string_lossy().into_owned());
        config.flags.insert("api.addr", self.api.to_string());
        config.flags.insert("ingest.addr", self.quic.to_string());
        config.flags.insert("log.filter", self.log.text().to_owned());
        let node = Steering::start(&settings, PortFlags { ingest: "--quic", api: "--api" }, config)?;
        node.look(|node| announce(&self.data, &world, node))?;

        let sim = Arc::new(SimConfig { blocks_per_second: self.rate, ..SimConfig::default() });
        let before = node.look(Node::side_blocks);
        let start = Instant::now();
        progress = Progress::new(goal, before);
        let (ingest, key, api) = node.look(|node| (node.ingest_addr(), node.key(), node.api_addr()));
        let side_chains = SideChains::start(world.nodes, &sim, ingest, key)?;
        let failure = loop {
            if let Some(reason) = node.look(Node::failed).or_else(|| side_chains.failed()) {
                break Some(reason);
            }
            if node.look(|node| progress.update(node)) || signals.wait(Duration::from_millis(100)) {
                break None;
            }
        };
        progress.finish();
        let took = start.elapsed();

        let client = Client::new(&format!("http://{api}"));
        let checked = match failure {
            Some(reason) => Err(anyhow!("{reason}")),
            None => check::check(&client, FIRST_CHAIN, &sim).context("the proof does not verify"),
        };
        side_chains.stop();
        let side_blocks = node.look(Node::side_blocks) - before;
        let stats = node.end().stop()?;
        let ms = |quantile| stats.durable.value_at_quantile(quantile) as f64 / 1000.0;
        let mut out = stdout().lock();
        writeln!(
            out,
            "indexed     {} side blocks in {} main blocks in {:.1} s: {}/s",
            grouped(side_blocks),
            grouped(stats.main_blocks),
            took.as_secs_f64(),
            grouped(per_second(side_blocks, took))
        )?;
        writeln!(out, "durable     p50 {:.1} ms, p99 {:.1} ms after it was received", ms(0.5), ms(0.99))?;
        let Checked { chain, height, main, head, head_hash } = checked?;
        writeln!(out, "verified    the proof that main block {main} indexed block {height} of {chain},")?;
        writeln!(out, "            under the header of main block {head}: {head_hash}")?;
        Ok(())
    }
}

fn announce(data: &std::path::Path, world: &World, node: &Node) -> Result<()> {
    let mut out = stdout().lock();
    let (api, chains, data) = (node.api_addr(), world.genesis.chains.len(), data.display());
    let continues = if world.existed { ", continued" } else { "" };
    writeln!(out, "main chain  {} in {data}{continues}, main block {}", world.genesis.main.id, node.head())?;
    writeln!(out, "side chains {chains}, simulated, over QUIC to {}", node.ingest_addr())?;
    writeln!(out, "api         http://{api}")?;
    writeln!(out, "dashboard   http://{api}{}", crate::web::HOME)?;
    writeln!(out, "try         curl http://{api}/v1/status")?;
    writeln!(out, "            curl http://{api}/v1/proofs/{FIRST_CHAIN}/1")?;
    out.flush()?;
    Ok(())
}

/// Reads `10s`, `500ms`, `5m`, `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("expected a time with its unit, such as 500ms, 10s, 5m or 1h".into()),
    };
    let number: f64 =
        number.parse().map_err(|_| "expected a number before the unit, such as 10s".to_owned())?;
    let time = Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())?;
    if time.is_zero() { Err("expected a time above zero".into()) } else { Ok(time) }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.0..=1e6).contains(rate));
    rate.ok_or_else(|| "expected blocks a second, from 0 to 1000000".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        for (text, ms) in
            [("500ms", 500), ("10s", 10_000), ("1.5s", 1_500), ("5m", 300_000), ("1h", 3_600_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "10", "s", "-1s", "0s", "1 s", "1.2.3s", "1e3s", "10d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_finite_and_not_negative() {
        assert_eq!(rate("0.5"), Ok(0.5));
        for text in ["-1", "nan", "inf", "1e9", "x"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
