//! The text of `vectors/proofs.json`.

use serde_json::{Value, json};

use crate::samples::accepted::samples;
use crate::samples::refused::{Form, refused};

const NOTE: &str = "Proofs as docs/protocol.md has them. Accepted: `json` and `binary` are the same document, and it verifies for whoever trusts the header of hash `trusted`, the newest one that it ends in. Refused: `json` or `binary` is malformed or does not verify, whatever its reader trusts; `reason` says what a verifier has to see. Written by `cargo run -p mainstem-verify --example vectors`.";

pub fn text() -> String {
    let accepted = samples().into_iter().map(|sample| {
        json!({
            "name": sample.name,
            "kind": sample.document.kind(),
            "json": sample.document,
            "binary": const_hex::encode_prefixed(sample.document.to_bytes()),
            "trusted": sample.trusted,
        })
    });
    let refused = refused().into_iter().map(|case| {
        let (form, document) = match case.form {
            Form::Json(json) => ("json", json),
            Form::Binary(bytes) => ("binary", Value::from(const_hex::encode_prefixed(bytes))),
        };
        json!({ "name": case.name, form: document, "reason": case.reason })
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
