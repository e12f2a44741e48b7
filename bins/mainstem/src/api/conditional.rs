//! Answers that the client has already: `ETag` and `If-None-Match` (RFC 9110, section 13.1.2).

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use xxhash_rust::xxh3::xxh3_128;

/// The tag of an answer: it changes with every byte of it. That somebody can make two answers with one tag harms nobody
/// but himself.
pub(crate) fn tag(bytes: &[u8]) -> HeaderValue {
    let tag = format!("\"{:032x}\"", xxh3_128(bytes));
    HeaderValue::try_from(tag).expect("hex digits may stand in a header")
}

/// A layer: what the client has already is not sent again.
pub(crate) async fn conditional(request: Request, next: Next) -> Response {
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    let has: Vec<_> = request.headers().get_all(header::IF_NONE_MATCH).iter().cloned().collect();
    let response = next.run(request).await;
    if !reads || has.is_empty() || response.status() != StatusCode::OK || !is_among(response.headers(), &has)
    {
        return response;
    }
    let mut unchanged = Response::new(Body::empty());
    *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
    for name in [header::ETAG, header::CACHE_CONTROL, header::VARY, header::CONTENT_SECURITY_POLICY] {
        if let Some(value) = response.headers().get(&name) {
            unchanged.headers_mut().insert(name, value.clone());
        }
    }
    unchanged
}

/// Whether the tag of an answer is one of those that the client has.
fn is_among(headers: &HeaderMap, has: &[HeaderValue]) -> bool {
    let Some(tag) = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()) else { return false };
    let plain = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let tag = plain(tag);
    // Our tags have no commas.
    let texts = has.iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).any(|one| one.trim() == "*" || plain(one) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_in_a_list_also_if_it_became_a_weak_one() {
        let tag = tag(b"answer");
        let headers = HeaderMap::from_iter([(header::ETAG, tag.clone())]);
        let tag = tag.to_str().unwrap();
        let is = |text: &str| is_among(&headers, &[HeaderValue::from_str(text).unwrap()]);
        assert!(is(tag) && is("*") && is(&format!("\"a\", W/{tag}")) && is(&format!("W/{tag},\"b\"")));
        assert!(!is("\"a\"") && !is("") && !is(&tag[1..]));
        assert!(!is_among(&HeaderMap::new(), &[HeaderValue::from_static("*")]));
    }
}
