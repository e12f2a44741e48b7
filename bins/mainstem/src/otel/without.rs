//! Builds without OpenTelemetry: an endpoint is refused, and everything else does nothing.
#![allow(
    clippy::unused_self,
    clippy::unnecessary_wraps,
    clippy::needless_pass_by_value,
    reason = "the same signatures as with the feature"
)]

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use engine::chain::{Height, NodeKey};

use super::OtelError;
use crate::clock::SystemClock;
use crate::data_dir::DataDir;
use crate::node::EngineSlot;
use crate::settings::Settings;

/// Nothing.
#[derive(Debug)]
pub(crate) struct Traces;

impl Traces {
    /// What the settings ask for, which can only be nothing.
    ///
    /// # Errors
    /// If an endpoint is set.
    pub(crate) fn of(settings: &Settings, _: &DataDir) -> Result<Self, OtelError> {
        match settings.otel.endpoint.url() {
            None => Ok(Self),
            Some(endpoint) => Err(OtelError::NotBuilt { endpoint: endpoint.to_owned() }),
        }
    }

    /// For the API.
    pub(crate) fn requests(&self) -> Requests {
        Requests
    }

    /// Starts nothing.
    pub(crate) fn start(
        self,
        _: EngineSlot,
        _: impl Fn() -> Height + Send + 'static,
        _: Arc<SystemClock>,
        _: NodeKey,
    ) -> Result<Exporting, OtelError> {
        Ok(Exporting)
    }
}

/// Takes requests, and forgets them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests;

impl Requests {
    /// Forgets a request.
    pub(crate) fn answered(&self, _: &Method, _: &str, _: u16, _: Duration) {}
}

/// Nothing that runs.
#[derive(Debug)]
pub(crate) struct Exporting;

impl Exporting {
    /// Ends nothing.
    pub(crate) fn stop(self, _: Duration) {}
}
