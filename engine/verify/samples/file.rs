//! The text of `vectors/proofs.json`.

use serde_json::{Value, json};

use verify::proof::Document;

use crate::samples::accepted::{odd, samples};
use crate::samples::refused::{Form, refused};

const NOTE: &str = "Proofs as docs/protocol.md has them. Accepted: `json` and `binary` are the same document, and it verifies for whoever trusts the header of hash `trusted`, the newest one that it ends in. Refused: `json` or `binary` is malformed or does not verify, whatever its reader trusts; `reason` says what a verifier has to see, `error` how Mainstem's own error starts: with the way to the field. Written by `cargo run -p mainstem-verify --example vectors`.";

pub fn text() -> String {
    let accepted = samples().into_iter().chain(odd()).map(|sample| {
        json!({
            "name": sample.name,
            "kind": sample.document.kind(),
            "json": sample.document,
            "binary": const_hex::encode_prefixed(sample.document.to_bytes()),
            "trusted": sample.trusted,
        })
    });
    let refused = refused().into_iter().map(|case| {
        let (form, document, bytes) = match case.form {
            Form::Json(json) => {
                let bytes = json.to_string().into_bytes();
                ("json", json, bytes)
            }
            Form::Binary(bytes) => ("binary", Value::from(const_hex::encode_prefixed(&bytes)), bytes),
        };
        let error = start(&refusal(&bytes).unwrap_or_else(|| panic!("{} is accepted", case.name)));
        json!({ "name": case.name, form: document, "reason": case.reason, "error": error })
    });
    // A case a line, so that a change shows.
    let lines = |cases: Vec<Value>| cases.iter().map(Value::to_string).collect::<Vec<_>>().join(",\n");
    format!(
        "{{\n\"note\": {},\n\"accepted\": [\n{}\n],\n\"refused\": [\n{}\n]\n}}\n",
        Value::from(NOTE),
        lines(accepted.collect()),
        lines(refused.collect())
    )
}

/// Why a document is refused, whoever is trusted.
pub fn refusal(bytes: &[u8]) -> Option<String> {
    match Document::parse(bytes) {
        Err(error) => Some(error.to_string()),
        Ok(document) => document.verify().err().map(|error| error.to_string()),
    }
}

/// Of an error what does not hang on values: the way to the field, and of a node or of JSON what is wrong with it.
fn start(error: &str) -> String {
    let error = error.split(" at line ").next().unwrap_or(error);
    if error.starts_with("no proof in JSON") {
        let ends = [", ", ": expected", "; expected"].iter().filter_map(|text| error.find(text));
        return error[..ends.min().unwrap_or(error.len())].to_owned();
    }
    if error.contains("node 0: ") || error.contains("node 1: ") {
        return error.to_owned();
    }
    error.rsplit_once(": ").map_or(error, |(start, _)| start).to_owned()
}
