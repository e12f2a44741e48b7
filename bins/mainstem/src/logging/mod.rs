//! The log that people and machines read, on standard error.
//!
//! What is written can be changed while the node runs, for a time ([`level`]), and equal lines that come in a row are written
//! once with how many more there were ([`fold`]). Neither costs those anything whose lines are not written.

mod fold;
mod level;
mod routes;

use std::io::{IsTerminal, stderr};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt, registry};

use crate::settings::{Log, LogFormat};

use fold::Fold;

pub(crate) use level::reconfigure;
pub(crate) use routes::routes;

/// How often it is looked whether something is to be told of folded lines, or a level is to go back.
const PACE: Duration = Duration::from_secs(1);

/// Starts to log. Once in a process.
pub(crate) fn start(settings: &Log, writer: Option<BoxMakeWriter>) {
    let filter = level::start(&settings.filter);
    let fold = Arc::new(fold::Table::default());
    let lines = fmt::layer()
        .with_ansi(stderr().is_terminal())
        .with_writer(writer.unwrap_or_else(|| BoxMakeWriter::new(stderr)));
    let lines = match settings.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    registry().with(filter).with(Fold::new(Arc::clone(&fold))).with(lines).init();
    let look = move || {
        loop {
            thread::sleep(PACE);
            fold.tell(Instant::now());
            level::revert_if_due(Instant::now());
        }
    };
    if let Err(error) = thread::Builder::new().name("log".into()).spawn(look) {
        tracing::warn!(%error, "no thread can be had for the log: folded lines are not counted");
    }
}
