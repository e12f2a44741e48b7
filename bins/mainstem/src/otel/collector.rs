//! The collector: OTLP over HTTP, with the HTTP client that the program has anyway.

use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::chain::NodeKey;
use opentelemetry::KeyValue;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::runtime::{Builder, Runtime};

use super::OtelError;

/// A request takes no longer.
const REQUEST: Duration = Duration::from_secs(3);
/// A batch is not tried again after so long.
const BATCH: Duration = Duration::from_secs(5);
/// An answer says little; more of it is not read.
const LONGEST_ANSWER: u64 = 64 << 10;

/// Where traces go.
pub(super) struct Collector {
    endpoint: String,
    exporter: SpanExporter,
    /// Why the last request failed, in more words than the exporter's.
    failed: Failed,
    /// The exporter's calls are futures, though nothing in them waits: the client does.
    runtime: Runtime,
}

type Failed = Arc<Mutex<Option<String>>>;

impl Collector {
    /// Connects to nobody yet.
    pub(super) fn new(endpoint: &str, headers: Vec<(String, String)>) -> Result<Self, OtelError> {
        let failed = Failed::default();
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(REQUEST));
        let client = Client { agent: config.build().into(), failed: Arc::clone(&failed) };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(traces(endpoint))
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(BATCH)
            .with_headers(headers.into_iter().collect())
            .build()
            .map_err(|error| OtelError::Exporter {
                endpoint: endpoint.to_owned(),
                reason: error.to_string(),
            })?;
        let runtime = Builder::new_current_thread().build().map_err(OtelError::Thread)?;
        Ok(Self { endpoint: endpoint.to_owned(), exporter, failed, runtime })
    }

    /// Says whose spans they are. What OTEL_RESOURCE_ATTRIBUTES has comes with it.
    pub(super) fn describe(&mut self, key: NodeKey) {
        let attributes = [
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", key.to_string()),
        ];
        let resource = Resource::builder().with_service_name("mainstem").with_attributes(attributes).build();
        self.exporter.set_resource(&resource);
    }

    /// As it was set.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Sends a batch, several times if need be. Takes up to [`BATCH`] and [`REQUEST`].
    pub(super) fn send(&self, batch: Vec<SpanData>) -> Result<(), String> {
        self.runtime.block_on(self.exporter.export(batch)).map_err(|error| {
            let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
            failed.unwrap_or_else(|| error.to_string())
        })
    }
}

impl fmt::Debug for Collector {
    /// Not its headers, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// The address of a collector is that of all its signals, as OTEL_EXPORTER_OTLP_ENDPOINT has it.
fn traces(endpoint: &str) -> String {
    let base = endpoint.trim_end_matches('/');
    if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") }
}

#[derive(Debug)]
struct Client {
    agent: ureq::Agent,
    failed: Failed,
}

impl Client {
    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let response = self.agent.run(request.map(|body| body.to_vec()))?;
        let (parts, mut body) = response.into_parts();
        let body = body.with_config().limit(LONGEST_ANSWER).read_to_vec()?;
        Ok(Response::from_parts(parts, body.into()))
    }
}

impl HttpClient for Client {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let sent = self.send(request);
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) =
            sent.as_ref().err().map(ToString::to_string);
        Box::pin(ready(sent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_collector_is_that_of_all_its_signals() {
        for given in ["http://a:4318", "http://a:4318/", "http://a:4318/v1/traces"] {
            assert_eq!(traces(given), "http://a:4318/v1/traces");
        }
        assert_eq!(traces("https://a/otlp/"), "https://a/otlp/v1/traces");
    }
}
