//! Which blocks of a side chain lie in which main blocks. Blocks are indexed in order, so that a few look-ups tell.

use engine::chain::{ChainId, Height};
use engine::store::{BlockReader, StoreError};
use storage::LogReader;

/// The lowest block of `chain` that was indexed in the main block `from` or later; the block after the chain's newest
/// one if there is none. `None` if the index cannot say.
pub(crate) fn first_from(reader: &LogReader, chain: ChainId, from: Height) -> Option<Height> {
    search(reader, chain, |found| {
        // Below the chain's first block, and of pruned ones, the index knows nothing.
        found.ok().map(|main| main.is_some_and(|main| from <= main))
    })
}

/// The blocks of `chain` in the main blocks `from` to `to`, some of which cannot be read: as far as the index says, and
/// otherwise those that it knows nothing of. `None` if there are none, or nothing says which.
pub(super) fn within(
    reader: &LogReader,
    chain: ChainId,
    (from, to): (Height, Height),
) -> Option<(Height, Height)> {
    let first = search(reader, chain, |found| Some(found.map_or(true, |main| main >= Some(from))))?;
    let after = search(reader, chain, |found| Some(found.is_ok_and(|main| main > Some(to))))?;
    (first < after).then(|| (first, after.previous()))
}

/// The lowest height of `chain` for which `is_above` says yes of the main block that the index gives; of a height that
/// is not indexed yet, it is not asked. `is_above` must say no up to some height and yes from there on.
fn search(
    reader: &LogReader,
    chain: ChainId,
    is_above: impl Fn(Result<Option<Height>, StoreError>) -> Option<bool>,
) -> Option<Height> {
    let (mut low, mut high) = (1, reader.chain_head(chain).ok()?.map_or(1, |head| head.0 + 1));
    while low < high {
        let middle = u64::midpoint(low, high);
        if is_above(reader.locate(chain, Height(middle)))? {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Some(Height(low))
}
