//! The JSON form of proofs (`docs/protocol.md`, section "Proofs"). Strict: a field that is missing, unknown or given twice
//! is refused, and so is whatever [`Strict`] says.
//!
//! Proofs of type `mainstem` hold proofs: how deep they go is bounded while they are read, before they are followed.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, Visitor};
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::chain::{ChainId, Hash, Height, MainHeader};
use crate::tree::Step;

use super::strict::Strict;
use super::{
    AbsenceProof, AelfPart, BlockContent, BlocksProof, ChainPart, ConsistencyProof, CrossChainProof,
    Document, EvmPart, ManyBlock, Neighbour, Nested, Proof, ProvenBlock, SectionProof, SimPart, Transaction,
};

/// Reads a document of at most [`Document::MAX_BYTES`].
pub(super) fn parse(bytes: &[u8]) -> Result<Document, String> {
    /// The one field that says what the others are.
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(borrow, default)]
        kind: Option<Cow<'a, str>>,
    }
    fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
        let mut input = serde_json::Deserializer::from_slice(bytes);
        let read = T::deserialize(Strict(&mut input));
        read.and_then(|read| input.end().map(|()| read)).map_err(|error| short(&error))
    }
    match read::<Kind<'_>>(bytes)?.kind.as_deref() {
        None => read(bytes).map(Document::Block),
        Some("transaction") => read(bytes).map(Document::Transaction),
        Some("blocks") => read(bytes).map(Document::Blocks),
        Some("consistency") => read(bytes).map(Document::Consistency),
        Some("chain") => read(bytes).map(Document::Chain),
        Some("absence") => read(bytes).map(Document::Absence),
        Some(kind) => Err(format!(
            "kind: {:?} is not known; expected transaction, blocks, consistency, chain, absence, or none for a block proof",
            kind.chars().take(40).collect::<String>()
        )),
    }
}

/// What is wrong, in at most [`MAX_ERROR_BYTES`]: names and texts of the document are repeated in it, and whoever wrote that may
/// have made them as long as documents are.
fn short(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if text.len() <= MAX_ERROR_BYTES {
        return text;
    }
    let place = format!(".. at line {} column {}", error.line(), error.column());
    let end = text.floor_char_boundary(MAX_ERROR_BYTES - place.len());
    format!("{}{place}", &text[..end])
}

/// The longest text of what is wrong with a document's JSON.
const MAX_ERROR_BYTES: usize = 512;

/// A field that may be left out and, unlike what an `Option` is by itself, not null: no document has two forms.
pub(super) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// JSON with `"version"`, `"kind"` and the fields. `?` behind a field: it is left out when it is none.
macro_rules! json_of_kind {
    ($type:ident, $kind:literal, { $($field:ident: $of:ty),* $(; $optional:ident: $may:ty)* }) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let fields = 2 + [$(stringify!($field)),*].len() $(+ usize::from(self.$optional.is_some()))*;
                let mut out = serializer.serialize_struct(stringify!($type), fields)?;
                out.serialize_field("version", &self.version)?;
                out.serialize_field("kind", $kind)?;
                $(out.serialize_field(stringify!($field), &self.$field)?;)*
                $(match &self.$optional {
                    Some(given) => out.serialize_field(stringify!($optional), given)?,
                    None => out.skip_field(stringify!($optional))?,
                })*
                out.end()
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(Deserialize)]
                #[serde(deny_unknown_fields)]
                struct Fields<'a> {
                    version: u16,
                    #[serde(borrow)]
                    kind: Cow<'a, str>,
                    // So that null must be said.
                    $(#[serde(deserialize_with = "Deserialize::deserialize")] $field: $of,)*
                    $(#[serde(default, deserialize_with = "given")] $optional: Option<$may>,)*
                }
                let fields = Fields::deserialize(deserializer)?;
                is_kind(&fields.kind, $kind)?;
                Ok(Self {
                    version: fields.version,
                    $($field: fields.$field,)*
                    $($optional: fields.$optional,)*
                })
            }
        }
    };
}

json_of_kind!(BlocksProof, "blocks", { main_blocks: Vec<ManyBlock>; history: Vec<Hash>; head: MainHeader });
json_of_kind!(ConsistencyProof, "consistency", {
    from: MainHeader, to: MainHeader, consistency: Vec<Hash>, inclusion: Vec<Hash>
});
json_of_kind!(SectionProof, "chain", {
    chain_id: ChainId, first_height: Height, blocks: Vec<BlockContent>, index: u32, side_path: Vec<Step>,
    header: MainHeader; history_path: Vec<Step>; head: MainHeader
});
json_of_kind!(AbsenceProof, "absence", {
    chain_id: ChainId, index: u32, before: Option<Neighbour>, after: Option<Neighbour>,
    header: MainHeader; history_path: Vec<Step>; head: MainHeader
});

fn is_kind<E: serde::de::Error>(got: &str, expected: &str) -> Result<(), E> {
    if got == expected {
        return Ok(());
    }
    let got: String = got.chars().take(40).collect();
    Err(E::custom(format_args!("kind: {got:?} is not {expected:?}")))
}

impl Serialize for CrossChainProof {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("CrossChainProof", 4)?;
        out.serialize_field("version", &self.version)?;
        out.serialize_field("kind", "transaction")?;
        out.serialize_field("transaction", &self.transaction)?;
        out.serialize_field("block", &self.block)?;
        out.end()
    }
}

impl Serialize for Transaction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Transaction", 5)?;
        out.serialize_field("type", self.kind())?;
        match self {
            Self::Aelf(part) => {
                out.serialize_field("id", &part.id)?;
                out.serialize_field("path", &part.path)?;
            }
            Self::Evm(part) => {
                out.serialize_field("header", &Hex(&part.header))?;
                out.serialize_field("index", &part.index)?;
                for (name, nodes) in [("transaction", &part.transaction), ("receipt", &part.receipt)] {
                    if let Some(nodes) = nodes {
                        let nodes: Vec<_> = nodes.iter().map(|node| Hex(node)).collect();
                        out.serialize_field(name, &nodes)?;
                    }
                }
            }
            Self::Sim(part) => {
                out.serialize_field("data", &Hex(&part.data))?;
                out.serialize_field("path", &part.path)?;
            }
            Self::Mainstem(nested) => match &**nested {
                Nested::Block(proof) => out.serialize_field("proof", proof)?,
                Nested::Transaction(proof) => out.serialize_field("proof", proof)?,
            },
        }
        out.end()
    }
}

impl<'de> Deserialize<'de> for CrossChainProof {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        AnyProof { level: 0, inside: 0 }
            .deserialize(deserializer)?
            .transaction_proof()
            .map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Transaction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        AnyTransaction { level: 0 }.deserialize(deserializer)
    }
}

/// Fields that may be there, each at most once. `fields!` makes the struct, its field names, and the reading of it.
macro_rules! fields {
    ($name:ident, $names:ident, { $($field:ident: $of:ty = $text:literal),* $(,)? }) => {
        #[derive(Default)]
        struct $name {
            $($field: Option<$of>,)*
        }

        #[derive(Deserialize)]
        #[serde(field_identifier)]
        #[allow(non_camel_case_types, reason = "named as the fields are")]
        enum $names {
            $(#[serde(rename = $text)] $field,)*
        }
    };
}

fields!(ProofFields, ProofField, {
    version: u16 = "version",
    kind: String = "kind",
    transaction: Transaction = "transaction",
    chain_id: ChainId = "chain_id",
    block: Box<ProofFields> = "block",
    chain_path: Vec<Step> = "chain_path",
    chain: ChainPart = "chain",
    side_path: Vec<Step> = "side_path",
    header: MainHeader = "header",
    history_path: Vec<Step> = "history_path",
    head: MainHeader = "head",
    height: Height = "height",
    hash: Hash = "hash",
    tx_root: Hash = "tx_root",
});

/// Reads a transaction proof, a block proof or a proven block: which of them shows when all fields are there.
#[derive(Clone, Copy)]
struct AnyProof {
    /// How many parts of type `mainstem` this is in.
    level: u8,
    /// How many `block`s this is in, within one level.
    inside: u8,
}

impl<'de> DeserializeSeed<'de> for AnyProof {
    type Value = ProofFields;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<ProofFields, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for AnyProof {
    type Value = ProofFields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ProofFields, A::Error> {
        let mut fields = ProofFields::default();
        while let Some(field) = map.next_key()? {
            match field {
                ProofField::version => once("version", &mut fields.version, map.next_value()?)?,
                ProofField::kind => once("kind", &mut fields.kind, map.next_value()?)?,
                ProofField::transaction => {
                    let given = map.next_value_seed(AnyTransaction { level: self.level })?;
                    once("transaction", &mut fields.transaction, given)?;
                }
                ProofField::chain_id => once("chain_id", &mut fields.chain_id, map.next_value()?)?,
                ProofField::block => {
                    // A transaction proof has a block proof, which has a block.
                    if self.inside == 2 {
                        return Err(A::Error::custom("unknown field `block`"));
                    }
                    let given = map.next_value_seed(Self { inside: self.inside + 1, ..self })?;
                    once("block", &mut fields.block, Box::new(given))?;
                }
                ProofField::chain_path => once("chain_path", &mut fields.chain_path, map.next_value()?)?,
                ProofField::chain => once("chain", &mut fields.chain, map.next_value()?)?,
                ProofField::side_path => once("side_path", &mut fields.side_path, map.next_value()?)?,
                ProofField::header => once("header", &mut fields.header, map.next_value()?)?,
                ProofField::history_path => {
                    once("history_path", &mut fields.history_path, map.next_value()?)?;
                }
                ProofField::head => once("head", &mut fields.head, map.next_value()?)?,
                ProofField::height => once("height", &mut fields.height, map.next_value()?)?,
                ProofField::hash => once("hash", &mut fields.hash, map.next_value()?)?,
                ProofField::tx_root => once("tx_root", &mut fields.tx_root, map.next_value()?)?,
            }
        }
        Ok(fields)
    }
}

impl ProofFields {
    fn nested(self) -> Result<Nested, String> {
        if self.kind.is_some() {
            self.transaction_proof().map(Nested::Transaction)
        } else {
            self.block_proof().map(Nested::Block)
        }
    }

    fn transaction_proof(mut self) -> Result<CrossChainProof, String> {
        let kind = need("kind", &mut self.kind)?;
        if kind != "transaction" {
            let kind: String = kind.chars().take(40).collect();
            return Err(format!("kind: {kind:?} is not \"transaction\""));
        }
        let proof = CrossChainProof {
            version: need("version", &mut self.version)?,
            transaction: need("transaction", &mut self.transaction)?,
            block: need("block", &mut self.block)?.block_proof()?,
        };
        self.nothing_else()?;
        Ok(proof)
    }

    fn block_proof(mut self) -> Result<Proof, String> {
        let proof = Proof {
            version: need("version", &mut self.version)?,
            chain_id: need("chain_id", &mut self.chain_id)?,
            block: need("block", &mut self.block)?.block()?,
            chain_path: need("chain_path", &mut self.chain_path)?,
            chain: need("chain", &mut self.chain)?,
            side_path: need("side_path", &mut self.side_path)?,
            header: need("header", &mut self.header)?,
            history_path: self.history_path.take(),
            head: self.head.take(),
        };
        self.nothing_else()?;
        Ok(proof)
    }

    fn block(mut self) -> Result<ProvenBlock, String> {
        let block = ProvenBlock {
            height: need("height", &mut self.height)?,
            hash: need("hash", &mut self.hash)?,
            tx_root: need("tx_root", &mut self.tx_root)?,
        };
        self.nothing_else()?;
        Ok(block)
    }

    /// What was not taken has no place.
    fn nothing_else(&self) -> Result<(), String> {
        nothing(&[
            ("version", self.version.is_some()),
            ("kind", self.kind.is_some()),
            ("transaction", self.transaction.is_some()),
            ("chain_id", self.chain_id.is_some()),
            ("block", self.block.is_some()),
            ("chain_path", self.chain_path.is_some()),
            ("chain", self.chain.is_some()),
            ("side_path", self.side_path.is_some()),
            ("header", self.header.is_some()),
            ("history_path", self.history_path.is_some()),
            ("head", self.head.is_some()),
            ("height", self.height.is_some()),
            ("hash", self.hash.is_some()),
            ("tx_root", self.tx_root.is_some()),
        ])
    }
}

fields!(PartFields, PartField, {
    kind: String = "type",
    id: Hash = "id",
    path: Vec<Step> = "path",
    header: Bytes = "header",
    index: u32 = "index",
    transaction: Vec<Bytes> = "transaction",
    receipt: Vec<Bytes> = "receipt",
    data: Bytes = "data",
    proof: ProofFields = "proof",
});

/// Reads a transaction part.
#[derive(Clone, Copy)]
struct AnyTransaction {
    level: u8,
}

impl<'de> DeserializeSeed<'de> for AnyTransaction {
    type Value = Transaction;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Transaction, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for AnyTransaction {
    type Value = Transaction;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a transaction part: an object with \"type\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Transaction, A::Error> {
        let mut fields = PartFields::default();
        while let Some(field) = map.next_key()? {
            match field {
                PartField::kind => once("type", &mut fields.kind, map.next_value()?)?,
                PartField::id => once("id", &mut fields.id, map.next_value()?)?,
                PartField::path => once("path", &mut fields.path, map.next_value()?)?,
                PartField::header => once("header", &mut fields.header, map.next_value()?)?,
                PartField::index => once("index", &mut fields.index, map.next_value()?)?,
                PartField::transaction => once("transaction", &mut fields.transaction, map.next_value()?)?,
                PartField::receipt => once("receipt", &mut fields.receipt, map.next_value()?)?,
                PartField::data => once("data", &mut fields.data, map.next_value()?)?,
                PartField::proof => {
                    if self.level >= CrossChainProof::MAX_LEVELS {
                        return Err(A::Error::custom("more than 8 levels of proofs inside of proofs"));
                    }
                    let given = map.next_value_seed(AnyProof { level: self.level + 1, inside: 0 })?;
                    once("proof", &mut fields.proof, given)?;
                }
            }
        }
        fields.transaction().map_err(A::Error::custom)
    }
}

impl PartFields {
    fn transaction(mut self) -> Result<Transaction, String> {
        let transaction = match &need("type", &mut self.kind)?[..] {
            "aelf" => Transaction::Aelf(AelfPart {
                id: need("id", &mut self.id)?,
                path: need("path", &mut self.path)?,
            }),
            "evm" => Transaction::Evm(EvmPart {
                header: need("header", &mut self.header)?.0,
                index: need("index", &mut self.index)?,
                transaction: self.transaction.take().map(unwrapped),
                receipt: self.receipt.take().map(unwrapped),
            }),
            "sim" => Transaction::Sim(SimPart {
                data: need("data", &mut self.data)?.0,
                path: need("path", &mut self.path)?,
            }),
            "mainstem" => Transaction::Mainstem(Box::new(need("proof", &mut self.proof)?.nested()?)),
            other => {
                let other: String = other.chars().take(40).collect();
                return Err(format!("type: {other:?} is not known; expected aelf, evm, sim or mainstem"));
            }
        };
        nothing(&[
            ("id", self.id.is_some()),
            ("path", self.path.is_some()),
            ("header", self.header.is_some()),
            ("index", self.index.is_some()),
            ("transaction", self.transaction.is_some()),
            ("receipt", self.receipt.is_some()),
            ("data", self.data.is_some()),
            ("proof", self.proof.is_some()),
        ])?;
        Ok(transaction)
    }
}

fn once<T, E: serde::de::Error>(name: &'static str, field: &mut Option<T>, given: T) -> Result<(), E> {
    if field.replace(given).is_some() { Err(E::duplicate_field(name)) } else { Ok(()) }
}

fn need<T>(name: &'static str, field: &mut Option<T>) -> Result<T, String> {
    field.take().ok_or_else(|| format!("missing field `{name}`"))
}

fn nothing(left: &[(&'static str, bool)]) -> Result<(), String> {
    match left.iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(format!("unknown field `{name}`")),
        None => Ok(()),
    }
}

/// Bytes as `0x` and hex digits.
struct Bytes(Vec<u8>);

fn unwrapped(nodes: Vec<Bytes>) -> Vec<Vec<u8>> {
    nodes.into_iter().map(|node| node.0).collect()
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let digits = text.strip_prefix("0x").filter(|digits| !digits.starts_with("0x"));
        let bytes = digits.and_then(|digits| const_hex::decode(digits).ok());
        bytes.map(Self).ok_or_else(|| {
            let start: String = text.chars().take(40).collect();
            D::Error::custom(format_args!(
                "{start:?} is not bytes: expected 0x and an even number of hex digits"
            ))
        })
    }
}

struct Hex<'a>(&'a [u8]);

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&const_hex::encode_prefixed(self.0))
    }
}
