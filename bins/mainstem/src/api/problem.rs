//! Errors as RFC 9457 problem details: `application/problem+json`, each kind with a name of its own.

use std::fmt::Display;

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::codes::Code;

/// A problem on its way to the client. `docs/api.md` lists the kinds.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
    members: Map<String, Value>,
}

impl Problem {
    /// A problem of a kind: `urn:mainstem:problem:<kind>`, with a title that is the same whenever it occurs and a
    /// detail that is not.
    pub(crate) fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Display,
    ) -> Self {
        Self { status, kind, title, detail: detail.to_string(), members: Map::new() }
    }

    /// A parameter that is not what it should be.
    pub(crate) fn parameter(field: &str, value: &str, detail: impl Display) -> Self {
        let value: String = value.chars().take(100).collect();
        Self::new(StatusCode::BAD_REQUEST, "invalid-parameter", "A parameter is not valid", detail)
            .with("field", field)
            .with("value", value)
    }

    /// The node's own fault. The details are for its log, not for the client.
    pub(crate) fn internal(error: impl Display) -> Self {
        tracing::error!(%error, "a request failed");
        let detail = "the node could not read its log; its operator finds the reason in the node's log";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The node failed", detail)
    }

    /// Adds an extension member.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// The answer to a request for `uri`.
    pub(crate) fn render(self, uri: &Uri) -> Response {
        let mut body = self.members;
        body.insert("type".into(), format!("urn:mainstem:problem:{}", self.kind).into());
        body.insert("title".into(), self.title.into());
        body.insert("status".into(), self.status.as_u16().into());
        body.insert("detail".into(), self.detail.into());
        if let Some(code) = Code::of_problem(self.kind) {
            body.insert("code".into(), code.to_string().into());
        }
        let instance: String = uri.path().chars().take(200).collect();
        body.insert("instance".into(), instance.into());
        let json = HeaderValue::from_static("application/problem+json");
        let mut response =
            (self.status, [(header::CONTENT_TYPE, json)], Value::Object(body).to_string()).into_response();
        // RFC 9110, section 15.5.2: a 401 says what is asked for.
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl IntoResponse for Problem {
    /// Leaves the body to [`render`], which knows what was asked.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Marks an answer that has its body already, although its status says that something is wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whole;

/// The outermost layer: gives every error its body, also those that axum makes by itself.
pub(crate) async fn render(request: Request, next: Next) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    // `Allow` is set outside of this layer.
    let mut response = next.run(request).await;
    let status = response.status();
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        None if response.extensions_mut().remove::<Whole>().is_some() => return response,
        None if status == StatusCode::METHOD_NOT_ALLOWED => {
            let detail = format!("{method} is not possible here; the header Allow says what is");
            Problem::new(status, "method-not-allowed", "Method not allowed", detail)
        }
        None if status.is_client_error() || status.is_server_error() => {
            Problem::new(status, "http", "The request was refused", status)
        }
        None => return response,
    };
    problem.render(&uri)
}

/// What a path that is no route answers.
pub(crate) async fn no_route(uri: Uri) -> Problem {
    let routes = json!(super::openapi::routes_in_words());
    let detail = format!("there is nothing at {}; docs/api.md lists the routes", clip(uri.path()));
    Problem::new(StatusCode::NOT_FOUND, "no-route", "No such route", detail).with("routes", routes)
}

fn clip(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_to_show_a_token_is_told_so_and_nobody_else() {
        let asked_for = |status| {
            let problem = Problem::new(status, "unauthorized", "The call has no right to be made", "");
            let response = problem.render(&Uri::from_static("/v1/admin/log"));
            response.headers().get(header::WWW_AUTHENTICATE).cloned()
        };
        assert_eq!(asked_for(StatusCode::UNAUTHORIZED), Some(HeaderValue::from_static("Bearer")));
        assert_eq!(asked_for(StatusCode::FORBIDDEN), None);
    }
}
