//! Answers that are proofs: in JSON or in the binary form, and within the memory that they may take together.

use std::fmt::Display;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Json;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::proof::Document;
use hyper::body::{Frame, SizeHint};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::conditional::tag;
use super::problem::Problem;
use super::routes::Answer;

/// Answers up to here are as small as any other one; longer ones count.
const SMALL: usize = 64 << 10;

/// What all longer ones that are on their way may take together: a few of the longest, thousands of usual ones.
const BUDGET: usize = 64 << 20;

/// In which a permit counts.
const UNIT: usize = 1 << 10;

/// The memory of long answers. Whoever reads slowly holds it for as long as a connection lives.
#[derive(Debug, Clone)]
pub(crate) struct Budget(Arc<Semaphore>);

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET / UNIT)))
    }
}

impl Budget {
    /// A body that counts for as long as it is on its way, if it is long; `None` when others take all there is.
    pub(super) fn body(&self, bytes: Vec<u8>) -> Option<Body> {
        if bytes.len() <= SMALL {
            return Some(Body::from(bytes));
        }
        let permits = bytes.len().div_ceil(UNIT) as u32;
        let permit = Arc::clone(&self.0).try_acquire_many_owned(permits).ok()?;
        Some(Body::new(Counted { bytes: Some(bytes.into()), _permit: permit }))
    }
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Binary,
}

impl Form {
    /// By its name in the parameter `format`.
    pub(super) fn named(name: &str) -> Answer<Self> {
        match name {
            "json" => Ok(Self::Json),
            "binary" => Ok(Self::Binary),
            other => Err(Problem::parameter("format", other, "format: expected json or binary")),
        }
    }

    /// As the client accepts: binary if it names that type, else JSON.
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let types = accepts.flat_map(|value| value.split(',')).map(|range| range.split(';').next());
        let binary = types.flatten().any(|kind| kind.trim().eq_ignore_ascii_case("application/octet-stream"));
        if binary { Self::Binary } else { Self::Json }
    }
}

/// Answers of one form.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answers<'a> {
    pub(super) budget: &'a Budget,
    pub(super) form: Form,
}

impl Answers<'_> {
    /// An answer that never changes, so that whoever is in between may keep it.
    pub(super) fn unchanging(self, document: &Document) -> Answer<Response> {
        let bytes = self.bytes(document)?;
        let tag = tag(&bytes);
        let mut response = self.response(bytes)?;
        keep(&mut response, tag);
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
        Ok(response)
    }

    /// An answer that nobody keeps.
    pub(super) fn once(self, document: &Document) -> Answer<Response> {
        self.response(self.bytes(document)?)
    }

    fn bytes(self, document: &Document) -> Answer<Vec<u8>> {
        let bytes = match self.form {
            Form::Binary => document.to_bytes(),
            Form::Json => json(document)?,
        };
        if bytes.len() > Document::MAX_BYTES {
            return Err(too_long(format_args!("the proof has {} bytes", bytes.len())));
        }
        Ok(bytes)
    }

    fn response(self, bytes: Vec<u8>) -> Answer<Response> {
        let kind = match self.form {
            Form::Binary => "application/octet-stream",
            Form::Json => "application/json",
        };
        let body = self.budget.body(bytes).ok_or_else(busy)?;
        Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], body).into_response())
    }
}

/// An answer in JSON that never changes, such as of what is indexed: whoever is in between may keep it.
pub(super) fn unchanging<T: Serialize>(Json(view): Json<T>) -> Response {
    match serde_json::to_vec(&view) {
        Ok(bytes) => {
            let tag = tag(&bytes);
            let json = HeaderValue::from_static("application/json");
            let mut response = ([(header::CONTENT_TYPE, json)], bytes).into_response();
            keep(&mut response, tag);
            response
        }
        Err(error) => Problem::internal(error).into_response(),
    }
}

fn keep(response: &mut Response, tag: HeaderValue) {
    let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
    response.headers_mut().insert(header::CACHE_CONTROL, forever);
    response.headers_mut().insert(header::ETAG, tag);
}

/// A proof in JSON, unless that is too long.
fn json(document: &Document) -> Answer<Vec<u8>> {
    // What most proofs of one block take.
    let mut out = Bounded(Vec::with_capacity(8 << 10));
    match serde_json::to_writer(&mut out, document) {
        Ok(()) => Ok(out.0),
        Err(error) if error.is_io() => Err(too_long(format_args!(
            "the proof would have more than {} bytes in JSON",
            Document::MAX_BYTES
        ))),
        Err(error) => Err(Problem::internal(error)),
    }
}

/// Takes as many bytes as a proof may have.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > Document::MAX_BYTES - self.0.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(bytes).map(drop)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A body that counts against the budget until it is dropped.
struct Counted {
    bytes: Option<Bytes>,
    _permit: OwnedSemaphorePermit,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        // In parts, so that the connection holds no more than it sends.
        const PART: usize = 256 << 10;
        let Some(mut bytes) = self.bytes.take() else { return Poll::Ready(None) };
        let part = bytes.split_to(bytes.len().min(PART));
        self.bytes = Some(bytes).filter(|rest| !rest.is_empty());
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, Bytes::len) as u64)
    }
}

/// What is asked for is longer than verifiers take.
pub(super) fn too_long(why: impl Display) -> Problem {
    let detail = format!(
        "{why}; a proof has at most {}: ask for fewer blocks, or for the binary form",
        Document::MAX_BYTES
    );
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "proof-too-long", "The proof is too long", detail)
}

/// All memory of long answers is taken.
pub(super) fn busy() -> Problem {
    busy_because(
        "other long answers are on their way and take all memory that is meant for them; ask again later",
    )
}

/// There is more to do than this node does at a time.
pub(super) fn busy_because(detail: impl Display) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "The node is busy", detail)
}

#[cfg(test)]
mod tests {
    use engine::chain::{ChainId, Hash, Height, MainHeader, Timestamp};
    use engine::pipeline::Sealer;
    use engine::proof::{BlockContent, SectionProof};

    use super::*;

    /// All blocks of a chain in some main block.
    fn document(count: usize) -> Document {
        let header = MainHeader {
            chain_id: ChainId(2),
            height: Height(3),
            time: Timestamp::from_millis(4),
            parent: Hash([5; 32]),
            side_root: Hash([6; 32]),
            chain_count: 1,
            leaf_count: count as u64,
            ..Sealer::blank().header
        };
        Document::Chain(SectionProof {
            version: SectionProof::VERSION,
            chain_id: ChainId(7),
            first_height: Height(1),
            blocks: vec![BlockContent { hash: Hash([1; 32]), tx_root: Hash([2; 32]) }; count],
            index: 0,
            side_path: vec![],
            header,
            history_path: None,
            head: None,
        })
    }

    #[test]
    fn long_answers_share_their_memory_and_short_ones_do_not_ask() {
        let budget = Budget(Arc::new(Semaphore::new(256)));
        let answers = Answers { budget: &budget, form: Form::Binary };
        let (short, long) = (document(900), document(3_000));
        let held = answers.once(&long).unwrap();
        assert_eq!(budget.0.available_permits(), 256 - 188);
        let refused = answers.once(&long).unwrap_err().into_response();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        let shorts: Vec<_> = (0..20).map(|_| answers.once(&short).unwrap()).collect();
        drop((held, shorts));
        assert_eq!(budget.0.available_permits(), 256);
        answers.once(&long).unwrap();
    }

    #[test]
    fn what_is_too_long_in_json_may_still_go_in_binary_and_is_refused_in_both_beyond() {
        let budget = Budget::default();
        let status = |form, document: &Document| match (Answers { budget: &budget, form }).once(document) {
            Ok(response) => response.status().as_u16(),
            Err(problem) => problem.into_response().status().as_u16(),
        };
        let long = document(200_000);
        assert_eq!((status(Form::Json, &long), status(Form::Binary, &long)), (422, 200));
        assert_eq!(status(Form::Binary, &document(262_144)), 422);
    }

    #[test]
    fn the_form_is_binary_only_for_those_who_name_it() {
        let accepts = |text: &'static str| {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(text))]);
            Form::accepted(&headers)
        };
        assert_eq!(Form::accepted(&HeaderMap::new()), Form::Json);
        for json in ["*/*", "application/json", "application/octet", "text/html, */*;q=0.1"] {
            assert_eq!(accepts(json), Form::Json, "{json}");
        }
        for binary in ["application/octet-stream", "text/html, Application/Octet-Stream;q=0.9"] {
            assert_eq!(accepts(binary), Form::Binary, "{binary}");
        }
        assert!(Form::named("xml").is_err());
    }
}
