//! Ingest over bad networks, against quinn alone over the same path.
//!
//! ```text
//!   near namespace: sender ──> [relay: delay, reordering] ──> veth: loss (nft), rate (tbf), MTU ──> far: receiver
//! ```
//! The sender is a client of Mainstem, or an endpoint that writes bytes as fast as it can, with our limits or with
//! quinn's defaults; the receiver a server with real lanes, or an endpoint that discards. All in turn on each path.

mod path;
mod role;

#[path = "../../../net/tests/network/namespaces.rs"]
mod namespaces;
#[allow(dead_code, reason = "shared with the tests of bad networks, which use the rest")]
#[path = "../../../net/tests/network/relay.rs"]
mod relay;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use net::frame::BLOCK_BYTES;
use serde::Serialize;

use crate::child::Child;
use crate::table::{Output, Progress, Spread, Table};
use path::{Conditions, Site};
use role::{Kind, Sample, Told};

const EXAMPLES: &str = "\
Examples:
  mainstem-perf network                               every path
  mainstem-perf network --paths loss1,rtt50 --cuts 0  two of them, and no cuts
  mainstem-perf network --without-namespaces          the relay does everything, on loopback

Namespaces take root, ip and nft (Debian: apt-get install iproute2 nftables). Without them, and with
--without-namespaces, one relay on loopback loses, delays and throttles; it says so. MB are 10^6 bytes of blocks, 72 of
each, or of what quinn is given to send.";

/// Measure ingest over bad networks against quinn alone
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Network {
    /// The paths that are measured, by name; by default all
    #[arg(long, value_delimiter = ',')]
    paths: Vec<String>,
    /// Then, over a path with nothing else wrong, cut it for so many seconds; 0 leaves this out
    #[arg(long, value_delimiter = ',', default_value = "1,5,15")]
    cuts: Vec<f64>,
    /// Runs of each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,
    /// Seconds of a run
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Seconds after the handshake before a run counts
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// Chains that send
    #[arg(long, default_value_t = 16)]
    chains: u32,
    /// Blocks that a lane holds. Chains x blocks x 72 bytes is what may be under way in all
    #[arg(long, default_value_t = 16_384)]
    lane_blocks: usize,
    /// Leave the namespaces out
    #[arg(long)]
    without_namespaces: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    role: role::Role,
}

#[derive(Serialize)]
struct Row {
    path: &'static str,
    about: &'static str,
    namespaces: bool,
    blocks_per_second: Spread,
    megabytes_per_second: Spread,
    quinn: Spread,
    quinn_defaults: Spread,
    of_quinn: f64,
    of_quinn_defaults: f64,
    /// What the senders told at the end of their last runs.
    told: [Told; 3],
}

#[derive(Serialize)]
struct CutRow {
    cut: f64,
    namespaces: bool,
    back: Spread,
    quinn: Spread,
    quinn_defaults: Spread,
}

impl Network {
    pub(crate) fn run(&self) -> Result<()> {
        if self.role.is_set() {
            return self.role.run();
        }
        let all = path::ALL;
        if let Some(unknown) = self.paths.iter().find(|name| all.iter().all(|path| path.name != **name)) {
            let names: Vec<_> = all.iter().map(|path| path.name).collect();
            bail!("there is no path {unknown:?}; expected some of {}", names.join(", "));
        }
        let chosen =
            |path: &&Conditions| self.paths.is_empty() || self.paths.iter().any(|name| name == path.name);
        let chosen: Vec<_> = all.iter().filter(chosen).collect();
        let asked = self.without_namespaces.then(|| "as asked".to_owned());
        let missing = asked.or_else(namespaces::Namespaces::missing);
        if let Some(missing) = &missing {
            eprintln!("network namespaces are left out: {missing}; a relay on loopback does what they would");
        }
        let mut table = Table::new(&[
            "path",
            "Mainstem, blocks/s",
            "MB/s",
            "quinn, same settings, MB/s",
            "quinn, its defaults, MB/s",
            "of quinn",
            "of its defaults",
        ]);
        let cuts: Vec<_> = self.cuts.iter().copied().filter(|seconds| *seconds > 0.0).collect();
        let progress = Progress::new((chosen.len() + cuts.len()) as u64 * u64::from(self.runs) * 3);
        for path in chosen {
            let row = self.measure(path, missing.is_none(), &progress)?;
            let cells = [
                row.about.to_owned(),
                format!("{:.0}", row.blocks_per_second),
                format!("{:.2}", row.megabytes_per_second),
                format!("{:.2}", row.quinn),
                format!("{:.2}", row.quinn_defaults),
                format!("{:.2}", row.of_quinn),
                format!("{:.2}", row.of_quinn_defaults),
            ];
            progress.note(&format!("{}: {:?}", row.path, row.told));
            table.row(cells, &row)?;
        }
        let mut back = Table::new(&[
            "path cut for, s",
            "Mainstem goes on after, s",
            "quinn, same settings",
            "quinn, its defaults",
        ]);
        for seconds in &cuts {
            let row = self.cut(*seconds, missing.is_none(), &progress)?;
            let figures = [row.back, row.quinn, row.quinn_defaults];
            let cells =
                [format!("{seconds}")].into_iter().chain(figures.map(|figure| format!("{figure:.2}")));
            back.row(cells, &row)?;
        }
        drop(progress);
        let where_ = if missing.is_none() { "two namespaces" } else { "a relay on loopback" };
        let method = format!(
            "over {where_}, {} runs of {} s after {} s each, median (lowest to highest); {} chains",
            self.runs, self.seconds, self.warm_up, self.chains
        );
        table.finish(&self.output, &method)?;
        if !cuts.is_empty() {
            back.finish(
                &Output { json: None },
                "seconds from the healing of the path to the first bytes that arrive",
            )?;
        }
        Ok(())
    }

    fn measure(&self, path: &Conditions, namespaces: bool, progress: &Progress) -> Result<Row> {
        let mut rates: [Vec<f64>; 3] = Default::default();
        let mut told: [Told; 3] = Default::default();
        for run in 0..self.runs {
            for (place, kind) in Kind::ALL.into_iter().enumerate() {
                progress.say(format!("{}, run {} of {}: {kind:?}", path.name, run + 1, self.runs));
                let (rate, last) = self
                    .once(path, namespaces, kind, u64::from(run))
                    .with_context(|| format!("on the path {}, {kind:?}", path.name))?;
                rates[place].push(rate / 1e6);
                told[place] = last;
                progress.step();
            }
        }
        let [ours, quinn, defaults] = rates.map(Spread::of);
        let scaled = |factor: f64| Spread {
            median: ours.median * factor,
            low: ours.low * factor,
            high: ours.high * factor,
        };
        Ok(Row {
            path: path.name,
            about: path.about,
            namespaces,
            blocks_per_second: scaled(1e6 / BLOCK_BYTES as f64),
            megabytes_per_second: ours,
            quinn,
            quinn_defaults: defaults,
            of_quinn: ours.median / quinn.median,
            of_quinn_defaults: ours.median / defaults.median,
            told,
        })
    }

    /// Cuts the path for a while, and measures how long after it was healed something arrives.
    fn cut(&self, seconds: f64, namespaces: bool, progress: &Progress) -> Result<CutRow> {
        let mut back: [Vec<f64>; 3] = Default::default();
        for run in 0..self.runs {
            for (place, kind) in Kind::ALL.into_iter().enumerate() {
                progress.say(format!("cut for {seconds} s, run {} of {}: {kind:?}", run + 1, self.runs));
                back[place].push(self.cut_once(seconds, namespaces, kind)?);
                progress.step();
            }
        }
        let [back, quinn, quinn_defaults] = back.map(Spread::of);
        Ok(CutRow { cut: seconds, namespaces, back, quinn, quinn_defaults })
    }

    fn cut_once(&self, seconds: f64, namespaces: bool, kind: Kind) -> Result<f64> {
        let (mut site, mut receiver, _sender) = self.set_up(&path::GOOD, namespaces, kind, 0)?;
        std::thread::sleep(Duration::from_secs_f64(self.warm_up));
        site.cut(true)?;
        std::thread::sleep(Duration::from_secs_f64(seconds));
        let before: Sample = receiver.ask("sample")?;
        let healed = Instant::now();
        site.cut(false)?;
        loop {
            let now: Sample = receiver.ask("sample")?;
            let waited = healed.elapsed().as_secs_f64();
            if now.bytes > before.bytes {
                return Ok(waited);
            }
            if waited > 120.0 {
                bail!("nothing arrived within two minutes after a cut of {seconds} s, {kind:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Receiver and sender, connected.
    fn set_up(
        &self,
        path: &Conditions,
        namespaces: bool,
        kind: Kind,
        seed: u64,
    ) -> Result<(Site, Child, Child)> {
        let mut site = Site::new(path, namespaces)?;
        let mut receiver = site.receiver(&role::Setup::Receive {
            kind,
            bind: (site.receiver_ip(), 0).into(),
            chains: self.chains,
            lane_blocks: self.lane_blocks,
        })?;
        let target = site.between(receiver.hear()?, seed)?;
        let mut sender = site.sender(&role::Setup::Send { kind, target, chains: self.chains })?;
        let () = sender.hear().context("it does not connect")?;
        Ok((site, receiver, sender))
    }

    /// Bytes a second, and what the sender told.
    fn once(&self, path: &Conditions, namespaces: bool, kind: Kind, seed: u64) -> Result<(f64, Told)> {
        let (_site, mut receiver, mut sender) = self.set_up(path, namespaces, kind, seed)?;
        std::thread::sleep(Duration::from_secs_f64(self.warm_up));
        let begin: Sample = receiver.ask("sample")?;
        std::thread::sleep(Duration::from_secs_f64(self.seconds));
        let end: Sample = receiver.ask("sample")?;
        let told: Told = sender.ask("told")?;
        let seconds = (end.at - begin.at) as f64 / 1e9;
        Ok(((end.bytes - begin.bytes) as f64 / seconds, told))
    }
}
