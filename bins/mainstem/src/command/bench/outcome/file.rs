//! Results as files: written for people too, read as anything that comes from outside.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::{FORMAT, MAX_TICKS, Outcome, Quantile, Tick};

/// Why a file is not the result of a bench, or cannot be read or written.
#[derive(Debug, Error)]
pub(in super::super) enum OutcomeError {
    /// The file cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Read { path: PathBuf, error: std::io::Error },
    /// The file cannot be written.
    #[error("{} cannot be written: {error}", path.display())]
    Write { path: PathBuf, error: std::io::Error },
    /// The file is longer than any result.
    #[error("{}: longer than {MAX_BYTES} bytes, so not the result of a bench", path.display())]
    TooLong { path: PathBuf },
    /// It is not JSON, or a field is missing or of another kind.
    #[error("{}: field {field}: {error}", path.display())]
    Field { path: PathBuf, field: String, error: serde_json::Error },
    /// It was written by a program of another time.
    #[error("{}: field format: {format}, and this program reads {FORMAT}", path.display())]
    Format { path: PathBuf, format: u64 },
    /// A value that no run gives.
    #[error("{}: field {field}: {problem}", path.display())]
    Value { path: PathBuf, field: String, problem: String },
}

impl Outcome {
    /// Reads what [`Outcome::write`] has written. The file may be anything.
    pub(in super::super) fn read(path: &Path) -> Result<Self, OutcomeError> {
        let failed = |error| OutcomeError::Read { path: path.to_owned(), error };
        let mut bytes = Vec::new();
        File::open(path).map_err(failed)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(OutcomeError::TooLong { path: path.to_owned() });
        }
        Self::parse(&bytes, path)
    }

    /// Reads a result from bytes; `path` is what errors name.
    pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Self, OutcomeError> {
        let path = path.to_owned();
        // Another layout may lack any field, so its number is looked at before them.
        if let Ok(Versioned { format }) = serde_json::from_slice(bytes)
            && format != u64::from(FORMAT)
        {
            return Err(OutcomeError::Format { path, format });
        }
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let outcome: Self = match serde_path_to_error::deserialize(&mut reader) {
            Ok(outcome) => outcome,
            Err(error) => {
                let field = error.path().to_string();
                return Err(OutcomeError::Field { path, field, error: error.into_inner() });
            }
        };
        if let Err(error) = reader.end() {
            return Err(OutcomeError::Field { path, field: ".".into(), error });
        }
        match outcome.problem() {
            Some((field, problem)) => Err(OutcomeError::Value { path, field, problem }),
            None => Ok(outcome),
        }
    }

    /// Writes the result as JSON.
    pub(in super::super) fn write(&self, path: &Path) -> Result<(), OutcomeError> {
        fs::write(path, self.to_json() + "\n")
            .map_err(|error| OutcomeError::Write { path: path.to_owned(), error })
    }

    /// The result as JSON, for people to read too. Without limits, what is not known is not in it.
    pub(in super::super) fn to_json(&self) -> String {
        const WRITES: &str = "numbers and texts can be written as JSON";
        if self.has_limits() {
            return serde_json::to_string_pretty(self).expect(WRITES);
        }
        let mut value = serde_json::to_value(self).expect(WRITES);
        if let Value::Object(fields) = &mut value {
            fields.retain(|name, _| !LIMITED.contains(&name.as_str()));
        }
        serde_json::to_string_pretty(&value).expect(WRITES)
    }

    /// The first field whose value no run gives, and what is wrong with it.
    fn problem(&self) -> Option<(String, String)> {
        let of = |field: &str, problem: String| Some((field.to_owned(), problem));
        if self.timeline.len() > MAX_TICKS {
            return of(
                "timeline",
                format!("{} entries, and at most {MAX_TICKS} are read", self.timeline.len()),
            );
        }
        let value = serde_json::to_value(self).expect("numbers and texts can be written as JSON");
        if let Some(problem) = unlikely(&value, "") {
            return Some(problem);
        }
        if self.seconds <= 0.0 {
            return of("seconds", format!("{}, and must be above 0", self.seconds));
        }
        let after = |pair: &[Tick]| pair[0].at > pair[1].at;
        if let Some(at) = self.timeline.windows(2).position(after) {
            return of(&format!("timeline[{}].at", at + 1), "before that of the entry in front of it".into());
        }
        let out = |quantile: &Quantile| quantile.quantile > 100.0;
        if let Some(at) = self.latency.iter().position(out) {
            let problem = format!("{}, and must be 0 to 100", self.latency[at].quantile);
            return of(&format!("latency[{at}].quantile"), problem);
        }
        None
    }
}

/// The first text, list or number that is longer or larger than any that a run gives, with its path.
fn unlikely(value: &Value, path: &str) -> Option<(String, String)> {
    let of = |problem: String| Some((path.to_owned(), problem));
    match value {
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or(f64::INFINITY);
            // Only the times of the warm-up lie below 0.
            let least = if path.ends_with("].at") { -MAX_NUMBER } else { 0.0 };
            if (least..=MAX_NUMBER).contains(&number) {
                return None;
            }
            of(format!("{number}, and must be {least} to {MAX_NUMBER:e}"))
        }
        Value::String(text) if text.len() > MAX_TEXT => {
            of(format!("{} bytes, and at most {MAX_TEXT} are read", text.len()))
        }
        Value::Null | Value::Bool(_) | Value::String(_) => None,
        Value::Array(list) if list.len() > MAX_ENTRIES => {
            of(format!("{} entries, and at most {MAX_ENTRIES} are read", list.len()))
        }
        Value::Array(list) => {
            list.iter().enumerate().find_map(|(at, entry)| unlikely(entry, &format!("{path}[{at}]")))
        }
        Value::Object(fields) if fields.len() > MAX_ENTRIES => {
            of(format!("{} fields, and at most {MAX_ENTRIES} are read", fields.len()))
        }
        Value::Object(fields) => {
            if fields.keys().any(|name| name.len() > MAX_TEXT) {
                return of(format!("a name of more than {MAX_TEXT} bytes"));
            }
            // What an option may be is its command's affair.
            let mut fields = fields.iter().filter(|_| path != "options");
            fields.find_map(|(name, value)| {
                unlikely(value, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") })
            })
        }
    }
}

/// Just the number of the layout.
#[derive(Deserialize)]
struct Versioned {
    format: u64,
}

/// What is not known without limits.
const LIMITED: [&str; 8] = [
    "limits",
    "roofline_blocks_per_second",
    "ratio",
    "bottleneck",
    "bottleneck_stage",
    "costs_ns",
    "disk_sync_p50_ms",
    "disk_sync_p99_ms",
];

/// Most bytes of a file that is read: several times what the longest timeline takes.
pub(super) const MAX_BYTES: u64 = 4 << 20;

/// Most entries of any other list, and most options.
const MAX_ENTRIES: usize = 4_096;

/// Most bytes of a text.
const MAX_TEXT: usize = 4_096;

/// The largest number, of whatever unit.
const MAX_NUMBER: f64 = 1e18;
