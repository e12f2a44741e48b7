//! Sessions of a side-chain node.
