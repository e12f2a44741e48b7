//! The messages of the control stream: hello, welcome, credits and acks, tips, refusals, main headers; and those of
//! the stream of main blocks.
//!
//! # Format
//! `{type u8, length u32, body}`, little-endian, hand-written, canonical: what decodes encodes to the same bytes.
//! A reader checks the type and its greatest length before it reads the body, and every count against the bytes
//! that are there before it allocates. `docs/protocol.md` gives the bytes.

mod codec;
mod main_stream;
mod refusal;
mod stream;

pub use main_stream::{BlockStart, MAX_INDEXED, MainMessage};
pub use refusal::{CLOSE_DONE, RefusalCode};
pub use stream::{ReceiveError, receive};

use engine::chain::{ChainId, Hash, Height, MainHeader};
use engine::lane::Position;

use codec::{Reader, Writer};

/// The version of the protocol that this program speaks: of the messages here, of the order they come in, and of
/// what they mean.
pub const PROTOCOL_VERSION: u16 = 1;
/// Length of what stands before the body of a message, in bytes.
pub const MESSAGE_HEADER_BYTES: usize = 5;
/// The longest body, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// The most chains in a hello, a welcome or an ack.
pub const MAX_CHAINS: usize = 16_384;
/// The longest [`Hello::software`], in bytes of UTF-8.
pub const MAX_SOFTWARE_BYTES: usize = 64;
/// The longest [`Refused::detail`], in bytes of UTF-8.
pub const MAX_DETAIL_BYTES: usize = 512;

const ENTRY_BYTES: usize = 4 + 1 + 2 + 8 + 8 + 32 + 8;
const ACK_BYTES: usize = 4 + 8 + 8;
const TIP_BYTES: usize = 4 + 8;
/// The longest body of a hello, whatever its version.
const HELLO_BYTES: usize = 2 + 1 + MAX_SOFTWARE_BYTES + 4 + 4 * MAX_CHAINS;
const WELCOME_FIXED_BYTES: usize = 2 + 4 + 32 + 1 + MainHeader::BYTES + 4;

const _: () = assert!(WELCOME_FIXED_BYTES + MAX_CHAINS * ENTRY_BYTES <= MAX_MESSAGE_BYTES);

/// What a client says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClientMessage {
    /// The first message.
    Hello(Hello),
    /// Asks to speak for a chain again after it was refused or left.
    Resume(Resume),
    /// Gives a chain up for now, so that another of its nodes may speak.
    Leave(ChainId),
    /// How far the node's own source is. Ascending, each chain once.
    Tips(Vec<Tip>),
    /// Asks for the main chain's blocks from this height on, on a stream of their own; 0: from the block after the
    /// newest one.
    Follow(Height),
}

/// Who the client is and which chains it wants to speak for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Name and version of the program, for people.
    pub software: String,
    /// Ascending, each once.
    pub chains: Vec<ChainId>,
}

/// See [`ClientMessage::Resume`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resume {
    /// Which chain.
    pub chain: ChainId,
    /// How many frames were written on the chain's data stream before: their sections of the chain are of no
    /// interest any more, wherever they still are on their way.
    pub frames: u64,
}

/// One chain of [`ClientMessage::Tips`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tip {
    /// Which chain.
    pub chain: ChainId,
    /// Newest irreversible height that the node's source has.
    pub height: Height,
}

/// What a server says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServerMessage {
    /// The answer to a hello.
    Welcome(Welcome),
    /// What has become durable, and how far the client may go. Ascending, each chain once.
    Ack(Vec<Ack>),
    /// The newest main header. Heads in between are left out when the reader is slow: the newest wins.
    Header(Box<MainHeader>),
    /// A chain is refused; its sections are ignored until the client resumes it.
    Refused(Refused),
    /// Where a chain stands: the answer to a resume, and what a node that stood by gets when it is to speak.
    Position(Entry),
}

/// See [`ServerMessage::Welcome`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// Id of the main chain.
    pub main_chain: ChainId,
    /// Hash of its genesis document.
    pub genesis_hash: Hash,
    /// The newest durable main block; none before the first.
    pub head: Option<Box<MainHeader>>,
    /// One for each chain of the hello, in its order.
    pub chains: Vec<Entry>,
}

/// Where one chain stands for this session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Which chain.
    pub chain: ChainId,
    /// What the session may do with it.
    pub state: EntryState,
}

/// See [`Entry::state`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryState {
    /// It speaks for the chain: the next block wanted is the one after `received`.
    Speaker(Position),
    /// Another node of the chain speaks. A [`ServerMessage::Position`] follows when this one is to take over.
    Standby(Position),
    /// It may not speak for the chain.
    Refused(RefusalCode),
}

/// One chain of a [`ServerMessage::Ack`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ack {
    /// Which chain.
    pub chain: ChainId,
    /// Newest height stored for good.
    pub durable: Height,
    /// Highest height that may be sent.
    pub limit: Height,
}

/// See [`ServerMessage::Refused`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Which chain.
    pub chain: ChainId,
    /// Why.
    pub code: RefusalCode,
    /// Why, for people: what was there and what was expected.
    pub detail: String,
}

/// What is wrong with a message. Always the sender's fault.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ControlError {
    /// A hello of another version; nothing behind the version was read.
    #[error("protocol version is {got}; expected {PROTOCOL_VERSION}")]
    Version {
        /// What it says.
        got: u16,
    },
    /// Not a message that this side is sent.
    #[error("message type is {got:#04x}; expected {expected}")]
    Kind {
        /// What it says.
        got: u8,
        /// What may come.
        expected: &'static str,
    },
    /// A body longer than any of its type.
    #[error("message of type {kind:#04x}: length is {got}; expected at most {most}")]
    Length {
        /// The type.
        kind: u8,
        /// What it says.
        got: usize,
        /// The longest of its type.
        most: usize,
    },
    /// A body that ends in the middle of a field.
    #[error("{field} needs {need} bytes; {left} are left of the message")]
    Short {
        /// Which field.
        field: &'static str,
        /// How many bytes it has.
        need: usize,
        /// How many are left.
        left: usize,
    },
    /// A body that goes on after its last field.
    #[error("message has {bytes} bytes after its last field; expected none")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A value that cannot be.
    #[error("{field} is {got}; expected {expected}")]
    Value {
        /// Which field.
        field: &'static str,
        /// What it says.
        got: u64,
        /// What would be right.
        expected: &'static str,
    },
    /// A text that is not UTF-8.
    #[error("{field} is not UTF-8")]
    Text {
        /// Which field.
        field: &'static str,
    },
}

/// A message of one direction.
pub trait Message: Sized {
    /// The longest body of messages of this type, in bytes.
    fn greatest(kind: u8) -> Result<usize, ControlError>;

    /// Reads a body: all of it.
    fn decode(kind: u8, body: &[u8]) -> Result<Self, ControlError>;

    /// Appends the whole message, header included.
    ///
    /// # Panics
    /// When a list or a text is longer than its greatest length: the peer would refuse it.
    fn encode(&self, out: &mut Vec<u8>);
}

/// Type and length of a message, checked before its body is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageHeader {
    /// The type.
    pub kind: u8,
    /// Length of the body, in bytes.
    pub body_bytes: usize,
}

impl MessageHeader {
    /// Checks that such a message may come in direction `M`.
    pub fn parse<M: Message>(bytes: &[u8; MESSAGE_HEADER_BYTES]) -> Result<Self, ControlError> {
        let [kind, length @ ..] = *bytes;
        let (body_bytes, most) = (u32::from_le_bytes(length) as usize, M::greatest(kind)?);
        if body_bytes > most {
            return Err(ControlError::Length { kind, got: body_bytes, most });
        }
        Ok(Self { kind, body_bytes })
    }
}

mod kind {
    pub(super) const HELLO: u8 = 0x01;
    pub(super) const RESUME: u8 = 0x02;
    pub(super) const LEAVE: u8 = 0x03;
    pub(super) const TIPS: u8 = 0x04;
    pub(super) const FOLLOW: u8 = 0x05;
    pub(super) const WELCOME: u8 = 0x81;
    pub(super) const ACK: u8 = 0x82;
    pub(super) const HEADER: u8 = 0x83;
    pub(super) const REFUSED: u8 = 0x84;
    pub(super) const POSITION: u8 = 0x85;
    pub(super) const BLOCK: u8 = 0x91;
    pub(super) const INDEXED: u8 = 0x92;
}

impl Message for ClientMessage {
    fn greatest(kind: u8) -> Result<usize, ControlError> {
        match kind {
            kind::HELLO => Ok(HELLO_BYTES),
            kind::RESUME => Ok(4 + 8),
            kind::LEAVE => Ok(4),
            kind::TIPS => Ok(4 + MAX_CHAINS * TIP_BYTES),
            kind::FOLLOW => Ok(8),
            got => Err(ControlError::Kind { got, expected: "hello (0x01) to follow (0x05)" }),
        }
    }

    fn decode(kind: u8, body: &[u8]) -> Result<Self, ControlError> {
        Self::greatest(kind)?;
        let mut reader = Reader::new(body);
        let message = match kind {
            kind::HELLO => Self::Hello(Hello::decode(&mut reader)?),
            kind::RESUME => Self::Resume(Resume { chain: reader.chain()?, frames: reader.u64("frames")? }),
            kind::LEAVE => Self::Leave(reader.chain()?),
            kind::TIPS => Self::Tips(decode_tips(&mut reader)?),
            _ => Self::Follow(reader.height("from")?),
        };
        reader.finish()?;
        Ok(message)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello(hello) => {
                let mut writer = Writer::new(out, kind::HELLO);
                hello.encode(&mut writer);
            }
            Self::Resume(resume) => {
                let mut writer = Writer::new(out, kind::RESUME);
                writer.chain(resume.chain);
                writer.u64(resume.frames);
            }
            Self::Leave(chain) => Writer::new(out, kind::LEAVE).chain(*chain),
            Self::Tips(tips) => {
                assert!(tips.len() <= MAX_CHAINS, "tips are of at most {MAX_CHAINS} chains");
                let mut writer = Writer::new(out, kind::TIPS);
                writer.u32(tips.len() as u32);
                for tip in tips {
                    writer.chain(tip.chain);
                    writer.u64(tip.height.0);
                }
            }
            Self::Follow(from) => Writer::new(out, kind::FOLLOW).u64(from.0),
        }
    }
}

impl Message for ServerMessage {
    fn greatest(kind: u8) -> Result<usize, ControlError> {
        match kind {
            kind::WELCOME => Ok(WELCOME_FIXED_BYTES + MAX_CHAINS * ENTRY_BYTES),
            kind::ACK => Ok(4 + MAX_CHAINS * ACK_BYTES),
            kind::HEADER => Ok(MainHeader::BYTES),
            kind::REFUSED => Ok(4 + 2 + 2 + MAX_DETAIL_BYTES),
            kind::POSITION => Ok(ENTRY_BYTES),
            got => Err(ControlError::Kind { got, expected: "welcome (0x81) to position (0x85)" }),
        }
    }

    fn decode(kind: u8, body: &[u8]) -> Result<Self, ControlError> {
        Self::greatest(kind)?;
        let mut reader = Reader::new(body);
        let message = match kind {
            kind::WELCOME => Self::Welcome(Welcome::decode(&mut reader)?),
            kind::ACK => Self::Ack(decode_acks(&mut reader)?),
            kind::HEADER => Self::Header(Box::new(reader.header()?)),
            kind::REFUSED => Self::Refused(Refused::decode(&mut reader)?),
            _ => Self::Position(Entry::decode(&mut reader)?),
        };
        reader.finish()?;
        Ok(message)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Welcome(welcome) => welcome.encode(&mut Writer::new(out, kind::WELCOME)),
            Self::Ack(acks) => {
                assert!(acks.len() <= MAX_CHAINS, "an ack has at most {MAX_CHAINS} chains");
                let mut writer = Writer::new(out, kind::ACK);
                writer.u32(acks.len() as u32);
                for ack in acks {
                    writer.chain(ack.chain);
                    writer.u64(ack.durable.0);
                    writer.u64(ack.limit.0);
                }
            }
            Self::Header(header) => Writer::new(out, kind::HEADER).bytes(&header.encode()),
            Self::Refused(refused) => refused.encode(&mut Writer::new(out, kind::REFUSED)),
            Self::Position(entry) => entry.encode(&mut Writer::new(out, kind::POSITION)),
        }
    }
}

impl Hello {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, ControlError> {
        let got = reader.u16("version")?;
        if got != PROTOCOL_VERSION {
            return Err(ControlError::Version { got });
        }
        let length = usize::from(reader.u8("software length")?);
        let software = reader.text("software", length, MAX_SOFTWARE_BYTES, "at most 64 bytes")?;
        let count = reader.count("chains", 4)?;
        let mut chains = Vec::with_capacity(count);
        for _ in 0..count {
            let chain = reader.chain()?;
            ascends(chains.last().copied(), chain)?;
            chains.push(chain);
        }
        Ok(Self { software, chains })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        assert!(self.software.len() <= MAX_SOFTWARE_BYTES, "the name of the software is too long");
        assert!(self.chains.len() <= MAX_CHAINS, "a hello has at most {MAX_CHAINS} chains");
        writer.u16(PROTOCOL_VERSION);
        writer.u8(self.software.len() as u8);
        writer.bytes(self.software.as_bytes());
        writer.u32(self.chains.len() as u32);
        for chain in &self.chains {
            writer.chain(*chain);
        }
    }
}

impl Welcome {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, ControlError> {
        let got = reader.u16("version")?;
        if got != PROTOCOL_VERSION {
            return Err(ControlError::Version { got });
        }
        let main_chain = reader.chain()?;
        let genesis_hash = reader.hash("genesis_hash")?;
        let head = match reader.u8("head flag")? {
            0 => None,
            1 => Some(Box::new(reader.header()?)),
            got => {
                let expected = "0 (no head) or 1 (a header follows)";
                return Err(ControlError::Value { field: "head flag", got: got.into(), expected });
            }
        };
        let count = reader.count("chains", ENTRY_BYTES)?;
        let mut chains: Vec<Entry> = Vec::with_capacity(count);
        for _ in 0..count {
            let entry = Entry::decode(reader)?;
            ascends(chains.last().map(|last| last.chain), entry.chain)?;
            chains.push(entry);
        }
        Ok(Self { main_chain, genesis_hash, head, chains })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        assert!(self.chains.len() <= MAX_CHAINS, "a welcome has at most {MAX_CHAINS} chains");
        writer.u16(PROTOCOL_VERSION);
        writer.chain(self.main_chain);
        writer.bytes(self.genesis_hash.as_bytes());
        writer.u8(u8::from(self.head.is_some()));
        if let Some(head) = &self.head {
            writer.bytes(&head.encode());
        }
        writer.u32(self.chains.len() as u32);
        for entry in &self.chains {
            entry.encode(writer);
        }
    }
}

impl Entry {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, ControlError> {
        let chain = reader.chain()?;
        let (state, code) = (reader.u8("state")?, reader.u16("code")?);
        let (durable, received) = (reader.height("durable")?, reader.height("received")?);
        let hash = Some(reader.hash("received_hash")?).filter(|hash| *hash != Hash::ZERO);
        let limit = reader.height("limit")?;
        let position = Position { durable, received, hash, limit };
        let value = |field, got, expected| Err(ControlError::Value { field, got, expected });
        if durable > received || received > limit {
            return value("received", received.0, "durable to limit");
        }
        let state = match state {
            1 | 2 if code != 0 => return value("code", code.into(), "0 unless the chain is refused"),
            1 => EntryState::Speaker(position),
            2 => EntryState::Standby(position),
            3 if position != NOWHERE => return value("limit", limit.0, "0 of a chain that is refused"),
            3 => EntryState::Refused(decode_code(code)?),
            got => return value("state", got.into(), "1 (speaker), 2 (standby) or 3 (refused)"),
        };
        Ok(Self { chain, state })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        let (state, code, position) = match self.state {
            EntryState::Speaker(position) => (1, 0, position),
            EntryState::Standby(position) => (2, 0, position),
            EntryState::Refused(code) => (3, code.number(), NOWHERE),
        };
        writer.chain(self.chain);
        writer.u8(state);
        writer.u16(code);
        writer.u64(position.durable.0);
        writer.u64(position.received.0);
        writer.bytes(position.hash.unwrap_or(Hash::ZERO).as_bytes());
        writer.u64(position.limit.0);
    }
}

/// What stands in the entry of a chain that is refused.
const NOWHERE: Position = Position { durable: Height(0), received: Height(0), hash: None, limit: Height(0) };

impl Refused {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, ControlError> {
        let (chain, code) = (reader.chain()?, decode_code(reader.u16("code")?)?);
        let length = usize::from(reader.u16("detail length")?);
        let detail = reader.text("detail", length, MAX_DETAIL_BYTES, "at most 512 bytes")?;
        Ok(Self { chain, code, detail })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        assert!(self.detail.len() <= MAX_DETAIL_BYTES, "a detail has at most {MAX_DETAIL_BYTES} bytes");
        writer.chain(self.chain);
        writer.u16(self.code.number());
        writer.u16(self.detail.len() as u16);
        writer.bytes(self.detail.as_bytes());
    }
}

fn decode_acks(reader: &mut Reader<'_>) -> Result<Vec<Ack>, ControlError> {
    let count = reader.count("acks", ACK_BYTES)?;
    let mut acks: Vec<Ack> = Vec::with_capacity(count);
    for _ in 0..count {
        let chain = reader.chain()?;
        ascends(acks.last().map(|last| last.chain), chain)?;
        let (durable, limit) = (reader.height("durable")?, reader.height("limit")?);
        if durable > limit {
            let expected = "at most the limit";
            return Err(ControlError::Value { field: "durable", got: durable.0, expected });
        }
        acks.push(Ack { chain, durable, limit });
    }
    Ok(acks)
}

fn decode_tips(reader: &mut Reader<'_>) -> Result<Vec<Tip>, ControlError> {
    let count = reader.count("tips", TIP_BYTES)?;
    let mut tips: Vec<Tip> = Vec::with_capacity(count);
    for _ in 0..count {
        let chain = reader.chain()?;
        ascends(tips.last().map(|last| last.chain), chain)?;
        tips.push(Tip { chain, height: reader.height("height")? });
    }
    Ok(tips)
}

fn decode_code(number: u16) -> Result<RefusalCode, ControlError> {
    let unknown = || ControlError::Value {
        field: "code",
        got: number.into(),
        expected: "a code of docs/protocol.md, section Refusals",
    };
    RefusalCode::from_number(number.into()).ok_or_else(unknown)
}

fn ascends(previous: Option<ChainId>, chain: ChainId) -> Result<(), ControlError> {
    if previous.is_some_and(|previous| previous >= chain) {
        let expected = "a chain above the one before";
        return Err(ControlError::Value { field: "chain_id", got: chain.0.into(), expected });
    }
    Ok(())
}

/// Cuts a text to at most `most` bytes, between two characters.
pub(crate) fn shorten(mut text: String, most: usize) -> String {
    text.truncate(text.floor_char_boundary(most));
    text
}

#[cfg(test)]
mod tests;
