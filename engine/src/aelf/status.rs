//! What became of a transaction, and the leaf of a block's status tree (`TransactionResultStatus`, `BlockExecutingService.cs`).

use crate::chain::Hash;
use crate::merkle::digest;

/// What became of a transaction. The numbers are those of AElf's messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// 0
    NotExisted,
    /// 1
    Pending,
    /// 2
    Failed,
    /// 3
    Mined,
    /// 4
    Conflict,
    /// 5
    PendingValidation,
    /// 6
    NodeValidationFailed,
    /// 7
    Expired,
}

impl Status {
    /// All of them, by their numbers.
    pub const ALL: [Self; 8] = [
        Self::NotExisted,
        Self::Pending,
        Self::Failed,
        Self::Mined,
        Self::Conflict,
        Self::PendingValidation,
        Self::NodeValidationFailed,
        Self::Expired,
    ];

    /// The name that is hashed: that of the C# enum. AElf's HTTP API shows it in capitals, which is not what is hashed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotExisted => "NotExisted",
            Self::Pending => "Pending",
            Self::Failed => "Failed",
            Self::Mined => "Mined",
            Self::Conflict => "Conflict",
            Self::PendingValidation => "PendingValidation",
            Self::NodeValidationFailed => "NodeValidationFailed",
            Self::Expired => "Expired",
        }
    }

    /// The status of an exact [`Status::name`].
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// The status of a name in capitals, as AElf's HTTP API shows it.
    pub fn of_web_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name().to_ascii_uppercase() == name)
    }

    /// The leaf of a transaction in its block's status tree: `H(id[32] || name)`. In block order they make the tree
    /// whose root side chains are indexed by, those of failed transactions included.
    pub fn leaf(self, transaction: Hash) -> Hash {
        let mut preimage = [0; 32 + 32];
        let name = self.name().as_bytes();
        let length = 32 + name.len();
        preimage[..32].copy_from_slice(transaction.as_bytes());
        preimage[32..length].copy_from_slice(name);
        digest(&preimage[..length])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leaf_of_a_mined_transaction_is_that_of_our_verifier() {
        let id = Hash([7; 32]);
        assert_eq!(Status::Mined.leaf(id), verify::aelf::mined(id));
        let leaves = Status::ALL.map(|status| status.leaf(id));
        assert!((1..8).all(|at| !leaves[..at].contains(&leaves[at])), "each status has its own");
    }
}
