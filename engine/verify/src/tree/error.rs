//! [`PathError`].

use crate::chain::Hash;

/// Why a path, or the nodes that complete a tree, do not lead where they should.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PathError {
    /// The leaf cannot be in a tree of this size.
    #[error("leaf {index} of a tree of {size}")]
    Index {
        /// Index of the leaf.
        index: u64,
        /// Size of the tree.
        size: u64,
    },
    /// Too few or too many steps.
    #[error("{got} steps; leaf {index} of a tree of {size} has {expected}")]
    Length {
        /// Index of the leaf.
        index: u64,
        /// Size of the tree.
        size: u64,
        /// The only right length.
        expected: usize,
        /// Length of the path.
        got: usize,
    },
    /// A sibling stands on the wrong side.
    #[error("step {step} has its sibling on the {}; leaf {index} of a tree of {size} has it on the {}", side(!expected_left), side(*expected_left))]
    Side {
        /// Index of the leaf.
        index: u64,
        /// Size of the tree.
        size: u64,
        /// Which step.
        step: usize,
        /// Whether the sibling must stand on the left.
        expected_left: bool,
    },
    /// A path with more steps than any tree needs.
    #[error("{got} steps; expected at most {most}")]
    TooLong {
        /// Length of the path.
        got: usize,
        /// The most that there may be.
        most: usize,
    },
    /// A place in AElf's tree that is a copy of its left neighbour: nothing stands there.
    #[error(
        "step {step} has on the left what it leads to itself, so it starts at a copy that completes an odd row; expected the sibling on the right"
    )]
    Copy {
        /// Which step.
        step: usize,
    },
    /// Nothing to fold.
    #[error("no leaf; expected at least one")]
    Empty,
    /// Leaves that do not ascend.
    #[error("leaf {index} after leaf {after}; expected them ascending, each once")]
    Order {
        /// The one that stands wrong.
        index: u64,
        /// The one before it.
        after: u64,
    },
    /// Too few or too many nodes to complete a tree.
    #[error("{got} nodes; these leaves of a tree of {size} take {expected}")]
    Nodes {
        /// How many are given.
        got: usize,
        /// The only right number.
        expected: usize,
        /// Size of the tree.
        size: u64,
    },
    /// No tree of the first size is the beginning of one of the second.
    #[error("a tree of {from} is not the beginning of one of {to}")]
    Sizes {
        /// Size of the earlier tree.
        from: u64,
        /// Size of the later tree.
        to: u64,
    },
    /// Too few or too many hashes in a consistency proof.
    #[error("{got} hashes; from a tree of {from} to one of {to} it takes {expected}")]
    Consistency {
        /// Size of the earlier tree.
        from: u64,
        /// Size of the later tree.
        to: u64,
        /// How many are given.
        got: usize,
        /// The only right number.
        expected: usize,
    },
    /// The hashes of a consistency proof lead elsewhere.
    #[error("leads to {got}; the root of the {} tree is {expected}", if *later { "later" } else { "earlier" })]
    Roots {
        /// Of the later tree, or of the earlier one.
        later: bool,
        /// Where it leads.
        got: Hash,
        /// That root.
        expected: Hash,
    },
}

const fn side(left: bool) -> &'static str {
    if left { "left" } else { "right" }
}
