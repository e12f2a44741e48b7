//! A node that contradicts itself, by hand: no client of ours would.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use engine::chain::{ChainId, Columns, Hash, Height, NodeKey, Timestamp};
use net::control::{
    ClientMessage, Entry, EntryState, Hello, Message, RefusalCode, Resume, ServerMessage, receive,
};
use net::endpoint::{self, Bind, Limits};
use net::frame::{FrameBuffer, FrameWriter, MAX_FRAME_BYTES};
use net::identity::Identity;
use net::reactor::Reactor;
use quinn::{RecvStream, SendStream};

/// The last height that is sent.
const LAST: u64 = 4;

/// Who lies, to whom, and about what.
pub(crate) struct Liar<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) server: SocketAddr,
    pub(crate) server_key: NodeKey,
    /// A chain of which nothing was sent yet.
    pub(crate) chain: ChainId,
}

impl Liar<'_> {
    /// Sends four blocks of the chain, and then `times` other ones for three of their heights. Each has to be refused.
    pub(crate) fn contradict(&self, times: u64) -> Result<(), Box<dyn Error + Send + Sync>> {
        let reactor = Reactor::spawn_thread("liar")?;
        let (handle, limit) = (reactor.handle(), reactor.handle());
        let quic = endpoint::client_config(self.identity, self.server_key, &Limits::default())?;
        let bind = Bind::new(([127, 0, 0, 1], 0).into());
        let endpoint = endpoint::open(&handle, &bind, self.identity, None)?;
        let (server, chain) = (self.server, self.chain);
        let lies = async move {
            let connection = endpoint::connect(&endpoint, quic, server)?.await?;
            let (send, receive) = connection.open_bi().await?;
            let mut control = Control { send, receive };
            control
                .say(&ClientMessage::Hello(Hello { software: "liar 1".into(), chains: vec![chain] }))
                .await?;
            let mut data = connection.open_uni().await?;
            data.write_all(&frame(chain, 1, false)).await?;
            for frames in 2..2 + times {
                data.write_all(&frame(chain, 2, true)).await?;
                control.refused().await?;
                control.say(&ClientMessage::Resume(Resume { chain, frames })).await?;
                let speaks = matches!(control.position().await?.state, EntryState::Speaker(_));
                // The last time it may be barred already.
                if !speaks && frames < 1 + times {
                    return Err(format!("barred after {} contradictions", frames - 1).into());
                }
            }
            connection.close(0_u8.into(), b"that was all");
            endpoint.wait_idle().await;
            Ok(())
        };
        handle.block_on(async move { limit.timeout(Duration::from_secs(60), lies).await })??
    }
}

/// The stream of messages.
struct Control {
    send: SendStream,
    receive: RecvStream,
}

impl Control {
    async fn say(&mut self, message: &ClientMessage) -> Result<(), Box<dyn Error + Send + Sync>> {
        let mut out = Vec::new();
        message.encode(&mut out);
        Ok(self.send.write_all(&out).await?)
    }

    async fn hear(&mut self) -> Result<ServerMessage, Box<dyn Error + Send + Sync>> {
        Ok(receive(&mut self.receive, &mut Vec::new()).await?.ok_or("the server hung up")?)
    }

    /// Waits for the refusal that a contradiction has.
    async fn refused(&mut self) -> Result<(), Box<dyn Error + Send + Sync>> {
        loop {
            match self.hear().await? {
                ServerMessage::Refused(refused) if refused.code == RefusalCode::Conflict => return Ok(()),
                ServerMessage::Refused(refused) => return Err(format!("{refused:?}").into()),
                _ => {}
            }
        }
    }

    async fn position(&mut self) -> Result<Entry, Box<dyn Error + Send + Sync>> {
        loop {
            if let ServerMessage::Position(entry) = self.hear().await? {
                return Ok(entry);
            }
        }
    }
}

/// The blocks from `first` to [`LAST`] of a chain, or other ones.
fn frame(chain: ChainId, first: u64, lie: bool) -> Vec<u8> {
    let hash = |height: u64| Hash([height as u8; 32]);
    let mut blocks = Columns::default();
    for height in first..=LAST {
        let hash = if lie { Hash([0xee; 32]) } else { hash(height) };
        blocks.push(hash, Hash::ZERO, Timestamp::from_millis(height));
    }
    let mut writer = FrameWriter::new(FrameBuffer::default(), MAX_FRAME_BYTES);
    let parent = if first == 1 { Hash::ZERO } else { hash(first - 1) };
    writer.push(chain, Height(first), parent, blocks.as_ref());
    writer.finish().as_bytes().to_vec()
}
