//! Answers about transactions of simulated chains: made again from the seed, for nothing is stored.
//!
//! A hash does not tell its height, so the newest blocks are searched, newest first: [`SEARCHED`] transactions of the
//! chain at most. Of an older one the source says that it does not know it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Newest, SimConfig};
use crate::chain::{ChainId, Hash, Height};
use crate::merkle::digest;
use crate::merkle::path::Step;
use crate::proof::{SimPart, Transaction};
use crate::source::{Answer, Answers, NoAnswer, Question};

/// Transactions that are looked at for one question: 100,000 blocks of four, some tenths of a second.
const SEARCHED: u64 = 400_000;

/// So many bytes are made for one question at most.
const SEARCHED_BYTES: u64 = 64 << 20;

/// A transaction of this length cannot be proven: its preimage would be as long as a node's.
const AMBIGUOUS: u32 = 63;

/// Answers for the chains of one [`super::SimSource`]. The id of a transaction is its hash.
#[derive(Debug)]
pub struct SimAnswers {
    config: Arc<SimConfig>,
    newest: Arc<Newest>,
}

impl SimAnswers {
    pub(super) fn new(config: Arc<SimConfig>, newest: Arc<Newest>) -> Self {
        Self { config, newest }
    }

    fn transaction(&self, chain: ChainId, id: &[u8]) -> Result<Answer, NoAnswer> {
        let config = &self.config;
        let place = self.newest.binary_search_by_key(&chain, |(id, _)| *id);
        let newest = self.newest[place.map_err(|_| NoAnswer::Unsupported)?].1.load(Relaxed);
        if config.transaction_bytes == AMBIGUOUS {
            let text = "simulated transactions of 63 bytes cannot be proven: choose another length";
            return Err(NoAnswer::Failed(text.into()));
        }
        let wanted = Hash(id.try_into().map_err(|_| NoAnswer::Unknown)?);
        let (height, index) = self.find(chain, newest, wanted).ok_or(NoAnswer::Unknown)?;
        let mut preimage = Vec::new();
        let mut leaves = Vec::with_capacity(config.transactions as usize);
        for index in 0..config.transactions {
            config.preimage(chain, height, index, &mut preimage);
            leaves.push(digest(&preimage));
        }
        let data = config.transaction(chain, Height(height), index);
        let part = SimPart { data, path: path(leaves, index as usize) };
        Ok(Answer::Transaction { height: Height(height), part: Transaction::Sim(part) })
    }

    fn find(&self, chain: ChainId, newest: u64, wanted: Hash) -> Option<(u64, u32)> {
        let config = &self.config;
        let in_block = u64::from(config.transactions).max(1);
        let bytes = u64::from(config.transaction_bytes).max(1);
        let blocks = SEARCHED.min(SEARCHED_BYTES / bytes) / in_block;
        let oldest = newest.saturating_sub(blocks.max(1)) + 1;
        let mut preimage = Vec::new();
        for height in (oldest..=newest).rev() {
            for index in 0..config.transactions {
                config.preimage(chain, height, index, &mut preimage);
                if digest(&preimage) == wanted {
                    return Some((height, index));
                }
            }
        }
        None
    }
}

impl Answers for SimAnswers {
    fn answer(&self, question: &Question) -> Result<Answer, NoAnswer> {
        match question {
            Question::Transaction { chain, id } => self.transaction(*chain, id),
            Question::Record { .. } => Err(NoAnswer::Unsupported),
        }
    }
}

/// The siblings on the way from a leaf to the root of the tree over `row` (RFC 9162 shape).
fn path(mut row: Vec<Hash>, mut index: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    while row.len() > 1 {
        // An odd last one moves up.
        if let Some(hash) = row.get(index ^ 1) {
            steps.push(Step { hash: *hash, left: index % 2 == 1 });
        }
        let above = |pair: &[Hash]| match pair {
            [left, right] => crate::merkle::node(*left, *right),
            odd => odd[0],
        };
        row = row.chunks(2).map(above).collect();
        index /= 2;
    }
    steps
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::chain::{Columns, Timestamp};
    use crate::clock::Clock;
    use crate::proof::{Claim, ProvenBlock};
    use crate::sim::SimSource;
    use crate::source::Source as _;

    const CHAIN: ChainId = ChainId(9);

    struct Still;

    impl Clock for Still {
        fn wall(&self) -> Timestamp {
            Timestamp::default()
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }

    fn source(transactions: u32) -> (SimSource, Columns) {
        let config =
            SimConfig { chains: vec![CHAIN], transactions, blocks_per_second: 0.0, ..SimConfig::default() };
        let mut source = SimSource::new(config, Arc::new(Still));
        source.resume(CHAIN, Height(1), None).unwrap();
        let mut blocks = Columns::default();
        source.read(CHAIN, 20, &mut blocks).unwrap();
        (source, blocks)
    }

    fn id(source: &SimSource, height: u64, index: u32) -> Vec<u8> {
        let mut preimage = Vec::new();
        source.config.preimage(CHAIN, height, index, &mut preimage);
        digest(&preimage).as_bytes().to_vec()
    }

    fn ask(source: &SimSource, chain: ChainId, id: Vec<u8>) -> Result<Answer, NoAnswer> {
        source.answers().answer(&Question::Transaction { chain, id })
    }

    #[test]
    fn every_transaction_of_a_block_leads_to_its_root_and_no_other() {
        for transactions in [1, 2, 3, 4, 7] {
            let (source, blocks) = source(transactions);
            let proven = |height: u64| ProvenBlock {
                height: Height(height),
                hash: blocks.hashes[height as usize - 1],
                tx_root: blocks.tx_roots[height as usize - 1],
            };
            for (at, index) in (0..transactions).flat_map(|index| [(1, index), (20, index)]) {
                let answer = ask(&source, CHAIN, id(&source, at, index)).unwrap();
                let Answer::Transaction { height, part } = answer else { panic!("{answer:?}") };
                assert_eq!(height, Height(at));
                let claim = part.verify(CHAIN, &proven(at)).unwrap();
                assert!(matches!(claim, Claim::Sim { data } if data.len() == 100));
                assert!(part.verify(CHAIN, &proven(10)).is_err(), "another block has another root");
                assert_eq!(Transaction::from_bytes(&part.to_bytes()), Ok(part));
            }
        }
    }

    #[test]
    fn what_is_not_there_or_not_read_yet_is_unknown() {
        let (source, _) = source(4);
        assert_eq!(ask(&source, CHAIN, id(&source, 21, 0)), Err(NoAnswer::Unknown));
        assert_eq!(ask(&source, CHAIN, vec![1; 32]), Err(NoAnswer::Unknown));
        assert_eq!(ask(&source, CHAIN, vec![1; 31]), Err(NoAnswer::Unknown));
        assert_eq!(ask(&source, ChainId(8), vec![1; 32]), Err(NoAnswer::Unsupported));
        let record = Question::Record { chain: CHAIN, id: vec![1; 32] };
        assert_eq!(source.answers().answer(&record), Err(NoAnswer::Unsupported));
    }
}
