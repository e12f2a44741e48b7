//! What the fuzz targets do with an input: [`open`] changes the files of a small log, [`record`] stores a body that
//! no writer of ours would have written. Neither may panic, hang, or take more memory than a few files' worth; and
//! a block that is served without a checksum having been mended is one that was written.
//!
//! The checksums are keyed, so bytes that are merely changed stop at them. To get behind, an input says which ones
//! are computed anew after its changes ([`mend`]), as whoever can read the key could do.

#![forbid(unsafe_code)]

mod edit;
mod maker;
mod mend;
mod template;

use std::path::Path;

use engine::chain::{BlockView, ChainId, Height, MainBlock};
use engine::proof;
use engine::store::BlockReader;
use storage::{Log, LogBlock, LogReader, check};

use edit::Input;
use maker::Maker;
use template::{Scratch, Template};

/// Most blocks that one input reads from a log: a trailer may claim any number.
const MOST_BLOCKS: u64 = 64;

thread_local! {
    static TEMPLATE: Template = Template::make();
    static SCRATCH: Scratch = Scratch::new();
}

/// Changes the files of a log as `input` says, then opens, checks, reads and writes it.
pub fn open(input: &[u8]) {
    let input = Input::parse(input);
    TEMPLATE.with(|template| {
        let mut files = template.files.clone();
        for edit in &input.edits {
            edit.apply(&mut files);
        }
        input.mend.apply(&mut files);
        // What was mended was, in effect, written.
        let written = input.mend.is_nothing().then_some(&template.blocks[..]);
        SCRATCH.with(|scratch| {
            scratch.fill(&files);
            read(scratch.path(), written, true);
            let checked = check(scratch.path(), true, &mut |_, _| ());
            if input.edits.is_empty() && input.mend.is_nothing() {
                let report = checked.expect("the log is whole");
                assert!(
                    report.damage.is_empty() && report.head.0 == template.blocks.len() as u64,
                    "{report:?}"
                );
            }
            write(scratch.path(), written);
        });
    });
}

/// Stores `input` as the body of a block, and reads it back in the active segment and in a sealed one.
///
/// The first byte says what the rest is: even, the body; odd, changes of a body that is right. Bit 1: the checksums
/// of the index are right too, and the segment is sealed.
pub fn record(input: &[u8]) {
    let Some((mode, rest)) = input.split_first() else { return };
    TEMPLATE.with(|template| {
        let mut body = template.body.clone();
        if mode & 1 == 0 {
            body = rest.to_vec();
        } else {
            edit::patch(&mut body, rest);
        }
        let Some(files) = template.with_last_body(&body, mode & 2 != 0) else { return };
        let same = (body == template.body).then_some(&template.blocks[..template.short]);
        SCRATCH.with(|scratch| {
            scratch.fill(&files);
            let _ = check(scratch.path(), true, &mut |_, _| ());
            let served = read(scratch.path(), same, true);
            assert!(
                same.is_none() || served == template.short as u64,
                "served {served} of {}",
                template.short
            );
        });
    });
}

/// Reads all blocks, looks all their side blocks up and proves some. Gives how many blocks were served.
/// `linked`: their history is true, so proofs that are built verify.
fn read(dir: &Path, written: Option<&[MainBlock]>, linked: bool) -> u64 {
    let Ok(reader) = LogReader::open(dir) else { return 0 };
    let mut served = 0;
    let mut left = MOST_BLOCKS;
    for segment in reader.segments() {
        let heights = (segment.first.0..).take(segment.blocks.min(left) as usize);
        left -= segment.blocks.min(left);
        for height in heights {
            if let Ok(Some(block)) = reader.block(Height(height)) {
                served += 1;
                if let Some(written) = written {
                    assert_written(&block, height, written);
                }
                let proofs = written.is_some() && linked;
                use_block(&reader, &block, Height(height), written.is_some(), proofs);
            }
        }
    }
    for chain in [0, 1, 77, u32::MAX].map(ChainId) {
        let _ = reader.chain_head(chain);
        for height in [0, 1, 100, u64::MAX >> 1, u64::MAX] {
            let _ = reader.locate(chain, Height(height));
        }
    }
    for height in [0, reader.head().0.saturating_add(1), u64::MAX] {
        assert!(reader.block(Height(height)).is_ok_and(|block| block.is_none()), "nothing at {height}");
    }
    served
}

fn assert_written(found: &LogBlock, height: u64, written: &[MainBlock]) {
    let block = written.get(height as usize - 1).expect("a block that was never written is served");
    assert_eq!((found.header(), found.hash()), (block.header, block.hash), "at {height}");
    let columns = found.columns();
    assert!(
        columns.hashes == block.columns.hashes && columns.tx_roots == block.columns.tx_roots,
        "at {height}"
    );
    assert!(columns.times == block.columns.times, "at {height}");
    let sections: Vec<_> = (0..found.section_count()).map(|index| found.section(index)).collect();
    assert_eq!(sections, block.sections, "at {height}");
    assert!(
        found.chain_nodes() == block.chain_nodes && found.side_nodes() == block.side_nodes,
        "at {height}"
    );
    assert_eq!(found.history_nodes(), block.history_nodes, "at {height}");
}

/// Does with a block all that its readers do. `written`: look-ups lead to it. `linked`: its proofs verify.
fn use_block(reader: &LogReader, block: &LogBlock, height: Height, written: bool, linked: bool) {
    let columns = block.columns();
    assert!(block.intact().is_ok() && block.record_bytes() > 0);
    assert_eq!((columns.tx_roots.len(), columns.times.len()), (columns.hashes.len(), columns.hashes.len()));
    let mut leaves = 0;
    for index in 0..block.section_count() {
        let section = block.section(index);
        assert_eq!(block.find(section.chain).map(|(index, _)| index), Some(index), "sections are in order");
        leaves += columns.slice(section.leaves().start, section.leaves().end).len();
        if index > 2 && index + 1 < block.section_count() {
            continue;
        }
        for side in [section.first_height, section.last_height()] {
            let located = reader.locate(section.chain, side);
            if written && let Ok(located) = &located {
                assert_eq!(*located, Some(height), "chain {} at {side}", section.chain);
            }
        }
        // Proofs are most of the work: one a block, of one of its ends, up to another head each time.
        if index > 0 {
            continue;
        }
        let turn = height.0 as usize + index;
        let side = if turn.is_multiple_of(2) { section.first_height } else { section.last_height() };
        let heads = [None, Some(height), Some(reader.head()), Some(Height(u64::MAX)), Some(reader.head())];
        if let Ok(proof) = proof::build(reader, section.chain, side, heads[turn % heads.len()]) {
            let verified = proof.verify();
            assert!(!linked || verified.is_ok(), "{verified:?}");
        }
    }
    assert_eq!(leaves, columns.len());
}

/// Opens the log for writing, appends a block and reads it back.
fn write(dir: &Path, written: Option<&[MainBlock]>) {
    let Ok((mut log, reader, _)) = Log::open(dir, template::options()) else { return };
    let head = reader.head();
    if let Some(written) = written {
        assert!(head.0 <= written.len() as u64, "{head} was never written");
    }
    let Ok(newest) = reader.chain_head(template::NEW_CHAIN) else { return };
    let from = newest.unwrap_or(Height(0));
    let block = Maker::after(head, template::NEW_CHAIN, from).block(&[(template::NEW_CHAIN.0, 5)]);
    if head < Height::MAX && from.0 < Height::MAX.0 - 5 && log.append(&block).is_ok() && log.sync().is_ok() {
        let next = Height(head.0 + 1);
        let found = reader.block(next).expect("just written").expect("just written");
        assert_eq!((found.hash(), reader.head()), (block.hash, next));
        drop((found, log, reader));
        let again = LogReader::open(dir).expect("a log that was just written opens");
        assert_eq!(again.head(), next);
        let found = again.block(next).expect("just written").expect("just written");
        assert_eq!(found.hash(), block.hash);
        drop((found, again));
        if let Some(written) = written {
            let mut written = written[..head.0 as usize].to_vec();
            written.push(block);
            read(dir, Some(&written), false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mend::Mend;

    #[test]
    fn the_template_survives_being_mended_whole() {
        TEMPLATE.with(|template| {
            let mut files = template.files.clone();
            Mend::all().apply(&mut files);
            assert_eq!(files, template.files);
        });
    }
}
