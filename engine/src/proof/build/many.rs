//! One proof of many side blocks, which shares what their trees have in common.

use std::ops::Range;

use crate::chain::{BlockView, ChainId, Height, MainHeader};
use crate::merkle::history;
use crate::store::{BlockReader, StoredHistory};

use super::super::{BlocksProof, Document, ManyBlock, ManyChain, ProvenBlock};
use super::{NO_CHAIN, NO_HEIGHT, NO_NODES, ProofError, chain_tree, inconsistent, side_tree, unpruned};

/// The most side blocks that one proof is of.
pub const MAX_BLOCKS: usize = 65_536;

/// Builds the proof of many side blocks, in any order; one that is named twice is proven once.
///
/// It ends in the header of main block `head`; without, in that of the newest main block that holds one of them.
/// Each main block is read once, whatever is proven of it.
///
/// # Errors
/// As [`super::build`]; no blocks, more than [`MAX_BLOCKS`], or a proof that would be longer than [`Document::MAX_BYTES`].
pub fn build_many<R: BlockReader>(
    reader: &R,
    blocks: &[(ChainId, Height)],
    head: Option<Height>,
) -> Result<BlocksProof, ProofError> {
    if !(1..=MAX_BLOCKS).contains(&blocks.len()) {
        return Err(ProofError::Count { got: blocks.len(), most: MAX_BLOCKS });
    }
    let mut wanted = blocks.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    unpruned(reader, || attempt(reader, &wanted, head))
}

/// Blocks of one chain in one main block.
struct Run {
    main: Height,
    chain: ChainId,
    /// Where they stand among the wanted ones.
    wanted: Range<usize>,
}

fn attempt<R: BlockReader>(
    reader: &R,
    wanted: &[(ChainId, Height)],
    head: Option<Height>,
) -> Result<BlocksProof, ProofError> {
    let mut runs = runs(reader, wanted)?;
    runs.sort_unstable_by_key(|run| (run.main, run.chain));
    let mut bytes = FIXED_BYTES;
    let mut main_blocks = Vec::new();
    for runs in runs.chunk_by(|one, next| one.main == next.main) {
        let block = super::indexed(reader, runs[0].main)?;
        let part = of_block(&block, runs, wanted);
        block.intact()?;
        let part = part?;
        bytes += encoded_bytes(&part);
        if bytes > Document::MAX_BYTES {
            return Err(ProofError::TooLong { most: Document::MAX_BYTES });
        }
        main_blocks.push(part);
    }
    let (history, head) = later(reader, &main_blocks, head)?;
    if bytes + history.as_ref().map_or(0, |nodes| 32 * nodes.len()) > Document::MAX_BYTES {
        return Err(ProofError::TooLong { most: Document::MAX_BYTES });
    }
    Ok(BlocksProof { version: BlocksProof::VERSION, main_blocks, history, head })
}

/// Finds the main blocks. One look at the index serves all wanted blocks of a section.
fn runs<R: BlockReader>(reader: &R, wanted: &[(ChainId, Height)]) -> Result<Vec<Run>, ProofError> {
    let (mut runs, mut start) = (Vec::new(), 0);
    while let Some(&(chain, height)) = wanted.get(start) {
        let main = super::locate(reader, chain, height)?;
        let block = super::indexed(reader, main)?;
        let last = block.find(chain).map(|(_, section)| section.last_height());
        block.intact()?;
        let last = last.ok_or(inconsistent(main, NO_CHAIN))?;
        let count = wanted[start..].partition_point(|(other, height)| *other == chain && *height <= last);
        if count == 0 {
            return Err(inconsistent(main, NO_HEIGHT));
        }
        runs.push(Run { main, chain, wanted: start..start + count });
        start += count;
    }
    Ok(runs)
}

/// What is proven of one main block: `runs` by ascending chain.
fn of_block(
    block: &impl BlockView,
    runs: &[Run],
    wanted: &[(ChainId, Height)],
) -> Result<ManyBlock, ProofError> {
    let wrong = |what| inconsistent(runs[0].main, what);
    let columns = block.columns();
    let mut chains: Vec<ManyChain> = Vec::with_capacity(runs.len());
    for run in runs {
        let (index, section) = block.find(run.chain).ok_or(wrong(NO_CHAIN))?;
        if chains.last().is_some_and(|before| before.index as usize >= index) {
            return Err(wrong("its chains do not ascend"));
        }
        let tree = chain_tree(block, &section).ok_or(wrong(NO_NODES))?;
        let first = section.leaves().start;
        let mut offsets = Vec::with_capacity(run.wanted.len());
        let mut blocks = Vec::with_capacity(run.wanted.len());
        for &(_, height) in &wanted[run.wanted.clone()] {
            let offset = super::offset(&section, height).ok_or(wrong(NO_HEIGHT))?;
            let (hash, tx_root) = (columns.hashes[first + offset], columns.tx_roots[first + offset]);
            offsets.push(offset);
            blocks.push(ProvenBlock { height, hash, tx_root });
        }
        chains.push(ManyChain {
            chain_id: run.chain,
            first_height: section.first_height,
            count: section.count,
            index: index as u32,
            blocks,
            nodes: tree.completing(offsets.into_iter()),
        });
    }
    let tree = side_tree(block).ok_or(wrong(NO_NODES))?;
    let nodes = tree.completing(chains.iter().map(|chain| chain.index as usize));
    Ok(ManyBlock { header: block.header(), chains, nodes })
}

/// What completes the history of `head` for whoever has the headers, and its own header.
fn later<R: BlockReader>(
    reader: &R,
    main_blocks: &[ManyBlock],
    head: Option<Height>,
) -> Result<(Option<Vec<crate::chain::Hash>>, Option<MainHeader>), ProofError> {
    let newest = main_blocks.last().map_or(Height(0), |last| last.header.height);
    let head = head.unwrap_or(newest);
    let header = super::head_from(reader, newest, head)?;
    if main_blocks.len() == 1 && head == newest {
        return Ok((None, None));
    }
    let leaves = main_blocks.iter().map(|block| block.header.height).filter(|height| *height < head);
    let nodes =
        history::completing(leaves.map(|height| height.0 - 1), head.0 - 1, &StoredHistory::new(reader))?;
    Ok((Some(nodes), Some(header)))
}

/// What a proof of no blocks takes in the binary form, with a head.
const FIXED_BYTES: usize = 2 + 4 + 1 + MainHeader::BYTES;

/// What a main block takes in the binary form (`docs/protocol.md`, section "Other proofs").
fn encoded_bytes(block: &ManyBlock) -> usize {
    let of_chain = |chain: &ManyChain| 4 + 8 + 3 * 4 + 72 * chain.blocks.len() + 32 * chain.nodes.len();
    MainHeader::BYTES + 4 + block.chains.iter().map(of_chain).sum::<usize>() + 32 * block.nodes.len()
}
