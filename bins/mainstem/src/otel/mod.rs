//! Traces for an OpenTelemetry collector, in builds with the feature `otel`: a trace for each main block, and one for each
//! request of the API. `docs/tracing.md` describes them for operators.
//!
//! # Architecture invariant
//! Nothing here is on the way of a block: one thread looks twice a second at what the stages write down anyway
//! (`engine::pipeline::BlockTrace`). A request puts a few words into a bounded queue, or counts that it was full. A collector
//! that is slow or away costs traces, never the node.
//!
//! Without the feature the same names are here and do nothing; an endpoint that is set is refused.

#[cfg(feature = "otel")]
mod collector;
#[cfg(feature = "otel")]
mod follower;
#[cfg(feature = "otel")]
mod headers;
#[cfg(feature = "otel")]
mod spans;
#[cfg(feature = "otel")]
mod traces;
#[cfg(not(feature = "otel"))]
mod without;

#[cfg(feature = "otel")]
pub(crate) use traces::{Exporting, Requests, Traces};
#[cfg(not(feature = "otel"))]
pub(crate) use without::{Exporting, Requests, Traces};

/// Why no traces can be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OtelError {
    /// The program was built without.
    #[cfg(not(feature = "otel"))]
    #[error(
        "otel.endpoint = \"{endpoint}\": this build has no OpenTelemetry: build with --features otel, or set it to \"-\""
    )]
    NotBuilt {
        /// What is set.
        endpoint: String,
    },
    /// The file with headers cannot be read.
    #[cfg(feature = "otel")]
    #[error("otel.headers_file: {file} cannot be read: {source}", file = file.display())]
    Unreadable {
        /// Which file.
        file: std::path::PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A line in it is no header. What it holds may be secret, so it is not said.
    #[cfg(feature = "otel")]
    #[error(
        "otel.headers_file: line {line} of {file} is no header; expected lines such as `authorization: Bearer 5d8f..`",
        file = file.display()
    )]
    NoHeader {
        /// Which file.
        file: std::path::PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// The exporter does not take what is set.
    #[cfg(feature = "otel")]
    #[error("otel.endpoint = \"{endpoint}\": {reason}")]
    Exporter {
        /// What is set.
        endpoint: String,
        /// What the exporter says; variables of the environment that begin with OTEL_ are for it too.
        reason: String,
    },
    /// No thread can be had.
    #[cfg(feature = "otel")]
    #[error("no thread can be had that sends traces: {0}")]
    Thread(std::io::Error),
}
