//! The leaves, in rows; what each of them commits to is in the crate `verify`.

use crate::chain::{ChainId, Hash, Height, Section};
use crate::sha256::Kernel;

pub use verify::leaf::{chain, chain_preimage, history, side};

/// The side leaves of consecutive blocks of one chain, the first at height `first`: as many as there are `hashes`.
///
/// # Panics
/// When `tx_roots` or `out` have another length.
pub fn side_row(chain: ChainId, first: Height, hashes: &[Hash], tx_roots: &[Hash], out: &mut [Hash]) {
    side_rows((first.0..).map(|height| (chain, height)), hashes, tx_roots, out);
}

/// The side leaves of blocks of any chains and heights.
///
/// # Panics
/// When there are fewer `blocks` than `hashes`, or `tx_roots` or `out` have another length.
pub(crate) fn side_rows(
    blocks: impl Iterator<Item = (ChainId, u64)>,
    hashes: &[Hash],
    tx_roots: &[Hash],
    out: &mut [Hash],
) {
    let prefixes = blocks.map(|(chain, height)| 0x01 | u128::from(chain.0) << 8 | u128::from(height) << 40);
    Kernel::best().prefixed_pairs(prefixes, hashes, tx_roots, out);
}

/// The chain leaves of `sections`.
///
/// # Panics
/// When `out` has another length.
pub(crate) fn chain_row(sections: &[Section], out: &mut [Hash]) {
    assert_eq!(sections.len(), out.len(), "a place for each section");
    let preimages = sections.iter().map(|section| {
        chain_preimage(section.chain, section.first_height, section.count, section.chain_root)
    });
    Kernel::best().digests(preimages, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::digest;

    #[test]
    fn rows_of_leaves_are_the_leaves_one_by_one() {
        for count in [0, 1, 2, 3, 8, 33] {
            let hashes: Vec<_> = (0..count).map(|index| digest(&[index])).collect();
            let tx_roots: Vec<_> = (0..count).map(|index| digest(&[index, 1])).collect();
            let sections: Vec<_> = (0..u32::from(count))
                .map(|index| Section {
                    chain: ChainId(index * 77_777_777),
                    count: index + 3,
                    first_height: Height(u64::from(index) << 40),
                    parent: Hash::ZERO,
                    chain_root: hashes[index as usize],
                    first_leaf: 0,
                    first_node: 0,
                })
                .collect();
            let mut row = vec![Hash::ZERO; hashes.len()];
            let (id, first) = (ChainId(u32::MAX - 7), Height(u64::MAX - 100));
            side_row(id, first, &hashes, &tx_roots, &mut row);
            for (index, leaf) in row.iter().enumerate() {
                let height = Height(first.0 + index as u64);
                assert_eq!(*leaf, side(id, height, hashes[index], tx_roots[index]));
            }
            chain_row(&sections, &mut row);
            for (leaf, section) in row.iter().zip(&sections) {
                let first = section.first_height;
                assert_eq!(*leaf, chain(section.chain, first, section.count, section.chain_root));
            }
        }
    }
}
