//! A simulated side chain: hash-linked blocks with transactions and a real transaction tree, all from a seed.
//! The same seed gives the same chain, whoever reads it and from whatever height.
//!
//! ```text
//! transaction i  = bytes of a counter-mode generator over (seed, chain, height, i), hashed: H(0x10 || bytes)
//! tx_root        = tree (RFC 9162 shape) over the transaction hashes
//! hash           = H(0x11 || chain u32 || height u64 || parent[32] || tx_root[32] || time u64)
//! time           = GENESIS_TIME + height * 1000
//! ```
//! The id of a transaction is its hash, as it is in the tree. The parent of block 1 is zero. The pace at which blocks come changes none of them.

mod answers;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::chain::{ChainId, Columns, Hash, Height, Timestamp};
use crate::clock::Clock;
use crate::merkle::{digest, tree};
use crate::source::{Answers, Source, SourceError};

pub use answers::SimAnswers;

/// What the simulated chains are like.
#[derive(Clone, Debug, PartialEq)]
pub struct SimConfig {
    /// Everything follows from it.
    pub seed: u64,
    /// The chains.
    pub chains: Vec<ChainId>,
    /// Blocks a second that become irreversible on each chain; 0: as many as are asked for.
    pub blocks_per_second: f64,
    /// Transactions in a block.
    pub transactions: u32,
    /// Bytes of a transaction.
    pub transaction_bytes: u32,
    /// Height of the first block that is sent; the chain itself starts at 1.
    pub first_height: Height,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            chains: Vec::new(),
            blocks_per_second: 10.0,
            transactions: 4,
            transaction_bytes: 100,
            first_height: Height(1),
        }
    }
}

/// 2023-11-14 22:13:20 UTC: the time of the block before the first one of every simulated chain.
const GENESIS_TIME: u64 = 1_700_000_000_000;

/// Heights between two remembered states: what going back may cost in blocks made again.
const CHECKPOINT: u64 = 4096;

/// How far a source goes forward at once: some minutes of making blocks.
const FARTHEST: u64 = 100_000_000;

/// One simulated chain, standing at some height.
#[derive(Clone, Debug)]
pub struct SimChain {
    chain: ChainId,
    config: Arc<SimConfig>,
    height: u64,
    hash: Hash,
    /// The hash at each multiple of [`CHECKPOINT`] that was passed.
    checkpoints: Vec<Hash>,
    scratch: Vec<Hash>,
    bytes: Vec<u8>,
}

impl SimChain {
    /// A chain before its first block.
    pub fn new(chain: ChainId, config: Arc<SimConfig>) -> Self {
        Self {
            chain,
            config,
            height: 0,
            hash: Hash::ZERO,
            checkpoints: vec![Hash::ZERO],
            scratch: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// Where it stands.
    pub fn height(&self) -> Height {
        Height(self.height)
    }

    /// Hash of the block where it stands; zero before the first.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Goes to `height`, making what blocks lie between, and returns the hash there.
    pub fn seek(&mut self, height: Height) -> Hash {
        if height.0 < self.height {
            let checkpoint = (height.0 / CHECKPOINT) as usize;
            self.checkpoints.truncate(checkpoint + 1);
            self.height = checkpoint as u64 * CHECKPOINT;
            self.hash = self.checkpoints[checkpoint];
        }
        while self.height < height.0 {
            self.step();
        }
        self.hash
    }

    /// Makes the next block and returns its hash, transaction root and time.
    pub fn step(&mut self) -> (Hash, Hash, Timestamp) {
        self.height += 1;
        let tx_root = self.transactions();
        let time = GENESIS_TIME + self.height * 1000;
        let mut preimage = [0; 1 + 4 + 8 + 32 + 32 + 8];
        preimage[0] = 0x11;
        preimage[1..5].copy_from_slice(&self.chain.to_le_bytes());
        preimage[5..13].copy_from_slice(&self.height.to_le_bytes());
        preimage[13..45].copy_from_slice(self.hash.as_bytes());
        preimage[45..77].copy_from_slice(tx_root.as_bytes());
        preimage[77..85].copy_from_slice(&time.to_le_bytes());
        self.hash = digest(&preimage);
        if self.height.is_multiple_of(CHECKPOINT) {
            self.checkpoints.push(self.hash);
        }
        (self.hash, tx_root, Timestamp::from_millis(time))
    }

    fn transactions(&mut self) -> Hash {
        self.scratch.clear();
        for index in 0..self.config.transactions {
            self.config.preimage(self.chain, self.height, index, &mut self.bytes);
            self.scratch.push(digest(&self.bytes));
        }
        let mut stored = vec![Hash::ZERO; tree::stored_nodes(self.scratch.len())];
        tree::root(&mut self.scratch, &mut stored)
    }
}

/// The id of a transaction of these bytes.
pub fn transaction_id(data: &[u8]) -> Hash {
    digest(&[&[0x10], data].concat())
}

impl SimConfig {
    /// The bytes of a transaction.
    pub fn transaction(&self, chain: ChainId, height: Height, index: u32) -> Vec<u8> {
        let mut preimage = Vec::new();
        self.preimage(chain, height.0, index, &mut preimage);
        preimage.split_off(1)
    }

    /// What is hashed of a transaction: its kind, and its bytes.
    fn preimage(&self, chain: ChainId, height: u64, index: u32, out: &mut Vec<u8>) {
        let length = self.transaction_bytes as usize;
        let mut state = self.seed ^ u64::from(chain.0) << 32 ^ height.rotate_left(17) ^ u64::from(index);
        out.clear();
        out.push(0x10);
        while out.len() <= length {
            out.extend(split_mix(&mut state).to_le_bytes());
        }
        out.truncate(1 + length);
    }
}

/// The SplitMix64 generator (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Simulated chains as a source: paced by a clock, or flat out.
pub struct SimSource {
    config: Arc<SimConfig>,
    /// By ascending chain id.
    chains: Vec<Paced>,
    clock: Arc<dyn Clock>,
    newest: Arc<Newest>,
}

/// How far each chain is known to be irreversible, by ascending id: written by the source, read by who answers questions.
/// Relaxed: each is a number by itself.
type Newest = [(ChainId, AtomicU64)];

struct Paced {
    chain: SimChain,
    /// The pace counts from here: at that time, blocks up to that height were irreversible. Set when the main
    /// chain first says where it stands, be it that another node speaks.
    start: Option<(Duration, u64)>,
}

impl SimSource {
    /// The chains of `config`, paced by `clock`.
    pub fn new(config: SimConfig, clock: Arc<dyn Clock>) -> Self {
        let config = Arc::new(config);
        let mut ids = config.chains.clone();
        ids.sort_unstable();
        ids.dedup();
        let newest = ids.iter().map(|id| (*id, AtomicU64::new(0))).collect();
        let chains = ids
            .into_iter()
            .map(|id| Paced { chain: SimChain::new(id, Arc::clone(&config)), start: None })
            .collect();
        Self { config, chains, clock, newest }
    }

    /// Who answers the main chain's questions about transactions of these chains.
    pub fn answers(&self) -> Arc<dyn Answers> {
        Arc::new(SimAnswers::new(Arc::clone(&self.config), Arc::clone(&self.newest)))
    }

    /// Blocks up to this height are irreversible.
    fn passed(&self, chain: ChainId, height: u64) {
        if let Ok(place) = self.newest.binary_search_by_key(&chain, |(id, _)| *id) {
            self.newest[place].1.fetch_max(height, Relaxed);
        }
    }

    /// The newest irreversible height of a chain that is paced.
    fn irreversible(&self, since: Duration, base: u64) -> u64 {
        let passed = self.clock.monotonic().saturating_sub(since).as_secs_f64();
        #[expect(clippy::cast_sign_loss, reason = "neither factor is negative")]
        let made = (passed * self.config.blocks_per_second) as u64;
        base.saturating_add(made).min(Height::MAX.0)
    }

    fn chain(&mut self, id: ChainId) -> Result<&mut Paced, SourceError> {
        let position = self.chains.binary_search_by_key(&id, |paced| paced.chain.chain);
        let position =
            position.map_err(|_| SourceError::Fatal(format!("chain {id} is not simulated here")))?;
        Ok(&mut self.chains[position])
    }
}

impl Source for SimSource {
    fn chains(&self) -> Vec<ChainId> {
        self.chains.iter().map(|paced| paced.chain.chain).collect()
    }

    fn resume(&mut self, chain: ChainId, next: Height, parent: Option<Hash>) -> Result<(), SourceError> {
        let now = self.clock.monotonic();
        let first = self.config.first_height;
        let paced = self.chain(chain)?;
        if next < first {
            let problem =
                format!("chain {chain}: the main chain wants height {next}, this source starts at {first}");
            return Err(SourceError::Fatal(problem));
        }
        let height = next.previous();
        if height.0.saturating_sub(paced.chain.height) > FARTHEST {
            let here = paced.chain.height;
            let problem = format!(
                "chain {chain}: the main chain wants height {next}; a simulated chain makes every block before it, and \
                 goes at most {FARTHEST} blocks on from {here} at once"
            );
            return Err(SourceError::Fatal(problem));
        }
        let ours = paced.chain.seek(height);
        if let Some(theirs) = parent
            && theirs != ours
        {
            return Err(SourceError::Fork { chain, height, ours, theirs });
        }
        paced.start.get_or_insert((now, height.0));
        self.passed(chain, height.0);
        Ok(())
    }

    fn read(&mut self, chain: ChainId, max: usize, out: &mut Columns) -> Result<Hash, SourceError> {
        let Some((since, base)) = self.chain(chain)?.start else {
            return Err(SourceError::Fatal(format!(
                "chain {chain}: read before it was told where to resume"
            )));
        };
        let paced = self.config.blocks_per_second > 0.0;
        let irreversible = if paced { self.irreversible(since, base) } else { Height::MAX.0 };
        let paced = self.chain(chain)?;
        let parent = paced.chain.hash();
        let count = irreversible.saturating_sub(paced.chain.height).min(max as u64);
        for _ in 0..count {
            let (hash, tx_root, time) = paced.chain.step();
            out.push(hash, tx_root, time);
        }
        let newest = paced.chain.height;
        self.passed(chain, newest);
        Ok(parent)
    }

    fn stand_by(&mut self, chain: ChainId, received: Height) {
        let now = self.clock.monotonic();
        if let Ok(paced) = self.chain(chain) {
            paced.start.get_or_insert((now, received.0));
        }
        self.passed(chain, received.0);
    }

    /// Of a chain without a pace there is no newest block.
    fn tip(&mut self, chain: ChainId) -> Result<Option<Height>, SourceError> {
        let start = self.chain(chain)?.start.filter(|_| self.config.blocks_per_second > 0.0);
        Ok(start.map(|(since, base)| Height(self.irreversible(since, base))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(seed: u64) -> SimChain {
        SimChain::new(ChainId(9), Arc::new(SimConfig { seed, ..SimConfig::default() }))
    }

    #[test]
    fn going_back_and_forth_gives_the_same_blocks() {
        let mut straight = chain(1);
        let hashes: Vec<Hash> = (0..10_000).map(|_| straight.step().0).collect();
        let mut jumping = chain(1);
        for height in [9_999, 5, 4_096, 4_095, 8_193, 1, 10_000] {
            assert_eq!(jumping.seek(Height(height)), hashes[height as usize - 1], "{height}");
            assert_eq!(jumping.height(), Height(height));
        }
        assert_eq!(jumping.seek(Height(0)), Hash::ZERO);
    }

    /// A clock that a test moves.
    #[derive(Default)]
    struct Moved(AtomicU64);

    impl Clock for Moved {
        fn wall(&self) -> Timestamp {
            Timestamp::default()
        }

        fn monotonic(&self) -> Duration {
            Duration::from_secs(self.0.load(Relaxed))
        }
    }

    #[test]
    fn a_tip_follows_the_pace_from_where_the_main_chain_stood_and_moves_nothing() {
        let clock = Arc::new(Moved::default());
        let config = SimConfig { chains: vec![ChainId(9)], blocks_per_second: 2.0, ..SimConfig::default() };
        let mut source = SimSource::new(config, Arc::clone(&clock) as Arc<dyn Clock>);
        assert_eq!(source.tip(ChainId(9)).unwrap(), None, "before the main chain says where it stands");
        source.stand_by(ChainId(9), Height(100));
        clock.0.store(5, Relaxed);
        source.stand_by(ChainId(9), Height(103));
        assert_eq!(source.tip(ChainId(9)).unwrap(), Some(Height(110)));
        let parent = chain(1).seek(Height(104));
        source.resume(ChainId(9), Height(105), Some(parent)).unwrap();
        let mut out = Columns::default();
        assert_eq!(source.read(ChainId(9), 100, &mut out).unwrap(), parent);
        assert_eq!(out.len(), 6, "up to its tip");
        assert!(source.tip(ChainId(8)).is_err());
    }

    #[test]
    fn another_seed_is_another_chain() {
        assert_ne!(chain(1).step().0, chain(2).step().0);
    }
}
