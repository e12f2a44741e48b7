//! Asks the node of a side chain about a transaction.
//!
//! A question is a stream of its own, which no other stream and no other session waits for. Who is asked is whoever
//! speaks for the chain; where nobody does, or he cannot be asked, the other sessions that named it, oldest first.
//!
//! # Capacity
//! [`MAX_QUESTIONS`] questions at a time in one session, [`ServerConfig::max_questions`] in all, each for
//! [`ServerConfig::answer_timeout`] at most. The bytes of answers that are being received share
//! [`ServerConfig::answer_memory_bytes`], of which a session may have a quarter; they are counted when they have come,
//! not when they are promised.
//!
//! [`ServerConfig::max_questions`]: super::ServerConfig::max_questions
//! [`ServerConfig::answer_timeout`]: super::ServerConfig::answer_timeout
//! [`ServerConfig::answer_memory_bytes`]: super::ServerConfig::answer_memory_bytes

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use engine::chain::ChainId;
use engine::lane::SessionId;
use engine::proof::Transaction;
use engine::source::{Answer, NoAnswer, Question};
use quinn::{Connection, ReadError, RecvStream};
use tokio::sync::Semaphore;

use super::Shared;
use super::session::Session;
use crate::question::{
    BAD_STREAM, Body, GAVE_UP, MAX_BODY_BYTES, MAX_QUESTIONS, encode_question, parse_answer,
};
use crate::reactor::{Either, Handle, race};

/// A way to ask, also for those who do not own the server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Questions {
    pub(super) shared: Arc<Shared>,
    pub(super) reactors: Arc<[Handle]>,
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// The node says so.
    #[error(transparent)]
    Node(#[from] NoAnswer),
    /// No node that named the chain is connected.
    #[error("no node of the chain is connected")]
    NotConnected,
    /// As many questions are under way as may be.
    #[error("{0} questions are under way, the most there may be; ask again later")]
    Busy(usize),
    /// No answer came in time.
    #[error("the node did not answer within {0:?}")]
    TooSlow(Duration),
    /// The connection was lost, or the node gave the question up.
    #[error("the node did not answer: {0}")]
    Lost(String),
    /// What the node answered cannot be.
    #[error("the node breaks the protocol: {0}")]
    Broken(String),
    /// The question itself cannot be asked.
    #[error("the question cannot be asked: {0}")]
    Bad(String),
}

impl From<Unanswered> for NoAnswer {
    fn from(why: Unanswered) -> Self {
        match why {
            Unanswered::Node(why) => why,
            other => Self::Failed(other.to_string()),
        }
    }
}

/// What a session remembers of being asked.
#[derive(Debug)]
pub(super) struct Asked {
    /// Streams that may still be opened.
    room: Semaphore,
    /// One was opened before: the node answers questions.
    opened: AtomicBool,
    /// Bytes of its answers that are held now.
    bytes: AtomicUsize,
}

/// What all sessions share of it.
#[derive(Debug)]
pub(super) struct Asking {
    room: Semaphore,
    most: usize,
    bytes: AtomicUsize,
    most_bytes: usize,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            room: Semaphore::new(MAX_QUESTIONS as usize),
            opened: AtomicBool::new(false),
            bytes: AtomicUsize::new(0),
        }
    }
}

impl Asking {
    pub(super) fn new(config: &super::ServerConfig) -> Self {
        Self {
            room: Semaphore::new(config.max_questions),
            most: config.max_questions,
            bytes: AtomicUsize::new(0),
            most_bytes: config.answer_memory_bytes,
        }
    }
}

impl Questions {
    /// Asks. What comes back is what the node says, of the form that it has to have, and nothing more: whoever asks
    /// has to verify it. May be awaited on any runtime. Who stops waiting leaves the question to its deadline.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub async fn ask(&self, question: &Question) -> Result<Answer, Unanswered> {
        let shared = &self.shared;
        let bytes = encode_question(question).map_err(|error| Unanswered::Bad(error.to_string()))?;
        let asking = &shared.asking;
        let _room = asking.room.try_acquire().map_err(|_| Unanswered::Busy(asking.most))?;
        let deadline = Instant::now() + shared.config.answer_timeout;
        let speaker = shared.speaker(question.chain());
        let first = speaker.as_ref().map(|session| session.id);
        let mut standbys = None;
        let mut next = speaker;
        let mut last = None;
        for _ in 0..MAX_NODES {
            let standbys = || standbys.get_or_insert_with(|| shared.standbys(question.chain(), first)).next();
            let Some(session) = next.take().or_else(standbys) else { break };
            match self.ask_one(&session, question, bytes.clone(), deadline).await {
                Ok(body) => return answer(body),
                Err(why @ (Unanswered::TooSlow(_) | Unanswered::Node(NoAnswer::Unknown))) => return Err(why),
                // Of several reasons the first one is told: it is the speaker's, if there is one.
                Err(why) => last = last.or(Some(why)),
            }
        }
        Err(last.unwrap_or(Unanswered::NotConnected))
    }

    async fn ask_one(
        &self,
        session: &Arc<Session>,
        question: &Question,
        bytes: Vec<u8>,
        deadline: Instant,
    ) -> Result<Body, Unanswered> {
        let handle = &self.reactors[session.reactor];
        let ask = One {
            shared: Arc::clone(&self.shared),
            session: Arc::clone(session),
            question: question.clone(),
            held: 0,
        };
        let (limit, timer) = (self.shared.config.answer_timeout, handle.clone());
        // Where the session lives: so its connection is touched by one thread only.
        let task = handle.spawn(async move {
            let left = deadline.saturating_duration_since(Instant::now());
            let asked = timer.timeout(left, Box::pin(ask.run(&bytes))).await;
            asked.unwrap_or(Err(Unanswered::TooSlow(limit)))
        });
        task.await.unwrap_or_else(|_| Err(Unanswered::Lost("the server is being shut down".into())))
    }
}

/// One question to one session.
struct One {
    shared: Arc<Shared>,
    session: Arc<Session>,
    question: Question,
    /// Bytes of the answer that are counted.
    held: usize,
}

impl One {
    async fn run(mut self, question: &[u8]) -> Result<Body, Unanswered> {
        let session = Arc::clone(&self.session);
        let asked = &session.asked;
        let _room = asked.room.acquire().await.expect("nobody closes it");
        let connection = session.connection();
        // A node that answers questions has granted streams for them with its handshake; of one that does not, or does
        // not know of questions, QUIC lets us open none. So the first one is opened at once or never. Relaxed: it says
        // only how long to wait.
        let opened = if asked.opened.load(Ordering::Relaxed) {
            connection.open_bi().await
        } else {
            match race(connection.open_bi(), ready(())).await {
                Either::Left(opened) => opened,
                Either::Right(()) => return Err(Unanswered::Node(NoAnswer::Unsupported)),
            }
        };
        let (mut send, receive) = opened.map_err(|error| Unanswered::Lost(error.to_string()))?;
        asked.opened.store(true, Ordering::Relaxed);
        // Whatever ends it before its end: the peer is to send no more of it.
        let mut stream = Stopped(receive);
        let lost = |error: quinn::WriteError| Unanswered::Lost(error.to_string());
        send.write_all(question).await.map_err(lost)?;
        let _ = send.finish();
        let bytes = self.read(connection, &mut stream.0).await.inspect_err(|_| {
            let _ = stream.0.stop(BAD_STREAM);
        })?;
        parse_answer(&self.question, &bytes)
            .map_err(|error| Unanswered::Broken(error.to_string()))?
            .map_err(Unanswered::Node)
    }

    async fn read(
        &mut self,
        connection: &Connection,
        stream: &mut RecvStream,
    ) -> Result<Vec<u8>, Unanswered> {
        let mut bytes = Vec::new();
        loop {
            let chunk = stream.read_chunk(CHUNK, true).await.map_err(|error| match error {
                ReadError::Reset(code) => Unanswered::Lost(format!("it gave the question up (code {code})")),
                ReadError::ConnectionLost(error) => Unanswered::Lost(error.to_string()),
                other => Unanswered::Lost(other.to_string()),
            })?;
            let Some(chunk) = chunk else { return Ok(bytes) };
            let chunk = chunk.bytes;
            if bytes.len() + chunk.len() > 1 + MAX_BODY_BYTES {
                let most = 1 + MAX_BODY_BYTES;
                return Err(Unanswered::Broken(format!("an answer has more than {most} bytes")));
            }
            if connection.close_reason().is_some() {
                return Err(Unanswered::Lost("the connection was closed".into()));
            }
            self.hold(chunk.len())?;
            // What it has of the window is used up by this as by frames.
            self.session.answered(&self.shared, chunk.len());
            bytes.extend_from_slice(&chunk);
        }
    }

    /// Counts bytes that are held until the answer is handed on.
    fn hold(&mut self, bytes: usize) -> Result<(), Unanswered> {
        let asking = &self.shared.asking;
        // Relaxed: numbers to compare with, they guard no memory. Counted first, so that no two take the same room.
        self.held += bytes;
        let all = asking.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let own = self.session.asked.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if all > asking.most_bytes || own > asking.most_bytes / 4 {
            return Err(Unanswered::Busy(asking.most));
        }
        Ok(())
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.shared.asking.bytes.fetch_sub(self.held, Ordering::Relaxed);
        self.session.asked.bytes.fetch_sub(self.held, Ordering::Relaxed);
    }
}

/// Has the peer stop sending when it is dropped before the end.
struct Stopped(RecvStream);

impl Drop for Stopped {
    fn drop(&mut self) {
        // An error says that it has ended.
        let _ = self.0.stop(GAVE_UP);
    }
}

impl Shared {
    /// The session that speaks for a chain.
    fn speaker(&self, chain: ChainId) -> Option<Arc<Session>> {
        self.sessions.get(self.parts.cache.lane(chain)?.speaker_session()?.0)
    }

    /// The sessions that have named a chain, without its speaker, oldest first. Looks at those of the chain's own nodes
    /// only, however many there are in all.
    fn standbys(
        &self,
        chain: ChainId,
        speaker: Option<SessionId>,
    ) -> impl Iterator<Item = Arc<Session>> + use<> {
        let sessions = self.sessions.of_keys(&self.parts.keys.of_chain(chain));
        sessions
            .into_iter()
            .filter(move |session| Some(session.id) != speaker && session.chains().serves(chain))
    }
}

/// What the node found, decoded on the thread of whoever asks.
fn answer(body: Body) -> Result<Answer, Unanswered> {
    match body {
        Body::Record(record) => Ok(Answer::Record(record)),
        Body::Transaction(height, part) => match Transaction::from_bytes(&part) {
            Ok(part) => Ok(Answer::Transaction { height, part }),
            Err(error) => Err(Unanswered::Broken(format!("the transaction part: {error}"))),
        },
    }
}

/// How many nodes of a chain are asked one question at most, one after the other.
const MAX_NODES: usize = 4;

/// Bytes of an answer that are taken at a time.
const CHUNK: usize = 64 << 10;
