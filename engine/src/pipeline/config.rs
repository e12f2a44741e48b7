//! The settings of the pipeline.

use std::time::Duration;

use crate::aelf::{self, lanes};
use crate::chain::Hash;
use crate::lane::{Lane, Outlet, Slot};

use super::SEALED_WAITING;

/// How the pipeline caches and seals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PipelineConfig {
    /// A main block is sealed when blocks wait and this time has passed since the last one.
    pub seal_interval: Duration,
    /// A main block is sealed at once when so many side blocks wait.
    pub seal_leaves: u64,
    /// Side blocks in one main block at most; 72 bytes each, and it must fit a segment of the log.
    pub max_leaves: u64,
    /// Blocks of one chain in a main block at most (AElf: 256). A chain with more waiting is catching up.
    pub max_per_chain: u64,
    /// Whether a chain that is catching up is sealed at once and without [`PipelineConfig::max_per_chain`].
    pub catch_up: bool,
    /// Blocks of one chain in the cache at most, from received to durable (AElf: 1024). A chain's rate is at
    /// most this divided by the time from received to durable.
    pub lane_blocks: usize,
    /// Memory of all lanes together at most, in bytes.
    pub cache_bytes: u64,
    /// The store is synced when so much time has passed since the first main block that waits for it, 10 s at
    /// most; zero: as soon as a block is written, those that wait already together. A block that is not
    /// synced is not published, released or acknowledged, so nothing that was acknowledged is ever lost; but
    /// it holds its place in its lane so much longer.
    pub sync_interval: Duration,
    /// By whose rules blocks are chosen for a main block.
    pub rules: SealRules,
    /// Threads that hash, the sealing stage's own one included. How many are right depends on the machine, of
    /// which the engine knows nothing.
    pub hash_threads: usize,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            seal_interval: Duration::from_millis(100),
            seal_leaves: 16_384,
            max_leaves: 262_144,
            max_per_chain: 256,
            catch_up: true,
            lane_blocks: 1024,
            cache_bytes: 1 << 30,
            sync_interval: Duration::ZERO,
            rules: SealRules::Mainstem,
            hash_threads: 1,
        }
    }
}

/// By whose rules blocks are chosen for a main block.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum SealRules {
    /// Ours: all that waits, up to [`PipelineConfig::max_per_chain`], and more of a chain that is catching up.
    #[default]
    Mainstem,
    /// AElf's: [`lanes::places`]. Lanes hold 1,024 blocks, a chain has at most 256 in a main block and never catches up
    /// faster, and a new chain begins with one block, once 256 more wait.
    Aelf,
}

impl SealRules {
    /// How many of the blocks that wait in a lane may go into the next main block; at most those that wait.
    pub fn places(self, outlet: &Outlet) -> u64 {
        match self {
            Self::Mainstem => outlet.offered(),
            Self::Aelf => lanes::places(outlet.indexed(), outlet.offered()),
        }
    }

    /// Whether blocks of a lane wait for nothing but that earlier ones become durable.
    pub fn holds(self, outlet: &Outlet) -> bool {
        self == Self::Aelf && outlet.indexed() == lanes::Indexed::Reversible && outlet.offered() > 0
    }
}

/// A setting that cannot be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{key}: {value} {expected}")]
pub struct ConfigError {
    /// Which setting: the name of a field of [`PipelineConfig`].
    pub key: &'static str,
    /// What it says.
    pub value: String,
    /// What would be right.
    pub expected: String,
}

impl PipelineConfig {
    /// Memory that one lane takes at most, in bytes: [`Lane::most_bytes`].
    pub fn lane_bytes(&self) -> u64 {
        Lane::most_bytes(self.lane_blocks)
    }

    /// Memory that main blocks between lanes and store take at most, in bytes: their columns, and a node of a
    /// tree for each side block.
    pub fn blocks_bytes(&self) -> u64 {
        // One that is sealed, those that wait, and one that is stored; they are used again and again.
        let blocks = SEALED_WAITING as u64 + 2;
        let (leaf, node) = (size_of::<Slot>() as u64, size_of::<Hash>() as u64);
        // The leaves' hashes are kept apart.
        self.max_leaves.saturating_mul(blocks * (leaf + node) + node)
    }

    /// Checks the settings for a main chain with `chains` side chains.
    pub fn validate(&self, chains: usize) -> Result<(), ConfigError> {
        let wrong = |key, value: String, expected: String| Err(ConfigError { key, value, expected });
        for (key, value, from, to) in [
            ("seal_leaves", self.seal_leaves, 1, u64::MAX),
            ("max_leaves", self.max_leaves, 1, 1 << 23),
            ("max_per_chain", self.max_per_chain, 1, 1 << 23),
            ("lane_blocks", self.lane_blocks as u64, 1, 1 << 24),
            ("hash_threads", self.hash_threads as u64, 1, 256),
        ] {
            if !(from..=to).contains(&value) {
                return wrong(key, value.to_string(), format!("is out of range: expected {from} to {to}"));
            }
        }
        for (key, value, most) in [
            ("seal_interval", self.seal_interval, Duration::from_secs(3600)),
            ("sync_interval", self.sync_interval, Duration::from_secs(10)),
        ] {
            if value > most {
                let expected = format!("is out of range: expected at most {most:?}");
                return wrong(key, format!("{value:?}"), expected);
            }
        }
        if self.rules == SealRules::Aelf {
            for (key, value, expected) in [
                ("lane_blocks", self.lane_blocks as u64, aelf::CACHE_BLOCKS as u64),
                ("max_per_chain", self.max_per_chain, aelf::BATCH),
            ] {
                if value != expected {
                    let expected = format!("does not go with AElf's rules: expected {expected}");
                    return wrong(key, value.to_string(), expected);
                }
            }
        }
        let needed = self.lane_bytes().saturating_mul(chains as u64);
        if needed > self.cache_bytes {
            let expected = format!(
                "bytes are too few: {chains} chains of {} blocks take up to {needed}; raise it or lower lane_blocks",
                self.lane_blocks
            );
            return wrong("cache_bytes", self.cache_bytes.to_string(), expected);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_chains_fit_by_default_and_one_byte_less_than_they_take_is_refused() {
        let config = PipelineConfig::default();
        assert_eq!(config.validate(10_000), Ok(()));
        let needed = 10_000 * config.lane_bytes();
        assert_eq!(PipelineConfig { cache_bytes: needed, ..config }.validate(10_000), Ok(()));
        let error = PipelineConfig { cache_bytes: needed - 1, ..config }.validate(10_000).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "cache_bytes: {} bytes are too few: 10000 chains of 1024 blocks take up to {needed}; raise it or lower \
                 lane_blocks",
                needed - 1
            )
        );
    }

    #[test]
    fn other_sizes_than_those_of_aelf_do_not_go_with_its_rules() {
        let config = PipelineConfig { rules: SealRules::Aelf, ..PipelineConfig::default() };
        assert_eq!(config.validate(10), Ok(()), "the defaults do");
        let error = PipelineConfig { lane_blocks: 2048, ..config }.validate(10).unwrap_err();
        assert_eq!(error.to_string(), "lane_blocks: 2048 does not go with AElf's rules: expected 1024");
        let error = PipelineConfig { max_per_chain: 255, ..config }.validate(10).unwrap_err();
        assert_eq!(error.to_string(), "max_per_chain: 255 does not go with AElf's rules: expected 256");
    }
}
