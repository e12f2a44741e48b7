//! What a main block has of a chain, as a whole: all of its blocks, or that there are none.

use crate::chain::{BlockView, ChainId, Height, MainHeader};
use crate::store::BlockReader;

use super::super::{AbsenceProof, BlockContent, Document, Neighbour, SectionProof};
use super::{NO_NODES, ProofError, asked, inconsistent, later, side_path, unpruned};

/// Builds the proof that these are all blocks of `chain` in main block `main`, up to the header of `head` if one is asked
/// for; `None` if it has none ([`build_absence`] proves that).
///
/// # Errors
/// There is no such main block or no such head, the proof would be longer than [`Document::MAX_BYTES`], or the store
/// cannot be read.
pub fn build_chain<R: BlockReader>(
    reader: &R,
    chain: ChainId,
    main: Height,
    head: Option<Height>,
) -> Result<Option<SectionProof>, ProofError> {
    unpruned(reader, || {
        let block = asked(reader, "main", main)?;
        let proof = section(reader, &block, chain, (main, head));
        block.intact()?;
        proof
    })
}

fn section<R: BlockReader>(
    reader: &R,
    block: &R::Block<'_>,
    chain: ChainId,
    (main, head): (Height, Option<Height>),
) -> Result<Option<SectionProof>, ProofError> {
    // Fixed fields with a head, and more siblings than there can be.
    const OTHER_BYTES: usize = 32 + 2 * MainHeader::BYTES + 2 * 64 * 32;
    let Some((index, section)) = block.find(chain) else { return Ok(None) };
    if 64 * section.count as usize + OTHER_BYTES > Document::MAX_BYTES {
        return Err(ProofError::TooLong { most: Document::MAX_BYTES });
    }
    let (leaves, columns) = (section.leaves(), block.columns());
    let rows = columns.hashes.get(leaves.clone()).zip(columns.tx_roots.get(leaves));
    let (hashes, tx_roots) = rows.ok_or(inconsistent(main, NO_NODES))?;
    let blocks = hashes.iter().zip(tx_roots);
    let blocks = blocks.map(|(&hash, &tx_root)| BlockContent { hash, tx_root }).collect();
    let side_path = side_path(block, index).ok_or(inconsistent(main, NO_NODES))?;
    let header = block.header();
    let (history_path, head) = later(reader, main, head)?;
    Ok(Some(SectionProof {
        version: SectionProof::VERSION,
        chain_id: chain,
        first_height: section.first_height,
        blocks,
        index: index as u32,
        side_path,
        header,
        history_path,
        head,
    }))
}

/// Builds the proof that main block `main` has no block of `chain`, up to the header of `head` if one is asked for; `None`
/// if it has some ([`build_chain`] proves which).
///
/// # Errors
/// There is no such main block or no such head, or the store cannot be read.
pub fn build_absence<R: BlockReader>(
    reader: &R,
    chain: ChainId,
    main: Height,
    head: Option<Height>,
) -> Result<Option<AbsenceProof>, ProofError> {
    unpruned(reader, || {
        let block = asked(reader, "main", main)?;
        let proof = absence(reader, &block, chain, (main, head));
        block.intact()?;
        proof
    })
}

fn absence<R: BlockReader>(
    reader: &R,
    block: &R::Block<'_>,
    chain: ChainId,
    (main, head): (Height, Option<Height>),
) -> Result<Option<AbsenceProof>, ProofError> {
    if block.find(chain).is_some() {
        return Ok(None);
    }
    let count = block.section_count();
    let (mut index, mut end) = (0, count);
    while index < end {
        let middle = usize::midpoint(index, end);
        if block.section(middle).chain < chain {
            index = middle + 1;
        } else {
            end = middle;
        }
    }
    let neighbour = |index: usize| {
        let section = block.section(index);
        let path = side_path(block, index).ok_or(inconsistent(main, NO_NODES))?;
        Ok::<_, ProofError>(Neighbour {
            chain_id: section.chain,
            first_height: section.first_height,
            count: section.count,
            chain_root: section.chain_root,
            path,
        })
    };
    let before = index.checked_sub(1).map(neighbour).transpose()?;
    let after = (index < count).then(|| neighbour(index)).transpose()?;
    let header = block.header();
    let (history_path, head) = later(reader, main, head)?;
    Ok(Some(AbsenceProof {
        version: AbsenceProof::VERSION,
        chain_id: chain,
        index: index as u32,
        before,
        after,
        header,
        history_path,
        head,
    }))
}
