//! The messages of the stream on which a server sends main blocks, as far as they are of interest to one session:
//! each header, and what the block has of the session's chains.

use engine::chain::{ChainId, MainHeader};
use engine::proof::ChainProof;

use super::codec::{Reader, Writer};
use super::{ControlError, MAX_CHAINS, MAX_MESSAGE_BYTES, Message, ascends, kind};

/// The most chains in one [`MainMessage::Indexed`].
pub const MAX_INDEXED: usize = 512;

/// Length of a [`ChainProof`] without its path, in bytes.
const INDEXED_BYTES: usize = 4 + 8 + 4 + 32 + 4 + 1;

const MAX_BODY_BYTES: usize = 4 + MAX_INDEXED * (INDEXED_BYTES + 32 * ChainProof::MAX_STEPS);

const _: () = assert!(MAX_BODY_BYTES <= MAX_MESSAGE_BYTES);

/// What a server says on the stream of main blocks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MainMessage {
    /// The next main block begins.
    Block(Box<BlockStart>),
    /// What it has of chains of the session, ascending; as many of these follow as it takes for all of them.
    Indexed(Vec<ChainProof>),
}

/// See [`MainMessage::Block`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockStart {
    /// Its header.
    pub header: MainHeader,
    /// How many chains of the session it has blocks of: so many [`ChainProof`]s follow.
    pub chains: u32,
}

impl Message for MainMessage {
    fn greatest(kind: u8) -> Result<usize, ControlError> {
        match kind {
            kind::BLOCK => Ok(MainHeader::BYTES + 4),
            kind::INDEXED => Ok(MAX_BODY_BYTES),
            got => Err(ControlError::Kind { got, expected: "block (0x91) or indexed (0x92)" }),
        }
    }

    fn decode(kind: u8, body: &[u8]) -> Result<Self, ControlError> {
        Self::greatest(kind)?;
        let mut reader = Reader::new(body);
        let message = if kind == kind::BLOCK {
            let (header, chains) = (reader.header()?, reader.u32("chains")?);
            if chains > header.chain_count || chains as usize > MAX_CHAINS {
                let expected = "at most the header's chain_count, and 16384";
                return Err(ControlError::Value { field: "chains", got: chains.into(), expected });
            }
            Self::Block(Box::new(BlockStart { header, chains }))
        } else {
            Self::Indexed(decode_indexed(&mut reader)?)
        };
        reader.finish()?;
        Ok(message)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Block(block) => {
                let mut writer = Writer::new(out, kind::BLOCK);
                writer.bytes(&block.header.encode());
                writer.u32(block.chains);
            }
            Self::Indexed(indexed) => {
                assert!((1..=MAX_INDEXED).contains(&indexed.len()), "1 to {MAX_INDEXED} chains a message");
                let mut writer = Writer::new(out, kind::INDEXED);
                writer.u32(indexed.len() as u32);
                indexed.iter().for_each(|proof| encode_proof(proof, &mut writer));
            }
        }
    }
}

fn decode_indexed(reader: &mut Reader<'_>) -> Result<Vec<ChainProof>, ControlError> {
    let count = reader.count("indexed", INDEXED_BYTES)?;
    if !(1..=MAX_INDEXED).contains(&count) {
        return Err(ControlError::Value { field: "indexed", got: count as u64, expected: "1 to 512" });
    }
    let mut indexed: Vec<ChainProof> = Vec::with_capacity(count);
    for _ in 0..count {
        let proof = decode_proof(reader)?;
        ascends(indexed.last().map(|last| last.chain_id), proof.chain_id)?;
        indexed.push(proof);
    }
    Ok(indexed)
}

fn decode_proof(reader: &mut Reader<'_>) -> Result<ChainProof, ControlError> {
    let (chain_id, first_height) = (reader.chain()?, reader.height("first_height")?);
    let (count, chain_root) = (reader.u32("count")?, reader.hash("chain_root")?);
    let (index, steps) = (reader.u32("index")?, usize::from(reader.u8("steps")?));
    if steps > ChainProof::MAX_STEPS {
        return Err(ControlError::Value { field: "steps", got: steps as u64, expected: "at most 32" });
    }
    let side_path = (0..steps).map(|_| reader.hash("side_path")).collect::<Result<_, _>>()?;
    Ok(ChainProof { chain_id, first_height, count, chain_root, index, side_path })
}

fn encode_proof(proof: &ChainProof, writer: &mut Writer<'_>) {
    assert!(proof.side_path.len() <= ChainProof::MAX_STEPS, "no tree is deeper");
    let ChainId(chain) = proof.chain_id;
    writer.u32(chain);
    writer.u64(proof.first_height.0);
    writer.u32(proof.count);
    writer.bytes(proof.chain_root.as_bytes());
    writer.u32(proof.index);
    writer.u8(proof.side_path.len() as u8);
    for sibling in &proof.side_path {
        writer.bytes(sibling.as_bytes());
    }
}
