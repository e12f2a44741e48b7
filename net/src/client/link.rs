//! The link: keeps a connection to the main chain, and speaks on it.

use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use crossbeam::queue::ArrayQueue;
use engine::chain::ChainId;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use tokio::sync::{Mutex, mpsc};

use super::answer::{self, Desk};
use super::backoff::Backoff;
use super::follow::{Feed, Session, follow};
use super::lookup::{resolve, watch};
use super::shared::{News, Shared, Stopping, Welcomed, connected};
use super::status::Disconnect;
use super::{ConnectionState, Event};
use crate::control::{
    Ack, CLOSE_DONE, ClientMessage, EntryState, Hello, Message, ReceiveError, ServerMessage, Welcome, receive,
};
use crate::endpoint::{self, Bind};
use crate::frame::FrameBuffer;
use crate::reactor::{Either, Handle, race};

/// Frames that wait before a data stream: one is written while the next is built.
const FRAMES_AHEAD: usize = 2;

/// The most addresses of a name that are tried.
const MAX_ADDRESSES: usize = 8;

/// How long the first attempt to connect may take; each one that fails doubles it. Short, because a server that is
/// only just starting again does not answer to what came before: a new attempt finds it sooner than a long one.
const FIRST_ATTEMPT: Duration = Duration::from_millis(500);

/// How long a good-bye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// Connects again and again until the client stops.
pub(super) async fn run(
    shared: Arc<Shared>,
    handle: Handle,
    quic: quinn::ClientConfig,
    feed: Option<Feed>,
    desk: Option<Desk>,
) {
    let config = &shared.config;
    let mut backoff = Backoff::new(config.retry_min, config.retry_max);
    let attempt = FIRST_ATTEMPT.min(config.connect_timeout);
    let mut link = Link { shared: &shared, handle: &handle, quic, feed, desk, endpoint: None, attempt };
    let end = loop {
        if shared.stopping() == Stopping::Now {
            break "stopped".to_owned();
        }
        let chains = shared.running();
        if chains.is_empty() {
            break "every chain has stopped".to_owned();
        }
        shared.set_connection(ConnectionState::Connecting);
        let reason = match race(shared.stop.notified(), Box::pin(link.live(chains))).await {
            Either::Right(reason) => reason,
            Either::Left(()) => continue,
        };
        {
            let mut inbox = shared.inbox();
            *inbox = super::shared::Inbox { lost: true, ..Default::default() };
        }
        shared.bell.ring();
        if reason.lasting && config.give_up_on_refusal {
            let text = reason.to_string();
            shared.tell(Event::Disconnected { reason, retry_in: None });
            break text;
        }
        if let ConnectionState::Connected { since, .. } = shared.connection()
            && since.elapsed() > config.retry_max
        {
            // It was fine for a while.
            backoff.reset();
        }
        let pause = if reason.lasting { backoff.longest() } else { backoff.pause() };
        tracing::info!(server = config.server, %reason, ?pause, "not connected");
        shared.tell(Event::Disconnected { reason: reason.clone(), retry_in: Some(pause) });
        shared.set_connection(ConnectionState::Waiting { reason });
        // Either way it is seen above.
        race(shared.stop.notified(), handle.sleep(pause)).await;
    };
    shared.set_connection(ConnectionState::Stopped { reason: end });
    link.close().await;
}

struct Link<'a> {
    shared: &'a Arc<Shared>,
    handle: &'a Handle,
    quic: quinn::ClientConfig,
    /// Whom the main chain's blocks go to.
    feed: Option<Feed>,
    /// Who answers its questions.
    desk: Option<Desk>,
    /// Opened for the family of addresses that was needed last.
    endpoint: Option<Endpoint>,
    /// How long the next attempt to connect may take.
    attempt: Duration,
}

impl Link<'_> {
    /// One connection, from the look-up of the name to its end.
    async fn live(&mut self, chains: Vec<ChainId>) -> Disconnect {
        match self.connect().await {
            Ok(connection) => {
                let Err(reason) = self.speak(&connection, chains).await;
                connection.close(CLOSE_DONE, b"");
                reason
            }
            Err(reason) => reason,
        }
    }

    async fn connect(&mut self) -> Result<Connection, Disconnect> {
        let config = &self.shared.config;
        let server = &config.server;
        let addresses = self
            .handle
            .timeout(config.connect_timeout, resolve(config))
            .await
            .map_err(|_| Disconnect::passing(format!("{server} is still being looked up")))?
            .map_err(|error| Disconnect::passing(format!("{server} cannot be looked up: {error}")))?;
        let (mut last, mut silent) = (Disconnect::passing(format!("{server} has no address")), false);
        for address in addresses.into_iter().take(MAX_ADDRESSES) {
            match self.connect_to(address).await {
                Ok(connection) => {
                    self.attempt = FIRST_ATTEMPT.min(config.connect_timeout);
                    return Ok(connection);
                }
                Err(Attempt::Silent) => {
                    silent = true;
                    if !last.lasting {
                        last = Disconnect::passing(format!("{address} does not answer"));
                    }
                }
                Err(Attempt::Failed(reason)) => last = reason,
            }
        }
        if silent {
            // Longer for all of them alike, the next time.
            self.attempt = (self.attempt * 2).min(config.connect_timeout);
        }
        Err(last)
    }

    async fn connect_to(&mut self, address: SocketAddr) -> Result<Connection, Attempt> {
        let endpoint = self.endpoint_for(address).map_err(Attempt::Failed)?;
        let connecting = endpoint::connect(&endpoint, self.quic.clone(), address).map_err(|error| {
            // It may be the endpoint that is lost: the next attempt opens another one.
            self.endpoint = None;
            Attempt::Failed(Disconnect::passing(format!("cannot connect to {address}: {error}")))
        })?;
        match self.handle.timeout(self.attempt, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(quinn::ConnectionError::TimedOut)) | Err(_) => Err(Attempt::Silent),
            Ok(Err(error)) => Err(Attempt::Failed(Disconnect::from(&error))),
        }
    }

    fn endpoint_for(&mut self, address: SocketAddr) -> Result<Endpoint, Disconnect> {
        let fits = |endpoint: &&Endpoint| {
            endpoint.local_addr().is_ok_and(|local| local.is_ipv6() == address.is_ipv6())
        };
        if let Some(endpoint) = self.endpoint.as_ref().filter(fits) {
            return Ok(endpoint.clone());
        }
        let any = match address {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let endpoint = endpoint::open(self.handle, &Bind::new(any), &self.shared.config.identity, None)
            .map_err(|error| Disconnect::passing(error.to_string()))?;
        self.endpoint = Some(endpoint.clone());
        Ok(endpoint)
    }

    /// Hello, welcome, and then whatever comes, until it ends.
    async fn speak(&self, connection: &Connection, chains: Vec<ChainId>) -> Result<Infallible, Disconnect> {
        let (shared, limit) = (self.shared, self.shared.config.connect_timeout);
        let (mut send, mut stream, welcome) = self
            .handle
            .timeout(limit, greet(shared, connection, chains.clone()))
            .await
            .map_err(|_| Disconnect::passing(format!("no welcome within {limit:?}")))??;
        if !welcome.chains.iter().map(|entry| entry.chain).eq(chains) {
            return Err(Disconnect::passing(
                "the main chain breaks the protocol: its welcome is of other chains",
            ));
        }
        // Relaxed: a figure, and a number that no other connection of this client has.
        let number = shared.totals.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let session = Session::new(number, &welcome);
        self.begin(connection, number, welcome);
        let talk = race(self.listen(&mut stream), self.say(&mut send, connection));
        let follow = follow(shared, self.handle, self.feed.as_ref(), connection, &session);
        let answer = answer::take(shared, self.handle, self.desk.as_ref(), connection);
        let aside = race(answer, watch(&shared.config, self.handle, connection));
        match race(talk, race(follow, aside)).await {
            Either::Left(Either::Left(end) | Either::Right(end))
            | Either::Right(Either::Left(end) | Either::Right(Either::Left(end) | Either::Right(end))) => end,
        }
    }

    fn begin(&self, connection: &Connection, number: u64, welcome: Welcome) {
        let shared = self.shared;
        for entry in &welcome.chains {
            if let (EntryState::Speaker(position) | EntryState::Standby(position), Some(place)) =
                (entry.state, shared.find(entry.chain))
            {
                shared.chains[place].set_position(&position);
            }
        }
        shared.set_main(welcome.main_chain, welcome.genesis_hash);
        shared.outbox.begin(number);
        let turn = Arc::new(Mutex::new(()));
        let streams = (0..shared.config.data_streams).map(|_| {
            let (sender, frames) = mpsc::channel(FRAMES_AHEAD);
            let turn = Arc::clone(&turn);
            self.handle.spawn(write_frames(Arc::clone(shared), connection.clone(), frames, turn));
            sender
        });
        let streams = streams.collect();
        {
            let mut inbox = shared.inbox();
            inbox.news.clear();
            inbox.welcome = Some(Welcomed { connection: number, chains: welcome.chains, streams });
        }
        shared.bell.ring();
        let address = connection.remote_address();
        tracing::info!(server = %address, main_chain = %welcome.main_chain, "connected");
        shared.set_connection(connected(address));
        shared.tell(Event::Connected { address, main_chain: welcome.main_chain });
        if let Some(head) = welcome.head {
            shared.set_head(*head);
        }
    }

    /// Reads the control stream.
    async fn listen(&self, stream: &mut RecvStream) -> Result<Infallible, Disconnect> {
        let shared = self.shared;
        let strange = |what| Disconnect::passing(format!("the main chain breaks the protocol: {what}"));
        let mut body = Vec::new();
        loop {
            let message = receive(stream, &mut body).await?;
            match message.ok_or_else(|| strange("it ended the control stream"))? {
                ServerMessage::Ack(acks) => {
                    credit(shared, &acks).ok_or_else(|| strange("an ack of a chain that is not ours"))?;
                }
                ServerMessage::Header(header) => shared.set_head(*header),
                ServerMessage::Refused(refused) => {
                    let place = shared.find(refused.chain);
                    let place = place.ok_or_else(|| strange("a refusal of a chain that is not ours"))?;
                    shared.post(
                        place,
                        News::Refused { code: refused.code, text: refused.detail, answered: false },
                    );
                }
                ServerMessage::Position(entry) => {
                    let place = shared.find(entry.chain);
                    let place = place.ok_or_else(|| strange("a position of a chain that is not ours"))?;
                    if let EntryState::Speaker(position) | EntryState::Standby(position) = entry.state {
                        shared.chains[place].set_position(&position);
                    }
                    shared.post(place, News::Position(entry));
                }
                ServerMessage::Welcome(_) => return Err(strange("a second welcome")),
            }
        }
    }

    /// Writes what the pump has to say.
    async fn say(&self, stream: &mut SendStream, connection: &Connection) -> Result<Infallible, Disconnect> {
        let mut out = Vec::new();
        loop {
            for message in self.shared.outbox.take().await {
                message.encode(&mut out);
            }
            if stream.write_all(&out).await.is_err() {
                return Err(Disconnect::from(&connection.closed().await));
            }
            out.clear();
        }
    }

    async fn close(&mut self) {
        if let Some(endpoint) = self.endpoint.take() {
            endpoint.close(CLOSE_DONE, b"done");
            // Too late or not: it ends here.
            let _ = self.handle.timeout(GOODBYE, endpoint.wait_idle()).await;
        }
    }
}

/// Why there is no connection to one address.
enum Attempt {
    Silent,
    Failed(Disconnect),
}

async fn greet(
    shared: &Shared,
    connection: &Connection,
    chains: Vec<ChainId>,
) -> Result<(SendStream, RecvStream, Welcome), Disconnect> {
    let (mut send, mut stream) = connection.open_bi().await.map_err(|error| Disconnect::from(&error))?;
    let mut out = Vec::new();
    ClientMessage::Hello(Hello { software: shared.config.software.clone(), chains }).encode(&mut out);
    if send.write_all(&out).await.is_err() {
        // Why, the connection knows: in TLS 1.3 a server's refusal of a key comes only now.
        return Err(Disconnect::from(&connection.closed().await));
    }
    let message = match receive(&mut stream, &mut Vec::new()).await {
        Ok(message) => message,
        Err(ReceiveError::Stream(quinn::ReadError::ConnectionLost(error))) => {
            return Err(Disconnect::from(&error));
        }
        Err(error) => return Err(Disconnect::from(error)),
    };
    match message {
        Some(ServerMessage::Welcome(welcome)) => Ok((send, stream, welcome)),
        _ => Err(Disconnect::passing("the main chain breaks the protocol: no welcome to the hello")),
    }
}

/// Writes the frames of one data stream, until the connection or the pump is gone.
async fn write_frames(
    shared: Arc<Shared>,
    connection: Connection,
    frames: mpsc::Receiver<FrameBuffer>,
    turn: Arc<Mutex<()>>,
) {
    if let Err(error) = write_stream(&shared, &connection, frames, &turn).await {
        // Mostly the connection is gone, and this changes nothing. If only the stream is, its chains would be stuck on
        // a connection that looks alive: a new one puts all right.
        tracing::debug!(%error, "a data stream ended");
        connection.close(CLOSE_DONE, b"a data stream was stopped");
    }
}

async fn write_stream(
    shared: &Shared,
    connection: &Connection,
    mut frames: mpsc::Receiver<FrameBuffer>,
    turn: &Mutex<()>,
) -> Result<(), quinn::WriteError> {
    // Opened with its first frame: a stream is no stream before something is on it.
    let Some(mut frame) = frames.recv().await else { return Ok(()) };
    let mut stream = connection.open_uni().await?;
    loop {
        shared.bell.ring();
        let home = Arc::clone(&shared.spare);
        {
            // One frame at a time, whichever stream it is on: of many that are half there the server may have no memory
            // for any, while their bytes use up the credit that one of them needs to become whole.
            let _turn = turn.lock().await;
            stream.write_chunk(Bytes::from_owner(Lent { frame, home })).await?;
        }
        let Some(next) = frames.recv().await else { break };
        frame = next;
    }
    // The pump is done with this connection.
    let _ = stream.finish();
    Ok(())
}

/// A frame that QUIC still needs, to send it again if it must; then its memory comes back.
struct Lent {
    frame: FrameBuffer,
    home: Arc<ArrayQueue<FrameBuffer>>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.frame.as_bytes()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Full: there are enough of them.
        drop(self.home.push(std::mem::take(&mut self.frame)));
    }
}

/// Notes what an ack says; `None` if it names a chain that is not ours. Both ascend, so this is one walk.
fn credit(shared: &Shared, acks: &[Ack]) -> Option<()> {
    let mut cells = shared.chains.iter();
    for ack in acks {
        let cell = cells.find(|cell| cell.chain == ack.chain)?;
        cell.set_credit(ack.durable, ack.limit);
    }
    shared.bell.ring();
    Some(())
}
