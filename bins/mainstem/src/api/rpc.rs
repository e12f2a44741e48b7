//! `POST /rpc`: JSON-RPC 2.0 over the same routes, for those whose tools speak that.
//!
//! Each method is a row of [`METHODS`]: which route it is, and which of its parameters stand in the path. A call is asked
//! of the routes inside this program, so an answer is the same by both ways, byte by byte.
//!
//! # Capacity
//! [`MAX_CALLS`] of a batch and a body of `api.max_body`; all answers of a batch together are no longer than a proof may
//! be, and share the memory of long answers.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method as Verb, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use engine::proof::Document;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::{Map, Value, json};

use super::answer::{self, Budget};
use super::params;
use super::proofs::arrived;
use super::routes::Answer;

/// Most calls of one batch.
const MAX_CALLS: usize = 64;

/// What the answers of a batch may have together.
const MAX_BYTES: usize = Document::MAX_BYTES;

/// A method.
pub(super) struct Method {
    pub(super) name: &'static str,
    /// In the order in which they may be given without names; `?` after those that may be left out.
    pub(super) params: &'static [&'static str],
    route: Route,
    /// The member of the answer that is the result; else all of it.
    member: Option<&'static str>,
    #[cfg_attr(not(test), expect(dead_code, reason = "the documentation is held against it"))]
    pub(super) doc: &'static str,
}

enum Route {
    /// Parameters that the path does not name stand in the query.
    Get(&'static str),
    /// The parameters are the body.
    Post(&'static str),
    /// The only parameter is the body.
    PostOnly(&'static str),
}

use Route::{Get, Post, PostOnly};

const fn method(
    name: &'static str,
    params: &'static [&'static str],
    route: Route,
    doc: &'static str,
) -> Method {
    Method { name, params, route, member: None, doc }
}

/// All of them. `docs/api.md` has the same table.
pub(super) const METHODS: [Method; 12] = [
    method("main_head", &[], Get("/v1/headers/latest"), "the hash and the header of the newest main block"),
    method("main_getBlock", &["height"], Get("/v1/blocks/{height}"), "a main block"),
    method("main_getHeader", &["height"], Get("/v1/headers/{height}"), "its hash and its header"),
    method("main_getHeaders", &["from?", "limit?"], Get("/v1/headers"), "headers, ascending"),
    method(
        "side_list",
        &["after?", "limit?", "state?", "reason?", "q?"],
        Get("/v1/chains"),
        "the side chains, by ascending id",
    ),
    method("side_status", &["chain"], Get("/v1/chains/{chain}"), "one side chain"),
    method(
        "side_getIndexed",
        &["chain", "height"],
        Get("/v1/chains/{chain}/blocks/{height}"),
        "an indexed side block and the main block that holds it",
    ),
    Method {
        member: Some("durable"),
        ..method(
            "side_boundHeight",
            &["chain"],
            Get("/v1/chains/{chain}"),
            "the newest indexed height of a side chain",
        )
    },
    method(
        "proof_inclusion",
        &["chain", "height", "head?"],
        Get("/v1/proofs/{chain}/{height}"),
        "the proof that a side block was indexed",
    ),
    method(
        "proof_wait",
        &["chain", "height", "wait", "head?"],
        Get("/v1/proofs/{chain}/{height}"),
        "the same, as soon as it is; not in a batch",
    ),
    method("proof_batch", &["blocks", "head?"], Post("/v1/proofs"), "one proof of many side blocks"),
    method(
        "proof_verify",
        &["proof"],
        PostOnly("/v1/verify"),
        "whether a proof is right, and of this main chain",
    ),
];

/// The route of this file; `inner` has all others.
pub(super) fn routes(inner: Router, budget: Budget) -> Router {
    let rpc = Rpc { inner: TowerToHyperService::new(inner), budget };
    Router::new().route("/rpc", post(calls)).with_state(Arc::new(rpc))
}

struct Rpc {
    inner: TowerToHyperService<Router>,
    budget: Budget,
}

async fn calls(
    State(rpc): State<Arc<Rpc>>,
    uri: Uri,
    body: Result<Bytes, BytesRejection>,
) -> Answer<Response> {
    params::query(&uri, &[])?;
    let body = arrived(body)?;
    let answer = match serde_json::from_slice(&body) {
        Ok(Value::Array(calls)) => rpc.batch(calls).await,
        Ok(call) => rpc.answer(call, MAX_BYTES, false).await,
        Err(error) => {
            Some(Failure::new(-32700, format_args!("the body is not JSON: {error}")).render(&Value::Null))
        }
    };
    // Of notifications alone there is nothing to say.
    let Some(answer) = answer else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    let body = rpc.budget.body(answer).ok_or_else(answer::busy)?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
}

impl Rpc {
    async fn batch(&self, calls: Vec<Value>) -> Option<Vec<u8>> {
        if calls.is_empty() || calls.len() > MAX_CALLS {
            let why = format!("a batch has 1 to {MAX_CALLS} calls, and this one {}", calls.len());
            return Some(Failure::new(-32600, why).render(&Value::Null));
        }
        let mut all = vec![b'['];
        for call in calls {
            let room = MAX_BYTES.saturating_sub(all.len());
            if let Some(answer) = self.answer(call, room, true).await {
                if all.len() > 1 {
                    all.push(b',');
                }
                all.extend(answer);
            }
        }
        all.push(b']');
        (all.len() > 2).then_some(all)
    }

    /// The answer to one call, with a result of at most `room` bytes; none to a notification. What is only read need not
    /// be done where nobody hears of it.
    async fn answer(&self, call: Value, room: usize, in_batch: bool) -> Option<Vec<u8>> {
        let (id, request) = match read(call, in_batch) {
            Ok((None, _)) => return None,
            Ok((Some(id), request)) => (id, request),
            Err((id, failure)) => return Some(failure.render(&id)),
        };
        let done = match request {
            Ok((request, member)) => self.ask(request, member, room).await,
            Err(failure) => Err(failure),
        };
        Some(match done {
            Ok(result) => {
                let mut answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":").into_bytes();
                answer.extend(result);
                answer.push(b'}');
                answer
            }
            Err(failure) => failure.render(&id),
        })
    }

    async fn ask(
        &self,
        request: Request,
        member: Option<&'static str>,
        room: usize,
    ) -> Result<Vec<u8>, Failure> {
        let Ok(response) = self.inner.call(request).await;
        let (status, body) = (response.status(), response.into_body());
        let too_long =
            || Failure::new(-32001, "the answers of this batch are too long together: ask for less at once");
        let bytes = to_bytes(body, room).await.map_err(|_| too_long())?;
        if !status.is_success() {
            return Err(Failure::of_problem(status, &bytes));
        }
        let Some(member) = member else { return Ok(bytes.into()) };
        let whole: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        Ok(whole[member].to_string().into_bytes())
    }
}

/// What is to be asked, and which member of the answer is wanted.
type Asked = (Request, Option<&'static str>);

/// Reads a call: its id, unless it is a notification, and what it asks for. What is no call at all is refused with the id
/// that it has, as far as it has one.
#[expect(clippy::type_complexity, reason = "two steps that fail in different ways")]
fn read(call: Value, in_batch: bool) -> Result<(Option<Value>, Result<Asked, Failure>), (Value, Failure)> {
    let Value::Object(mut call) = call else {
        return Err((Value::Null, Failure::new(-32600, "a call is an object")));
    };
    let id = call.remove("id");
    if id.as_ref().is_some_and(|id| !matches!(id, Value::String(_) | Value::Number(_) | Value::Null)) {
        return Err((Value::Null, Failure::new(-32600, "id: expected a text or a number")));
    }
    let invalid = |why: &str| (id.clone().unwrap_or_default(), Failure::new(-32600, why));
    if call.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(invalid("jsonrpc: expected \"2.0\""));
    }
    let Some(Value::String(name)) = call.remove("method") else {
        return Err(invalid("method: expected a text"));
    };
    let given = call.remove("params");
    if !matches!(given, None | Some(Value::Array(_) | Value::Object(_))) {
        return Err(invalid("params: expected an array or an object"));
    }
    Ok((id, request(&name, given, in_batch)))
}

fn request(name: &str, given: Option<Value>, in_batch: bool) -> Result<Asked, Failure> {
    let Some(method) = METHODS.iter().find(|method| method.name == name) else {
        let name: String = name.chars().take(100).collect();
        let known: Vec<_> = METHODS.iter().map(|method| method.name).collect();
        let failure = Failure::new(-32601, format_args!("there is no method {name:?}"));
        return Err(failure.with(json!({ "methods": known })));
    };
    if in_batch && method.params.contains(&"wait") {
        return Err(Failure::new(
            -32600,
            format_args!("{name} waits, and all others of a batch with it: call it alone"),
        ));
    }
    let params = method.named(given)?;
    let (verb, uri, body) = match method.route {
        Get(path) => (Verb::GET, target(path, &params)?, Body::empty()),
        Post(path) => (Verb::POST, path.to_owned(), Value::Object(params).to_string().into()),
        PostOnly(path) => {
            let only = params.into_iter().next().map(|(_, value)| value.to_string());
            (Verb::POST, path.to_owned(), only.unwrap_or_default().into())
        }
    };
    let request = Request::builder().method(verb).uri(uri).body(body);
    Ok((request.map_err(|error| Failure::new(-32602, error))?, method.member))
}

impl Method {
    /// The parameters by their names, however they are given.
    fn named(&self, given: Option<Value>) -> Result<Map<String, Value>, Failure> {
        let takes = || self.params.join(", ");
        let name = |param: &&'static str| param.trim_end_matches('?');
        let mut params = match given {
            None => Map::new(),
            Some(Value::Object(params)) => params,
            Some(Value::Array(values)) => {
                if values.len() > self.params.len() {
                    let why =
                        format!("{} parameters are given; {} takes: {}", values.len(), self.name, takes());
                    return Err(Failure::new(-32602, why));
                }
                self.params.iter().map(|param| name(param).to_owned()).zip(values).collect()
            }
            Some(_) => return Err(Failure::new(-32600, "params: expected an array or an object")),
        };
        // Nothing and null are the same.
        params.retain(|_, value| !value.is_null());
        if let Some(unknown) = params.keys().find(|key| !self.params.iter().any(|param| name(param) == *key))
        {
            let unknown: String = unknown.chars().take(100).collect();
            let why = format!("{unknown:?} is no parameter of {}; it takes: {}", self.name, takes());
            return Err(Failure::new(-32602, why));
        }
        let missing = self.params.iter().find(|param| !param.ends_with('?') && !params.contains_key(**param));
        match missing {
            Some(missing) => Err(Failure::new(
                -32602,
                format_args!("{missing} is missing; {} takes: {}", self.name, takes()),
            )),
            None => Ok(params),
        }
    }
}

/// A path with its parameters in it, and the others as a query.
fn target(path: &str, params: &Map<String, Value>) -> Result<String, Failure> {
    let (mut path, mut separator) = (path.to_owned(), '?');
    for (name, value) in params {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return Err(Failure::new(-32602, format_args!("{name}: expected a number or a text"))),
        };
        let place = format!("{{{name}}}");
        // An empty part of a path would make it another one.
        if text.is_empty() {
            return Err(Failure::new(
                -32602,
                format_args!("{name}: expected a number or a text, not an empty one"),
            ));
        }
        if path.contains(&place) {
            path = path.replace(&place, &escaped(&text));
        } else {
            let _ = write!(path, "{separator}{name}={}", escaped(&text));
            separator = '&';
        }
    }
    Ok(path)
}

/// A text as it may stand in a path or in a query (RFC 3986, section 2.3).
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// An error object.
struct Failure {
    code: i32,
    message: String,
    data: Option<Value>,
}

impl Failure {
    #[expect(clippy::needless_pass_by_value, reason = "callers make it where they stand")]
    fn new(code: i32, message: impl ToString) -> Self {
        Self { code, message: message.to_string(), data: None }
    }

    fn with(self, data: Value) -> Self {
        Self { data: Some(data), ..self }
    }

    /// A problem of the routes: its detail is the message, the whole of it is in the data.
    fn of_problem(status: StatusCode, bytes: &[u8]) -> Self {
        let problem: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let code = match status {
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => -32602,
            StatusCode::INTERNAL_SERVER_ERROR => -32603,
            _ => -32000,
        };
        let detail = problem["detail"].as_str().map_or_else(|| status.to_string(), str::to_owned);
        Self::new(code, detail).with(problem)
    }

    fn render(self, id: &Value) -> Vec<u8> {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(data) = self.data {
            error["data"] = data;
        }
        json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_path_cannot_leave_its_place() {
        let of = |value: &str| {
            let params = Map::from_iter([("chain".to_owned(), json!(value)), ("head".to_owned(), json!(7))]);
            target("/v1/chains/{chain}", &params).map_err(|failure| failure.message)
        };
        assert_eq!(of("tDVV").unwrap(), "/v1/chains/tDVV?head=7");
        assert_eq!(of("../x?y#z/{head}").unwrap(), "/v1/chains/%2E%2E%2Fx%3Fy%23z%2F%7Bhead%7D?head=7");
        assert!(of("").is_err());
    }

    #[test]
    fn every_parameter_of_a_path_is_one_of_its_method_that_has_to_be_given() {
        for method in METHODS {
            let path = match method.route {
                Get(path) | Post(path) | PostOnly(path) => path,
            };
            for place in path.split('{').skip(1).filter_map(|rest| rest.split_once('}')) {
                assert!(method.params.contains(&place.0), "{}: {}", method.name, place.0);
            }
        }
    }
}
