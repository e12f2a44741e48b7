//! The log that people and machines read, on standard error.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::settings::{Log, LogFormat};

/// Starts to log. Once in a process.
pub(crate) fn start(settings: &Log, writer: Option<BoxMakeWriter>) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(settings.filter.filter())
        .with_ansi(stderr().is_terminal())
        .with_writer(writer.unwrap_or_else(|| BoxMakeWriter::new(stderr)));
    match settings.format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
