//! What goes over the wire: prost messages, each with its length (u32, big-endian) before it.

use anyhow::{Context, Result, bail};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use quinn::{ReadError, RecvStream};

/// Side blocks of one chain, one after the other.
///
/// Fields of bytes are `Bytes`: prost then refers to what was received instead of copying it, as its documentation
/// advises; with `Vec<u8>` each of them is an allocation.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Batch {
    #[prost(uint32, tag = "1")]
    pub(super) chain: u32,
    #[prost(uint64, tag = "2")]
    pub(super) first_height: u64,
    /// Hash of the block before the first.
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) parent: Bytes,
    #[prost(message, repeated, tag = "4")]
    pub(super) blocks: Vec<Block>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Block {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) hash: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) tx_root: Bytes,
    #[prost(fixed64, tag = "3")]
    pub(super) time: u64,
}

/// [`Batch`] as the sender fills it: the same bytes on the wire, and buffers that are used again.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Draft {
    #[prost(uint32, tag = "1")]
    pub(super) chain: u32,
    #[prost(uint64, tag = "2")]
    pub(super) first_height: u64,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) parent: Vec<u8>,
    #[prost(message, repeated, tag = "4")]
    pub(super) blocks: Vec<DraftBlock>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DraftBlock {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) hash: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) tx_root: Vec<u8>,
    #[prost(fixed64, tag = "3")]
    pub(super) time: u64,
}

/// First of all a client says which chains it speaks for.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Hello {
    #[prost(uint32, repeated, tag = "1")]
    pub(super) chains: Vec<u32>,
}

/// To a client, after its hello for all its chains, then for those of which blocks have become durable.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Acks {
    #[prost(message, repeated, tag = "1")]
    pub(super) acks: Vec<Ack>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Ack {
    #[prost(uint32, tag = "1")]
    pub(super) chain: u32,
    /// The last height that is durable.
    #[prost(uint64, tag = "2")]
    pub(super) durable: u64,
    /// The last height that may be sent.
    #[prost(uint64, tag = "3")]
    pub(super) limit: u64,
    /// Hash of the block at `received`, for who goes on after it; empty in all acks but the first.
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) hash: Bytes,
    /// The last height that has come, durable or not, after which a sender goes on; only in the first ack.
    #[prost(uint64, tag = "5")]
    pub(super) received: u64,
}

/// The longest message that is read.
const MAX_BYTES: usize = 1 << 20;

/// Adds a message and its length to `out`.
pub(super) fn put(message: &impl Message, out: &mut BytesMut) {
    let bytes = message.encoded_len();
    out.reserve(4 + bytes);
    out.put_u32(bytes as u32);
    message.encode(out).expect("there is room for it");
}

/// The messages of a stream.
pub(super) struct Messages {
    stream: RecvStream,
    /// Received and not yet handed out. What is split off goes back to it when the message is dropped.
    buffer: BytesMut,
    chunks: [Bytes; 32],
}

impl Messages {
    /// With room for so many bytes to begin with.
    pub(super) fn new(stream: RecvStream, room: usize) -> Self {
        Self { stream, buffer: BytesMut::with_capacity(room), chunks: [const { Bytes::new() }; 32] }
    }

    /// The next one; none when the other side has ended.
    pub(super) async fn next<M: Message + Default>(&mut self) -> Result<Option<M>> {
        loop {
            if let Some(bytes) = self.whole()? {
                return Ok(Some(M::decode(bytes).context("no message of this protocol")?));
            }
            match self.stream.read_chunks(&mut self.chunks).await {
                Ok(Some(count)) => {
                    for chunk in &mut self.chunks[..count] {
                        self.buffer.extend_from_slice(&std::mem::take(chunk));
                    }
                }
                Ok(None) if self.buffer.is_empty() => return Ok(None),
                Ok(None) => bail!("the stream ends within a message"),
                Err(ReadError::ConnectionLost(_)) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn whole(&mut self) -> Result<Option<Bytes>> {
        let Some(length) = self.buffer.first_chunk() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > MAX_BYTES {
            bail!("a message of {length} bytes: at most {MAX_BYTES} are read");
        }
        if self.buffer.len() < 4 + length {
            return Ok(None);
        }
        self.buffer.advance(4);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}
