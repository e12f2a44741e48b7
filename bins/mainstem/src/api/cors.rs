//! Which web pages of elsewhere may ask this node (Fetch standard, section "CORS protocol"): none, unless the operator
//! names them.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use crate::settings::Origins;

/// What they may send, and see of the answer.
const HEADERS: HeaderValue = HeaderValue::from_static("accept, content-type, if-none-match, last-event-id");
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST");
const SHOWN: HeaderValue = HeaderValue::from_static("etag");

/// For so long, in seconds, a browser need not ask again.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// A layer that says so. What changes the node is never for pages of elsewhere.
pub(crate) async fn cors(State(origins): State<Arc<Origins>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let allowed = if path.starts_with("/v1/admin") { None } else { origin(&origins, request.headers()) };
    let preflight = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match &allowed {
        Some(_) if preflight => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
            response
        }
        _ => next.run(request).await,
    };
    if !origins.is_empty() {
        response.headers_mut().append(header::VARY, HeaderValue::from_static("origin"));
    }
    if let Some(origin) = allowed {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response.headers_mut().insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, SHOWN);
    }
    response
}

/// The page's origin, if it may ask.
fn origin(origins: &Origins, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    origins.allow(origin.to_str().ok()?).then(|| origin.clone())
}
