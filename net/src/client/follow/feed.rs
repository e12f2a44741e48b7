//! The link's part: asks for the main chain's blocks and reads them from their stream.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use engine::chain::{ChainId, Hash, Height, MainHeader};
use engine::proof::ChainProof;
use quinn::{Connection, RecvStream};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::worker::{Begin, Failure, Feed, Incoming};
use crate::client::backoff::Backoff;
use crate::client::shared::Shared;
use crate::client::{Disconnect, Event};
use crate::control::{Entry, EntryState, MainMessage, Welcome, receive};
use crate::reactor::{Either, Handle, race};

/// What a follower has to know of a connection.
#[derive(Debug)]
pub(in crate::client) struct Session {
    /// Number of the connection.
    number: u64,
    main_chain: ChainId,
    genesis_hash: Hash,
    head: Option<MainHeader>,
    chains: Vec<(ChainId, bool)>,
}

impl Session {
    pub(in crate::client) fn new(number: u64, welcome: &Welcome) -> Self {
        let served = |entry: &Entry| (entry.chain, !matches!(entry.state, EntryState::Refused(_)));
        Self {
            number,
            main_chain: welcome.main_chain,
            genesis_hash: welcome.genesis_hash,
            head: welcome.head.as_deref().copied(),
            chains: welcome.chains.iter().map(served).collect(),
        }
    }
}

/// Follows the main chain's blocks on a connection, if there is a sink for them. Ends with the connection, or to end
/// it.
pub(in crate::client) async fn follow(
    shared: &Shared,
    handle: &Handle,
    feed: Option<&Feed>,
    connection: &Connection,
    session: &Session,
) -> Result<Infallible, Disconnect> {
    let Some(feed) = feed else { return pending().await };
    let mut backoff = Backoff::new(shared.config.retry_min, shared.config.retry_max);
    let mut told = None;
    loop {
        let error = match stream(shared, feed, connection, session).await? {
            Pause::Failed { error, progress } => {
                if progress {
                    backoff.reset();
                }
                error
            }
            // It said so when it ended.
            Pause::NoFollower => return pending().await,
        };
        shared.change_follow(|follow| follow.error = Some(error.clone()));
        if told.as_ref() != Some(&error) {
            tracing::warn!(error, "the main chain's blocks cannot be followed");
            shared.tell(Event::FollowFailed { error: error.clone() });
            told = Some(error);
        }
        handle.sleep(backoff.pause()).await;
    }
}

/// Why a stream is over and the connection is not.
enum Pause {
    Failed {
        error: String,
        /// Whether a block has come on it.
        progress: bool,
    },
    NoFollower,
}

/// One stream of main blocks, from the question to its end.
async fn stream(
    shared: &Shared,
    feed: &Feed,
    connection: &Connection,
    session: &Session,
) -> Result<Pause, Disconnect> {
    let (answer, asked) = oneshot::channel();
    let (failed, failure) = oneshot::channel();
    let begin = Begin {
        main_chain: session.main_chain,
        genesis_hash: session.genesis_hash,
        head: session.head,
        chains: session.chains.clone(),
        answer,
        failed,
    };
    let Some(()) = feed.begin(begin) else { return Ok(Pause::NoFollower) };
    let mut progress = false;
    let next = match asked.await {
        Ok(Ok(next)) => next,
        Ok(Err(failure)) => return over(failure, progress),
        Err(_) => return Ok(Pause::NoFollower),
    };
    let from = next.unwrap_or(Height(0));
    shared.outbox.follow(session.number, from);
    let blocks = async {
        let mut stream = connection.accept_uni().await.map_err(|error| Disconnect::from(&error))?;
        read(shared, feed, &mut stream, &mut progress).await
    };
    match race(blocks, failure).await {
        Either::Left(end) => end,
        Either::Right(Ok(failure)) => over(failure, progress),
        Either::Right(Err(_)) => Ok(Pause::NoFollower),
    }
}

fn over(failure: Failure, progress: bool) -> Result<Pause, Disconnect> {
    match failure {
        Failure::Sink(error) => Ok(Pause::Failed { error, progress }),
        Failure::Stranger(text) => Err(Disconnect::lasting(text)),
        Failure::Contradiction(found) => Err(Disconnect::contradicted(found)),
    }
}

/// Reads blocks until their stream ends.
async fn read(
    shared: &Shared,
    feed: &Feed,
    stream: &mut RecvStream,
    progress: &mut bool,
) -> Result<Pause, Disconnect> {
    let strange = |what: String| {
        Disconnect::lasting(format!("the main chain breaks the protocol: stream of main blocks: {what}"))
    };
    let mut body = Vec::new();
    loop {
        let start = match receive(stream, &mut body).await {
            Ok(Some(MainMessage::Block(start))) => start,
            Ok(Some(MainMessage::Indexed(_))) => return Err(strange("chains without a block".into())),
            Ok(None) => return Ok(ended("the main chain ended the stream of its blocks", *progress)),
            Err(error) => return stopped(error, *progress),
        };
        let count = start.chains as usize;
        if count > shared.chains.len() {
            let ours = shared.chains.len();
            return Err(strange(format!("chains is {count}; expected at most {ours}, as this node has")));
        }
        // Until there is room nothing more is read, and at last the server has to wait.
        let room = Arc::clone(&feed.room).acquire_many_owned(1 + count as u32).await;
        let room: OwnedSemaphorePermit = room.expect("it is never closed");
        let mut proofs: Vec<ChainProof> = Vec::with_capacity(count);
        while proofs.len() < count {
            match receive(stream, &mut body).await {
                Ok(Some(MainMessage::Indexed(more))) if more.len() <= count - proofs.len() => {
                    proofs.extend(more);
                }
                Ok(Some(MainMessage::Indexed(_))) => return Err(strange("more chains than it said".into())),
                Ok(Some(MainMessage::Block(_))) => return Err(strange("fewer chains than it said".into())),
                Ok(None) => return Err(strange("it ends in the middle of a block".into())),
                Err(error) => return stopped(error, *progress),
            }
        }
        *progress = true;
        if feed.give(Incoming { header: start.header, proofs, _room: room }).is_none() {
            return Ok(Pause::NoFollower);
        }
    }
}

/// A stream that the server ends is asked for anew; bytes that are no message end the connection.
fn stopped(error: crate::control::ReceiveError, progress: bool) -> Result<Pause, Disconnect> {
    use crate::control::ReceiveError;
    match error {
        ReceiveError::Stream(quinn::ReadError::Reset(_)) => {
            Ok(ended("the main chain stopped the stream of its blocks", progress))
        }
        ReceiveError::Stream(_) => Err(Disconnect::from(error)),
        error => Err(Disconnect::lasting(format!(
            "the main chain breaks the protocol: stream of main blocks: {error}"
        ))),
    }
}

fn ended(text: &str, progress: bool) -> Pause {
    Pause::Failed { error: text.into(), progress }
}
