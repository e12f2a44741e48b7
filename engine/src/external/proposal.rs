//! What a driver hands in, and what is said of it.

use crate::chain::{BlockView, ChainId, Hash, Height, MainHeader};

/// A main block that a node of the main chain proposes, or that was agreed on. All that its header commits to is here,
/// and nothing else: times of side blocks, which no root covers, are each node's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proposal {
    /// The header.
    pub header: MainHeader,
    /// One section a chain, by ascending chain id.
    pub sections: Vec<ProposedSection>,
    /// Hashes of all side blocks, section after section.
    pub hashes: Vec<Hash>,
    /// Their transaction roots.
    pub tx_roots: Vec<Hash>,
}

/// The blocks of one side chain in a [`Proposal`]: consecutive, in the columns after those of the sections before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProposedSection {
    /// The side chain.
    pub chain: ChainId,
    /// How many blocks; at least 1.
    pub count: u32,
    /// Height of the first of them.
    pub first_height: Height,
    /// Hash of the side block before the first one; zero if the main chain has none of this chain.
    pub parent: Hash,
}

impl Proposal {
    /// The proposal that `block` is.
    pub fn of(block: &impl BlockView) -> Self {
        let sections = (0..block.section_count()).map(|index| block.section(index));
        let sections = sections.map(|section| ProposedSection {
            chain: section.chain,
            count: section.count,
            first_height: section.first_height,
            parent: section.parent,
        });
        let columns = block.columns();
        Self {
            header: block.header(),
            sections: sections.collect(),
            hashes: columns.hashes.to_vec(),
            tx_roots: columns.tx_roots.to_vec(),
        }
    }

    /// What its columns and sections take in memory.
    pub(super) fn heap_bytes(&self) -> usize {
        (self.hashes.capacity() + self.tx_roots.capacity()) * size_of::<Hash>()
            + self.sections.capacity() * size_of::<ProposedSection>()
    }
}

/// What is said of a [`Proposal`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Verdict {
    /// Every field is what this node would have written, given the same choice of blocks and the same time.
    #[error("valid")]
    Valid,
    /// A field is wrong, and will stay so (but for a time that is too far ahead): it contradicts the others, the block
    /// before, or what this node received.
    #[error("{field}: {got}; expected {expected}")]
    Invalid {
        /// Which field: `header.height`, `sections[3].first_height`, `sections[3].hashes[17]`, and so on.
        field: String,
        /// What it says.
        got: String,
        /// What would be right.
        expected: String,
    },
    /// No refusal: nothing is wrong so far, but this node has not received all of it. To be judged again when it
    /// has ([`super::PendingProposals`]). The blocks are those that the header commits to, so its hash stands for all of it.
    #[error("chain {chain}: block {wanted} was not received yet; {received} is the newest one")]
    Behind {
        /// The first side chain that lacks blocks.
        chain: ChainId,
        /// Which height is needed.
        wanted: Height,
        /// The newest one that is there.
        received: Height,
    },
    /// Its parent is no committed block from the irreversible one to the head.
    #[error(
        "header.parent: {parent} is no block from {irreversible}, which is irreversible, to {head}, the head"
    )]
    UnknownParent {
        /// The parent.
        parent: Hash,
        /// The lowest block that may be a parent.
        irreversible: Height,
        /// The highest.
        head: Height,
    },
}

impl Verdict {
    pub(super) fn invalid(field: impl Into<String>, got: &dyn ToString, expected: &dyn ToString) -> Self {
        Self::Invalid { field: field.into(), got: got.to_string(), expected: expected.to_string() }
    }
}
