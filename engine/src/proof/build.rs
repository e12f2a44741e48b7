//! Building proofs from stored blocks.

use crate::chain::{BlockView, ChainId, Height};
use crate::merkle::path::Step;
use crate::merkle::{history, leaf, tree};
use crate::store::{BlockReader, HistoryError, StoreError, StoredHistory};

use super::{ChainPart, Proof, ProvenBlock};

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The side block is not indexed, or not yet.
    #[error("chain {chain}: height {height} is not indexed{}", newest_of(*.newest))]
    NotIndexed {
        /// Which chain.
        chain: ChainId,
        /// Which height.
        height: Height,
        /// The newest height of the chain that is.
        newest: Option<Height>,
    },
    /// The main block that indexed the side block was pruned.
    #[error(
        "chain {chain}: height {height} was indexed by a main block before {first}, and those were pruned from this log; ask an archive, or a node that keeps them"
    )]
    Pruned {
        /// Which chain.
        chain: ChainId,
        /// Which height.
        height: Height,
        /// The oldest main block that is kept.
        first: Height,
    },
    /// The asked-for head is not a durable block above or at the one that indexed the side block.
    #[error(
        "head: {head} is not a main block from {indexed_in}, which indexed the side block, to {newest}, the newest"
    )]
    NoSuchHead {
        /// What was asked for.
        head: Height,
        /// The main block that indexed the side block.
        indexed_in: Height,
        /// The newest main block.
        newest: Height,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store's history cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The store contradicts itself.
    #[error("main block {height}: {what}; check the log")]
    Inconsistent {
        /// Which main block.
        height: Height,
        /// What is wrong.
        what: &'static str,
    },
}

fn newest_of(height: Option<Height>) -> String {
    height.map_or_else(|| " (no block of this chain is yet)".into(), |height| format!(" (newest: {height})"))
}

/// Builds the proof of a side block, up to the header of main block `head` if one is asked for.
///
/// It reads the blocks where they lie and allocates the proof's paths, each once, and nothing else.
pub fn build<R: BlockReader>(
    reader: &R,
    chain_id: ChainId,
    height: Height,
    head: Option<Height>,
) -> Result<Proof, ProofError> {
    loop {
        let first = reader.base().first;
        match attempt(reader, chain_id, height, head) {
            // Blocks were pruned meanwhile, perhaps these: try again, to say so or to build on what is left.
            Err(_) if reader.base().first != first => {}
            result => return result,
        }
    }
}

fn attempt<R: BlockReader>(
    reader: &R,
    chain_id: ChainId,
    height: Height,
    head: Option<Height>,
) -> Result<Proof, ProofError> {
    let Some(main) = reader.locate(chain_id, height)? else {
        return Err(absent(reader, chain_id, height)?);
    };
    let Some(block) = reader.block(main)? else {
        return Err(inconsistent(main, "the index names it, but it is not there"));
    };
    let proof = from_block(reader, &block, (chain_id, height), (main, head));
    // When all has been read, and before anything is said of it.
    block.intact()?;
    proof
}

/// The proof of a side block that is in `block`, the main block at height `main`, up to `head`.
fn from_block<R: BlockReader>(
    reader: &R,
    block: &R::Block<'_>,
    (chain_id, height): (ChainId, Height),
    (main, head): (Height, Option<Height>),
) -> Result<Proof, ProofError> {
    let wrong = |what| inconsistent(main, what);
    let (index, section) = block.find(chain_id).ok_or(wrong("the index names it for a chain it has not"))?;
    let offset = height.0.checked_sub(section.first_height.0).filter(|offset| *offset < section.count.into());
    let offset = offset.ok_or(wrong("the index names it for a height it has not"))? as usize;

    let columns = block.columns();
    let leaves = section.leaves();
    if columns.len() < leaves.end {
        return Err(wrong("side blocks are missing"));
    }
    let columns = columns.slice(leaves.start, leaves.end);
    let count = section.count as usize;
    let nodes = section.first_node as usize;
    let chain_nodes = block.chain_nodes().get(nodes..nodes + tree::stored_nodes(count));
    let chain_nodes = chain_nodes.ok_or(wrong("stored nodes are missing"))?;
    let chain_path = tree::path(offset, count, chain_nodes, |leaf| {
        let height = Height(section.first_height.0 + leaf as u64);
        leaf::side(chain_id, height, columns.hashes[leaf], columns.tx_roots[leaf])
    });
    let side_path = side_path(block, index).ok_or(wrong("stored nodes are missing"))?;

    let (history_path, head) = match head {
        None => (None, None),
        Some(head) if head == main => (None, None),
        Some(head) => {
            let newest = reader.head();
            if head < main || head > newest {
                return Err(ProofError::NoSuchHead { head, indexed_in: main, newest });
            }
            let later = reader.block(head)?.ok_or(inconsistent(head, "it is missing"))?;
            let header = later.header();
            later.intact()?;
            let path = history::path(main.0 - 1, head.0 - 1, &StoredHistory::new(reader))?;
            (Some(path), Some(header))
        }
    };
    let proven = ProvenBlock { height, hash: columns.hashes[offset], tx_root: columns.tx_roots[offset] };
    let part = ChainPart { first_height: section.first_height, count: section.count, index: index as u32 };
    Ok(Proof {
        version: Proof::VERSION,
        chain_id,
        block: proven,
        chain_path,
        chain: part,
        side_path,
        header: block.header(),
        history_path,
        head,
    })
}

/// The path from the chain leaf of section `index` to the side root; `None` if the block lacks stored nodes.
pub(super) fn side_path(block: &impl BlockView, index: usize) -> Option<Vec<Step>> {
    let sections = block.section_count();
    if block.side_nodes().len() != tree::stored_nodes(sections) {
        return None;
    }
    Some(tree::path(index, sections, block.side_nodes(), |leaf| {
        let section = block.section(leaf);
        leaf::chain(section.chain, section.first_height, section.count, section.chain_root)
    }))
}

/// Why a side block is in no main block that is kept.
fn absent<R: BlockReader>(reader: &R, chain: ChainId, height: Height) -> Result<ProofError, StoreError> {
    let base = reader.base();
    Ok(if base.head(chain).is_some_and(|head| height <= head.height) {
        ProofError::Pruned { chain, height, first: base.first }
    } else {
        ProofError::NotIndexed { chain, height, newest: reader.chain_head(chain)? }
    })
}

pub(super) fn inconsistent(height: Height, what: &'static str) -> ProofError {
    ProofError::Inconsistent { height, what }
}
