//! A proposal, field by field: against itself, against the block before, and against our own lanes.

use std::time::Duration;

use crate::chain::{Hash, Height, MainHeader, Timestamp};
use crate::lane::Outlet;
use crate::merkle::{leaf, tree};
use crate::pipeline::{Below, Share};
use crate::state::State;

use super::proposal::{Proposal, ProposedSection, Verdict};

/// What does not depend on the block before. `most_leaves`: how many side blocks can be stored in one main block.
pub(super) fn alone(proposal: &Proposal, ours: &MainHeader, most_leaves: u64) -> Result<(), Verdict> {
    let Proposal { header, sections, hashes, tx_roots } = proposal;
    same("header.version", header.version, ours.version)?;
    same("header.chain_id", header.chain_id, ours.chain_id)?;
    same("header.chain_count", header.chain_count as usize, sections.len())?;
    same("header.leaf_count", header.leaf_count, hashes.len() as u64)?;
    same("header.ops_root", header.ops_root, ours.ops_root)?;
    if tx_roots.len() != hashes.len() {
        let got = format!("{} transaction roots", tx_roots.len());
        return Err(Verdict::invalid("tx_roots", &got, &format_args!("as many as hashes, {}", hashes.len())));
    }
    if sections.is_empty() {
        return Err(Verdict::invalid("sections", &"none", &"at least one"));
    }
    if header.leaf_count > most_leaves {
        let expected = format_args!("at most {most_leaves}, the setting max_leaves");
        return Err(Verdict::invalid("header.leaf_count", &header.leaf_count, &expected));
    }
    let mut left = hashes.len() as u64;
    for (index, section) in sections.iter().enumerate() {
        let count = u64::from(section.count);
        if count == 0 || count > left {
            let expected = format_args!("1 to {left}, the hashes that are left");
            return Err(Verdict::invalid(format!("sections[{index}].count"), &count, &expected));
        }
        left -= count;
    }
    if left > 0 {
        let last = sections.len() - 1;
        let count = u64::from(sections[last].count);
        return Err(Verdict::invalid(format!("sections[{last}].count"), &count, &(count + left)));
    }
    Ok(())
}

/// Height and time, after the block before.
pub(super) fn after(header: &MainHeader, below: &Below) -> Result<(), Verdict> {
    same("header.height", header.height, below.height.next())?;
    if header.time < below.time {
        let (got, least) = (header.time.as_millis(), below.time.as_millis());
        return Err(Verdict::invalid("header.time", &got, &format_args!("at least {least}, its parent's")));
    }
    Ok(())
}

/// Time, by our own clock: a block from the future would drag the time of all later ones with it.
pub(super) fn now(header: &MainHeader, now: Timestamp) -> Result<(), Verdict> {
    let latest = now.as_millis().saturating_add(MOST_AHEAD.as_millis() as u64);
    let got = header.time.as_millis();
    if got > latest {
        let expected = format_args!("at most {latest}, {MOST_AHEAD:?} ahead of this node's clock");
        return Err(Verdict::invalid("header.time", &got, &expected));
    }
    Ok(())
}

/// How far a proposal may be ahead of our clock.
const MOST_AHEAD: Duration = Duration::from_secs(60);

/// The sections on top of `state`; `shares` is set to what our lanes have for them.
pub(super) fn sections(
    proposal: &Proposal,
    state: &State,
    outlets: &[Outlet],
    shares: &mut Vec<Share>,
) -> Result<(), Verdict> {
    shares.clear();
    let mut before = None;
    for (index, section) in proposal.sections.iter().enumerate() {
        let field = |name: &str| format!("sections[{index}].{name}");
        let &ProposedSection { chain, count, first_height, parent } = section;
        if let Some(before) = before.filter(|before| *before >= chain) {
            return Err(Verdict::invalid(field("chain_id"), &chain, &format_args!("one above {before}")));
        }
        before = Some(chain);
        let Ok(position) = state.chains().binary_search_by_key(&chain, |known| known.id) else {
            return Err(Verdict::invalid(field("chain_id"), &chain, &"a registered chain"));
        };
        let known = &state.chains()[position];
        same_at(|| field("first_height"), first_height, known.indexed.next())?;
        same_at(|| field("parent"), parent, known.hash)?;
        if known.indexed.0 + u64::from(count) > Height::MAX.0 {
            let most = Height::MAX.0 - known.indexed.0;
            return Err(Verdict::invalid(field("count"), &count, &format_args!("at most {most}")));
        }
        let offset = (known.indexed.0 + 1 - outlets[position].next_height().0) as u32;
        shares.push(Share { outlet: position as u32, chain, offset, count, first_height, parent });
    }
    Ok(())
}

/// Each block, as far as we have received them; and then, whether that is all. If it is not, the blocks are those that
/// the header commits to: so what is said later of a header that had to wait is said of these blocks and no others.
pub(super) fn blocks(proposal: &Proposal, outlets: &[Outlet], shares: &[Share]) -> Result<(), Verdict> {
    let (mut hashes, mut tx_roots) = (proposal.hashes.iter(), proposal.tx_roots.iter());
    let (mut wrong, mut behind) = (None, None);
    for (index, share) in shares.iter().enumerate() {
        let outlet = &outlets[share.outlet as usize];
        let (offset, count) = (u64::from(share.offset), u64::from(share.count));
        let have = outlet.available() - offset;
        let mut block = 0;
        outlet.read(offset, have.min(count), |slot| {
            let (hash, tx_root) = (hashes.next(), tx_roots.next());
            if wrong.is_none() {
                for (name, got, ours) in [("hashes", hash, &slot.hash), ("tx_roots", tx_root, &slot.tx_root)]
                {
                    if let Some(got) = got.filter(|got| *got != ours) {
                        let field = format!("sections[{index}].{name}[{block}]");
                        wrong.get_or_insert_with(|| Verdict::invalid(field, got, ours));
                    }
                }
            }
            block += 1;
        });
        if wrong.is_some() {
            break;
        }
        if have < count {
            // What is left of this section.
            let rest = (count - have) as usize;
            hashes.nth(rest - 1);
            tx_roots.nth(rest - 1);
            behind.get_or_insert(Verdict::Behind {
                chain: share.chain,
                wanted: Height(share.first_height.0 + count - 1),
                received: Height(share.first_height.0 + have - 1),
            });
        }
    }
    if let Some(wrong) = wrong {
        return Err(wrong);
    }
    behind.map_or(Ok(()), |behind| {
        same("header.side_root", proposal.header.side_root, side_root(proposal))?;
        Err(behind)
    })
}

/// The root over the blocks of a proposal, whose sections are whole.
fn side_root(proposal: &Proposal) -> Hash {
    let (mut blocks, mut nodes) = (proposal.hashes.iter().zip(&proposal.tx_roots), Vec::new());
    let mut root = |leaves: &mut [Hash]| {
        nodes.resize(tree::stored_nodes(leaves.len()), Hash::ZERO);
        tree::root(leaves, &mut nodes)
    };
    let chains = proposal.sections.iter().map(|section| {
        let heights = (section.first_height.0..).take(section.count as usize).map(Height);
        let leaves = heights.zip(&mut blocks);
        let mut leaves: Vec<_> = leaves
            .map(|(height, (hash, tx_root))| leaf::side(section.chain, height, *hash, *tx_root))
            .collect();
        leaf::chain(section.chain, section.first_height, section.count, root(&mut leaves))
    });
    let mut chains: Vec<_> = chains.collect();
    root(&mut chains)
}

/// The roots, against those of the block that we make of the same shares.
pub(super) fn roots(header: &MainHeader, ours: &MainHeader) -> Result<(), Verdict> {
    same("header.side_root", header.side_root, ours.side_root)?;
    same("header.state_root", header.state_root, ours.state_root)?;
    same("header.history_root", header.history_root, ours.history_root)?;
    same("header.aelf_root", header.aelf_root, ours.aelf_root)?;
    debug_assert_eq!(header, ours, "every field was compared");
    Ok(())
}

fn same<T: Copy + PartialEq + ToString>(field: &str, got: T, expected: T) -> Result<(), Verdict> {
    same_at(|| field.to_owned(), got, expected)
}

fn same_at<T: Copy + PartialEq + ToString>(
    field: impl FnOnce() -> String,
    got: T,
    expected: T,
) -> Result<(), Verdict> {
    if got == expected { Ok(()) } else { Err(Verdict::invalid(field(), &got, &expected)) }
}
