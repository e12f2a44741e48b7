//! An EVM node over JSON-RPC.
//!
//! Side-chain heights are block numbers. A block counts as irreversible when the node's `finalized` tag has passed
//! it, or when it has a number of confirmations, for nodes without the tag. Block 0 is never sent, since heights
//! start at 1; it is the parent of block 1.
//!
//! # What is checked
//! Each header hashes to its block's hash, and names the block before it as its parent, from the block that the main
//! chain has on. So a node cannot send a block that the main chain's next one does not follow, and the receipts
//! root, which transaction proofs end in, is bound by the hash.
//!
//! # Reorganisations
//! The block sent last is asked for again at each poll. When the node has another one there, the side chain was
//! reorganised below what it called irreversible: [`SourceError::Fork`]. Hashes of the newest blocks are kept in
//! memory to find the height at which the two ways part.

mod ahead;
mod answers;
mod batch;
mod catch_up;
#[cfg(test)]
mod fake;
mod header;
mod receipt_calls;
mod receipts;
mod recent;
mod reorg;
mod rpc;
#[cfg(test)]
mod tests;
mod trie;

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::chain::{ChainId, Columns, Hash, Height};
use engine::source::{Answers, Source, SourceError};
use serde_json::value::RawValue;

use self::ahead::Ahead;
use self::answers::EvmAnswers;
use self::batch::BatchSize;
use self::catch_up::Unlinked;
use self::header::{Block, BlockError};
use self::receipt_calls::ReceiptCalls;
use self::recent::Recent;
use self::rpc::{CallError, Rpc};
use super::{Tip, shorten};

/// How to read an EVM node.
#[derive(Clone, Debug)]
pub struct EvmConfig {
    /// Which side chain it is, on the main chain.
    pub chain: ChainId,
    /// The node's JSON-RPC endpoint, http or https.
    pub url: String,
    /// Headers that go with each request (`Name: value`), for credentials.
    pub headers: Vec<String>,
    /// Which blocks are irreversible.
    pub finality: Finality,
    /// Most calls in one request, 1 to 1,000.
    pub batch: u64,
    /// How long one request may take.
    pub timeout: Duration,
    /// How often the node is asked for new blocks once all were read.
    pub poll: Duration,
    /// Most bytes of one answer. Two answers are held at a time.
    pub max_response_bytes: u64,
    /// Whether the receipts are fetched too, and hashed. Off by default: the header's hash binds their root already.
    /// On, it shows that the node has them, so that transaction proofs can be made from it later.
    pub verify_receipts: bool,
    /// The chain id that the node must have (`eth_chainId`).
    pub expect_chain_id: Option<u64>,
}

impl EvmConfig {
    /// The defaults, for a chain and an endpoint.
    pub fn new(chain: ChainId, url: impl Into<String>) -> Self {
        Self {
            chain,
            url: url.into(),
            headers: Vec::new(),
            finality: Finality::Tag,
            batch: 100,
            timeout: Duration::from_secs(30),
            poll: Duration::from_millis(500),
            max_response_bytes: 64 << 20,
            verify_receipts: false,
            expect_chain_id: None,
        }
    }
}

/// When an EVM block counts as irreversible.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finality {
    /// When the node's `finalized` tag has passed it.
    Tag,
    /// When it has so many blocks above it.
    Confirmations(u64),
}

/// A setting of an EVM source that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EvmConfigError(String);

/// A [`Source`] that reads one EVM node.
#[derive(Debug)]
pub struct EvmSource {
    config: EvmConfig,
    rpc: Rpc,
    ahead: Ahead,
    size: BatchSize,
    receipts: ReceiptCalls,
    /// Whether the node was asked who it is.
    greeted: bool,
    /// The next block to read; `None` before the main chain said so.
    next: Option<u64>,
    /// Blocks that were read, or that the main chain has, newest last.
    recent: Recent,
    /// Newest irreversible block of the node, as of the last poll.
    last_final: u64,
    polled: Option<Instant>,
    /// When the node was last asked for its newest irreversible block, for reading or just to tell it.
    asked: Option<Instant>,
    /// How long the node's blocks have not linked among themselves.
    unlinked: Unlinked,
    /// Checked blocks that the caller did not want yet.
    left: Columns,
    left_from: usize,
    tip: Tip,
}

impl EvmSource {
    /// A source; the node is first asked when blocks are.
    pub fn new(config: EvmConfig) -> Result<Self, EvmConfigError> {
        if !(1..=1_000).contains(&config.batch) {
            let text = format!("a batch of {} calls is not possible: expected 1 to 1000", config.batch);
            return Err(EvmConfigError(text));
        }
        if config.max_response_bytes < 1 << 20 {
            let text = format!(
                "answers of at most {} bytes are too small: expected 1 MiB or more",
                config.max_response_bytes
            );
            return Err(EvmConfigError(text));
        }
        let rpc = Rpc::new(&config.url, &config.headers, config.timeout, config.max_response_bytes)
            .map_err(EvmConfigError)?;
        Ok(Self {
            ahead: Ahead::new(rpc.clone()),
            rpc,
            size: BatchSize::new(config.batch),
            receipts: ReceiptCalls::new(config.batch),
            config,
            greeted: false,
            next: None,
            recent: Recent::default(),
            last_final: 0,
            polled: None,
            asked: None,
            unlinked: Unlinked::new(),
            left: Columns::default(),
            left_from: 0,
            tip: Tip::default(),
        })
    }

    /// The newest irreversible block of the node, to show and to wait for.
    pub fn tip_watch(&self) -> Tip {
        self.tip.clone()
    }

    /// Who answers the main chain's questions about transactions, from the same node.
    pub fn answers(&self) -> Arc<dyn Answers> {
        Arc::new(EvmAnswers::new(&self.config, self.rpc.clone()))
    }

    /// Asks the node who it is, once.
    fn greet(&mut self) -> Result<(), SourceError> {
        if self.greeted {
            return Ok(());
        }
        let id = self.call("eth_chainId", "[]", None)?;
        let id = id.and_then(|id| serde_json::from_str::<Quantity>(id.get()).ok()).map(|id| id.0);
        if let Some(expected) = self.config.expect_chain_id
            && id != Some(expected)
        {
            let got = id.map_or_else(|| "none".to_owned(), |id| id.to_string());
            return Err(SourceError::Fatal(format!(
                "{}: eth_chainId is {got}, expected {expected}: this is another chain's node; correct --rpc or \
                 --expect-chain-id",
                self.rpc.shown()
            )));
        }
        // Not every node tells its name, and none has to.
        let version = match self.rpc.call("web3_clientVersion", "[]") {
            Ok(Some(version)) => serde_json::from_str(version.get()).unwrap_or_default(),
            _ => String::new(),
        };
        let version = shorten(&version, 80);
        tracing::info!(node = %self.rpc.shown(), %version, evm_chain_id = id, "reading an EVM node");
        let name = version.to_ascii_lowercase();
        if self.config.finality == Finality::Tag {
            if name.starts_with("ganache") || name.starts_with("hardhat") {
                tracing::warn!(
                    %version,
                    "on this node `finalized` means latest: a block is sent the moment it is mined, and a snapshot \
                     that is reverted below it is a fork; --confirmations N leaves room"
                );
            } else if name.starts_with("anvil") {
                tracing::warn!(
                    %version,
                    "on this node `finalized` is a label, two epochs (--slots-in-an-epoch) below the latest block: \
                     anvil_reorg goes below it, which is a fork"
                );
            }
        }
        self.greeted = true;
        Ok(())
    }

    /// Reads how far the node is, and checks that what was sent is still there.
    fn poll(&mut self) -> Result<(), SourceError> {
        self.check_last()?;
        self.last_final = self.newest_final()?;
        self.polled = Some(Instant::now());
        Ok(())
    }

    /// Asks the node for its newest irreversible block: one call.
    fn newest_final(&mut self) -> Result<u64, SourceError> {
        let newest = match self.config.finality {
            Finality::Tag => self.finalized()?,
            Finality::Confirmations(count) => {
                let latest = self.call("eth_blockNumber", "[]", None)?;
                let latest = latest.and_then(|latest| serde_json::from_str::<Quantity>(latest.get()).ok());
                let Some(Quantity(latest)) = latest else {
                    return Err(self.later("eth_blockNumber", None, "no number"));
                };
                latest.saturating_sub(count)
            }
        };
        let newest = newest.min(Height::MAX.0);
        self.tip.set(newest);
        self.asked = Some(Instant::now());
        Ok(newest)
    }

    fn finalized(&mut self) -> Result<u64, SourceError> {
        const METHOD: &str = "eth_getBlockByNumber(finalized)";
        let answer = match self.rpc.call("eth_getBlockByNumber", r#"["finalized",false]"#) {
            Ok(answer) => answer,
            Err(CallError::Rpc(error)) if !error.no_such_method() => {
                let text = format!(
                    "{}: {METHOD}: {error}: the node knows no finalized block, now or at all; where there is none \
                     at all, use --confirmations N",
                    self.rpc.shown()
                );
                return Err(SourceError::Later(text));
            }
            Err(error) => return Err(self.failed(METHOD, None, &error)),
        };
        let Some(answer) = answer else {
            let text = "null: the node knows no finalized block, now or at all; where there is none at all, use \
                        --confirmations N";
            return Err(self.later(METHOD, None, text));
        };
        let block =
            Block::check(&answer, None, false).map_err(|error| self.bad_block(METHOD, None, &error))?;
        Ok(block.number)
    }

    fn block(&self, height: u64) -> Result<Option<Block>, SourceError> {
        let answer = self.call("eth_getBlockByNumber", &format!("[\"{height:#x}\",false]"), Some(height))?;
        let Some(answer) = answer else { return Ok(None) };
        Block::check(&answer, Some(height), false)
            .map(Some)
            .map_err(|error| self.bad_block("eth_getBlockByNumber", Some(height), &error))
    }

    fn read_next(&mut self, max: usize, out: &mut Columns) -> Result<Hash, SourceError> {
        let Some(next) = self.next else {
            return Err(SourceError::Fatal(
                "blocks were asked for before the main chain said from where".to_owned(),
            ));
        };
        let parent = self.recent.get(next - 1);
        if self.left_from < self.left.len() {
            self.give(max, out);
            return Ok(parent.unwrap_or_default());
        }
        self.greet()?;
        if next > self.last_final {
            if self.polled.is_some_and(|polled| polled.elapsed() < self.config.poll) {
                return Ok(parent.unwrap_or_default());
            }
            self.poll()?;
            if next > self.last_final {
                return Ok(parent.unwrap_or_default());
            }
        }
        let blocks = self.batch(next)?;
        let follows = blocks.first().map_or(Hash::ZERO, |block| block.parent);
        self.left.clear();
        self.left_from = 0;
        if parent.is_none() {
            self.recent.push(next - 1, follows);
        }
        for block in &blocks {
            self.left.push(block.hash, block.receipts_root, block.time);
        }
        self.give(max, out);
        Ok(follows)
    }

    /// Hands out blocks that were checked.
    fn give(&mut self, max: usize, out: &mut Columns) {
        let to = self.left.len().min(self.left_from + max);
        let given = self.left.as_ref().slice(self.left_from, to);
        out.hashes.extend_from_slice(given.hashes);
        out.tx_roots.extend_from_slice(given.tx_roots);
        out.times.extend_from_slice(given.times);
        for hash in given.hashes {
            let next = self.next.get_or_insert(1);
            self.recent.push(*next, *hash);
            *next += 1;
        }
        self.left_from = to;
    }

    fn resume_at(&mut self, next: Height, parent: Option<Hash>) -> Result<(), SourceError> {
        if next.0 == 0 || next > Height::MAX {
            return Err(SourceError::Fatal(format!(
                "the main chain wants height {next}, which no block has"
            )));
        }
        self.greet()?;
        self.left.clear();
        self.left_from = 0;
        self.next = None;
        self.last_final = 0;
        self.polled = None;
        if let Some(theirs) = parent {
            self.recent.rewind(next.0 - 1, theirs);
            self.check_last()?;
        } else {
            self.recent = Recent::default();
        }
        self.next = Some(next.0);
        Ok(())
    }

    fn call(
        &self,
        method: &'static str,
        params: &str,
        height: Option<u64>,
    ) -> Result<Option<Box<RawValue>>, SourceError> {
        self.rpc.call(method, params).map_err(|error| self.failed(method, height, &error))
    }

    fn failed(&self, method: &str, height: Option<u64>, error: &CallError) -> SourceError {
        let text = format!("{error}; {}", error.advice());
        if error.lasts() { self.lasting(method, height, &text) } else { self.later(method, height, &text) }
    }

    fn bad_block(&self, method: &str, height: Option<u64>, error: &BlockError) -> SourceError {
        self.lasting(method, height, &error.to_string())
    }

    fn later(&self, method: &str, height: Option<u64>, what: &str) -> SourceError {
        SourceError::Later(self.told(method, height, what))
    }

    fn lasting(&self, method: &str, height: Option<u64>, what: &str) -> SourceError {
        SourceError::Fatal(self.told(method, height, what))
    }

    fn told(&self, method: &str, height: Option<u64>, what: &str) -> String {
        let url = self.rpc.shown();
        match height {
            Some(height) => format!("{url}: {method}, block {height}: {what}"),
            None => format!("{url}: {method}: {what}"),
        }
    }
}

impl Source for EvmSource {
    fn chains(&self) -> Vec<ChainId> {
        vec![self.config.chain]
    }

    fn resume(&mut self, _: ChainId, next: Height, parent: Option<Hash>) -> Result<(), SourceError> {
        self.resume_at(next, parent)
    }

    fn read(&mut self, _: ChainId, max: usize, out: &mut Columns) -> Result<Hash, SourceError> {
        let start = Instant::now();
        let before = out.len();
        let follows = self.read_next(max, out)?;
        // Several batches make a good frame.
        let mut had = before;
        while had < out.len() && out.len() - before < max && start.elapsed() < LONGEST_READ {
            had = out.len();
            if self.read_next(max - (had - before), out).is_err() {
                // It comes again at the next call, which has nothing to lose.
                break;
            }
        }
        Ok(follows)
    }

    /// What reading has asked for lately, or one call. What is read next follows from polls alone, which also check
    /// that what was sent is still there.
    fn tip(&mut self, _: ChainId) -> Result<Option<Height>, SourceError> {
        self.greet()?;
        if self.asked.is_none_or(|asked| asked.elapsed() >= self.config.poll.max(TIP_AGE)) {
            self.newest_final()?;
        }
        Ok(self.tip.get())
    }
}

#[derive(serde::Deserialize)]
struct Quantity(#[serde(deserialize_with = "header::quantity")] u64);

/// How long blocks of several batches are gathered. Others may wait for the same thread.
const LONGEST_READ: Duration = Duration::from_millis(50);

/// How old the node's word on its newest block may be when it is told on.
const TIP_AGE: Duration = Duration::from_millis(500);
