//! What a main block has of one chain, proven as a whole: what a side chain's node is sent.

use serde::{Deserialize, Serialize};

use crate::chain::{BlockView, ChainId, Hash, Height, MainHeader};
use crate::merkle::leaf;
use crate::merkle::path::fold_hashes;

use super::build::{inconsistent, side_path};
use super::{ProofError, VerifyError};

/// That these blocks of a chain, and no others, are in a main block: its chain leaf, and the path from there to
/// the header's `side_root`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainProof {
    /// The side chain.
    pub chain_id: ChainId,
    /// Height of its first block there.
    pub first_height: Height,
    /// How many of its blocks are there; at least 1.
    pub count: u32,
    /// Root over their side leaves.
    pub chain_root: Hash,
    /// The chain's position among the chains there.
    pub index: u32,
    /// The siblings from the chain leaf up. Their sides follow from `index` and the header's `chain_count`.
    pub side_path: Vec<Hash>,
}

impl ChainProof {
    /// The most siblings that a path can have: `chain_count` is a u32.
    pub const MAX_STEPS: usize = 32;

    /// What `block` has of `chain`; `None` if it has nothing. [`BlockView::intact`] is the caller's to ask.
    ///
    /// # Errors
    /// The stored block contradicts itself.
    pub fn of(block: &impl BlockView, chain: ChainId) -> Result<Option<Self>, ProofError> {
        let Some((index, section)) = block.find(chain) else { return Ok(None) };
        let path = side_path(block, index)
            .ok_or_else(|| inconsistent(block.header().height, "stored nodes are missing"))?;
        Ok(Some(Self {
            chain_id: chain,
            first_height: section.first_height,
            count: section.count,
            chain_root: section.chain_root,
            index: index as u32,
            side_path: path.into_iter().map(|step| step.hash).collect(),
        }))
    }

    /// Height of its last block there. Of heights that cannot be, the greatest.
    pub fn last_height(&self) -> Height {
        Height(self.first_height.0.saturating_add(u64::from(self.count)).saturating_sub(1))
    }

    /// Checks that the path leads to `side_root` of `header`. What it proves holds for whoever trusts the header.
    ///
    /// # Errors
    /// A field that cannot be, or a path that leads elsewhere.
    pub fn verify(&self, header: &MainHeader) -> Result<(), VerifyError> {
        let (first, count) = (self.first_height, self.count);
        for (field, got) in [("first_height", first), ("first_height + count - 1", self.last_height())] {
            // A count of 0 leaves the last height below the first, which may be a height.
            if !(Height(1)..=Height::MAX).contains(&got) || got < first {
                return Err(VerifyError::NoHeight { field, got });
            }
        }
        let field = "side_path";
        let chain_leaf = leaf::chain(self.chain_id, first, count, self.chain_root);
        let (index, size, expected) = (self.index.into(), header.chain_count.into(), header.side_root);
        let got = fold_hashes(chain_leaf, index, size, &self.side_path)
            .map_err(|error| VerifyError::Path { field, error })?;
        let root = "header.side_root";
        if got == expected { Ok(()) } else { Err(VerifyError::Root { field, got, root, expected }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::MainBlock;
    use crate::pipeline::fixture;

    /// Of trees of every shape up to 40 chains, each chain with some blocks.
    fn blocks() -> Vec<MainBlock> {
        (1..=40)
            .map(|chains| {
                let counts = (0..u64::from(chains)).map(|chain| chain % 4 + 1).collect();
                fixture::blocks(&fixture::genesis(chains), &[counts]).remove(0)
            })
            .collect()
    }

    #[test]
    fn what_a_block_has_of_each_chain_is_proven_and_of_others_there_is_no_proof() {
        for block in blocks() {
            for section in &block.sections {
                let proof = ChainProof::of(&block, section.chain).unwrap().unwrap();
                assert_eq!((proof.first_height, proof.count), (section.first_height, section.count));
                assert_eq!(proof.last_height(), section.last_height());
                proof.verify(&block.header).unwrap();
            }
            assert_eq!(ChainProof::of(&block, ChainId(1_000)).unwrap(), None);
        }
    }

    #[test]
    fn every_change_of_a_proof_is_refused() {
        type Change = fn(&mut ChainProof);
        let changes: [Change; 11] = [
            |proof| proof.chain_id.0 += 1,
            |proof| proof.first_height.0 += 1,
            |proof| proof.first_height.0 = 0,
            |proof| proof.first_height.0 = u64::MAX,
            |proof| proof.count += 1,
            |proof| proof.count = 0,
            |proof| proof.chain_root.0[31] ^= 1,
            |proof| proof.index = proof.index.wrapping_add(1),
            |proof| proof.index = u32::MAX,
            |proof| proof.side_path.push(Hash::ZERO),
            |proof| match proof.side_path.last_mut() {
                Some(last) => last.0[0] ^= 0x80,
                None => proof.side_path.push(proof.chain_root),
            },
        ];
        for block in blocks() {
            for section in &block.sections {
                let right = ChainProof::of(&block, section.chain).unwrap().unwrap();
                for (number, change) in changes.iter().enumerate() {
                    let mut proof = right.clone();
                    change(&mut proof);
                    assert!(proof.verify(&block.header).is_err(), "change {number} of {right:?}");
                }
                for step in 0..right.side_path.len() {
                    let mut proof = right.clone();
                    proof.side_path.remove(step);
                    assert!(proof.verify(&block.header).is_err(), "without step {step} of {right:?}");
                }
                for bit in 0..256 {
                    let mut header = block.header;
                    header.side_root.0[bit / 8] ^= 1 << (bit % 8);
                    assert!(right.verify(&header).is_err(), "bit {bit} of the side root");
                }
            }
        }
    }

    #[test]
    fn a_block_that_lacks_its_nodes_is_no_panic() {
        let mut block = fixture::blocks(&fixture::genesis(40), &[vec![1; 40]]).remove(0);
        block.side_nodes.clear();
        assert!(matches!(ChainProof::of(&block, ChainId(7)), Err(ProofError::Inconsistent { .. })));
    }
}
