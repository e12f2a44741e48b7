//! The shape of a load: the flags that `bench` and `profile` share.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

/// Which load a node is put under, and the settings of the node that decide how it bears it.
#[derive(Args, Clone, Debug)]
pub(crate) struct Shape {
    /// Side chains
    #[arg(long, value_name = "N", default_value = "100", value_parser = chains)]
    pub(crate) chains: u32,
    /// Connections that the chains are spread over; each is a node with a key of its own
    #[arg(long, value_name = "N", default_value = "1", value_parser = connections)]
    pub(crate) connections: u32,
    /// Side blocks a second of all chains together, such as 500k or 2M. Without it the load is flat out
    #[arg(long, value_name = "N", value_parser = rate)]
    pub(crate) rate: Option<u64>,
    /// How the blocks are spread over the chains
    #[arg(long, value_enum, default_value_t = Skew::Uniform)]
    pub(crate) skew: Skew,
    /// Most blocks that a chain hands to its connection at a time; without it, what fits a frame. A chain's next turn comes
    /// half a millisecond later at the earliest
    #[arg(long, value_name = "N", value_parser = batch)]
    pub(crate) batch: Option<u32>,
    /// The node's seal.interval_ms; 0 seals at once
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=3_600_000))]
    pub(crate) seal_interval_ms: u64,
    /// The node's storage.sync_interval_ms
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    pub(crate) sync_interval_ms: u64,
    /// The node's threads.hashing: those that hash main blocks; 0: by the number of processors
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=256))]
    pub(crate) hashing: u64,
    /// The node's cache.lane_blocks: blocks that a lane holds [default: see below]
    #[arg(long, value_name = "N", value_parser = lane_blocks)]
    pub(crate) lane_blocks: Option<u64>,
    /// Where the node's API listens, for those who ask it meanwhile [default: any free port]
    #[arg(long, value_name = "ADDR")]
    pub(crate) api: Option<SocketAddr>,
    /// Where to put the log while it runs; removed afterwards. Choose the disk to be measured
    #[arg(long, value_name = "DIR", default_value = "mainstem-bench")]
    pub(crate) data: PathBuf,
}

/// How blocks are spread over chains. Chain 1 is always the busiest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Skew {
    /// All chains alike
    Uniform,
    /// The n-th chain has an n-th of what the first has
    Zipf,
    /// One chain has half of all blocks, the others share the rest
    Giant,
}

/// Blocks that all lanes together hold when each is filled as far as the load fills it: a quarter of a second at four
/// million a second, several times what lies between received and durable.
const CACHED_BLOCKS: f64 = (1_u64 << 20) as f64;

/// The least that a lane holds. With ten thousand chains a side block then costs the node no more processor time than with
/// 4,096, at less than half of the memory and of the latency; with 128 it costs more.
const LEAST_LANE: u64 = 256;

/// The most that all lanes may hold by their limits: what a lane keeps for each 64 blocks that it may hold makes 300 MB of
/// it.
const MOST_PLACES: u64 = 1 << 30;

impl Shape {
    /// Refuses what no single flag can know to be wrong.
    ///
    /// # Errors
    /// Names the flags, their values, and what would be right.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.connections > self.chains {
            return Err(format!(
                "--connections is {}, and --chains {}: every connection needs a chain to speak for",
                self.connections, self.chains
            ));
        }
        Ok(())
    }

    /// Blocks that a lane holds: as set, or the busiest chain's share of a million, so that queues and with them memory
    /// and latency do not grow with the number of chains.
    pub(crate) fn lane_blocks(&self) -> u64 {
        let busiest = self.skew.shares(self.chains)[0];
        let share = whole(busiest * CACHED_BLOCKS).next_power_of_two().max(LEAST_LANE);
        let most = MOST_PLACES / u64::from(self.chains);
        // The largest power of two that is not above.
        self.lane_blocks.unwrap_or(share.min(1 << most.ilog2()))
    }

    /// The connection that speaks for a chain.
    pub(crate) fn connection(&self, chain: u32) -> u32 {
        (chain - 1) % self.connections
    }
}

impl Skew {
    /// The share of each of so many chains, 1 in sum, from the busiest on.
    pub(crate) fn shares(self, chains: u32) -> Vec<f64> {
        let others = f64::from(chains - 1).max(1.0);
        let weight = |rank: u32| match self {
            Self::Uniform => 1.0,
            Self::Zipf => 1.0 / f64::from(rank),
            Self::Giant if rank == 1 => 1.0,
            Self::Giant => 1.0 / others,
        };
        let sum: f64 = (1..=chains).map(weight).sum();
        (1..=chains).map(|rank| weight(rank) / sum).collect()
    }

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipf => "zipf",
            Self::Giant => "giant",
        }
    }
}

/// The whole part of a number that is not negative.
#[allow(clippy::cast_sign_loss, reason = "what is below zero becomes zero, which is what is meant")]
pub(super) fn whole(number: f64) -> u64 {
    number as u64
}

/// The most that a lane may hold, as the engine has it.
const MOST_LANE: u64 = 1 << 24;

fn chains(text: &str) -> Result<u32, String> {
    within(text, 1, 10_000).map(|n| n as u32)
}

fn connections(text: &str) -> Result<u32, String> {
    within(text, 1, 1_000).map(|n| n as u32)
}

fn rate(text: &str) -> Result<u64, String> {
    within(text, 1, 1_000_000_000)
}

fn batch(text: &str) -> Result<u32, String> {
    within(text, 1, 4_096).map(|n| n as u32)
}

fn lane_blocks(text: &str) -> Result<u64, String> {
    within(text, 1, MOST_LANE)
}

/// A number as people type it, in these bounds: `250000`, `250_000`, `250k`, `0.25M`.
pub(super) fn within(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let number = number(text).ok_or("expected a number, such as 250000, 250_000, 250k or 0.25M")?;
    if (least..=most).contains(&number) {
        Ok(number)
    } else {
        Err(format!("{number} is out of range: expected {least} to {most}"))
    }
}

fn number(text: &str) -> Option<u64> {
    let units = [('k', 3), ('K', 3), ('M', 6), ('G', 9)];
    let unit = units.into_iter().find_map(|(unit, zeros)| Some((text.strip_suffix(unit)?, zeros)));
    let (digits, zeros) = unit.unwrap_or((text, 0));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let part = part.trim_end_matches('0');
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    // A point needs a unit that makes a whole number of it.
    if whole.is_empty()
        || whole.starts_with('_')
        || !is_number(whole)
        || !is_number(part)
        || part.len() > zeros
    {
        return None;
    }
    let digits = whole.replace('_', "") + part + &"0".repeat(zeros - part.len());
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_type_them() {
        for (text, expected) in [
            ("0", 0),
            ("250000", 250_000),
            ("250_000", 250_000),
            ("250k", 250_000),
            ("1.5M", 1_500_000),
            ("2G", 2_000_000_000),
        ] {
            assert_eq!(number(text), Some(expected), "{text}");
        }
        for wrong in
            ["", "k", "_1", "1.5", "1.2345k", "1e6", "-1", "5m", "99999999999999999999", "99999999999999G"]
        {
            assert_eq!(number(wrong), None, "{wrong}");
        }
        let error = within("5M", 1, 10_000).unwrap_err();
        assert_eq!(error, "5000000 is out of range: expected 1 to 10000");
    }

    #[test]
    fn shares_add_up_to_one_and_begin_with_the_busiest() {
        for skew in [Skew::Uniform, Skew::Zipf, Skew::Giant] {
            for chains in [1, 2, 3, 10_000] {
                let shares = skew.shares(chains);
                assert_eq!(shares.len(), chains as usize);
                assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{skew:?} of {chains}");
                assert!(shares.is_sorted_by(|a, b| a >= b), "{skew:?} of {chains}");
            }
        }
        let giant = Skew::Giant.shares(101);
        assert!((giant[0] - 0.5).abs() < 1e-9 && (giant[1] - 0.005).abs() < 1e-9);
    }
}
