//! What the fuzz targets do with an input: read it as a peer's bytes. Nothing may panic or take more memory than its
//! greatest length allows, and what is accepted is canonical: written again it gives the same bytes.
//!
//! The first byte of an input says how the rest is to be taken. Bytes that are merely changed stop at a frame's
//! checksum or at a length; to get behind, an input can have these mended, as any peer can do.

#![forbid(unsafe_code)]

pub mod recipe;

use std::fmt::Debug;

use net::control::{ClientMessage, MESSAGE_HEADER_BYTES, MainMessage, Message, MessageHeader, ServerMessage};
use net::frame::{Frame, FrameBuffer, FrameError, FrameHeader, FrameWriter, HEADER_BYTES, MAX_FRAME_BYTES};

/// The rest of the input is a recipe, see [`recipe`]; else it is the bytes themselves.
pub const RECIPE: u8 = 1;
/// The length in the header is mended: that of what is there.
pub const LENGTH: u8 = 2;
/// The checksum in the header is mended.
pub const CHECKSUM: u8 = 4;
/// The recipe may make a frame of the greatest length, which takes a while: for the few seeds that need it. Any other bit
/// beside it takes it back, so that most of what is tried is quick.
pub const LONG: u8 = 8;

/// The longest text of an error: it goes into a log, and into the reason of a close.
const MAX_ERROR_BYTES: usize = 512;

/// Reads a frame as a data stream does: its header first.
pub fn frame(input: &[u8]) {
    let Some((mode, rest)) = input.split_first() else { return };
    let most = if mode & !7 == LONG { recipe::LONG_BYTES } else { recipe::SHORT_BYTES };
    let mut bytes = if mode & RECIPE != 0 { recipe::frame(rest, most) } else { rest.to_vec() };
    if let Some((header, body)) = bytes.split_at_mut_checked(HEADER_BYTES) {
        if mode & LENGTH != 0 {
            header[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
        }
        if mode & CHECKSUM != 0 {
            header[8..].copy_from_slice(&xxhash_rust::xxh3::xxh3_64(body).to_le_bytes());
        }
    }
    read_frame(&bytes);
}

fn read_frame(bytes: &[u8]) {
    let whole = Frame::parse(bytes);
    match bytes.first_chunk().map(FrameHeader::parse) {
        None => assert!(matches!(whole, Err(FrameError::Incomplete { .. })), "{whole:?}"),
        Some(Err(error)) => assert_eq!(whole.err(), Some(error), "a header is bad wherever it is read"),
        Some(Ok(header)) => {
            assert!(header.frame_bytes() <= MAX_FRAME_BYTES, "{header:?}");
            assert_eq!(header.frame_bytes(), HEADER_BYTES + header.body_bytes());
            let complete = header.frame_bytes() == bytes.len();
            assert_eq!(!complete, matches!(whole, Err(FrameError::Incomplete { .. })), "{whole:?}");
        }
    }
    // Where a frame lies is of no account: in a buffer, as bytes come, or anywhere.
    let mut buffer = FrameBuffer::default();
    for piece in bytes.chunks(bytes.len() / 2 + 1) {
        buffer.extend(piece);
    }
    let shifted = [&[0], bytes].concat();
    for other in [Frame::parse(buffer.as_bytes()), Frame::parse(&shifted[1..])] {
        assert_eq!(other.err(), whole.err());
    }
    match whole {
        Ok(frame) => write_again(&frame, bytes),
        Err(error) => assert!(error.to_string().len() <= MAX_ERROR_BYTES, "{error}"),
    }
}

fn write_again(frame: &Frame<'_>, bytes: &[u8]) {
    let mut writer = FrameWriter::new(FrameBuffer::default(), MAX_FRAME_BYTES);
    assert_eq!(frame.sections().len(), frame.section_count());
    for section in frame.sections() {
        // Panics if the columns differ in length, do not fit, or go beyond the greatest height.
        writer.push(section.chain, section.first, section.parent, section.columns);
    }
    assert!(writer.finish().as_bytes() == bytes, "a frame was accepted that no writer makes");
}

/// Reads messages of a client.
pub fn client_message(input: &[u8]) {
    messages::<ClientMessage>(input);
}

/// Reads messages of a server.
pub fn server_message(input: &[u8]) {
    messages::<ServerMessage>(input);
}

/// Reads messages of the stream of main blocks. What they prove is checked as well: any path, against any header.
pub fn main_message(input: &[u8]) {
    let mut header = None;
    for message in messages::<MainMessage>(input) {
        match message {
            MainMessage::Block(start) => header = Some(start.header),
            MainMessage::Indexed(proofs) => {
                for proof in header.iter().flat_map(|header| proofs.iter().map(move |proof| (proof, header)))
                {
                    let (proof, header) = proof;
                    // A hash cannot be found by chance, but the zero root of a block without chains is no secret.
                    let proven = proof.verify(header).is_ok();
                    assert!(!proven || proof.index < header.chain_count, "{proof:?} of {header:?}");
                }
            }
        }
    }
}

/// Reads one message after the other, as a session does: each header first, then its body. With [`LENGTH`] there is
/// one message only.
fn messages<M: Message + PartialEq + Debug>(input: &[u8]) -> Vec<M> {
    let mut read = Vec::new();
    let Some((mode, rest)) = input.split_first() else { return read };
    let mut bytes = rest.to_vec();
    if mode & LENGTH != 0
        && let Some(body) = bytes.len().checked_sub(MESSAGE_HEADER_BYTES)
    {
        bytes[1..MESSAGE_HEADER_BYTES].copy_from_slice(&(body as u32).to_le_bytes());
    }
    let mut rest = &bytes[..];
    while let Some((header, after)) = rest.split_first_chunk() {
        let message = MessageHeader::parse::<M>(header).and_then(|header| {
            let body = after.split_at_checked(header.body_bytes);
            body.map(|(body, after)| Ok((M::decode(header.kind, body)?, after))).transpose()
        });
        match message {
            Ok(Some((message, after))) => {
                let mut written = Vec::new();
                message.encode(&mut written);
                assert!(written == rest[..rest.len() - after.len()], "{message:?} is not what was read");
                read.push(message);
                rest = after;
            }
            Ok(None) => break,
            Err(error) => {
                assert!(error.to_string().len() <= MAX_ERROR_BYTES, "{error}");
                break;
            }
        }
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_makes_a_frame_that_is_accepted() {
        let plan = recipe::Plan { chain: 7, sections: 2, count: 3, first: 5 };
        let bytes = recipe::frame(
            &recipe::write(&[plan, recipe::Plan { chain: 9, ..plan }], &[]),
            recipe::SHORT_BYTES,
        );
        assert_eq!(Frame::parse(&bytes).unwrap().section_count(), 4);
    }
}
