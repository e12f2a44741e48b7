//! Blocks, batch by batch, one batch ahead, each of them checked.

use std::time::{Duration, Instant};

use engine::chain::Hash;
use engine::source::SourceError;
use serde_json::value::RawValue;

use super::ahead::{Answer, Range};
use super::header::Block;
use super::{EvmSource, rpc};

impl EvmSource {
    /// One batch of checked blocks from `first` on, none above the newest irreversible one.
    pub(super) fn batch(&mut self, first: u64) -> Result<Vec<Block>, SourceError> {
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
        self.unlinked.forget();
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
        // answered while the chain was being reorganised, or by several nodes behind one address of which one is
        // late; it cannot stay so.
        let text = format!(
            "{}: block {} names parent {}, but the node's block {} is {before}",
            self.rpc.shown(),
            block.number,
            block.parent,
            block.number - 1,
        );
        if self.unlinked.lasts(Instant::now()) {
            let limit = self.unlinked.limit;
            SourceError::Fatal(format!(
                "{text}; so for {limit:?} by now: the node's data is damaged or forged"
            ))
        } else {
            SourceError::Later(text)
        }
    }
}

/// How long the blocks of one node have failed to link among themselves. Time decides and not how often, since how
/// often it is asked again is the caller's choice.
#[derive(Debug)]
pub(super) struct Unlinked {
    /// After so long it counts as damage.
    pub(super) limit: Duration,
    /// The first time and the last one, since blocks last linked.
    seen: Option<(Instant, Instant)>,
}

impl Unlinked {
    pub(super) fn new() -> Self {
        Self { limit: MAX_UNLINKED, seen: None }
    }

    /// Takes note that blocks do not link now. Whether that has been so for too long.
    fn lasts(&mut self, now: Instant) -> bool {
        let since = match self.seen {
            // After a long pause, as when another node spoke for the chain, nobody knows what was in between.
            Some((since, last)) if now.duration_since(last) < self.limit => since,
            _ => now,
        };
        self.seen = Some((since, now));
        now.duration_since(since) >= self.limit
    }

    fn forget(&mut self) {
        self.seen = None;
    }
}

const MAX_UNLINKED: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_do_not_link_count_as_damage_after_a_time_without_pause() {
        let (start, mut unlinked) = (Instant::now(), Unlinked::new());
        let mut lasts = |seconds| unlinked.lasts(start + Duration::from_secs(seconds));
        for seconds in [0, 0, 0, 5, 10, 29] {
            assert!(!lasts(seconds), "{seconds}");
        }
        assert!(lasts(30));
        // A pause of 30 s, and it begins anew.
        assert!(!lasts(60));
        assert!(!lasts(75));
        assert!(lasts(90));
        unlinked.forget();
        assert!(!unlinked.lasts(start + Duration::from_secs(91)));
    }
}
