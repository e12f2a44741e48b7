//! `GET /v1/events`: what happens, as server-sent events (WHATWG HTML, section 9.2).
//!
//! Each stream has a task that looks at what is new when it is woken, and writes it as far as the client reads. Nothing is
//! kept for a client that is slow: main blocks are read from the log when they are told, of what is older than 256 main
//! blocks the stream leaves out the oldest, and who takes nothing for 10 s is left. Of a chain that changes several times
//! before it is its turn, only the last status is told.
//!
//! # Capacity
//! `api.max_streams`, each with at most four chunks of about 64 KiB, and the ids of the chains whose turn it will be.

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use engine::chain::{BlockView, ChainId, Height};
use engine::pipeline::Head;
use engine::store::BlockReader;
use hyper::body::Frame;
use rest::{HeadEvent, Topic};
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use super::heads::Slot;
use super::params;
use super::problem::Problem;
use super::routes::{Answer, Node};
use crate::listen::Stopped;
use crate::watch::Changed;

/// How long a stream lives: less than its connection may.
const MAX_AGE: Duration = Duration::from_secs(240);

/// After so much silence it says that it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Who takes nothing for so long is left.
const SLOW: Duration = Duration::from_secs(10);

/// How often the figures are told.
const PACE: Duration = Duration::from_secs(1);

/// Chains that change are told in turns: so many of them, so often. Together 200 a second.
const CHAINS: usize = 20;
const TURN: Duration = Duration::from_millis(100);

/// Most main blocks that are told after the fact.
const MOST_MISSED: u64 = 256;

/// About so much is written at a time.
const CHUNK: usize = 48 << 10;

/// The routes of this file. A stream outlives the time that others have for their answer.
pub(super) fn routes<R: BlockReader>() -> Router<Arc<Node<R>>> {
    Router::new().route("/v1/events", get(events::<R>))
}

async fn events<R: BlockReader>(
    State(node): State<Arc<Node<R>>>,
    stopped: Option<Extension<Stopped>>,
    uri: Uri,
    headers: HeaderMap,
) -> Answer<Response> {
    let topics = topics(&uri)?;
    let seen = last_seen(&headers);
    let slot = node.heads.slot()?;
    let (out, chunks) = mpsc::channel(4);
    let heads = node.heads.watch();
    // The newest one comes at once, so that nobody has to ask for it elsewhere.
    let newest = heads.borrow().map_or(Height(1), |head| head.header.height);
    let next = seen.map_or(newest, |seen| Height(seen.0.saturating_add(1)).min(newest));
    let changes = node.board.subscribe();
    let stream = Stream { node, topics, heads, next, changes, waiting: Waiting::default(), out, _slot: slot };
    // Without a server around it nobody stops it but its client.
    tokio::spawn(stream.run(stopped.map(|Extension(stopped)| stopped)));
    let mut response = Response::new(Body::new(Chunks(chunks)));
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // Proxies that collect answers would hold events back.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// The parameter `topics`; all of them without it.
fn topics(uri: &Uri) -> Answer<Vec<Topic>> {
    let mut topics = Topic::ALL.to_vec();
    for (_, value) in params::query(uri, &["topics"])? {
        let read = |name: &str| name.parse().map_err(|why: String| Problem::parameter("topics", name, why));
        topics = value.split(',').map(read).collect::<Answer<_>>()?;
    }
    Ok(topics)
}

/// The height of the last main block that the client has heard of.
fn last_seen(headers: &HeaderMap) -> Option<Height> {
    let id = headers.get("last-event-id")?.to_str().ok()?;
    // An id that is none of ours says nothing. It is not refused: a browser would never ask again.
    params::digits(id).map(Height)
}

/// One stream.
struct Stream<R> {
    node: Arc<Node<R>>,
    topics: Vec<Topic>,
    heads: watch::Receiver<Option<Head>>,
    /// The next main block to tell of.
    next: Height,
    changes: broadcast::Receiver<Arc<Changed>>,
    /// The chains whose turn it will be.
    waiting: Waiting,
    out: mpsc::Sender<Bytes>,
    _slot: Slot,
}

/// Each once, in the order in which they first changed.
#[derive(Default)]
struct Waiting {
    turns: VecDeque<ChainId>,
    known: HashSet<ChainId>,
}

impl Waiting {
    fn add(&mut self, chain: ChainId) {
        if self.known.insert(chain) {
            self.turns.push_back(chain);
        }
    }

    fn next(&mut self) -> Option<ChainId> {
        let chain = self.turns.pop_front()?;
        self.known.remove(&chain);
        Some(chain)
    }
}

/// Why a stream is over.
enum Over {
    /// With a last word.
    Ended(&'static str),
    /// Nobody listens.
    Gone,
}

impl<R: BlockReader> Stream<R> {
    async fn run(mut self, stopped: Option<Stopped>) {
        let over = self.tell(stopped).await;
        if let Over::Ended(why) = over {
            let _ = self.write(format!("event: end\ndata: {why}\n\n")).await;
        }
    }

    async fn tell(&mut self, stopped: Option<Stopped>) -> Over {
        let listens = |topic| self.topics.contains(&topic);
        let (to_heads, to_stats) = (listens(Topic::Heads), listens(Topic::Stats));
        let to_chains = listens(Topic::Chains);
        let old = Instant::now() + MAX_AGE;
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut turns = interval(TURN);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopped = std::pin::pin!(ended(stopped));
        // How long a browser waits before it connects again.
        let mut text = "retry: 2000\n\n".to_owned();
        loop {
            if to_heads {
                loop {
                    if let Err(over) = self.new_heads(&mut text) {
                        return over;
                    }
                    if text.len() < CHUNK {
                        break;
                    }
                    if self.write(std::mem::take(&mut text)).await.is_err() {
                        return Over::Gone;
                    }
                }
            }
            if !text.is_empty() && self.write(std::mem::take(&mut text)).await.is_err() {
                return Over::Gone;
            }
            tokio::select! {
                changed = self.heads.changed(), if to_heads => if changed.is_err() {
                    return Over::Ended("stopping");
                },
                _ = pace.tick(), if to_stats => text.push_str(&self.node.stats.event(|stats| {
                    let mut text = String::new();
                    event(&mut text, "stats", stats);
                    text
                })),
                changed = self.changes.recv(), if to_chains => match changed {
                    Ok(changed) => self.waiting.add(changed.chain),
                    // What was missed is not known: the client reads the list again.
                    Err(RecvError::Lagged(_)) => return Over::Ended("behind"),
                    Err(RecvError::Closed) => return Over::Ended("stopping"),
                },
                _ = turns.tick(), if !self.waiting.turns.is_empty() => self.changed_chains(&mut text),
                () = sleep(KEEP_ALIVE) => text.push_str(":\n\n"),
                () = sleep_until(old) => return Over::Ended("renew"),
                () = self.out.closed() => return Over::Gone,
                () = stopped.as_mut() => return Over::Ended("stopping"),
            }
        }
    }

    /// Main blocks that were not told yet, up to about a chunk of them.
    fn new_heads(&mut self, text: &mut String) -> Result<(), Over> {
        let Some(newest) = *self.heads.borrow_and_update() else { return Ok(()) };
        let height = newest.header.height;
        let oldest = Height((height.0 + 1).saturating_sub(MOST_MISSED));
        self.next = self.next.max(oldest).max(self.node.reader.base().first);
        while self.next <= height && text.len() < CHUNK {
            let header = if self.next == height {
                newest.header
            } else {
                match self.node.reader.block(self.next) {
                    Ok(Some(block)) => {
                        let header = block.header();
                        block.intact().map_err(|error| failed(&error))?;
                        header
                    }
                    // Pruned in this moment.
                    Ok(None) => {
                        self.next = self.next.next();
                        continue;
                    }
                    Err(error) => return Err(failed(&error)),
                }
            };
            let head = HeadEvent {
                height: header.height,
                hash: if self.next == height { newest.hash } else { header.hash() },
                time: header.time,
                chain_count: header.chain_count,
                leaf_count: header.leaf_count,
            };
            let _ = writeln!(text, "id: {}", head.height);
            event(text, "head", &head);
            self.next = self.next.next();
        }
        Ok(())
    }

    /// The chains whose turn it is, as they are now.
    fn changed_chains(&mut self, text: &mut String) {
        for chain in (0..CHAINS).map_while(|_| self.waiting.next()) {
            // One that was removed since then has nothing to be told.
            if let Ok(chain) = self.node.chain(chain) {
                event(text, "chain", &chain);
            }
        }
    }

    async fn write(&self, text: String) -> Result<(), ()> {
        let sent = timeout(SLOW, self.out.send(text.into())).await;
        sent.map_err(|_| tracing::debug!("an event stream is left, for its client reads nothing"))?
            .map_err(drop)
    }
}

/// Waits for the server's end.
async fn ended(stopped: Option<Stopped>) {
    match stopped {
        // An error is that the server is gone itself.
        Some(mut stopped) => drop(stopped.wait_for(|stopped| *stopped).await),
        None => std::future::pending().await,
    }
}

fn failed(error: &impl std::fmt::Display) -> Over {
    tracing::error!(%error, "an event stream ends, for the log cannot be read");
    Over::Ended("failed")
}

fn event(text: &mut String, name: &str, data: &impl Serialize) {
    // JSON has no line ends in it.
    let data = serde_json::to_string(data).expect("our answers can be written");
    let _ = write!(text, "event: {name}\ndata: {data}\n\n");
}

/// A body of chunks as they come.
struct Chunks(mpsc::Receiver<Bytes>);

impl HttpBody for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}
