//! AElf's trees over all transaction roots of main blocks.
//!
//! A path needs its whole tree, since none of it is stored. Clients ask for many paths of few blocks, so the trees of the
//! newest asked blocks are kept.
//!
//! # Capacity
//! [`KEPT`] trees of at most `seal.max_leaves` leaves, 64 bytes a leaf: 64 MiB with the default of 262,144.

use std::sync::{Arc, Mutex, PoisonError};

use engine::chain::{BlockView, Hash};
use engine::merkle::aelf::Tree;

use super::refusal::Refusal;

/// Trees that are kept.
const KEPT: usize = 4;

/// The trees of the blocks that were asked for last, the newest question last.
#[derive(Debug, Default)]
pub(super) struct Trees(Mutex<Vec<(Hash, Arc<Tree>)>>);

impl Trees {
    /// The tree of a block, whose root is the header's `aelf_root`.
    ///
    /// # Errors
    /// The block is not what its header says.
    pub(super) fn of(&self, block: &impl BlockView) -> Result<Arc<Tree>, Refusal> {
        let header = block.header();
        let hash = header.hash();
        {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(index) = kept.iter().position(|(of, _)| *of == hash) {
                let found = kept.remove(index);
                let tree = Arc::clone(&found.1);
                kept.push(found);
                return Ok(tree);
            }
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
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push((hash, Arc::clone(&tree)));
        Ok(tree)
    }
}
