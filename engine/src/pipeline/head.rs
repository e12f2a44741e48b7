//! What is announced when a main block has become durable.

use crate::chain::{Hash, MainHeader};

/// The newest durable main block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its header.
    pub header: MainHeader,
    /// Its header hash.
    pub hash: Hash,
}

/// Is told of every new head, in order, on the persisting thread, after the block is durable and its lanes have
/// room again. Must not block.
pub trait HeadSink: Send {
    /// A new head.
    fn publish(&mut self, head: &Head);
}
