//! What changes the registry of side chains while the main chain goes on: operations, which main blocks carry.
//!
//! # Format
//! `docs/protocol.md`, section "Operations". Every operation has one encoding, and its leaf never has the length of a
//! node's preimage: a registration's name is filled up with zeros to a multiple of four bytes, which keeps it from 64.

use crate::chain::{ChainId, Hash, Height, NodeKey};
use crate::merkle::{digest, tree};
use crate::quorum::FinalityRule;

use super::{SideChain, Wrong};

/// A change of the registry. Applied by [`super::State::apply`], before the side blocks of the main block that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Indexes a chain from now on; one that was removed goes on after its newest indexed block.
    Register(SideChain),
    /// Indexes a chain no more. What is indexed of it stays, and stays provable.
    Remove(ChainId),
}

/// Why an operation cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// A value of a registration cannot be.
    #[error("chain {chain}: {field}: {value} {expected}")]
    Value {
        /// Which chain.
        chain: ChainId,
        /// Which field.
        field: String,
        /// What it says.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// The id stands for a chain that is registered, or for the main chain.
    #[error("chain {chain}: the id is taken: every chain needs an id of its own")]
    Taken {
        /// Which chain.
        chain: ChainId,
    },
    /// No such chain is registered.
    #[error("chain {chain} is not registered; expected one that is")]
    Unknown {
        /// Which chain.
        chain: ChainId,
    },
    /// A chain that was removed must go on where its blocks end.
    #[error(
        "chain {chain}: first_height: {first_height} would leave a gap: its blocks are indexed up to {indexed}; expected at \
         most the height after it"
    )]
    Gap {
        /// Which chain.
        chain: ChainId,
        /// What the registration says.
        first_height: Height,
        /// Its newest indexed height.
        indexed: Height,
    },
    /// Bytes that are no operation.
    #[error("no operation: {what} at byte {at} of {bytes}")]
    Bytes {
        /// What is wrong.
        what: &'static str,
        /// Where.
        at: usize,
        /// How many bytes there are.
        bytes: usize,
    },
}

const REGISTER: u8 = 1;
const REMOVE: u8 = 2;

impl Operation {
    /// Node keys of a chain that an operation registers, at most.
    pub const MAX_NODES: usize = 1024;
    /// Bytes of a name in an operation, at most.
    pub const MAX_NAME: usize = 256;
    /// Bytes of an operation, at most.
    pub const MAX_BYTES: usize = 22 + 32 * Self::MAX_NODES + Self::MAX_NAME;

    /// Which chain it changes.
    pub fn chain(&self) -> ChainId {
        match self {
            Self::Register(side) => side.id,
            Self::Remove(chain) => *chain,
        }
    }

    /// What it does, as a line of a log says it.
    pub(crate) fn said(&self) -> &'static str {
        match self {
            Self::Register(_) => "registered a side chain",
            Self::Remove(_) => "removed a side chain",
        }
    }

    /// Whether it can be at all, whatever the registry says.
    ///
    /// # Errors
    /// Names the field, the value, and what would be right.
    pub fn check(&self) -> Result<(), OperationError> {
        let Self::Register(side) = self else { return Ok(()) };
        let wrong = |Wrong { field, value, expected }| OperationError::Value {
            chain: side.id,
            field: field.into(),
            value,
            expected,
        };
        side.check().map_err(wrong)?;
        if side.name.len() > Self::MAX_NAME {
            let expected = "bytes are too many: expected at most 256";
            return Err(wrong(Wrong { field: "name", value: side.name.len().to_string(), expected }));
        }
        if side.nodes.len() > Self::MAX_NODES {
            let expected = "keys are too many: expected at most 1024";
            return Err(wrong(Wrong { field: "nodes", value: side.nodes.len().to_string(), expected }));
        }
        Ok(())
    }

    /// How many bytes [`Operation::encode`] gives.
    pub fn encoded_bytes(&self) -> usize {
        match self {
            Self::Register(side) => 22 + 32 * side.nodes.len() + side.name.len().next_multiple_of(4),
            Self::Remove(_) => 5,
        }
    }

    /// How many bytes a store keeps of it at most: its own, height and length, and what fills it up.
    pub(crate) fn kept_bytes(&self) -> u64 {
        self.encoded_bytes() as u64 + 24
    }

    /// Its bytes. [`Operation::decode`] reads them back.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Register(side) => {
                bytes.push(REGISTER);
                bytes.extend_from_slice(&side.id.to_le_bytes());
                bytes.extend_from_slice(&side.first_height.0.to_le_bytes());
                bytes.push(side.finality.code());
                bytes.extend_from_slice(&(side.nodes.len() as u32).to_le_bytes());
                side.nodes.iter().for_each(|node| bytes.extend_from_slice(&node.0));
                bytes.extend_from_slice(&(side.name.len() as u32).to_le_bytes());
                bytes.extend_from_slice(side.name.as_bytes());
                let zeros = side.name.len().next_multiple_of(4) - side.name.len();
                bytes.extend_from_slice(&[0; 3][..zeros]);
            }
            Self::Remove(chain) => {
                bytes.push(REMOVE);
                bytes.extend_from_slice(&chain.to_le_bytes());
            }
        }
        bytes
    }

    /// Reads an operation that stands alone in `bytes`.
    ///
    /// # Errors
    /// They are not exactly what [`Operation::encode`] gives for an operation that can be.
    pub fn decode(bytes: &[u8]) -> Result<Self, OperationError> {
        let mut rest = Rest { all: bytes, at: 0 };
        let operation = match rest.array::<1>()? {
            [REGISTER] => {
                let id = ChainId(u32::from_le_bytes(rest.array()?));
                let first_height = Height(u64::from_le_bytes(rest.array()?));
                let [code] = rest.array()?;
                let finality =
                    FinalityRule::of_code(code).ok_or_else(|| rest.wrong("an unknown finality rule"))?;
                let count = rest.count(Self::MAX_NODES)?;
                let nodes = (0..count).map(|_| rest.array().map(NodeKey)).collect::<Result<_, _>>()?;
                let length = rest.count(Self::MAX_NAME)?;
                let name =
                    str::from_utf8(rest.take(length)?).map_err(|_| rest.wrong("a name not in UTF-8"))?;
                if rest.take(length.next_multiple_of(4) - length)?.iter().any(|byte| *byte != 0) {
                    return Err(rest.wrong("padding that is not zero"));
                }
                Self::Register(SideChain { id, name: name.to_owned(), first_height, nodes, finality })
            }
            [REMOVE] => Self::Remove(ChainId(u32::from_le_bytes(rest.array()?))),
            _ => return Err(rest.wrong("an unknown kind")),
        };
        if rest.at < bytes.len() {
            return Err(rest.wrong("bytes behind its end"));
        }
        operation.check()?;
        Ok(operation)
    }

    /// Its leaf: `H(0x08 || bytes)`.
    pub fn leaf(&self) -> Hash {
        let mut preimage = vec![0x08];
        preimage.append(&mut self.encode());
        digest(&preimage)
    }
}

/// The `ops_root` of a main block with these operations, in this order; zero, the root of nothing, without any.
pub fn ops_root(operations: &[Operation]) -> Hash {
    if operations.is_empty() {
        return Hash::ZERO;
    }
    let mut leaves: Vec<_> = operations.iter().map(Operation::leaf).collect();
    let mut nodes = vec![Hash::ZERO; tree::stored_nodes(leaves.len())];
    tree::root(&mut leaves, &mut nodes)
}

/// Bytes that are read from the front.
struct Rest<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Rest<'a> {
    fn wrong(&self, what: &'static str) -> OperationError {
        OperationError::Bytes { what, at: self.at, bytes: self.all.len() }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], OperationError> {
        let found = self.all.get(self.at..).and_then(|rest| rest.get(..count));
        let found = found.ok_or_else(|| self.wrong("an end too early"))?;
        self.at += count;
        Ok(found)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], OperationError> {
        Ok(self.take(N)?.try_into().expect("as many as were asked for"))
    }

    fn count(&mut self, most: usize) -> Result<usize, OperationError> {
        let count = u32::from_le_bytes(self.array()?) as usize;
        if count > most { Err(self.wrong("a number that is too large")) } else { Ok(count) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn operations() -> impl Strategy<Value = Operation> {
        let register = (
            any::<u32>(),
            ".{1,20}",
            1..=Height::MAX.0,
            prop::collection::btree_set(any::<[u8; 32]>(), 1..4),
        )
            .prop_map(|(id, name, first, nodes)| {
                Operation::Register(SideChain {
                    id: ChainId(id),
                    name,
                    first_height: Height(first),
                    nodes: nodes.into_iter().map(NodeKey).collect(),
                    finality: FinalityRule::Single,
                })
            });
        prop_oneof![register, any::<u32>().prop_map(|id| Operation::Remove(ChainId(id)))]
    }

    proptest! {
        #[test]
        fn an_operation_has_one_encoding_which_is_never_as_long_as_a_node(
            operation in operations(), flip in any::<prop::sample::Index>(), bit in 0..8_u32,
        ) {
            let mut bytes = operation.encode();
            prop_assert!(bytes.len() <= Operation::MAX_BYTES);
            prop_assert_eq!(bytes.len(), operation.encoded_bytes());
            prop_assert_ne!(1 + bytes.len(), 64);
            prop_assert_eq!(Operation::decode(&bytes), Ok(operation.clone()));
            for end in 0..bytes.len() {
                prop_assert!(Operation::decode(&bytes[..end]).is_err());
            }
            bytes.push(0);
            prop_assert!(Operation::decode(&bytes).is_err());
            bytes.pop();
            let at = flip.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Ok(other) = Operation::decode(&bytes) {
                prop_assert_ne!(&other, &operation);
                prop_assert_eq!(other.encode(), bytes);
            }
        }

        #[test]
        fn noise_is_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(operation) = Operation::decode(&bytes) {
                prop_assert_eq!(operation.encode(), bytes);
            }
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_would_be_right() {
        let side = |name: &str, nodes: usize| {
            let nodes = (0..nodes as u32).map(|node| {
                let mut key = [0; 32];
                key[..4].copy_from_slice(&node.to_le_bytes());
                NodeKey(key)
            });
            Operation::Register(SideChain {
                id: ChainId(7),
                name: name.into(),
                first_height: Height(1),
                nodes: nodes.collect(),
                finality: FinalityRule::Single,
            })
        };
        assert_eq!(side("x", 1).check(), Ok(()));
        let text = |operation: Operation| operation.check().unwrap_err().to_string();
        assert_eq!(
            text(side("", 1)),
            "chain tDv7: name: \"\" is empty: give the chain a name".replace("tDv7", &ChainId(7).to_string())
        );
        assert!(text(side("x", 0)).contains("nodes: [] names no node"));
        assert!(text(side(&"x".repeat(257), 1)).contains("name: 257 bytes are too many"));
        assert!(text(side("x", 1025)).contains("nodes: 1025 keys are too many"));
    }
}
