//! AElf's trees over all transaction roots of main blocks.
//!
//! A path needs its whole tree, since none of it is stored. Clients ask for many paths of few blocks, so the trees of the
//! newest asked blocks are kept.
//!
//! # Capacity
//! [`KEPT`] trees of at most `seal.max_leaves` leaves, 64 bytes a leaf: 64 MiB with the default of 262,144. A tree that
//! somebody builds or waits for is kept beyond that, one for each thread at most.

use std::sync::{Arc, Mutex, PoisonError};

use engine::chain::{BlockView, Hash};
use engine::merkle::aelf::Tree;

use super::refusal::Refusal;

/// Trees that are kept.
const KEPT: usize = 4;

/// The trees of the blocks that were asked for last, the newest question last.
#[derive(Debug, Default)]
pub(super) struct Trees(Mutex<Vec<(Hash, Slot)>>);

/// A tree, once it is built. Locked by who builds it: whoever wants the same one waits, and does not build another.
type Slot = Arc<Mutex<Option<Arc<Tree>>>>;

impl Trees {
    /// The tree of a block, whose root is the header's `aelf_root`.
    ///
    /// # Errors
    /// The block is not what its header says.
    pub(super) fn of(&self, block: &impl BlockView) -> Result<Arc<Tree>, Refusal> {
        let header = block.header();
        let slot = self.slot(header.hash());
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tree) = &*slot {
            return Ok(Arc::clone(tree));
        }
        let tree = Tree::new(block.columns().tx_roots.to_vec());
        block.intact().map_err(Refusal::unreadable)?;
        if tree.root() != header.aelf_root {
            let (height, ours) = (header.height, header.aelf_root);
            let root = tree.root();
            return Err(Refusal::internal(format_args!(
                "main block {height}: the tree over its roots has {root}, its header {ours}"
            )));
        }
        let tree = Arc::new(tree);
        *slot = Some(Arc::clone(&tree));
        Ok(tree)
    }

    /// The place of a tree, the newest now.
    fn slot(&self, hash: Hash) -> Slot {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().position(|(of, _)| *of == hash).map(|index| kept.remove(index));
        let (_, slot) = found.unwrap_or_default();
        kept.push((hash, Arc::clone(&slot)));
        while kept.len() > KEPT {
            // Not one that somebody is at: another one would build it, too. The new one is among those.
            let Some(idle) = kept.iter().position(|(_, slot)| Arc::strong_count(slot) == 1) else { break };
            kept.remove(idle);
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_a_tree_that_is_being_built_gets_its_place_and_others_make_room() {
        let trees = Trees::default();
        let hash = |number: u8| Hash([number; 32]);
        let building = trees.slot(hash(1));
        for number in 2..100 {
            drop(trees.slot(hash(number)));
        }
        assert!(Arc::ptr_eq(&building, &trees.slot(hash(1))));
        assert_eq!(trees.0.lock().unwrap().len(), KEPT);
        let others: Vec<_> = (100..110).map(|number| trees.slot(hash(number))).collect();
        assert_eq!(trees.0.lock().unwrap().len(), 1 + others.len(), "as many as are at work");
        drop((building, others));
        drop(trees.slot(hash(200)));
        assert_eq!(trees.0.lock().unwrap().len(), KEPT);
    }
}
