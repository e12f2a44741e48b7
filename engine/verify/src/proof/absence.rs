//! The absence proof: that a main block has no block of a chain.
//!
//! Chain leaves stand by ascending chain id, each chain at most once. So two neighbours, one with a smaller id and one
//! with a greater, leave no place for a chain between them.

use alloc::vec::Vec;

use crate::chain::{ChainId, Hash, Height, MainHeader};
use crate::leaf;
use crate::tree::Step;

use super::binary::{Input, Output};
use super::{DecodeError, Verified, VerifyError, header, history, leads_to, same, version};

/// That a main block has no block of a chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AbsenceProof {
    /// Version of the proof: 1.
    pub version: u16,
    /// The chain that is absent.
    pub chain_id: ChainId,
    /// Where its leaf would stand: 0 to `header.chain_count`.
    pub index: u32,
    /// The chain leaf before, unless `index` is 0.
    pub before: Option<Neighbour>,
    /// The chain leaf at `index`, unless there is none.
    pub after: Option<Neighbour>,
    /// The main block's header.
    pub header: MainHeader,
    /// From the header to the `history_root` of `head`.
    pub history_path: Option<Vec<Step>>,
    /// A later header.
    pub head: Option<MainHeader>,
}

/// A chain leaf, and the path from it to the header's `side_root`.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Neighbour {
    /// The side chain.
    pub chain_id: ChainId,
    /// Height of its first block there.
    pub first_height: Height,
    /// How many of its blocks are there.
    pub count: u32,
    /// Root over their side leaves.
    pub chain_root: Hash,
    /// From the chain leaf to the header's `side_root`.
    pub path: Vec<Step>,
}

impl AbsenceProof {
    /// The version that this program writes and verifies.
    pub const VERSION: u16 = 1;
    const KIND: u8 = 5;

    /// As [`super::Proof::verify_trusting`].
    pub fn verify_trusting(&self, trusted: Hash) -> Result<Verified, VerifyError> {
        self.verify()?.trusting(&self.header, trusted)
    }

    /// As [`super::Proof::verify`].
    pub fn verify(&self) -> Result<Verified, VerifyError> {
        version("version", self.version, Self::VERSION)?;
        header(&self.header)?;
        let (index, count, chain) = (self.index, self.header.chain_count, self.chain_id);
        if index > count {
            let (field, got) = ("index", index.into());
            return Err(VerifyError::Value { field, got, expected: "0 to header.chain_count" });
        }
        for (field, neighbour, expected) in
            [("before", &self.before, index > 0), ("after", &self.after, index < count)]
        {
            let given = neighbour.is_some();
            if given != expected {
                return Err(VerifyError::Given { field, given, index, count });
            }
        }
        let root = self.header.side_root;
        if let Some(before) = &self.before {
            if before.chain_id >= chain {
                let (field, got) = ("before.chain_id", before.chain_id);
                return Err(VerifyError::Neighbour { field, got, side: "before", chain });
            }
            before.leads_to(u64::from(index) - 1, count, "before.path", root)?;
        }
        if let Some(after) = &self.after {
            if after.chain_id <= chain {
                let (field, got) = ("after.chain_id", after.chain_id);
                return Err(VerifyError::Neighbour { field, got, side: "after", chain });
            }
            after.leads_to(index.into(), count, "after.path", root)?;
        }
        if count == 0 {
            same(("header.side_root", root), ("the root of no chains", Hash::ZERO))?;
        }
        history(&self.header, self.history_path.as_deref(), self.head.as_ref())
    }

    /// The binary form (`docs/protocol.md`, section "Other proofs").
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(2048);
        out.put(&[1, Self::KIND]);
        out.put(&self.chain_id.to_le_bytes());
        out.put(&self.index.to_le_bytes());
        out.put(&self.header.encode());
        out.put_head(self.head.as_ref());
        let neighbours = || [&self.before, &self.after].into_iter().flatten();
        for neighbour in neighbours() {
            out.put(&neighbour.chain_id.to_le_bytes());
            out.put(&neighbour.first_height.0.to_le_bytes());
            out.put(&neighbour.count.to_le_bytes());
            out.put(neighbour.chain_root.as_bytes());
        }
        for neighbour in neighbours() {
            out.put_path(&neighbour.path);
        }
        out.put_path(self.history_path.as_deref().unwrap_or_default());
        out
    }

    /// Reads the binary form. Strict: no missing and no surplus byte.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Input::new(bytes);
        input.kind(Self::KIND, "5, an absence proof")?;
        let (chain_id, index) = (ChainId(input.u32()?), input.u32()?);
        let header = input.header()?;
        let head = input.head()?;
        let count = header.chain_count;
        if index > count {
            let (field, got) = ("index", index.into());
            return Err(DecodeError::Value { field, got, expected: "0 to header.chain_count" });
        }
        let mut before = Neighbour::read(&mut input, index > 0)?;
        let mut after = Neighbour::read(&mut input, index < count)?;
        if let Some(before) = &mut before {
            before.path = input.path(u64::from(index) - 1, count.into())?;
        }
        if let Some(after) = &mut after {
            after.path = input.path(index.into(), count.into())?;
        }
        let history_path = input.history_path(&header, head.as_ref())?;
        input.finish()?;
        Ok(Self { version: Self::VERSION, chain_id, index, before, after, header, history_path, head })
    }
}

impl Neighbour {
    fn leads_to(&self, index: u64, size: u32, field: &'static str, root: Hash) -> Result<(), VerifyError> {
        let leaf = leaf::chain(self.chain_id, self.first_height, self.count, self.chain_root);
        leads_to(leaf, (index, size.into()), &self.path, (field, "header.side_root", root))
    }

    /// Reads one, but for its path.
    fn read(input: &mut Input<'_>, given: bool) -> Result<Option<Self>, DecodeError> {
        if !given {
            return Ok(None);
        }
        let (chain_id, first_height) = (ChainId(input.u32()?), Height(input.u64()?));
        let (count, chain_root) = (input.u32()?, input.hash()?);
        Ok(Some(Self { chain_id, first_height, count, chain_root, path: Vec::new() }))
    }
}
