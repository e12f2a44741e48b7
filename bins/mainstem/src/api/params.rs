//! Parameters of requests, read strictly: a misspelt one is an error, not another answer.

use std::str::FromStr;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query};
use axum::http::Uri;
use engine::chain::{ChainId, Height};

use super::problem::Problem;
use super::routes::MAX_PAGE;

/// What a path with parameters gives, or why not.
pub(crate) type Params<T> = Result<Path<T>, PathRejection>;

/// The parameters of a path.
pub(crate) fn path<T>(params: Params<T>) -> Result<T, Problem> {
    params.map(|Path(values)| values).map_err(|error| Problem::parameter("path", "", error.body_text()))
}

/// A chain id, as a number or in base58.
pub(crate) fn chain(text: &str) -> Result<ChainId, Problem> {
    chain_id("chain", text)
}

/// A chain id in the parameter `field`.
pub(crate) fn chain_id(field: &str, text: &str) -> Result<ChainId, Problem> {
    text.parse().map_err(|error| Problem::parameter(field, text, error))
}

/// The number of a session in the parameter `field`.
pub(crate) fn session(field: &str, text: &str) -> Result<u64, Problem> {
    digits(text).ok_or_else(|| {
        let detail = format!("{:?} is no session: expected a number that GET /v1/peers shows", clip(text));
        Problem::parameter(field, text, detail)
    })
}

/// The height of a block.
pub(crate) fn height(field: &str, text: &str) -> Result<Height, Problem> {
    let number =
        digits::<u64>(text).map(Height).filter(|height| *height > Height(0) && *height <= Height::MAX);
    number.ok_or_else(|| {
        let detail = format!("{:?} is no height: expected a number from 1 to {}", clip(text), Height::MAX);
        Problem::parameter(field, text, detail)
    })
}

/// The height of a main block; `None` is the `latest` one.
pub(crate) fn main_height(text: &str) -> Result<Option<Height>, Problem> {
    if text == "latest" {
        return Ok(None);
    }
    height("height", text).map(Some).map_err(|_| {
        let detail = format!(
            "{:?} is no height: expected a number from 1 to {}, or latest, in small letters",
            clip(text),
            Height::MAX
        );
        Problem::parameter("height", text, detail)
    })
}

/// The parameters of a query; names other than `known` are refused.
pub(crate) fn query(uri: &Uri, known: &[&str]) -> Result<Vec<(String, String)>, Problem> {
    let raw = uri.query().unwrap_or_default();
    if let Some(wrong) = raw.split('&').find(|part| !is_encoded(part)) {
        let (name, value) = wrong.split_once('=').unwrap_or((wrong, ""));
        let detail = format!(
            "{:?} is not percent-encoded UTF-8: expected two hexadecimal digits after each %, and %25 for % itself",
            clip(wrong)
        );
        return Err(Problem::parameter(&clip(name), value, detail));
    }
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|error| Problem::parameter("query", raw, error.body_text()))?;
    for (position, (name, value)) in pairs.iter().enumerate() {
        if !known.contains(&name.as_str()) {
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let detail = format!("{:?} is no parameter of this route; it takes: {known}", clip(name));
            return Err(Problem::parameter(name, value, detail));
        }
        if pairs[..position].iter().any(|(before, _)| before == name) {
            return Err(Problem::parameter(name, value, format!("{name} is given twice")));
        }
    }
    Ok(pairs)
}

/// The parameters `after` and `limit` of a list; `read` reads an element's name.
pub(crate) fn page<T>(
    uri: &Uri,
    read: impl Fn(&str, &str) -> Result<T, Problem>,
) -> Result<(Option<T>, usize), Problem> {
    let (mut after, mut limit) = (None, MAX_PAGE);
    for (name, value) in query(uri, &["after", "limit"])? {
        if name == "after" {
            after = Some(read("after", &value)?);
        } else {
            limit = self::limit(&value, MAX_PAGE)?;
        }
    }
    Ok((after, limit))
}

/// The parameter `limit`: how many elements of a list are wanted.
pub(crate) fn limit(text: &str, most: usize) -> Result<usize, Problem> {
    digits(text).filter(|n| (1..=most).contains(n)).ok_or_else(|| {
        Problem::parameter("limit", text, format!("limit: expected a number from 1 to {most}"))
    })
}

/// A time in the parameter `field`: a whole number with its unit, `ms` or `s`, at most so long.
pub(crate) fn time(field: &str, text: &str, most: Duration) -> Result<Duration, Problem> {
    let in_unit = |unit, millis: u64| digits::<u64>(text.strip_suffix(unit)?)?.checked_mul(millis);
    let millis = in_unit("ms", 1).or_else(|| in_unit("s", 1_000)).map(Duration::from_millis);
    millis.filter(|time| *time <= most).ok_or_else(|| {
        let most = most.as_secs();
        Problem::parameter(
            field,
            text,
            format!("{field}: expected a time such as 500ms or 30s, at most {most}s"),
        )
    })
}

/// A number in decimal digits and nothing else (`+5` is not a number here).
pub(crate) fn digits<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Whether each `%` has its digits, and what they mean is text. What reads the parameters would make do with what it finds.
fn is_encoded(part: &str) -> bool {
    let (mut bytes, mut plain) = (part.bytes(), Vec::with_capacity(part.len()));
    while let Some(byte) = bytes.next() {
        plain.push(if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            let (Some(high), Some(low)) = (digit(), digit()) else { return false };
            (high * 16 + low) as u8
        } else {
            byte
        });
    }
    std::str::from_utf8(&plain).is_ok()
}

fn clip(text: &str) -> String {
    text.chars().take(100).collect()
}
