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
mod batch;
#[cfg(test)]
mod fake;
mod header;
mod receipts;
mod recent;
mod rpc;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use alloy_trie::EMPTY_ROOT_HASH;
use engine::chain::{ChainId, Columns, Hash, Height};
use engine::source::{Source, SourceError};
use serde_json::value::RawValue;

use self::ahead::{Ahead, Answer, Range};
use self::batch::BatchSize;
use self::header::{Block, BlockError};
use self::receipts::FailedStatus;
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
    pause: Pause,
    /// Times in a row that the node's blocks did not link among themselves.
    unlinked: u32,
    /// Checked blocks that the caller did not want yet.
    left: Columns,
    left_from: usize,
    tip: Tip,
}

#[derive(Debug)]
struct ReceiptCalls {
    /// Whether the node has `eth_getBlockReceipts`, as far as is known.
    by_block: bool,
    blocks: BatchSize,
    transactions: BatchSize,
    /// Whether it was said that the node writes the status of failed transactions in its own way.
    byte_status: bool,
}

/// Not asking a failing node at full speed.
#[derive(Debug, Default)]
struct Pause {
    failures: u32,
    until: Option<(Instant, String)>,
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
            receipts: ReceiptCalls {
                by_block: true,
                blocks: BatchSize::new(config.batch.min(16)),
                transactions: BatchSize::new(config.batch),
                byte_status: false,
            },
            config,
            greeted: false,
            next: None,
            recent: Recent::default(),
            last_final: 0,
            polled: None,
            pause: Pause::default(),
            unlinked: 0,
            left: Columns::default(),
            left_from: 0,
            tip: Tip::default(),
        })
    }

    /// The newest irreversible block of the node, to show and to wait for.
    pub fn tip(&self) -> Tip {
        self.tip.clone()
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
        let last_final = match self.config.finality {
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
        self.last_final = last_final.min(Height::MAX.0);
        self.tip.set(self.last_final);
        self.polled = Some(Instant::now());
        Ok(())
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

    /// Checks that the node still has the block that was read last.
    fn check_last(&mut self) -> Result<(), SourceError> {
        let Some((height, hash)) = self.recent.last() else { return Ok(()) };
        match self.block(height)? {
            Some(block) if block.hash == hash => Ok(()),
            Some(block) => Err(self.fork(height, block.hash)),
            // It went back, or it is another node behind the same address. What it does have must agree.
            None => match self.newest_differing(height)? {
                Some((height, ours)) => Err(self.fork(height, ours)),
                None => Err(self.later(
                    "eth_getBlockByNumber",
                    Some(height),
                    "null: the main chain has this block, the node has not: it is still syncing, or was set back",
                )),
            },
        }
    }

    /// The newest of the recent blocks below `height` at which the node has another block.
    fn newest_differing(&mut self, height: u64) -> Result<Option<(u64, Hash)>, SourceError> {
        let mut low = self.recent.first().map_or(height, |(first, _)| first);
        let mut high = height;
        let mut newest = None;
        // The newest block that the node has at all.
        while low < high {
            let middle = low + (high - low) / 2;
            match self.block(middle)? {
                Some(block) => {
                    newest = Some(block);
                    low = middle + 1;
                }
                None => high = middle,
            }
        }
        Ok(newest
            .filter(|block| self.recent.get(block.number).is_some_and(|hash| hash != block.hash))
            .map(|block| (block.number, block.hash)))
    }

    /// The two ways part at `height`, where the node has `ours`, or below: finds the lowest height, as far as
    /// hashes were kept.
    fn fork(&mut self, height: u64, ours: Hash) -> SourceError {
        let mut found = (height, ours);
        let mut low = self.recent.first().map_or(height, |(first, _)| first);
        while low < found.0 {
            let middle = low + (found.0 - low) / 2;
            match self.block(middle) {
                Ok(Some(block)) if self.recent.get(middle).is_some_and(|hash| hash != block.hash) => {
                    found = (middle, block.hash);
                }
                Ok(_) => low = middle + 1,
                // The fork is certain; where it begins is a courtesy.
                Err(_) => break,
            }
        }
        let theirs = self.recent.get(found.0).unwrap_or_default();
        if self.recent.first().is_some_and(|(first, _)| first == found.0) {
            tracing::error!(height = found.0, "the fork may begin below: no older hashes were kept");
        }
        SourceError::Fork { chain: self.config.chain, height: Height(found.0), ours: found.1, theirs }
    }

    fn block(&self, height: u64) -> Result<Option<Block>, SourceError> {
        let answer = self.call("eth_getBlockByNumber", &format!("[\"{height:#x}\",false]"), Some(height))?;
        let Some(answer) = answer else { return Ok(None) };
        Block::check(&answer, Some(height), false)
            .map(Some)
            .map_err(|error| self.bad_block("eth_getBlockByNumber", Some(height), &error))
    }

    /// One batch of checked blocks from `first` on, none above the newest irreversible one.
    fn batch(&mut self, first: u64) -> Result<Vec<Block>, SourceError> {
        const METHOD: &str = "eth_getBlockByNumber";
        let limit = self.last_final;
        loop {
            let wanted = Range { first, count: self.size.get().min(limit - first + 1) };
            let Answer { range, body, time } = self.ahead.take(wanted, limit);
            let (position, error) = match body {
                Err(error) => (None, error),
                Ok(body) => {
                    let after = range.first + range.count;
                    if after <= limit {
                        self.ahead
                            .start(Range { first: after, count: self.size.get().min(limit - after + 1) });
                    }
                    match rpc::replies(&body, range.count as usize) {
                        Ok(replies) => {
                            self.size.answered(range.count, time);
                            return self.checked(range.first, &replies);
                        }
                        Err(fault) => fault,
                    }
                }
            };
            if range.count > 1 && error.may_be_the_batch() {
                tracing::debug!(calls = range.count, %error, "a batch was refused; trying a smaller one");
                self.size.refused(range.count);
                continue;
            }
            let height = first + position.unwrap_or(0) as u64;
            return Err(self.failed(METHOD, Some(height), &error));
        }
    }

    /// Checks each block by itself, and that they link.
    fn checked(&mut self, first: u64, replies: &[Option<&RawValue>]) -> Result<Vec<Block>, SourceError> {
        const METHOD: &str = "eth_getBlockByNumber";
        let mut blocks: Vec<Block> = Vec::with_capacity(replies.len());
        for (height, reply) in (first..).zip(replies) {
            let Some(reply) = reply else {
                let text = format!("null, although the node calls block {} irreversible", self.last_final);
                return Err(self.later(METHOD, Some(height), &text));
            };
            let block = Block::check(reply, Some(height), self.config.verify_receipts)
                .map_err(|error| self.bad_block(METHOD, Some(height), &error))?;
            let before = blocks.last().map(|before| before.hash);
            if let Some(before) = before.or_else(|| self.recent.get(height - 1))
                && before != block.parent
            {
                return Err(self.not_linked(&block, before));
            }
            blocks.push(block);
        }
        self.unlinked = 0;
        if self.config.verify_receipts {
            self.check_receipts(&blocks)?;
        }
        Ok(blocks)
    }

    fn not_linked(&mut self, block: &Block, before: Hash) -> SourceError {
        if self.recent.last().is_some_and(|(last, _)| last + 1 == block.number)
            && let Err(error) = self.check_last()
        {
            return error;
        }
        // The node still has the block that was read before: its own blocks do not link. That can be a batch
        // answered while the chain was being reorganised; it cannot be so every time.
        self.unlinked += 1;
        let text = format!(
            "{}: block {} names parent {}, but the node's block {} is {before}",
            self.rpc.shown(),
            block.number,
            block.parent,
            block.number - 1,
        );
        if self.unlinked < MAX_UNLINKED {
            SourceError::Later(text)
        } else {
            SourceError::Fatal(format!(
                "{text}; asked {MAX_UNLINKED} times: the node's data is damaged or forged"
            ))
        }
    }

    fn check_receipts(&mut self, blocks: &[Block]) -> Result<(), SourceError> {
        // A block without transactions has no receipts to ask for.
        let mut blocks: Vec<&Block> =
            blocks.iter().filter(|block| block.receipts_root.0 != EMPTY_ROOT_HASH.0).collect();
        while self.receipts.by_block && !blocks.is_empty() {
            const METHOD: &str = "eth_getBlockReceipts";
            let count = (self.receipts.blocks.get() as usize).min(blocks.len());
            let params = blocks[..count].iter().map(|block| format!("[\"{:#x}\"]", block.number));
            let start = Instant::now();
            let body = self.rpc.post(&rpc::batch(METHOD, params));
            let replies = match &body {
                Ok(body) => rpc::replies(body, count),
                Err(_) => Ok(Vec::new()),
            };
            let fault = match (&body, &replies) {
                (Err(error), _) => Some((None, error)),
                (_, Err((position, error))) => Some((*position, error)),
                _ => None,
            };
            match fault {
                None => {}
                Some((_, CallError::Rpc(error))) if error.no_such_method() => {
                    tracing::info!(
                        node = %self.rpc.shown(),
                        "the node has no {METHOD}; receipts are fetched one by one (eth_getTransactionReceipt)"
                    );
                    self.receipts.by_block = false;
                    break;
                }
                Some((_, error)) if count > 1 && error.may_be_the_batch() => {
                    self.receipts.blocks.refused(count as u64);
                    continue;
                }
                Some((position, error)) => {
                    let height = blocks[position.unwrap_or(0).min(count - 1)].number;
                    return Err(self.failed(METHOD, Some(height), error));
                }
            }
            self.receipts.blocks.answered(count as u64, start.elapsed());
            for (block, reply) in blocks.iter().zip(replies.unwrap_or_default()) {
                let list = reply.map(|reply| serde_json::from_str::<Vec<&RawValue>>(reply.get()));
                let Some(Ok(list)) = list else {
                    let text = "no list of receipts: the node has pruned them or is damaged";
                    return Err(self.lasting(METHOD, Some(block.number), text));
                };
                self.check_root(METHOD, block, list.into_iter())?;
            }
            blocks.drain(..count);
        }
        for block in blocks {
            self.check_receipts_one_by_one(block)?;
        }
        Ok(())
    }

    fn check_receipts_one_by_one(&mut self, block: &Block) -> Result<(), SourceError> {
        const METHOD: &str = "eth_getTransactionReceipt";
        let mut receipts: Vec<Box<RawValue>> = Vec::with_capacity(block.transactions.len());
        while let Some(rest) = block.transactions.get(receipts.len()..).filter(|rest| !rest.is_empty()) {
            let count = (self.receipts.transactions.get() as usize).min(rest.len());
            let start = Instant::now();
            let params = rest[..count].iter().map(|hash| format!("[\"{hash}\"]"));
            let body = self.rpc.post(&rpc::batch(METHOD, params));
            let replies = match &body {
                Ok(body) => rpc::replies(body, count).map_err(|(_, error)| error),
                Err(_) => Ok(Vec::new()),
            };
            let fault = body.as_ref().err().or(replies.as_ref().err());
            if let Some(error) = fault {
                if count > 1 && error.may_be_the_batch() {
                    self.receipts.transactions.refused(count as u64);
                    continue;
                }
                return Err(self.failed(METHOD, Some(block.number), error));
            }
            self.receipts.transactions.answered(count as u64, start.elapsed());
            for reply in replies.unwrap_or_default() {
                let Some(reply) = reply else {
                    let text = "null: the node has pruned the receipt or is damaged";
                    return Err(self.lasting(METHOD, Some(block.number), text));
                };
                receipts.push(reply.to_owned());
            }
        }
        self.check_root(METHOD, block, receipts.iter().map(AsRef::as_ref))
    }

    fn check_root<'a>(
        &mut self,
        method: &str,
        block: &Block,
        receipts: impl Iterator<Item = &'a RawValue>,
    ) -> Result<(), SourceError> {
        let status = receipts::check(receipts, block.receipts_root)
            .map_err(|error| self.lasting(method, Some(block.number), &error.to_string()))?;
        if status == FailedStatus::Byte && !self.receipts.byte_status {
            self.receipts.byte_status = true;
            tracing::warn!(
                node = %self.rpc.shown(),
                block = block.number,
                "the node hashes the receipt of a failed transaction with status byte 00, as ganache does, instead \
                 of 80: a proof of such a receipt must use the same bytes"
            );
        }
        Ok(())
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
        self.pause.check()?;
        let result = self.resume_at(next, parent);
        self.pause.note(result)
    }

    fn read(&mut self, _: ChainId, max: usize, out: &mut Columns) -> Result<Hash, SourceError> {
        self.pause.check()?;
        let result = self.read_next(max, out);
        self.pause.note(result)
    }
}

impl Pause {
    /// Refuses, with the words of the last failure, until it is time to ask again.
    fn check(&self) -> Result<(), SourceError> {
        match &self.until {
            Some((until, why)) if Instant::now() < *until => Err(SourceError::Later(why.clone())),
            _ => Ok(()),
        }
    }

    fn note<T>(&mut self, result: Result<T, SourceError>) -> Result<T, SourceError> {
        match &result {
            Ok(_) => *self = Self::default(),
            Err(SourceError::Later(why)) => {
                let pause = FIRST_PAUSE * 2_u32.pow(self.failures.min(16));
                self.until = Some((Instant::now() + pause.min(LONGEST_PAUSE), why.clone()));
                self.failures += 1;
            }
            Err(SourceError::Fork { .. } | SourceError::Fatal(_)) => {}
        }
        result
    }
}

#[derive(serde::Deserialize)]
struct Quantity(#[serde(deserialize_with = "header::quantity")] u64);

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often blocks of one node may fail to link before it counts as damage.
const MAX_UNLINKED: u32 = 3;
