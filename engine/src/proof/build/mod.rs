//! Building proofs from stored blocks.
//!
//! Blocks are read where they lie. Of a tree, the nodes that the block stores are taken as they are, and of the leaves
//! below them no more are hashed than lie in groups of 32 with a proven one; so a proof costs the same however large its
//! block is, and blocks that are proven together share what they have in common.
//!
//! # Invariant
//! Every view of a block is asked whether it is intact after the last read and before anything of it is handed on,
//! errors included. A store may be pruned meanwhile: then what failed is tried again, on what is left.

mod consistency;
mod content;
mod error;
mod many;

use crate::chain::{BlockView, ChainId, Hash, Height, MainHeader, Section};
use crate::merkle::path::Step;
use crate::merkle::tree::{self, Stored};
use crate::merkle::{history, leaf};
use crate::store::{BlockReader, StoredHistory};

use super::{ChainPart, Proof, ProvenBlock};

pub use consistency::build_consistency;
pub use content::{build_absence, build_chain};
pub use error::ProofError;
pub use many::{MAX_BLOCKS, build_many};

/// Builds the proof of a side block, up to the header of main block `head` if one is asked for.
///
/// It reads the blocks where they lie and allocates the proof's paths, each once, and nothing else.
///
/// # Errors
/// The block is not indexed or was pruned, there is no such head, or the store cannot be read.
pub fn build<R: BlockReader>(
    reader: &R,
    chain_id: ChainId,
    height: Height,
    head: Option<Height>,
) -> Result<Proof, ProofError> {
    unpruned(reader, || {
        let main = locate(reader, chain_id, height)?;
        let block = indexed(reader, main)?;
        let proof = from_block(reader, &block, (chain_id, height), (main, head));
        // When all has been read, and before anything is said of it.
        block.intact()?;
        proof
    })
}

/// The proof of a side block that is in `block`, the main block at height `main`, up to `head`.
fn from_block<R: BlockReader>(
    reader: &R,
    block: &R::Block<'_>,
    (chain_id, height): (ChainId, Height),
    (main, head): (Height, Option<Height>),
) -> Result<Proof, ProofError> {
    let wrong = |what| inconsistent(main, what);
    let (index, section) = block.find(chain_id).ok_or(wrong(NO_CHAIN))?;
    let offset = offset(&section, height).ok_or(wrong(NO_HEIGHT))?;
    let chain_path = chain_tree(block, &section).ok_or(wrong(NO_NODES))?.path(offset);
    let side_path = side_path(block, index).ok_or(wrong(NO_NODES))?;
    let header = block.header();
    let (history_path, head) = later(reader, main, head)?;
    let leaf = section.leaves().start + offset;
    let columns = block.columns();
    let proven = ProvenBlock { height, hash: columns.hashes[leaf], tx_root: columns.tx_roots[leaf] };
    let chain = ChainPart { first_height: section.first_height, count: section.count, index: index as u32 };
    Ok(Proof {
        version: Proof::VERSION,
        chain_id,
        block: proven,
        chain_path,
        chain,
        side_path,
        header,
        history_path,
        head,
    })
}

const NO_CHAIN: &str = "the index names it for a chain it has not";
const NO_HEIGHT: &str = "the index names it for a height it has not";
const NO_NODES: &str = "side blocks or stored nodes are missing";

/// Tries again what failed while blocks were pruned, perhaps these: to say so, or to build on what is left.
fn unpruned<R: BlockReader, T>(
    reader: &R,
    attempt: impl Fn() -> Result<T, ProofError>,
) -> Result<T, ProofError> {
    loop {
        let first = reader.base().first;
        match attempt() {
            Err(_) if reader.base().first != first => {}
            result => return result,
        }
    }
}

/// The main block that indexed a side block, or why there is none.
fn locate<R: BlockReader>(reader: &R, chain: ChainId, height: Height) -> Result<Height, ProofError> {
    if let Some(main) = reader.locate(chain, height)? {
        return Ok(main);
    }
    let base = reader.base();
    Err(if base.head(chain).is_some_and(|head| height <= head.height) {
        ProofError::Pruned { chain, height, first: base.first }
    } else {
        ProofError::NotIndexed { chain, height, newest: reader.chain_head(chain)? }
    })
}

/// A main block that the index names.
fn indexed<R: BlockReader>(reader: &R, main: Height) -> Result<R::Block<'_>, ProofError> {
    reader.block(main)?.ok_or(inconsistent(main, "the index names it, but it is not there"))
}

/// A main block that was asked for as `field`.
fn asked<'a, R: BlockReader>(
    reader: &'a R,
    field: &'static str,
    height: Height,
) -> Result<R::Block<'a>, ProofError> {
    if let Some(block) = reader.block(height)? {
        return Ok(block);
    }
    let (first, newest) = (reader.base().first, reader.head());
    Err(if height < first {
        ProofError::PrunedBlock { field, height, first }
    } else if height > newest {
        ProofError::NoSuchBlock { field, height, newest }
    } else {
        inconsistent(height, "it is missing")
    })
}

/// The path from the header of `main` to the history root of the header of `head`, and that header; nothing if no head is
/// asked for, or `main` itself.
fn later<R: BlockReader>(
    reader: &R,
    main: Height,
    head: Option<Height>,
) -> Result<(Option<Vec<Step>>, Option<MainHeader>), ProofError> {
    let Some(head) = head.filter(|head| *head != main) else { return Ok((None, None)) };
    let header = head_from(reader, main, head)?;
    let path = history::path(main.0 - 1, head.0 - 1, &StoredHistory::new(reader))?;
    Ok((Some(path), Some(header)))
}

/// The header of `head`, which may not be below `main`.
fn head_from<R: BlockReader>(reader: &R, main: Height, head: Height) -> Result<MainHeader, ProofError> {
    let newest = reader.head();
    if head < main || head > newest {
        return Err(ProofError::NoSuchHead { head, indexed_in: main, newest });
    }
    let block = reader.block(head)?.ok_or(inconsistent(head, "it is missing"))?;
    let header = block.header();
    block.intact()?;
    Ok(header)
}

/// Where the side block of this height stands in its section.
fn offset(section: &Section, height: Height) -> Option<usize> {
    let offset = height.0.checked_sub(section.first_height.0)?;
    (offset < section.count.into()).then_some(offset as usize)
}

/// The tree over the blocks of a section; `None` if the main block lacks some of it.
fn chain_tree<'a>(
    block: &'a impl BlockView,
    section: &Section,
) -> Option<Stored<'a, impl Fn(usize, &mut [Hash]) + 'a>> {
    let (leaves, columns) = (section.leaves(), block.columns());
    let (hashes, tx_roots) = (columns.hashes.get(leaves.clone())?, columns.tx_roots.get(leaves)?);
    let (chain, first) = (section.chain, section.first_height);
    let fill = move |leaf: usize, row: &mut [Hash]| {
        let (from, to) = (leaf, leaf + row.len());
        let first = Height(first.0.wrapping_add(leaf as u64));
        leaf::side_row(chain, first, &hashes[from..to], &tx_roots[from..to], row);
    };
    let (count, node) = (section.count as usize, section.first_node as usize);
    let nodes = block.chain_nodes().get(node..node.checked_add(tree::stored_nodes(count))?)?;
    Stored::new(count, nodes, fill)
}

/// The tree over the chain leaves; `None` if the main block lacks stored nodes.
fn side_tree(block: &impl BlockView) -> Option<Stored<'_, impl Fn(usize, &mut [Hash])>> {
    let sections = block.section_count();
    let fill = move |leaf: usize, row: &mut [Hash]| {
        // One group of leaves at a time, so that nothing is allocated.
        for (part, row) in row.chunks_mut(GROUP).enumerate() {
            let (first, last) = (leaf + part * GROUP, row.len() - 1);
            let own: [Section; GROUP] = std::array::from_fn(|index| block.section(first + index.min(last)));
            leaf::chain_row(&own[..row.len()], row);
        }
    };
    Stored::new(sections, block.side_nodes(), fill)
}

const GROUP: usize = 1 << tree::STORED_LEVEL;

/// The path from the chain leaf of section `index` to the side root; `None` if the block lacks stored nodes.
pub(super) fn side_path(block: &impl BlockView, index: usize) -> Option<Vec<Step>> {
    Some(side_tree(block)?.path(index))
}

pub(super) fn inconsistent(height: Height, what: &'static str) -> ProofError {
    ProofError::Inconsistent { height, what }
}

#[cfg(test)]
mod tests;
