//! Judges the log that a crash left.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use engine::chain::{BlockView, ColumnsRef};
use engine::store::BlockReader as _;
use mainstem_storage::{Error, Log, LogReader, check};
use zerocopy::IntoBytes as _;

use crate::Outcome;
use crate::history::{Blocks, Model};
use crate::workload::options;

/// A session that no workload has.
const AFTER_CRASH: u64 = 1 << 20;

/// Opens the log in `dir` as its program would after a crash. It must hold what `model` says, give every block and
/// look-up, and take another block, which is there when it is opened once more.
pub(crate) fn verify(dir: &Path, seed: u64, model: &Model) -> Outcome {
    // A broken promise may show as a failed assertion: it is judged as any other.
    match catch_unwind(AssertUnwindSafe(|| judge(dir, seed, model))) {
        Ok(result) => result,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Err(text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").into())
        }
    }
}

fn judge(dir: &Path, seed: u64, model: &Model) -> Outcome {
    // A reader without the lock, as of another process: it sees no more than the writer will.
    let seen = match LogReader::open(dir) {
        Ok(reader) => reader.head().0,
        Err(Error::NoLog { .. }) if !model.exists() => 0,
        Err(Error::NoLog { .. }) if model.least() > 0 => {
            return Err(format!("LOST: there is no log, expected {}", model.lengths()).into());
        }
        Err(error) => return Err(format!("a reader: {error}").into()),
    };
    let (mut log, reader, recovery) = Log::open(dir, options(1))?;
    let head = reader.head().0;
    let Some(blocks) = model.ending_at(head) else {
        let what = if head < model.least() as u64 { "LOST" } else { "REVIVED" };
        return Err(format!("{what}: {head} blocks are there, expected {}", model.lengths()).into());
    };
    let first = reader.base().first.0;
    if !model.may_begin_at(first) {
        return Err(format!(
            "begins at block {first}, expected {} or, if it was being pruned, more",
            model.first()
        )
        .into());
    }
    if !recovery.damage.is_empty() {
        return Err(format!("damage: {:?}", recovery.damage).into());
    }
    if seen > head || recovery.head.0 != head {
        return Err(
            format!("a reader saw {seen} blocks, recovery {}, the writer {head}", recovery.head).into()
        );
    }
    holds(&reader, blocks)?;

    let mut blocks = blocks.clone();
    let next = Arc::new(Model::after(&blocks, seed, AFTER_CRASH));
    log.append(&next)?;
    log.sync()?;
    blocks.push(next);
    holds(&reader, &blocks)?;
    drop((log, reader));
    let report = check(dir, true, &mut |_, _| ())?;
    if !report.damage.is_empty() || report.records != blocks.len() as u64 + 1 - first {
        return Err(format!("after recovery: {report:?}").into());
    }
    let (log, reader, recovery) = Log::open(dir, options(2))?;
    if recovery.cut.is_some() || recovery.resealed.is_some() || recovery.rolled_back.is_some() {
        return Err(format!("the second opening had something to mend: {recovery:?}").into());
    }
    holds(&reader, &blocks)?;
    drop(log);
    Ok(())
}

/// Every block is the one it must be, and every look-up gives what they say.
pub(crate) fn holds(reader: &LogReader, blocks: &Blocks) -> Outcome {
    if reader.head().0 != blocks.len() as u64 {
        return Err(format!("the head is {}, expected {}", reader.head(), blocks.len()).into());
    }
    let mut heads = BTreeMap::new();
    let base = reader.base();
    for block in blocks {
        let height = block.header.height;
        for section in &block.sections {
            heads.insert(section.chain, section.last_height());
        }
        if height < base.first {
            let gone = reader.block(height)?.is_none();
            let found =
                block.sections.iter().map(|section| reader.locate(section.chain, section.first_height));
            if !gone || found.collect::<Result<Vec<_>, _>>()?.iter().any(Option::is_some) {
                return Err(format!("block {height} is pruned and found").into());
            }
            continue;
        }
        let found = reader.block(height)?.ok_or_else(|| format!("no block {height}"))?;
        if !same(&found, block.as_ref()) {
            return Err(format!("block {height} is another one than was appended").into());
        }
        for section in &block.sections {
            for side in [section.first_height, section.last_height()] {
                let located = reader.locate(section.chain, side)?;
                if located != Some(height) {
                    let chain = section.chain;
                    return Err(format!("chain {chain} height {side}: {located:?}, expected {height}").into());
                }
            }
        }
    }
    for (chain, head) in heads {
        let found = reader.chain_head(chain)?;
        if found != Some(head) || reader.locate(chain, head.next())?.is_some() {
            return Err(format!("chain {chain} ends at {found:?}, expected {head}").into());
        }
    }
    Ok(())
}

/// Compares columns as bytes: an unoptimised build takes its time over a hash at a time.
fn same(found: &impl BlockView, block: &impl BlockView) -> bool {
    let bytes = |block: &ColumnsRef<'_>| {
        [block.hashes.as_bytes(), block.tx_roots.as_bytes(), block.times.as_bytes()].map(<[u8]>::to_vec)
    };
    found.header() == block.header()
        && found.section_count() == block.section_count()
        && (0..found.section_count()).all(|index| found.section(index) == block.section(index))
        && bytes(&found.columns()) == bytes(&block.columns())
        && found.chain_nodes().as_bytes() == block.chain_nodes().as_bytes()
        && found.side_nodes().as_bytes() == block.side_nodes().as_bytes()
        && found.history_nodes().as_bytes() == block.history_nodes().as_bytes()
}
