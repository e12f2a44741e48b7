//! Messages on a QUIC stream.

use quinn::{ReadError, ReadExactError, RecvStream};

use super::{ControlError, MESSAGE_HEADER_BYTES, Message, MessageHeader};

/// How much memory a body gets before any of its bytes is there; then as much as has come.
const BODY_STEP: usize = 64 << 10;

/// Why there is no message.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The bytes are no message.
    #[error(transparent)]
    Message(#[from] ControlError),
    /// The stream ended in the middle of a message.
    #[error("the control stream ended in the middle of a message")]
    Cut,
    /// The stream or its connection is gone.
    #[error(transparent)]
    Stream(#[from] ReadError),
}

/// The next message; `None` when the peer has finished the stream. `body` is memory that is used again.
///
/// # Errors
/// The stream is gone, or what it carries is no message of direction `M`.
pub async fn receive<M: Message>(
    stream: &mut RecvStream,
    body: &mut Vec<u8>,
) -> Result<Option<M>, ReceiveError> {
    let mut header = [0; MESSAGE_HEADER_BYTES];
    match stream.read_exact(&mut header).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let header = MessageHeader::parse::<M>(&header)?;
    body.clear();
    while body.len() < header.body_bytes {
        let from = body.len();
        body.resize(header.body_bytes.min((2 * from).max(BODY_STEP)), 0);
        stream.read_exact(&mut body[from..]).await?;
    }
    let message = M::decode(header.kind, body)?;
    if body.capacity() > BODY_STEP {
        body.clear();
        body.shrink_to(BODY_STEP);
    }
    Ok(Some(message))
}

impl From<ReadExactError> for ReceiveError {
    fn from(error: ReadExactError) -> Self {
        match error {
            ReadExactError::FinishedEarly(_) => Self::Cut,
            ReadExactError::ReadError(error) => Self::Stream(error),
        }
    }
}
