//! The swarm as a process of its own.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::lag::{LagSummary, Lags};
use super::session::Cursor;
use super::{Setup, Swarm, lock};
use crate::child::{answer, setup, tell};

/// Sends; started by the measurements.
#[derive(Args)]
pub(crate) struct Role {
    #[arg(long)]
    setup: String,
}

/// Name of the command.
pub(crate) const NAME: &str = "swarm";

/// The first line: all have connected, or failed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) connected: u64,
    pub(crate) failed: u64,
    pub(crate) failure: Option<String>,
    pub(crate) seconds: f64,
}

/// Answer to "sample": figures since the start.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) blocks: u64,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    pub(crate) failed: u64,
    pub(crate) packets: u64,
    pub(crate) lost: u64,
    pub(crate) datagrams: u64,
    pub(crate) sends: u64,
    pub(crate) congestion_events: u64,
    pub(crate) least_mtu: u16,
    /// Mean, in microseconds.
    pub(crate) rtt: u64,
}

impl Role {
    pub(crate) fn run(&self) -> Result<()> {
        let swarm = Swarm::new(setup::<Setup>(&self.setup)?)?;
        let took = swarm.connect();
        let totals = &swarm.shared.totals;
        tell(&Ready {
            connected: totals.connected.load(Ordering::Relaxed),
            failed: totals.failed.load(Ordering::Relaxed),
            failure: lock(&swarm.shared.failure).clone(),
            seconds: took.as_secs_f64(),
        })?;
        answer(|question| match question {
            "sample" => Ok(serde_json::to_value(swarm.sample())?),
            "go" => {
                swarm.go();
                Ok(serde_json::Value::Null)
            }
            "failure" => Ok(serde_json::to_value(&*lock(&swarm.shared.failure))?),
            "window" => Ok(serde_json::to_value(swarm.window()?)?),
            "lags" => Ok(serde_json::to_value(swarm.lags()?)?),
            other => bail!("a swarm has no answer to {other:?}"),
        })
    }
}

impl Swarm {
    fn sample(&self) -> Sample {
        let totals = &self.shared.totals;
        let mut sample = Sample {
            blocks: totals.blocks.load(Ordering::Relaxed),
            frames: totals.frames.load(Ordering::Relaxed),
            bytes: totals.bytes.load(Ordering::Relaxed),
            failed: totals.failed.load(Ordering::Relaxed),
            least_mtu: u16::MAX,
            ..Sample::default()
        };
        let sessions = lock(&self.shared.sessions).clone();
        for session in &sessions {
            let stats = session.connection.stats();
            sample.packets += stats.path.sent_packets;
            sample.lost += stats.path.lost_packets;
            sample.congestion_events += stats.path.congestion_events;
            sample.datagrams += stats.udp_tx.datagrams;
            sample.sends += stats.udp_tx.ios;
            sample.least_mtu = sample.least_mtu.min(stats.path.current_mtu);
            sample.rtt += stats.path.rtt.as_micros() as u64;
        }
        sample.rtt = sample.rtt.checked_div(sessions.len() as u64).unwrap_or(0);
        sample
    }

    /// Sums up since the last time that it was asked, what waits for acks now included, and begins anew.
    fn window(&self) -> Result<LagSummary> {
        let schedule = self.shared.schedule().context(NO_LAGS)?;
        let sessions = lock(&self.shared.sessions).clone();
        let (mut all, mut unacknowledged, now) = (Lags::default(), 0, Instant::now());
        for session in &sessions {
            let mut chains = lock(&session.chains);
            let mut lags = std::mem::take(&mut chains.lags);
            for cursor in &chains.table {
                for batch in cursor.acked..schedule.due(cursor.chain, now) {
                    lags.record(cursor.chain, batch, &schedule, now);
                    unacknowledged += 1;
                }
            }
            all.add(&lags);
        }
        Ok(all.summary(unacknowledged, schedule.interval, std::iter::empty()))
    }

    /// Waits for the end of the load and a moment for the last acks, and sums up.
    fn lags(&self) -> Result<LagSummary> {
        let schedule = self.shared.schedule().context(NO_LAGS)?;
        let sessions = lock(&self.shared.sessions).clone();
        let owes = |cursor: &Cursor| cursor.acked < schedule.all(cursor.chain);
        let open = || sessions.iter().any(|session| lock(&session.chains).table.iter().any(owes));
        let deadline = schedule.begun + schedule.lasts + schedule.interval + LAST_ACKS;
        while open() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let now = Instant::now();
        let (mut all, mut unacknowledged, mut tables) = (Lags::default(), 0, Vec::new());
        for session in &sessions {
            let mut chains = lock(&session.chains);
            let mut table = std::mem::take(&mut chains.table);
            for cursor in &mut table {
                for batch in cursor.acked..schedule.due(cursor.chain, now) {
                    let lag = chains.lags.record(cursor.chain, batch, &schedule, now);
                    cursor.worst = cursor.worst.max(lag);
                    unacknowledged += 1;
                }
            }
            all.add(&chains.lags);
            tables.push(table);
        }
        Ok(all.summary(unacknowledged, schedule.interval, tables.iter().flatten()))
    }
}

const NO_LAGS: &str = "only a paced load that has begun has lags";

/// How long acks may come after the last block was due.
const LAST_ACKS: Duration = Duration::from_secs(5);
