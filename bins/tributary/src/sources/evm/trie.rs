//! The tries over the transactions and the receipts of a block, with the way to one of them.

use alloy_primitives::B256;
use alloy_trie::proof::ProofRetainer;
use alloy_trie::root::adjust_index_for_rlp;
use alloy_trie::{HashBuilder, Nibbles};

/// The root over `items`, each as it is encoded in the block, and the trie's nodes from there to the one at `index`.
/// `index` must be one of them.
pub(super) fn proven(items: &[Vec<u8>], index: usize) -> (B256, Vec<Vec<u8>>) {
    let target = key(index);
    let mut builder = HashBuilder::default().with_proof_retainer(ProofRetainer::new(vec![target]));
    for position in 0..items.len() {
        // In the order of the keys, which is not that of the block.
        let index = adjust_index_for_rlp(position, items.len());
        builder.add_leaf(key(index), &items[index]);
    }
    let root = builder.root();
    let nodes = builder.take_proof_nodes().matching_nodes_sorted(&target);
    (root, nodes.into_iter().map(|(_, node)| node.to_vec()).collect())
}

fn key(index: usize) -> Nibbles {
    Nibbles::unpack(alloy_rlp::encode_fixed_size(&index))
}

#[cfg(test)]
mod tests {
    use alloy_trie::proof::verify_proof;
    use alloy_trie::root::ordered_trie_root_encoded;

    use super::*;

    #[test]
    fn every_item_of_every_size_of_block_is_proven() {
        for count in [1, 2, 3, 16, 17, 127, 128, 129, 200, 300] {
            let items: Vec<Vec<u8>> = (0..count).map(|n| vec![n as u8; 40 + n % 90]).collect();
            let root = ordered_trie_root_encoded(&items);
            for index in [0, 1, 15, 16, 126, 127, 128, 255, count - 1] {
                let Some(item) = items.get(index) else { continue };
                let (got, nodes) = proven(&items, index);
                assert_eq!(got, root, "{count} items");
                let nodes: Vec<_> = nodes.into_iter().map(Into::into).collect();
                verify_proof(root, key(index), Some(item.clone()), &nodes).unwrap();
                assert!(verify_proof(root, key(index), Some(vec![1; 40]), &nodes).is_err());
            }
        }
    }
}
