//! Answers the main chain's questions: on threads of its own, since a source may ask its node first.
//!
//! ```text
//!   reactor: accept a stream, read the question ──jobs──> answer-N: ask the source
//!            write the answer, finish           <──once───┘
//! ```
//! # Capacity
//! QUIC lets the server have [`MAX_QUESTIONS`] streams open; as many jobs wait at most, those of a connection that is
//! gone included, and more are answered `failed` at once. Each side of a stream has a deadline.

use std::convert::Infallible;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use engine::source::{Answer, Answers, NoAnswer, Question};
use quinn::{Connection, ReadToEndError, RecvStream, SendStream};
use tokio::sync::oneshot;

use super::shared::Shared;
use super::status::Disconnect;
use crate::question::{
    BAD_STREAM, Body, GAVE_UP, MAX_QUESTION_BYTES, MAX_QUESTIONS, encode_answer, parse_question,
};
use crate::reactor::Handle;

/// How many questions are worked on at a time.
const THREADS: usize = 4;

/// How long a question may take to come whole, and an answer to be taken.
const DEADLINE: Duration = Duration::from_secs(10);

/// The way to the threads that answer. They end when it is dropped and what they were asked is answered.
#[derive(Debug, Clone)]
pub(super) struct Desk(Sender<Job>);

struct Job {
    question: Question,
    /// Told the bytes of the answer; closed when nobody waits for it any more.
    answer: oneshot::Sender<Vec<u8>>,
}

/// Starts the threads that ask `answers`.
pub(super) fn start(answers: &Arc<dyn Answers>) -> io::Result<(Desk, Vec<JoinHandle<()>>)> {
    let (desk, jobs) = bounded(MAX_QUESTIONS as usize);
    let thread = |number| {
        let (answers, jobs) = (Arc::clone(answers), jobs.clone());
        std::thread::Builder::new().name(format!("answer-{number}")).spawn(move || work(&*answers, &jobs))
    };
    let threads = (0..THREADS).map(thread).collect::<io::Result<_>>()?;
    Ok((Desk(desk), threads))
}

fn work(answers: &dyn Answers, jobs: &Receiver<Job>) {
    for Job { question, answer } in jobs {
        if answer.is_closed() {
            continue;
        }
        let asked = catch_unwind(AssertUnwindSafe(|| answers.answer(&question)));
        let asked = asked.unwrap_or_else(|_| {
            tracing::error!(chain = %question.chain(), "answering a question panicked");
            Err(NoAnswer::Failed("answering panicked".into()))
        });
        // Nobody waits for it any more: then it is not needed.
        let _ = answer.send(encode_answer(&asked.and_then(|found| body(&question, found))));
    }
}

/// What was found, as it travels.
fn body(question: &Question, found: Answer) -> Result<Body, NoAnswer> {
    match (question, found) {
        (Question::Transaction { .. }, Answer::Transaction { height, part }) => {
            Ok(Body::Transaction(height, part.to_bytes()))
        }
        (Question::Record { .. }, Answer::Record(record)) => Ok(Body::Record(record)),
        _ => Err(NoAnswer::Failed("the source answered another question".into())),
    }
}

/// Takes the questions that come on a connection, until that is gone.
pub(super) async fn take(
    shared: &Arc<Shared>,
    handle: &Handle,
    desk: Option<&Desk>,
    connection: &Connection,
) -> Result<Infallible, Disconnect> {
    // Without one the server may open no such stream; QUIC sees to it.
    let Some(desk) = desk else { return std::future::pending().await };
    loop {
        let (send, receive) = connection.accept_bi().await.map_err(|error| Disconnect::from(&error))?;
        let one = One { shared: Arc::clone(shared), handle: handle.clone(), desk: desk.clone() };
        handle.spawn(one.run(send, receive));
    }
}

/// One question.
struct One {
    shared: Arc<Shared>,
    handle: Handle,
    desk: Desk,
}

impl One {
    async fn run(self, mut send: SendStream, mut receive: RecvStream) {
        let Self { shared, handle, desk } = self;
        let question = match handle.timeout(DEADLINE, receive.read_to_end(MAX_QUESTION_BYTES)).await {
            Ok(Ok(bytes)) => parse_question(&bytes).map_err(|error| error.to_string()),
            Ok(Err(ReadToEndError::TooLong)) => Err("it is too long".into()),
            // The stream was reset, or the connection is gone: nobody wants an answer.
            Ok(Err(ReadToEndError::Read(_))) => return,
            Err(_) => Err(format!("it did not come whole within {DEADLINE:?}")),
        };
        let question = match question {
            Ok(question) => question,
            Err(why) => {
                // A question that is wrong stops nothing else.
                tracing::warn!(why, "a question of the main chain breaks the protocol");
                let _ = (send.reset(BAD_STREAM), receive.stop(BAD_STREAM));
                return;
            }
        };
        let asked = answered(&shared, &desk, question);
        // The threads end when nobody can ask them any more: not to be held up by who waits for one of them.
        drop(desk);
        let bytes = match asked {
            Ok(answer) => {
                // Given up by the server: then the answer would be for nobody.
                match crate::reactor::race(answer, send.stopped()).await {
                    crate::reactor::Either::Left(Ok(bytes)) => bytes,
                    crate::reactor::Either::Left(Err(_)) => {
                        encode_answer(&Err(NoAnswer::Failed("the tributary is being stopped".into())))
                    }
                    crate::reactor::Either::Right(_) => return,
                }
            }
            Err(none) => encode_answer(&Err(none)),
        };
        match handle.timeout(DEADLINE, send.write_all(&bytes)).await {
            // A finish fails only where the server has given the stream up.
            Ok(Ok(())) => drop(send.finish()),
            Ok(Err(_)) => {}
            Err(_) => drop(send.reset(GAVE_UP)),
        }
    }
}

/// Puts a question before the threads.
fn answered(
    shared: &Shared,
    desk: &Desk,
    question: Question,
) -> Result<oneshot::Receiver<Vec<u8>>, NoAnswer> {
    if shared.find(question.chain()).is_none() {
        return Err(NoAnswer::Unsupported);
    }
    let (answer, answered) = oneshot::channel();
    let full = desk.0.try_send(Job { question, answer }).is_err();
    if full {
        return Err(NoAnswer::Failed("too many questions wait already; ask again later".into()));
    }
    Ok(answered)
}
