//! When a side block is final: what the nodes of a chain must have said.

use serde::{Deserialize, Serialize};

use crate::chain::Height;

/// How many nodes of a chain must agree before a block counts as irreversible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FinalityRule {
    /// One node's word is final, as in AElf: the node sends irreversible blocks only. Of several nodes one
    /// speaks and the others stand by.
    #[default]
    Single,
}

impl FinalityRule {
    /// As commitments and operations name it.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Single => 1,
        }
    }

    /// The rule with this code.
    pub(crate) const fn of_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Single),
            _ => None,
        }
    }

    /// The newest final height, given the newest height that the speaking node sent.
    pub fn final_height(self, received: Height) -> Height {
        match self {
            Self::Single => received,
        }
    }
}
