//! What tests of clients made by hand share.

use std::net::SocketAddr;
use std::time::Duration;

use engine::chain::{ChainId, Columns, Hash, Height};
use mainstem_net::client::Client;
use mainstem_net::control::{
    ClientMessage, EntryState, Hello, Message, RefusalCode, Refused, ServerMessage, Welcome, receive,
};
use mainstem_net::endpoint::{self, Bind, Limits};
use mainstem_net::frame::{FrameBuffer, FrameWriter, MAX_FRAME_BYTES};
use mainstem_net::reactor::{Handle, Reactor};
use quinn::{Connection, ConnectionError, RecvStream, SendStream};

use crate::support::*;

pub(crate) struct Raw {
    pub(crate) connection: Connection,
    pub(crate) send: SendStream,
    pub(crate) receive: RecvStream,
    pub(crate) data: Option<SendStream>,
    pub(crate) handle: Handle,
    _endpoint: quinn::Endpoint,
}

/// Runs a hand-made client against a main chain with the chains 1 to 4 of its node and another one, a lane limit of 64,
/// and chain 4 never durable.
pub(crate) fn with_raw<F>(
    set: impl FnOnce(&mut mainstem_net::server::ServerConfig),
    client: impl FnOnce(Raw) -> F,
) -> Main
where
    F: Future<Output = ()> + Send + 'static,
{
    with_raw_and(set, |_| (), client)
}

/// The same, with a look at the main chain before the client connects.
pub(crate) fn with_raw_and<F>(
    set: impl FnOnce(&mut mainstem_net::server::ServerConfig),
    look: impl FnOnce(&Main),
    client: impl FnOnce(Raw) -> F,
) -> Main
where
    F: Future<Output = ()> + Send + 'static,
{
    let node = identity(1);
    let sides: Vec<_> = (1..=4).map(|id| side(id, &[&node, &identity(2)])).collect();
    let main = Main::start_with(&sides, 64, Stored::default(), set);
    main.hold(ChainId(4));
    look(&main);
    let reactor = Reactor::spawn_thread("raw").unwrap();
    let (handle, server) = (reactor.handle(), main.addr());
    let connect = async move {
        // Small, so that not to read is soon felt on the other side.
        let limits = Limits { stream_window_bytes: 16 << 10, ..Limits::default() };
        let quic = endpoint::client_config(&node, server_identity().public(), &limits).unwrap();
        Raw::connect(handle, server, quic).await.unwrap()
    };
    let raw = reactor.handle().block_on(connect).unwrap();
    let limit = reactor.handle();
    let client = client(raw);
    reactor
        .handle()
        .block_on(async move { limit.timeout(Duration::from_secs(30), client).await })
        .expect("the client's assertions hold")
        .expect("it does not hang");
    main
}

impl Raw {
    /// Connects from an address of its own and opens a control stream.
    pub(crate) async fn connect(
        handle: Handle,
        server: SocketAddr,
        quic: quinn::ClientConfig,
    ) -> Result<Self, ConnectionError> {
        // The key of an endpoint is for its own secrets only.
        let bind = Bind::new(([127, 0, 0, 1], 0).into());
        let endpoint = endpoint::open(&handle, &bind, &identity(1), None).unwrap();
        let connection = endpoint::connect(&endpoint, quic, server).unwrap().await?;
        let (send, receive) = connection.open_bi().await?;
        Ok(Self { connection, send, receive, data: None, handle, _endpoint: endpoint })
    }

    pub(crate) async fn say(&mut self, message: &ClientMessage) {
        let mut out = Vec::new();
        message.encode(&mut out);
        self.send.write_all(&out).await.unwrap();
    }

    pub(crate) async fn hello(&mut self, chains: &[u32]) -> Welcome {
        let chains = chains.iter().copied().map(ChainId).collect();
        self.say(&ClientMessage::Hello(Hello { software: "raw".into(), chains })).await;
        match self.hear().await {
            ServerMessage::Welcome(welcome) => welcome,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn hear(&mut self) -> ServerMessage {
        receive(&mut self.receive, &mut Vec::new()).await.unwrap().unwrap()
    }

    /// The next refusal, whatever acks and headers come before it.
    pub(crate) async fn refused(&mut self) -> Refused {
        loop {
            match self.hear().await {
                ServerMessage::Refused(refused) => return refused,
                ServerMessage::Ack(_) | ServerMessage::Header(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) async fn position(&mut self) -> EntryState {
        loop {
            match self.hear().await {
                ServerMessage::Position(entry) => return entry.state,
                ServerMessage::Ack(_) | ServerMessage::Header(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Waits until `chain` is acked up to `height`.
    pub(crate) async fn acked(&mut self, chain: u32, height: u64) {
        loop {
            match self.hear().await {
                ServerMessage::Ack(acks) => {
                    let ack = acks.iter().find(|ack| ack.chain == ChainId(chain));
                    if ack.is_some_and(|ack| ack.durable >= Height(height)) {
                        return;
                    }
                }
                ServerMessage::Header(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        assert!(self.try_send(bytes).await, "the connection is closed");
    }

    /// Whether there is still a connection to send on.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        if self.data.is_none() {
            let Ok(stream) = self.connection.open_uni().await else { return false };
            self.data = Some(stream);
        }
        self.data.as_mut().unwrap().write_all(bytes).await.is_ok()
    }

    /// The other node of the chains, with a client of ours.
    pub(crate) fn other_node(&self, chains: &[u32], made: u64) -> (Other, Told) {
        let config = client_config(self.connection.remote_address(), &identity(2));
        let (client, told) = start(config, &World::new(chains, made));
        (Other(Some(client)), told)
    }

    /// Waits, and lets the connection live meanwhile.
    pub(crate) async fn until(&self, mut holds: impl FnMut() -> bool) {
        while !holds() {
            self.handle.sleep(Duration::from_millis(2)).await;
        }
    }

    /// How the server closed the connection.
    pub(crate) async fn closed(&self) -> (RefusalCode, String) {
        match self.connection.closed().await {
            ConnectionError::ApplicationClosed(close) => {
                let code = RefusalCode::from_number(close.error_code.into_inner());
                (code.expect("one of the codes"), String::from_utf8(close.reason.to_vec()).unwrap())
            }
            other => panic!("{other}"),
        }
    }
}

/// A client that can be dropped on a reactor, where it may not wait for its end.
pub(crate) struct Other(pub(crate) Option<Client>);

impl Drop for Other {
    fn drop(&mut self) {
        let client = self.0.take();
        std::thread::spawn(move || drop(client));
    }
}

pub(crate) struct Section {
    pub(crate) chain: u32,
    pub(crate) first: u64,
    pub(crate) parent: Hash,
    pub(crate) blocks: Columns,
}

pub(crate) fn section(chain: u32, first: u64, count: u64) -> Section {
    let id = ChainId(chain);
    Section { chain, first, parent: parent_of(id, first), blocks: blocks(id, first, count) }
}

pub(crate) fn frame(sections: &[Section]) -> Vec<u8> {
    let mut writer = FrameWriter::new(FrameBuffer::default(), MAX_FRAME_BYTES);
    for Section { chain, first, parent, blocks } in sections {
        writer.push(ChainId(*chain), Height(*first), *parent, blocks.as_ref());
    }
    writer.finish().as_bytes().to_vec()
}
