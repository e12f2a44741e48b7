//! The file `otel.headers_file`: headers that the collector asks for, one a line.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use axum::http::{HeaderName, HeaderValue};

use super::OtelError;

/// More is not read.
const LONGEST: u64 = 64 << 10;

/// Reads the headers. Empty lines, and those that begin with `#`, are none.
pub(super) fn read(file: &Path) -> Result<Vec<(String, String)>, OtelError> {
    let mut text = String::new();
    File::open(file)
        .and_then(|opened| opened.take(LONGEST).read_to_string(&mut text))
        .map_err(|source| OtelError::Unreadable { file: file.to_owned(), source })?;
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(index, line)| {
            header(line).ok_or_else(|| OtelError::NoHeader { file: file.to_owned(), line: index + 1 })
        })
        .collect()
}

fn header(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    let name = HeaderName::try_from(name.trim()).ok()?;
    let value = HeaderValue::from_str(value.trim()).ok()?;
    Some((name.to_string(), value.to_str().ok()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn headers_are_read_and_what_is_none_is_refused_by_its_line_without_telling_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("headers");
        fs::write(&file, "# of the collector\n\nAuthorization: Bearer 5d8f:77\nx-tenant:  a \n").unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read(&file).unwrap(), [pair("authorization", "Bearer 5d8f:77"), pair("x-tenant", "a")]);
        for wrong in ["x: 1\nsecret\n", "x: 1\nsec ret: 1\n", "x: 1\nsecret: \u{1}\n"] {
            fs::write(&file, wrong).unwrap();
            let error = read(&file).unwrap_err().to_string();
            assert!(error.contains("line 2") && !error.contains("sec"), "{error}");
        }
        assert!(matches!(read(&dir.path().join("none")), Err(OtelError::Unreadable { .. })));
    }
}
